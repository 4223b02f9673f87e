"""Depth consistency (PM-Jewelry, equation 8): the person keeps the shape that the photograph shows.

The paper names L_depth and does not define it. Here, on relative inverse depth D of a frozen network, with x^ the decoded
prediction and x the truth:

    e = a D(x^) + b - D(x),   (a, b) by least squares on Omega,   both in units of D(x)'s range
    L = mean_Omega |e| + 1/2 sum_{s=1,2,4,8} mean_Omega |grad_s e|

Omega is all but the grown jewelry mask: there, a piece is being drawn that the network should not be held to (`inside`
weights it). The scale and shift are fitted because such networks know depth up to those; the gradient term is MiDaS's.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import interpolate

SCALES = (1, 2, 4, 8)


def depth_consistency(generated: Tensor, real: Tensor, weight: Tensor | None = None, gradients: float = 0.5) -> Tensor:
    """L of the module's docstring.

    Args:
        generated, real: D(x^) and D(x), (R,1,h,w), any unit.
        weight: (R,1,H,W), 1 on Omega, 0..1 elsewhere; None for 1 everywhere. Resized to the depths' size.
        gradients: weight of the second sum.

    Returns:
        (R,) float32; 0 where Omega is empty or D(x) is flat.
    """
    generated, real = generated.float(), real.float()
    where = torch.ones_like(real) if weight is None else interpolate(weight.float(), real.shape[-2:], mode="area")
    span = real.amax((1, 2, 3), keepdim=True) - real.amin((1, 2, 3), keepdim=True)
    real, generated = real / span.clamp_min(1e-6), generated / span.clamp_min(1e-6)
    scale, shift = fit(generated, real, where)
    error = scale * generated + shift - real
    loss = _mean(error.abs(), where)
    for step in SCALES if gradients else ():
        e, w = error[..., ::step, ::step], where[..., ::step, ::step]
        across = _mean((e[..., 1:] - e[..., :-1]).abs(), w[..., 1:] * w[..., :-1])
        down = _mean((e[..., 1:, :] - e[..., :-1, :]).abs(), w[..., 1:, :] * w[..., :-1, :])
        loss = loss + gradients * (across + down)
    return torch.where(span.flatten() > 1e-6, loss, 0.0)


def fit(x: Tensor, y: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """(a, b) with the least weighted sum of (a x + b - y)^2, (R,1,1,1) each; a flat x gives a = 0 and b the mean of y."""
    total = weight.sum((1, 2, 3), keepdim=True).clamp_min(1e-12)
    mx, my = ((t * weight).sum((1, 2, 3), keepdim=True) / total for t in (x, y))
    covariance = ((x - mx) * (y - my) * weight).sum((1, 2, 3), keepdim=True)
    variance = ((x - mx) ** 2 * weight).sum((1, 2, 3), keepdim=True)
    scale = covariance / variance.clamp_min(1e-12 * total)
    return scale, my - scale * mx


def _mean(values: Tensor, weight: Tensor) -> Tensor:
    return (values * weight).flatten(1).sum(1) / weight.flatten(1).sum(1).clamp_min(1e-12)
