"""How a spatial encoder's features reach another network's feature maps: FiLM, addition, cross-attention.

Notation. h: the feature map that is changed, (B,C,H,W). f: the encoder's feature map of the same shape. s: strength.
Every kind splits in two, because f may stay the same over many steps while h never does:

    prepare(f, s)      whatever depends on f and s only; this is what may be kept
    forward(h, kept)   h with the change

The layers start at zero, so that an untrained module returns h, bit for bit.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .layers import Layers
from .patches import AttendFn

Prepared = tuple[Tensor, ...]


class Film(nn.Module):
    """Feature-wise linear modulation (Perez et al., AAAI 2018): h * (1 + s gamma) + s beta, (gamma, beta) = W f + b.

    Args:
        channels: C.
        layers: where the layers come from.
        pooled: one gamma and beta per channel, from the mean of f (as in the FiLM paper), instead of one per pixel. Both
            have the same weights.
    """

    def __init__(self, channels: int, layers: Layers, pooled: bool = False):
        super().__init__()
        self.pooled = pooled
        self.to_gamma_beta = layers.conv(channels, 2 * channels, 1)

    @staticmethod
    def initial(channels: int, generator: torch.Generator) -> dict[str, Tensor]:
        """Zeros: gamma = beta = 0 whatever f is."""
        return {"to_gamma_beta.weight": torch.zeros(2 * channels, channels, 1, 1), "to_gamma_beta.bias": torch.zeros(2 * channels)}

    def prepare(self, f: Tensor, strength: float) -> Prepared:
        """f (B,C,H,W) -> (1 + s gamma, s beta), each (B,C,H,W), or (B,C,1,1) when pooled."""
        if self.pooled:
            f = f.mean((2, 3), keepdim=True)
        gamma, beta = self.to_gamma_beta(f).chunk(2, 1)
        return 1 + strength * gamma, strength * beta

    def forward(self, h: Tensor, kept: Prepared, attend: AttendFn) -> Tensor:
        """(B,C,H,W) -> (B,C,H,W)."""
        scale, shift = kept
        return torch.addcmul(shift, h, scale)


class Addition(nn.Module):
    """h + s (W f + b), ControlNet's zero convolution."""

    def __init__(self, channels: int, layers: Layers):
        super().__init__()
        self.zero = layers.conv(channels, channels, 1)

    @staticmethod
    def initial(channels: int, generator: torch.Generator) -> dict[str, Tensor]:
        """Zeros."""
        return {"zero.weight": torch.zeros(channels, channels, 1, 1), "zero.bias": torch.zeros(channels)}

    def prepare(self, f: Tensor, strength: float) -> Prepared:
        """f (B,C,H,W) -> the term (B,C,H,W)."""
        return (strength * self.zero(f),)

    def forward(self, h: Tensor, kept: Prepared, attend: AttendFn) -> Tensor:
        """(B,C,H,W) -> (B,C,H,W)."""
        return h + kept[0]


class FeatureAttention(nn.Module):
    """h + s W_o attend(W_q LN(h), W_k LN(f), W_v LN(f)): every place of h looks at every place of f.

    "Computed in a manner akin to" TryOnDiffusion, says Diffuse to Choose (section 3.2), and no more.
    """

    def __init__(self, channels: int, layers: Layers, heads: int = 8):
        super().__init__()
        self.heads = heads
        self.norm_h = layers.layer_norm(channels)
        self.norm_f = layers.layer_norm(channels)
        self.to_q = layers.linear(channels, channels, bias=False)
        self.to_k = layers.linear(channels, channels, bias=False)
        self.to_v = layers.linear(channels, channels, bias=False)
        self.to_out = layers.linear(channels, channels)

    def prepare(self, f: Tensor, strength: float) -> Prepared:
        """f (B,C,H,W) -> keys and values (B,HW,C) and the strength."""
        tokens = self.norm_f(f.flatten(2).transpose(1, 2))
        return self.to_k(tokens), self.to_v(tokens), torch.full((), strength, dtype=f.dtype, device=f.device)

    def forward(self, h: Tensor, kept: Prepared, attend: AttendFn) -> Tensor:
        """(B,C,H,W) -> (B,C,H,W)."""
        keys, values, strength = kept
        queries = self.to_q(self.norm_h(h.flatten(2).transpose(1, 2)))
        added = strength * self.to_out(attend(queries, keys, values, self.heads))
        return h + added.transpose(1, 2).reshape(h.shape)

    @staticmethod
    def initial(channels: int, generator: torch.Generator) -> dict[str, Tensor]:
        """Projections of variance 1 / channels, norms of 1, and an output of zero."""
        state = {f"{n}.weight": torch.randn(channels, channels, generator=generator) / channels**0.5 for n in ("to_q", "to_k", "to_v")}
        for norm in ("norm_h", "norm_f"):
            state |= {f"{norm}.weight": torch.ones(channels), f"{norm}.bias": torch.zeros(channels)}
        return state | {"to_out.weight": torch.zeros(channels, channels), "to_out.bias": torch.zeros(channels)}
