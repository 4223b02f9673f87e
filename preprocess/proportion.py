"""Padding and rescaling of in-shop photos to a suitable proportion (IGR section 3.2: "resized and padded")."""

from typing import NamedTuple

import numpy as np

FILL = 0.9  # of the picture's height or width, whichever is reached first (uncalibrated)


class FitPlan(NamedTuple):
    """Where a picture goes: enlarged by `scale`, then moved by (dx, dy) pixels onto a canvas of `size` (height, width)."""

    scale: float
    dx: float
    dy: float
    size: tuple[int, int]


def mask_box(mask: np.ndarray) -> tuple[int, int, int, int]:
    """(top, bottom, left, right) of the true pixels of a bool mask (H,W), ends excluded. ValueError for an empty mask."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        raise ValueError("The mask is empty, expected a garment: give a mask that covers it.")
    return int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1


def fit_plan(mask: np.ndarray, size: tuple[int, int], fill: float = FILL) -> FitPlan:
    """The plan that centres the garment (bool mask (H,W)) on a canvas of `size` and lets it fill at most `fill` of each side."""
    top, bottom, left, right = mask_box(mask)
    scale = min(fill * size[0] / (bottom - top), fill * size[1] / (right - left))
    dx, dy = size[1] / 2 - scale * (left + right) / 2, size[0] / 2 - scale * (top + bottom) / 2
    return FitPlan(float(scale), float(dx), float(dy), (int(size[0]), int(size[1])))


def apply_plan(picture: np.ndarray, plan: FitPlan, background=None) -> np.ndarray:
    """Carry a plan out on (H,W[,C]) uint8 or float; `background` fills what is new (default: the median of the picture's rim)."""
    import cv2

    if background is None:
        rim = np.concatenate([edge.reshape(-1, *picture.shape[2:]) for edge in (picture[0], picture[-1], picture[:, 0], picture[:, -1])])
        background = np.median(rim, axis=0)
    height, width = (max(1, round(side * plan.scale)) for side in picture.shape[:2])
    way = cv2.INTER_AREA if plan.scale < 1 else cv2.INTER_CUBIC
    scaled = cv2.resize(picture, (width, height), interpolation=way).reshape(height, width, *picture.shape[2:])
    canvas = np.empty((*plan.size, *picture.shape[2:]), picture.dtype)
    canvas[:] = background
    x, y = round(plan.dx), round(plan.dy)
    rows, columns = slice(max(0, y), max(0, y + height)), slice(max(0, x), max(0, x + width))
    part = canvas[rows, columns]
    part[:] = scaled[max(0, -y) :, max(0, -x) :][: part.shape[0], : part.shape[1]]
    return canvas
