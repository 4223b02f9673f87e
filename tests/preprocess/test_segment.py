"""Segment anything: recognising files, building modules, predicting as the package's own predictor does."""

from functools import partial

import numpy as np
import pytest
import torch

from fitting_room.preprocess import segment

sam_package = pytest.importorskip("segment_anything")


def tiny() -> torch.nn.Module:
    """segment_anything's own classes, narrow, with random weights."""
    from segment_anything.modeling import ImageEncoderViT, MaskDecoder, PromptEncoder, Sam, TwoWayTransformer
    torch.manual_seed(0)
    side = 64
    encoder = ImageEncoderViT(img_size=side, patch_size=16, embed_dim=32, depth=2, num_heads=2, out_chans=16, use_rel_pos=True,
                              window_size=2, global_attn_indexes=(1,), norm_layer=partial(torch.nn.LayerNorm, eps=1e-6))
    prompts = PromptEncoder(embed_dim=16, image_embedding_size=(4, 4), input_image_size=(side, side), mask_in_chans=4)
    decoder = MaskDecoder(num_multimask_outputs=3, transformer=TwoWayTransformer(depth=1, embedding_dim=16, mlp_dim=32, num_heads=2),
                          transformer_dim=16, iou_head_depth=2, iou_head_hidden_dim=16)
    module = Sam(encoder, prompts, decoder).eval()
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter, std=0.3)              # positions start at zero, and every answer would be the same
    return module


@pytest.fixture(scope="module")
def module():
    return tiny()


@pytest.fixture(scope="module")
def vit_b() -> dict:
    with torch.device("meta"):
        keys = sam_package.sam_model_registry["vit_b"]().state_dict()
    return {key: torch.zeros(1).expand(value.shape) for key, value in keys.items()}     # the shapes, without the memory


@pytest.mark.parametrize("name", ["vit_b", "vit_l", "vit_h"])
def test_family_is_told_from_content(name):
    with torch.device("meta"):
        assert segment.family(sam_package.sam_model_registry[name]().state_dict()) == name


@pytest.mark.parametrize("key, name", [
    ("mask_decoder.hf_token.weight", "SAM-HQ"), ("sam_mask_decoder.iou_token.weight", "SAM 2"), ("image_encoder.trunk.pos_embed", "SAM 2"),
    ("image_encoder.layers.0.blocks.0.conv1.c.weight", "MobileSAM"), ("model.model.0.conv.weight", "FastSAM"),
])
def test_relatives_are_refused_by_name(vit_b, key, name):
    with pytest.raises(ValueError, match=f"holds {name}.* but segment-anything vit_b, vit_l or vit_h was expected"):
        segment.family({**vit_b, key: torch.zeros(1)})


def test_other_files_are_refused(module):
    with pytest.raises(ValueError, match="no segment-anything weights .its keys begin with first_stage"):
        segment.family({"first_stage_model.weight": torch.zeros(1)})
    with pytest.raises(ValueError, match="encoder has width 32 and 2 blocks; known are vit_b .768, 12."):
        segment.family(module.state_dict())


def test_build_takes_the_tensors_and_lists_what_is_wrong(vit_b):
    built = segment.build(vit_b)
    assert built.image_encoder.pos_embed.data_ptr() == vit_b["image_encoder.pos_embed"].data_ptr() and not built.training
    assert not any(tensor.is_meta for tensor in (*built.parameters(), *built.buffers()))
    assert built.pixel_mean.flatten().tolist() == pytest.approx([123.675, 116.28, 103.53])
    damaged = {key: value for key, value in vit_b.items() if "iou_token" not in key} | {"extra": torch.zeros(1)}
    with pytest.raises(ValueError, match="vit_b file is damaged or altered: missing mask_decoder.iou_token.weight; unexpected extra"):
        segment.build(damaged)


POINTS, LABELS, BOX = [(20.0, 30.0), (80.0, 10.0)], [1, 0], (10.0, 5.0, 90.0, 60.0)


@pytest.mark.parametrize("points, labels, box", [(POINTS, LABELS, None), ((), None, BOX), (POINTS, LABELS, BOX), (POINTS[:1], None, None)])
def test_predict_equals_the_packages_predictor(module, points, labels, box):
    pixels = np.random.default_rng(1).integers(0, 256, (70, 100, 3), dtype=np.uint8)
    masks, scores = segment.predict(module, torch.from_numpy(pixels).float()[None] / 255, points, labels, box)
    predictor = sam_package.SamPredictor(module)
    predictor.set_image(pixels)
    expected, quality, _ = predictor.predict(np.array(points) if points else None, np.array(labels or [1]) if points else None,
                                             np.array(box) if box else None)
    assert masks.shape == (1, 3, 70, 100) and (masks[0].numpy() == expected).all() and 0 < masks.mean() < 1
    assert np.allclose(scores[0].numpy(), quality)


def test_batches_equal_singles_and_progress_is_told(module):
    images = torch.rand(3, 40, 56, 3, generator=torch.Generator().manual_seed(2))
    done = []
    masks, scores = segment.predict(module, images, POINTS[:1], progress=lambda i, n: done.append((i, n)))
    assert done == [(1, 3), (2, 3), (3, 3)]
    for index in range(3):
        single, score = segment.predict(module, images[index:index + 1], POINTS[:1])
        assert torch.equal(masks[index:index + 1], single) and torch.equal(scores[index:index + 1], score)


def test_prompts_matter_and_the_best_mask_is_chosen(module):
    image = torch.rand(1, 64, 64, 3, generator=torch.Generator().manual_seed(3))
    first, _ = segment.predict(module, image, [(5, 5)])
    second, _ = segment.predict(module, image, [(5, 5)], [0])
    assert not torch.equal(first, second)
    masks = torch.stack([torch.full((2, 2), float(n)) for n in range(3)])[None].repeat(2, 1, 1, 1)
    assert segment.best(masks, torch.tensor([[0.1, 0.9, 0.2], [0.7, 0.1, 0.2]]))[:, 0, 0, 0].tolist() == [1, 0]


@pytest.mark.parametrize("prompt, sentence", [
    ({}, "needs a prompt; give at least one point or a box"),
    ({"points": [(200, 5)]}, r"The prompt \(200, 5\) lies outside the 64x48 picture"),
    ({"box": (0, 0, 64, 99)}, r"The prompt \(64, 99\) lies outside the 64x48 picture"),
    ({"points": [(2, 5)], "labels": [1, 0]}, "1 points came with the labels"),
    ({"points": [(2, 5)], "labels": [2]}, "give one label, 1 or 0, per point"),
])
def test_bad_prompts_get_a_sentence(module, prompt, sentence):
    with pytest.raises(ValueError, match=sentence):
        segment.predict(module, torch.zeros(1, 48, 64, 3), **prompt)


def test_the_missing_package_is_named(monkeypatch):
    import sys
    monkeypatch.setitem(sys.modules, "segment_anything", None)
    with pytest.raises(RuntimeError, match="-m pip install segment-anything"):
        segment.predict(None, torch.zeros(1, 4, 4, 3), [(1, 1)])
