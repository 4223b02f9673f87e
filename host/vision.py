"""Image encoders: the host's CLIP_VISION at a size and a preparation of our choice, and a small one for demonstrations."""

from __future__ import annotations

from typing import NamedTuple

import comfy.clip_vision
import comfy.model_management
import torch
from torch import Tensor

from .demo import random_state
from .encode import check_finite
from .models import PlainOps


class Vision(NamedTuple):
    """What an image encoder says of a batch of pictures.

    Attributes:
        pooled: (B,C) the class token after the last norm, before any projection (which the host's own output hides).
        last: (B,1+patches,C) tokens of the last layer; normed for DINOv2, not normed for CLIP, as in the host.
        penultimate: (B,1+patches,C) tokens of the layer before.
    """

    pooled: Tensor
    last: Tensor
    penultimate: Tensor


def vision_width(clip_vision) -> int:
    """Width of an image encoder's tokens: 1024 for ViT-L, 1280 for ViT-H, 1536 for DINOv2 giant."""
    return clip_vision.config["hidden_size"]


def encode_vision(clip_vision, image: Tensor, size: int = 224, antialias: bool = True) -> Vision:
    """Look at whole pictures, stretched to a square whatever their aspect ratio (bilinear), normalised as the encoder wants.

    The host's own preparation crops or uses another size (518 for DINOv2) and filter; the methods here were trained so.

    Args:
        clip_vision: the host's CLIP_VISION, CLIP or DINOv2.
        image: (B,H,W,3), 0..1.
        size: side of the square in pixels; 224 gives 257 tokens with patches of 14.
        antialias: filter while shrinking. StableVITON's library did not, SIFT-VTON's does.

    Raises:
        ValueError: NaN in the picture or in what the encoder says.
    """
    comfy.model_management.load_model_gpu(clip_vision.patcher)
    pixels = check_finite(image, "The picture")[..., :3].movedim(-1, 1).to(clip_vision.load_device, torch.float32)
    if pixels.shape[-2:] != (size, size):
        pixels = torch.nn.functional.interpolate(pixels, size=(size, size), mode="bilinear", antialias=antialias)
    mean, std = (torch.tensor(v, device=pixels.device).view(3, 1, 1) for v in (clip_vision.image_mean, clip_vision.image_std))
    network = getattr(clip_vision.model, "vision_model", clip_vision.model)  # past CLIP's projection
    last, penultimate, pooled = network(pixel_values=(pixels.clamp(0, 1) - mean) / std, intermediate_output=-2)[:3]
    kept = comfy.model_management.intermediate_device()
    return Vision(*(check_finite(t, "The image encoder's result").to(kept, torch.float32) for t in (pooled, last, penultimate)))


_SMALL = {"hidden_size": 64, "num_attention_heads": 4, "num_hidden_layers": 2, "num_channels": 3, "patch_size": 14}
DEMO_VISION = {
    "clip": {
        **_SMALL, "model_type": "clip_vision_model", "hidden_act": "quick_gelu", "intermediate_size": 256, "image_size": 224,
        "projection_dim": 64,
    },
    "dinov2": {
        **_SMALL, "model_type": "dinov2", "image_size": 224, "layer_norm_eps": 1e-6, "use_swiglu_ffn": False, "use_mask_token": True,
        "image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225],
    },
}


def demo_vision(kind: str = "clip", seed: int = 3):
    """A small image encoder of the host's own class with weights from a seed: 64 wide, 257 tokens at 224 x 224.

    Args:
        kind: "clip" (like CLIP ViT-L) or "dinov2".
        seed: of the weights.
    """
    config = DEMO_VISION[kind]
    encoder = comfy.clip_vision.ClipVisionModel(dict(config))
    network = comfy.clip_vision.IMAGE_ENCODERS[config["model_type"]]
    shapes = network(dict(config), torch.float32, "meta", PlainOps).state_dict()
    encoder.load_sd(random_state(shapes, seed))
    return encoder
