"""Seeing what goes on inside one forward: attention over a garment, shares of garments, the shadow's mask.

A `Watch` travels with a forward as `Call.probe`. The same patches serve inference and training: where a method reaches a
place that could be watched, it asks `wants(place)` first, so nothing is paid while nobody watches. Places and what is seen:

    output block number (3..11)   a zero cross-attention: q (R,N,C) with N row-major over `grid`, k (R,M,C) over `key_grid`, heads
    Site                          a second attention over garments: shares (R,heads,N,P), N over `grid`: how much of each
                                  query's attention falls on part p (garment p); the `Memory` there needs `labels`
    SHADOW                        the shadow's mask before the sigmoid: logits (R,1,8h,8w), and the rows it acts on, (R,) bool

R are the rows that see the method, and `images` their places in the batch. What is seen carries gradient.

A place may be seen twice in one training step: gradient checkpointing (the non-reentrant kind; the other cuts the gradient)
computes a block again in the backward pass. So a watch keeps what it saw by place, and sees it the same way every time.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from .sites import Site

SHADOW = "shadow"

Place = int | Site | str


class Watch(Protocol):
    """Whatever looks into a forward."""

    def wants(self, place: Place) -> bool:
        """Whether this place is looked at; asked before anything is computed for it."""

    def see(self, place: Place, *, images: list[int], **seen) -> None:
        """What is there; the module's docstring says what `seen` holds for which place."""


class Watches:
    """Several watches as one."""

    def __init__(self, watches: Iterable[Watch]):
        self.watches = tuple(watches)

    def wants(self, place: Place) -> bool:
        """Whether any of them looks here."""
        return any(w.wants(place) for w in self.watches)

    def see(self, place: Place, *, images: list[int], **seen) -> None:
        """Hand on to those who look here."""
        for watch in self.watches:
            if watch.wants(place):
                watch.see(place, images=images, **seen)
