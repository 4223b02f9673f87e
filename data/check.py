"""Reading a whole data set before training, so that what is wrong is known by name in minute one and not at step 40 000."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from hashlib import blake2b

import torch
from torch import Tensor

from ..preprocess.pictures import picture_size
from .pairs import Pairs, Record
from .read import read_sample
from .sample import Sample

NEEDS = {
    "anydressing": (), "igr": ("worn",), "diffuse_to_choose": ("mask",), "sift_vton": ("mask", "pose"), "pm_jewelry": ("mask", "depth"),
}
"""What a method's training cannot do without, beside the person and the item."""

WAYS = {
    "worn": "give a mask of the worn item or a parse map", "mask": "give a mask of what is repainted (1 = repaint), or a parse map",
    "pose": "give the DensePose picture", "depth": "give a depth picture (near = bright), for instance from the Depth Preprocessor",
}


@dataclass
class Check:
    """What reading a data set found.

    Attributes:
        total: records read.
        bad: (name of the sample, sentence) for each that cannot be trained on.
        notes: what was made because no file says it, or is not as it might be, and how often.
        copies: (name of the sample, name of an earlier one whose pictures are the same, byte for byte).
        with_matches, matches: samples that have SIFT matches, and how many in all.
        stopped: the check was broken off.
    """

    total: int = 0
    bad: list[tuple[str, str]] = field(default_factory=list)
    notes: dict[str, int] = field(default_factory=dict)
    copies: list[tuple[str, str]] = field(default_factory=list)
    with_matches: int = 0
    matches: int = 0
    stopped: bool = False

    def lines(self) -> list[str]:
        """For people, what is wrong first."""
        text = [f"{len(self.bad)} of {self.total} samples cannot be used:"] if self.bad else [f"All {self.total} samples can be read."]
        text += [f"- {name}: {sentence}" for name, sentence in self.bad[:50]]
        text += [f"- and {len(self.bad) - 50} more"] if len(self.bad) > 50 else []
        if self.copies:
            some = ", ".join(f"{name} of {other}" for name, other in self.copies[:10])
            text.append(f"{len(self.copies)} samples are copies of another one ({some}{', ...' if len(self.copies) > 10 else ''}); they count twice.")
        text += [f"{count} x {note}." for note, count in self.notes.items()]
        if self.with_matches:
            text.append(f"{self.with_matches} of {self.total} samples have SIFT matches ({self.matches} in all); the others train on the noise loss alone.")
        return text


def check(
    pairs: Pairs, height: int, width: int, needs: Iterable[str] = (), progress: Callable[[int, int], None] | None = None
) -> Check:
    """Read every sample as training would.

    Args:
        needs: fields of `Sample`, and "worn" of its first item, that must be there (`NEEDS`).
        progress: (done, total) after every sample; an exception it raises ends the check.
    """
    found, names, seen = Check(), set(), {}
    for record in pairs:
        found.total += 1
        sentence = _duplicate(record, names) or _sample(record, height, width, tuple(needs), found)
        if sentence:
            found.bad.append((record.name, sentence))
        elif (other := seen.setdefault(_pictures(record), record.name)) != record.name:
            found.copies.append((record.name, other))
        if progress is not None:
            progress(found.total, len(pairs))
    return found


def _duplicate(record: Record, names: set) -> str:
    double = record.name in names
    names.add(record.name)
    return "two samples have this name; names must differ" if double else ""


def _pictures(record: Record) -> bytes:
    digest = blake2b(digest_size=16)
    for path in (record.person, *(item.picture for item in record.things())):
        digest.update(path.read_bytes())
    return digest.digest()


def _sample(record: Record, height: int, width: int, needs: tuple[str, ...], found: Check) -> str:
    try:
        sample = read_sample(record, height, width)
    except ValueError as error:
        return str(error)
    h, w = picture_size(record.person)
    smaller = [f"person's picture smaller than {width} x {height}, enlarged"] if h < height and w < width else []
    padded = ["person's picture of other proportions, more than a tenth of it is padding (buckets avoid that)"] if float(sample.valid.mean()) < 0.9 else []
    for note in (*sample.notes, *smaller, *padded):
        found.notes[note] = found.notes.get(note, 0) + 1
    counts = [len(i.matches) for i in sample.items if i.matches is not None]
    found.with_matches += bool(sum(counts))
    found.matches += sum(counts)
    return "; ".join(filter(None, (_missing(sample, need) for need in needs)))


def _missing(sample: Sample, need: str) -> str:
    value: Tensor | None = sample.item.worn if need == "worn" else getattr(sample, need)
    if value is None:
        return f"it has no {'mask of the worn item' if need == 'worn' else need}; {WAYS.get(need, 'give one')}"
    if need in ("mask", "worn") and not bool(torch.any(value > 0.5)):
        return f"its {'mask of the worn item' if need == 'worn' else need} is empty at this size"
    return ""
