"""What is written down while training: a line of JSON per step, the history of every term, and how fast it goes."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path


class Journal:
    """The log of a run.

    Args:
        folder: of the run; None writes nothing (other processes than the first).
        history: of the steps before, when a run is continued.
        every: a line every so many steps.
    """

    def __init__(self, folder: Path | None, history: Mapping[str, list[float]] | None = None, every: int = 1):
        self.path = None if folder is None else folder / "log.jsonl"
        self.history = {k: list(v) for k, v in (history or {}).items()}
        self.every, self.started, self.steps, self.samples = every, time.monotonic(), 0, 0
        self.smooth: float | None = None
        for value in self.history.get("loss", ()):
            self._smooth(value)

    def _smooth(self, loss: float) -> None:
        self.smooth = loss if self.smooth is None else 0.98 * self.smooth + 0.02 * loss

    def note(self, step: int, loss: float, terms: Mapping[str, float], samples: int, **more: float) -> None:
        """Take one step down. `terms` are plain means before their weights; a term that did not occur is 0."""
        steps = len(self.history.get("loss", ()))
        for name, value in {**dict.fromkeys(self.history, 0.0), **terms, "loss": loss}.items():
            self.history.setdefault(name, [0.0] * steps).append(value)
        self._smooth(loss)
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
        """Samples per second since this part of the run started."""
        return self.samples / max(time.monotonic() - self.started, 1e-9)

    def seconds(self) -> float:
        """Since this part of the run started."""
        return time.monotonic() - self.started
