"""The maps of PM-Jewelry's conditioning."""

import pytest
import torch
from fitting_room.preprocess.jewelry_maps import jewelry_maps, latent_grid, map_channel


def given(height=16, width=24):
    mask = torch.zeros(1, height, width)
    mask[:, 8:12, 4:8] = 1
    return torch.rand(1, height, width, 3), mask, torch.rand(1, height, width, 3), torch.rand(2, height, width, 3)


def test_one_batch_and_one_size():
    image, mask, depth, saliency = given()
    found = jewelry_maps(image, mask, depth, saliency)
    assert found.image.shape == found.masked.shape == (2, 16, 24, 3)
    assert found.mask.shape == found.depth.shape == found.saliency.shape == (2, 1, 16, 24) and found.note == ""
    assert torch.equal(found.masked[:, 8:12, 4:8], torch.full((2, 4, 4, 3), 0.5))
    outside = found.mask[0, 0] == 0
    assert torch.equal(found.masked[0][outside], image[0][outside])


def test_what_was_resized_is_said():
    image, mask, depth, saliency = given()
    note = jewelry_maps(image, mask[:, ::2, ::2], depth[:, ::2, ::2], saliency).note
    assert note == "The mask was 12x8 and was resized to the picture's 24x16. The depth picture was 12 x 8 and was resized to 24 x 16."


def test_a_thin_chain_leaves_a_trace_wherever_it_lies():
    for column in range(8, 16):
        mask = torch.zeros(1, 1, 16, 24)
        mask[..., column] = 1
        assert latent_grid(mask)[0, 0].tolist() == [[0, 0.125, 0], [0, 0.125, 0]]


def test_a_map_goes_from_0_1_to_minus_1_1():
    assert map_channel(torch.zeros(1, 1, 8, 8)).item() == -1 and map_channel(torch.ones(1, 1, 8, 8)).item() == 1


@pytest.mark.parametrize("change, sentence", [
    (lambda p: (p[0], p[1] * 0, *p[2:]), "the jewelry mask covers nothing"),
    (lambda p: (p[0], 1 - p[1] * 0, *p[2:]), "the jewelry mask covers the whole picture"),
    (lambda p: (p[0][:, :15], *p[1:]), "24 x 15; both sides must be multiples of 8"),
    (lambda p: (*p[:2], p[2][:, :8], p[3]), "The depth picture is 24 x 8 and the head picture 24 x 16: other proportions"),
])
def test_bad_pictures_are_refused(change, sentence):
    with pytest.raises(ValueError, match=sentence):
        jewelry_maps(*change(given()))
