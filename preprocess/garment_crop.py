"""A worn garment for IGR's two paths: the person's picture with its mask, and the garment cut out alone.

The cut-out is section 3.2's Resize(Crop(p m)): outside the mask the product of a picture in -1..1 with the mask is 0,
which is middle grey. An image encoder crops or squashes whatever is not square, so the cut-out is one.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from .arrays import as_image, as_mask, bounding_box, fit_mask, match_batch, to_bool
from .letterbox import letterbox

FILLS = {"grey": 0.5, "black": 0.0, "white": 1.0}
"""What replaces the picture outside the mask."""


def worn_garment(image: Tensor, mask: Tensor) -> tuple[Tensor, Tensor, str]:
    """Check a person's picture and the garment's mask, and bring them to one size and one batch.

    Args:
        image: (B,H,W,3), 0..1.
        mask: (h,w), (B,h,w) or (B,1,h,w), 0..1, 1 = garment.

    Returns:
        image (B,H,W,3), mask (B,1,H,W), and a note where the mask was resized ("" otherwise).

    Raises:
        ValueError: an alpha channel, an empty mask, NaN, or batches that do not broadcast.
    """
    image, mask = as_image(image, "The person's picture"), as_mask(mask, "The garment mask")
    image, mask = match_batch(image=image, mask=mask)
    mask, note = fit_mask(mask, *image.shape[1:3])
    for index, covered in enumerate(to_bool(mask).any((1, 2))):
        if not covered:
            which = f"The garment mask {index + 1} of {len(mask)}" if len(mask) > 1 else "The garment mask"
            raise ValueError(f"{which} is empty, so there is no garment to restore; paint it (1 = garment), or check the node that made it.")
    return image, mask, note


def fit_person(image: Tensor, mask: Tensor, height: int, width: int) -> tuple[Tensor, Tensor]:
    """Picture and mask on one canvas, neither stretched nor cropped: white around the person, 0 around the mask.

    Args:
        image: (B,H,W,3). mask: (B,1,H,W). height, width: the canvas in pixels.

    Returns:
        (B,height,width,3) and (B,1,height,width).
    """
    return letterbox(image, height, width), letterbox(mask.movedim(1, -1), height, width, fill=0.0).movedim(-1, 1)


def square_around(region, margin: float) -> tuple[int, int, int]:
    """The square around a region with room on every side.

    Args:
        region: bool (H,W), not empty.
        margin: room as a share of the long side of the region's box.

    Returns:
        (top, left, side) in pixels; the square may lie partly outside the picture.
    """
    box = bounding_box(region)
    long = max(box.height, box.width)
    side = long + 2 * math.ceil(long * margin)
    return box.y0 - (side - box.height) // 2, box.x0 - (side - box.width) // 2, side


def crop_garment(image: Tensor, mask: Tensor, size: int = 224, margin: float = 0.04, fill: str = "grey") -> Tensor:
    """The garment alone, in a square.

    Args:
        image: (B,H,W,3), 0..1, and mask: (B,1,H,W), as `worn_garment` returns them.
        size: side of the result in pixels.
        margin: room around the garment's box, as a share of its long side.
        fill: "grey", "black" or "white" outside the garment.

    Returns:
        (B,size,size,3), 0..1, resized with bicubic antialiasing.
    """
    m = mask.movedim(1, -1)
    alone = image * m + FILLS[fill] * (1 - m)
    crops = [_window(picture, *square_around(region, margin), FILLS[fill]) for picture, region in zip(alone, to_bool(mask))]
    resized = [interpolate(c.movedim(-1, 0).unsqueeze(0), (size, size), mode="bicubic", antialias=True) for c in crops]
    return torch.cat(resized).clamp(0, 1).movedim(1, -1)


def _window(picture: Tensor, top: int, left: int, side: int, fill: float) -> Tensor:
    """A square of a picture (H,W,C) -> (side,side,C); what lies outside the picture is filled."""
    out = picture.new_full((side, side, picture.shape[-1]), fill)
    y, x = max(top, 0), max(left, 0)
    inside = picture[y : top + side, x : left + side]
    out[y - top : y - top + inside.shape[0], x - left : x - left + inside.shape[1]] = inside
    return out
