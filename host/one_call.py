"""One forward of the U-Net at a chosen timestep, through the host's whole sampling path."""

from __future__ import annotations

import comfy.sample
import comfy.samplers
import torch
from torch import Tensor


def one_call(model, positive: list, samples: Tensor, timestep: int, seed: int = 0) -> Tensor:
    """Noise a latent to a timestep and let the model look at it once; the conditional rows only.

    Conditionings, areas, control, LoRA hooks and patches act as in sampling, because this is sampling with one step.

    Args:
        model: ModelPatcher, patched or not.
        positive: a conditioning.
        samples: (B,4,h,w), as a LATENT holds them (the host's scale).
        timestep: 0..999.
        seed: of the noise; drawn on the CPU from a generator of its own.

    Returns:
        (B,4,h,w), the model's estimate of the clean latent, as a LATENT holds it.

    Raises:
        ValueError: the timestep is outside 0..999.
    """
    sampling = model.get_model_object("model_sampling")
    if not 0 <= timestep < len(sampling.sigmas):
        raise ValueError(f"The timestep is {timestep}; it must lie between 0 (clean) and {len(sampling.sigmas) - 1} (noise).")
    samples = comfy.sample.fix_empty_latent_channels(model, samples)
    noise = torch.randn(samples.shape, generator=torch.Generator().manual_seed(seed), dtype=samples.dtype)

    def once(denoise, x, sigmas, extra_args=None, callback=None, disable=None):
        return denoise(x, sigmas[:1].expand(x.shape[0]), **(extra_args or {}))

    sigmas = torch.stack((sampling.sigmas[timestep], torch.zeros(()).to(sampling.sigmas)))
    return comfy.sample.sample_custom(
        model, noise, 1.0, comfy.samplers.KSAMPLER(once), sigmas, positive, positive, samples, disable_pbar=True, seed=seed
    )
