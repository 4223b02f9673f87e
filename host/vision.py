"""Image encoders (CLIP_VISION): what they see of a picture, and of no picture."""

from __future__ import annotations

from dataclasses import dataclass

import comfy.model_management
import torch
from torch import Tensor


@dataclass(frozen=True)
class Vision:
    """What an image encoder says of pictures.

    Attributes:
        embedding: (B,E) the projected embedding of the whole picture.
        hidden: (B,M,W) hidden states before the last layer, the class token first.
    """

    embedding: Tensor
    hidden: Tensor


def encode_vision(clip_vision, image: Tensor) -> Vision:
    """What an image encoder sees.

    Args:
        clip_vision: the host's CLIP_VISION.
        image: (B,S,S,3), 0..1, square: the host would crop or squash anything else.
    """
    out = clip_vision.encode_image(image, crop=False)
    return Vision(out["image_embeds"], out["penultimate_hidden_states"])


def encode_nothing(clip_vision) -> Vision:
    """What an image encoder says of a picture that is zero after normalisation, IP-Adapter's null (one row)."""
    comfy.model_management.load_models_gpu([clip_vision.patcher])
    pixels = torch.zeros(1, 3, clip_vision.image_size, clip_vision.image_size, device=clip_vision.load_device)
    out = clip_vision.model(pixel_values=pixels, intermediate_output=-2)
    keep = comfy.model_management.intermediate_device()
    return Vision(out[2].to(keep), out[1].to(keep))
