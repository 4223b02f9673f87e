"""Matches: which point of the person shows which point of the garment, and what becomes of them.

Used by SIFT-VTON (arXiv 2605.01296): section 3.1 finds them (`sift.py`), section 3.2 turns them into reference attention (`cells`).
Points are pixels of the whole picture, pixel centres at whole numbers, [person, garment][x, y].
"""

import json
import os
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from .pictures import move_points

RELEASED_SIZE = (512, 384)  # (height, width) the released match files refer to
FORMAT, VERSION = "fitting_room.matches", 1


class Removal(NamedTuple):
    """What one filter did in one part: `removed` of the `before` matches that reached it."""

    part: str
    filter: str
    before: int
    removed: int


@dataclass(frozen=True)
class Matches:
    """Matches of one person and one garment.

    points        (K,2,2) float32 [person, garment][x, y] in pixels
    valid         (K,) bool; false rows are padding
    person_size   (height, width) the person's pixels refer to; garment_size likewise
    removed       what every filter removed, in order, part by part
    seed          what the random choices were drawn from; None where unknown (a released file)
    note          one sentence where something needs saying (no matches, a rotated garment), else ""
    """

    points: np.ndarray
    valid: np.ndarray
    person_size: tuple[int, int]
    garment_size: tuple[int, int]
    removed: tuple[Removal, ...] = ()
    seed: int | None = None
    note: str = ""

    def __post_init__(self):
        points = np.asarray(self.points, np.float32).reshape(-1, 2, 2) if np.size(self.points) == 0 else self.points
        if np.ndim(points) != 3 or np.shape(points)[1:] != (2, 2) or len(points) != len(self.valid):
            raise ValueError(
                f"Matches got points of shape {np.shape(self.points)} with {len(self.valid)} validity flags, "
                "expected (K, 2, 2) and K: give [person, garment][x, y] per match."
            )
        object.__setattr__(self, "points", np.asarray(points, np.float32))
        object.__setattr__(self, "valid", np.asarray(self.valid, bool))

    @property
    def count(self) -> int:
        """How many matches there are, padding left out."""
        return int(self.valid.sum())

    def removed_by(self) -> dict[str, tuple[int, int]]:
        """Per filter, over all parts: (matches that reached it, matches it removed)."""
        return sum_removals(self.removed)

    def report(self) -> str:
        """One line for people: how many are left and what every filter removed."""
        steps = [f"{name} -{removed}" for name, (_, removed) in self.removed_by().items()]
        return f"{self.count} matches" + (f" ({', '.join(steps)})" if steps else "") + (f". {self.note}" if self.note else "")

    def resized(self, person_size: tuple[int, int], garment_size: tuple[int, int] | None = None) -> "Matches":
        """The same matches in pictures of other sizes (height, width)."""
        garment_size = garment_size or person_size
        person = move_points(self.points[:, 0], self.person_size, person_size)
        garment = move_points(self.points[:, 1], self.garment_size, garment_size)
        points = np.stack((person, garment), axis=1)
        return replace(self, points=points, person_size=tuple(person_size), garment_size=tuple(garment_size))

    def flipped(self) -> "Matches":
        """The same matches after both pictures were mirrored left to right: x becomes width - 1 - x."""
        points = self.points.copy()
        points[..., 0] = np.array([self.person_size[1] - 1, self.garment_size[1] - 1], np.float32) - points[..., 0]
        return replace(self, points=points)


def empty(person_size, garment_size, note: str = "", removed=(), seed=None) -> Matches:
    """No matches, with the reason."""
    return Matches(np.zeros((0, 2, 2)), np.zeros(0, bool), tuple(person_size), tuple(garment_size), tuple(removed), seed, note)


def sum_removals(removals) -> dict[str, tuple[int, int]]:
    """(before, removed) per filter over all parts, in the order the filters first appear."""
    total: dict[str, tuple[int, int]] = {}
    for _, name, before, removed in removals:
        seen = total.get(name, (0, 0))
        total[name] = (seen[0] + before, seen[1] + removed)
    return total


class MatchBatch(NamedTuple):
    """points (B,K,2,2) float32 and valid (B,K) bool, padded with zeros; the (height, width) all rows refer to."""

    points: np.ndarray
    valid: np.ndarray
    person_size: tuple[int, int]
    garment_size: tuple[int, int]


def stack(rows: list[Matches], person_size=None, garment_size=None) -> MatchBatch:
    """Several pairs as one batch, padded to the longest; all brought to one size (the first row's where none is given)."""
    if not rows:
        raise ValueError("No matches were given, expected at least one pair: connect a matches input.")
    person_size = tuple(person_size or rows[0].person_size)
    garment_size = tuple(garment_size or rows[0].garment_size)
    longest = max(row.count for row in rows)
    points, valid = np.zeros((len(rows), longest, 2, 2), np.float32), np.zeros((len(rows), longest), bool)
    for index, row in enumerate(rows):
        fitted = row.resized(person_size, garment_size)
        points[index, : row.count] = fitted.points[fitted.valid]
        valid[index, : row.count] = True
    return MatchBatch(points, valid, person_size, garment_size)


class Cells(NamedTuple):
    """Reference attention as entries: query (R,) and key (R,) cell numbers (row-major), weight (R,) float32, sample (R,).

    Weights of one query sum to 1; entries are sorted by sample, query, key.
    """

    query: np.ndarray
    key: np.ndarray
    weight: np.ndarray
    sample: np.ndarray


def cells(rows: Matches | list[Matches], grid: tuple[int, int], garment_grid: tuple[int, int] | None = None) -> Cells:
    """p_ij of section 3.2: of the matches that leave person cell i, the share that ends in garment cell j.

    grid, garment_grid  (rows, columns) of the person's and the garment's feature map, e.g. 64x48, 32x24, 16x12.
    Points are rounded to a pixel (half to even) and the pixel's cell is its position times grid // size, without a half-pixel
    shift, as released; matches with an end outside its picture are dropped first.
    """
    rows = [rows] if isinstance(rows, Matches) else list(rows)
    garment_grid = garment_grid or grid
    queries, keys = grid[0] * grid[1], garment_grid[0] * garment_grid[1]
    flat = [np.zeros(0, np.int64)]
    for sample, row in enumerate(rows):
        query, query_inside = _cell(row.points[:, 0], row.person_size, grid)
        key, key_inside = _cell(row.points[:, 1], row.garment_size, garment_grid)
        flat.append(((sample * queries + query) * keys + key)[row.valid & query_inside & key_inside])
    entry, count = np.unique(np.concatenate(flat), return_counts=True)
    query, key = np.divmod(entry, keys)
    _, owner = np.unique(query, return_inverse=True)
    weight = count / np.bincount(owner, count)[owner] if len(entry) else np.zeros(0)
    return Cells(query % queries, key, weight.astype(np.float32), query // queries)


def _cell(points, size, grid):
    pixel = np.rint(points).astype(np.int64)
    limit = np.array([size[1], size[0]])
    inside = ((pixel >= 0) & (pixel < limit)).all(axis=1)
    cell = pixel * np.array([grid[1], grid[0]]) // limit
    return cell[:, 1] * grid[1] + cell[:, 0], inside


def to_json(matches: Matches, released: bool = False, size: tuple[int, int] = RELEASED_SIZE) -> str:
    """Matches as JSON text.

    released  the layout of the published files: [[[x_person, y_person], [x_garment, y_garment]], ...] in pixels of `size`
              for both pictures, and nothing else. Otherwise everything a `Matches` holds.
    """
    if released:
        return json.dumps(_plain(matches.resized(size)))
    body = {
        "format": FORMAT,
        "version": VERSION,
        "matches": _plain(matches),
        "person_size": list(matches.person_size),
        "garment_size": list(matches.garment_size),
        "removed": [list(step) for step in matches.removed],
        "seed": matches.seed,
        "note": matches.note,
    }
    return json.dumps(body)


def from_json(text: str, size: tuple[int, int] = RELEASED_SIZE, name: str = "match text") -> Matches:
    """Read either layout of `to_json`; released files refer to pictures of `size` (height, width).

    Raises ValueError that names `name` for anything else, including a version this code does not know.
    """
    try:
        body = json.loads(text)
        full = isinstance(body, dict) and "format" in body
        points = np.asarray(body.get("matches") if full else body, np.float32).reshape(-1, 2, 2)
    except (ValueError, TypeError) as error:
        raise ValueError(f"The {name} is not a list of matches ({error}): expected [[[x, y], [x, y]], ...], compute it again.") from None
    if full and (body["format"] != FORMAT or body.get("version") != VERSION):
        raise ValueError(
            f"The {name} is {body['format']!r} version {body.get('version')!r}, expected {FORMAT!r} version {VERSION}: "
            "compute the matches again."
        )
    if not np.isfinite(points).all():
        raise ValueError(f"The {name} holds coordinates that are not finite, expected pixels: compute it again.")
    valid = np.ones(len(points), bool)
    if not full:
        return Matches(points, valid, tuple(size), tuple(size))
    removed = tuple(Removal(str(p), str(f), int(b), int(r)) for p, f, b, r in body["removed"])
    return Matches(points, valid, tuple(body["person_size"]), tuple(body["garment_size"]), removed, body["seed"], body["note"])


def _plain(matches):
    return [[[round(float(v), 4) for v in end] for end in match] for match in matches.points[matches.valid]]


def write_text(path: Path, text: str) -> None:
    """Write a whole file or nothing: a temporary file beside it, fsync, rename."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
