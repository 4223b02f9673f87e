"""Image tokens: what projects an image encoder's output into the space of the text tokens.

The projectors keep the key names of the published IP-Adapter files, so that such files load unchanged.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from .attention import attend
from .layers import Layers, cast


@dataclass(frozen=True)
class ImageTokens:
    """What travels on a FITTING_TOKENS socket.

    Attributes:
        tokens: (R,T,D), R is 1 or the size of the latent batch.
        null: (1,T,D), what unconditional rows get in their place.
    """

    tokens: Tensor
    null: Tensor


def nulls(projector: nn.Module, tokens: Tensor) -> Tensor:
    """A projector's learned `null` for tokens (B,T,C), (1,T,C): as long as they are, for only equal lengths are batched."""
    return cast(projector.null, tokens).expand(1, tokens.shape[1], -1).contiguous()


@dataclass(frozen=True)
class ResamplerConfig:
    """Shape of a Perceiver resampler; the defaults are IP-Adapter plus for SD1.5.

    Attributes:
        inputs: width of the image encoder's hidden states (1280 for ViT-H).
        width: inner width.
        outputs: width of the tokens (the U-Net's context width).
        tokens: how many tokens come out.
        depth, heads, head_width, ff: layers, heads per layer, width per head, feed-forward multiple.
    """

    inputs: int = 1280
    width: int = 768
    outputs: int = 768
    tokens: int = 16
    depth: int = 4
    heads: int = 12
    head_width: int = 64
    ff: int = 4


class PerceiverAttention(nn.Module):
    """Latents attend to the image's tokens and to themselves."""

    def __init__(self, width: int, heads: int, head_width: int, layers: Layers):
        super().__init__()
        self.heads = heads
        inner = heads * head_width
        self.norm1 = layers.layer_norm(width)
        self.norm2 = layers.layer_norm(width)
        self.to_q = layers.linear(width, inner, bias=False)
        self.to_kv = layers.linear(width, inner * 2, bias=False)
        self.to_out = layers.linear(inner, width, bias=False)

    def forward(self, x: Tensor, latents: Tensor) -> Tensor:
        """x (B,M,width), latents (B,T,width) -> (B,T,width)."""
        x, latents = self.norm1(x), self.norm2(latents)
        k, v = self.to_kv(torch.cat((x, latents), 1)).chunk(2, -1)
        return self.to_out(attend(self.to_q(latents), k, v, self.heads))


class Resampler(nn.Module):
    """Hidden states of an image encoder (B,M,inputs) -> tokens (B,tokens,outputs).

    Keys: `latents`, `proj_in`, `layers.{i}.0` (attention), `layers.{i}.1` (norm, linear, GELU, linear), `proj_out`,
    `norm_out`.
    """

    def __init__(self, config: ResamplerConfig, layers: Layers):
        super().__init__()
        self.latents = layers.parameter(1, config.tokens, config.width)
        self.proj_in = layers.linear(config.inputs, config.width)
        self.proj_out = layers.linear(config.width, config.outputs)
        self.norm_out = layers.layer_norm(config.outputs)
        inner = config.width * config.ff
        self.layers = nn.ModuleList(
            nn.ModuleList([
                PerceiverAttention(config.width, config.heads, config.head_width, layers),
                nn.Sequential(
                    layers.layer_norm(config.width),
                    layers.linear(config.width, inner, bias=False),
                    nn.GELU(),
                    layers.linear(inner, config.width, bias=False),
                ),
            ])
            for _ in range(config.depth)
        )

    def forward(self, hidden: Tensor) -> Tensor:
        """(B,M,inputs) -> (B,tokens,outputs)."""
        x = self.proj_in(hidden)
        latents = cast(self.latents, x).expand(x.shape[0], -1, -1)
        for attention, feed_forward in self.layers:
            latents = attention(x, latents) + latents
            latents = feed_forward(latents) + latents
        return self.norm_out(self.proj_out(latents))


class ImageProjection(nn.Module):
    """A picture's embedding (B,inputs) -> tokens (B,tokens,outputs): the projector of the base IP-Adapters.

    Keys: `proj` (linear, tokens * outputs wide), `norm`.
    """

    def __init__(self, inputs: int, outputs: int, tokens: int, layers: Layers):
        super().__init__()
        self.tokens = tokens
        self.proj = layers.linear(inputs, tokens * outputs)
        self.norm = layers.layer_norm(outputs)

    def forward(self, embedding: Tensor) -> Tensor:
        """(B,inputs) -> (B,tokens,outputs)."""
        return self.norm(self.proj(embedding).unflatten(-1, (self.tokens, -1)))


class HiddenProjection(nn.Module):
    """Hidden states (B,M,inputs) -> as many tokens (B,M,outputs): the projector of the full-face IP-Adapters.

    Keys: `proj.0` (linear), `proj.2` (linear), `proj.3` (norm).
    """

    def __init__(self, inputs: int, outputs: int, layers: Layers):
        super().__init__()
        self.proj = nn.Sequential(layers.linear(inputs, inputs), nn.GELU(), layers.linear(inputs, outputs), layers.layer_norm(outputs))

    def forward(self, hidden: Tensor) -> Tensor:
        """(B,M,inputs) -> (B,M,outputs)."""
        return self.proj(hidden)


class TokenProjection(nn.Module):
    """Hidden states of an image encoder in place of the text: one linear layer, and a learned null for guidance.

    Args:
        inputs: width of the hidden states (1536 for DINOv2 giant, 1024 for DINOv2 large and CLIP ViT-L).
        outputs: width of the U-Net's tokens.

    Keys: `proj.weight`, `proj.bias`, `null` (1,1,outputs).
    """

    def __init__(self, inputs: int, outputs: int, layers: Layers):
        super().__init__()
        self.proj = layers.linear(inputs, outputs)
        self.null = layers.parameter(1, 1, outputs)

    def forward(self, hidden: Tensor) -> Tensor:
        """(B,M,inputs) -> tokens (B,M,outputs)."""
        return self.proj(hidden)

    @staticmethod
    def initial(inputs: int, outputs: int, generator: torch.Generator) -> dict[str, Tensor]:
        """Weights from scratch: variance 1 / inputs, no bias, a null of unit variance."""
        return {
            "proj.weight": torch.randn(outputs, inputs, generator=generator) / inputs**0.5,
            "proj.bias": torch.zeros(outputs),
            "null": torch.randn(1, 1, outputs, generator=generator),
        }


class OneTokenBlock(nn.Module):
    """One residual block of Paint by Example's mapper, before-norm, on a single token.

    Attention of one token to itself has the softmax 1, so it is c_proj(v); `c_qkv` keeps the rows of q and k because files
    have them, and they cannot matter.
    """

    def __init__(self, width: int, layers: Layers):
        super().__init__()
        self.ln_1 = layers.layer_norm(width)
        self.attn = nn.ModuleDict({"c_qkv": layers.linear(width, 3 * width), "c_proj": layers.linear(width, width)})
        self.ln_2 = layers.layer_norm(width)
        self.mlp = nn.ModuleDict({"c_fc": layers.linear(width, 4 * width), "c_proj": layers.linear(4 * width, width)})

    def forward(self, x: Tensor) -> Tensor:
        """(B,1,width) -> (B,1,width)."""
        value = self.attn["c_qkv"](self.ln_1(x)).chunk(3, -1)[2]
        x = x + self.attn["c_proj"](value)
        return x + self.mlp["c_proj"](nn.functional.gelu(self.mlp["c_fc"](self.ln_2(x))))


class ImageToken(nn.Module):
    """Paint by Example's picture as one token: pooled vector of CLIP ViT-L -> mapper -> norm -> 1024 to 768.

    Keys: `mapper.{0..4}` (ln_1, attn.c_qkv, attn.c_proj, ln_2, mlp.c_fc, mlp.c_proj), `final_ln`, `proj_out`, and `null`
    (1,1,outputs), the learned token of the unconditional branch.
    """

    BLOCKS = 5

    def __init__(self, inputs: int, outputs: int, layers: Layers):
        super().__init__()
        self.mapper = nn.ModuleList(OneTokenBlock(inputs, layers) for _ in range(self.BLOCKS))
        self.final_ln = layers.layer_norm(inputs)
        self.proj_out = layers.linear(inputs, outputs)
        self.null = layers.parameter(1, 1, outputs)

    def forward(self, pooled: Tensor) -> Tensor:
        """(B,inputs), after the encoder's last norm and before any projection -> (B,1,outputs)."""
        x = pooled.unsqueeze(1)
        for block in self.mapper:
            x = block(x)
        return self.proj_out(self.final_ln(x))

    def nulls(self, token: Tensor) -> Tensor:
        """The learned token of the unconditional branch (1,1,outputs), where and as `token` is."""
        return cast(self.null, token)

    @classmethod
    def initial(cls, inputs: int, outputs: int, generator: torch.Generator) -> dict[str, Tensor]:
        """Weights to start training from: matrices uniform in +-1/sqrt(fan-in), norms 1, biases 0, a small random `null`."""
        matrices = {"proj_out": (outputs, inputs)}
        for i in range(cls.BLOCKS):
            matrices |= {f"mapper.{i}.attn.c_qkv": (3 * inputs, inputs), f"mapper.{i}.attn.c_proj": (inputs, inputs)}
            matrices |= {f"mapper.{i}.mlp.c_fc": (4 * inputs, inputs), f"mapper.{i}.mlp.c_proj": (inputs, 4 * inputs)}
        state = {"null": torch.randn(1, 1, outputs, generator=generator) * 0.02}
        for name, shape in matrices.items():
            state[f"{name}.weight"] = (torch.rand(shape, generator=generator) * 2 - 1) / shape[1] ** 0.5
            state[f"{name}.bias"] = torch.zeros(shape[0])
        for norm in ("final_ln", *(f"mapper.{i}.ln_{n}" for i in range(cls.BLOCKS) for n in (1, 2))):
            state |= {f"{norm}.weight": torch.ones(inputs), f"{norm}.bias": torch.zeros(inputs)}
        return state


def starting_weight(name: str, like: Tensor, generator: torch.Generator) -> Tensor:
    """A projector's weight to start training from: linear layers as torch's, norms 1 and 0, latents small and normal.

    Args:
        name: the weight's key.
        like: its shape (a tensor on any device).
        generator: of the random numbers.
    """
    if like.ndim == 1:
        return torch.ones(like.shape) if name.endswith("weight") else torch.zeros(like.shape)
    if name.endswith("latents"):
        return torch.randn(like.shape, generator=generator) * like.shape[-1] ** -0.5
    return (torch.rand(like.shape, generator=generator) * 2 - 1) * like.shape[-1] ** -0.5
