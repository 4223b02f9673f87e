"""One training from data set to weights file: what the nodes and the command line both call.

The host's side comes in as a `studio` (`host.training.Studio`); everything here must run inside its `learning()`.
"""

from __future__ import annotations

import re
import shutil
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from ..data.check import NEEDS
from ..data.pairs import Pairs
from ..data.source import PairSource
from ..models import weights
from ..models.weights import Header
from ..preprocess.matches import from_json
from . import checkpoint, parallel
from .config import TrainConfig
from .journal import duration
from .loop import Hooks, Result, Trainer, TrainingError
from .networks import Networks
from .tasks import task_class


BEST = "best.safetensors"
"""In a run's folder: the weights of the validation with the lowest loss."""


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
    shared = shared or parallel.choose(config)
    with enough_memory():
        trainer = prepare(studio, method, pairs, config, folder, cache, hooks, supervision, networks, shared)
        trainer.keep_best = lambda: _write_best(trainer, method.header)
        for note in trainer.notes:
            trainer.hooks.say(note)
        result = trainer.run(resume)
    header = _header(trainer, method.header, result.steps)
    files = _write(trainer, result, header, pairs) if shared.rank == 0 else []
    return Finished(header, result.tensors, result, describe(trainer, result, files), files)


@contextmanager
def enough_memory():
    """Turn a device's full memory into a sentence that says what to do."""
    try:
        yield
    except torch.cuda.OutOfMemoryError as error:
        raise TrainingError(
            "The device's memory is full. Take the 8 GB preset (one picture at a time, gradient checkpointing, bf16, an 8-bit optimizer), or a smaller batch "
            f"with more accumulate, a smaller size, fewer loss terms that decode pictures. What was saved can be resumed with them where the step stays the same. ({str(error).splitlines()[0]})"
        ) from error


def _header(trainer: Trainer, before: Header, steps: int) -> Header:
    config, pairs = trainer.config, trainer.source.pairs
    samples = steps * config.batch * config.accumulate * trainer.shared.size
    return replace(
        before, trained=f"{steps} steps, {samples} samples", data=f"{pairs.source or 'unnamed'} ({len(trainer.order)} samples, {trainer.source.fingerprint()})",
        source=f"Fitting Room trainer, settings {config.fingerprint()}; before: {before.trained}",
    )


def _write_best(trainer: Trainer, before: Header) -> None:
    """The weights as they are now, beside the run's checkpoints."""
    tensors, _ = trainer.task.result(trainer.ema.weights(trainer.parameters))
    weights.write(trainer.folder / BEST, tensors, _header(trainer, before, trainer.done))


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
    source = PairSource(pairs, config.height, config.width, config.augment, NEEDS[kind], matches, config.buckets)
    trainer = Trainer(task, source, config, folder, hooks, cache, shared)
    trainer.notes += pairs.problems
    if task.weights.get("sift"):
        trainer.notes.append(matched(pairs, supervision))
    return trainer


def dry_run(studio, method, pairs: Pairs, config: TrainConfig, supervision=None, networks: Networks | None = None, hooks: Hooks | None = None) -> str:
    """Two real steps, a validation, a checkpoint and its reading in a scratch folder: what a training would take.

    Returns:
        a report: parameters, time per step and in all, memory, disk.
    """
    scratch = Path(tempfile.mkdtemp(prefix="fitting-room-dry-"))
    short = replace(config, steps=2, checkpoint_every=0, best=False, validate_every=2 if config.validate_every else 0, log_every=1)
    try:
        with enough_memory():
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
            f"One step takes {step:.3g} s ({config.batch * config.accumulate / max(step, 1e-9):.3g} samples per second), {config.steps} steps about {duration(step * config.steps)}.",
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
        about = {f"{weights.PREFIX}companion": "It is a LoRA of the denoiser: load it with Load LoRA.", "modelspec.title": f"{name} LoRA"}
        files.append(weights.write_tensors(result.folder / f"{name}-lora.safetensors", result.low_rank, about))
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
        f"{learn / 1e6:.2f} million parameters learned, {frozen / 1e6:.2f} million stayed frozen; {duration(result.seconds)}, {result.samples_per_second:.3g} samples per second.",
        f"Most memory in use: {trainer.task.studio.peak_memory() / 2**30:.2f} GB on {trainer.task.studio.device}.",
        *_validated(trainer),
        f"Run: {result.folder.name}" + (f", weights {files[0].name}" if files else "") + ".",
    ]
    return "\n".join([*lines, *result.notes])


def _validated(trainer: Trainer) -> list[str]:
    """What validation found, and where the best weights are."""
    found = trainer.validation.get("loss", [])
    if not found:
        return []
    best, on = min(range(len(found)), key=found.__getitem__), f"{len(trainer.held)} samples held out" if trainer.held else "samples that were trained on"
    kept = f", whose weights are in {BEST}" if (trainer.folder / BEST).is_file() else ""
    return [f"Validation on {on}: {found[-1]:.4g} at the end, lowest {found[best]:.4g} at step {trainer.validation['step'][best]:.0f}{kept}."]


def _mean(values: list[float]) -> float:
    return sum(values) / max(1, len(values))
