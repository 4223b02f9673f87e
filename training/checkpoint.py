"""The state of a run on disk: weights that learn, running mean, optimizer, history, and what run it belongs to.

One safetensors file per checkpoint, `step-00000500.safetensors`, written to a temporary name, synced and renamed: a process that
is killed in the middle leaves the earlier ones whole. Randomness needs no place in it (`training.draws`).

    weights/<name>   ema/<name>   optimizer/<name>/<key>   history/<term>   validation/step, validation/loss
    header: format, step, seconds, identity (JSON), scalars (JSON)
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..models.weights import WeightsError, write_tensors

FORMAT = "1"
NAME = re.compile(r"step-(\d{8})\.safetensors")


class CheckpointError(ValueError):
    """A state that cannot be written, read or continued; the message says why and what to do."""


@dataclass
class State:
    """What a run is at the end of a step.

    Attributes:
        step: optimizer steps done.
        weights, ema: by name.
        optimizer: name of a parameter -> its optimizer state (tensors and numbers).
        history: term -> its mean at every step so far; "loss" is their weighted sum.
        identity: what run this is; see `Identity`.
        scalars: numbers beside that: updates of the running mean, scale of the loss, samples seen.
        seconds: spent so far.
        validation: "step" and "loss" of every validation so far; {} where there was none.
    """

    step: int
    weights: dict[str, Tensor]
    ema: dict[str, Tensor]
    optimizer: dict[str, dict[str, Any]]
    history: dict[str, list[float]]
    identity: dict[str, str]
    scalars: dict[str, float] = field(default_factory=dict)
    seconds: float = 0.0
    validation: dict[str, list[float]] = field(default_factory=dict)


def identity_of(kind: str, method_config: Mapping, base: str, data: str, settings: str, supervision: str = "", frozen: str = "") -> dict[str, str]:
    """What must be equal for a checkpoint to be continued, by what it is called in messages."""
    return {
        "method": kind, "method's options": json.dumps(method_config, sort_keys=True), "base model": base, "data set": data, "settings": settings,
        "supervision of attention": supervision, "frozen weights": frozen,
    }


def check_identity(found: Mapping[str, str], wanted: Mapping[str, str], name: str) -> None:
    """Refuse to continue another run; what a checkpoint does not say (it is of an earlier version) is not asked.

    Raises:
        CheckpointError: names the first thing that differs, and both values where they are short.
    """
    for part, value in wanted.items():
        if found.get(part, value) != value:
            shown = f": there {found.get(part)}, here {value}" if len(str(found.get(part))) + len(value) < 120 else ""
            raise CheckpointError(f"The run '{name}' was made with another {part}{shown}; give it what it was started with, or start anew (leave resume empty).")


def steps_in(folder: Path) -> list[int]:
    """The steps of the checkpoints in a run's folder, ascending."""
    if not folder.is_dir():
        return []
    return sorted(int(m[1]) for p in folder.iterdir() if (m := NAME.fullmatch(p.name)))


def path_of(folder: Path, step: int) -> Path:
    """Where the checkpoint of a step lies."""
    return folder / f"step-{step:08}.safetensors"


def save(folder: Path, state: State, keep: int = 2) -> Path:
    """Write a checkpoint whole or not at all; then remove all but the last `keep` earlier ones.

    Raises:
        CheckpointError: the disk is full or the folder cannot be written; earlier checkpoints are untouched.
    """
    tensors, scalars = _pack(state)
    header = {
        "fitting_room.state": FORMAT, "step": str(state.step), "seconds": repr(state.seconds), "identity": json.dumps(state.identity),
        "scalars": json.dumps(scalars),
    }
    path = path_of(folder, state.step)
    try:
        for leftover in folder.glob(".step-*.part"):  # of a process that was killed
            leftover.unlink()
        write_tensors(path, tensors, header)
    except (OSError, WeightsError) as error:
        left = steps_in(folder)
        last = f"the last whole checkpoint is step {left[-1]}" if left else "there is no earlier checkpoint"
        raise CheckpointError(
            f"Step {state.step} could not be saved in '{folder.name}' ({_reason(error.__cause__ or error)}); {last}. Free space on that disk and resume the run."
        ) from error
    for old in steps_in(folder)[: -(keep + 1)]:
        path_of(folder, old).unlink(missing_ok=True)
    return path


def load(folder: Path, step: int | None = None) -> State:
    """The last checkpoint of a run that is whole, or that of a step.

    Raises:
        CheckpointError: there is none, or none can be read.
    """
    steps = steps_in(folder) if step is None else [step]
    reasons = []
    for number in reversed(steps):
        try:
            return _read(path_of(folder, number))
        except Exception as error:  # a file damaged on disk: an older one is better than none
            reasons.append(f"step {number}: {_reason(error)}")
    if reasons:
        raise CheckpointError(f"No checkpoint of the run '{folder.name}' can be read ({'; '.join(reasons[:3])}); start anew (leave resume empty).")
    raise CheckpointError(f"There is no checkpoint in '{folder.name}', so there is nothing to resume; leave resume empty to start anew.")


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error).splitlines()[0][:160]


def _pack(state: State) -> tuple[dict[str, Tensor], dict]:
    tensors, numbers = {}, {}
    for part, named in (("weights", state.weights), ("ema", state.ema)):
        tensors |= {f"{part}/{k}": t for k, t in named.items()}
    for name, entries in state.optimizer.items():
        for key, value in entries.items():
            if isinstance(value, Tensor):
                tensors[f"optimizer/{name}/{key}"] = value
            else:
                numbers[f"{name}/{key}"] = value
    for part, lists in (("history", state.history), ("validation", state.validation)):
        tensors |= {f"{part}/{k}": torch.tensor(v, dtype=torch.float64) for k, v in lists.items()}
    tensors = {k: t.detach().cpu().contiguous().clone() for k, t in tensors.items()}
    return tensors, {"run": state.scalars, "optimizer": numbers}


def _read(path: Path) -> State:
    from safetensors import safe_open

    state = State(0, {}, {}, {}, {}, {})
    with safe_open(str(path), framework="pt") as file:
        header = file.metadata() or {}
        if header.get("fitting_room.state") != FORMAT:
            raise CheckpointError(f"'{path.name}' is not a checkpoint that this version reads")
        for key in file.keys():
            part, _, name = key.partition("/")
            tensor = file.get_tensor(key)
            if part == "optimizer":
                owner, _, entry = name.rpartition("/")
                state.optimizer.setdefault(owner, {})[entry] = tensor
            elif part in ("history", "validation"):
                getattr(state, part)[name] = tensor.tolist()
            else:
                getattr(state, part)[name] = tensor
    scalars = json.loads(header["scalars"])
    for key, value in scalars["optimizer"].items():
        owner, _, entry = key.rpartition("/")
        state.optimizer.setdefault(owner, {})[entry] = value
    state.step, state.seconds = int(header["step"]), float(header["seconds"])
    state.identity, state.scalars = json.loads(header["identity"]), scalars["run"]
    return state
