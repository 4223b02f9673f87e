"""The networks of the shadow module, with SGDiffusion's layout and key names (`parts/shadow.py` says what they are for).

    mask_predictor        all twelve decoder outputs + object mask -> soft shadow mask
    scale_encoder         a ResNet-18 on [rgb, object mask, mask of shadows already there] -> 8W channels at 1/16
    predict_scale_bias    convolutions, average, linear -> one scale and one bias per latent channel

Widths follow `model_channels`: 13 * 320 + 1 = 4161 channels into `conv_combined`, W = 64 in SD1.5.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, relu

from .layers import Layers
from .sites import UNetShape

PICTURE_CHANNELS = 5
"""red, green, blue (0..1), object mask, mask of the shadows already in the picture."""


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
        parts = [resize(conv(f), size) for conv, f in zip(convs, features)]
        x = torch.cat([*parts, *features[len(convs):], resize(mask.to(features[-1]), size)], 1)  # (R,13C+1,h,w)
        for layer in (self.conv_combined, self.deconv1, self.deconv2, self.deconv3):
            x = relu(layer(x))
        return self.deconv4(x)  # (R,1,8h,8w)

    def forward(self, features: list[Tensor], mask: Tensor) -> Tensor:
        """As `logits`, between 0 and 1: the soft mask."""
        return self.logits(features, mask).sigmoid()


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions around a shortcut."""

    def __init__(self, inputs: int, outputs: int, stride: int, layers: Layers):
        super().__init__()
        self.conv1 = layers.conv(inputs, outputs, 3, stride)
        self.conv2 = layers.conv(outputs, outputs, 3)
        self.downsample = layers.conv(inputs, outputs, 1, stride) if stride != 1 or inputs != outputs else None

    def forward(self, x: Tensor) -> Tensor:
        """(B,inputs,h,w) -> (B,outputs,h/stride,w/stride)."""
        shortcut = x if self.downsample is None else self.downsample(x)
        return relu(shortcut + self.conv2(relu(self.conv1(x))))


class ScaleEncoder(nn.Module):
    """ResNet-18 on five channels; its last stage keeps the resolution. (B,5,H,W) -> (B,8W,H/16,W/16), W = 64 in SD1.5.

    Batch normalisation is folded into the convolutions, which is exact for its stored statistics (`fold_norms`).
    """

    def __init__(self, width: int, layers: Layers):
        super().__init__()

        def stage(inputs: int, outputs: int, stride: int) -> nn.Sequential:
            return nn.Sequential(ResidualBlock(inputs, outputs, stride, layers), ResidualBlock(outputs, outputs, 1, layers))

        self.bg_encoder_64 = nn.Sequential(layers.conv(PICTURE_CHANNELS, width, 7, 2), nn.ReLU())
        self.bg_encoder_64_2 = nn.Sequential(nn.MaxPool2d(3, 2, 1), stage(width, width, 1))
        self.bg_encoder_128 = stage(width, 2 * width, 2)
        self.bg_encoder_256 = stage(2 * width, 4 * width, 2)
        self.bg_encoder_512 = stage(4 * width, 8 * width, 1)

    def forward(self, picture: Tensor) -> Tensor:
        """(B,5,H,W) -> (B,8W,H/16,W/16)."""
        for stage in self.children():
            picture = stage(picture)
        return picture


def fold_norms(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """SGDiffusion's `scale_encoder` with its batch normalisations folded into the convolutions before them.

    w' = w * g / sqrt(v + 1e-5), b' = beta - m * g / sqrt(v + 1e-5), with scale g, shift beta, stored mean m and variance v.

    Args:
        state: keys such as `bg_encoder_64.0.weight` (convolution) and `bg_encoder_64.1.running_mean` (its norm).

    Returns:
        the keys of `ScaleEncoder`.
    """
    norms = [k.removesuffix(".running_mean") for k in state if k.endswith(".running_mean")]
    out = {}
    for norm in norms:
        head, last = norm.rsplit(".", 1)
        conv = f"{head}.{last.replace('bn', 'conv')}" if last.startswith("bn") else f"{head}.0"
        scale = state[f"{norm}.weight"] * (state[f"{norm}.running_var"] + 1e-5).rsqrt()
        name = head if last == "1" and head.endswith("downsample") else conv
        out[f"{name}.weight"] = state[f"{conv}.weight"] * scale[:, None, None, None]
        out[f"{name}.bias"] = state[f"{norm}.bias"] - state[f"{norm}.running_mean"] * scale
    return out


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

    def mask_logits(self, features: list[Tensor], picture: Tensor) -> Tensor:
        """The shadow mask before the sigmoid (R,1,8h,8w) for the twelve decoder outputs and a picture (R,5,H,W)."""
        return self.mask_predictor.logits(features, picture[:, 3:4])

    def soft_mask(self, features: list[Tensor], picture: Tensor) -> Tensor:
        """As `mask_logits`, between 0 and 1."""
        return self.mask_logits(features, picture).sigmoid()

    def scale_bias(self, picture: Tensor) -> tuple[Tensor, Tensor]:
        """(delta, bias) of eq. 5, (R,C,1,1) each. They do not depend on the step: compute them once per picture."""
        return self.predict_scale_bias(self.scale_encoder(picture)).chunk(2, 1)


def initial_state(shapes: Mapping[str, Tensor], generator: torch.Generator) -> dict[str, Tensor]:
    """Weights to start training from: He-normal convolutions; biases, residual branches and the last linear layer at zero.

    The mask's last layer is a hundred times smaller, so that the soft mask starts near 0.5 and not saturated.

    Args:
        shapes: a `ShadowModule`'s state, for example on the meta device.
        generator: the only source of randomness.
    """
    state = {}
    for name, like in sorted(shapes.items()):
        branch_end = name.startswith("scale_encoder.") and name.endswith(".conv2.weight")
        if like.ndim != 4 or branch_end:
            state[name] = torch.zeros(like.shape)
            continue
        transposed = ".deconv" in f".{name}"  # (in,out,k,k); at stride 2 a quarter of the kernel meets each output
        fan = like.shape[0] * {4: 4, 3: 9}[like.shape[2]] if transposed else math.prod(like.shape[1:])
        scale = 0.01 if name.endswith("deconv4.weight") else 1.0
        state[name] = torch.randn(like.shape, generator=generator) * (scale * math.sqrt(2 / fan))
    return state


def resize(x: Tensor, size: tuple[int, int]) -> Tensor:
    """Bilinear with corners aligned, (B,C,h,w) -> (B,C,*size)."""
    size = tuple(size)
    return x if tuple(x.shape[-2:]) == size else interpolate(x, size=size, mode="bilinear", align_corners=True)
