"""Two folders, true pictures and results, matched by name. Whatever cannot be compared is listed by name; nothing is left out in silence."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from ..data.layouts import PICTURES
from ..preprocess.pictures import read_picture, to_rgb8

COUNTER = re.compile(r"_\d{5}_?$")  # what the host's Save Image appends to a prefix
SHOWN = 20  # names per kind in a report's text; the JSON has all


@dataclass(frozen=True)
class Problem:
    """A file that takes no part: its name, what is wrong ("no result", "no truth", "second result", "unreadable", "wrong size", "not looked into"), and more."""

    name: str
    kind: str
    detail: str = ""


@dataclass
class Matched:
    """Results beside their truths.

    Attributes:
        pairs: (name, truth, result), sorted by name.
        real, generated: all pictures of either folder.
        problems: what takes no part.
        captions: per result's name the prompt it was made from, from NAME.txt beside it.
        parts: per result's name and slot (garment, region in the result), where `real` has a folder per slot.
    """

    pairs: list[tuple[str, Path, Path]]
    real: list[Path]
    generated: list[Path]
    problems: list[Problem] = field(default_factory=list)
    captions: dict[str, str] = field(default_factory=dict)
    parts: dict[str, dict[str, tuple[Path, Path]]] = field(default_factory=dict)

    def drop(self, path: Path, kind: str, detail: str) -> None:
        """Note once that a file takes no part."""
        problem = Problem(path.name, kind, detail)
        if problem not in self.problems:
            self.problems.append(problem)


def pictures_in(folder: Path) -> tuple[list[Path], list[Problem], list[Path]]:
    """The pictures of a folder, what else lies in it, and its subfolders; hidden files do not count.

    Raises:
        ValueError: no such folder.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise ValueError(f"There is no folder '{folder}'; check its name.")
    found, problems, folders = [], [], []
    for entry in sorted(os.scandir(folder), key=lambda e: e.name):
        if entry.name.startswith("."):
            continue
        if entry.is_dir():
            folders.append(Path(entry.path))
        elif Path(entry.name).suffix.lower() in PICTURES:
            found.append(Path(entry.path))
        else:
            problems.append(Problem(entry.name, "not looked into", f"no picture ({', '.join(PICTURES)})"))
    return found, problems, folders


def runs_in(folder: Path) -> dict[str, Path]:
    """The runs of a folder of results: its subfolders where it has no pictures of its own (one per seed, say), else itself, named ""."""
    pictures, _, folders = pictures_in(folder)
    return {"": Path(folder)} if pictures or not folders else {f.name: f for f in folders}


def match(real: Path, generated: Path) -> Matched:
    """Results to truths by name.

    A result belongs to the truth whose name (without suffix) is its own; else its own without the host's counter (`_00001_`); else to the
    truth with the longest name that its own begins with, followed by `_` (results named person_garment).

    Raises:
        ValueError: a folder is missing, or has no picture.
    """
    truths, problems, below = pictures_in(real)
    results, more, deeper = pictures_in(generated)
    captions, more = _captions(Path(generated), results, more)
    problems += [*more, *(Problem(f.name, "not looked into", "a folder") for f in (*below, *deeper))]
    for folder, files in ((real, truths), (generated, results)):
        if not files:
            raise ValueError(f"The folder '{Path(folder).name}' has no pictures ({', '.join(PICTURES)}) directly in it; give the folder the pictures lie in.")
    by_name: dict[str, Path] = {}
    for path in truths:
        if by_name.setdefault(path.stem, path) is not path:
            problems.append(Problem(path.name, "second truth", f"beside {by_name[path.stem].name}"))
    taken: dict[str, Path] = {}
    for path in sorted(results, key=lambda p: (p.stem not in by_name, p.name)):  # exact names first
        name = _truth_of(path.stem, by_name)
        if name is None:
            problems.append(Problem(path.name, "no truth", "no true picture of this name"))
        elif name in taken:
            problems.append(Problem(path.name, "second result", f"of '{name}', beside {taken[name].name}"))
        else:
            taken[name] = path
    problems += [Problem(by_name[n].name, "no result", "nothing was generated under this name") for n in sorted(set(by_name) - set(taken))]
    return Matched([(n, by_name[n], taken[n]) for n in sorted(taken)], truths, results, problems, captions)


def match_parts(real: Path, generated: Path) -> Matched:
    """Results with several garments each: `real` has a folder per slot (upper, lower ...) with the garments, `generated` the results and beside
    them a folder `<slot>_worn` per slot with masks of where each is worn (the layout `dressing`); all of one sample share its name.

    Raises:
        ValueError: no folder of garments, or no results.
    """
    loose, problems, slots = pictures_in(real)
    results, more, folders = pictures_in(generated)
    if not slots or not results:
        raise ValueError(f"'{Path(real).name}' has {len(slots)} folders of garments and '{Path(generated).name}' {len(results)} results; give a folder per slot (upper, lower ...) and results.")
    captions, more = _captions(Path(generated), results, more)
    problems += [*more, *(Problem(p.name, "not looked into", "beside the folders of garments") for p in loose)]
    worn = {f.name.removesuffix("_worn"): f for f in folders if f.name.endswith("_worn")}
    problems += [Problem(f.name, "not looked into", "a folder") for f in folders if not f.name.endswith("_worn")]
    by_slot = {s.name: ({p.stem: p for p in pictures_in(s)[0]}, {p.stem: p for p in pictures_in(worn[s.name])[0]} if s.name in worn else {}) for s in slots}
    parts: dict[str, dict[str, tuple[Path, Path]]] = {}
    for result in results:
        for slot, (garments, regions) in by_slot.items():
            if result.stem in garments and result.stem in regions:
                parts.setdefault(result.stem, {})[slot] = (garments[result.stem], regions[result.stem])
            elif result.stem in garments:
                problems.append(Problem(result.name, "no region", f"of {slot}"))
        if result.stem not in parts:
            problems.append(Problem(result.name, "no truth", "no garment with its region under this name"))
    real_pictures = [p for garments, _ in by_slot.values() for p in garments.values()]
    return Matched([], real_pictures, results, problems, captions, parts)


def _captions(folder: Path, results: list[Path], others: list[Problem]) -> tuple[dict[str, str], list[Problem]]:
    stems = {p.stem for p in results}
    texts = {p.name for p in others if p.name.endswith(".txt") and p.name.removesuffix(".txt") in stems}
    captions = {name.removesuffix(".txt"): " ".join((folder / name).read_text(encoding="utf-8", errors="replace").split()) for name in sorted(texts)}
    return captions, [p for p in others if p.name not in texts]


def _truth_of(stem: str, truths: dict[str, Path]) -> str | None:
    bare = COUNTER.sub("", stem)
    for name in (stem, bare):
        if name in truths:
            return name
    places = [i for i, c in enumerate(bare) if c == "_"]
    return next((bare[:i] for i in reversed(places) if bare[:i] in truths), None)


def read(path: Path) -> Tensor:
    """A picture (3,H,W), 0..1; transparency on white.

    Raises:
        OSError: missing, or no picture; names the file.
    """
    return torch.from_numpy(to_rgb8(read_picture(path)).copy()).movedim(-1, 0).float() / 255


def resized(picture: Tensor, size: tuple[int, int], how: str = "bilinear") -> Tensor:
    """A picture (3,H,W) at (width, height): "bilinear" without a filter, as OpenCV's default, or "area-bicubic" with one, as Pillow's."""
    width, height = size
    if picture.shape[-2:] == (height, width):
        return picture
    options = {"mode": "bilinear"} if how == "bilinear" else {"mode": "bicubic", "antialias": True}
    return interpolate(picture[None], (height, width), **options)[0].clamp(0, 1)


@dataclass
class Readable:
    """Pictures two by two: iterate for (name, truth, result), each (3,H,W). What cannot be read or has another size goes to `problems`.

    Attributes:
        matched: what to read. size: (width, height) both are compared at, None for the truth's own; truths are brought to it, results must have it.
        how: of bringing the truth to the size.
    """

    matched: Matched
    size: tuple[int, int] | None = None
    how: str = "bilinear"

    def __iter__(self) -> Iterator[tuple[str, Tensor, Tensor]]:
        for name, real, generated in self.matched.pairs:
            both = [tried(path, self.matched) for path in (real, generated)]
            if any(p is None for p in both):
                continue
            truth = both[0] if self.size is None else resized(both[0], self.size, self.how)
            wanted, came = ((p.shape[-1], p.shape[-2]) for p in (truth, both[1]))
            if wanted != came:
                self.matched.drop(generated, "wrong size", f"{came[0]} x {came[1]}, expected {wanted[0]} x {wanted[1]}")
                continue
            yield name, truth, both[1]


def tried(path: Path, matched: Matched) -> Tensor | None:
    """A picture (3,H,W), or None and a problem."""
    try:
        return read(path)
    except (OSError, ValueError) as error:
        matched.drop(path, "unreadable", str(error))
        return None


def readable(paths: Iterable[Path], matched: Matched) -> Iterator[tuple[Path, Tensor]]:
    """(file, picture (3,H,W)) of those that can be read; the others go to the problems."""
    for path in paths:
        picture = tried(path, matched)
        if picture is not None:
            yield path, picture


def listed(problems: list[Problem]) -> list[str]:
    """Problems as lines of text, per kind, with the first names."""
    lines = []
    for kind in dict.fromkeys(p.kind for p in problems):
        mine = [p for p in problems if p.kind == kind]
        names = ", ".join(f"{p.name} ({p.detail})" if kind in ("wrong size", "second result", "second truth", "no region") else p.name for p in mine[:SHOWN])
        more = f", and {len(mine) - SHOWN} more" if len(mine) > SHOWN else ""
        lines.append(f"{kind} ({len(mine)}): {names}{more}")
    return lines
