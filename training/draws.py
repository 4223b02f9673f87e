"""Randomness by number instead of by state: which sample comes when, and what is drawn for it.

Sample number n of a run (n = 0, 1, 2 ...) gets a generator of its own, seeded by (seed, n) alone. So a resumed run draws what the
uninterrupted one would have drawn without storing any generator, and two processes that share the numbers between them
draw together what one process with the double batch draws.
"""

from __future__ import annotations

from hashlib import blake2b

import torch

PURPOSES = ("step", "augment", "order", "validation", "weights")


def seed_of(*parts) -> int:
    """A seed from numbers and names: 63 bits of their hash."""
    return int.from_bytes(blake2b("/".join(map(str, parts)).encode(), digest_size=8).digest(), "big") >> 1


def generator(*parts) -> torch.Generator:
    """A CPU generator of its own for (seed, number, purpose ...)."""
    return torch.Generator().manual_seed(seed_of(*parts))


def sample_index(seed: int, number: int, count: int) -> int:
    """Which of `count` samples is number n of the run: every epoch is another permutation of all of them."""
    epoch, place = divmod(number, count)
    return int(torch.randperm(count, generator=generator(seed, "order", epoch))[place])


class Order:
    """`sample_index` for a run, with the current epoch's permutation at hand.

    Args:
        seed: of the run.
        count: samples in the data set.
    """

    def __init__(self, seed: int, count: int):
        self.seed, self.count = seed, count
        self._epoch, self._places = -1, torch.empty(0)

    def __getitem__(self, number: int) -> int:
        epoch, place = divmod(number, self.count)
        if epoch != self._epoch:
            self._epoch, self._places = epoch, torch.randperm(self.count, generator=generator(self.seed, "order", epoch))
        return int(self._places[place])
