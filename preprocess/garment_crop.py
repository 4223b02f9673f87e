"""Cut a worn garment out of a person's picture, for an image encoder (IGR, section 3.2: Resize(Crop(p m)))."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from .letterbox import cut_out

FILLS = {"grey": 0.5, "black": 0.0, "white": 1.0}
"""What replaces the picture outside the mask; a product p m in -1..1 is grey there."""


def square_around(mask: Tensor, margin: float) -> tuple[int, int, int]:
    """The square around a mask's box with room on every side.

    Args:
        mask: (H,W); what lies above one half counts.
        margin: room as a share of the box's long side.

    Returns:
        (top, left, side) in pixels; the square may lie partly outside the picture.
    """
    rows, columns = (mask > 0.5).any(1).nonzero(), (mask > 0.5).any(0).nonzero()
    top, bottom, left, right = int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1
    long = max(bottom - top, right - left)
    side = long + 2 * math.ceil(long * margin)
    return top - (side - (bottom - top)) // 2, left - (side - (right - left)) // 2, side


def crop_garment(image: Tensor, mask: Tensor, size: int = 224, margin: float = 0.04, fill: str = "grey") -> Tensor:
    """The garment alone, in a square, for an image encoder that would otherwise crop or squash it.

    Args:
        image: (B,H,W,3), 0..1.
        mask: (B or 1,h,w), 0..1, 1 = garment; resized to the picture where its size differs.
        size: side of the result in pixels.
        margin: room around the garment's box, as a share of its long side.
        fill: "grey", "black" or "white" outside the garment.

    Returns:
        (B,size,size,3), 0..1, resized with bicubic antialiasing.

    Raises:
        ValueError: an empty mask, or a batch of masks that does not broadcast.
    """
    grey = FILLS[fill]
    if mask.shape[-2:] != image.shape[1:3]:
        mask = interpolate(mask.unsqueeze(1).float(), image.shape[1:3], mode="bilinear", antialias=True).squeeze(1)
    if image.shape[0] == 1 and mask.shape[0] > 1:
        image = image.expand(mask.shape[0], -1, -1, -1)
    alone = cut_out(image, mask, grey)  # (B,H,W,3)
    crops = [_window(alone[i], *square_around(mask[min(i, mask.shape[0] - 1)], margin), grey) for i in range(alone.shape[0])]
    resized = [interpolate(c.movedim(-1, 0).unsqueeze(0), (size, size), mode="bicubic", antialias=True) for c in crops]
    return torch.cat(resized).clamp(0, 1).movedim(1, -1)


def _window(picture: Tensor, top: int, left: int, side: int, fill: float) -> Tensor:
    """A square of a picture (H,W,C) -> (side,side,C); what lies outside the picture is filled."""
    out = picture.new_full((side, side, picture.shape[-1]), fill)
    y, x = max(top, 0), max(left, 0)
    inside = picture[y : top + side, x : left + side]
    out[y - top : y - top + inside.shape[0], x - left : x - left + inside.shape[1]] = inside
    return out
