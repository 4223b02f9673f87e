"""The drawn pictures as a node: what the host gets, and that it stands in for Load Image."""

import pytest
import torch

pytestmark = pytest.mark.usefixtures("comfyui")
TYPES = ["IMAGE", "MASK", "IMAGE", "IMAGE", "IMAGE", "IMAGE", "STRING"]


@pytest.fixture
def node():
    from fitting_room.nodes.demo_picture import DemoPicture

    return DemoPicture


def test_outputs_start_as_load_image_does(node):
    schema = node.define_schema()
    assert [o.io_type for o in schema.outputs] == TYPES
    assert [o.io_type for o in schema.outputs[:2]] == ["IMAGE", "MASK"]


def test_the_host_gets_its_own_shapes(node):
    *pictures, caption = node.execute(kind="person", seed=4, width=72, height=96).result
    image, mask, *maps = pictures
    assert image.shape == (1, 96, 72, 3) and mask.shape == (1, 96, 72)
    assert all(m.shape == (1, 96, 72, 3) for m in maps)
    for tensor in pictures:
        assert tensor.dtype == torch.float32 and tensor.is_contiguous() and 0 <= tensor.min() and tensor.max() <= 1
    assert caption.startswith("a person in")


def test_the_same_seed_gives_the_same_tensors_and_they_are_the_callers_own(node):
    first = node.execute(kind="sofa", seed=1, width=64, height=64).result
    kept = first[0].clone()
    first[0].zero_()
    assert torch.equal(node.execute(kind="sofa", seed=1, width=64, height=64).result[0], kept)
    assert not torch.equal(node.execute(kind="sofa", seed=2, width=64, height=64).result[0], kept)
