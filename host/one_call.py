"""Single forwards of the U-Net at chosen timesteps, through the host's whole sampling path."""

from __future__ import annotations

from collections.abc import Sequence

import comfy.sample
import comfy.samplers
import torch
from torch import Tensor

from ..models.parts.probe import Probe
from .denoiser import PROBE
from .encode import latent_samples


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
    return several_calls(model, positive, samples, [timestep], seed)[0]


def several_calls(model, positive: list, samples: Tensor, timesteps: Sequence[int], seed: int = 0, probe: Probe | None = None) -> list[Tensor]:
    """As `one_call` at several timesteps with the same noise, in one run: what is made once per generation is made once.

    Args:
        probe: collects attention rows of chosen points on the way.

    Returns:
        per timestep (B,4,h,w).
    """
    sampling, estimates = model.get_model_object("model_sampling"), []
    for timestep in timesteps:
        if not 0 <= timestep < len(sampling.sigmas):
            raise ValueError(f"The timestep is {timestep}; it must lie between 0 (clean) and {len(sampling.sigmas) - 1} (noise).")
    if probe is not None:
        model = model.clone()
        model.model_options["transformer_options"][PROBE] = probe
    samples = comfy.sample.fix_empty_latent_channels(model, samples)
    noise = torch.randn(samples.shape, generator=torch.Generator().manual_seed(seed), dtype=samples.dtype)

    def look(denoise, x, sigmas, extra_args=None, callback=None, disable=None):
        for number, sigma in enumerate(sigmas[:-1]):
            noised = denoise.latent_image + sigma * denoise.noise
            estimates.append(denoise(noised, sigma.expand(x.shape[0]), **(extra_args or {})))
            if callback is not None:
                callback({"x": noised, "i": number, "sigma": sigma, "sigma_hat": sigma, "denoised": estimates[-1]})
        return estimates[-1]

    sigmas = torch.stack([*(sampling.sigmas[t] for t in timesteps), torch.zeros(()).to(sampling.sigmas)])
    comfy.sample.sample_custom(
        model, noise, 1.0, comfy.samplers.KSAMPLER(look), sigmas, positive, positive, samples, disable_pbar=True, seed=seed
    )
    return [latent_samples(e.to(samples)) for e in estimates]
