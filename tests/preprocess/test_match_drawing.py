"""The drawing shows what it claims."""

import numpy as np
import pytest
from fitting_room.preprocess.match_drawing import BAR, PAPER, draw_matches
from fitting_room.preprocess.matches import Matches, empty


def picture(points, width=1024, **more):
    points = np.array(points, np.float32).reshape(-1, 2, 2)
    found = Matches(points, np.ones(len(points), bool), (512, 384), (512, 384))
    return draw_matches(np.zeros((512, 384, 3), np.uint8), np.zeros((512, 384, 3), np.uint8), found, width, **more)


@pytest.mark.parametrize("width", [256, 1024, 1600])
def test_the_drawing_is_as_wide_as_asked(width):
    drawn = picture([[[10, 10], [20, 20]]], width)
    assert drawn.dtype == np.uint8 and drawn.shape[1] == width and drawn.shape[2] == 3


def test_a_match_is_a_coloured_line_between_both_points():
    drawn = picture([[[192, 256], [192, 256]], [[192, 10], [192, 10]]]).astype(int)
    bars = BAR, drawn.shape[0] - BAR
    coloured = np.ptp(drawn, axis=2) > 40
    rows, columns = np.nonzero(coloured[bars[0] : bars[1]])
    middle = (bars[1] - bars[0]) / 2
    assert (np.abs(rows - middle) < 8).any() and columns.min() > 200 and columns.max() < 1024 - 200
    gap = coloured[bars[0] : bars[1], 508:516]  # between the pictures, where only lines are
    assert gap.any(axis=1).sum() >= 2


def test_no_matches_is_still_a_picture_with_the_reason():
    plain = np.full((512, 384, 3), 200, np.uint8)
    said = draw_matches(plain, plain, empty((512, 384), (512, 384), "No matches: plain."))
    silent = draw_matches(plain, plain, empty((512, 384), (512, 384), ""))
    bottom = said[-BAR:].astype(int)
    assert (bottom != PAPER).any() and (said[-BAR:] != silent[-BAR:]).any()
    assert (said[BAR:-BAR] == silent[BAR:-BAR]).all()


def test_many_matches_are_thinned_evenly():
    grid = np.stack(np.meshgrid(np.linspace(5, 378, 30), np.linspace(5, 506, 30)), -1).reshape(-1, 2)
    few, all_of_them = (picture(np.stack((grid, grid), 1), max_lines=n).astype(int) for n in (20, 900))
    inside = slice(BAR, -BAR)
    coloured = [(np.ptp(drawn[inside], axis=2) > 60).mean() for drawn in (few, all_of_them)]
    assert coloured[0] < 0.5 * coloured[1]
    left = np.ptp(few[inside, 16:490], axis=2) > 60
    quarters = [left[: len(left) // 2].any(), left[len(left) // 2 :].any(), left[:, :237].any(), left[:, 237:].any()]
    assert all(quarters)


def test_different_shapes_and_kinds_of_pictures():
    found = Matches(np.array([[[3.0, 3.0], [90.0, 5.0]]]), np.ones(1, bool), (40, 30), (20, 100))
    drawn = draw_matches(np.zeros((40, 30)), np.zeros((20, 100, 4), np.uint8), found)
    assert drawn.shape[1] == 1024
    with pytest.raises(ValueError, match="256"):
        draw_matches(np.zeros((40, 30)), np.zeros((40, 30)), found, width=100)
