"""Results that may serve several forwards of one generation, found again by what they were computed from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass
class _Entry:
    inputs: tuple[Tensor, ...]
    step: int
    value: Any


class Kept:
    """A small cache for one generation.

    One key is not enough: the host runs conditional and unconditional rows together in one forward and apart in the next when
    memory is short, and a conditioning may change between steps. So a result is found by comparing the tensors it was made of.

    Args:
        most: how many results to keep; the oldest goes first.
    """

    def __init__(self, most: int = 8):
        self.most = most
        self._steps: list[float | None] = []
        self._entries: list[_Entry] = []

    def get(self, inputs: tuple[Tensor, ...], timestep: float | None, lasts: int | None, compute: Callable[[], Any]) -> Any:
        """The result for equal inputs, computed if there is none or if it is too old.

        Args:
            inputs: all that the result depends on, apart from the timestep.
            timestep: the noise level of this forward; levels are counted as they are first seen. None where it does not matter.
            lasts: for how many levels a result serves; None for the whole generation.
        """
        if timestep not in self._steps:
            self._steps.append(timestep)
        step = self._steps.index(timestep)
        if lasts is not None:
            self._entries = [e for e in self._entries if step - e.step < lasts]
        for entry in self._entries:
            if entry.step <= step and _same(entry.inputs, inputs):
                return entry.value
        value = compute()
        self._entries = [*self._entries, _Entry(tuple(t.detach() for t in inputs), step, value)][-self.most :]
        return value


def _same(kept: tuple[Tensor, ...], given: tuple[Tensor, ...]) -> bool:
    return all(a.shape == b.shape and a.dtype == b.dtype and a.device == b.device and torch.equal(a, b) for a, b in zip(kept, given, strict=True))
