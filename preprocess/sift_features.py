"""SIFT keypoints of one picture and the nearest descriptors of another: what the filters start from.

Source: D. Lowe, IJCV 60(2), 2004, as OpenCV implements it. The nearest neighbours come from one matrix product instead of a
brute-force matcher: the same result, exact because the descriptors are whole numbers and their products stay below 2^24.
"""

from typing import NamedTuple

import numpy as np


class Features(NamedTuple):
    """Keypoints of one picture: xy (N,2), deg (N,), size (N,) float32 and descriptors (N,128) float32."""

    xy: np.ndarray
    deg: np.ndarray
    size: np.ndarray
    descriptors: np.ndarray


def describe(picture: np.ndarray, luma: str = "released") -> Features:
    """OpenCV's SIFT with its defaults (3 layers per octave, contrast 0.04, edge 10, sigma 1.6) on RGB uint8 (H,W,3)."""
    import cv2

    code = cv2.COLOR_BGR2GRAY if luma == "released" else cv2.COLOR_RGB2GRAY
    keypoints, descriptors = cv2.SIFT_create().detectAndCompute(cv2.cvtColor(picture, code), None)
    if not keypoints:
        return Features(np.zeros((0, 2), np.float32), *(np.zeros(0, np.float32),) * 2, np.zeros((0, 128), np.float32))
    shape = np.array([(*point.pt, point.angle, point.size) for point in keypoints], np.float32)
    return Features(shape[:, :2], shape[:, 2], shape[:, 3], descriptors)


def two_nearest(query: np.ndarray, train: np.ndarray, block: int = 1024) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For every row of query (N,128): index of the nearest row of train (M,128), its L2 distance, the second nearest's."""
    index = np.empty(len(query), np.int64)
    best, second = np.empty(len(query), np.float32), np.empty(len(query), np.float32)
    train_norm = np.einsum("md,md->m", train, train)
    for start in range(0, len(query), block):
        rows = slice(start, start + block)
        part = query[rows]
        squared = (-2.0 * part) @ train.T
        squared += train_norm
        index[rows] = nearest = squared.argmin(axis=1)
        at = np.arange(len(part)), nearest
        own = np.einsum("nd,nd->n", part, part)
        best[rows] = squared[at] + own
        squared[at] = np.inf
        second[rows] = squared.min(axis=1) + own
    return index, np.sqrt(np.maximum(best, 0.0)), np.sqrt(np.maximum(second, 0.0))


def hsv_at(picture, xy):
    """The 8-bit OpenCV HSV (K,3) of the pixels nearest to xy (K,2) in an RGB picture."""
    import cv2

    at = np.clip(np.rint(xy).astype(np.int64), 0, [picture.shape[1] - 1, picture.shape[0] - 1])
    pixels = picture[at[:, 1], at[:, 0]].reshape(-1, 1, 3)
    return cv2.cvtColor(pixels, cv2.COLOR_RGB2HSV)[:, 0] if len(pixels) else np.zeros((0, 3), np.uint8)
