"""The drawn world as a data set: nothing is stored, every sample is drawn when it is asked for."""

from __future__ import annotations

from collections.abc import Callable

from .adorned import jewelry_sample
from .placed import insertion_sample
from .scenes import person_sample

KINDS: dict[str, Callable] = {"person": person_sample, "jewelry": jewelry_sample, "insertion": insertion_sample}
"""What a world can hold: people in garments (try-on, try-off, dressing), jewelry on heads and hands, products in scenes."""


class World:
    """A sequence of samples of one kind.

    Sample i depends on `seed + i` alone: worlds with far apart seeds share nothing, so a held-out set is another seed.
    """

    def __init__(self, kind: str, size: tuple[int, int] = (128, 96), seed: int = 0, length: int = 12000, **options):
        """`kind` of `KINDS`, `size` = (height, width) in pixels, `length` samples; options go to the kind's function (`outfit`, `kind`).

        Raises:
            ValueError: an unknown kind, a size under 16 pixels, a negative seed or length.
        """
        if kind not in KINDS:
            raise ValueError(f"The world '{kind}' is not known; choose one of {', '.join(KINDS)}.")
        if min(size) < 16:
            raise ValueError(f"Samples of {size[0]} x {size[1]} pixels are too small to draw; give at least 16 x 16.")
        if seed < 0 or length < 0:
            raise ValueError(f"The seed is {seed} and the length {length}; neither may be negative.")
        self.kind, self.size, self.seed, self.length, self.options = kind, (int(size[0]), int(size[1])), int(seed), int(length), options

    def __len__(self) -> int:
        """How many samples there are."""
        return self.length

    def __getitem__(self, index: int):
        """Sample `index`, counted from the end if negative.

        Raises:
            IndexError: outside the world.
        """
        if not -self.length <= index < self.length:
            raise IndexError(f"Sample {index} was asked for, and the world has {self.length}.")
        return KINDS[self.kind](self.seed + index % self.length, *self.size, **self.options)
