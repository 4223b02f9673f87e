"""Losses on decoded pictures. x^ is the VAE's decoding of z_0 as the predicted noise says (AnyDressing, equation 10); x is the truth.

Pictures are (R,3,H,W) in -1..1, x^ not clamped. One number per row, float32; gradient goes to x^.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import conv2d, cosine_similarity, interpolate, max_pool2d, pad

from ...models.parts.vgg import Vgg
from ...preprocess.canny import edges, luma

DCI5 = {"relu1_2": 1 / 32, "relu2_2": 1 / 16, "relu3_2": 1 / 8, "relu4_2": 1 / 4, "relu5_2": 1.0}
"""DCI-VTON's five maps of VGG-19 and their weights ("akin to [7]", Diffuse to Choose, section 4.2)."""

FIRST5CONV = {name: 0.2 for name in ("relu1_1", "relu1_2", "relu2_1", "relu2_2", "relu3_1")}
"""The first five convolutions of VGG-19: "the first five layers of VGGNet" (Diffuse to Choose, section 3.2) taken at its word."""

PERCEPTUAL_LAYERS = {"dci5": DCI5, "first5conv": FIRST5CONV}


def unit(picture: Tensor) -> Tensor:
    """-1..1 -> 0..1."""
    return (picture + 1) / 2


def perceptual(vgg: Vgg, generated: Tensor, real: Tensor, layers: str = "dci5") -> Tensor:
    """Diffuse to Choose, section 3.2:  L = sum_l w_l mean |phi_l(x^) - phi_l(x)|

    Args:
        vgg: VGG-19.
        layers: "dci5" or "first5conv".

    Returns:
        (R,).
    """
    if layers not in PERCEPTUAL_LAYERS:
        raise ValueError(f"The perceptual loss knows the layers {', '.join(PERCEPTUAL_LAYERS)}; {layers!r} came.")
    weights = PERCEPTUAL_LAYERS[layers]
    with torch.no_grad():
        targets = vgg(unit(real), tuple(weights))
    maps = vgg(unit(generated), tuple(weights))
    return sum(w * (a.float() - b.float()).abs().flatten(1).mean(1) for w, a, b in zip(weights.values(), maps, targets))


def cosine_perception(vgg: Vgg, generated: Tensor, real: Tensor, mask: Tensor | None = None, layers: Sequence[str] = tuple(DCI5)) -> Tensor:
    """PM-Jewelry's perceptual loss (section 3, L_adv; L_perception in equation 8):

        L = mean_l mean_{p in mask} 1 - cos(phi_l(x^)_p, phi_l(x)_p)

    The paper says "minimizing the cosine similarity", which must mean maximising it.

    Args:
        vgg: VGG-19.
        mask: (R,1,H,W) where to look, or None for everywhere.

    Returns:
        (R,); 0 where the mask is empty.
    """
    with torch.no_grad():
        targets = vgg(unit(real), layers)
    total = 0.0
    for a, b in zip(vgg(unit(generated), layers), targets):
        unlike = 1 - cosine_similarity(a.float(), b.float(), dim=1, eps=1e-6).unsqueeze(1)
        where = torch.ones_like(unlike) if mask is None else interpolate(mask.float(), unlike.shape[-2:], mode="area")
        total = total + (unlike * where).flatten(1).sum(1) / where.flatten(1).sum(1).clamp_min(1e-12)
    return total / len(layers)


def masked_dists(dists: Callable[[Tensor, Tensor], Tensor], generated: Tensor, real: Tensor, masks: Tensor, crop: bool = False) -> Tensor:
    """AnyDressing, equation 12:  L_perc = 1/N sum_k DISTS(x^ * M_k, x * M_k), what lies outside being black in both.

    Args:
        dists: (R,3,H,W) twice, in 0..1 -> (R,).
        masks: M, (R,N,H,W), of the pictures' size; cut at one half. A garment that is not to be seen counts 0.
        crop: look at the mask's box and 8 pixels around it only (black dilutes DISTS' global means).

    Returns:
        (R,).
    """
    masks, total = (masks > 0.5).to(generated), 0.0
    for mask in masks.split(1, 1):
        a, b = unit(generated) * mask, unit(real) * mask
        if crop:
            pairs = [(_cut(x, m), _cut(y, m)) for x, y, m in zip(a, b, mask)]
            score = torch.cat([dists(x[None], y[None]) for x, y in pairs])
        else:
            score = dists(a, b)
        total = total + torch.where(mask.flatten(1).any(1), score, 0.0)
    return total / masks.shape[1]


def _cut(picture: Tensor, mask: Tensor, room: int = 8) -> Tensor:
    """The box of a mask (1,H,W) and some room around it; at least 16 pixels a side, which VGG needs."""
    out = picture
    for axis in (1, 2):
        found = mask[0].any(2 - axis).nonzero().flatten()
        if len(found):
            low, high = max(int(found[0]) - room, 0), min(int(found[-1]) + 1 + room, picture.shape[axis])
            low = max(0, min(low, picture.shape[axis] - 16))
            out = out.narrow(axis, low, max(high - low, min(16, picture.shape[axis])))
    return out


def high_frequency(generated: Tensor, real: Tensor, masks: Tensor, edge: Tensor, by_area: bool = False) -> Tensor:
    """AnyDressing, equation 13:  L_hf = 1/N sum_k || x^ * M'_k - x * M'_k ||,  M'_k = M_k * P,  the norm as a mean of squares.

    Args:
        masks: M, (R,N,H,W), cut at one half. edge: P, (R,1,H,W), `edge_map` of x.
        by_area: mean over the edge pixels instead of over all pixels.

    Returns:
        (R,).
    """
    where = (masks > 0.5).float() * edge.float()  # (R,N,H,W)
    squared = ((generated.float() - real.float()) ** 2).mean(1, keepdim=True) * where
    count = where.flatten(2).sum(2).clamp_min(1) if by_area else where[0, 0].numel()
    return (squared.flatten(2).sum(2) / count).mean(1)


def edge_map(real: Tensor, low: float = 100, high: float = 200, sigma: float = 1.4, dilation: int = 3) -> Tensor:
    """P of equation 13: Canny on the grey picture after a 5x5 Gaussian, each edge widened (a line one pixel wide covers too little).

    Args:
        real: (R,3,H,W), -1..1. It is the truth, so nothing needs a gradient.
        dilation: side of the square an edge pixel becomes; 1 leaves it.

    Returns:
        (R,1,H,W) of zeros and ones, on the picture's device.
    """
    pixels = (unit(real.detach()).clamp(0, 1) * 255).round().byte().permute(0, 2, 3, 1).cpu().numpy()
    found = np.stack([edges(_smooth(luma(p), sigma), low, high) for p in pixels])
    out = torch.from_numpy(found > 0).float().unsqueeze(1).to(real.device)
    return max_pool2d(out, dilation, 1, dilation // 2) if dilation > 1 else out


def _smooth(grey: np.ndarray, sigma: float) -> np.ndarray:
    """A 5x5 Gaussian on uint8 (H,W), border mirrored, rounded back to uint8."""
    x = torch.arange(-2.0, 3.0)
    kernel = torch.exp(-(x**2) / (2 * sigma**2))
    kernel = kernel / kernel.sum()
    picture = pad(torch.from_numpy(grey.astype(np.float32))[None, None], (2, 2, 2, 2), mode="reflect")
    return conv2d(conv2d(picture, kernel[None, None, None]), kernel[None, None, :, None])[0, 0].round().byte().numpy()
