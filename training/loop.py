"""The loop: samples, a forward, the sum of weighted terms, a backward, a step; and everything that must not be lost on the way.

    L = sum_k weight_k mean_b term_k[b]

A run is a folder: `settings.json`, `log.jsonl`, checkpoints, and at the end the weights. Stopping it (cancel, an error, a full disk, a
killed process) leaves the last whole checkpoint; resuming goes on with the very same samples, timesteps and noise.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from hashlib import blake2b
from pathlib import Path

import torch
from torch import Tensor

from ..data.split import hold_out
from ..models.weights import write_bytes
from . import checkpoint, parallel, preview
from .cache import EncodedCache
from .checkpoint import State
from .config import TrainConfig
from .draws import Order, generator
from .ema import Ema
from .journal import Journal, duration
from .optim import learning_rate, make_optimizer
from .step import Diverged, Hooks, Result, Step, TrainingError
from .tasks.base import Encoded, Task
from .validation import validation_loss


class Trainer:
    """One run of one stage.

    Args:
        task: the method with its networks.
        source: samples: `len()`, `sample(index, generator)`, `key(index)`, `name(index)`, `fingerprint()`;
            `groups()` where samples are held out, `size(index)` for buckets.
        config: settings.
        folder: of the run.
        hooks: see `Hooks`.
        cache: folder of kept encodings; None keeps none.
        shared: the processes that share the run.

    Attributes:
        keep_best: called where a validation's loss is the lowest so far, to write the weights down.

    Raises:
        ValueError: fewer samples than one forward needs.
    """

    def __init__(self, task: Task, source, config: TrainConfig, folder: Path, hooks: Hooks | None = None, cache: Path | None = None, shared: parallel.Alone | None = None):
        self.task, self.source, self.config, self.folder = task, source, config, Path(folder)
        self.hooks, self.shared = hooks or Hooks(), shared or parallel.choose(config)
        trained, self.held = hold_out(source.groups() if config.held_out else [0] * len(source), config.held_out, generator(config.seed, "held_out"))
        block, sizes = config.batch * self.shared.size, [source.size(i) for i in trained] if config.buckets else None
        if len(trained) < block:
            raise ValueError(_too_few(len(trained), len(self.held), config.batch, self.shared.size))
        self.order = Order(config.seed, trained, sizes, block)
        self.cache = EncodedCache(cache if config.cache else None, task.identity())
        self.parameters = task.parameters()
        if not self.parameters:
            raise ValueError("Nothing would learn with these settings; choose another `base`, or a method with weights of its own.")
        self.optimizer, note = make_optimizer(list(self.parameters.values()), config)
        self.step_module, self.optimizer = self.shared.prepare(Step(task, in_order=self.shared.steps_itself), self.optimizer)
        self.scaler = torch.amp.GradScaler(task.studio.device.type, enabled=config.precision == "fp16")
        self.ema = Ema(self.parameters, config.ema)
        self.notes = [*task.studio.notes, *([note] if note else []), *self.shared.notes]
        if config.augment and config.cache and config.variants == 1:
            self.notes.append("Every sample is seen as it is: augment acts where the cache keeps several variants, or without the cache.")
        self.done, self.before, self.sheet, self.updating = 0, 0.0, None, False
        self.keys: dict[int, str] = {}
        self.validation: dict[str, list[float]] = {}
        self.keep_best: Callable[[], None] = lambda: None
        self.journal = Journal(self.folder if self.shared.rank == 0 else None, every=config.log_every)

    # ---- a run ---------------------------------------------------------------------------------------------------------

    def run(self, resume: bool = False) -> Result:
        """Train to the last step, from the start or from the last checkpoint."""
        if resume:
            self._restore()
        if self.done >= self.config.steps:
            self.notes.append(f"The run has {self.done} of {self.config.steps} steps already; nothing was left to do.")
            return self._result()
        self._begin()
        try:
            self._encode_ahead()
            self.journal.begin()
            while self.done < self.config.steps:
                self._optimizer_step()
                self._after_step()
        except Diverged:
            raise  # the checkpoints before are better than what there is now
        except BaseException:
            if not self.updating and self.done and self.done not in checkpoint.steps_in(self.folder):
                self._save(alone=True)  # between two steps everything is whole: what is lost is the step that was under way
            raise
        return self._result()

    def _begin(self) -> None:
        self.task.studio.make_room()
        if self.shared.rank == 0 and not self.done:
            text = json.dumps({"settings": self.config.to_dict(), "identity": self.identity()}, indent=1)
            write_bytes(self.folder / "settings.json", f"{text}\n".encode())
        self.hooks.progress(self.done, self.config.steps, None, None)

    def identity(self) -> dict[str, str]:
        """What this run is, for its checkpoints."""
        header, supervision = self.task.header, self.task.supervision
        plain = "" if supervision is None else repr(replace(supervision, matches=(), folder=""))  # the matches belong to the data set
        return checkpoint.identity_of(
            header.method, self.task.module.config.to_dict(), header.base, self.source.fingerprint(), self.config.fingerprint(), plain, self._frozen()
        )

    def _frozen(self) -> str:
        """A short name of everything that does not learn, by the first numbers of every tensor."""
        digest = blake2b(digest_size=8)
        for network in (self.task.network(), self.task.base):
            for name, parameter in network.named_parameters():
                if not parameter.requires_grad:
                    digest.update(name.encode() + parameter.detach().flatten()[:16].float().cpu().numpy().tobytes())
        return digest.hexdigest()

    def _result(self) -> Result:
        if self.cache.problem:
            self.notes.append(self.cache.problem)
        tensors, low_rank = self.task.result(self.ema.weights(self.parameters))
        return Result(
            self.done, tensors, low_rank, self.journal.history, self.notes, self.before + self.journal.seconds(), self.journal.speed(),
            self.folder, self.sheet,
        )

    # ---- one step ------------------------------------------------------------------------------------------------------

    def numbers(self, step: int) -> list[list[int]]:
        """The numbers of the samples of a step that this process sees, one list per forward."""
        config, shared = self.config, self.shared
        per_forward = config.batch * shared.size
        first = step * per_forward * config.accumulate + shared.rank
        return [[first + part * per_forward + i * shared.size for i in range(config.batch)] for part in range(config.accumulate)]

    def _optimizer_step(self) -> None:
        config = self.config
        rate = learning_rate(config, self.done)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.zero_grad(set_to_none=True)
        terms: dict[str, float] = {}
        parts = self.numbers(self.done)
        for numbers in parts:
            self.hooks.stop()
            batches = self.task.batches([self.encoded(n) for n in numbers], numbers)
            with self.shared.gathering(self.step_module):
                values = self.step_module(batches)
                total = sum(self.task.weights[k] * v.mean() for k, v in values.items())
                self._check(values, batches)
                self.shared.backward(self.scaler.scale(total / len(parts)))
            means = torch.stack([total, *(v.mean() for v in values.values())]).detach().float() / len(parts)
            for name, value in zip(("loss", *values), self.shared.mean(means).tolist()):  # one look at the device for all of them
                terms[name] = terms.get(name, 0.0) + value
        self.scaler.unscale_(self.optimizer)
        norm = self.shared.clip([p for p in self.parameters.values() if p.grad is not None], config.max_norm)
        if not math.isfinite(norm) and not self.scaler.is_enabled():
            names = [self.source.name(self.order[n]) for part in parts for n in part]
            raise (Diverged if self.shared.steps_itself else TrainingError)(self._not_finite("the gradient", names))
        self.updating = True
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.ema.update(self.parameters)
        self.done += 1
        self.updating = False
        self.journal.note(
            self.done, terms.pop("loss"), terms, config.batch * config.accumulate * self.shared.size, learning_rate=rate, gradient=norm,
            gigabytes=round(self.task.studio.peak_memory() / 2**30, 3),
        )

    def _check(self, values: dict[str, Tensor], batches: list) -> None:
        """Refuse to go on from a loss that is no number, and say whose it is."""
        finite = torch.isfinite(torch.stack(list(values.values())))  # (terms, samples)
        if self.shared.agree(not bool(finite.all())):
            names, bad = [n for b in batches for n in b.names], {}
            for term, row in zip(values, finite.tolist()):
                for name, good in zip(names, row):
                    if not good:
                        bad.setdefault(name, []).append(term)
            raise TrainingError(self._not_finite(", ".join(dict.fromkeys(t for v in bad.values() for t in v)) or "another process's loss", list(bad)))

    def _not_finite(self, what: str, names: list[str]) -> str:
        shown = ", ".join(f"'{n}'" for n in names[:8])
        return (
            f"Step {self.done + 1} gave no finite number for {what} with {shown}; look at these samples, or lower the learning rate or a loss weight. "
            f"The state after step {self.done} is kept in '{self.folder.name}'."
        )

    # ---- samples -------------------------------------------------------------------------------------------------------

    def encoded(self, number: int) -> Encoded:
        """Sample number `number` of the run as frozen networks see it, from disk where it was kept."""
        config, index = self.config, self.order[number]
        version = (number // len(self.order)) % config.variants
        if not config.augment:
            return self._kept(index, "plain", None)
        if config.cache and version == 0 and config.variants == 1:
            return self._kept(index, "plain", None)
        if config.cache:
            return self._kept(index, f"{config.seed} {version} {sorted(config.augment.items())}", generator(config.seed, "augment", index, version))
        return self.task.encode(self.source.sample(index, generator(config.seed, "augment", number)))

    def _kept(self, index: int, version: str, draw: torch.Generator | None) -> Encoded:
        if index not in self.keys:  # asks the disk for every file of the sample
            self.keys[index] = self.source.key(index)
        key = f"{self.keys[index]} {version}"
        found = self.cache.get(key)
        if found is None:
            found = self.task.encode(self.source.sample(index, draw))
            self.cache.put(key, found)
        return found

    def _encode_ahead(self) -> None:
        """Fill the cache with what this run will need, so that the encoders can leave the device before training."""
        if self.cache.folder is None:
            return
        config, per_step = self.config, self.config.batch * self.config.accumulate * self.shared.size
        first, last = self.done * per_step, config.steps * per_step
        numbers = range(first, min(last, first + len(self.order) * config.variants))
        for number in numbers[self.shared.rank :: self.shared.size]:
            self.hooks.stop()
            self.encoded(number)
        if config.validate_every and self.shared.rank == 0:
            for index in self._validated():
                self.hooks.stop()
                self._kept(index, "plain", None)
        if self.cache.made:
            self.hooks.say(f"{self.cache.made} samples encoded, {self.cache.found} found on disk.")
        self.shared.together()
        self.task.studio.make_room()

    # ---- between steps -------------------------------------------------------------------------------------------------

    def _after_step(self) -> None:
        config, last = self.config, self.done >= self.config.steps
        picture = None
        if self.shared.rank == 0 and config.validate_every and (self.done % config.validate_every == 0 or last):
            self.sheet = picture = self._validate()
        elif self.shared.rank == 0 and (last or self.done % max(1, config.steps // 200) == 0):
            picture = self._curve()
            self.sheet = picture if not config.validate_every else self.sheet
        self.hooks.progress(self.done, config.steps, self.journal.smooth, picture)
        if self.journal.spiked(config.spike) and not last:
            raise Diverged(self._spiked())
        if last or (config.checkpoint_every and self.done % config.checkpoint_every == 0):
            self._save()

    def _spiked(self) -> str:
        lowest, step = self.journal.lowest
        before = [s for s in checkpoint.steps_in(self.folder) if s <= step]
        kept = f"the checkpoint of step {before[-1]} is from before that" if before else "no checkpoint is from before that"
        return (
            f"The loss rose to {self.journal.smooth:.4g} at step {self.done}, {self.journal.smooth / lowest:.1f} times its lowest ({lowest:.4g} at step {step}; running "
            f"means), so the run in '{self.folder.name}' was stopped; {kept}. Lower the learning rate or lengthen the warm-up; spike = 0 lets such a run go on."
        )

    def _curve(self):
        """The curve with what people ask about a run beside it."""
        left = self.config.steps - self.done
        facts = [
            f"rate {learning_rate(self.config, self.done - 1):.3g}", f"{self.journal.speed():.3g} samples/s", f"{self.task.studio.peak_memory() / 2**30:.1f} GB",
            *([f"about {duration(self.journal.left(left))} left"] if left else []),
        ]
        return preview.curve(self.journal.history, self.done, self.config.steps, self.validation, ", ".join(facts), self.task.weights)

    def _validated(self) -> list[int]:
        """The samples to validate on: those held out, else the first that are drawn."""
        return self.held or self.order.members[: self.config.validation]

    def _validate(self):
        """Pictures of the same samples from the same noise each time, beside the curve; written into the run's folder."""
        chosen = self._validated()
        items = [self._kept(i, "plain", None) for i in chosen]
        shown = range(min(self.config.validation, len(items)))
        self.ema.swap(self.parameters)
        try:
            loss = validation_loss(self.task, items, self.config, self.hooks.stop)
            drawn = preview.draw(self.task, [items[i] for i in shown], self.config, self.hooks.stop)
        finally:
            self.ema.swap(self.parameters)
        self._note_validation(loss)
        true = [self.task.target(self.source.sample(chosen[i], None)) for i in shown]
        sheet = preview.sheet([(items[i].name, true[i], drawn[i]) for i in shown], self._curve())
        preview.write(sheet, self.folder / f"validation-{self.done:08}.jpg")
        return sheet

    def _note_validation(self, loss: float) -> None:
        lowest = min(self.validation.get("loss", ()), default=math.inf)
        self.validation.setdefault("step", []).append(float(self.done))
        self.validation.setdefault("loss", []).append(loss)
        self.journal.write({"step": self.done, "validation_loss": loss, "held_out": len(self.held)})
        if self.config.best and loss < lowest:
            self.keep_best()

    # ---- state ---------------------------------------------------------------------------------------------------------

    def state(self) -> State:
        """The run after the last whole step."""
        inner = getattr(self.optimizer, "optimizer", self.optimizer)
        states = {name: dict(inner.state[p]) for name, p in self.parameters.items() if p in inner.state}
        scaler = self.scaler.state_dict()  # {} where it is off
        scalars = {"ema_updates": self.ema.updates, "scale": scaler.get("scale", 0.0), "scale_steps": scaler.get("_growth_tracker", 0)}
        weights = {k: p.detach() for k, p in self.parameters.items()}
        seconds = self.before + self.journal.seconds()
        return State(self.done, weights, self.ema.mean, states, self.journal.history, self.identity(), scalars, seconds, self.validation)

    def _save(self, alone: bool = False) -> None:
        """Write a checkpoint; `alone` where the other processes may not come here, because this one is about to end."""
        if self.shared.rank == 0:
            checkpoint.save(self.folder, self.state(), self.config.keep)
        if not alone:
            self.shared.together()

    def _restore(self) -> None:
        state = checkpoint.load(self.folder)
        checkpoint.check_identity(state.identity, self.identity(), self.folder.name)
        inner = getattr(self.optimizer, "optimizer", self.optimizer)
        fused = any(group.get("fused") for group in inner.param_groups)  # which counts its steps on the device
        with torch.no_grad():
            for name, parameter in self.parameters.items():
                parameter.copy_(state.weights[name])
                if name in self.ema.mean:
                    self.ema.mean[name].copy_(state.ema[name])
                if name in state.optimizer:
                    inner.state[parameter] = {
                        k: (v.to(parameter.device) if v.ndim or fused else v) if isinstance(v, Tensor) else v for k, v in state.optimizer[name].items()
                    }
        self.shared.weights_changed(self.optimizer)
        self.ema.updates = int(state.scalars["ema_updates"])
        if self.scaler.is_enabled() and state.scalars["scale"]:
            tracked = int(state.scalars.get("scale_steps", 0))
            self.scaler.load_state_dict({**self.scaler.state_dict(), "scale": state.scalars["scale"], "_growth_tracker": tracked})
        self.done, self.before, self.validation = state.step, state.seconds, state.validation
        folder = self.folder if self.shared.rank == 0 else None
        self.journal = Journal(folder, state.history, self.config.log_every)


def _too_few(trained: int, held: int, batch: int, processes: int) -> str:
    rest = f" ({held} more are held out)" if held else ""
    shared = f" in each of {processes} processes" if processes > 1 else ""
    return f"The data set has {trained} samples{rest} and the batch is {batch}{shared}; lower the batch, or add pictures."
