"""Captured reference features: what travels on a FITTING_REFERENCE socket, as a list of these."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from torch import Tensor

from .sites import Site


@dataclass(frozen=True)
class Reference:
    """One reference picture's tokens at the sixteen sites.

    Attributes:
        method: kind of the method that captured it ("anydressing", "igr"), for messages.
        slot: what the picture shows ("upper", "lower", ...).
        features: per site, (R,M,C): the input of self-attention after norm1. R is 1, or the size of the latent batch.
        size: (height, width) of the encoded picture in pixels.
        strength: multiplies what the reference adds, >= 0; 0 leaves it out.
    """

    method: str
    slot: str
    features: Mapping[Site, Tensor]
    size: tuple[int, int]
    strength: float = 1.0

    def with_strength(self, strength: float) -> Reference:
        """The same features with their strength multiplied."""
        return replace(self, strength=self.strength * strength)


def check_method(references: list[Reference], kind: str, label: str) -> list[Reference]:
    """Refuse references of another method.

    Raises:
        ValueError: says which method captured them.
    """
    for reference in references:
        if reference.method != kind:
            raise ValueError(f"This reference was captured by {reference.method}, and {label} needs its own; connect the encoder node of {label}.")
    return references
