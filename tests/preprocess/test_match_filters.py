"""Each filter on numbers a reader can check by hand."""

import numpy as np
from fitting_room.preprocess import match_filters as filters


def kept(result):
    return result.keep.tolist(), result.removed


def test_ratio_is_strict():
    assert kept(filters.ratio_filter(np.array([7.9, 8.0, 9.0]), np.array([10.0, 10.0, 10.0]), 0.8)) == ([True, False, False], 2)


def test_angle_goes_around_the_circle_and_is_strict():
    person, garment = np.array([350.0, 0.0, 10.0, 200.0]), np.array([20.0, 45.0, 54.9, 20.0])  # 30, 45, 44.9, 180 apart
    assert kept(filters.angle_filter(person, garment, 45.0)) == ([True, False, True, False], 2)


def test_scale_includes_both_ends():
    person, garment = np.array([9.0, 4.0, 9.1, 4.0]), np.array([4.0, 9.0, 4.0, 9.1])  # 2.25, 1/2.25, above, below
    assert kept(filters.scale_filter(person, garment, 2.25)) == ([True, True, False, False], 2)


def test_colour():
    person = np.array([[175, 200, 200], [0, 200, 200], [0, 20, 200], [0, 200, 50], [0, 20, 200], [0, 20, 250]])
    garment = np.array([[5, 200, 200], [20, 200, 200], [90, 25, 100], [90, 200, 50], [90, 30, 200], [0, 20, 140]])
    # hues 10 apart across 180; 20 apart; both grey; both dark; one coloured; values 110 apart (more than 102)
    assert kept(filters.colour_filter(person, garment)) == ([True, False, True, True, False, False], 3)


def test_duplicates_are_dropped_greedily_from_the_best():
    person = np.array([[0, 0], [0, 0], [1, 0], [50, 50], [51, 51], [90, 90]], float)
    garment = np.array([[0, 0], [99, 9], [0, 1], [50, 50], [51, 51], [50, 50]], float)
    # row 1 repeats row 0's person spot; row 2 is within sqrt 2 of row 0 at both ends; row 4 is exactly sqrt 2 from row 3 (kept);
    # row 5 repeats row 3's garment spot
    assert kept(filters.duplicate_filter(person, garment)) == ([True, False, False, True, True, False], 3)


def test_a_dropped_duplicate_drops_nobody():
    person = np.array([[0, 0], [1, 0], [2, 0]], float)  # 1 clashes with 0, and 2 with 1 only
    assert kept(filters.duplicate_filter(person, person.copy())) == ([True, False, True], 1)


def test_duplicates_do_not_depend_on_the_block(monkeypatch):
    rng = np.random.default_rng(3)
    person, garment = rng.integers(0, 12, (150, 2)).astype(float), rng.integers(0, 12, (150, 2)).astype(float)
    whole = kept(filters.duplicate_filter(person, garment))
    monkeypatch.setattr(filters, "BLOCK", 7)
    assert kept(filters.duplicate_filter(person, garment)) == whole
    chosen: list[int] = []
    for row in range(150):  # the rule once more, word by word
        gap = [(np.hypot(*(person[row] - person[k])), np.hypot(*(garment[row] - garment[k]))) for k in chosen]
        if not any(p == 0 or g == 0 or (p < 2**0.5 and g < 2**0.5) for p, g in gap):
            chosen.append(row)
    assert np.flatnonzero(whole[0]).tolist() == chosen


def test_slope_drops_the_line_that_is_not_parallel():
    person = np.array([[0, 100], [0, 200], [0, 300], [0, 400]], float)
    garment = person + [[0, 0], [0, 0], [0, 0], [0, 384]]  # three level lines; one falls by 45 degrees
    # for the level ones the mean slope of the others is -1/3: 18.4 degrees off as well, as released
    assert kept(filters.slope_filter(person, garment, 384.0, 15.0)) == ([False] * 4, 4)
    person, garment = np.tile(person, (3, 1)), np.tile(person, (3, 1))
    garment[3] += [0, 384]  # 1 of 12: the others' mean is -1/11, 5.2 degrees
    assert kept(filters.slope_filter(person, garment, 384.0, 15.0)) == ([True] * 3 + [False] + [True] * 8, 1)


def test_neighbours_must_stay_neighbours():
    near = np.array([[0, 0], [10, 0], [100, 0], [110, 0]], float)
    far = np.array([[0, 0], [14, 0], [100, 0], [115, 0]], float)  # 14 = 1.4 * 10 stays, 15 goes
    assert kept(filters.neighbour_filter(near, far, 1.4)) == ([True, True, False, False], 2)


def test_single_matches_are_left_alone():
    one = np.array([[3.0, 4.0]])
    assert kept(filters.slope_filter(one, one)) == ([True], 0)
    assert kept(filters.neighbour_filter(one, one, 1.4)) == ([True], 0)


def test_minimum():
    assert kept(filters.minimum_filter(1, 2)) == ([False], 1)
    assert kept(filters.minimum_filter(2, 2)) == ([True, True], 0)


def test_nothing_in_nothing_out():
    none, points = np.zeros(0), np.zeros((0, 2))
    for result in (
        filters.ratio_filter(none, none), filters.angle_filter(none, none), filters.scale_filter(none, none),
        filters.colour_filter(np.zeros((0, 3)), np.zeros((0, 3))), filters.duplicate_filter(points, points),
        filters.slope_filter(points, points), filters.neighbour_filter(points, points, 1.4), filters.minimum_filter(0),
    ):
        assert kept(result) == ([], 0)
