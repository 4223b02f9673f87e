"""The shadow module: where a shadow falls, and how it changes the predicted noise (PM-Jewelry, section 3, eq. 4-7).

PM-Jewelry takes it from SGDiffusion (shadow generation on DESOBAv2), whose layout and key names are kept so that weights
can be exchanged:

    mask_predictor        all twelve decoder outputs + object mask -> shadow mask M
    scale_encoder         a ResNet-18 on [rgb, object mask, background shadow mask] -> 8W channels at 1/16
    predict_scale_bias    convolutions, average, linear -> one scale and one bias per latent channel

Equation 5 changes the noise inside the mask:

    eps_hat = (s * eps + b) * M + eps * (1 - M)                                                    (5)

With s = 1 + d this is eps + M * (d * eps + b), which is what `adjust` computes: for d = b = 0 it is eps, bit for bit, for a
soft mask too.

Differs from the paper or from SGDiffusion:
- The paper names "modified VGG blocks" (a citation of spiking networks); the mask is predicted as in SGDiffusion.
- SGDiffusion predicts s itself and starts near s = 0, which would erase the noise in the mask. Here s = 1 + d, and the
  last layer starts at zero, so an untrained module changes nothing. (Theirs becomes ours by fc.bias[:4] -= 1.)
- SGDiffusion is bound to 512x512; here the grid is the latent's own (h, w), of any size.
- Batch normalisation always uses its stored statistics: rows of a batch must not influence each other.
- Widths follow `model_channels` (13 * 320 + 1 = 4161 channels into `conv_combined` in SD1.5).
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, pixel_shuffle, pixel_unshuffle, relu

from .layers import Layers, cast
from .sites import UNetShape

PICTURE_CHANNELS = 5
"""red, green, blue (0..1), object mask, mask of the shadows already in the picture."""


def pack_picture(rgb: Tensor, mask: Tensor, shadows: Tensor | None = None) -> Tensor:
    """What `scale_encoder` looks at, folded to the latent's size so that it can travel row-aligned in a conditioning.

    Args:
        rgb: (B,3,H,W), 0..1, sides multiples of 8.
        mask: (B,1,H,W), 1 = the jewelry's region.
        shadows: (B,1,H,W), 1 = a shadow that is already in the picture; None for none.

    Returns:
        (B,5*64,H/8,W/8): nothing is lost, `unpack_picture` is the inverse.
    """
    shadows = torch.zeros_like(mask) if shadows is None else shadows
    return pixel_unshuffle(torch.cat((rgb, mask, shadows), 1), 8)


def unpack_picture(packed: Tensor) -> Tensor:
    """(B,320,h,w) -> (B,5,8h,8w), the inverse of `pack_picture`."""
    return pixel_shuffle(packed, 8)


class MaskPredictor(nn.Module):
    """Twelve decoder outputs and the object mask -> shadow mask at picture size.

    Keys and shapes of SD1.5: conv_8, conv_16, conv_32_1280 (320,1280,1,1), conv_32_640 (320,640,1,1),
    conv_combined (320,4161,3,3), deconv1-2 (320,320,4,4), deconv3 (320,320,3,3), deconv4 (320,1,4,4); 17,623,361 numbers.
    The names speak of 512x512 pictures, where the latent grid is 64x64.
    """

    def __init__(self, shape: UNetShape, layers: Layers):
        super().__init__()
        width = shape.model_channels
        self.conv_8 = layers.conv(4 * width, width, 1)
        self.conv_16 = layers.conv(4 * width, width, 1)
        self.conv_32_1280 = layers.conv(4 * width, width, 1)
        self.conv_32_640 = layers.conv(2 * width, width, 1)
        self.conv_combined = layers.conv(13 * width + 1, width, 3)
        self.deconv1 = layers.conv_transpose(width, width, 4, 2)
        self.deconv2 = layers.conv_transpose(width, width, 4, 2)
        self.deconv3 = layers.conv_transpose(width, width, 3, 1)
        self.deconv4 = layers.conv_transpose(width, 1, 4, 2)

    def logits(self, features: list[Tensor], mask: Tensor) -> Tensor:
        """The mask before the sigmoid, for losses.

        Args:
            features: outputs of output blocks 0..11, (R,C_i,h_i,w_i); the last four at the latent's own size (h,w).
            mask: (R,1,H,W) object mask, any size.

        Returns:
            (R,1,8h,8w).
        """
        size = features[-1].shape[-2:]
        convs = (self.conv_8,) * 2 + (self.conv_16,) * 3 + (self.conv_32_1280,) + (self.conv_32_640,) * 2
        parts = [_resize(conv(f), size) for conv, f in zip(convs, features)]
        x = torch.cat([*parts, *features[len(convs):], _resize(mask.to(features[-1]), size)], 1)  # (R,13C+1,h,w)
        for layer in (self.conv_combined, self.deconv1, self.deconv2, self.deconv3):
            x = relu(layer(x))
        return self.deconv4(x)  # (R,1,8h,8w)

    def forward(self, features: list[Tensor], mask: Tensor) -> Tensor:
        """As `logits`, between 0 and 1: the soft mask."""
        return self.logits(features, mask).sigmoid()


def hard_mask(soft: Tensor, size: tuple[int, int], threshold: float = 0.5) -> Tensor:
    """The mask of eq. 5 at inference: resized to the latent (corners aligned), 1 where above the threshold.

    Args:
        soft: (R,1,8h,8w), 0..1.
        size: (h, w).

    Returns:
        (R,1,h,w) of zeros and ones, in the dtype of `soft`.
    """
    return (_resize(soft, size) > threshold).to(soft.dtype)


def adjust(eps: Tensor, mask: Tensor, delta: Tensor, bias: Tensor) -> Tensor:
    """Equation 5 with s = 1 + delta: eps + mask * (delta * eps + bias).

    Args:
        eps: (R,C,h,w) predicted noise.
        mask: (R,1,h,w), hard or soft.
        delta, bias: (R,C,1,1).
    """
    return eps + mask * (delta * eps + bias)


class StoredNorm(nn.Module):
    """Batch normalisation with its stored statistics, in training too: an affine map per channel."""

    def __init__(self, channels: int, layers: Layers):
        super().__init__()
        self.weight, self.bias = layers.parameter(channels), layers.parameter(channels)
        for name in ("running_mean", "running_var"):
            self.register_buffer(name, torch.zeros(channels, dtype=layers.dtype, device=layers.device))

    def forward(self, x: Tensor) -> Tensor:
        """(B,C,h,w) -> the same."""
        mean, variance, weight, bias = (cast(t, x) for t in (self.running_mean, self.running_var, self.weight, self.bias))
        scale = weight * (variance + 1e-5).rsqrt()
        return x * scale[:, None, None] + (bias - mean * scale)[:, None, None]


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions around a shortcut."""

    def __init__(self, inputs: int, outputs: int, stride: int, layers: Layers):
        super().__init__()
        self.conv1, self.bn1 = layers.conv(inputs, outputs, 3, stride, bias=False), StoredNorm(outputs, layers)
        self.conv2, self.bn2 = layers.conv(outputs, outputs, 3, bias=False), StoredNorm(outputs, layers)
        self.downsample = None
        if stride != 1 or inputs != outputs:
            self.downsample = nn.Sequential(layers.conv(inputs, outputs, 1, stride, bias=False), StoredNorm(outputs, layers))

    def forward(self, x: Tensor) -> Tensor:
        """(B,inputs,h,w) -> (B,outputs,h/stride,w/stride)."""
        shortcut = x if self.downsample is None else self.downsample(x)
        return relu(shortcut + self.bn2(self.conv2(relu(self.bn1(self.conv1(x))))))


class ScaleEncoder(nn.Module):
    """ResNet-18 on five channels; its last stage keeps the resolution. (B,5,H,W) -> (B,8W,H/16,W/16), W = 64 in SD1.5."""

    def __init__(self, width: int, layers: Layers):
        super().__init__()

        def stage(inputs: int, outputs: int, stride: int) -> nn.Sequential:
            return nn.Sequential(ResidualBlock(inputs, outputs, stride, layers), ResidualBlock(outputs, outputs, 1, layers))

        self.bg_encoder_64 = nn.Sequential(layers.conv(PICTURE_CHANNELS, width, 7, 2, bias=False), StoredNorm(width, layers), nn.ReLU())
        self.bg_encoder_64_2 = nn.Sequential(nn.MaxPool2d(3, 2, 1), stage(width, width, 1))
        self.bg_encoder_128 = stage(width, 2 * width, 2)
        self.bg_encoder_256 = stage(2 * width, 4 * width, 2)
        self.bg_encoder_512 = stage(4 * width, 8 * width, 1)

    def forward(self, picture: Tensor) -> Tensor:
        """(B,5,H,W) -> (B,8W,H/16,W/16)."""
        for stage in self.children():
            picture = stage(picture)
        return picture


class ScaleBias(nn.Module):
    """Features of the picture -> one scale and one bias per latent channel (1,475,976 numbers at width 64)."""

    def __init__(self, width: int, channels: int, layers: Layers):
        super().__init__()
        self.conv1 = layers.conv(8 * width, 4 * width, 3)
        self.conv2 = layers.conv(4 * width, 2 * width, 3)
        self.fc = layers.linear(2 * width, 2 * channels)

    def forward(self, features: Tensor) -> Tensor:
        """(B,8W,h,w) -> (B,2*channels,1,1): scales (minus one), then biases."""
        return self.fc(self.conv2(self.conv1(features)).mean((2, 3)))[..., None, None]


class ShadowModule(nn.Module):
    """Mask, scale and bias of eq. 5.

    Args:
        shape: the U-Net's.
        layers: where layers come from.
        channels: latent channels.
    """

    def __init__(self, shape: UNetShape, layers: Layers, channels: int = 4):
        super().__init__()
        width = max(8, shape.model_channels // 5)  # 64 in SD1.5: ResNet-18's own
        self.mask_predictor = MaskPredictor(shape, layers)
        self.scale_encoder = ScaleEncoder(width, layers)
        self.predict_scale_bias = ScaleBias(width, channels, layers)

    def soft_mask(self, features: list[Tensor], picture: Tensor) -> Tensor:
        """The soft shadow mask (R,1,8h,8w) for the twelve decoder outputs and a picture (R,5,H,W)."""
        return self.mask_predictor(features, picture[:, 3:4])

    def scale_bias(self, picture: Tensor) -> tuple[Tensor, Tensor]:
        """(delta, bias) of eq. 5, (R,C,1,1) each. They do not depend on the step: compute them once per picture."""
        return self.predict_scale_bias(self.scale_encoder(picture)).chunk(2, 1)


def initial_state(shapes: Mapping[str, Tensor], generator: torch.Generator) -> dict[str, Tensor]:
    """Weights to start training from: He-normal convolutions, residual branches and the last linear layer at zero.

    Args:
        shapes: a `ShadowModule`'s state, for example on the meta device.
        generator: the only source of randomness.
    """
    state = {}
    for name, like in sorted(shapes.items()):
        if like.ndim == 4:
            transposed = ".deconv" in f".{name}"  # (in,out,k,k); at stride 2 a quarter of the kernel meets each output
            fan = like.shape[0] * {4: 4, 3: 9}[like.shape[2]] if transposed else math.prod(like.shape[1:])
            state[name] = torch.randn(like.shape, generator=generator) * math.sqrt(2 / fan)
        else:
            ones = name.endswith("running_var") or (like.ndim == 1 and name.endswith("weight") and not name.endswith("bn2.weight"))
            state[name] = torch.full(like.shape, 1.0 if ones else 0.0)
    return state


def _resize(x: Tensor, size: tuple[int, int]) -> Tensor:
    size = tuple(size)
    return x if tuple(x.shape[-2:]) == size else interpolate(x, size=size, mode="bilinear", align_corners=True)
