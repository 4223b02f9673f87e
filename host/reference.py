"""The reference pass: run a U-Net once and keep what enters its self-attentions.

The pass owns its `transformer_options`, so nothing that the user put on the MODEL (patches, wrappers, LoRA hooks) leaks
in; the weights are the model's own, with its LoRAs. Only a direct call of the U-Net gives an exact clean latent at t = 0:
the host's `apply_model` divides by sqrt(1 + sigma^2), and its smallest sigma is 0.0292.
"""

from __future__ import annotations

from collections.abc import Callable

import comfy.model_management
import torch
from torch import Tensor

from ..models.parts.sites import SITES, Site

LoraTerm = Callable[[Site, str, Tensor], Tensor | None]


class _Done(Exception):
    """The last wanted site was reached; the rest of the U-Net has nothing to say."""


class _Pass:
    """The patches of one reference pass."""

    def __init__(self, sites, keep, lora: LoraTerm | None, cross_attention: bool, stops: bool = True):
        self.wanted = {(s.stage, s.block): s for s in sites}
        self.last = max(sites, key=SITES.index)
        self.features: dict[Site, Tensor] = {}
        self.keep, self.lora, self.cross_attention = keep, lora, cross_attention
        self.stops = stops  # in training the pass runs through: a checkpointed block must end as it began
        self.source: tuple[Site, Tensor] | None = None
        self.out: tuple[Site, Tensor] | None = None

    def options(self) -> dict:
        patches = {"attn1_patch": [self.before_attn1]}
        options = {"cond_or_uncond": [0], "sigmas": torch.zeros(1), "patches": patches}
        if self.lora is not None:
            patches["attn1_output_patch"] = [self.after_attn1]
            options["optimized_attention_override"] = self.attention
        if not self.cross_attention:
            patches["attn2_patch"] = [self.before_attn2]
            patches["attn2_output_patch"] = [lambda n, options: torch.zeros_like(n)]
        return options

    def before_attn1(self, n, context, value, options):
        site = self.wanted.get(options["block"])
        if site is not None:
            self.features[site] = self.keep(n)
            if site == self.last and self.stops:
                raise _Done
            self.source = (site, n)
        return n, context, value

    def attention(self, func, q, k, v, heads, *args, **kwargs):
        """Self-attention with this pass's LoRA on q, k and v (AnyDressing, eq. 3-4)."""
        if self.source is not None:
            (site, n), self.source = self.source, None
            q, k, v = (t + d if (d := self.lora(site, p, n)) is not None else t for t, p in ((q, "to_q"), (k, "to_k"), (v, "to_v")))
            out = func(q, k, v, heads, *args, **kwargs)
            self.out = (site, out)
            return out
        return func(q, k, v, heads, *args, **kwargs)

    def after_attn1(self, n, options):
        if self.out is not None:
            (site, out), self.out = self.out, None
            added = self.lora(site, "to_out", out)
            n = n if added is None else n + added
        return n

    @staticmethod
    def before_attn2(n, context, value, options):
        # One token is enough for a result that is set to zero and broadcast: the removed layer costs nothing. Returning
        # zeros from a replaced attention would let the bias of to_out through.
        return n[:, :1], context[:, :1], value[:, :1]


def capture(
    model,
    latent: Tensor,
    context: Tensor | None = None,
    timestep: float = 0.0,
    sites: tuple[Site, ...] = SITES,
    lora: LoraTerm | None = None,
    cross_attention: bool = False,
    also_load=(),
) -> dict[Site, Tensor]:
    """Run a U-Net once and return the input of each site's self-attention, after its norm1.

    Args:
        model: ModelPatcher of the U-Net.
        latent: (R,Cin,h,w), already scaled (`encode_latent`), clean.
        context: (1 or R,T,context_dim) tokens for cross-attention; None for a pass without it.
        timestep: 0..999.
        sites: which inputs to keep; the pass ends at the last of them.
        lora: terms to add to the self-attentions' projections, per site and projection.
        cross_attention: keep it (needs `context`), or take it out.
        also_load: patchers that `lora` needs on the device.

    Returns:
        per site (R,N,C), in the U-Net's dtype, where the host keeps results between nodes.
    """
    management = comfy.model_management
    management.load_models_gpu([model, *also_load], memory_required=model.memory_required(list(latent.shape)))
    unet, device, dtype = model.model.diffusion_model, model.load_device, model.model.get_dtype_inference()
    if context is None:
        context = torch.zeros(1, 1, unet_context_dim(unet))
    context = context.to(device, dtype).expand(latent.shape[0], -1, -1)
    run = _Pass(sites, lambda n: n.detach().to(management.intermediate_device(), copy=True), lora, cross_attention)
    model.pre_run()
    try:
        unet(latent.to(device, dtype), torch.full((latent.shape[0],), timestep, device=device), context=context, transformer_options=run.options())
    except _Done:
        pass
    finally:
        model.cleanup()
    return run.features


def unet_context_dim(unet) -> int:
    """Width of the tokens that a U-Net's cross-attention takes."""
    return unet.input_blocks[1][1].transformer_blocks[0].attn2.to_k.in_features
