"""Spectral residual against OpenCV contrib's numbers, and maps from elsewhere."""

import numpy as np
import pytest
import torch
from skimage import data

from fitting_room.preprocess import saliency

# StaticSaliencySpectralResidual of opencv-contrib-python-headless 5.0.0.93 on skimage's pictures (BGR), at rows h/10, h/2, 9h/10 and
# columns w/10, w/3, w/2, 2w/3, 9w/10; then the map's mean and where its maximum lies
OPENCV = {
    "astronaut": (
        [[0.1966, 0.0732, 0.0632, 0.0146, 0.056], [0.0367, 0.2317, 0.1077, 0.0684, 0.1234], [0.129, 0.2836, 0.4296, 0.1093, 0.0291]],
        0.10664, (355, 388)),
    "coffee": (
        [[0.012, 0.1262, 0.035, 0.024, 0.0191], [0.1647, 0.2102, 0.3573, 0.0889, 0.0206], [0.0964, 0.0873, 0.0114, 0.0696, 0.023]],
        0.09747, (284, 351)),
}


@pytest.mark.parametrize("name", OPENCV)
def test_spectral_residual_agrees_with_opencv(name):
    values, mean, peak = OPENCV[name]
    pixels = getattr(data, name)()
    found = saliency.saliency(torch.from_numpy(pixels).float()[None] / 255)[0, 0].numpy()
    h, w = found.shape
    grid = [[found[y, x] for x in (w // 10, w // 3, w // 2, 2 * w // 3, 9 * w // 10)] for y in (h // 10, h // 2, 9 * h // 10)]
    assert np.abs(np.array(grid) - values).max() < 1e-3 and abs(found.mean() - mean) < 1e-3
    assert np.hypot(*(np.array(np.unravel_index(found.argmax(), found.shape)) - peak)) <= 2


def test_the_odd_one_out_is_found():
    grey = np.random.default_rng(0).integers(80, 100, (128, 128)).astype(np.uint8)
    grey[70:80, 35:45] = 255                                   # one block in faint noise
    found = saliency.spectral_residual(grey)
    assert found.max() <= 1 and found[68:82, 33:47].max() > 0.9 * found.max()


def test_a_drawn_picture_without_noise():
    grey = np.full((64, 64), 255, np.uint8)
    grey[20:30, 20:40] = 0                                     # most of its frequencies are exactly zero
    found = saliency.spectral_residual(grey)
    assert found[18:32, 18:42].mean() > 4 * found.mean()


def test_a_uniform_picture_has_none_and_batches_equal_singles():
    both = torch.cat([torch.full((1, 40, 60, 3), 0.4), torch.rand(1, 40, 60, 3)])
    for method in saliency.METHODS:
        found = saliency.saliency(both, method)
        assert found.shape == (2, 1, 40, 60) and not found[0].any() and torch.equal(found[1:], saliency.saliency(both[1:], method))
    with pytest.raises(ValueError, match="method 'u2net' is not known"):
        saliency.saliency(both, "u2net")


def test_luma_contrast_by_hand():
    grey = np.array([[0, 0, 0, 200]], np.uint8)                # mean 50: distances 50, 50, 50, 150
    assert np.allclose(saliency.luma_contrast(grey), [[1 / 3, 1 / 3, 1 / 3, 1]])


def test_a_background_models_map():
    mask = torch.zeros(1, 10, 10)
    mask[:, 2:8, 2:8] = 0.5
    found = saliency.from_map(mask, 20, 20)
    assert found.shape == (1, 1, 20, 20) and found[0, 0, 10, 10] == 1 and found[0, 0, 0, 0] == 0
    assert torch.equal(saliency.from_map(mask[..., None].expand(-1, -1, -1, 3), 20, 20), found)


def test_jewelry_raises_saliency_only_inside_the_mask():
    head = torch.full((1, 1, 40, 40), 0.3)
    piece = torch.ones(1, 1, 8, 8)
    corners = torch.tensor([[[10, 10], [20, 10], [20, 20], [10, 20]]], dtype=torch.float)
    mask = torch.zeros(1, 1, 40, 40)
    mask[..., 12:30, 12:30] = 1
    out = saliency.with_jewelry(head, piece, corners, mask)
    expected = head.clone()
    expected[..., 12:21, 12:21] = 1
    assert torch.equal(out, expected)
    assert torch.equal(saliency.with_jewelry(head, piece * 0.1, corners, mask), head)    # the larger counts
