"""What one training step knows: the batch that went in and what came out of the U-Net. Losses read it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from .diffusion import Schedule


@dataclass
class Batch:
    """Encoded samples of one step, all of one kind (the same tensors with the same shapes).

    Attributes:
        names: of the samples, for messages.
        tensors: what the method's task encoded, by name, each (B,...), on the device.
        text: strings and lists of the samples that are no tensors, the same for all of them (slots, category).
        z0: (B,4,h,w), scaled, clean: what is learned to be drawn.
        t: (B,) long, 0..T-1.
        noise: (B,4,h,w).
        kept: (B,) bool: False where the condition is dropped for guidance (the row is an unconditional one).
        numbers: number of each sample in the run, for whatever is drawn per sample.
    """

    names: list[str]
    tensors: dict[str, Tensor]
    text: dict[str, Any]
    z0: Tensor
    t: Tensor
    noise: Tensor
    kept: Tensor
    numbers: list[int]

    def __len__(self) -> int:
        return len(self.names)

    def get(self, name: str) -> Tensor | None:
        """A tensor of the samples, or None where they have none."""
        return self.tensors.get(name)


@dataclass
class Outputs:
    """What came out of the U-Net.

    Attributes:
        schedule: abar_t.
        z0, z_t, noise, eps: (B,4,h,w): clean, noised, true noise, predicted noise.
        t: (B,) long.
        kept: (B,) bool, as in `Batch`.
        decode: scaled latents (R,4,h,w) -> pictures (R,3,8h,8w) in -1..1 (not clamped), with gradient.
        seen: what the method's own functions recorded in this forward, by name.
    """

    schedule: Schedule
    z0: Tensor
    z_t: Tensor
    noise: Tensor
    eps: Tensor
    t: Tensor
    kept: Tensor
    decode: Callable[[Tensor], Tensor] | None = None
    seen: dict[str, Any] = field(default_factory=dict)

    def clean(self, rows: Tensor | None = None) -> Tensor:
        """z_0 as the prediction says, (R,4,h,w), of all rows or of those where `rows` (B,) bool holds."""
        rows = torch.ones_like(self.kept) if rows is None else rows.to(self.kept.device)
        return self.schedule.clean(self.z_t[rows].float(), self.eps[rows].float(), self.t[rows])

    def below(self, max_timestep: float) -> Tensor:
        """(B,) bool: rows whose timestep is at most `max_timestep`, where a decoded picture means something."""
        return self.t <= max_timestep
