"""Released weights of other projects, as files of ours: one family per layout, told apart by their keys.

Pickles are read as plain weights only. Every key of a file is accounted for: kept, written to a companion file, or left out with
the reason in the report.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from torch import Tensor

from ..weights import Header, WeightsError, read_foreign, sha256, write, write_tensors
from . import imagdressing, ip_adapter, paint_by_example, stableviton
from .layout import Companion


@dataclass(frozen=True)
class Converted:
    """What a released file became.

    Attributes:
        header, tensors: the method's file.
        report: lines that account for every key of the source.
        companions: parts that the host loads itself (a checkpoint, an image encoder), to be written beside it.
    """

    header: Header
    tensors: Mapping[str, Tensor]
    report: tuple[str, ...]
    companions: tuple[Companion, ...] = ()

    def write(self, folder: Callable[[str], Path], name: str) -> tuple[Path, list[Path]]:
        """Write everything, each file whole or not at all.

        Args:
            folder: the directory of a kind of models: "fitting_room", "checkpoints", "clip_vision".
            name: of the files, without suffix.

        Returns:
            the method's file, and the companions.

        Raises:
            WeightsError: a name that leaves its folder, a file that exists already, or a disk that cannot be written.
        """
        name = plain_name(name)
        targets = [(folder(c.folder) / f"{name}{c.suffix}.safetensors", c) for c in self.companions]
        own = folder("fitting_room") / f"{name}.safetensors"
        if there := [p.name for p in (own, *(p for p, _ in targets)) if p.exists()]:
            raise WeightsError(f"'{there[0]}' exists already; choose another filename, or move that file away first.")
        for path, companion in targets:
            write_tensors(path, companion.tensors, companion.metadata(self.header))
        return write(own, dict(self.tensors), self.header), [p for p, _ in targets]


@dataclass(frozen=True)
class Family:
    """One released layout.

    Attributes:
        name: as it is chosen.
        label: for people.
        recognises: (keys) -> whether a file is of this layout.
        convert: (tensors, sha256 of the file) -> Converted.
    """

    name: str
    label: str
    recognises: Callable[[Iterable[str]], bool]
    convert: Callable[[Mapping[str, Tensor], str], Converted] = field(repr=False)


def _ip_adapter(tensors: Mapping[str, Tensor], digest: str) -> Converted:
    header, kept = ip_adapter.convert(tensors, f"IP-Adapter, converted; sha256 {digest}")
    left = len(tensors) - len(kept)
    report = (
        f"IP-Adapter -> IGR's low-level path ({header.config['adapter']}): {len(kept)} tensors kept.",
        *([f"Left out {left} tensors that are neither image_proj nor ip_adapter."] if left else []),
        f"Licence: {header.license}.",
    )
    return Converted(header, kept, report)


FAMILIES: dict[str, Family] = {
    family.name: family
    for family in (
        Family("siftvton", "SIFT-VTON", stableviton.recognises_sift, lambda t, d: Converted(*stableviton.convert(t, d))),
        Family("stableviton", "StableVITON", stableviton.recognises, lambda t, d: Converted(*stableviton.convert(t, d))),
        Family("paint_by_example", "Paint by Example", paint_by_example.recognises, lambda t, d: Converted(*paint_by_example.convert(t, d))),
        Family("imagdressing", "IMAGDressing", imagdressing.recognises, lambda t, d: Converted(*imagdressing.convert(t, d))),
        Family("ip_adapter", "IP-Adapter", ip_adapter.matches, _ip_adapter),
    )
}
"""In the order in which they are tried: the more special layout first."""


def recognise(keys: Iterable[str]) -> Family | None:
    """The family of a file by its keys, or None."""
    keys = list(keys)
    return next((f for f in FAMILIES.values() if f.recognises(keys)), None)


def convert(path: str | os.PathLike, family: str = "auto") -> Converted:
    """Read a released file and make it ours.

    Args:
        path: safetensors, or a torch pickle that holds plain weights.
        family: one of `FAMILIES`, or "auto" to tell it from the keys.

    Raises:
        WeightsError: an unknown family, a file of another family, an incomplete or damaged file.
    """
    path = Path(path)
    if family != "auto" and family not in FAMILIES:
        raise WeightsError(f"There is no family {family!r}; choose auto, {', '.join(FAMILIES)}.")
    tensors = weights_only(read_foreign(path))
    found = recognise(tensors)
    wanted = found if family == "auto" else FAMILIES[family]
    if wanted is None:
        first = ", ".join(list(tensors)[:3]) or "no tensors"
        raise WeightsError(
            f"'{path.name}' is of no family known here ({', '.join(f.label for f in FAMILIES.values())}); it holds {first} ...: "
            "choose another file, or load it with the host's own loaders."
        )
    if not wanted.recognises(list(tensors)):
        looks = f"it looks like {found.label}: choose auto or {found.name}" if found else "it looks like none of the known families"
        raise WeightsError(f"'{path.name}' is not a file of {wanted.label}; {looks}.")
    return wanted.convert(tensors, sha256(path))


def weights_only(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A trainer's file without what is not the model: what lies under `state_dict`, if that is where the model is."""
    prefix = "state_dict."
    inside = {k.removeprefix(prefix): t for k, t in tensors.items() if k.startswith(prefix)}
    return inside or dict(tensors)


def plain_name(name: str) -> str:
    """A file's name without suffix, refused if it leads anywhere else.

    Raises:
        WeightsError: an empty name, a path, or a hidden file.
    """
    plain = name.strip().removesuffix(".safetensors")
    if not plain or plain != Path(plain).name or plain.startswith(".") or any(c in plain for c in '\\:*?"<>|\0'):
        raise WeightsError(f"{name!r} cannot name a file; write a plain name such as 'stableviton-vitonhd'.")
    return plain
