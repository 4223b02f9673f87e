"""A drawn data set in the layout `folder`, for trying matching, curation and training before a real one is at hand."""

import json
import os
import shutil
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

from .synthetic.scenes import person_sample

CLOSE = 3   # every third picture is cut close, as happens in real data sets, so that curation has something to turn away


def draw_folder(folder: Path, count: int, height: int = 512, width: int = 384, progress=None) -> Path:
    """Draw `count` people with the upper garments they wear into a folder; one that exists is taken as it is.

    Beside person and garment: mask (the worn garment), garment_mask, agnostic_mask, parse (CIHP labels) and keypoints. The folder
    appears whole or not at all. progress(done, total) is called after every pair; what it raises ends the drawing.
    """
    folder = Path(folder)
    if folder.is_dir():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    made = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
    try:
        for number in range(count):
            _draw_pair(made, number, height, width)
            if progress is not None:
                progress(number + 1, count)
        os.replace(made, folder)
    except BaseException:
        shutil.rmtree(made, ignore_errors=True)
        raise
    return folder


def _draw_pair(folder: Path, number: int, height: int, width: int) -> None:
    sample = person_sample(number, height, width, "separates", False)
    worn, name = sample.garments["upper"], f"drawn_{number:04}"
    box = _close(sample.keypoints, number, height, width) if number % CLOSE == CLOSE - 1 else (0, 0, width, height)
    views = {"person": sample.image, "mask": worn.mask, "agnostic_mask": worn.agnostic_mask, "parse": sample.parse}
    for part, picture in {**views, "garment": worn.picture, "garment_mask": worn.picture_mask}.items():
        levels = picture if picture.dtype == np.uint8 else np.rint(picture * 255).astype(np.uint8)
        image = Image.fromarray(levels)
        if part in views:
            image = image.resize((width, height), Image.Resampling.LANCZOS if part == "person" else Image.Resampling.NEAREST, box=box)
        (folder / part).mkdir(exist_ok=True)
        image.save(folder / part / f"{name}.png")
    points = sample.keypoints.astype(float).copy()
    points[:, :2] = (points[:, :2] - box[:2]) * (width / (box[2] - box[0]), height / (box[3] - box[1]))
    (folder / "keypoints").mkdir(exist_ok=True)
    (folder / "keypoints" / f"{name}.json").write_text(json.dumps({"people": [{"pose_keypoints_2d": points.ravel().round(2).tolist()}]}), encoding="utf-8")


def _close(keypoints: np.ndarray, number: int, height: int, width: int) -> tuple[float, float, float, float]:
    """A crop of 45 % of the picture around one shoulder: it cuts the garment at the side or the bottom."""
    x, y = keypoints[2 if number % 2 else 5, :2]
    w, h = 0.45 * width, 0.45 * height
    left, top = min(max(x - w / 2, 0), width - w), min(max(y - 0.35 * h, 0), height - h)
    return float(left), float(top), float(left + w), float(top + h)
