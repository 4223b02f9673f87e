"""One picture with its mask by name: what a workflow loads where it has no file.

Same seed, same things: "upper garment" 7 is what "person wearing upper garment" 7 wears, "pose" 7 is how that person stands, and
"wearing ring" 7 is "hand for ring" 7 with "ring" 7.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .adorned import jewelry_sample
from .jewelry import TYPES
from .placed import PLACES_FOR, SPOTS, empty_scene, insertion_sample
from .scenes import person_sample

_SLOTS = {"upper garment": "upper", "lower garment": "lower", "dress": "dress", "hat": "hat"}
_HEADS = {"head for earrings": "earrings", "head for necklace": "necklace", "hand for ring": "ring", "hand for bracelet": "bracelet"}
PEOPLE = ("person", *(f"person for {name}" for name in list(_SLOTS)[1:]), *(f"person wearing {name}" for name in _SLOTS), "pose", "densepose")
PICTURES = (*PEOPLE, *_SLOTS, *_HEADS, *(f"wearing {kind}" for kind in TYPES), *TYPES, *SPOTS, "person for bag", *PLACES_FOR)
"""Every name `draw_picture` knows."""


@dataclass(frozen=True)
class Picture:
    """image (H,W,3) RGB 0..1; mask (H,W), 1 = repaint ("person" is for an upper garment) or 1 = the thing itself (a garment, piece of
    jewelry or product alone, "wearing ...", the drawn lines of a pose); depth (H,W), near = 1; pose and parse (H,W,3): DensePose-like parts and human
    parsing, black where nobody is; saliency (H,W); caption."""

    image: np.ndarray
    mask: np.ndarray
    depth: np.ndarray
    pose: np.ndarray
    parse: np.ndarray
    saliency: np.ndarray
    caption: str


def draw_picture(name: str, seed: int, height: int, width: int) -> Picture:
    """The picture called `name` (see `PICTURES`), height x width pixels.

    Raises:
        ValueError: an unknown name, or a side under 16 pixels.
    """
    if name not in PICTURES:
        raise ValueError(f"There is no picture called '{name}'; choose one of {', '.join(PICTURES)}.")
    if min(height, width) < 16:
        raise ValueError(f"A picture of {width} x {height} pixels is too small to draw; give at least 16 x 16.")
    if name in PEOPLE:
        return _person(name, seed, height, width)
    if name in _SLOTS:
        sample = _dressed(name, seed, height, width)
        worn = sample.garments[_SLOTS[name]]
        return _still(worn.picture, worn.picture_mask, worn.caption)
    if name in _HEADS or name in TYPES or name.removeprefix("wearing ") in TYPES:
        return _jewelry(name, seed, height, width)
    return _thing(name, seed, height, width)


def _dressed(name: str, seed: int, height: int, width: int):
    return person_sample(seed, height, width, "dress" if name.endswith("dress") else "separates", name.endswith("hat"))


def _person(name: str, seed: int, height: int, width: int) -> Picture:
    sample = _dressed(name, seed, height, width)
    slot = _SLOTS.get(name.removeprefix("person for ").removeprefix("person wearing "), "upper")
    image, mask = sample.image, sample.garments[slot].mask if "wearing" in name else sample.garments[slot].agnostic_mask
    if name in ("pose", "densepose"):
        image = sample.skeleton_picture if name == "pose" else sample.densepose_picture
        mask = (image.max(-1) > 0).astype(np.float32)
    return Picture(image, mask, sample.depth, sample.densepose_picture, sample.parse_picture, sample.saliency, sample.caption)


def _still(image: np.ndarray, mask: np.ndarray, caption: str, depth: np.ndarray | None = None) -> Picture:
    nobody = np.zeros_like(image)
    return Picture(image, mask, mask * 0.6 + 0.2 if depth is None else depth, nobody, nobody, mask, caption)


def _jewelry(name: str, seed: int, height: int, width: int) -> Picture:
    sample = jewelry_sample(seed, height, width, _HEADS.get(name) or name.removeprefix("wearing "))
    if name in TYPES:
        return _still(sample.picture, sample.picture_mask, sample.jewel.caption)
    nobody = np.zeros_like(sample.image)
    if name in _HEADS:
        caption = "a person" if name.startswith("head") else "a hand"
        return Picture(sample.bare, sample.mask, sample.depth, nobody, nobody, sample.saliency, caption)
    return Picture(sample.image, sample.jewelry_mask, sample.depth, nobody, nobody, sample.saliency, sample.caption)


def _thing(name: str, seed: int, height: int, width: int) -> Picture:
    if name in SPOTS:
        image, mask, depth = empty_scene(seed, height, width, name)
        return _still(image, mask, "an empty table in a living room" if name == "table" else "a living room", depth)
    sample = insertion_sample(seed, height, width, name.removeprefix("person for "))
    if name == "person for bag":
        return _still(sample.scene, sample.mask, "a person", sample.depth)
    return _still(sample.picture, sample.picture_mask, sample.product.caption)


