"""One training step, as a paper's `watches` and `losses` see it.

Models may not know the trainer, so a paper does not import losses: it asks the step for them, as it asks a `Call` for
attention. `training/step.py` is the step itself; every term that it offers is a function in `training/losses/`, with its equation.
What belongs to one paper only (which term, at which places, below which timestep, on which mask, with which weight) stands in
that paper's file.

Names of the samples' tensors that terms look for (whoever encodes samples provides those that the asked terms need):

    picture         (B,3,H,W), -1..1: the truth
    garment_masks   (B,K,H,W), 1 = garment k on the person (AnyDressing)
    worn_mask       (B,1,H,W), 1 = the garment on the person (StableVITON's attention total variation)
    mask            (B,1,H,W), 1 = repaint: the jewelry's region
    reference_mask  (B,1,H',W'), 1 = the piece in its own picture (PM-Jewelry's targets)
    affine          (B,2,3), person to reference in shares of the sides, where the augmentation is known (PM-Jewelry's targets)
    shadow_mask     (B,1,H,W), 1 = shadow; optional
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from torch import Tensor

from .watch import Watch


class Pictures(Protocol):
    """Decoded predictions beside the truth, for the rows that a term looks at; every result is one number per row."""

    def mask(self, name: str) -> Tensor | None:
        """A tensor of these rows' samples, or None where they have none."""

    def dists(self, masks: str) -> Tensor:
        """AnyDressing, equation 12."""

    def high_frequency(self, masks: str) -> Tensor:
        """AnyDressing, equation 13."""

    def perceptual(self) -> Tensor:
        """L1 between VGG-19's maps."""

    def cosine_perception(self, mask: str) -> Tensor:
        """1 - cosine between VGG-19's maps inside a grown mask."""

    def depth_consistency(self, mask: str) -> Tensor:
        """Depth outside a grown mask."""


class Step(Protocol):
    """See the module's docstring."""

    def observe(self, **watches: Callable[[], Watch | None]) -> Watch | None:
        """The watches of those terms whose weight is not 0, as one; they are remembered under their terms' names."""

    def ask(self, **terms: Callable[[], Tensor]) -> dict[str, Tensor]:
        """The terms whose weight is not 0, one number per sample, (B,); the others are not computed."""

    def get(self, name: str) -> Tensor | None:
        """A tensor of the samples, or None where they have none."""

    def option(self, term: str, name: str, default: Any) -> Any:
        """A setting of a term."""

    def sift(self) -> Watch | None:
        """SIFT-VTON, equations 1 and 2; None without matches."""

    def attention_variation(self, mask: str, blocks: tuple[int, ...]) -> Watch:
        """StableVITON's total variation of where queries look."""

    def attention_target(self, mask: str, reference_mask: str, blocks: tuple[int, ...]) -> Watch:
        """PM-Jewelry, equation 2."""

    def localization(self, masks: str) -> Watch:
        """AnyDressing, equations 7 to 9."""

    def shadow_mask(self, mask: str) -> Watch | None:
        """PM-Jewelry, equation 4; None without true masks."""

    def seen(self, term: str) -> Tensor:
        """What a watch found, (B,); zeros where there was none."""

    def noise(self) -> Tensor:
        """w(t) mean (eps - eps_theta)^2."""

    def shadow_noise(self, mask: str) -> Tensor:
        """PM-Jewelry, equation 6; zeros without true masks."""

    def pictured(self, max_timestep: float, term: Callable[[Pictures], Tensor]) -> Tensor:
        """A term on decoded predictions, for samples with t <= max_timestep that see their condition; 0 for the others."""
