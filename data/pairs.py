"""FITTING_PAIRS: a data set of persons and the garments they wear, as names of files; pictures are read when they are asked for.

Layouts:
- viton-hd    <root>/<split>/image, cloth, and what else there is of cloth-mask, agnostic-mask, image-parse-v3, openpose_json,
              image-densepose, image-densepose_siftvton, cloth_parse-bytedance; <root>/<split>_pairs.txt names the persons
- dress-code  <root>/{upper_body,lower_body,dresses}/images, label_maps, keypoints, dense; their <split>_pairs*.txt
- folder      <root>/person, garment, and what else there is of mask (the worn garment), garment_mask, agnostic_mask, parse, keypoints,
              densepose; files of one pair share their name
The garment is always the one the person wears: a second column in VITON-HD's lists (another garment to try on) is not read.
"""

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np

from ..preprocess.match_cache import PairFiles

LAYOUTS = ("viton-hd", "dress-code", "folder")
SPLITS = ("train", "test")
PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".bmp")
# what a record may have, and where it is: (folders, what follows the name, suffixes)
VITON_HD = {
    "person": (("image",), "", PICTURES), "garment": (("cloth",), "", PICTURES), "garment_mask": (("cloth-mask", "cloth_mask"), "", PICTURES),
    "agnostic_mask": (("agnostic-mask", "agnostic_mask"), "_mask", PICTURES), "parse": (("image-parse-v3", "image-parse"), "", (".png",)),
    "densepose": (("image-densepose",), "", PICTURES), "densepose_labels": (("image-densepose_siftvton",), "", (".png",)),
    "garment_parse": (("cloth_parse-bytedance",), "", (".png",)), "keypoints": (("openpose_json", "openpose-json"), "_keypoints", (".json",)),
}
DRESS_CODE = {
    "person": (("images",), "_0", PICTURES), "garment": (("images",), "_1", PICTURES), "parse": (("label_maps",), "_4", (".png",)),
    "densepose": (("dense",), "_5", (".png",)), "keypoints": (("keypoints",), "_2", (".json",)),
}
FOLDER = {
    "person": (("person",), "", PICTURES), "garment": (("garment",), "", PICTURES), "worn_mask": (("mask",), "", PICTURES),
    "garment_mask": (("garment_mask",), "", PICTURES), "agnostic_mask": (("agnostic_mask",), "", PICTURES), "parse": (("parse",), "", (".png",)),
    "densepose": (("densepose",), "", PICTURES), "keypoints": (("keypoints",), "", (".json",)),
}
CATEGORIES = {"upper_body": "upper", "lower_body": "lower", "dresses": "full"}
DRESS_CODE_CANVAS = (384, 512)   # width, height its keypoints refer to, whatever size the pictures have


@dataclass(frozen=True)
class Record:
    """The files of one pair; None where there is none.

    category is upper, lower or full, "" where unknown; scheme names the parse map's labels (`preprocess.parts`). worn_mask is the
    garment on the person, garment_mask the garment in its product photo, densepose_labels a loss-free DensePose picture.
    """

    name: str
    person: Path
    garment: Path
    category: str = ""
    scheme: str = "cihp"
    worn_mask: Path | None = None
    garment_mask: Path | None = None
    agnostic_mask: Path | None = None
    parse: Path | None = None
    densepose: Path | None = None
    densepose_labels: Path | None = None
    garment_parse: Path | None = None
    keypoints: Path | None = None


@dataclass(frozen=True)
class Pairs:
    """A data set: its records in order, where they come from, and what is wrong with it, a sentence each."""

    records: tuple[Record, ...]
    source: str = ""
    problems: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, index: int) -> Record:
        return self.records[index]

    def __iter__(self) -> Iterator[Record]:
        return iter(self.records)

    def subset(self, indices) -> "Pairs":
        """The records at these places, in this order."""
        return replace(self, records=tuple(self.records[i] for i in indices))

    def report(self) -> str:
        """What was found and what is wrong, for people."""
        kinds = [f.name for f in fields(Record) if f.name not in ("name", "person", "garment", "category", "scheme")]
        counts = {kind: sum(getattr(s, kind) is not None for s in self) for kind in kinds}
        there = ", ".join(f"{kind.replace('_', ' ')} {count}" for kind, count in counts.items() if count) or "no masks, parse maps or keypoints"
        return "\n".join([f"{len(self)} pairs in {self.source}.", f"Beside them: {there}.", *self.problems])


def find_pairs(layout: str, root: Path, split: str = "train", limit: int = 0) -> Pairs:
    """The data set in a folder; only names are read.

    limit  the first so many pairs; 0 = all
    Raises ValueError for an unknown layout, a folder that is not laid out that way, and where no pair is whole.
    """
    if layout not in LAYOUTS:
        raise ValueError(f"The layout '{layout}' is not known; choose one of {', '.join(LAYOUTS)}.")
    root, problems, records = Path(root), [], []
    if layout == "viton-hd":
        base = root / split if (root / split).is_dir() else root
        records += _collect(base, VITON_HD, _listed(root / f"{split}_pairs.txt", "", problems), problems)
    elif layout == "dress-code":
        for folder, category in CATEGORIES.items():
            if (root / folder).is_dir():
                lists = [root / folder / name for name in (f"{split}_pairs.txt", f"{split}_pairs_paired.txt")]
                names = _listed(next((p for p in lists if p.is_file()), lists[0]), "_0", problems)
                found = _collect(root / folder, DRESS_CODE, names, problems)
                records += [replace(s, name=f"{folder}-{s.name}", category=category, scheme="atr") for s in found]
    else:
        records += _collect(root, FOLDER, None, problems)
    if not records:
        wanted = {"viton-hd": f"{split}/image and {split}/cloth", "dress-code": "upper_body, lower_body or dresses with images", "folder": "person and garment"}
        more = f" ({problems[0].rstrip('.')})" if problems else ""
        raise ValueError(f"The folder '{root.name}' holds no pair of the layout {layout}{more}; expected {wanted[layout]}, with files of the same name.")
    source = root.name if layout == "folder" else f"{root.name} ({layout}, {split})"
    return Pairs(tuple(records[:limit] if limit else records), source, tuple(problems))


def _listed(path: Path, tail: str, problems: list[str]) -> list[str] | None:
    """The persons a list names, without suffix and tail; None where there is no list. Names that are paths are left out."""
    if not path.is_file():
        return None
    names = []
    for line in path.read_text(encoding="utf-8").splitlines():
        first = line.split()[0] if line.split() else ""
        if first and (first != os.path.basename(first) or "\\" in first or first.startswith(".")):
            problems.append(f"{path.name} names '{first}', which is a path and was left out.")
        elif first:
            names.append(Path(first).stem.removesuffix(tail))
    return list(dict.fromkeys(names))


def _collect(base: Path, layout: dict, names: list[str] | None, problems: list[str]) -> list[Record]:
    """The records below one folder, in the order of the list or of their names."""
    found = {kind: _files(base, *where) for kind, where in layout.items()}
    people, garments = found["person"], found["garment"]
    names = sorted(people) if names is None else names
    for kind, files in (("person", people), ("garment", garments)):
        if lacking := [name for name in names if name not in files]:
            more = " ..." if len(lacking) > 5 else ""
            problems.append(f"{len(lacking)} of {len(names)} pairs have no {kind} picture and were left out: {', '.join(lacking[:5])}{more}.")
    return [Record(name=name, **{kind: files.get(name) for kind, files in found.items()}) for name in names if name in people and name in garments]


def _files(base: Path, folders: tuple[str, ...], tail: str, suffixes: tuple[str, ...]) -> dict[str, Path]:
    """name -> path in the first of these folders that exists."""
    for folder in folders:
        if (base / folder).is_dir():
            paths = sorted(Path(entry.path) for entry in os.scandir(base / folder) if entry.is_file())
            paths = [p for p in paths if p.suffix.lower() in suffixes and p.stem.endswith(tail) and not p.name.startswith(".")]
            return {p.stem.removesuffix(tail): p for p in paths}
    return {}


def match_files(record: Record) -> PairFiles:
    """A record as the matching reads it: per part where both label pictures are there, else inside the masks there are."""
    parts = record.densepose_labels and record.garment_parse
    return PairFiles(
        record.name, record.person, record.garment, record.agnostic_mask or record.worn_mask, record.garment_mask,
        record.densepose_labels if parts else None, record.garment_parse if parts else None,
    )


def read_keypoints(path: Path, width: int, height: int) -> tuple[np.ndarray, str] | None:
    """Body points (N,3) x, y in pixels of a width x height picture and a score, and their layout; None where nobody was found.

    OpenPose's JSON (18 or 25 points, the largest person) and Dress Code's. Raises ValueError, which names the file, for others.
    """
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
        if "people" in content:
            people = [np.asarray(p["pose_keypoints_2d"], float).reshape(-1, 3) for p in content["people"]]
            points = max(people, key=_extent, default=None)
        else:
            points = np.asarray(content["keypoints"], float)[:, :2]
            points = np.column_stack([points * (width / DRESS_CODE_CANVAS[0], height / DRESS_CODE_CANVAS[1]), (points > 0).all(1)])
        if points is not None and len(points) not in (18, 25):
            raise ValueError(f"{len(points)} body points")
    except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
        raise ValueError(f"{Path(path).name} holds no keypoints of 18 or 25 body points ({error}); give OpenPose's JSON, or leave the file out.") from None
    return None if points is None else (points, "body25" if len(points) == 25 else "coco18")


def _extent(points: np.ndarray) -> float:
    """How large a person is: width and height of the seen points, in pixels."""
    seen = points[points[:, 2] > 0, :2]
    return float(np.ptp(seen, axis=0).sum()) if len(seen) else 0.0
