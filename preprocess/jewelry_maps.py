"""The maps of PM-Jewelry's conditioning, brought to one size: I_h, M_j, D_j and S_h of eq. 1, in the head picture's coordinates."""

from typing import NamedTuple

import torch
import torch.nn.functional as F

from .arrays import as_image, as_mask, check_mask, fit_mask, match_batch
from .masks import agnostic_image

LATENT_PIXELS = 8


class JewelryMaps(NamedTuple):
    """All of one batch and one size (H,W), sides multiples of 8.

    image: (B,H,W,3) the head picture. masked: (B,H,W,3) the same with the region greyed out. mask: (B,1,H,W), 1 = repaint.
    depth, saliency: (B,1,H,W) in 0..1. note: what was resized, "" where nothing was.
    """

    image: torch.Tensor
    masked: torch.Tensor
    mask: torch.Tensor
    depth: torch.Tensor
    saliency: torch.Tensor
    note: str


def jewelry_maps(image: torch.Tensor, mask: torch.Tensor, depth: torch.Tensor, saliency: torch.Tensor) -> JewelryMaps:
    """Check the four pictures and fit them to the head picture (B,H,W,3).

    mask (B,h,w), 1 = repaint; depth and saliency (B,h,w,3) grey pictures. Batches of 1 are repeated.
    Raises ValueError for sides that are no multiples of 8, a mask that covers nothing or everything, maps of other proportions
    than the picture, and batches that do not fit.
    """
    image = as_image(image, "the head picture")
    height, width = image.shape[1:3]
    if height % LATENT_PIXELS or width % LATENT_PIXELS:
        raise ValueError(
            f"The head picture is {width} x {height}; both sides must be multiples of 8, "
            f"so crop or scale it, for example to {width // 8 * 8} x {height // 8 * 8}."
        )
    mask, note = fit_mask(check_mask(as_mask(mask, "the jewelry mask"), "the jewelry mask"), height, width)
    mask = check_mask(mask, "the jewelry mask")
    maps = [_grey(picture, name, height, width) for picture, name in ((depth, "depth picture"), (saliency, "saliency picture"))]
    notes = [note, *(n for _, n in maps)]
    image, mask, depth, saliency = match_batch(image=image, mask=mask, depth=maps[0][0], saliency=maps[1][0])
    return JewelryMaps(image, agnostic_image(image, mask), mask, depth, saliency, " ".join(n for n in notes if n))


def latent_grid(values: torch.Tensor) -> torch.Tensor:
    """(B,1,H,W) -> (B,1,H/8,W/8): the mean of each 8 x 8 square, so that a thin chain leaves a trace however it lies."""
    return F.avg_pool2d(values, LATENT_PIXELS)


def map_channel(values: torch.Tensor) -> torch.Tensor:
    """A map (B,1,H,W) in 0..1 as an input channel (B,1,H/8,W/8) in -1..1."""
    return latent_grid(values) * 2 - 1


def _grey(picture: torch.Tensor, name: str, height: int, width: int) -> tuple[torch.Tensor, str]:
    grey = as_image(picture, f"the {name}").mean(-1)[:, None].clamp(0, 1)
    h, w = grey.shape[-2:]
    if (h, w) == (height, width):
        return grey, ""
    if abs(w * height - h * width) > 0.02 * h * width:
        raise ValueError(
            f"The {name} is {w} x {h} and the head picture {width} x {height}: other proportions; make the map from the same picture."
        )
    note = f"The {name} was {w} x {h} and was resized to {width} x {height}."
    return F.interpolate(grey, (height, width), mode="bilinear", antialias=True), note
