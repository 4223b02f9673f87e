"""The loss on the same samples with the same noise at the same timesteps each time: a number that can be compared from step to step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch

from .config import TrainConfig
from .draws import generator
from .outputs import Batch

TIMES = (50, 200, 400, 600, 800)
"""Timesteps of the validation; terms with a gate see the lower ones."""


@torch.no_grad()
def validation_loss(task, items: list, config: TrainConfig, stop: Callable[[], None] = lambda: None) -> float:
    """The weighted sum of all terms, mean over encoded samples and `TIMES`; no condition is dropped.

    What is drawn depends on the seed, the sample's place in the list and the timestep alone.
    """
    total = 0.0
    for t in TIMES:
        for first in range(0, len(items), config.batch):
            stop()
            places = list(range(first, min(first + config.batch, len(items))))
            for batch in task.batches([items[p] for p in places], places):
                terms = task.terms(_fixed(batch, t, config.seed))
                total += float(sum(task.weights[name] * values.float().sum() for name, values in terms.items()))
    return total / (len(items) * len(TIMES))


def _fixed(batch: Batch, t: int, seed: int) -> Batch:
    """A batch at one timestep with noise of its own, all conditions kept; its numbers are the samples' places."""
    noise = [torch.randn(batch.z0.shape[1:], generator=generator(seed, "validation", place, t)) for place in batch.numbers]
    return replace(batch, t=torch.full_like(batch.t, t), noise=torch.stack(noise).to(batch.noise), kept=torch.ones_like(batch.kept))
