"""The loop: samples, a forward, the sum of weighted terms, a backward, a step; and everything that must not be lost on the way.

    L = sum_k weight_k mean_b term_k[b]

A run is a folder: `settings.json`, `log.jsonl`, checkpoints, and at the end the weights. Stopping it (cancel, an error, a full disk, a
killed process) leaves the last whole checkpoint; resuming goes on with the very same samples, timesteps and noise.
"""

from __future__ import annotations

import json
import math
from pathlib import Path

import torch
from torch import Tensor

from . import checkpoint, parallel, preview
from .cache import EncodedCache
from .checkpoint import State
from .config import TrainConfig
from .draws import Order, generator
from .ema import Ema
from .journal import Journal
from .optim import learning_rate, make_optimizer
from .step import Hooks, Result, Step, TrainingError
from .tasks.base import Encoded, Task


class Trainer:
    """One run of one stage.

    Args:
        task: the method with its networks.
        source: samples: `len()`, `sample(index, generator)`, `key(index)`, `name(index)`, `fingerprint()`.
        config: settings.
        folder: of the run.
        hooks: see `Hooks`.
        cache: folder of kept encodings; None keeps none.
        shared: the processes that share the run.

    Raises:
        ValueError: fewer samples than one step needs.
    """

    def __init__(self, task: Task, source, config: TrainConfig, folder: Path, hooks: Hooks | None = None, cache: Path | None = None, shared: parallel.Alone | None = None):
        self.task, self.source, self.config, self.folder = task, source, config, Path(folder)
        self.hooks, self.shared = hooks or Hooks(), shared or parallel.choose(config.accumulate)
        if len(source) < config.batch:
            raise ValueError(f"The data set has {len(source)} samples and the batch is {config.batch}; lower the batch, or add pictures.")
        self.order = Order(config.seed, len(source))
        self.cache = EncodedCache(cache if config.cache else None, task.identity())
        self.parameters = task.parameters()
        if not self.parameters:
            raise ValueError("Nothing would learn with these settings; choose another `base`, or a method with weights of its own.")
        self.optimizer, note = make_optimizer(list(self.parameters.values()), config)
        self.step_module, self.optimizer = self.shared.prepare(Step(task), self.optimizer)
        self.scaler = torch.amp.GradScaler(task.studio.device.type, enabled=config.precision == "fp16")
        self.ema = Ema(self.parameters, config.ema)
        self.notes = [*task.studio.notes, *([note] if note else [])]
        self.done, self.before, self.sheet, self.updating = 0, 0.0, None, False
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
            while self.done < self.config.steps:
                self._optimizer_step()
                self._after_step()
        except BaseException:
            if not self.updating and self.done:
                self._save()  # between two steps everything is whole: what is lost is the step that was under way
            raise
        if self.done not in checkpoint.steps_in(self.folder):
            self._save()
        return self._result()

    def _begin(self) -> None:
        self.task.studio.make_room()
        if self.shared.rank == 0 and not self.done:
            self.folder.mkdir(parents=True, exist_ok=True)
            text = json.dumps({"settings": self.config.to_dict(), "identity": self.identity()}, indent=1)
            (self.folder / "settings.json").write_text(text + "\n", encoding="utf-8")
        self.hooks.progress(self.done, self.config.steps, None, None)

    def identity(self) -> dict[str, str]:
        """What this run is, for its checkpoints."""
        header = self.task.header
        return checkpoint.identity_of(header.method, self.task.module.config.to_dict(), header.base, self.source.fingerprint(), self.config.fingerprint())

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
        loss, terms = 0.0, {}
        parts = self.numbers(self.done)
        for number, numbers in enumerate(parts):
            self.hooks.stop()
            batches = self.task.batches([self.encoded(n) for n in numbers], numbers)
            with self.shared.gathering(self.step_module, last=number == len(parts) - 1):
                values = self.step_module(batches)
                total = sum(self.task.weights[k] * v.mean() for k, v in values.items())
                self._check(values, batches)
                self.shared.backward(self.scaler.scale(total / len(parts)))
            loss += self._number(total) / len(parts)
            for name, value in values.items():
                terms[name] = terms.get(name, 0.0) + self._number(value.mean()) / len(parts)
        self.scaler.unscale_(self.optimizer)
        norm = self.shared.clip([p for p in self.parameters.values() if p.grad is not None], config.max_norm)
        if not math.isfinite(norm) and not self.scaler.is_enabled():
            names = [self.source.name(self.order[n]) for part in parts for n in part]
            raise TrainingError(self._not_finite("the gradient", names))
        self.updating = True
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.ema.update(self.parameters)
        self.done += 1
        self.updating = False
        self.journal.note(self.done, loss, terms, config.batch * config.accumulate * self.shared.size, learning_rate=rate, gradient=norm)

    def _number(self, value: Tensor) -> float:
        return float(self.shared.mean(value.detach().float()))

    def _check(self, values: dict[str, Tensor], batches: list) -> None:
        """Refuse to go on from a loss that is no number, and say whose it is."""
        names, bad = [n for b in batches for n in b.names], {}
        for term, value in values.items():
            for name, good in zip(names, torch.isfinite(value).tolist()):
                if not good:
                    bad.setdefault(name, []).append(term)
        if self.shared.agree(bool(bad)):
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
        version = (number // len(self.source)) % config.variants
        if not config.augment:
            return self._kept(index, "plain", None)
        if config.cache and version == 0 and config.variants == 1:
            return self._kept(index, "plain", None)
        if config.cache:
            return self._kept(index, f"{config.seed} {version} {sorted(config.augment.items())}", generator(config.seed, "augment", index, version))
        return self.task.encode(self.source.sample(index, generator(config.seed, "augment", number)))

    def _kept(self, index: int, version: str, draw: torch.Generator | None) -> Encoded:
        key = f"{self.source.key(index)} {version}"
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
        numbers = range(first, min(last, first + len(self.source) * config.variants))
        for number in numbers[self.shared.rank :: self.shared.size]:
            self.hooks.stop()
            self.encoded(number)
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
            picture = preview.curve(self.journal.history, self.done, config.steps)
            self.sheet = picture if self.sheet is None else self.sheet
        self.hooks.progress(self.done, config.steps, self.journal.smooth, picture)
        if last or (config.checkpoint_every and self.done % config.checkpoint_every == 0):
            self._save()

    def _validate(self):
        """Pictures of the same samples from the same noise each time, beside the curve; written into the run's folder."""
        chosen = [self.order[n] for n in range(min(self.config.validation, len(self.source)))]
        items = [self._kept(i, "plain", None) for i in chosen]
        self.ema.swap(self.parameters)
        try:
            drawn = preview.draw(self.task, items, self.config, self.hooks.stop)
        finally:
            self.ema.swap(self.parameters)
        true = [self.task.target(self.source.sample(i, None)) for i in chosen]
        shown = [(item.name, *pictures) for item, pictures in zip(items, zip(true, drawn))]
        sheet = preview.sheet(shown, preview.curve(self.journal.history, self.done, self.config.steps))
        preview.write(sheet, self.folder / f"validation-{self.done:08}.jpg")
        return sheet

    # ---- state ---------------------------------------------------------------------------------------------------------

    def state(self) -> State:
        """The run after the last whole step."""
        inner = getattr(self.optimizer, "optimizer", self.optimizer)
        states = {name: dict(inner.state[p]) for name, p in self.parameters.items() if p in inner.state}
        scalars = {"ema_updates": self.ema.updates, "scale": float(self.scaler.get_scale()) if self.scaler.is_enabled() else 0.0}
        weights = {k: p.detach() for k, p in self.parameters.items()}
        return State(self.done, weights, self.ema.mean, states, self.journal.history, self.identity(), scalars, self.before + self.journal.seconds())

    def _save(self) -> None:
        if self.shared.rank == 0:
            checkpoint.save(self.folder, self.state(), self.config.keep)
        self.shared.together()

    def _restore(self) -> None:
        state = checkpoint.load(self.folder)
        checkpoint.check_identity(state.identity, self.identity(), self.folder.name)
        inner = getattr(self.optimizer, "optimizer", self.optimizer)
        with torch.no_grad():
            for name, parameter in self.parameters.items():
                parameter.copy_(state.weights[name])
                if name in self.ema.mean:
                    self.ema.mean[name].copy_(state.ema[name])
                if name in state.optimizer:
                    inner.state[parameter] = {
                        k: (v if v.ndim == 0 else v.to(parameter.device)) if isinstance(v, Tensor) else v for k, v in state.optimizer[name].items()
                    }
        self.ema.updates = int(state.scalars["ema_updates"])
        if self.scaler.is_enabled() and state.scalars["scale"]:
            self.scaler.load_state_dict({**self.scaler.state_dict(), "scale": state.scalars["scale"]})
        self.done, self.before = state.step, state.seconds
        folder = self.folder if self.shared.rank == 0 else None
        self.journal = Journal(folder, state.history, self.config.log_every)
