"""How matches supervise attention in training: what travels on a FITTING_SUPERVISION socket (SIFT-VTON, section 3.2)."""

from __future__ import annotations

from dataclasses import dataclass, replace

from ..preprocess.matches import Matches

FIRST_BLOCK, LAST_BLOCK = 3, 11
MIDDLE_BLOCKS = (4, 7, 10)
"""The middle one of the three output blocks of each level (16x12, 32x24, 64x48 at 512x384): those the released code supervises."""

ALL_BLOCKS = tuple(range(FIRST_BLOCK, LAST_BLOCK + 1))


@dataclass(frozen=True)
class Supervision:
    """SIFT supervision of cross-attention.

    Attributes:
        weight: lambda of equation 3.
        max_timestep: acts below it; 1000 is always.
        blocks: output blocks whose attention is supervised, 3..11.
        layers: "sum" over the blocks (released), or "mean" (equation 2).
        batch: "mean" over the samples, or "sum" (released: its strength grows with the batch).
        floor: added to the attention inside the logarithm; 0 is equation 1, the released code has 1e-8.
        matches: in place of the data set's own, one per sample in its order; () for the data set's own.
        folder: of match files in place of the data set's own, "" for those.
    """

    weight: float = 0.0005
    max_timestep: float = 500.0
    blocks: tuple[int, ...] = MIDDLE_BLOCKS
    layers: str = "sum"
    batch: str = "mean"
    floor: float = 0.0
    matches: tuple[Matches, ...] = ()
    folder: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "blocks", tuple(sorted(set(self.blocks))))
        if not self.blocks or self.blocks[0] < FIRST_BLOCK or self.blocks[-1] > LAST_BLOCK:
            raise ValueError(
                f"The supervised blocks are {', '.join(map(str, self.blocks)) or 'none'}; attention over a garment is in the output blocks "
                f"{FIRST_BLOCK} to {LAST_BLOCK}: choose some of those, such as 4, 7, 10."
            )
        if self.weight < 0 or self.floor < 0:
            raise ValueError(f"The supervision's weight is {self.weight} and its floor {self.floor}; neither may be negative.")
        for name, known in (("layers", ("sum", "mean")), ("batch", ("mean", "sum"))):
            if getattr(self, name) not in known:
                raise ValueError(f"The supervision's {name} is {getattr(self, name)!r}; choose {' or '.join(known)}.")

    def as_released(self) -> Supervision:
        """The same with the released code's floor and its sum over the batch."""
        return replace(self, floor=1e-8, batch="sum")

    def of(self, index: int, own: Matches | None) -> Matches | None:
        """The matches of sample `index` of the data set, whose own are `own`.

        Raises:
            ValueError: matches were given, but not one for each sample.
        """
        if not self.matches:
            return own
        if index >= len(self.matches):
            raise ValueError(
                f"The supervisor was given matches of {len(self.matches)} pairs and the data set has more; give one per pair in its order, "
                "or disconnect them to use the data set's own match files."
            )
        return self.matches[index]


def blocks_from_text(text: str) -> tuple[int, ...]:
    """Blocks as people type them: "4, 7, 10", or "all"; nothing is the middle block of each level.

    Raises:
        ValueError: something that is not a number.
    """
    words = text.replace(",", " ").split()
    if not words:
        return MIDDLE_BLOCKS
    if words == ["all"]:
        return ALL_BLOCKS
    try:
        return tuple(int(w) for w in words)
    except ValueError:
        raise ValueError(f"'{text}' is no list of blocks; write numbers from {FIRST_BLOCK} to {LAST_BLOCK}, such as 4, 7, 10, or all.") from None
