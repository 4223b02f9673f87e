"""The filters of SIFT-VTON's matching, each a pure function of small arrays.

Source: "SIFT-VTON", arXiv 2605.01296, section 3.1 (ratio, angle, scale, duplicates, RANSAC) and 4.1.1 (45 degrees, [0.44, 2.25]);
the colour filter and the small-set rules are in the released procedure only, not in the paper.

Every function takes what belongs to K matches, row by row, and returns `Kept(keep, removed)`: a bool mask (K,) and the number of
matches it turned away. None of them looks at the others' results; `sift.py` runs them in order, each on what the one before left.
Points are (K,2) pixels [x, y], person and garment in pixels of equal scale.
"""

import math
from typing import NamedTuple

import numpy as np

BLOCK = 1024  # rows of a pairwise comparison held at once


class Kept(NamedTuple):
    """keep (K,) bool: which matches stay; removed: how many do not."""

    keep: np.ndarray
    removed: int


def ratio_filter(nearest: np.ndarray, second: np.ndarray, ratio: float = 0.8) -> Kept:
    """Lowe's test: the nearest descriptor (K,) must be strictly closer than `ratio` times the second nearest (K,)."""
    return _kept(np.asarray(nearest) < ratio * np.asarray(second))


def angle_filter(person_deg: np.ndarray, garment_deg: np.ndarray, max_deg: float = 45.0) -> Kept:
    """Keypoint orientations (K,) in degrees may differ by strictly less than `max_deg`, around the circle."""
    return _kept(angle_between(person_deg, garment_deg) < max_deg)


def angle_between(a_deg: np.ndarray, b_deg: np.ndarray) -> np.ndarray:
    """The angle between two directions in degrees, 0..180."""
    difference = np.abs(np.asarray(a_deg, np.float64) - np.asarray(b_deg, np.float64)) % 360.0
    return np.minimum(difference, 360.0 - difference)


def scale_filter(person_size: np.ndarray, garment_size: np.ndarray, max_scale: float = 2.25) -> Kept:
    """Keypoint diameters (K,) may have a quotient in [1/max_scale, max_scale], both ends included."""
    quotient = np.asarray(person_size, np.float64) / np.asarray(garment_size, np.float64)
    return _kept((quotient >= 1.0 / max_scale) & (quotient <= max_scale))


def colour_filter(person_hsv: np.ndarray, garment_hsv: np.ndarray) -> Kept:
    """The pixels under both ends must look alike; (K,3) HSV as OpenCV's 8 bits: hue 0..179, the others 0..255.

    Rejected where values differ by more than 0.4 * 255. Otherwise kept where both are grey (saturation below 25.5), or both
    dark (value below 51), or their hues are less than 15 apart (30 degrees) around the circle.
    """
    a, b = np.asarray(person_hsv, np.float64), np.asarray(garment_hsv, np.float64)
    hue = np.abs(a[:, 0] - b[:, 0])
    hue = np.minimum(hue, 180.0 - hue)
    both_grey = (a[:, 1] < 25.5) & (b[:, 1] < 25.5)
    both_dark = (a[:, 2] < 51.0) & (b[:, 2] < 51.0)
    too_far = np.abs(a[:, 2] - b[:, 2]) > 0.4 * 255.0
    return _kept(~too_far & (both_grey | both_dark | (hue < 15.0)))


def duplicate_filter(person: np.ndarray, garment: np.ndarray, near_px: float = math.sqrt(2.0)) -> Kept:
    """Greedy from the first row (sort by distance first): drop what repeats a match already kept.

    A repeat has one end on exactly the same spot as the kept match's, or both ends closer than `near_px`.
    """
    person, garment = np.asarray(person), np.asarray(garment)
    keep = np.ones(len(person), bool)
    for row, clashes in _clashes(person, garment, near_px):
        if keep[row]:
            keep[clashes] = False
    return _kept(keep)


def _clashes(person, garment, near_px):
    """Rows with later rows they clash with, in order: (row, indices of later rows)."""
    for start in range(0, len(person), BLOCK):
        rows = slice(start, start + BLOCK)
        same = _same(person[rows], person) | _same(garment[rows], garment)
        near = (np.sqrt(_squared(person[rows], person)) < near_px) & (np.sqrt(_squared(garment[rows], garment)) < near_px)
        first, second = np.nonzero(np.triu(same | near, start + 1))
        split = np.flatnonzero(np.diff(first)) + 1
        if len(first):
            yield from zip(first[np.r_[0, split]] + start, np.split(second, split), strict=True)


def slope_filter(person: np.ndarray, garment: np.ndarray, offset_px: float = 384.0, max_deg: float = 15.0) -> Kept:
    """Drawn side by side, few matches should run parallel: the angle of each against the mean slope of the others.

    Slope -(y_g - y_p) / (x_g - x_p + offset_px), with offset_px the width of the person picture; dropped at `max_deg` or more.
    Fewer than two matches are left alone.
    """
    count = len(person)
    if count < 2:
        return _kept(np.ones(count, bool))
    move = np.asarray(garment, np.float64) - np.asarray(person, np.float64)
    run = move[:, 0] + offset_px
    slope = -move[:, 1] / np.where(np.abs(run) < 1e-9, 1e-9, run)
    others = (slope.sum() - slope) / (count - 1)
    return _kept(np.degrees(np.abs(np.arctan(slope) - np.arctan(others))) < max_deg)


def neighbour_filter(near: np.ndarray, far: np.ndarray, stretch: float) -> Kept:
    """Matches next to each other in `near` (K,2) must not lie far apart in `far` (K,2): at most `stretch` times as far.

    The released rules are neighbour_filter(garment, person, 1.4), then neighbour_filter(person, garment, 1.8).
    Fewer than two matches are left alone.
    """
    count = len(near)
    if count < 2:
        return _kept(np.ones(count, bool))
    squared = _squared(np.asarray(near, np.float64), np.asarray(near, np.float64))
    np.fill_diagonal(squared, np.inf)
    partner = squared.argmin(axis=1)
    rows = np.arange(count)
    reach = np.linalg.norm(np.asarray(far, np.float64) - np.asarray(far, np.float64)[partner], axis=1)
    return _kept(reach <= stretch * np.sqrt(squared[rows, partner]))


def minimum_filter(count: int, minimum: int = 2) -> Kept:
    """All of `count` matches, or none where they are fewer than `minimum`."""
    return _kept(np.full(count, count >= minimum))


def _kept(keep: np.ndarray) -> Kept:
    return Kept(keep, int(keep.size - np.count_nonzero(keep)))


def _same(a, b):
    return (a[:, None, 0] == b[None, :, 0]) & (a[:, None, 1] == b[None, :, 1])


def _squared(a, b):
    return (a[:, None, 0] - b[None, :, 0]) ** 2 + (a[:, None, 1] - b[None, :, 1]) ** 2
