"""Matches of a whole data set, one JSON per pair in the released layout, in a pass that may be stopped and taken up again.

`<name>_sift_matches.json` holds [[[x, y], [x, y]], ...] in pixels of 384x512 (width x height), as SIFT-VTON's published files do.
Beside them `matches_ledger.jsonl` keeps one line per pair: what every filter removed and with which options. A line is added (and
flushed to disk) after its pair's file is in place, so a torn last line costs the counts of that one pair, nothing else.
"""

import json
import os
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path

import numpy as np

from .garment_parts import part_masks
from .matches import from_json, sum_removals, to_json, write_text
from .pictures import read_picture
from .sift import MatchOptions, match_pair

LEDGER = "matches_ledger.jsonl"
SUFFIX = "_sift_matches.json"


@dataclass(frozen=True)
class PairFiles:
    """The files of one pair; `name` becomes the JSON's name (`00006_00` for VITON-HD).

    Masks are optional. With `densepose` and `garment_parse` given, matching runs per part (torso, arms) and `person_mask` is the
    agnostic mask (`garment_parts.part_masks`).
    """

    name: str
    person: Path
    garment: Path
    person_mask: Path | None = None
    garment_mask: Path | None = None
    densepose: Path | None = None
    garment_parse: Path | None = None


@dataclass
class CacheReport:
    """What a pass over a data set did.

    total, matched, kept     pairs asked for; matched in this pass; already there
    matches, without         matches over all pairs; names of pairs that have none
    removed                  per filter (matches that reached it, matches it removed) over all pairs of the ledger
    failed                   (pair, sentence) for what could not be read or written
    cancelled                stopped before the end
    """

    total: int = 0
    matched: int = 0
    kept: int = 0
    matches: int = 0
    without: list[str] = field(default_factory=list)
    removed: dict[str, tuple[int, int]] = field(default_factory=dict)
    failed: list[tuple[str, str]] = field(default_factory=list)
    cancelled: bool = False

    def idle_filters(self) -> list[str]:
        """Filters that saw matches and never removed one: a sign of a threshold that does nothing, or of an unfit data set.

        The minimum is left out: with matches everywhere it rightly has nothing to do.
        """
        return [name for name, (before, removed) in self.removed.items() if before and not removed and name != "minimum"]

    def lines(self) -> list[str]:
        """The report for people, most important first."""
        done = self.matched + self.kept
        text = [f"{done} of {self.total} pairs have matches on file ({self.matched} now, {self.kept} before): {self.matches} matches."]
        if self.cancelled:
            text.append("The pass was stopped; start it again to go on where it ended.")
        text += [f"{name}: {sentence}" for name, sentence in self.failed]
        if done and len(self.without) == done:
            text.append("No pair has a single match: check the masks, the parsing and that persons wear the garments they are paired with.")
        elif self.without:
            text.append(f"{len(self.without)} pairs have no matches (plain garments are normal): {', '.join(self.without[:5])} ...")
        for name in self.idle_filters():
            text.append(f"The {name} filter removed nothing of {self.removed[name][0]} matches: check its threshold.")
        return text


def pair_seed(seed: int, name: str) -> int:
    """A seed of its own for every pair, so that neither the order nor what was skipped changes a file."""
    return int.from_bytes(blake2b(f"{seed}:{name}".encode(), digest_size=6).digest(), "big")


def load_pair(files: PairFiles) -> tuple:
    """(person, garment, person mask, garment mask) of one pair, as `match_pair` takes them. OSError or ValueError names the file."""
    person, garment = read_picture(files.person), read_picture(files.garment)
    person_mask = None if files.person_mask is None else read_picture(files.person_mask, "L")
    if files.densepose is None and files.garment_parse is None:
        return person, garment, person_mask, None if files.garment_mask is None else read_picture(files.garment_mask, "L")
    if files.densepose is None or files.garment_parse is None:
        raise ValueError("Matching per part needs a DensePose picture and a garment parsing, one is missing: give both or none.")
    dense, parse = read_picture(files.densepose, None), read_picture(files.garment_parse, None)
    repaint = np.full(dense.shape[:2], 255, np.uint8) if person_mask is None else person_mask
    return person, garment, *part_masks(dense, repaint, parse)


def cache_matches(
    pairs: Iterable[PairFiles],
    folder: Path | str,
    options: MatchOptions | None = None,
    seed: int = 0,
    progress: Callable[[int, int, str], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
    workers: int = 1,
    overwrite: bool = False,
    load: Callable = load_pair,
) -> CacheReport:
    """Match every pair whose JSON is missing or was made with other options or another seed, and say what happened.

    progress(done, total, name) is called after every pair; an exception it raises ends the pass with all files intact.
    cancelled() is asked before every pair. workers is the number of threads; the files do not depend on it.
    A file without a ledger line (a released one) is taken as it is; overwrite=True makes every file anew.
    A pair that cannot be read is reported and passed over. Raises ValueError for two pairs of one name or a name that is a path.
    """
    pairs, options, folder = list(pairs), options or MatchOptions(), Path(folder)
    _check_names(pairs)
    folder.mkdir(parents=True, exist_ok=True)
    state = f"{seed} {options.fingerprint()}"
    ledger = _read_ledger(folder / LEDGER)
    report = CacheReport(total=len(pairs))
    lines: list[dict] = []
    todo = deque()
    for pair in pairs:
        line = None if overwrite else _on_file(folder, pair.name, ledger, state)
        if line is None:
            todo.append(pair)
        else:
            report.kept += 1
            lines.append(line)
    work = _Pass(folder, options, seed, state, load)
    for pair, line in work.run(todo, workers, cancelled, report):
        if isinstance(line, str):
            report.failed.append((pair.name, line))
        else:
            report.matched += 1
            lines.append(line)
        if progress is not None:
            progress(report.kept + report.matched + len(report.failed), report.total, pair.name)
    return _summed(report, lines)


class _Pass:
    def __init__(self, folder, options, seed, state, load):
        self.folder, self.options, self.seed, self.state, self.load = folder, options, seed, state, load

    def run(self, todo, workers, cancelled, report):
        """Yield (pair, ledger line or sentence) in the order of the pairs, a few pairs ahead on `workers` threads."""
        running: deque = deque()
        with ThreadPoolExecutor(max(1, workers)) as pool:
            try:
                while todo or running:
                    if cancelled is not None and cancelled():
                        report.cancelled = True
                        return
                    while todo and len(running) <= workers:
                        pair = todo.popleft()
                        running.append((pair, pool.submit(self.match, pair)))
                    pair, future = running.popleft()
                    result = future.result()
                    yield pair, result if isinstance(result, str) else self.write(pair, result)
            finally:
                for _, future in running:
                    future.cancel()

    def match(self, pair):
        try:
            return match_pair(*self.load(pair), options=self.options, seed=pair_seed(self.seed, pair.name))
        except (OSError, ValueError) as error:
            return f"{error}"

    def write(self, pair, matches):
        line = {
            "name": pair.name,
            "state": self.state,
            "matches": matches.count,
            "removed": [list(step) for step in matches.removed],
            "note": matches.note,
        }
        try:
            write_text(self.folder / f"{pair.name}{SUFFIX}", to_json(matches, released=True))
            _append(self.folder / LEDGER, json.dumps(line))
        except OSError as error:
            return f"The matches could not be written ({error}): free space or choose another folder."
        return line


def _check_names(pairs):
    seen = set()
    for pair in pairs:
        if not pair.name or pair.name != Path(pair.name).name or "\\" in pair.name or pair.name.startswith("."):
            raise ValueError(f"The pair name {pair.name!r} is a path, expected a plain file name: leave folders out of it.")
        if pair.name in seen:
            raise ValueError(f"Two pairs are named {pair.name!r}, expected one each: their files would overwrite each other.")
        seen.add(pair.name)


def _on_file(folder, name, ledger, state):
    """The ledger line of a pair that needs no work, else None."""
    path = folder / f"{name}{SUFFIX}"
    line = ledger.get(name)
    if not path.is_file() or (line is not None and line.get("state") != state):
        return None
    if line is not None:
        return line
    try:
        return {"name": name, "matches": from_json(path.read_text(encoding="utf-8"), name=path.name).count, "removed": []}
    except (OSError, ValueError):
        return None


def _read_ledger(path) -> dict[str, Mapping]:
    lines = {}
    if path.is_file():
        for text in path.read_text(encoding="utf-8").splitlines():
            try:
                line = json.loads(text)
                lines[line["name"]] = line
            except (json.JSONDecodeError, KeyError, TypeError):
                continue  # torn by a power cut: the pair's file is whole, its counts are lost
    return lines


def _append(path, text):
    with open(path, "a+b") as file:
        if file.tell() and _last_byte(file) != b"\n":
            file.write(b"\n")
        file.write(text.encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())


def _last_byte(file):
    file.seek(-1, os.SEEK_END)
    return file.read(1)


def _summed(report, lines):
    report.matches = sum(line["matches"] for line in lines)
    report.without = [line["name"] for line in lines if not line["matches"]]
    report.removed = sum_removals(step for line in lines for step in line["removed"])
    return report
