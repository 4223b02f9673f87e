"""Canny edges equal to OpenCV's, pixel for pixel, with or without OpenCV installed.

J. Canny, "A computational approach to edge detection", PAMI 1986, in the form of cv2.Canny(aperture 3, L1 gradient), which
Diffuse to Choose uses with thresholds 30 and 140 (section 5.5; per channel in figure 16). The host has no OpenCV and its own
Canny node is another operator, so where cv2 is missing an integer numpy version of the same rules takes over.
"""

import numpy as np
import torch

from .arrays import as_image, from_uint8, to_uint8

MODES = ("colour", "grey", "per_channel")
TAN_22_5 = 13573  # tan(22.5 degrees) in 15-bit fixed point, as OpenCV rounds it


def canny(image: torch.Tensor, low: float = 30, high: float = 140, mode: str = "colour") -> torch.Tensor:
    """Edges of a picture (B,H,W,3), black and white in the same shape.

    mode `colour`: at every pixel the channel of steepest gradient; `grey`: of the luma; `per_channel`: red, green and blue edges
    in their own channel. low and high are thresholds on the 8-bit gradient. Raises ValueError for low > high or another mode.
    """
    if mode not in MODES:
        raise ValueError(f"Canny mode '{mode}' is not known; choose one of {', '.join(MODES)}.")
    if not 0 <= low <= high:
        raise ValueError(f"Canny thresholds low {low:g} and high {high:g} were given, but 0 <= low <= high was expected.")
    return from_uint8(np.stack([_edges(item, low, high, mode) for item in to_uint8(as_image(image))]))


def _edges(pixels: np.ndarray, low: float, high: float, mode: str) -> np.ndarray:
    if mode == "per_channel":
        return np.stack([edges(np.ascontiguousarray(pixels[..., c]), low, high) for c in range(3)], -1)
    return np.repeat(edges(luma(pixels) if mode == "grey" else pixels, low, high)[..., None], 3, -1)


def luma(pixels: np.ndarray) -> np.ndarray:
    """RGB uint8 (...,3) to grey uint8 (...), with OpenCV's 15-bit weights of ITU-R BT.601."""
    weighted = pixels.astype(np.int32) @ np.array([9798, 19235, 3735], np.int32)
    return ((weighted + (1 << 14)) >> 15).astype(np.uint8)


def edges(pixels: np.ndarray, low: float, high: float) -> np.ndarray:
    """cv2.Canny(pixels, low, high) of uint8 (H,W) or (H,W,3): uint8 (H,W), 255 on edges."""
    try:
        from cv2 import Canny
    except ImportError:
        return edges_numpy(pixels, low, high)
    return Canny(np.ascontiguousarray(pixels), low, high)


def edges_numpy(pixels: np.ndarray, low: float, high: float) -> np.ndarray:
    """The same as `edges`, without OpenCV."""
    from scipy.ndimage import label
    dx, dy = _steepest(*_sobel(pixels.astype(np.int32)))
    magnitude = np.abs(dx) + np.abs(dy)
    candidate = (magnitude > int(low)) & _ridge(magnitude, dx, dy)
    groups, count = label(candidate, np.ones((3, 3)))
    strong = np.zeros(count + 1, bool)
    strong[groups[candidate & (magnitude > int(high))]] = True
    return np.where(strong[groups], 255, 0).astype(np.uint8)


def _sobel(pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """3x3 integer Sobel with a replicated border."""
    padded = np.pad(pixels, [(1, 1), (1, 1)] + [(0, 0)] * (pixels.ndim - 2), mode="edge")
    rows = padded[:-2] + 2 * padded[1:-1] + padded[2:]
    columns = padded[:, :-2] + 2 * padded[:, 1:-1] + padded[:, 2:]
    return rows[:, 2:] - rows[:, :-2], columns[2:] - columns[:-2]


def _steepest(dx: np.ndarray, dy: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Per pixel the channel of the largest |dx| + |dy|, the first on ties."""
    if dx.ndim == 2:
        return dx, dy
    channel = (np.abs(dx) + np.abs(dy)).argmax(-1)[..., None]
    return np.take_along_axis(dx, channel, -1)[..., 0], np.take_along_axis(dy, channel, -1)[..., 0]


def _ridge(magnitude: np.ndarray, dx: np.ndarray, dy: np.ndarray) -> np.ndarray:
    """Non-maximum suppression across the gradient in four sectors, with OpenCV's asymmetric ties and zeros outside the picture."""
    padded = np.pad(magnitude, 1)

    def at(row, column):
        return padded[1 + row:padded.shape[0] - 1 + row, 1 + column:padded.shape[1] - 1 + column]

    ax, ay = np.abs(dx).astype(np.int64), np.abs(dy).astype(np.int64) << 15
    horizontal = ay < ax * TAN_22_5
    vertical = ay > ax * TAN_22_5 + (ax << 16)
    rising = (dx < 0) != (dy < 0)
    diagonal = np.where(rising, (magnitude > at(-1, 1)) & (magnitude > at(1, -1)), (magnitude > at(-1, -1)) & (magnitude > at(1, 1)))
    return np.where(horizontal, (magnitude > at(0, -1)) & (magnitude >= at(0, 1)),
                    np.where(vertical, (magnitude > at(-1, 0)) & (magnitude >= at(1, 0)), diagonal))
