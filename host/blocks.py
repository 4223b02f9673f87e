"""The host's own U-Net blocks, for methods that hold copies of parts of the U-Net.

Built with the layer classes of a `Layers` value: the host's casting layers at inference, torch.nn's in training.
"""

from __future__ import annotations

from comfy.ldm.modules.attention import SpatialTransformer
from comfy.ldm.modules.diffusionmodules.openaimodel import UNetModel

from ..models.parts.layers import Layers
from ..models.parts.sites import UNetShape


def unet(shape: UNetShape, layers: Layers) -> UNetModel:
    """A whole SD1.5-shaped U-Net of the host's own class."""
    from .models import unet_config

    config = {k: v for k, v in unet_config(shape).items() if k not in ("use_temporal_resblock", "use_temporal_attention", "adm_in_channels")}
    config |= {"num_res_blocks": 2, "dtype": layers.dtype}
    return UNetModel(**config, device=layers.device, operations=layers.ops)


def spatial_transformer(channels: int, heads: int, context_dim: int, layers: Layers) -> SpatialTransformer:
    """One transformer block of SD1.5 with its norm and its 1x1 convolutions in and out."""
    return SpatialTransformer(
        channels, heads, channels // heads, depth=1, context_dim=context_dim, use_linear=False, use_checkpoint=False,
        dtype=layers.dtype, device=layers.device, operations=layers.ops,
    )
