"""Masks and points drawn on a picture, to be looked at: what a node chose is seen where it lies."""

from collections.abc import Sequence

import numpy as np
import torch

from .arrays import as_image, as_mask, fit_mask, from_uint8, match_batch, to_bool, to_uint8
from .shapes import grow

TINT = (0.93, 0.16, 0.42)   # raspberry: rare in skin, hair and cloth
SECOND = (0.10, 0.62, 0.86)


def overlay(image: torch.Tensor, mask: torch.Tensor, colour: tuple[float, float, float] = TINT, strength: float = 0.45) -> torch.Tensor:
    """The picture (B,H,W,3) with the mask (B,1,H,W) tinted and outlined: (B,H,W,3)."""
    image = as_image(image)
    image, mask = match_batch(image=image, mask=fit_mask(as_mask(mask), *image.shape[1:3])[0].to(image.device))
    ink = image.new_tensor(colour)
    tinted = torch.lerp(image, ink.expand_as(image), strength * mask.movedim(1, -1))
    line = max(1.0, min(image.shape[1:3]) / 400)
    edges = np.stack([region & ~grow(region, -line) for region in to_bool(mask)])
    return torch.where(torch.from_numpy(edges).to(image.device)[..., None], ink, tinted)


def with_points(image: torch.Tensor, points: Sequence, colour: tuple[float, float, float] = SECOND) -> torch.Tensor:
    """The picture (B,H,W,3) with numbered points (x, y, label?) on it; label 0 (not the object) is drawn as a ring."""
    from PIL import Image, ImageDraw, ImageFont

    image = as_image(image)
    if not len(points):
        return image
    radius = max(3.0, min(image.shape[1:3]) / 90)
    font, ink = ImageFont.load_default(size=max(10, round(2.2 * radius))), tuple(round(255 * c) for c in colour)
    out = []
    for pixels in to_uint8(image):
        picture = Image.fromarray(pixels)
        draw = ImageDraw.Draw(picture)
        for number, (x, y, *label) in enumerate(points, 1):
            box = (x - radius, y - radius, x + radius, y + radius)
            draw.ellipse(box, fill=None if label == [0] else ink, outline=(255, 255, 255) if label != [0] else ink, width=max(2, round(radius / 3)))
            draw.text((x + 1.5 * radius, y), str(number), fill=(255, 255, 255), font=font, anchor="lm", stroke_width=2, stroke_fill=(0, 0, 0))
        out.append(np.asarray(picture))
    return from_uint8(np.stack(out))


def beside(pictures: Sequence[torch.Tensor], gap: int = 8, paper: float = 0.1) -> torch.Tensor:
    """Pictures (B,H,W,3) of one height and batch set side by side: (B,H,sum of widths and gaps,3)."""
    first = pictures[0]
    strip = first.new_full((first.shape[0], first.shape[1], gap, 3), paper)
    parts = [part for picture in pictures for part in (strip, picture)][1:]
    return torch.cat(parts, 2)
