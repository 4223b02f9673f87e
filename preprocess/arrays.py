"""The doors of this folder: what a picture, a mask and a box are, checked in one place.

Pictures are torch float (B,H,W,3) in 0..1, as the host passes them; masks are torch float (B,1,H,W), 1 = repaint.
Pixel centres lie at integer coordinates, so a horizontal flip takes x to W - 1 - x. Every error is a ValueError with one sentence.
"""

from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F


class Box(NamedTuple):
    """Rows y0..y1 and columns x0..x1 in pixels, half-open; boxes sort by (y0, x0, y1, x1)."""

    y0: int
    x0: int
    y1: int
    x1: int

    @property
    def height(self) -> int:
        """Rows covered."""
        return self.y1 - self.y0

    @property
    def width(self) -> int:
        """Columns covered."""
        return self.x1 - self.x0

    def as_dict(self) -> dict:
        """The host's BOUNDING_BOX."""
        return {"x": self.x0, "y": self.y0, "width": self.width, "height": self.height}


def boxes_for_host(boxes: list[Box]) -> dict | list:
    """One box as the host's dict; several as one list per picture, the form its detectors give and take."""
    return boxes[0].as_dict() if len(boxes) == 1 else [[box.as_dict()] for box in boxes]


def as_image(image: torch.Tensor, name: str = "image") -> torch.Tensor:
    """Check a picture: (B,H,W,3) float as given, (H,W,3) gets a batch, one grey channel is repeated.

    Raises ValueError for an alpha channel (dropping it would change the picture silently), other shapes and NaN.
    """
    image = image[None] if image.dim() == 3 else image
    if image.dim() != 4 or image.shape[-1] not in (1, 3, 4) or 0 in image.shape:
        raise ValueError(f"{name} has shape {tuple(image.shape)}, but a picture (batch, height, width, 3) was expected.")
    if image.shape[-1] == 4:
        raise ValueError(f"{name} has an alpha channel; split it off first, and give the alpha as a mask where one is asked for.")
    if image.dtype == torch.uint8:
        image = image.float() / 255
    if not bool(torch.isfinite(image).all()):
        raise ValueError(f"{name} contains NaN or infinite values; check the node that made it.")
    return image.float().expand(*image.shape[:3], 3)


def as_mask(mask: torch.Tensor, name: str = "mask") -> torch.Tensor:
    """Check a mask and bring it to float (B,1,H,W) in 0..1, from (H,W), (B,H,W) or (B,1,H,W)."""
    if mask.dim() == 2:
        mask = mask[None]
    if mask.dim() == 3:
        mask = mask[:, None]
    if mask.dim() != 4 or mask.shape[1] != 1 or 0 in mask.shape:
        raise ValueError(f"{name} has shape {tuple(mask.shape)}, but a mask (batch, height, width) was expected.")
    mask = mask.float()
    if not bool(torch.isfinite(mask).all()):
        raise ValueError(f"{name} contains NaN or infinite values; check the node that made it.")
    return mask.clamp(0, 1)


def check_mask(mask: torch.Tensor, name: str = "mask") -> torch.Tensor:
    """Refuse a mask (B,1,H,W) of which one item covers nothing or everything at the 0.5 threshold."""
    for index, item in enumerate(mask > 0.5):
        which = f"{name} {index + 1} of {len(mask)}" if len(mask) > 1 else name
        if not item.any():
            raise ValueError(f"{which} covers nothing; paint the region to change (1 = repaint), or check that it is not inverted.")
        if item.all():
            raise ValueError(f"{which} covers the whole picture; leave something to keep, or check that it is not inverted.")
    return mask


def fit_mask(mask: torch.Tensor, height: int, width: int) -> tuple[torch.Tensor, str]:
    """Bring a mask (B,1,h,w) to the picture's size; returns it and a note, "" where nothing was done."""
    h, w = mask.shape[-2:]
    if (h, w) == (height, width):
        return mask, ""
    note = f"The mask was {w}x{h} and was resized to the picture's {width}x{height}"
    if abs(w / h - width / height) > 0.02 * width / height:
        note += "; its proportions differ, so it was stretched"
    return F.interpolate(mask, (height, width), mode="bilinear", antialias=True).clamp(0, 1), note + "."


def match_batch(**items: torch.Tensor) -> list[torch.Tensor]:
    """Repeat items of batch 1 to the largest batch; any other difference is refused by name."""
    batch = max(len(item) for item in items.values())
    for name, item in items.items():
        if len(item) not in (1, batch):
            sizes = ", ".join(f"{key} {len(value)}" for key, value in items.items())
            raise ValueError(f"{name} has a batch of {len(item)}, which does not fit the others ({sizes}); give 1 or {batch}.")
    return [item if len(item) == batch else item.expand(batch, *item.shape[1:]) for item in items.values()]


def to_uint8(image: torch.Tensor) -> np.ndarray:
    """(...) float 0..1 to numpy uint8, rounded to the nearest level."""
    return (image.detach().float().clamp(0, 1) * 255).round().to(torch.uint8).cpu().numpy()


def from_uint8(array: np.ndarray) -> torch.Tensor:
    """Numpy uint8 (...) to float 0..1."""
    return torch.from_numpy(np.ascontiguousarray(array)).float() / 255


def to_bool(mask: torch.Tensor) -> np.ndarray:
    """Mask (B,1,H,W) to numpy bool (B,H,W) at the 0.5 threshold."""
    return (mask[:, 0] > 0.5).cpu().numpy()


def from_bool(array: np.ndarray) -> torch.Tensor:
    """Numpy bool (H,W) or (B,H,W) to a mask (B,1,H,W)."""
    return torch.from_numpy(np.ascontiguousarray(array)).float().reshape(-1, 1, *array.shape[-2:])


def bounding_box(region: np.ndarray) -> Box | None:
    """The smallest Box around a bool region (H,W), or None where it is empty."""
    rows, columns = np.flatnonzero(region.any(1)), np.flatnonzero(region.any(0))
    if not len(rows):
        return None
    return Box(int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1)
