"""Homography RANSAC over many minimal samples at once, with a random generator of its own.

Source: M. A. Fischler and R. C. Bolles, "Random sample consensus", CACM 24(6), 1981; used by SIFT-VTON (arXiv 2605.01296,
section 3.1) as the last filter. The numbers of the released procedure are kept: person -> garment, one-way reprojection error,
the inliers of the best *minimal* model (the first strictly better one wins), stopping looked at after 200 samples and then
every 100.

Differs from the released procedure:
- a numpy Generator per call instead of the process-wide one, so a result depends on its seed alone;
- the homography through four points is written in closed form (projective bases) instead of one SVD per sample: the same
  matrix, a hundred times faster. Nothing goes through BLAS, so the number of threads cannot change a bit.
"""

import math
from typing import NamedTuple

import numpy as np

FIRST_LOOK, LOOK_EVERY = 200, 100


class Consensus(NamedTuple):
    """inliers (K,) bool; homography (3,3) float64 person -> garment with H33 = 1, or None; samples drawn."""

    inliers: np.ndarray
    homography: np.ndarray | None
    samples: int


def homographies(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """The homographies (M,3,3) that carry four points to four points exactly; source, target (M,4,2).

    With P = [x1 x2 x3] (homogeneous columns) and P l = x4, the matrix A = P diag(l) maps the projective basis to the four
    points; then H = B A^-1, divided by H33. Samples with three points on a line give rows of nan.
    """
    a, b = _basis(np.asarray(source, np.float64)), _basis(np.asarray(target, np.float64))
    with np.errstate(all="ignore"):
        h = _product(b, _adjugate(a))
        h /= h[:, 2:3, 2:3]
    h[~np.isfinite(h).all(axis=(1, 2))] = np.nan
    return h


def project(h: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Map points (K,2) by homographies (M,3,3) to (M,K,2); nan where a point goes to infinity."""
    x, y = points[:, 0], points[:, 1]
    rows = [h[:, i, 0:1] * x + h[:, i, 1:2] * y + h[:, i, 2:3] for i in range(3)]  # each (M,K)
    with np.errstate(all="ignore"):
        return np.stack((rows[0] / rows[2], rows[1] / rows[2]), axis=-1)


def ransac_homography(
    person: np.ndarray,
    garment: np.ndarray,
    threshold_px: float = 12.0,
    seed: int | tuple[int, ...] = 0,
    iterations: int = 1000,
    confidence: float = 0.99,
) -> Consensus:
    """The largest set of matches that one homography explains.

    person, garment  (K,2) pixel coordinates of the same match; K < 4 gives no inliers.
    threshold_px     a match is an inlier below this distance in the garment picture.
    seed             whatever `numpy.random.default_rng` takes; the result depends on nothing else.
    """
    person, garment = np.asarray(person, np.float64), np.asarray(garment, np.float64)
    count = len(person)
    if count < 4 or iterations < 1:
        return Consensus(np.zeros(count, bool), None, 0)
    rng = np.random.default_rng(seed)
    best, best_h, best_count, drawn = np.zeros(count, bool), None, 0, 0
    while drawn < iterations:
        size = min(FIRST_LOOK if drawn == 0 else LOOK_EVERY, iterations - drawn)
        h = homographies(*_samples(rng, person, garment, size))
        inliers = _inliers(h, person, garment, threshold_px)
        counts = inliers.sum(axis=1)
        winner = int(np.argmax(counts))
        if counts[winner] > best_count:
            best, best_h, best_count = inliers[winner].copy(), h[winner], int(counts[winner])
        drawn += size
        if drawn >= _needed(best_count / count, confidence):
            break
    return Consensus(best, best_h, drawn)


def distinct_draws(rng: np.random.Generator, count: int, draws: int, picks: int = 4) -> np.ndarray:
    """`draws` rows of `picks` different indices below `count`, every ordered pick equally likely."""
    chosen = np.empty((draws, picks), np.int64)
    for k in range(picks):
        value = rng.integers(0, count - k, draws)
        for earlier in np.sort(chosen[:, :k], axis=1).T:  # step over what is taken, smallest first
            value += value >= earlier
        chosen[:, k] = value
    return chosen


def _samples(rng, person, garment, size):
    index = distinct_draws(rng, len(person), size)
    return person[index], garment[index]


def _inliers(h, person, garment, threshold_px):
    with np.errstate(invalid="ignore", over="ignore"):
        offset = project(h, person) - garment
        return offset[..., 0] ** 2 + offset[..., 1] ** 2 < threshold_px**2  # nan compares false


def _needed(share: float, confidence: float) -> float:
    share = 1.0 - min(max(1.0 - share, 0.01), 0.99)
    return math.log(1.0 - confidence) / math.log(1.0 - share**4)


def _basis(points: np.ndarray) -> np.ndarray:
    x = np.concatenate((points, np.ones_like(points[..., :1])), axis=-1)  # (M,4,3)
    p1, p2, p3, p4 = (x[:, i] for i in range(4))
    weights = (_triple(p4, p2, p3), _triple(p1, p4, p3), _triple(p1, p2, p4))  # Cramer, up to det P
    det = _triple(p1, p2, p3)
    columns = [p * (w / _safe(det))[:, None] for p, w in zip((p1, p2, p3), weights, strict=True)]
    return np.stack(columns, axis=-1)


def _safe(det: np.ndarray) -> np.ndarray:
    return np.where(np.abs(det) < 1e-9, np.nan, det)


def _triple(a, b, c):
    return (
        a[:, 0] * (b[:, 1] * c[:, 2] - b[:, 2] * c[:, 1])
        - a[:, 1] * (b[:, 0] * c[:, 2] - b[:, 2] * c[:, 0])
        + a[:, 2] * (b[:, 0] * c[:, 1] - b[:, 1] * c[:, 0])
    )


def _adjugate(m):
    c0, c1, c2 = m[:, :, 0], m[:, :, 1], m[:, :, 2]
    return np.stack((np.cross(c1, c2), np.cross(c2, c0), np.cross(c0, c1)), axis=1)


def _product(a, b):
    return (a[:, :, :, None] * b[:, None, :, :]).sum(axis=2)  # elementwise: BLAS may sum in another order
