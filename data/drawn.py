"""The drawn world (`data.synthetic`) as files, for trying matching, curation and training before a real data set is at hand.

What is drawn, and its layout (`data.find`):
- people    "folder": a person and the upper garment they wear; every third picture is cut close, as happens in real data sets, so that
            curation has something to turn away
- dressing  "dressing": a person with all garments, their masks, DensePose picture, depth, true matches of the first garment
- product   "product": a scene with a product in it, and the product from another side
- jewelry   "jewelry": a head or a hand with a piece of jewelry, its shadow, maps, true matches
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from pathlib import Path

import numpy as np

CLOSE = 3   # every so many pictures of "people" are cut close
WHAT = {"people": "person", "dressing": "person", "product": "insertion", "jewelry": "jewelry"}
"""What is drawn -> kind of the drawn world."""

LAYOUT = {"people": "folder"}
SLOTS = {"dress": "full"}


def draw_folder(folder: Path, count: int, height: int = 512, width: int = 384, progress=None, what: str = "people", seed: int = 0) -> Path:
    """Draw `count` samples into a folder; one that exists is taken as it is.

    The folder appears whole or not at all. progress(done, total) is called after every sample; what it raises ends the drawing.

    Raises:
        ValueError: an unknown kind of sample.
    """
    from .synthetic import World

    if what not in WHAT:
        raise ValueError(f"The drawn world has no '{what}'; choose one of {', '.join(WHAT)}.")
    folder = Path(folder)
    if folder.is_dir():
        return folder
    options = {"outfit": "separates", "hat": False} if what == "people" else {}
    world, draw = World(WHAT[what], (height, width), seed, count, **options), {"people": _people, "dressing": _dressing, "product": _product, "jewelry": _jewelry}[what]
    folder.parent.mkdir(parents=True, exist_ok=True)
    made = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
    try:
        for number in range(count):
            draw(made, number, world[number])
            if progress is not None:
                progress(number + 1, count)
        os.replace(made, folder)
    except BaseException:
        shutil.rmtree(made, ignore_errors=True)
        if not folder.is_dir():  # another process may have drawn it meanwhile
            raise
    return folder


def _people(folder: Path, number: int, sample) -> None:
    from PIL import Image

    height, width = sample.image.shape[:2]
    worn, name = sample.garments["upper"], f"drawn_{number:04}"
    box = _close(sample.keypoints, number, height, width) if number % CLOSE == CLOSE - 1 else (0, 0, width, height)
    views = {"person": sample.image, "mask": worn.mask, "agnostic_mask": worn.agnostic_mask, "parse": sample.parse}
    for part, picture in {**views, "garment": worn.picture, "garment_mask": worn.picture_mask}.items():
        image = Image.fromarray(_levels(picture))
        if part in views:
            image = image.resize((width, height), Image.Resampling.LANCZOS if part == "person" else Image.Resampling.NEAREST, box=box)
        image.save(_place(folder, part, f"{name}.png"))
    points = sample.keypoints.astype(float).copy()
    points[:, :2] = (points[:, :2] - box[:2]) * (width / (box[2] - box[0]), height / (box[3] - box[1]))
    pose = {"people": [{"pose_keypoints_2d": points.ravel().round(2).tolist()}]}
    _place(folder, "keypoints", f"{name}.json").write_text(json.dumps(pose), encoding="utf-8")


def _close(keypoints: np.ndarray, number: int, height: int, width: int) -> tuple[float, float, float, float]:
    """A crop of 45 % of the picture around one shoulder: it cuts the garment at the side or the bottom."""
    x, y = keypoints[2 if number % 2 else 5, :2]
    w, h = 0.45 * width, 0.45 * height
    left, top = min(max(x - w / 2, 0), width - w), min(max(y - 0.35 * h, 0), height - h)
    return float(left), float(top), float(left + w), float(top + h)


def _dressing(folder: Path, number: int, sample) -> None:
    name = f"drawn_{number:04}"
    first = sample.garments[sample.slot]
    pictures = {
        "person": sample.image, "densepose": sample.densepose_picture, "parse": sample.parse, "depth": sample.depth, "saliency": sample.saliency,
        "agnostic_mask": first.agnostic_mask,
    }
    for slot, worn in sample.garments.items():
        slot = SLOTS.get(slot, slot)
        pictures |= {slot: worn.picture, f"{slot}_mask": worn.picture_mask, f"{slot}_worn": worn.mask}
    _save(folder, name, pictures, sample.caption)
    _matches(folder, name, first.correspondences(200), sample.image.shape[:2], first.picture.shape[:2])


def _jewelry(folder: Path, number: int, sample) -> None:
    name = f"drawn_{number:04}"
    _save(folder, name, {
        "person": sample.image, "jewelry": sample.picture, "jewelry_mask": sample.picture_mask, "jewelry_worn": sample.jewelry_mask,
        "shadow": sample.shadow_mask, "mask": sample.mask, "depth": sample.depth, "saliency": sample.saliency,
    }, sample.caption)
    _matches(folder, name, sample.matches, sample.image.shape[:2], sample.picture.shape[:2])


def _product(folder: Path, number: int, sample) -> None:
    _save(folder, f"drawn_{number:04}", {
        "source": sample.image, "product": sample.picture, "product_mask": sample.picture_mask, "mask": sample.mask,
        "product_worn": sample.product_mask, "depth": sample.depth,
    }, sample.caption)


def _save(folder: Path, name: str, pictures: dict[str, np.ndarray], caption: str) -> None:
    from PIL import Image

    for part, picture in pictures.items():
        Image.fromarray(_levels(picture)).save(_place(folder, part, f"{name}.png"))
    _place(folder, "caption", f"{name}.txt").write_text(caption, encoding="utf-8")


def _matches(folder: Path, name: str, points: np.ndarray, person: tuple[int, int], item: tuple[int, int]) -> None:
    from ..preprocess.matches import Matches, to_json

    found = Matches(np.asarray(points, np.float32).reshape(-1, 2, 2), np.ones(len(points), bool), tuple(person), tuple(item), note="drawn")
    _place(folder, "matches", f"{name}_sift_matches.json").write_text(to_json(found), encoding="utf-8")


def _levels(picture: np.ndarray) -> np.ndarray:
    return picture if picture.dtype == np.uint8 else np.rint(np.clip(picture, 0, 1) * 255).astype(np.uint8)


def _place(folder: Path, part: str, name: str) -> Path:
    (folder / part).mkdir(exist_ok=True)
    return folder / part / name
