"""How data sets lie on disk: which folder holds what, per layout, and tables (pairs.csv) that say it line by line.

Of a sample there may be (names of `Record`): person, garment, garment_mask (the garment in its photo), worn_mask (the garment on the
person), agnostic_mask (1 = repaint), parse, densepose, densepose_labels, garment_parse, keypoints, depth, saliency, shadow, matches.
"""

from __future__ import annotations

import csv
import json
import os
from pathlib import Path

PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".bmp")
JSON = (".json",)
PNG = (".png",)

# what a sample may have, and where it is: (folders, what follows the name, suffixes)
VITON_HD = {
    "person": (("image",), "", PICTURES), "garment": (("cloth",), "", PICTURES), "garment_mask": (("cloth-mask", "cloth_mask"), "", PICTURES),
    "agnostic_mask": (("agnostic-mask", "agnostic_mask"), "_mask", PICTURES), "parse": (("image-parse-v3", "image-parse"), "", PNG),
    "densepose": (("image-densepose",), "", PICTURES), "densepose_labels": (("image-densepose_siftvton",), "", PNG),
    "garment_parse": (("cloth_parse-bytedance",), "", PNG), "keypoints": (("openpose_json", "openpose-json"), "_keypoints", JSON),
    "worn_mask": (("gt_cloth_warped_mask",), "", PICTURES), "matches": (("sift_matching",), "_sift_matches", JSON),
}
DRESS_CODE = {
    "person": (("images",), "_0", PICTURES), "garment": (("images",), "_1", PICTURES), "parse": (("label_maps",), "_4", PNG),
    "densepose": (("dense",), "_5", PNG), "keypoints": (("keypoints",), "_2", JSON), "agnostic_mask": (("agnostic_masks",), "_0", PICTURES),
}
PERSON = {
    "person": (("person",), "", PICTURES), "agnostic_mask": (("agnostic_mask",), "", PICTURES), "parse": (("parse",), "", PNG),
    "densepose": (("densepose",), "", PICTURES), "keypoints": (("keypoints",), "", JSON), "depth": (("depth",), "", PICTURES),
    "saliency": (("saliency",), "", PICTURES), "caption": (("caption",), "", (".txt",)),
}
"""What belongs to the person's picture, in the plain layouts."""

FOLDER = PERSON | {
    "garment": (("garment",), "", PICTURES), "worn_mask": (("mask", "worn_mask"), "", PICTURES), "garment_mask": (("garment_mask",), "", PICTURES),
    "matches": (("matches",), "_sift_matches", JSON),
}
PRODUCT = PERSON | {
    "person": (("source", "person", "image"), "", PICTURES), "garment": (("product", "reference"), "", PICTURES),
    "garment_mask": (("product_mask",), "", PICTURES), "agnostic_mask": (("mask",), "", PICTURES), "worn_mask": (("product_worn",), "", PICTURES),
}
JEWELRY = PERSON | {
    "garment": (("jewelry",), "", PICTURES), "garment_mask": (("jewelry_mask",), "", PICTURES), "agnostic_mask": (("mask",), "", PICTURES),
    "worn_mask": (("jewelry_worn",), "", PICTURES), "shadow": (("shadow",), "", PICTURES), "matches": (("matches",), "_sift_matches", JSON),
}
PLAIN = {"folder": FOLDER, "product": PRODUCT, "jewelry": JEWELRY}
"""Layouts of one picture per kind and sample, files of one sample sharing their name."""

ITEM_TAILS = ("_mask", "_worn")
TABLES = ("pairs.csv", "pairs.tsv", "pairs.jsonl")
COLUMNS = {"source": "person", "product": "garment", "jewelry": "garment", "product_mask": "garment_mask", "jewelry_mask": "garment_mask", "mask": "agnostic_mask"}
"""Other names that a table may give to a column."""


def files_in(base: Path, folders: tuple[str, ...], tail: str, suffixes: tuple[str, ...]) -> dict[str, Path]:
    """name -> path in the first of these folders that exists; the name is the file's without tail and suffix."""
    for folder in folders:
        if (base / folder).is_dir():
            paths = sorted(Path(entry.path) for entry in os.scandir(base / folder) if entry.is_file())
            paths = [p for p in paths if p.suffix.lower() in suffixes and p.stem.endswith(tail) and not p.name.startswith(".")]
            return {p.stem.removesuffix(tail): p for p in paths}
    return {}


def slots_in(root: Path) -> list[str]:
    """The garment slots of a dressing folder: its subfolders that are none of the person's maps and no masks of garments."""
    known = {folder for folders, _, _ in PERSON.values() for folder in folders} | {"matches"}
    found = [e.name for e in os.scandir(root) if e.is_dir() and not e.name.startswith(".")]
    return sorted(name for name in found if name not in known and not name.endswith(ITEM_TAILS))


def table_in(root: Path) -> Path | None:
    """The table of a data set, if it has one."""
    return next((root / name for name in TABLES if (root / name).is_file()), None)


def read_table(path: Path) -> list[dict[str, str]]:
    """The rows of a table, by our names of the columns.

    Raises:
        ValueError: not a table, or one without a column for the person.
    """
    try:
        with open(path, encoding="utf-8-sig", newline="") as stream:
            if path.suffix == ".jsonl":
                rows = [json.loads(line) for line in stream if line.strip()]
            else:
                rows = list(csv.DictReader(stream, delimiter="\t" if path.suffix == ".tsv" else ","))
    except (OSError, csv.Error, json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"The table '{path.name}' cannot be read ({error}); save it as UTF-8 with a first line of column names.") from None
    rows = [{COLUMNS.get(k, k): str(v) for k, v in row.items() if k and v not in (None, "")} for row in rows]
    if not rows or not any("person" in row for row in rows):
        raise ValueError(f"The table '{path.name}' has no column 'person' (or 'source'); its first line must name the columns.")
    return rows


def inside(root: Path, name: str) -> Path | None:
    """A file of a table, relative to the data set's folder; None where the name leads out of it."""
    path = os.path.abspath(os.path.join(root, name))
    return Path(path) if os.path.commonpath([os.path.abspath(root), path]) == os.path.abspath(root) else None
