"""One geometry per sample, and colours after it.

A geometry is one 3 x 3 matrix that takes pixel coordinates of a picture to those of the moved picture; pictures and masks are drawn
through it and points go through it, so they cannot come apart. Pixel centres lie at whole numbers: a flip takes x to W - 1 - x. The canvas keeps
its size; what comes in from outside is filled, never stretched or mirrored in.

Settings (name -> amount; what is not named is not done):

    flip        probability of a left-right flip, of the person and of everything that is worn together (so text stays as it is on both)
    move        probability that a picture is shifted, scaled and turned at all (1 where not named)
    shift       largest shift as a share of the side; scale: largest change of size; rotate: degrees, of the person's picture
    item_shift, item_scale, item_rotate: the same of the item's own picture, drawn on their own
    colour      probability of the colour changes (1 where not named)
    brightness, contrast, saturation, hue: largest change (0.3 is +-30 %; hue in turns), the same for person and item
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from .sample import Item, Sample

SETTINGS = (
    "flip", "move", "shift", "scale", "rotate", "item_shift", "item_scale", "item_rotate", "colour", "brightness", "contrast", "saturation", "hue",
)
SIDES = {"left": "right", "right": "left", "Left": "Right", "Right": "Left"}


def check_settings(settings: Mapping[str, float]) -> None:
    """Refuse names that are not known, so that a misspelt one does not do nothing.

    Raises:
        ValueError: names it and the known ones.
    """
    if unknown := sorted(set(settings) - set(SETTINGS)):
        raise ValueError(f"The augmentation '{', '.join(unknown)}' is not known; choose among {', '.join(SETTINGS)}.")


@dataclass(frozen=True)
class Geometry:
    """How a picture is moved: flipped first, then scaled and turned about its centre, then shifted.

    Attributes:
        flip: left and right exchanged.
        angle: degrees, positive turns the picture clockwise as it is seen. scale: 1 keeps the size.
        dx, dy: shares of width and height.
    """

    flip: bool = False
    angle: float = 0.0
    scale: float = 1.0
    dx: float = 0.0
    dy: float = 0.0

    def matrix(self, height: int, width: int) -> Tensor:
        """(3,3) float64: pixel (x, y, 1) of the picture -> pixel of the moved picture."""
        cx, cy = (width - 1) / 2, (height - 1) / 2
        cos, sin = math.cos(math.radians(self.angle)) * self.scale, math.sin(math.radians(self.angle)) * self.scale
        mirror = -1.0 if self.flip else 1.0
        turn = torch.tensor([[cos * mirror, -sin, 0.0], [sin * mirror, cos, 0.0], [0.0, 0.0, 1.0]], dtype=torch.float64)
        to_centre, back = torch.eye(3, dtype=torch.float64), torch.eye(3, dtype=torch.float64)
        to_centre[:2, 2] = torch.tensor([-cx, -cy])
        back[:2, 2] = torch.tensor([cx + self.dx * width, cy + self.dy * height])
        return back @ turn @ to_centre

    @property
    def still(self) -> bool:
        """Nothing moves."""
        return self == Geometry()


def draw_geometry(settings: Mapping[str, float], generator: torch.Generator, prefix: str = "", flip: bool = False) -> Geometry:
    """A geometry from the settings; always draws as many numbers, so that one setting does not change what another one draws."""
    chance, dx, dy, size, turn = (torch.rand(5, generator=generator, dtype=torch.float64) * 2 - 1).tolist()
    if (chance + 1) / 2 >= settings.get("move", 1.0):
        return Geometry(flip)
    shift, scale, rotate = (settings.get(f"{prefix}{name}", 0.0) for name in ("shift", "scale", "rotate"))
    return Geometry(flip, turn * rotate, 1.0 + size * scale, dx * shift, dy * shift)


def move_picture(picture: Tensor, geometry: Geometry, fill: float = 1.0, mode: str = "bilinear") -> Tensor:
    """(C,H,W) through a geometry; what comes in from outside is `fill`. Not moved: the same tensor."""
    if geometry.still:
        return picture
    height, width = picture.shape[-2:]
    if geometry == Geometry(True):
        return picture.flip(-1)
    back = torch.linalg.inv(geometry.matrix(height, width))
    y, x = torch.meshgrid(torch.arange(height, dtype=torch.float64), torch.arange(width, dtype=torch.float64), indexing="ij")
    source = torch.stack((x, y, torch.ones_like(x)), -1) @ back.T
    grid = (source[..., :2] * 2 + 1) / torch.tensor([width, height], dtype=torch.float64) - 1  # pixel centres at whole numbers
    moved = torch.nn.functional.grid_sample(picture[None] - fill, grid[None].to(picture), mode=mode, padding_mode="zeros", align_corners=False)[0]
    return moved + fill


def move_mask(mask: Tensor | None, geometry: Geometry) -> Tensor | None:
    """(1,H,W) of zeros and ones through a geometry, outside 0."""
    return None if mask is None else (move_picture(mask, geometry, 0.0) > 0.5).to(mask.dtype) if not geometry.still else mask


def move_points(points: Tensor, geometry: Geometry, height: int, width: int) -> Tensor:
    """(...,2) [x, y] through a geometry of a height x width picture."""
    matrix = geometry.matrix(height, width).to(points.dtype)
    return points @ matrix[:2, :2].T + matrix[:2, 2]


def inside(points: Tensor, height: int, width: int) -> Tensor:
    """Which points (...,2) lie in the picture: -0.5 <= x < W - 0.5, as pixels cover squares about their centres."""
    x, y = points[..., 0], points[..., 1]
    return (x >= -0.5) & (x < width - 0.5) & (y >= -0.5) & (y < height - 0.5)


def _moved_matches(item: Item, person: Geometry, own: Geometry, size: tuple[int, int]) -> Tensor | None:
    """Matches through both geometries; those with an end outside are dropped, before anything is rounded."""
    if item.matches is None or not len(item.matches):
        return item.matches
    sizes = (size, tuple(item.picture.shape[-2:]))
    ends = [move_points(item.matches[:, i], g, *s) for i, (g, s) in enumerate(zip((person, own), sizes))]
    good = inside(ends[0], *sizes[0]) & inside(ends[1], *sizes[1])
    return torch.stack(ends, 1)[good]


def augment(sample: Sample, settings: Mapping[str, float], generator: torch.Generator) -> Sample:
    """A sample moved and recoloured; the given one stays as it was."""
    check_settings(settings)
    flip = bool(torch.rand((), generator=generator) < settings.get("flip", 0.0))
    person = draw_geometry(settings, generator, flip=flip)
    items = []
    for item in sample.items:
        own = draw_geometry(settings, generator, "item_", flip)
        items.append(replace(
            item, picture=move_picture(item.picture, own), mask=move_mask(item.mask, own), worn=move_mask(item.worn, person),
            matches=_moved_matches(item, person, own, sample.size), slot=swap_sides(item.slot) if flip else item.slot,
        ))
    change = draw_colour(settings, generator)
    zeros = {name: move_mask(getattr(sample, name), person) for name in ("mask", "shadow", "valid")}
    maps = {name: None if getattr(sample, name) is None else move_picture(getattr(sample, name), person, 0.0) for name in ("pose", "depth", "saliency")}
    texts = {name: swap_sides(getattr(sample, name)) if flip else getattr(sample, name) for name in ("caption", "category")}
    items = tuple(replace(i, picture=change(i.picture)) for i in items)
    return replace(sample, person=change(move_picture(sample.person, person)), items=items, **zeros, **maps, **texts)


def swap_sides(text: str) -> str:
    """Left for right and right for left, as a flip makes it."""
    return re.sub(r"(?<![A-Za-z])(left|right|Left|Right)(?![A-Za-z])", lambda m: SIDES[m[0]], text)


def draw_colour(settings: Mapping[str, float], generator: torch.Generator):
    """A change of colour, (3,H,W) -> (3,H,W) in 0..1, the same whenever it is called."""
    chance, *amounts = (torch.rand(5, generator=generator, dtype=torch.float64) * 2 - 1).tolist()
    limits = [settings.get(name, 0.0) for name in ("brightness", "contrast", "saturation", "hue")]
    if (chance + 1) / 2 >= settings.get("colour", 1.0) or not any(limits):
        return lambda picture: picture
    brightness, contrast, saturation, hue = (a * limit for a, limit in zip(amounts, limits))

    def change(picture: Tensor) -> Tensor:
        from torchvision.transforms.v2 import functional as transforms

        picture = transforms.adjust_brightness(picture, 1 + brightness) if brightness else picture
        picture = transforms.adjust_contrast(picture, 1 + contrast) if contrast else picture
        picture = transforms.adjust_saturation(picture, 1 + saturation) if saturation else picture
        return transforms.adjust_hue(picture, max(-0.5, min(0.5, hue))) if hue else picture

    return change
