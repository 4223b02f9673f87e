"""Randomness by number instead of by state: which sample comes when, and what is drawn for it.

Sample number n of a run (n = 0, 1, 2 ...) gets a generator of its own, seeded by (seed, n) alone. So a resumed run draws what the
uninterrupted one would have drawn without storing any generator, and two processes that share the numbers between them
draw together what one process with the double batch draws.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b

import torch

PURPOSES = ("step", "augment", "order", "validation", "held_out", "weights")


def seed_of(*parts) -> int:
    """A seed from numbers and names: 63 bits of their hash."""
    return int.from_bytes(blake2b("/".join(map(str, parts)).encode(), digest_size=8).digest(), "big") >> 1


def generator(*parts) -> torch.Generator:
    """A CPU generator of its own for (seed, number, purpose ...)."""
    return torch.Generator().manual_seed(seed_of(*parts))


class Order:
    """Which sample comes when: every epoch is another permutation of all of them.

    Where samples have different sizes, the permutation is sorted into blocks of one size, so that a forward sees one size; what does
    not fill a block comes at the epoch's end, and completes the last block of the epoch before.

    Args:
        seed: of the run.
        members: what the places of the permutation stand for (numbers of samples).
        sizes: per member what must be equal in a block; None where all are.
        block: samples of one forward, of all processes.
    """

    def __init__(self, seed: int, members: Sequence[int], sizes: Sequence | None = None, block: int = 1):
        self.seed, self.members, self.block = seed, list(members), block
        self.sizes = None if sizes is None or len(set(sizes)) < 2 else list(sizes)
        self._epoch, self._places = -1, []

    def __len__(self) -> int:
        return len(self.members)

    def __getitem__(self, number: int) -> int:
        epoch, place = divmod(number, len(self.members))
        if epoch != self._epoch:
            self._epoch, self._places = epoch, self._epoch_places(epoch)
        return self.members[self._places[place]]

    def _epoch_places(self, epoch: int) -> list[int]:
        draw = generator(self.seed, "order", epoch)
        places = torch.randperm(len(self.members), generator=draw).tolist()
        if self.sizes is None or self.block < 2:
            return places
        alike: dict = {}
        for place in places:
            alike.setdefault(self.sizes[place], []).append(place)
        blocks = [some[i : i + self.block] for some in alike.values() for i in range(0, len(some), self.block)]
        full, rest = [b for b in blocks if len(b) == self.block], [p for b in blocks if len(b) < self.block for p in b]
        full = [full[i] for i in torch.randperm(len(full), generator=draw).tolist()]
        missing = -epoch * len(self.members) % self.block  # of the block that the epoch before began
        while len(rest) < missing:
            rest += full.pop()
        return [*rest[:missing], *(p for b in full for p in b), *rest[missing:]]
