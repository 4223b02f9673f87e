"""VGG-16 and VGG-19 (Simonyan and Zisserman 2015) without their classifiers: feature maps for perceptual losses.

Weights are the user's: torchvision's files for ImageNet (`vgg16-397923af.pth`, `vgg19-dcbb9e9d.pth`), or the same as safetensors.
Pictures come in 0..1 and are normalised here as those weights expect.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from .layers import Layers

CONVOLUTIONS = {16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}
"""Depth of the network -> 3x3 convolutions per block."""

WIDTHS = (64, 128, 256, 512, 512)
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def names(depth: int) -> tuple[str, ...]:
    """Its ReLUs in order: relu1_1, relu1_2, relu2_1 ..."""
    return tuple(f"relu{block}_{i}" for block, count in enumerate(CONVOLUTIONS[depth], 1) for i in range(1, count + 1))


class Hanning(nn.Module):
    """L2 pooling (Henaff and Simoncelli 2015): sqrt(g * x^2), g a 3x3 Hanning window, stride 2. In place of the maximum in DISTS."""

    def forward(self, x: Tensor) -> Tensor:
        """(B,C,h,w) -> (B,C,h/2,w/2), rounded up."""
        window = torch.tensor([0.25, 0.5, 0.25], device=x.device, dtype=x.dtype)
        kernel = torch.outer(window, window).expand(x.shape[1], 1, 3, 3)
        return (nn.functional.conv2d(x * x, kernel, stride=2, padding=1, groups=x.shape[1]) + 1e-12).sqrt()


class Vgg(nn.Module):
    """The convolutions of VGG-16 or VGG-19. Keys `features.{i}.weight`, `.bias`, numbered as torchvision does.

    Args:
        depth: 16 or 19.
        layers: where layers come from.
        pool: "max", or "l2" as DISTS wants it.
        last: the last ReLU that will be asked for; the rest is not built.
    """

    def __init__(self, depth: int, layers: Layers, pool: str = "max", last: str = ""):
        super().__init__()
        self.depth = depth
        self.places: dict[str, int] = {}
        modules, inputs = [], 3
        for block, (count, width) in enumerate(zip(CONVOLUTIONS[depth], WIDTHS), 1):
            for number in range(1, count + 1):
                self.places[f"relu{block}_{number}"] = len(modules) + 1
                modules += [layers.conv(inputs, width, 3), nn.ReLU()]
                inputs = width
            modules.append(nn.MaxPool2d(2) if pool == "max" else Hanning())
        end = self.places[last] + 1 if last else len(modules)
        self.features = nn.ModuleList(modules[:end])

    def forward(self, pictures: Tensor, wanted: Sequence[str]) -> list[Tensor]:
        """Feature maps after the wanted ReLUs.

        Args:
            pictures: (B,3,H,W), 0..1 (not clamped).
            wanted: such as ("relu1_2", "relu2_2"), in the order of the network. Each stretch between two of them is computed
                again in the backward pass, so that only these maps are kept.
        """
        mean, std = (torch.tensor(v, device=pictures.device, dtype=pictures.dtype)[:, None, None] for v in (MEAN, STD))
        x, start, out = (pictures - mean) / std, 0, []
        for name in wanted:
            stretch = self.features[start : self.places[name] + 1]
            x = checkpoint(_run, stretch, x, use_reentrant=False) if x.requires_grad else _run(stretch, x)
            start = self.places[name] + 1
            out.append(x)
        return out

    def take(self, state: Mapping[str, Tensor], name: str) -> Vgg:
        """Load a file's weights and freeze them; keys may lack `features.`; the classifier's are passed over.

        Raises:
            ValueError: the file is no VGG of this depth.
        """
        own = {}
        for key, like in self.state_dict().items():
            found = state.get(key, state.get(key.removeprefix("features.")))
            if found is None or found.shape != like.shape:
                came = "lacks it" if found is None else f"has it with the shape {tuple(found.shape)}"
                raise ValueError(
                    f"'{name}' is not VGG-{self.depth} as torchvision saves it: {key} {tuple(like.shape)} was expected and the file {came}; "
                    f"give torchvision's VGG-{self.depth} weights for ImageNet."
                )
            own[key] = found.float()
        self.load_state_dict(own)
        return self.eval().requires_grad_(False)


def _run(modules: nn.ModuleList, x: Tensor) -> Tensor:
    for module in modules:
        x = module(x)
    return x
