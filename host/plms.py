"""PLMS, the pseudo linear multistep sampler (Liu et al. 2022, arXiv 2202.09778), as latent diffusion samples with it.

In the host's noise levels sigma = sqrt((1 - a) / a), with d = (x - denoised) / sigma the predicted noise, every update is

    x <- x + (sigma_next - sigma) e'
    e' = (d_0 + d(x + (sigma_1 - sigma_0) d_0, sigma_1)) / 2                   first step (a second evaluation)
    e' = (3 d - d_1) / 2                                                       then, d_k being k steps back
    e' = (23 d - 16 d_1 + 5 d_2) / 12
    e' = (55 d - 59 d_1 + 37 d_2 - 9 d_3) / 24

Timesteps are 1 + k (1000 // steps), highest first, and the last target is the noise level of t = 0 (0.0292), not zero; the picture is
then brought back to the variance-preserving scale. A run over n steps costs n + 1 evaluations.
"""

from __future__ import annotations

import comfy.samplers
import torch
from torch import Tensor

WEIGHTS = {2: (3 / 2, -1 / 2), 3: (23 / 12, -16 / 12, 5 / 12), 4: (55 / 24, -59 / 24, 37 / 24, -9 / 24)}


def plms_sigmas(model, steps: int, denoise: float = 1.0) -> Tensor:
    """The noise levels of a run, highest first, ending at that of t = 0.

    Args:
        model: a MODEL of Stable Diffusion's schedule (1000 timesteps).
        steps: how many steps a full run has, 2..1000.
        denoise: share of the schedule to run; 0.5 runs the last half of the steps (image to image).

    Returns:
        (round(steps * denoise) + 1,) or, with denoise 0, nothing.
    """
    levels = model.get_model_object("model_sampling").sigmas
    if not 2 <= steps <= len(levels):
        raise ValueError(f"PLMS was asked for {steps} steps; it needs 2 to {len(levels)}.")
    timesteps = torch.arange(steps) * (len(levels) // steps) + 1
    run = timesteps.flip(0)[steps - round(steps * denoise):]
    return torch.cat((levels[run.clamp(max=len(levels) - 1)], levels[:1])).cpu() if len(run) else torch.zeros(0)


@torch.no_grad()
def sample_plms(model, x: Tensor, sigmas: Tensor, extra_args=None, callback=None, disable=None, end: float = 0.0) -> Tensor:
    """The sampler's function as the host calls it.

    Args:
        model: (x, sigma per row) -> denoised.
        end: the schedule's last level; a run that reaches it is brought back to the variance-preserving scale.
    """
    extra_args, rows, history = extra_args or {}, x.new_ones(x.shape[0]), []

    def noise(x, sigma):
        denoised = model(x, sigma * rows, **extra_args)
        return (x - denoised) / sigma

    for i in range(len(sigmas) - 1):
        sigma, target = sigmas[i], sigmas[i + 1]
        d = noise(x, sigma)
        history = [d, *history][:4]
        if i == 0:
            e = d if len(sigmas) == 2 and target == 0 else (d + noise(x + (target - sigma) * d, target)) / 2
        else:
            e = sum(w * h for w, h in zip(WEIGHTS[len(history)], history))
        x = x + (target - sigma) * e
        if callback is not None:
            callback({"x": x, "i": i, "sigma": sigma, "sigma_hat": sigma, "denoised": x - target * e})
    if len(sigmas) > 1 and abs(float(sigmas[-1]) - end) <= 1e-4 * max(end, 1e-4):
        x = x / (1 + sigmas[-1] ** 2).sqrt()
    return x


class PLMS(comfy.samplers.KSAMPLER):
    """The host's sampler object, which enters a full run as the published code does."""

    def __init__(self, start: float, end: float):
        super().__init__(sample_plms, extra_options={"end": end})
        self.start = start

    def max_denoise(self, model_wrap, sigmas):
        """A run from the schedule's first level starts from noise of the scale sqrt(1 + sigma^2): x_T itself, at this level."""
        return float(sigmas[0]) >= self.start * (1 - 1e-4)


def plms(model, steps: int) -> PLMS:
    """The SAMPLER for SamplerCustom, for runs over `plms_sigmas(model, steps)` or its later part."""
    sigmas = plms_sigmas(model, steps)
    return PLMS(float(sigmas[0]), float(sigmas[-1]))
