"""A spatial encoder beside the U-Net, and the zero cross-attention that lets the decoder read it.

StableVITON and SIFT-VTON, PM-Jewelry: features f_j of the encoder's input blocks; before output block i = 3..11, on the
hidden state h and before the skip is joined:

    h <- h + s * zero(T(h, tokens(f_(11-i))))

T is one transformer block of SD1.5 (self-attention, cross-attention whose keys and values come from the tokens,
feed-forward); zero is a 1x1 convolution that starts at zero; s is the strength, 1 in the papers. Nothing is done at the
lowest level (output blocks 0-2), so nothing reads input blocks 9-11 and the middle block: they are not built.

Diffuse to Choose reads all twelve blocks and the middle one of such a copy, and modulates the skips instead.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from .layers import Layers
from .patches import Call
from .sites import UNetShape

ZERO_CROSS_BLOCKS = tuple(range(3, 12))
"""Output blocks that have a zero cross-attention before them."""

READ_BLOCKS = 9
"""Input blocks that the zero cross-attentions read: 0..8."""


def feature_width(shape: UNetShape, index: int) -> int:
    """Channels of the encoder's output `index`: 0..11 the input blocks, 12 the middle block."""
    return shape.decoder_skip(11 - min(index, 11))


def feature_stride(index: int) -> int:
    """Latent pixels per pixel of the encoder's output `index`: 1, 2, 4 or 8."""
    return 2 ** min(index // 3, 3)


class SpatialEncoder(nn.Module):
    """A copy of the U-Net's encoder. Keys: `net.` and LDM names; `hint.weight`, `hint.bias`.

    Args:
        shape: of the copy; `in_channels` is what `forward`'s x has.
        blocks, middle: how much of the encoder is wanted; the rest is neither built nor computed.
        hint_channels: channels of a picture that joins after input block 0 by a 3x3 convolution; 0 for none.
    """

    def __init__(self, shape: UNetShape, layers: Layers, blocks: int = 12, middle: bool = True, hint_channels: int = 0):
        super().__init__()
        self.net = layers.blocks.encoder(shape, layers, blocks, middle)
        self.hint = layers.conv(hint_channels, shape.model_channels, 3) if hint_channels else None

    def forward(self, x: Tensor, timesteps: Tensor, context: Tensor, hint: Tensor | None = None) -> list[Tensor]:
        """Outputs of the blocks, first to last (the middle block's at the end).

        Args:
            x: (B,Cin,h,w); timesteps: (B,); context: (B,T,context_dim); hint: (B,hint_channels,h,w).
        """
        return self.net(x, timesteps, context, None if hint is None or self.hint is None else self.hint(hint))

    @staticmethod
    def names(blocks: int = 12, middle: bool = True) -> list[str]:
        """What to read from a base to start a copy: prefixes in LDM names (each ends in a dot)."""
        return ["time_embed.", *(f"input_blocks.{i}." for i in range(blocks)), *(["middle_block."] if middle else [])]


class ZeroCrossAttention(nn.Module):
    """h + s * zero(T(h, tokens(feature))): one of the nine blocks. Keys: `block.` (a transformer block), `zero.`."""

    def __init__(self, channels: int, feature_channels: int, heads: int, layers: Layers):
        super().__init__()
        self.block = layers.blocks.spatial_transformer(channels, heads, feature_channels, layers)
        self.zero = layers.conv(channels, channels, 1)

    def forward(self, h: Tensor, feature: Tensor, strength: float = 1.0, observe: Callable | None = None) -> Tensor:
        """h (B,C,h,w), feature (B,C',h',w') -> (B,C,h,w).

        Args:
            observe: (q (B,N,C), k (B,M,C), heads) of the cross-attention, N row-major over h, M over the feature map.
        """
        added = self.zero(self.block(h, feature.flatten(2).transpose(1, 2), observe))
        return h + (added if strength == 1.0 else added * strength)

    @staticmethod
    def initial(channels: int, feature_channels: int, generator: torch.Generator) -> dict[str, Tensor]:
        """Weights to start training from: matrices uniform in +-1/sqrt(fan-in), norms 1, biases 0, `zero` 0."""
        c = channels
        state = {"zero.weight": torch.zeros(c, c, 1, 1), "zero.bias": torch.zeros(c)}
        inner = "block.transformer_blocks.0"
        matrices = {f"{inner}.attn1.{n}.weight": (c, c) for n in ("to_q", "to_k", "to_v", "to_out.0")}
        matrices |= {f"{inner}.attn2.to_q.weight": (c, c), f"{inner}.attn2.to_out.0.weight": (c, c)}
        matrices |= {f"{inner}.attn2.{n}.weight": (c, feature_channels) for n in ("to_k", "to_v")}
        matrices |= {f"{inner}.ff.net.0.proj.weight": (8 * c, c), f"{inner}.ff.net.2.weight": (c, 4 * c)}
        matrices |= {f"block.{n}.weight": (c, c, 1, 1) for n in ("proj_in", "proj_out")}
        for name, shape in sorted(matrices.items()):
            bound = 1 / math.sqrt(shape[1])
            state[name] = (torch.rand(shape, generator=generator) * 2 - 1) * bound
        biased = [f"{inner}.{n}" for n in ("attn1.to_out.0", "attn2.to_out.0", "ff.net.0.proj", "ff.net.2")]
        biased += ["block.proj_in", "block.proj_out"]
        state |= {f"{n}.bias": torch.zeros(matrices[f"{n}.weight"][0]) for n in biased}
        for norm in ("block.norm", *(f"{inner}.norm{i}" for i in (1, 2, 3))):
            state |= {f"{norm}.weight": torch.ones(c), f"{norm}.bias": torch.zeros(c)}
        return state


class ZeroCrossAttentions(nn.ModuleList):
    """The nine blocks, in the order of output blocks 3..11; block i reads the feature of input block 11 - i."""

    def __init__(self, shape: UNetShape, layers: Layers):
        super().__init__(
            ZeroCrossAttention(shape.decoder_h(i), shape.decoder_skip(i), shape.heads, layers) for i in ZERO_CROSS_BLOCKS
        )

    def draw(self, block: int, h: Tensor, features: list[Tensor], strength: float, call: Call) -> Tensor:
        """h (R,C,h,w) before output block `block` with the garment drawn in; a watch may look on (`parts/watch.py`).

        Args:
            features: outputs f_0 .. of the encoder, conditional rows.
        """
        feature, observe = features[11 - block], None
        if call.probe is not None and call.probe.wants(block):
            grids = {"grid": tuple(h.shape[-2:]), "key_grid": tuple(feature.shape[-2:])}

            def observe(q: Tensor, k: Tensor, heads: int) -> None:
                call.probe.see(block, q=q, k=k, heads=heads, images=call.images, **grids)

        return self[block - ZERO_CROSS_BLOCKS[0]](h, feature, strength, observe)

    @staticmethod
    def initial(shape: UNetShape, generator: torch.Generator, prefix: str) -> dict[str, Tensor]:
        """Starting weights of all nine, under `prefix`."""
        out = {}
        for number, block in enumerate(ZERO_CROSS_BLOCKS):
            state = ZeroCrossAttention.initial(shape.decoder_h(block), shape.decoder_skip(block), generator)
            out |= {f"{prefix}{number}.{k}": t for k, t in state.items()}
        return out
