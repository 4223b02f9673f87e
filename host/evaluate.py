"""Ask a patched MODEL about a finished picture: a few calls of its U-Net at chosen timesteps, through the host's own guider.

Everything that sampling does happens here too (loading, conditionings, patches, our rows and channels); only no step is taken.
"""

from __future__ import annotations

import comfy.sample
import comfy.samplers
import torch
from torch import Tensor

from ..models.parts.probe import Probe
from .denoiser import PROBE


class _Evaluate(comfy.samplers.Sampler):
    """A sampler that predicts at each noise level from the same picture and noise, and goes nowhere."""

    def __init__(self):
        self.eps: list[Tensor] = []

    def sample(self, model_wrap, sigmas, extra_args, callback, noise, latent_image=None, denoise_mask=None, disable_pbar=False):
        sampling = model_wrap.inner_model.model_sampling
        for number, sigma in enumerate(sigmas):
            x = sampling.noise_scaling(sigma, noise, latent_image, False)
            denoised = model_wrap(x, sigma.expand(x.shape[0]), **extra_args)
            self.eps.append(((x - denoised) / sigma).cpu())
            if callback is not None:
                callback(number, denoised, x, len(sigmas))
        return latent_image


def evaluate(model, positive: list, latent: Tensor, timesteps: list[float], seed: int = 0, probe: Probe | None = None) -> list[Tensor]:
    """The predicted noise of the conditional branch for a picture noised to each timestep.

    Args:
        model: a MODEL, with whatever is installed on it.
        positive: its conditioning.
        latent: (B,4,h,w) as LATENT carries it (not scaled).
        timesteps: 0..999, any order.
        seed: of the noise.
        probe: collects attention rows on the way.

    Returns:
        per timestep (B,4,h,w).
    """
    asked = model.clone()
    if probe is not None:
        asked.model_options["transformer_options"][PROBE] = probe
    sampling = asked.get_model_object("model_sampling")
    sigmas = sampling.sigma(torch.tensor([float(t) for t in timesteps]))
    sampler, guider = _Evaluate(), comfy.samplers.CFGGuider(asked)
    guider.set_conds(positive, positive)
    guider.set_cfg(1.0)
    guider.sample(comfy.sample.prepare_noise(latent, seed), latent, sampler, sigmas, disable_pbar=True, seed=seed)
    return sampler.eps
