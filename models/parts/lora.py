"""Low-rank terms beside a linear layer."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from .layers import Layers, cast


class Lora(nn.Module):
    """x -> (alpha / rank) up(down(x)); zero until trained, because `up` starts at zero.

    Keys as in kohya and diffusers files: `lora_down.weight` (rank,in), `lora_up.weight` (out,rank), `alpha` ().
    """

    def __init__(self, inputs: int, outputs: int, rank: int, layers: Layers):
        super().__init__()
        self.lora_down = layers.linear(inputs, rank, bias=False)
        self.lora_up = layers.linear(rank, outputs, bias=False)
        self.rank = rank
        self.register_buffer("alpha", torch.tensor(float(rank), device=layers.device))

    def forward(self, x: Tensor) -> Tensor:
        """(...,in) -> (...,out)."""
        return self.lora_up(self.lora_down(x)) * (cast(self.alpha, x) / self.rank)

    @staticmethod
    def initial(inputs: int, outputs: int, rank: int, generator: torch.Generator) -> dict[str, Tensor]:
        """Weights to start training from: `down` uniform as torch's linear layers, `up` zero, alpha = rank."""
        bound = 1 / math.sqrt(inputs)
        return {
            "lora_down.weight": (torch.rand(rank, inputs, generator=generator) * 2 - 1) * bound,
            "lora_up.weight": torch.zeros(outputs, rank),
            "alpha": torch.tensor(float(rank)),
        }
