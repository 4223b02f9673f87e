"""What the loop is told, asks, runs and gives."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from .tasks.base import Task


class TrainingError(ValueError):
    """Training that cannot go on; the message says what happened, to which samples, and what is kept."""


class Diverged(TrainingError):
    """A loss that rose instead of falling; what the weights are now is worth less than what was saved."""


def _nothing(*_args) -> None:
    return None


@dataclass
class Hooks:
    """What the loop tells the outside, and asks it.

    Attributes:
        stop: called often; an exception it raises ends the run after its state is saved.
        progress: (steps done, steps in all, smoothed loss or None, a PIL picture or None).
        say: one sentence for the user, while running.
    """

    stop: Callable[[], None] = _nothing
    progress: Callable[[int, int, float | None, Any], None] = _nothing
    say: Callable[[str], None] = _nothing


@dataclass
class Result:
    """What a run gave.

    Attributes:
        steps: optimizer steps of the whole run.
        tensors: of the weights file. low_rank: of a LoRA file of the denoiser, or empty.
        history: per term, its mean at every step; "loss" is the weighted sum.
        notes: sentences for the user.
        seconds: of the whole run. samples_per_second: of this part.
        folder: of the run.
        sheet: the last picture of curve and validation (PIL), or None.
    """

    steps: int
    tensors: dict[str, Tensor]
    low_rank: dict[str, Tensor]
    history: dict[str, list[float]]
    notes: list[str]
    seconds: float
    samples_per_second: float
    folder: Path
    sheet: Any = None


class Step(nn.Module):
    """Terms of some batches as one module, so that a data-parallel wrapper sees one forward.

    Args:
        task: what it computes.
        in_order: give every parameter a gradient, in the same order whatever the samples reach. ZeRO sends gradients in the order in which they
            are ready, and waits for ever, or dies, where processes differ in it (one has a sample with a hat, the other has none).
    """

    def __init__(self, task: Task, in_order: bool = False):
        super().__init__()
        self.network, self.in_order = task.network(), in_order
        self.task = (task,)  # in a tuple: a task is no submodule, its networks are here already

    def forward(self, batches: list) -> dict[str, Tensor]:
        """Per term its numbers of all samples, in the order of the batches; samples without a term count 0."""
        # autograd runs what was made last first: a term of every parameter that is made before the forward is the last that each of them waits for
        nothing = self._nothing() if self.in_order and torch.is_grad_enabled() else None
        terms = [self.task[0].terms(batch) for batch in batches]
        names = list(dict.fromkeys(name for t in terms for name in t))
        out = {n: torch.cat([t[n].float() if n in t else b.z0.new_zeros(len(b)) for t, b in zip(terms, batches)]) for n in names}
        if nothing is None and torch.is_grad_enabled() and not any(v.requires_grad for v in out.values()):  # all dropped: the frozen base alone
            nothing = self._nothing()
        return out if nothing is None else {n: v + nothing for n, v in out.items()}

    def _nothing(self) -> Tensor:
        """Zero, by way of every parameter that learns."""
        return sum(p.flatten()[0] * 0 for p in self.network.parameters() if p.requires_grad)
