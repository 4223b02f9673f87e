"""Where a method's layers come from.

The same module must be trainable (plain `torch.nn` layers, float32) and usable inside the host (layers that cast and
offload per call), so a module takes its layer classes from a `Layers` value instead of naming them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn


@dataclass(frozen=True)
class Layers:
    """Layer classes and the blocks of the host's U-Net.

    Attributes:
        ops: namespace with Linear, Conv2d, ConvTranspose2d, LayerNorm, GroupNorm (`torch.nn`, or the host's casting layers).
        dtype, device: where and how the weights are made.
        blocks: the host's own blocks (`host.Blocks`), for methods that copy parts of the U-Net; None without a host.
    """

    ops: Any = nn
    dtype: torch.dtype | None = None
    device: torch.device | str | None = None
    blocks: Any = None

    def linear(self, inputs: int, outputs: int, bias: bool = True) -> nn.Module:
        """A linear layer."""
        return self.ops.Linear(inputs, outputs, bias=bias, dtype=self.dtype, device=self.device)

    def conv(self, inputs: int, outputs: int, kernel: int, stride: int = 1, bias: bool = True) -> nn.Module:
        """A 2-D convolution with padding kernel // 2."""
        return self.ops.Conv2d(
            inputs, outputs, kernel, stride=stride, padding=kernel // 2, bias=bias, dtype=self.dtype, device=self.device
        )

    def conv_transpose(self, inputs: int, outputs: int, kernel: int, stride: int) -> nn.Module:
        """A transposed 2-D convolution, padded so that a side n becomes stride * n (kernel 4, stride 2; kernel 3, stride 1)."""
        return self.ops.ConvTranspose2d(
            inputs, outputs, kernel, stride=stride, padding=(kernel - stride + 1) // 2, dtype=self.dtype, device=self.device
        )

    def layer_norm(self, channels: int, eps: float = 1e-5) -> nn.Module:
        """Layer normalisation over the last axis."""
        return self.ops.LayerNorm(channels, eps=eps, dtype=self.dtype, device=self.device)

    def group_norm(self, channels: int, groups: int = 32, eps: float = 1e-5) -> nn.Module:
        """Group normalisation."""
        return self.ops.GroupNorm(groups, channels, eps=eps, dtype=self.dtype, device=self.device)

    def parameter(self, *shape: int) -> nn.Parameter:
        """A raw parameter of zeros. Read it with `cast`, because the host moves only layers."""
        return nn.Parameter(torch.zeros(*shape, dtype=self.dtype, device=self.device))


def cast(parameter: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """A raw parameter on the device and in the dtype of `like` (the host leaves raw parameters where they were)."""
    return parameter.to(device=like.device, dtype=like.dtype)


BlockFactory = Callable[..., nn.Module]
