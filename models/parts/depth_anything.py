"""Depth Anything V2 (Yang et al. 2024), relative: a picture to inverse depth, near = large, with gradient.

DINOv2's vision transformer (patches of 14 pixels) and DPT's decoder (Ranftl et al. 2021). The size is read from the file:
small, base or large (`depth_anything_v2_vits.pth`, `..._vitb.pth`, `..._vitl.pth`; the small one is Apache-2.0).

    tokens after four blocks -> four maps at strides 4, 8, 16, 32 of the patch grid -> fused from coarse to fine -> depth
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, interpolate, relu
from torch.utils.checkpoint import checkpoint

from .attention import attend
from .layers import Layers
from .vgg import MEAN, STD

PATCH = 14
HEAD_WIDTH = 64


@dataclass(frozen=True)
class DepthShape:
    """Of one size of the network.

    Attributes:
        width, blocks: of the transformer. taps: blocks whose tokens are read. features: decoder's width. outs: width per map.
        grid: side of the square grid of positions.
    """

    width: int
    blocks: int
    taps: tuple[int, int, int, int]
    features: int
    outs: tuple[int, int, int, int]
    grid: int = 37

    @classmethod
    def of(cls, state: Mapping[str, Tensor]) -> DepthShape:
        """Read from a file's tensors."""
        width = state["pretrained.cls_token"].shape[-1]
        blocks = 1 + max(int(k.split(".")[2]) for k in state if k.startswith("pretrained.blocks."))
        taps = (4, 11, 17, 23) if blocks == 24 else tuple(blocks * i // 4 - 1 for i in (1, 2, 3, 4))
        outs = tuple(state[f"depth_head.projects.{i}.weight"].shape[0] for i in range(4))
        features = state["depth_head.scratch.layer1_rn.weight"].shape[0]
        return cls(width, blocks, taps, features, outs, round((state["pretrained.pos_embed"].shape[1] - 1) ** 0.5))


class Scale(nn.Module):
    """x * gamma, per channel."""

    def __init__(self, width: int, layers: Layers):
        super().__init__()
        self.gamma = layers.parameter(width)

    def forward(self, x: Tensor) -> Tensor:
        """(B,N,width) -> the same."""
        return x * self.gamma


class Block(nn.Module):
    """One block of the vision transformer."""

    def __init__(self, width: int, layers: Layers):
        super().__init__()
        self.heads = max(1, width // HEAD_WIDTH)
        self.norm1, self.norm2 = (layers.layer_norm(width, 1e-6) for _ in range(2))
        self.attn = nn.ModuleDict({"qkv": layers.linear(width, 3 * width), "proj": layers.linear(width, width)})
        self.mlp = nn.ModuleDict({"fc1": layers.linear(width, 4 * width), "fc2": layers.linear(4 * width, width)})
        self.ls1, self.ls2 = Scale(width, layers), Scale(width, layers)

    def forward(self, x: Tensor) -> Tensor:
        """(B,N,width) -> the same."""
        q, k, v = self.attn["qkv"](self.norm1(x)).chunk(3, -1)
        x = x + self.ls1(self.attn["proj"](attend(q, k, v, self.heads)))
        return x + self.ls2(self.mlp["fc2"](gelu(self.mlp["fc1"](self.norm2(x)))))


class Transformer(nn.Module):
    """DINOv2 without its class head: tokens of four depths."""

    def __init__(self, shape: DepthShape, layers: Layers):
        super().__init__()
        self.taps, width = shape.taps, shape.width
        self.cls_token = layers.parameter(1, 1, width)
        self.pos_embed = layers.parameter(1, 1 + shape.grid**2, width)
        self.patch_embed = nn.ModuleDict({"proj": layers.ops.Conv2d(3, width, PATCH, stride=PATCH, dtype=layers.dtype, device=layers.device)})
        self.blocks = nn.ModuleList(Block(width, layers) for _ in range(shape.blocks))
        self.norm = layers.layer_norm(width, 1e-6)

    def positions(self, rows: int, columns: int) -> Tensor:
        """Positions of a grid (1,1+rows*columns,width), stretched from the square one; the odd 0.1 is DINOv2's own."""
        side = round((self.pos_embed.shape[1] - 1) ** 0.5)
        if (rows, columns) == (side, side):
            return self.pos_embed
        grid = self.pos_embed[:, 1:].unflatten(1, (side, side)).permute(0, 3, 1, 2)
        grid = interpolate(grid, scale_factor=((rows + 0.1) / side, (columns + 0.1) / side), mode="bicubic")
        return torch.cat((self.pos_embed[:, :1], grid.flatten(2).transpose(1, 2)), 1)

    def forward(self, pictures: Tensor) -> list[Tensor]:
        """(B,3,14r,14c), normalised -> four maps (B,width,r,c)."""
        rows, columns = (side // PATCH for side in pictures.shape[-2:])
        x = self.patch_embed["proj"](pictures).flatten(2).transpose(1, 2)
        x = torch.cat((self.cls_token.expand(x.shape[0], -1, -1), x), 1) + self.positions(rows, columns)
        out = []
        for number, block in enumerate(self.blocks):
            x = checkpoint(block, x, use_reentrant=False) if x.requires_grad else block(x)
            if number in self.taps:
                out.append(self.norm(x)[:, 1:].transpose(1, 2).unflatten(2, (rows, columns)))
        return out


class Residual(nn.Module):
    """x + conv(relu(conv(relu(x))))."""

    def __init__(self, width: int, layers: Layers):
        super().__init__()
        self.conv1, self.conv2 = (layers.conv(width, width, 3) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        """(B,width,h,w) -> the same."""
        return x + self.conv2(relu(self.conv1(relu(x))))


class Fusion(nn.Module):
    """Adds a finer map to a coarser one and enlarges the sum."""

    def __init__(self, width: int, layers: Layers):
        super().__init__()
        self.resConfUnit1, self.resConfUnit2 = Residual(width, layers), Residual(width, layers)
        self.out_conv = layers.conv(width, width, 1)

    def forward(self, x: Tensor, finer: Tensor | None, size: tuple[int, int]) -> Tensor:
        """(B,width,h,w) -> (B,width,*size)."""
        x = x if finer is None else x + self.resConfUnit1(finer)
        return self.out_conv(interpolate(self.resConfUnit2(x), size=size, mode="bilinear", align_corners=True))


class Decoder(nn.Module):
    """DPT's decoder; keys as in the published files."""

    def __init__(self, shape: DepthShape, layers: Layers):
        super().__init__()
        outs, width = shape.outs, shape.features
        transposed = lambda channels, k: layers.ops.ConvTranspose2d(channels, channels, k, stride=k, dtype=layers.dtype, device=layers.device)  # noqa: E731
        self.projects = nn.ModuleList(layers.conv(shape.width, out, 1) for out in outs)
        self.resize_layers = nn.ModuleList([transposed(outs[0], 4), transposed(outs[1], 2), nn.Identity(), layers.conv(outs[3], outs[3], 3, stride=2)])
        scratch = {f"layer{i}_rn": layers.conv(out, width, 3, bias=False) for i, out in enumerate(outs, 1)}
        scratch |= {f"refinenet{i}": Fusion(width, layers) for i in (1, 2, 3, 4)}
        scratch["output_conv1"] = layers.conv(width, width // 2, 3)
        scratch["output_conv2"] = nn.Sequential(layers.conv(width // 2, 32, 3), nn.ReLU(), layers.conv(32, 1, 1), nn.ReLU())
        self.scratch = nn.ModuleDict(scratch)

    def forward(self, maps: list[Tensor], size: tuple[int, int]) -> Tensor:
        """Four maps (B,width,r,c) -> (B,1,*size)."""
        maps = [resize(project(m)) for m, project, resize in zip(maps, self.projects, self.resize_layers)]
        maps = [self.scratch[f"layer{i}_rn"](m) for i, m in enumerate(maps, 1)]
        x, sizes = None, [tuple(m.shape[-2:]) for m in maps]
        sizes = [tuple(2 * side for side in sizes[0]), *sizes[:3]]
        for i in (4, 3, 2, 1):
            x = self.scratch[f"refinenet{i}"](maps[i - 1] if x is None else x, None if x is None else maps[i - 1], sizes[i - 1])
        x = interpolate(self.scratch["output_conv1"](x), size=size, mode="bilinear", align_corners=True)
        return self.scratch["output_conv2"](x)


class DepthAnything(nn.Module):
    """A picture to inverse depth. Keys: `pretrained.`, `depth_head.`."""

    def __init__(self, shape: DepthShape, layers: Layers):
        super().__init__()
        self.pretrained, self.depth_head = Transformer(shape, layers), Decoder(shape, layers)

    def forward(self, pictures: Tensor) -> Tensor:
        """(B,3,H,W), 0..1 -> (B,1,h,w), the nearest multiples of 14; any unit, near = large."""
        size = tuple(max(PATCH, round(side / PATCH) * PATCH) for side in pictures.shape[-2:])
        x = interpolate(pictures, size=size, mode="bicubic", align_corners=False) if size != tuple(pictures.shape[-2:]) else pictures
        mean, std = (torch.tensor(v, device=x.device, dtype=x.dtype)[:, None, None] for v in (MEAN, STD))
        return self.depth_head(self.pretrained((x - mean) / std), size)

    @classmethod
    def from_state(cls, state: Mapping[str, Tensor], name: str, layers: Layers | None = None) -> DepthAnything:
        """The network of a file, frozen.

        Raises:
            ValueError: the file is no Depth Anything V2.
        """
        state = {k: t.float() for k, t in state.items() if k != "pretrained.mask_token"}
        try:
            network = cls(DepthShape.of(state), layers or Layers())
            network.load_state_dict(state)
        except (KeyError, IndexError, ValueError, RuntimeError) as error:
            raise ValueError(
                f"'{name}' is no Depth Anything V2 ({str(error).strip().splitlines()[0][:120]}); give depth_anything_v2_vits.pth, "
                "or its base or large sister (the relative ones, not the metric)."
            ) from None
        return network.eval().requires_grad_(False)
