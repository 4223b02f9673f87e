"""Depth in one convention."""

import pytest
import torch

from fitting_room.preprocess import depth

RAMP = torch.linspace(0.2, 0.6, 101)[None, None, None].expand(1, 1, 50, 101)      # near to the right


def picture(values):
    return values.movedim(1, -1).expand(-1, -1, -1, 3)


def test_conventions_are_inverses():
    near = depth.depth_map(picture(RAMP), "near_bright", normalise=False)
    far = depth.depth_map(picture(1 - RAMP), "far_bright", normalise=False)
    assert torch.allclose(near, RAMP) and torch.allclose(far, RAMP)
    assert torch.allclose(depth.depth_picture(near, "far_bright"), picture(1 - RAMP))
    with pytest.raises(ValueError, match="convention 'inverse' is not known"):
        depth.switch(RAMP, "inverse")


def test_normalising_ignores_scale_shift_and_outliers():
    plain = depth.stretch(RAMP, (1, 99))
    assert torch.allclose(plain[0, 0, 0, [1, 50, 99]], torch.tensor([0.0, 0.5, 1.0]), atol=1e-6)
    assert torch.allclose(depth.stretch(RAMP * 3 + 7), plain, atol=1e-5)
    spiked = RAMP.clone()
    spiked[0, 0, 0, 0] = 1000.0
    assert (depth.stretch(spiked)[0, 0, 1:] - plain[0, 0, 1:]).abs().max() < 0.01


def test_each_item_is_normalised_by_itself():
    both = torch.cat([RAMP, RAMP * 0.1])
    assert torch.allclose(depth.stretch(both)[0], depth.stretch(both)[1], atol=1e-5)


def test_a_flat_map_is_halfway_everywhere():
    flat = torch.full((1, 20, 20, 3), 0.3)
    assert bool((depth.depth_map(flat) == 0.5).all()) and bool(depth.is_flat(flat[..., :1].movedim(-1, 1)))
    assert not bool(depth.is_flat(RAMP))


def test_colour_maps_are_refused():
    coloured = torch.zeros(1, 8, 8, 3)
    coloured[..., 0] = 1
    with pytest.raises(ValueError, match="coloured, but grey values were expected"):
        depth.depth_map(coloured)


def test_depthfm_far_is_bright_before_and_dark_after():
    decoded = torch.linspace(-1, 1, 11)[None, None, None].expand(1, 3, 4, 11)     # log depth grows to the right: farther
    near = depth.from_depthfm(decoded)
    assert near[0, 0, 0, 0] == 1 and near[0, 0, 0, -1] == 0
    assert bool((near[..., 1:] < near[..., :-1]).all())
    middle = 1 - (1 - torch.e ** -1) / (torch.e - torch.e ** -1)                  # exp(0) between exp(-1) and exp(1)
    assert torch.allclose(near[0, 0, 0, 5], torch.tensor(middle), atol=1e-6)


def test_jewelry_lies_on_the_skin():
    head = torch.full((1, 1, 64, 64), 0.5)
    piece = torch.linspace(0, 1, 16)[None, None, None].expand(1, 1, 16, 16)
    corners = torch.tensor([[[20, 20], [40, 20], [40, 40], [20, 40]]], dtype=torch.float)
    mask = torch.zeros(1, 1, 64, 64)
    mask[..., 22:38, 22:50] = 1
    out = depth.with_jewelry(head, piece, corners, mask)
    inside = torch.zeros(64, 64, dtype=torch.bool)
    inside[22:38, 22:41] = True                                                   # mask and placed picture
    assert torch.equal(out[0, 0][~inside], head[0, 0][~inside])
    assert bool((out[0, 0][inside] >= 0.5).all()) and out.max() <= 0.6 + 1e-6 and out[0, 0, 30, 39] > out[0, 0, 30, 23]
