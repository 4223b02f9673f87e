"""A copy of the U-Net's encoder that sees a picture: the spatial encoder of ControlNet's family.

Its blocks are the host's own, so that the copy computes what the U-Net computes, bit for bit, when it has the same weights.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from .layers import Layers
from .sites import SITES, UNetShape

FEATURES = 13
"""Outputs of the twelve input blocks and of the middle block, f_0 ... f_12."""


def feature_multiple(index: int) -> int:
    """Width of f_index in `model_channels`: 1, 2 or 4."""
    return (1, 1, 1, 1, 2, 2, 2, 4, 4, 4, 4, 4, 4)[index]


def feature_stride(index: int) -> int:
    """Latent pixels per pixel of f_index: 1, 2, 4 or 8."""
    return 2 ** min(index // 3, 3)


def timestep_embedding(timesteps: Tensor, width: int) -> Tensor:
    """Sines of geometrically spaced frequencies, cosines first (Vaswani et al. 2017, as in latent diffusion).

    timesteps (B,) -> (B,width).
    """
    half = width // 2
    frequencies = torch.exp(-math.log(10000) * torch.arange(half, dtype=torch.float32, device=timesteps.device) / half)
    angles = timesteps[:, None].float() * frequencies[None]
    return torch.cat((angles.cos(), angles.sin()), -1)


class EncoderCopy(nn.Module):
    """`time_embed`, the twelve `input_blocks` and the `middle_block` of an SD1.5 U-Net, under the U-Net's own names.

    Args:
        shape: of the U-Net; `in_channels` is what this copy takes at its input.
        layers: where the layers and the host's blocks come from.
    """

    def __init__(self, shape: UNetShape, layers: Layers):
        super().__init__()
        unet = layers.blocks.unet(shape, layers)
        self.width = shape.model_channels
        self.time_embed, self.input_blocks, self.middle_block = unet.time_embed, unet.input_blocks, unet.middle_block

    def forward(self, x: Tensor, timesteps: Tensor, context: Tensor) -> list[Tensor]:
        """x (B,in_channels,h,w), timesteps (B,) 0..999, context (B,T,context_dim) -> f_0 ... f_12, f_12 from the middle block."""
        emb = self.time_embed(timestep_embedding(timesteps, self.width).to(x.dtype))
        features, h = [], x
        for block in (*self.input_blocks, self.middle_block):
            h = block(h, emb, context, transformer_options={})
            features.append(h)
        return features


def encoder_names() -> list[str]:
    """The names of the weights that an `EncoderCopy` shares with the U-Net it copies."""
    names = [f"time_embed.{i}" for i in (0, 2)] + ["input_blocks.0.0"]
    for block in range(1, 12):
        if block % 3 == 0:
            names.append(f"input_blocks.{block}.0.op")
        else:
            names += _residual(f"input_blocks.{block}.0", changes_width=block in (4, 7))
    names += [*_residual("middle_block.0"), *_residual("middle_block.2")]
    out = [f"{name}.{kind}" for name in names for kind in ("weight", "bias")]
    for site in SITES:
        if site.stage != "output":
            out += _transformer(site.ldm_path)
    return out


def _residual(name: str, changes_width: bool = False) -> list[str]:
    layers = ("in_layers.0", "in_layers.2", "emb_layers.1", "out_layers.0", "out_layers.3")
    return [f"{name}.{layer}" for layer in layers + (("skip_connection",) if changes_width else ())]


def _transformer(path: str) -> list[str]:
    both = [f"{path.removesuffix('.transformer_blocks.0')}.{name}" for name in ("norm", "proj_in", "proj_out")]
    both += [f"{path}.{name}" for name in ("attn1.to_out.0", "attn2.to_out.0", "ff.net.0.proj", "ff.net.2", "norm1", "norm2", "norm3")]
    weights = [f"{path}.{attention}.{name}.weight" for attention in ("attn1", "attn2") for name in ("to_q", "to_k", "to_v")]
    return [f"{name}.{kind}" for name in both for kind in ("weight", "bias")] + weights
