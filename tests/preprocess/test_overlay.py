"""Masks and points drawn on pictures."""

import torch
from fitting_room.preprocess.overlay import SECOND, TINT, beside, overlay, with_points

GREY = torch.full((1, 40, 60, 3), 0.5)
MASK = torch.zeros(1, 1, 40, 60)
MASK[..., 10:30, 20:40] = 1


def test_only_the_mask_is_tinted_and_its_rim_is_full_colour():
    out = overlay(GREY, MASK)
    assert torch.equal(out[0][MASK[0, 0] == 0], GREY[0][MASK[0, 0] == 0])
    torch.testing.assert_close(out[0, 20, 30], 0.55 * 0.5 + 0.45 * torch.tensor(TINT))
    torch.testing.assert_close(out[0, 10, 20], torch.tensor(TINT))


def test_points_are_drawn_where_they_are_and_only_there():
    out = with_points(GREY, [(10.0, 20.0), (45.0, 20.0, 0)])
    torch.testing.assert_close(out[0, 20, 10], torch.tensor(SECOND), atol=1 / 255, rtol=0)
    assert torch.allclose(out[0, 20, 45], GREY[0, 20, 45], atol=1 / 255)  # off the object: a ring
    assert torch.equal((out - GREY).abs().amax(-1)[0, 38:] > 0.01, torch.zeros(2, 60, dtype=torch.bool))
    assert torch.equal(with_points(GREY, []), GREY)


def test_pictures_side_by_side():
    out = beside([GREY, GREY], gap=4, paper=0.0)
    assert out.shape == (1, 40, 124, 3) and bool((out[:, :, 60:64] == 0).all()) and torch.equal(out[:, :, 64:], GREY)
