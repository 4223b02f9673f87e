"""The host's own U-Net blocks, for methods that hold copies of parts of the U-Net.

Built with the layer classes of a `Layers` value: the host's casting layers at inference, torch.nn's in training.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from comfy.ldm.modules.attention import SpatialTransformer
from comfy.ldm.modules.diffusionmodules.openaimodel import UNetModel, forward_timestep_embed, timestep_embedding
from torch import Tensor, nn

from ..models.parts.layers import Layers
from ..models.parts.sites import UNetShape

CHANNELS_PER_GROUP = 8
"""Fewest channels that the last norm of a U-Net takes together; SD1.5's has ten, 320 channels in 32 groups."""
Observe = Callable[[Tensor, Tensor, int], None]
"""(q (B,N,C), k (B,M,C), heads): sees the projected queries and keys of a cross-attention."""


def with_means(unet: UNetModel) -> UNetModel:
    """The U-Net, its last norm with at least `CHANNELS_PER_GROUP` channels in a group; from 256 channels on nothing changes.

    The host always makes 32 groups. With 32 channels the last norm would take each channel's mean away, and nothing comes after it that could
    put one back: the predicted noise could have no mean of its own, and every picture would keep the mean of the noise it
    started from, as a tint. Inside the U-Net the residual paths carry means past the norms, so those stay as they are.
    """
    norm = unet.out[0]
    norm.num_groups = min(norm.num_groups, max(1, norm.num_channels // CHANNELS_PER_GROUP))
    return unet


def unet(shape: UNetShape, layers: Layers) -> UNetModel:
    """A whole SD1.5-shaped U-Net of the host's own class."""
    from .models import unet_config

    surplus = ("use_temporal_resblock", "use_temporal_attention", "adm_in_channels")
    config = {k: v for k, v in unet_config(shape).items() if k not in surplus}
    config |= {"num_res_blocks": 2, "dtype": layers.dtype}
    return with_means(UNetModel(**config, device=layers.device, operations=layers.ops))


class Encoder(nn.Module):
    """The first blocks of a U-Net's encoder, in the host's classes and names."""

    def __init__(self, whole: UNetModel, blocks: int, middle: bool):
        super().__init__()
        self.model_channels = whole.model_channels
        self.time_embed = whole.time_embed
        self.input_blocks = whole.input_blocks[:blocks]
        self.middle_block = whole.middle_block if middle else None

    def forward(self, x: Tensor, timesteps: Tensor, context: Tensor, added: Tensor | None = None) -> list[Tensor]:
        """The outputs of the blocks, first to last, the middle block's at the end.

        Args:
            x: (B,Cin,h,w). timesteps: (B,), 0..999. context: (B,T,context_dim).
            added: (B,model_channels,h,w), joins after input block 0.
        """
        emb = self.time_embed(timestep_embedding(timesteps, self.model_channels).to(x.dtype))
        options = _one_token() if context.shape[1] == 1 else {}
        h, outputs = x, []
        for number, block in enumerate(self.input_blocks):
            h = forward_timestep_embed(block, h, emb, context, options)
            if number == 0 and added is not None:
                h = h + added
            outputs.append(h)
        if self.middle_block is not None:
            outputs.append(forward_timestep_embed(self.middle_block, h, emb, context, options))
        return outputs


def _one_token() -> dict:
    """Options under which cross-attention is computed for one query only, when the context is a single token.

    A softmax over one key is 1, so every query gets the same to_out(to_v(token)): one row is enough, the rest is
    broadcast. The two projections of all the other rows are saved.
    """
    return {"patches": {"attn2_patch": [lambda n, context, value, options: (n[:, :1], context, value)]}}


def encoder(shape: UNetShape, layers: Layers, blocks: int = 12, middle: bool = True) -> Encoder:
    """The first `blocks` input blocks of a U-Net (and the middle block); the rest is never allocated."""
    made = Encoder(unet(shape, replace(layers, device="meta")), blocks, middle)
    if str(layers.device) == "meta":
        return made
    device = torch.device(layers.device or "cpu")
    made = made.to_empty(device=device)
    if layers.ops.Linear is nn.Linear:  # torch's own layers start with numbers, not with what lay in memory
        for module in made.modules():
            if hasattr(module, "reset_parameters"):
                module.reset_parameters()
    return made


class Transformer(SpatialTransformer):
    """The host's transformer block, whose cross-attention can be watched."""

    def forward(self, x: Tensor, context: Tensor, observe: Observe | None = None) -> Tensor:
        """x (B,C,h,w), context (B,M,context_dim) -> (B,C,h,w)."""
        if observe is None:
            return super().forward(x, context, {})
        return super().forward(x, context, _watched(observe))


def _watched(observe: Observe) -> dict:
    """Options by which `observe` sees queries and keys of the cross-attention that follows an attn2 patch."""
    state = {"cross": False}

    def announce(n, context, value, options):
        state["cross"] = True
        return n, context, value

    def attention(kernel, q, k, v, heads, *args, **kwargs):
        if state["cross"]:
            observe(q, k, heads)
        return kernel(q, k, v, heads, *args, **kwargs)

    return {"patches": {"attn2_patch": [announce]}, "optimized_attention_override": attention}


def spatial_transformer(channels: int, heads: int, context_dim: int, layers: Layers) -> Transformer:
    """One transformer block of SD1.5 with its norm and its 1x1 convolutions in and out."""
    return Transformer(
        channels, heads, channels // heads, depth=1, context_dim=context_dim, use_linear=False, use_checkpoint=False,
        dtype=layers.dtype, device=layers.device, operations=layers.ops,
    )
