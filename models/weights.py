"""Weights files: safetensors whose header says what the file is.

The name of a file is for people; the header decides. Keys of the header (all strings, as safetensors wants):

    fitting_room.format    version of this layout, "1"
    fitting_room.method    which paper: anydressing, igr, diffuse_to_choose, pm_jewelry, sift_vton
    fitting_room.config    JSON: what the module must be built with
    fitting_room.base      the base model, for example "sd15:3f2a..." (fingerprint of its weights)
    fitting_room.trained   steps, or "untrained"
    fitting_room.data      what it was trained on
    fitting_room.source    where it came from: this project's trainer, or a converted file with its sha256
    fitting_room.license   licence of the weights
    modelspec.*            the same for tools that read the common specification
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import tempfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

FORMAT = "1"
_UMASK = os.umask(0o022)
os.umask(_UMASK)
PREFIX = "fitting_room."


class WeightsError(ValueError):
    """A weights file that cannot be used; the message says what came, what was expected and what to do."""


@dataclass(frozen=True)
class Header:
    """What a weights file says of itself."""

    method: str
    config: dict = field(default_factory=dict)
    base: str = "sd15"
    trained: str = "untrained"
    data: str = "none"
    source: str = "Fitting Room"
    license: str = "Apache-2.0"

    def metadata(self) -> dict[str, str]:
        """The header as safetensors metadata."""
        own = {name: getattr(self, name) for name in ("method", "base", "trained", "data", "source", "license")}
        own |= {"format": FORMAT, "config": json.dumps(self.config, sort_keys=True)}
        spec = {
            "sai_model_spec": "1.0.0",
            "architecture": f"stable-diffusion-v1/fitting-room-{self.method}",
            "implementation": "fitting-room",
            "title": f"{self.method} ({self.trained})",
            "license": self.license,
        }
        return {f"{PREFIX}{k}": str(v) for k, v in own.items()} | {f"modelspec.{k}": v for k, v in spec.items()}

    def describe(self) -> str:
        """What the file says of itself, for people: a few lines of text."""
        lines = [
            f"Method: {self.method}",
            "Trained: no. Random or initial weights; the pictures show the wiring, not the method's quality."
            if self.trained == "untrained"
            else f"Trained: {self.trained}",
            f"Data: {self.data}",
            f"Base: {self.base}",
            f"Source: {self.source}",
            f"Licence of the weights: {self.license}",
        ]
        if re.search(r"\bNC\b|non-?commercial", self.license, re.IGNORECASE):
            lines.append("NON-COMMERCIAL: these weights must not be used commercially.")
        return "\n".join(lines)


def read_header(path: str | os.PathLike) -> Header:
    """The header of one of our files, without reading its tensors.

    Raises:
        WeightsError: not a safetensors file, truncated, without our header, or of a format we do not know.
    """
    metadata = _metadata(Path(path))
    name = Path(path).name
    if f"{PREFIX}companion" in metadata:
        raise WeightsError(f"'{name}' is no method by itself. {metadata[f'{PREFIX}companion']}")
    if f"{PREFIX}format" not in metadata:
        raise WeightsError(
            f"'{name}' is a safetensors file without a Fitting Room header, {_looks_like(Path(path))}; "
            "convert it with the node Convert Weights (or tools/convert.py) if it comes from another project."
        )
    if metadata[f"{PREFIX}format"] != FORMAT:
        raise WeightsError(
            f"'{name}' has format {metadata[f'{PREFIX}format']!r}, and this version of Fitting Room reads format "
            f"{FORMAT!r}; update Fitting Room, or save the file again with this version."
        )
    fields = {k: metadata.get(f"{PREFIX}{k}", "") for k in ("method", "base", "trained", "data", "source", "license")}
    try:
        config = json.loads(metadata.get(f"{PREFIX}config", "{}"))
    except json.JSONDecodeError as error:
        raise WeightsError(f"'{name}' has a configuration that is not JSON ({error}); the file is damaged, fetch it again.") from error
    return Header(config=config, **fields)


def read(path: str | os.PathLike, method: str | None = None) -> tuple[Header, dict[str, Tensor]]:
    """Header and tensors of one of our files.

    Args:
        path: the file.
        method: the method that is wanted; None takes any.

    Raises:
        WeightsError: as `read_header`; also a file of another method, or one with NaN or infinite numbers.
    """
    from safetensors.torch import load_file

    header, name = read_header(path), Path(path).name
    if method is not None and header.method != method:
        raise WeightsError(f"'{name}' holds weights of {header.method}, but {method} is wanted here; choose a file of {method}.")
    tensors = unpacked(load_file(str(path)))
    broken = [k for k, t in tensors.items() if t.is_floating_point() and not torch.isfinite(t).all()]
    if broken:
        raise WeightsError(f"'{name}' has NaN or infinite numbers in {_first(broken)}; the training that wrote it diverged, use an earlier file.")
    return header, tensors


def write(path: str | os.PathLike, tensors: Mapping[str, Tensor], header: Header) -> Path:
    """Write a file atomically: it is there whole, or the earlier one is untouched. Returns the path."""
    from safetensors.torch import save

    tensors = {k: t.detach().cpu().contiguous().clone() for k, t in tensors.items()}
    return write_bytes(path, save(tensors, metadata=header.metadata()))


def write_tensors(path: str | os.PathLike, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> Path:
    """Write large tensors atomically with any metadata, without a second copy of them all in memory. Returns the path.

    Raises:
        WeightsError: the disk is full or the folder cannot be written; nothing half-written is left.
    """
    from safetensors.torch import save_file

    tensors = {k: t.detach().cpu().contiguous() for k, t in tensors.items()}

    def save(temporary: str) -> None:
        save_file(tensors, temporary, metadata=dict(metadata))
        with open(temporary, "rb+") as stream:
            os.fsync(stream.fileno())

    return _atomic(Path(path), save)


def write_bytes(path: str | os.PathLike, data: bytes) -> Path:
    """Atomic write of bytes: temporary file in the same folder, fsync, rename.

    Raises:
        WeightsError: the disk is full or the folder cannot be written; nothing half-written is left.
    """
    def save(temporary: str) -> None:
        with open(temporary, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())

    return _atomic(Path(path), save)


def _atomic(path: Path, save: Callable[[str], None]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
    os.close(handle)
    try:
        save(temporary)
        os.chmod(temporary, 0o666 & ~_UMASK)  # a temporary file is for its owner alone; the finished one is as any other
        os.replace(temporary, path)
    except Exception as error:  # safetensors reports a full disk with an error class of its own
        if not isinstance(error, OSError) and type(error).__name__ != "SafetensorError":
            raise
        reason = getattr(error, "strerror", None) or error
        raise WeightsError(f"'{path.name}' could not be written ({reason}); free space or choose another folder, nothing was lost.") from error
    finally:
        if os.path.exists(temporary):
            os.unlink(temporary)
    return path


PACKED = ".row_scale"
"""A tensor NAME beside NAME.row_scale is whole numbers -127..127 with one scale per row; see `packed`."""


def packed(tensors: Mapping[str, Tensor], least: int = 1024) -> dict[str, Tensor]:
    """Matrices and kernels of at least `least` numbers as 8-bit whole numbers with a scale per row, the others as fp16: a quarter of fp32's size.

    An entry moves by at most 1/254 of the largest one in its row. For bundled demo weights, where size counts; `unpacked` undoes it.
    """
    out = {}
    for name, tensor in tensors.items():
        if not tensor.is_floating_point() or tensor.ndim < 2 or tensor.numel() < least:
            out[name] = tensor.half() if tensor.dtype is torch.float32 and tensor.ndim else tensor
            continue
        rows = tensor.float().reshape(tensor.shape[0], -1)
        scale = rows.abs().amax(1).clamp(min=1e-12) / 127
        out[name] = (rows / scale[:, None]).round().to(torch.int8).reshape(tensor.shape)
        out[f"{name}{PACKED}"] = scale
    return out


def unpacked(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What `packed` packed, float32; tensors of any other file as they are."""
    scales = {k.removesuffix(PACKED): t for k, t in tensors.items() if k.endswith(PACKED)}
    if not scales:
        return dict(tensors)
    out = {}
    for name, tensor in tensors.items():
        if name in scales:
            out[name] = tensor.float() * scales[name].reshape(-1, *(1 for _ in tensor.shape[1:]))
        elif not name.endswith(PACKED):
            out[name] = tensor.float() if tensor.dtype is torch.float16 else tensor
    return out


def check_keys(name: str, found: Iterable[str], expected: Iterable[str]) -> None:
    """Refuse a file whose keys are not exactly the expected ones.

    Raises:
        WeightsError: lists the first five missing and the first five unexpected keys.
    """
    found, expected = set(found), set(expected)
    missing, unexpected = sorted(expected - found), sorted(found - expected)
    if missing or unexpected:
        parts = [f"{len(keys)} {word} ({_first(keys)})" for word, keys in (("missing", missing), ("unexpected", unexpected)) if keys]
        raise WeightsError(
            f"'{name}' does not fit its own header: keys {' and '.join(parts)}; "
            "the file is incomplete or was edited, fetch or save it again."
        )


def check_shapes(name: str, found: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    """Refuse a file whose tensors have other shapes than the module (call after `check_keys`).

    Raises:
        WeightsError: lists the first five keys with both shapes.
    """
    wrong = [f"{k} {tuple(found[k].shape)} instead of {tuple(t.shape)}" for k, t in expected.items() if found[k].shape != t.shape]
    if wrong:
        raise WeightsError(f"'{name}' does not fit its own header: {_first(wrong)}; it was made for another U-Net width or is damaged.")


def read_foreign(path: str | os.PathLike) -> dict[str, Tensor]:
    """Tensors of another project's file (safetensors, or a torch pickle read without running code), flattened.

    Nested dictionaries become dotted names: {"a": {"b": t}} gives {"a.b": t}; what is not a tensor is left out.

    Raises:
        WeightsError: truncated, not a weights file, or a pickle that wants to run code.
    """
    path = Path(path)
    with open(path, "rb") as stream:
        start = stream.read(9)
    if _pickled(start):
        try:
            content = torch.load(path, map_location="cpu", weights_only=True, mmap=start[:2] == b"PK")
        except Exception as error:
            raise WeightsError(
                f"'{path.name}' is a pickle that does not load as plain weights ({str(error).splitlines()[0][:160]}); it may be "
                "truncated or may want to run code, so it is refused: ask for a safetensors file."
            ) from error
        return dict(_flatten(content, ""))
    _metadata(path)
    from safetensors.torch import load_file

    return load_file(str(path))


def sha256(path: str | os.PathLike) -> str:
    """Hex SHA-256 of a file, read in pieces."""
    digest = hashlib.sha256()
    with open(path, "rb") as stream:
        while chunk := stream.read(1 << 22):
            digest.update(chunk)
    return digest.hexdigest()


def _flatten(content, prefix: str):
    if isinstance(content, Tensor):
        yield prefix.rstrip("."), content
    elif isinstance(content, Mapping):
        for key, value in content.items():
            yield from _flatten(value, f"{prefix}{key}.")


def _looks_like(path: Path) -> str:
    from safetensors import safe_open

    from .conversion import recognise  # here, because conversions write files through this module

    with safe_open(str(path), framework="pt") as file:
        family = recognise(file.keys())
    return "so what it holds is unknown" if family is None else f"and its keys are those of {family.label}"


def _pickled(start: bytes) -> bool:
    """Whether nine bytes begin a pickle or an archive of one.

    A safetensors file begins with the length of its header, eight bytes that may be anything (0x80 first, as in a pickle), and the header's brace.
    """
    return start[8:] != b"{" and (start[:2] == b"PK" or start[:1] == b"\x80")


def _metadata(path: Path) -> dict[str, str]:
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise WeightsError(f"The file '{path.name}' does not exist any more; refresh the list of files, or put it back.")
    with open(path, "rb") as stream:
        start = stream.read(9)
    if _pickled(start):
        raise WeightsError(
            f"'{path.name}' is a pickle (.pt, .pth, .ckpt), which can carry code, and is not opened here; "
            "convert it with the node Convert Weights, or ask for a safetensors file."
        )
    try:
        with safe_open(str(path), framework="pt") as file:
            return dict(file.metadata() or {})
    except (SafetensorError, OSError, ValueError) as error:
        raise WeightsError(f"'{path.name}' is not a whole safetensors file ({error}); it was truncated or is something else, fetch it again.") from error


def _first(items: list[str], most: int = 5) -> str:
    more = f", and {len(items) - most} more" if len(items) > most else ""
    return ", ".join(items[:most]) + more
