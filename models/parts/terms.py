"""The terms of one training step, as a paper's `watches` and `losses` ask for them.

Models may not know the trainer, so a paper does not import losses: it asks for them here, as it asks a `Call` for attention.
`training/terms.py` answers; every term is a function in `training/losses/` with its equation. What belongs to one paper
(which term, at which places, below which timestep, on which mask, with which weight) stands in that paper's file.

Names of the samples' tensors that terms look for (whoever encodes samples provides those that the asked terms need):

    person           (B,3,H,W) uint8, 0..255: the truth
    worn             (B,K,H,W), 1 = garment k on the person
    mask             (B,1,H,W), 1 = repaint: the jewelry's region
    item_mask        (B,1,H',W'), 1 = the piece in its own picture
    affine           (B,2,3), person to item in shares of the sides, where the augmentation is known; optional
    shadow           (B,1,H,W), 1 = a shadow that the piece casts; optional
    matches, matches_valid   (B,K,2,2) [person, garment][x, y] in pixels of the pictures, and (B,K) bool; optional
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from torch import Tensor

from .watch import Watch


class Pictures(Protocol):
    """Decoded predictions beside the truth, for the rows that a term looks at; every result is one number per row."""

    def dists(self, masks: str, crop: bool = False) -> Tensor:
        """AnyDressing, equation 12."""

    def high_frequency(self, masks: str, by_area: bool = False) -> Tensor:
        """AnyDressing, equation 13."""

    def perceptual(self, layers: str) -> Tensor:
        """L1 between VGG-19's maps (Diffuse to Choose, section 3.2)."""

    def cosine_perception(self, mask: str) -> Tensor:
        """1 - cosine between VGG-19's maps inside the grown mask (PM-Jewelry, section 3)."""

    def depth_consistency(self, mask: str, inside: float = 0.0) -> Tensor:
        """Depth outside the grown mask (PM-Jewelry, equation 8); inside it with that weight."""


class Terms(Protocol):
    """See the module's docstring."""

    def observe(self, **watches: Callable[[], Watch | None]) -> Watch | None:
        """The watches of those terms whose weight is not 0, as one; each is remembered under its term's name."""

    def ask(self, **terms: Callable[[], Tensor]) -> dict[str, Tensor]:
        """The terms whose weight is not 0, one number per sample, (B,); the others are not computed."""

    def option(self, name: str) -> Any:
        """A setting, from the run's options or the method's `loss_options`."""

    def sift(self) -> Watch | None:
        """SIFT-VTON, equations 1 and 2; None where no sample has matches."""

    def attention_variation(self, worn: str, blocks: Sequence[int]) -> Watch:
        """StableVITON's total variation of where queries look."""

    def attention_target(self, mask: str, item_mask: str, blocks: Sequence[int], fit: str) -> Watch:
        """PM-Jewelry, equation 2."""

    def localization(self, worn: str, **options) -> Watch | None:
        """AnyDressing, equations 7 to 9; None without masks of the garments."""

    def shadow_mask(self, shadow: str, dice_weight: float) -> Watch | None:
        """PM-Jewelry, equation 4; None without true masks."""

    def seen(self, term: str) -> Tensor:
        """What a watch found, (B,); zeros where there was none."""

    def noise(self, product: bool = False) -> Tensor:
        """w(t) mean (eps - eps_theta)^2; as a product of the batch's two means where asked (SIFT-VTON's released code)."""

    def shadow_noise(self, shadow: str, mask: str, weights: str) -> Tensor:
        """PM-Jewelry, equation 6, with W_fs from the "mask" or from "vgg"; zeros without true masks."""

    def pictured(self, term: str, max_timestep: float, compute: Callable[[Pictures], Tensor]) -> Tensor:
        """A term on decoded predictions, for samples with t <= max_timestep that see their condition; 0 for the others."""
