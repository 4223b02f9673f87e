"""Losses on the predicted shadow mask, and where the noise of a shadow counts more (PM-Jewelry, equations 4, 6 and 7).

Notation. M: true shadow mask (R,1,H,W), 1 = shadow. M~ = sigmoid(l), l the predicted logits of the same shape.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, interpolate, max_pool2d, pad

SHADOW_WEIGHT = 10.0
"""How much more the squared error of the noise counts where a shadow is: SGDiffusion's value (sqrt(10) inside equation 6's norm)."""

DILATION = 6
"""Side of the square that the mask grows by, in latent cells."""


def mask_loss(logits: Tensor, mask: Tensor, dice_weight: float = 1.0) -> Tensor:
    """Equation 4: L = BCE(M~, M) + w Dice(M~, M).

        BCE = - mean (M log M~ + (1 - M) log (1 - M~)),    Dice = 1 - (2 sum M~ M + 1) / (sum M~ + sum M + 1)

    Args:
        logits: l. mask: M, of any size (resized to the logits', area-averaged).
        dice_weight: w, 1 in equation 4; SGDiffusion uses 0.1.

    Returns:
        (R,).
    """
    logits = logits.float()
    mask = mask.to(logits)
    if mask.shape[-2:] != logits.shape[-2:]:
        mask = interpolate(mask, logits.shape[-2:], mode="area")
    bce = binary_cross_entropy_with_logits(logits, mask, reduction="none").flatten(1).mean(1)
    return bce + dice_weight * dice(logits.sigmoid(), mask)


def dice(soft: Tensor, mask: Tensor) -> Tensor:
    """1 - (2 sum M~ M + 1) / (sum M~ + sum M + 1), (R,): two empty masks agree."""
    both, sizes = ((t).flatten(1).sum(1) for t in (soft * mask, soft + mask))
    return 1 - (2 * both + 1) / (sizes + 1)


def dilate(mask: Tensor, side: int = DILATION) -> Tensor:
    """The largest value in a square around each cell, (R,1,h,w); an even square reaches one cell further up and left, as OpenCV's."""
    before, after = side // 2, side - 1 - side // 2
    return max_pool2d(max_pool2d(pad(mask, (before, after, before, after)), (side, 1), 1), (1, side), 1)


def shadow_weight(mask: Tensor, size: tuple[int, int], weight: float = SHADOW_WEIGHT, side: int = DILATION) -> Tensor:
    """W_fs squared, from the mask: `weight` where the mask at latent size, grown by `side`, is at least 0.6, else 1.

    Equation 6 is then `noise_loss(eps, noise, 1, region=shadow_weight(...))`: the weights stand on the squared error.

    Returns:
        (R,1,h,w).
    """
    small = mask.float() if tuple(mask.shape[-2:]) == tuple(size) else interpolate(mask.float(), size, mode="area")
    return torch.where(dilate(small, side) >= 0.6, weight, 1.0)


def shadow_weight_from_features(features: Tensor, without: Tensor, mask: Tensor, size: tuple[int, int]) -> Tensor:
    """W_fs squared from VGG features, one reading of "weights extracted from VGG extracted features" (section 3):

        W^2 = 1 + 9 norm01( mean_c | phi(x) - phi(x without the shadow) | ),  inside the grown mask, 1 elsewhere

    Args:
        features, without: phi of the picture with and without shadow and jewelry, (R,C,h',w').
        mask: (R,1,H,W). size: (h, w) of the latent.

    Returns:
        (R,1,h,w).
    """
    change = interpolate((features - without).abs().mean(1, keepdim=True).float(), size, mode="bilinear", align_corners=False)
    low, high = change.amin((2, 3), keepdim=True), change.amax((2, 3), keepdim=True)
    share = (change - low) / (high - low).clamp_min(1e-12)
    inside = shadow_weight(mask, size) > 1
    return 1 + (SHADOW_WEIGHT - 1) * share * inside
