"""Image encoders: the host's CLIP_VISION as hidden states at a chosen picture size.

The host's own `encode_image` prepares pictures at the size of the encoder's file, which is 518 for DINOv2 and gives 1370 tokens
where methods were made with 257. So pictures are prepared here, with the encoder's own statistics, and the shared object is not
changed.
"""

from __future__ import annotations

import comfy.clip_model
import comfy.clip_vision
import comfy.model_management
import torch
from torch import Tensor

from .demo import random_state
from .models import PlainOps

NAMES = {
    ("dinov2", 384): "DINOv2 small", ("dinov2", 768): "DINOv2 base", ("dinov2", 1024): "DINOv2 large", ("dinov2", 1536): "DINOv2 giant",
    ("clip_vision_model", 768): "CLIP ViT-B", ("clip_vision_model", 1024): "CLIP ViT-L", ("clip_vision_model", 1280): "CLIP ViT-H",
    ("clip_vision_model", 1664): "CLIP ViT-bigG",
}
DEMO_ENCODERS = {"DINOv2 giant": ("dinov2", 1536), "DINOv2 large": ("dinov2", 1024), "CLIP ViT-L": ("clip_vision_model", 1024), "CLIP ViT-H": ("clip_vision_model", 1280)}


def encoder_kind(clip_vision) -> tuple[str, int]:
    """(model type, width of the hidden states) of an image encoder: ("dinov2", 1536), ("clip_vision_model", 1024)."""
    return clip_vision.model_type, int(clip_vision.config.get("hidden_size", 0))


def check_encoder(clip_vision, model_type: str, width: int, who: str, others: str = "") -> None:
    """Refuse an image encoder of another kind or width.

    Args:
        clip_vision: what came, possibly None.
        model_type, width: what is needed.
        who: who needs it, for the message.
        others: a sentence to end the message with.

    Raises:
        ValueError: names both encoders.
    """
    wanted = f"{NAMES.get((model_type, width), model_type)} ({width} wide)"
    if clip_vision is None:
        raise ValueError(f"No image encoder came in: the host could not read the file. {who} needs {wanted}; load its released file with Load CLIP Vision.{others}")
    kind = encoder_kind(clip_vision)
    if kind != (model_type, width):
        raise ValueError(f"This image encoder is {NAMES.get(kind, kind[0])} ({kind[1]} wide), and {who} needs {wanted}; load that one with Load CLIP Vision.{others}")


def hidden_states(clip_vision, image: Tensor, size: int = 224, crop: bool = False, normalise: bool = False) -> Tensor:
    """The last hidden states of an image encoder: class token first, then the patches.

    Args:
        clip_vision: the host's CLIP_VISION, DINOv2 or CLIP.
        image: (B,H,W,3), 0..1; the picture is resized to size x size (bicubic, antialias).
        size: 224 gives 257 tokens with patches of 14 pixels.
        crop: keep the proportions and cut the longer side, instead of stretching.
        normalise: put a CLIP's final normalisation on all tokens (DINOv2's states have theirs already).

    Returns:
        (B,1 + patches,width), float32, where the host keeps results between nodes.
    """
    management = comfy.model_management
    management.load_model_gpu(clip_vision.patcher)
    pixels = image[..., :3].to(clip_vision.load_device)
    pixels = comfy.clip_model.clip_preprocess(pixels, size=size, mean=clip_vision.image_mean, std=clip_vision.image_std, crop=crop).float()
    states = clip_vision.model(pixel_values=pixels, intermediate_output=-2)[0]
    if normalise and clip_vision.model_type == "clip_vision_model":
        states = clip_vision.model.vision_model.post_layernorm(states)
    return states.float().to(management.intermediate_device())


def demo_vision(encoder: str = "DINOv2 giant", seed: int = 5):
    """An image encoder of the real width with one layer and weights from a seed, for workflows on the demo model.

    Raises:
        ValueError: an unknown name.
    """
    if encoder not in DEMO_ENCODERS:
        raise ValueError(f"There is no demo image encoder {encoder!r}; choose one of {', '.join(DEMO_ENCODERS)}.")
    model_type, width = DEMO_ENCODERS[encoder]
    config = {
        "model_type": model_type, "hidden_size": width, "num_hidden_layers": 1, "num_attention_heads": width // 64, "patch_size": 14,
        "num_channels": 3, "layer_norm_eps": 1e-5, "hidden_act": "gelu", "projection_dim": 768, "intermediate_size": width,
        "use_swiglu_ffn": encoder == "DINOv2 giant", "image_size": 518 if model_type == "dinov2" else 224,
    }
    if model_type == "dinov2":
        config |= {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}
    vision = comfy.clip_vision.ClipVisionModel(config)
    meta = comfy.clip_vision.IMAGE_ENCODERS[model_type](config, torch.float32, "meta", PlainOps)
    vision.load_sd(random_state(meta.state_dict(), seed))
    return vision


__all__ = ["DEMO_ENCODERS", "check_encoder", "demo_vision", "encoder_kind", "hidden_states"]
