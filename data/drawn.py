"""The drawn world (`data.synthetic`) as files, so that everything that reads a data set reads it too.

Pictures are drawn once into a folder of the layout "dressing", "product" or "jewelry"; a folder that has them already is left as it is.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np

WORLDS = {"dressing": "person", "product": "insertion", "jewelry": "jewelry"}
"""What the drawn samples are of -> kind of the world."""

SLOTS = {"dress": "full"}


def draw_folder(
    root: Path, what: str, count: int, height: int, width: int, seed: int = 0, progress: Callable[[int, int], None] | None = None
) -> Path:
    """Draw `count` samples into `root`; those that are there stay.

    Args:
        what: of `WORLDS`.
        progress: (done, total) after every sample; an exception it raises ends the drawing, and the next call goes on.

    Raises:
        ValueError: an unknown kind of sample.
    """
    from .synthetic import World

    if what not in WORLDS:
        raise ValueError(f"The drawn world has no '{what}'; choose one of {', '.join(WORLDS)}.")
    world, write = World(WORLDS[what], (height, width), seed, count), {"dressing": _person, "product": _insertion, "jewelry": _jewelry}[what]
    for index in range(count):
        name = f"{index:05}"
        if not (root / ".drawn" / name).is_file():
            write(root, name, world[index])
            _write(root / ".drawn" / name, b"")  # last: a sample that was cut short is drawn again
        if progress is not None:
            progress(index + 1, count)
    return root


def _person(root: Path, name: str, sample) -> None:
    _picture(root / "person" / f"{name}.png", sample.image)
    _picture(root / "densepose" / f"{name}.png", sample.densepose_picture)
    _picture(root / "parse" / f"{name}.png", sample.parse_picture)
    _picture(root / "depth" / f"{name}.png", sample.depth)
    _picture(root / "saliency" / f"{name}.png", sample.saliency)
    _write(root / "caption" / f"{name}.txt", sample.caption.encode())
    for slot, worn in sample.garments.items():
        folder = SLOTS.get(slot, slot)
        _picture(root / folder / f"{name}.png", worn.picture)
        _picture(root / f"{folder}_mask" / f"{name}.png", worn.picture_mask)
        _picture(root / f"{folder}_worn" / f"{name}.png", worn.mask)
    first = sample.garments[sample.slot]
    _picture(root / "agnostic_mask" / f"{name}.png", first.agnostic_mask)
    _matches(root, name, first.correspondences(200), sample.image.shape[:2], first.picture.shape[:2])


def _jewelry(root: Path, name: str, sample) -> None:
    for folder in ("picture_mask", "jewelry_mask", "shadow_mask", "mask", "depth", "saliency"):
        target = {"picture_mask": "jewelry_mask", "jewelry_mask": "jewelry_worn", "shadow_mask": "shadow"}.get(folder, folder)
        _picture(root / target / f"{name}.png", getattr(sample, folder))
    _picture(root / "person" / f"{name}.png", sample.image)
    _picture(root / "jewelry" / f"{name}.png", sample.picture)
    _write(root / "caption" / f"{name}.txt", sample.caption.encode())
    _matches(root, name, sample.matches, sample.image.shape[:2], sample.picture.shape[:2])


def _insertion(root: Path, name: str, sample) -> None:
    for folder, values in (
        ("source", sample.image), ("product", sample.picture), ("product_mask", sample.picture_mask), ("mask", sample.mask),
        ("product_worn", sample.product_mask), ("depth", sample.depth),
    ):
        _picture(root / folder / f"{name}.png", values)
    _write(root / "caption" / f"{name}.txt", sample.caption.encode())


def _matches(root: Path, name: str, points: np.ndarray, person: tuple[int, int], item: tuple[int, int]) -> None:
    from ..preprocess.matches import Matches, to_json

    found = Matches(np.asarray(points, np.float32).reshape(-1, 2, 2), np.ones(len(points), bool), tuple(person), tuple(item), note="drawn")
    _write(root / "matches" / f"{name}_sift_matches.json", to_json(found).encode())


def _picture(path: Path, values: np.ndarray) -> None:
    from io import BytesIO

    from PIL import Image

    data = BytesIO()
    Image.fromarray(np.rint(np.clip(values, 0, 1) * 255).astype(np.uint8)).save(data, "PNG")
    _write(path, data.getvalue())


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.part")
    temporary.write_bytes(data)
    os.replace(temporary, path)
