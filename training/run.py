"""One training from data set to weights file: what the nodes and the command line both call.

The host's side comes in as a `studio` (`host.training.Studio`); everything here must run inside its `learning()`.
"""

from __future__ import annotations

import re
import shutil
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

from torch import Tensor

from ..data.check import NEEDS
from ..data.pairs import Pairs
from ..data.source import PairSource
from ..models import weights
from ..models.weights import Header
from ..preprocess.matches import from_json
from . import checkpoint, parallel
from .config import TrainConfig
from .loop import Hooks, Result, Trainer
from .networks import Networks
from .tasks import task_class


@dataclass
class Finished:
    """What a training gave.

    Attributes:
        header, tensors: of the method as it is now.
        result: of the loop; None after a dry run.
        report: for people.
        files: what was written.
    """

    header: Header
    tensors: dict[str, Tensor]
    result: Result | None
    report: str
    files: list[Path]


def train(
    studio, method, pairs: Pairs, config: TrainConfig, folder: Path, cache: Path | None = None, hooks: Hooks | None = None, supervision=None,
    networks: Networks | None = None, resume: bool = False, shared: parallel.Alone | None = None,
) -> Finished:
    """Train a method and write its weights into the run's folder.

    Args:
        studio: the host's side. method: `host.LoadedMethod`; it stays as it was.
        pairs: the data set. config: settings. folder: of the run. cache: where encodings are kept.
        resume: go on from the folder's last checkpoint.

    Raises:
        ValueError: whatever stops the training, in one sentence.
    """
    shared = shared or parallel.choose(config.accumulate)
    trainer = prepare(studio, method, pairs, config, folder, cache, hooks, supervision, networks, shared)
    if trainer.task.weights.get("sift"):
        trainer.notes.append(matched(pairs, supervision))
    result = trainer.run(resume)
    samples = result.steps * config.batch * config.accumulate * shared.size
    header = replace(
        method.header, trained=f"{result.steps} steps, {samples} samples", data=pairs.source or "unnamed",
        source=f"Fitting Room trainer; before: {method.header.trained}",
    )
    files = _write(trainer, result, header, pairs) if shared.rank == 0 else []
    return Finished(header, result.tensors, result, describe(trainer, result, files), files)


def matched(pairs: Pairs, supervision=None) -> str:
    """How many pairs have SIFT matches, in a sentence."""
    own = getattr(supervision, "matches", ())
    counts = [m.count for m in own] if own else [_matches_in(r) for r in pairs]
    without = [r.name for r, count in zip(pairs, counts) if not count]
    if not without:
        return f"All {len(pairs)} pairs have SIFT matches ({sum(counts)})."
    return (
        f"{len(without)} of {len(pairs)} pairs have no SIFT matches and train on the noise loss alone ({', '.join(without[:5])}{' ...' if len(without) > 5 else ''}); "
        f"the others have {sum(counts)}."
    )


def _matches_in(record) -> int:
    path = record.things()[0].matches
    return 0 if path is None else from_json(path.read_text(encoding="utf-8"), name=path.name).count


def prepare(studio, method, pairs, config, folder, cache=None, hooks=None, supervision=None, networks=None, shared=None) -> Trainer:
    """The trainer of a run, ready to start."""
    kind = method.module.kind
    task = task_class(kind)(studio, method, config, supervision, networks)
    matches = getattr(supervision, "matches", ())
    source = PairSource(pairs, config.height, config.width, config.augment, NEEDS[kind], matches)
    return Trainer(task, source, config, folder, hooks, cache, shared)


def dry_run(studio, method, pairs: Pairs, config: TrainConfig, supervision=None, networks: Networks | None = None, hooks: Hooks | None = None) -> str:
    """Two real steps, a validation, a checkpoint and its reading in a scratch folder: what a training would take.

    Returns:
        a report: parameters, time per step and in all, memory, disk.
    """
    scratch = Path(tempfile.mkdtemp(prefix="fitting-room-dry-"))
    short = replace(config, steps=2, checkpoint_every=0, validate_every=2 if config.validate_every else 0, log_every=1)
    try:
        trainer = prepare(studio, method, pairs, short, scratch / "run", scratch / "cache", hooks, supervision, networks, parallel.Alone())
        marks: list[float] = []
        trainer.hooks = replace(trainer.hooks, progress=lambda *_: marks.append(trainer.journal.seconds()))
        studio.measure()
        result = trainer.run()
        checkpoint.load(trainer.folder)
        size = checkpoint.path_of(trainer.folder, 2).stat().st_size
        step = marks[-1] - marks[-2] if len(marks) > 2 else result.seconds / 2
        learn, frozen = _counts(trainer)
        lines = [
            f"Dry run: 2 of {config.steps} steps, nothing was kept.",
            f"{learn / 1e6:.2f} million parameters learn, {frozen / 1e6:.2f} million are frozen.",
            f"One step takes {step:.3g} s ({config.batch * config.accumulate / max(step, 1e-9):.3g} samples per second), {config.steps} steps about {_duration(step * config.steps)}.",
            f"Most memory in use: {studio.peak_memory() / 2**30:.2f} GB on {studio.device}.",
            f"A checkpoint takes {size / 2**20:.0f} MB; {config.keep + 1} are kept.",
            *(f"Loss '{k}' {v[-1]:.4g}, weight {trainer.task.weights.get(k, 1.0):g}." for k, v in result.history.items() if k != "loss"),
        ]
        return "\n".join([*lines, *trainer.notes])
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _counts(trainer: Trainer) -> tuple[int, int]:
    learn = sum(p.numel() for p in trainer.parameters.values())
    networks = [trainer.task.network(), trainer.task.base]
    everything = {id(p): p.numel() for n in networks for p in n.parameters()}
    return learn, sum(everything.values()) - learn


def _write(trainer: Trainer, result: Result, header: Header, pairs: Pairs) -> list[Path]:
    name = f"{header.method}-{slug(pairs.source)}-{result.steps}"
    files = [weights.write(result.folder / f"{name}.safetensors", result.tensors, header)]
    if result.low_rank:
        files.append(weights.write(result.folder / f"{name}-lora.safetensors", result.low_rank, replace(header, config={})))
    if result.sheet is not None:
        from .preview import write

        write(result.sheet, result.folder / "curve.jpg")
    return files


def slug(text: str) -> str:
    """Text as part of a file name: lower-case letters, digits and single dashes."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-") or "data"


def describe(trainer: Trainer, result: Result, files: list[Path]) -> str:
    """The report on a run."""
    config, losses = trainer.config, result.history.get("loss", [])
    tenth = max(1, len(losses) // 10)
    first, last = (sum(part) / len(part) if part else 0.0 for part in (losses[:tenth], losses[-tenth:]))
    learn, frozen = _counts(trainer)
    lines = [
        f"{trainer.task.module.label}: {result.steps} of {config.steps} steps on {len(trainer.source)} samples, batch {config.batch} x {config.accumulate} x {trainer.shared.size}.",
        f"Loss {first:.4g} at the start, {last:.4g} at the end (means of {tenth} steps).",
        *(f"  {name}: {_mean(values[:tenth]):.4g} -> {_mean(values[-tenth:]):.4g}, weight {trainer.task.weights.get(name, 1.0):g}" for name, values in result.history.items() if name != "loss"),
        f"{learn / 1e6:.2f} million parameters learned, {frozen / 1e6:.2f} million stayed frozen; {_duration(result.seconds)}, {result.samples_per_second:.3g} samples per second.",
        f"Most memory in use: {trainer.task.studio.peak_memory() / 2**30:.2f} GB on {trainer.task.studio.device}.",
        f"Run: {result.folder.name}" + (f", weights {files[0].name}" if files else "") + ".",
    ]
    return "\n".join([*lines, *result.notes])


def _mean(values: list[float]) -> float:
    return sum(values) / max(1, len(values))


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
