"""From the files of one sample to pictures, masks and points of one size: padded, never stretched.

The person's picture decides: everything that belongs to it is brought to its proportions (and must have them), then all of it is
fitted into the size asked for. What no file says is made where that is sound, and the sample's notes say so: the worn garment and the
mask from a parse map.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from ..preprocess.curate import from_parse
from ..preprocess.letterbox import fitted_size
from ..preprocess.masks import Wish, agnostic_mask
from ..preprocess.matches import Matches, from_json
from ..preprocess.pictures import read_picture
from .curation import read_labels
from .pairs import ItemFiles, Record
from .sample import Item, Sample

PROPORTIONS = 0.02  # how far another map's proportions may be off


class DataError(ValueError):
    """Something is wrong with a sample's files; the message names the file."""


def load(path: Path) -> Tensor:
    """(3,H,W), 0..1, turned upright; transparency shows white."""
    pixels = _array(path)
    pixels = pixels[..., None].repeat(3, -1) if pixels.ndim == 2 else pixels
    picture = torch.from_numpy(pixels.astype(np.float32) / 255).movedim(-1, 0)
    return picture if picture.shape[0] == 3 else picture[:3] * picture[3:] + (1 - picture[3:])


def load_grey(path: Path) -> Tensor:
    """(1,H,W), 0..1."""
    return torch.from_numpy(_array(path, "L").astype(np.float32) / 255)[None]


def _array(path: Path, mode: str = "colour") -> np.ndarray:
    try:
        return read_picture(path, mode).copy()
    except OSError as error:
        raise DataError(str(error)) from None


class Fit:
    """How a picture of one size is put into another: scaled by one factor, centred, the rest padded.

    Args:
        source, target: (height, width).
    """

    def __init__(self, source: tuple[int, int], target: tuple[int, int]):
        self.source, self.target = source, target
        self.inner = fitted_size(*source, *target)
        self.top, self.left = (target[0] - self.inner[0]) // 2, (target[1] - self.inner[1]) // 2

    def picture(self, picture: Tensor, fill: float = 1.0) -> Tensor:
        """(C,h,w) -> (C,H,W); smaller by an antialiased filter."""
        if tuple(picture.shape[-2:]) != self.inner:
            picture = interpolate(picture[None], self.inner, mode="bicubic", antialias=True)[0].clamp(0, 1)
        canvas = picture.new_full((picture.shape[0], *self.target), fill)
        canvas[:, self.top : self.top + self.inner[0], self.left : self.left + self.inner[1]] = picture
        return canvas

    def mask(self, mask: Tensor) -> Tensor:
        """(1,h,w) -> (1,H,W) of zeros and ones: 1 where at least half of the pixel is; outside 0."""
        if tuple(mask.shape[-2:]) != self.inner:
            mask = interpolate(mask[None], self.inner, mode="bilinear", antialias=True)[0]
        return self.picture((mask >= 0.5).float(), 0.0)

    def points(self, points: Tensor, size: tuple[int, int]) -> Tensor:
        """(...,2) [x, y] of the picture at `size` (height, width) -> pixels of the canvas; pixel centres at whole numbers."""
        ratio = torch.tensor([self.inner[1] / size[1], self.inner[0] / size[0]], dtype=points.dtype)
        return (points + 0.5) * ratio - 0.5 + torch.tensor([self.left, self.top], dtype=points.dtype)


def read_sample(record: Record, height: int, width: int, matches: Matches | None = None) -> Sample:
    """A record's files as a `Sample` of height x width.

    Args:
        matches: of the first item, in place of its file.

    Raises:
        DataError: a file that is missing, no picture, of other proportions than the person's picture, or an empty mask.
    """
    picture = load(record.person)
    size = tuple(picture.shape[-2:])
    fit, notes = Fit(size, (height, width)), []
    items = tuple(_item(record, files, fit, notes, matches if number == 0 else None) for number, files in enumerate(record.things()))
    mask = _repaint(record, fit, items, notes)
    maps = {
        name: None if path is None else fit.picture(_same(load_grey(path), size, path), 0.0)
        for name, path in (("depth", record.depth), ("saliency", record.saliency))
    }
    return Sample(
        record.name, fit.picture(picture), items, mask,
        pose=None if record.densepose is None else fit.picture(_same(load(record.densepose), size, record.densepose), 0.0),
        shadow=None if record.shadow is None else fit.mask(_same(load_grey(record.shadow), size, record.shadow)),
        valid=fit.mask(torch.ones(1, *size)), caption=read_caption(record.caption), category=record.category, notes=tuple(dict.fromkeys(notes)), **maps,
    )


def read_caption(caption: Path | str) -> str:
    """The text of a caption, or of the file it lies in."""
    if isinstance(caption, Path):
        try:
            return " ".join(caption.read_text(encoding="utf-8").split())
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(f"{caption.name} cannot be read as text ({error}); save it as UTF-8.") from None
    return caption


def _same(tensor: Tensor, size: tuple[int, int], path: Path) -> Tensor:
    """Refuse a map whose proportions are not those of the person's picture."""
    h, w = tensor.shape[-2:]
    if abs(w * size[0] - h * size[1]) > PROPORTIONS * h * size[1]:
        raise DataError(f"{path.parent.name}/{path.name} is {w} x {h} and the person's picture {size[1]} x {size[0]}: other proportions; make it from the same picture.")
    return tensor


def _item(record: Record, files: ItemFiles, fit: Fit, notes: list[str], matches: Matches | None) -> Item:
    picture = load(files.picture)
    own = Fit(tuple(picture.shape[-2:]), fit.target)
    mask = None if files.mask is None else own.mask(_filled(_same_item(load_grey(files.mask), picture, files.mask), files.mask))
    worn = _worn(record, files, fit, notes)
    return Item(own.picture(picture), files.slot, mask, worn, _matches(files, fit, own, matches))


def _same_item(mask: Tensor, picture: Tensor, path: Path) -> Tensor:
    h, w, height, width = *mask.shape[-2:], *picture.shape[-2:]
    if abs(w * height - h * width) > PROPORTIONS * h * width:
        raise DataError(f"{path.parent.name}/{path.name} is {w} x {h} and the picture it belongs to {width} x {height}: other proportions.")
    return mask


def _filled(mask: Tensor, path: Path) -> Tensor:
    if not bool((mask >= 0.5).any()):
        raise DataError(f"{path.parent.name}/{path.name} is empty: nothing in it is brighter than one half.")
    return mask


def _worn(record: Record, files: ItemFiles, fit: Fit, notes: list[str]) -> Tensor | None:
    """Where the item is on the person: from its file, else from the parse map."""
    if files.worn is not None:
        return fit.mask(_same(load_grey(files.worn), fit.source, files.worn))
    if record.parse is None or files.slot not in ("upper", "lower", "full", "dress"):
        return None
    garment = from_parse(_labels(record), {"dress": "full"}.get(files.slot, files.slot), record.scheme)[0]
    worn = fit.mask(_same(torch.from_numpy(garment.astype(np.float32))[None], fit.source, record.parse))
    notes.append("worn garment from the parse map")
    return worn if bool(worn.any()) else None


def _labels(record: Record) -> np.ndarray:
    try:
        return read_labels(record.parse, record.scheme)
    except OSError as error:
        raise DataError(str(error)) from None


def _matches(files: ItemFiles, fit: Fit, own: Fit, found: Matches | None = None) -> Tensor | None:
    if found is None and files.matches is None:
        return None
    try:
        found = found or from_json(files.matches.read_text(encoding="utf-8"), name=files.matches.name)
    except (OSError, ValueError) as error:
        raise DataError(f"{files.matches.name}: {error}") from None
    points = torch.from_numpy(found.points[found.valid].astype(np.float32))
    return torch.stack((fit.points(points[:, 0], found.person_size), own.points(points[:, 1], found.garment_size)), 1)


def _repaint(record: Record, fit: Fit, items: tuple[Item, ...], notes: list[str]) -> Tensor | None:
    """What is repainted: from its file, else from parse map and worn garment where it is a garment."""
    if record.agnostic_mask is not None:
        path = record.agnostic_mask
        return fit.mask(_filled(_same(load_grey(path), fit.source, path), path))
    category = record.category or items[0].slot
    if category not in ("upper", "lower", "full") or (record.parse is None and items[0].worn is None):
        return None
    labels = None if record.parse is None else torch.from_numpy(_labels(record))[None]
    worn = items[0].worn
    try:
        if labels is not None:
            mask = agnostic_mask(*fit.source, Wish(category), labels=labels, scheme=record.scheme)[0][0]
            mask = fit.mask(mask)
        else:
            mask = agnostic_mask(*fit.target, Wish(category), garment=worn[None])[0][0]
    except ValueError as error:
        raise DataError(f"{record.name}: {error}") from None
    notes.append(f"mask from the {'parse map' if labels is not None else 'worn garment'}")
    return mask
