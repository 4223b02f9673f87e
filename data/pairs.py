"""FITTING_PAIRS: a data set of persons and what they wear, as names of files; pictures are read when they are asked for."""

import json

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from hashlib import blake2b
from pathlib import Path

import numpy as np

from ..preprocess.match_cache import PairFiles
from .layouts import files_in

DRESS_CODE_CANVAS = (384, 512)   # width, height its keypoints refer to, whatever size the pictures have


@dataclass(frozen=True)
class ItemFiles:
    """The files of one thing that is worn or placed; None where there is none."""

    slot: str
    picture: Path
    mask: Path | None = None
    worn: Path | None = None
    matches: Path | None = None


@dataclass(frozen=True)
class Record:
    """The files of one sample; None where there is none.

    category is upper, lower or full, or a kind of jewelry, "" where unknown; scheme names the parse map's labels
    (`preprocess.parts`). worn_mask is the garment on the person, garment_mask the garment in its product photo, densepose_labels a
    loss-free DensePose picture; agnostic_mask says what is repainted. garment is the first thing worn; items are all of them where there may be
    several. caption is text, or a file with it.
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
    depth: Path | None = None
    saliency: Path | None = None
    shadow: Path | None = None
    matches: Path | None = None
    caption: Path | str = ""
    items: tuple[ItemFiles, ...] = ()

    def things(self) -> tuple[ItemFiles, ...]:
        """All that is worn or placed, at least one."""
        return self.items or (ItemFiles(self.category or "upper", self.garment, self.garment_mask, self.worn_mask, self.matches),)

    def files(self) -> list[Path]:
        """Every file there is."""
        own = [v for f in fields(self) if isinstance(v := getattr(self, f.name), Path)]
        more = [v for i in self.items for f in fields(i) if isinstance(v := getattr(i, f.name), Path)]
        return list(dict.fromkeys([*own, *more]))


@dataclass(frozen=True)
class Pairs:
    """A data set: its records in order, where they come from, what is wrong with it, a sentence each, and its layout."""

    records: tuple[Record, ...]
    source: str = ""
    problems: tuple[str, ...] = ()
    layout: str = "folder"

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, index: int) -> Record:
        return self.records[index]

    def __iter__(self) -> Iterator[Record]:
        return iter(self.records)

    def subset(self, indices) -> "Pairs":
        """The records at these places, in this order."""
        return replace(self, records=tuple(self.records[i] for i in indices))

    def with_matches(self, folder: Path) -> "Pairs":
        """The same records with their SIFT matches from a folder of <name>_sift_matches.json."""
        found = files_in(Path(folder).parent, (Path(folder).name,), "_sift_matches", (".json",))
        return replace(self, records=tuple(_matched(s, found.get(s.name)) for s in self))

    def report(self) -> str:
        """What was found and what is wrong, for people."""
        kinds = [f.name for f in fields(Record) if f.name not in ("name", "person", "garment", "category", "scheme", "items", "caption")]
        counts = {kind: sum(getattr(s, kind) is not None for s in self) for kind in kinds}
        counts["captions"] = sum(bool(s.caption) for s in self)
        there = ", ".join(f"{kind.replace('_', ' ')} {count}" for kind, count in counts.items() if count) or "no masks, parse maps or keypoints"
        slots = [slot for s in self for slot in (i.slot for i in s.items)]
        worn = [f"Garments: {', '.join(f'{slot} {slots.count(slot)}' for slot in dict.fromkeys(slots))}."] if slots else []
        return "\n".join([f"{len(self)} pairs in {self.source}.", *worn, f"Beside them: {there}.", *self.problems])

    def fingerprint(self) -> str:
        """Which data set this is: a hash of its files' names and sizes, in order."""
        digest = blake2b(digest_size=8)
        for record in self:
            for path in record.files():
                digest.update(f"{path.parent.name}/{path.name} {path.stat().st_size if path.is_file() else -1}\n".encode())
        return digest.hexdigest()


def _matched(record: Record, path: Path | None) -> Record:
    if path is None:
        return record
    items = (replace(record.items[0], matches=path), *record.items[1:]) if record.items else ()
    return replace(record, matches=path, items=items)


def match_files(sample: Record) -> PairFiles:
    """A sample as the matching reads it: per part where both label pictures are there, else inside the masks there are."""
    parts = sample.densepose_labels and sample.garment_parse
    return PairFiles(
        sample.name, sample.person, sample.garment, sample.agnostic_mask or sample.worn_mask, sample.garment_mask,
        sample.densepose_labels if parts else None, sample.garment_parse if parts else None,
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
