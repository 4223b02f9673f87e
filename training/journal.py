"""What is written down while training: a line of JSON per step, the history of every term, and how fast it goes."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path

from ..models import weights


SETTLED = 50
"""Steps after which the smoothed loss means something."""


class Journal:
    """The log of a run.

    Args:
        folder: of the run; None writes nothing (other processes than the first).
        history: of the steps before, when a run is continued; lines of later steps, which will come again, are taken out of the log.
        every: a line every so many steps.

    Attributes:
        smooth: running mean of the loss; None before the first step. lowest: its least value since it has settled, and the step of it.
    """

    def __init__(self, folder: Path | None, history: Mapping[str, list[float]] | None = None, every: int = 1):
        self.path = None if folder is None else folder / "log.jsonl"
        self.history = {k: list(v) for k, v in (history or {}).items()}
        self.every, self.started, self.steps, self.samples = every, time.monotonic(), 0, 0
        self.began = self.started
        self.smooth: float | None = None
        self.lowest: tuple[float, int] | None = None
        for step, value in enumerate(self.history.get("loss", ()), 1):
            self._smooth(step, value)
        if history is not None:
            self._forget_after(len(self.history.get("loss", ())))

    def begin(self) -> None:
        """Steps follow: speed is counted from here on."""
        self.began = time.monotonic()

    def _smooth(self, step: int, loss: float) -> None:
        self.smooth = loss if self.smooth is None else 0.98 * self.smooth + 0.02 * loss
        if step >= SETTLED and (self.lowest is None or self.smooth < self.lowest[0]):
            self.lowest = (self.smooth, step)

    def spiked(self, times: float) -> bool:
        """Whether the smoothed loss is `times` its lowest; never where that is 0, or before there is a lowest."""
        return bool(times and self.lowest and self.smooth > times * self.lowest[0])

    def _forget_after(self, step: int) -> None:
        """Take lines of later steps out of the log, and one that was not written to its end."""
        if self.path is None or not self.path.is_file():
            return
        lines = self.path.read_text(encoding="utf-8", errors="replace").splitlines()
        kept = [line for line in lines if 0 < _step_of(line) <= step]
        if kept != lines:
            weights.write_bytes(self.path, "".join(f"{line}\n" for line in kept).encode())

    def note(self, step: int, loss: float, terms: Mapping[str, float], samples: int, **more: float) -> None:
        """Take one step down. `terms` are plain means before their weights; a term that did not occur is 0."""
        steps = len(self.history.get("loss", ()))
        for name, value in {**dict.fromkeys(self.history, 0.0), **terms, "loss": loss}.items():
            self.history.setdefault(name, [0.0] * steps).append(value)
        self._smooth(step, loss)
        self.steps, self.samples = self.steps + 1, self.samples + samples
        if step % self.every == 0:
            self.write({"step": step, "loss": loss, **terms, "samples_per_second": round(self.speed(), 4), **more})

    def write(self, line: Mapping) -> None:
        """Add a line. A disk that is full costs the line, not the training: checkpoints say what to do about it."""
        if self.path is None:
            return
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with open(self.path, "a", encoding="utf-8") as stream:
                stream.write(json.dumps(line) + "\n")
        except OSError:
            pass

    def speed(self) -> float:
        """Samples per second since the steps of this part began."""
        return self.samples / max(time.monotonic() - self.began, 1e-9)

    def left(self, steps: int) -> float:
        """Seconds that so many more steps take, as far as those of this part say; 0 before the first."""
        return steps * (time.monotonic() - self.began) / self.steps if self.steps else 0.0

    def seconds(self) -> float:
        """Since this part of the run started."""
        return time.monotonic() - self.started


def duration(seconds: float) -> str:
    """Seconds for people."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _step_of(line: str) -> int:
    try:
        return int(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):
        return 0
