"""Target coordinates: each source against maps that are known by construction."""

import math

import numpy as np
import pytest
import torch
from fitting_room.preprocess.matches import Matches
from fitting_room.training.losses.targets import from_affine, from_masks, from_matches

GRID, KEY_GRID = (8, 6), (4, 10)


def rectangle(height, width, top, left, bottom, right):
    mask = torch.zeros(1, 1, height, width)
    mask[..., top:bottom, left:right] = 1
    return mask


@pytest.mark.parametrize("fit", ["box", "moments"])
def test_boxes_are_mapped_onto_each_other(fit):
    """The person's rows 2..5 of 8 and columns 1..3 of 6 onto the whole reference: linear, corner on corner."""
    mask, reference = rectangle(80, 60, 20, 10, 60, 40), rectangle(40, 100, 0, 0, 40, 100)
    target, where = from_masks(mask, reference, GRID, KEY_GRID, fit)
    assert where[0, 0].nonzero().amin(0).tolist() == [2, 1] and where[0, 0].nonzero().amax(0).tolist() == [5, 3]
    # row 2 is the first of four rows that cover four rows of keys: cell for cell; column 1 is the first of three that cover ten.
    torch.testing.assert_close(target[0, 0, 2:6, 1], torch.arange(4.0), atol=2e-2, rtol=0)
    torch.testing.assert_close(target[0, 1, 2, 1:4], (torch.arange(3) + 0.5) / 3 * 10 - 0.5, atol=2e-2, rtol=0)


def test_equal_masks_give_the_identity():
    mask = rectangle(64, 48, 8, 6, 40, 30)
    target, _ = from_masks(mask, mask, (8, 6), (8, 6))
    rows, columns = torch.meshgrid(torch.arange(8.0), torch.arange(6.0), indexing="ij")
    torch.testing.assert_close(target[0], torch.stack((rows, columns)), atol=1e-5, rtol=1e-5)


def test_moments_follow_a_tilt():
    """A flat bar and the same bar turned by 30 degrees about its middle: a point along the first lies along the second."""
    y, x = torch.meshgrid(torch.arange(200.0) - 99.5, torch.arange(200.0) - 99.5, indexing="ij")
    angle = math.radians(30)
    along, across = x * math.cos(angle) + y * math.sin(angle), -x * math.sin(angle) + y * math.cos(angle)
    flat, tilted = ((a.abs() < 80) & (b.abs() < 10) for a, b in ((x, y), (along, across)))
    target, _ = from_masks(flat[None, None].float(), tilted[None, None].float(), (20, 20), (20, 20), "moments")
    # cell (9.5, 9.5) is the middle; a point 5 cells to the right of it goes to 5 (cos 30, sin 30)
    middle = target[0, :, 9:11, 9:11].mean((1, 2))
    right = target[0, :, 9:11, 14:16].mean((1, 2))
    torch.testing.assert_close(middle, torch.tensor([9.5, 9.5]), atol=0.05, rtol=0)
    torch.testing.assert_close(right - middle, 5 * torch.tensor([math.sin(angle), math.cos(angle)]), atol=0.1, rtol=0)


@pytest.mark.parametrize("empty", ["mask", "reference"])
def test_an_empty_mask_has_no_targets_and_no_nan(empty):
    full, none = rectangle(80, 60, 20, 10, 60, 40).expand(2, -1, -1, -1).clone(), None
    none = full.clone()
    none[0] = 0
    target, where = from_masks(*((none, full) if empty == "mask" else (full, none)), GRID, KEY_GRID)
    assert not where[0].any() and where[1].any() and torch.isfinite(target).all()


def test_a_known_augmentation_is_exact():
    """The reference is the right half of the picture: x' = 2 x - 1, y' = y; cells of the left half have no target."""
    matrix = torch.tensor([[[2.0, 0.0, -1.0], [0.0, 1.0, 0.0]]])
    target, where = from_affine(matrix, (4, 4), (4, 4))
    assert where[0, 0, 0].tolist() == [0, 0, 1, 1]
    torch.testing.assert_close(target[0, 1, 0], torch.tensor([2 * (c + 0.5) / 4 - 1 for c in range(4)]) * 4 - 0.5)
    torch.testing.assert_close(target[0, 0, :, 3], torch.arange(4.0))
    mask = rectangle(40, 40, 0, 0, 20, 40)
    assert from_affine(matrix, (4, 4), (4, 4), mask)[1][0, 0].sum() == 4  # two rows of two


def test_matches_give_the_mean_of_where_they_end():
    size = (40, 40)
    points = np.array([[[5, 5], [5, 5]], [[6, 6], [5, 15]], [[35, 35], [35, 5]]], np.float32)  # 4 x 4 cells of 10 pixels
    target, where = from_matches([None, Matches(points, np.ones(3, bool), size, size)], (4, 4), (4, 4), "cpu")
    assert not where[0].any() and where[1, 0].nonzero().tolist() == [[0, 0], [3, 3]]
    assert target[1, :, 0, 0].tolist() == [0.5, 0.0] and target[1, :, 3, 3].tolist() == [0.0, 3.0]
    assert not from_matches([None], (4, 4), (4, 4), "cpu")[1].any()


def test_an_unknown_fit_is_refused():
    with pytest.raises(ValueError, match="box or moments"):
        from_masks(torch.ones(1, 1, 8, 8), torch.ones(1, 1, 8, 8), GRID, KEY_GRID, "best")
