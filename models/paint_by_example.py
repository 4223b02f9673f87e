"""Paint by Example: put the object of one picture into a region of another (Yang et al. 2023, arXiv 2211.13227).

Notation. x: picture, m: mask (1 = keep in the paper). c: the example picture as one token.

    c = Linear(LN(Mapper(CLIP ViT-L's pooled vector)))                                             (section 3.2)
    eps = eps_theta([z_t 4, E(m x) 4, m 1], t, c)

The denoiser is its own 9-channel checkpoint, in the order z, masked, mask (`parts/channels.PAINT_BY_EXAMPLE`); the method here is
the token and its learned null. It is the ladder's first rung in Diffuse to Choose (4.2) and what StableVITON and PM-Jewelry start
from.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .method import FittingMethod, MethodConfig, ReadWeights
from .parts.layers import Layers
from .parts.patches import Patches
from .parts.sites import UNetShape
from .parts.tokens import ImageToken


@dataclass(frozen=True)
class PaintByExampleConfig(MethodConfig):
    """What the module is built with.

    Attributes:
        image_width: width of the image encoder, 1024 for CLIP ViT-L.
        antialias: pictures were shrunk with a filter.
    """

    unet: UNetShape = UNetShape(9)
    image_width: int = 1024
    antialias: bool = True


class PaintByExample(FittingMethod):
    """The example's token."""

    kind = "paint_by_example"
    label = "Paint by Example"
    Config = PaintByExampleConfig

    def __init__(self, config: PaintByExampleConfig, layers: Layers):
        super().__init__(config, layers)
        self.token = ImageToken(config.image_width, config.unet.context_dim, layers)

    def patches(self) -> Patches:
        """Nothing: the token stands where the text does."""
        return Patches()

    @classmethod
    def initial_state(cls, config: PaintByExampleConfig, read: ReadWeights, seed: int) -> dict[str, Tensor]:
        """A random token."""
        generator = torch.Generator().manual_seed(seed)
        return {f"token.{k}": t for k, t in ImageToken.initial(config.image_width, config.unet.context_dim, generator).items()}
