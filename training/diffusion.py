"""The noise schedule and the plain noise loss.

Notation. abar_t: cumulative alpha, t = 0 .. T-1 (T = 1000 in SD1.5). z_0: clean latent, (B,4,h,w), scaled. eps ~ N(0, 1).

    z_t = sqrt(abar_t) z_0 + sqrt(1 - abar_t) eps                              (DDPM, Ho et al. 2020, eq. 4)
    z_0 = (z_t - sqrt(1 - abar_t) eps) / sqrt(abar_t)                          (AnyDressing, eq. 10)
    SNR(t) = abar_t / (1 - abar_t)
    w(t) = min(SNR(t), gamma) / SNR(t)                                         (min-SNR, Hang et al. 2023, for eps)
    L_noise = w(t) mean_{c,h,w} (eps - eps_theta)^2

A term is one number per sample; the loop takes the only mean. (SIFT-VTON's released code multiplies two means instead of
taking the mean of products.)
"""

from __future__ import annotations

import torch
from torch import Tensor


def per_sample(values: Tensor, like: Tensor) -> Tensor:
    """(B,) as (B,1,1,...) in the dtype and on the device of `like` (B,...)."""
    return values.to(like).reshape(-1, *(1 for _ in like.shape[1:]))


class Schedule:
    """abar_t of a U-Net's training.

    Args:
        alphas_cumprod: (T,), falling from nearly 1 to nearly 0.
    """

    def __init__(self, alphas_cumprod: Tensor):
        self.abar = alphas_cumprod.detach().clone().double().cpu()

    @classmethod
    def linear(cls, steps: int = 1000, first: float = 0.00085, last: float = 0.012) -> Schedule:
        """SD1.5's own: betas whose square roots rise linearly."""
        betas = torch.linspace(first**0.5, last**0.5, steps, dtype=torch.float64) ** 2
        return cls((1 - betas).cumprod(0))

    def __len__(self) -> int:
        return len(self.abar)

    def at(self, t: Tensor) -> Tensor:
        """abar_t, (B,) float64 on the CPU."""
        return self.abar[t.long().cpu()]

    def add_noise(self, z0: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """z_t of clean latents (B,4,h,w), noise of the same shape, and timesteps (B,)."""
        abar = self.at(t)
        return per_sample(abar.sqrt(), z0) * z0 + per_sample((1 - abar).sqrt(), z0) * noise

    def clean(self, z_t: Tensor, eps: Tensor, t: Tensor) -> Tensor:
        """z_0 as z_t and a predicted noise say, (B,4,h,w)."""
        abar = self.at(t)
        return (z_t - per_sample((1 - abar).sqrt(), z_t) * eps) / per_sample(abar.sqrt(), z_t)

    def snr(self, t: Tensor) -> Tensor:
        """Signal-to-noise ratio, (B,) float64."""
        abar = self.at(t)
        return abar / (1 - abar)

    def min_snr(self, t: Tensor, gamma: float | None) -> Tensor:
        """w(t), (B,) float64; 1 where gamma is None or 0."""
        snr = self.snr(t)
        return torch.ones_like(snr) if not gamma else snr.clamp(max=gamma) / snr


def noise_loss(eps: Tensor, noise: Tensor, weight: Tensor, region: Tensor | None = None) -> Tensor:
    """w(t) mean (eps - noise)^2, one number per sample.

    Args:
        eps, noise: (B,4,h,w), predicted and true.
        weight: (B,), `Schedule.min_snr`.
        region: (B,1,h,w) weights of the places, or None for equal ones; their mean need not be 1.

    Returns:
        (B,) float32.
    """
    squared = (eps.float() - noise.float()) ** 2
    if region is not None:
        squared = squared * region.float()
    return squared.flatten(1).mean(1) * weight.to(squared)
