"""Image encoders: the host's CLIP_VISION at a size and a preparation of our choice, and a small one for demonstrations."""

from __future__ import annotations

import json
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import comfy.clip_model
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


NAMES = {
    ("dinov2", 384): "DINOv2 small", ("dinov2", 768): "DINOv2 base", ("dinov2", 1024): "DINOv2 large", ("dinov2", 1536): "DINOv2 giant",
    ("clip_vision_model", 768): "CLIP ViT-B", ("clip_vision_model", 1024): "CLIP ViT-L", ("clip_vision_model", 1280): "CLIP ViT-H",
    ("clip_vision_model", 1664): "CLIP ViT-bigG",
}


def check_encoder(clip_vision, model_type: str, width: int, who: str, others: str = "") -> None:
    """Refuse an image encoder of another kind or width.

    Args:
        clip_vision: what came, possibly None.
        model_type: "dinov2" or "clip_vision_model".
        width: of the hidden states.
        who: who needs it, for the message.
        others: how the message ends.

    Raises:
        ValueError: names both encoders.
    """
    wanted = f"{NAMES.get((model_type, width), model_type)} ({width} wide)"
    if clip_vision is None:
        raise ValueError(f"No image encoder came in, because the host could not read its file, and {who} needs {wanted}; load its released file with Load CLIP Vision{others}.")
    kind = (clip_vision.model_type, vision_width(clip_vision))
    if kind != (model_type, width):
        raise ValueError(f"This image encoder is {NAMES.get(kind, kind[0])} ({kind[1]} wide), and {who} needs {wanted}; load that one with Load CLIP Vision{others}.")


def final_norm(clip_vision, states: Tensor) -> Tensor:
    """A CLIP's last norm on all tokens (the host puts it on the class token only); DINOv2's states have theirs already."""
    network = getattr(clip_vision.model, "vision_model", None)
    if network is None:
        return states
    comfy.model_management.load_model_gpu(clip_vision.patcher)
    return network.post_layernorm(states.to(clip_vision.load_device)).to(states.device, torch.float32)


@contextmanager
def _positions(network, size: int):
    """DINOv2's position embeddings for a square of this size, on hosts before 0.27, which know one size only; the others resize them themselves."""
    embeddings = getattr(network, "embeddings", None)
    kept = getattr(embeddings, "position_embeddings", None)
    if kept is None or hasattr(embeddings, "interpolate_pos_encoding") or kept.shape[1] == (size // 14) ** 2 + 1:
        yield
        return
    side, cells = round((kept.shape[1] - 1) ** 0.5), size // 14
    grid = kept[:, 1:].float().unflatten(1, (side, side)).movedim(-1, 1)
    grid = torch.nn.functional.interpolate(grid, scale_factor=(cells + 0.1) / side, mode="bicubic")  # as DINOv2 does it, 0.1 included
    embeddings.position_embeddings = torch.nn.Parameter(torch.cat((kept[:, :1], grid.movedim(1, -1).flatten(1, 2).to(kept)), 1), requires_grad=False)
    try:
        yield
    finally:
        embeddings.position_embeddings = kept


def encode_vision(clip_vision, image: Tensor, size: int = 224, antialias: bool = True, like_host: bool = False) -> Vision:
    """Look at whole pictures, stretched to a square whatever their aspect ratio (bilinear), normalised as the encoder wants.

    The host's own `encode_image` crops, or uses another size (518 for DINOv2: 1370 tokens); the methods here were trained so.

    Args:
        clip_vision: the host's CLIP_VISION, CLIP or DINOv2.
        image: (B,H,W,3), 0..1.
        size: side of the square in pixels; 224 gives 257 tokens with patches of 14.
        antialias: filter while shrinking. StableVITON's library did not, SIFT-VTON's does.
        like_host: the host's preparation at this size: bicubic with antialias, rounded to 8 bits (Diffuse to Choose).

    Raises:
        ValueError: NaN in the picture or in what the encoder says.
    """
    comfy.model_management.load_model_gpu(clip_vision.patcher)
    pixels = check_finite(image, "The picture")[..., :3].movedim(-1, 1).to(clip_vision.load_device, torch.float32)
    if like_host:
        pixels = comfy.clip_model.clip_preprocess(pixels.movedim(1, -1), size, [0.0] * 3, [1.0] * 3, crop=False)
    if pixels.shape[-2:] != (size, size):
        pixels = torch.nn.functional.interpolate(pixels, size=(size, size), mode="bilinear", antialias=antialias)
    mean, std = (torch.tensor(v, device=pixels.device).view(3, 1, 1) for v in (clip_vision.image_mean, clip_vision.image_std))
    network = getattr(clip_vision.model, "vision_model", clip_vision.model)  # past CLIP's projection
    with _positions(network, size):
        last, penultimate, pooled = network(pixel_values=(pixels.clamp(0, 1) - mean) / std, intermediate_output=-2)[:3]
    kept = comfy.model_management.intermediate_device()
    return Vision(*(check_finite(t, "The image encoder's result").to(kept, torch.float32) for t in (pooled, last, penultimate)))


class ImagePrompt(NamedTuple):
    """What an IP-Adapter reads of a picture.

    Attributes:
        embedding: (B,E) the projected embedding of the whole picture.
        hidden: (B,1+patches,C) tokens of the layer before the last.
    """

    embedding: Tensor
    hidden: Tensor


def image_prompt(clip_vision, image: Tensor | None) -> ImagePrompt:
    """Look at square pictures as IP-Adapters are trained to: the host's own preparation, projection included.

    Args:
        clip_vision: the host's CLIP_VISION.
        image: (B,S,S,3), 0..1; None is IP-Adapter's null, a picture that is zero after normalisation (one row).

    Raises:
        ValueError: an encoder without a projected embedding (DINOv2), or NaN in what it says.
    """
    if clip_vision.model_type != "clip_vision_model":
        raise ValueError(f"This image encoder is {clip_vision.model_type}, and IP-Adapters read CLIP; load CLIP ViT-H with Load CLIP Vision.")
    if image is not None:
        out = clip_vision.encode_image(check_finite(image, "The picture"), crop=False)
        states = out["image_embeds"], out["penultimate_hidden_states"]
    else:
        comfy.model_management.load_model_gpu(clip_vision.patcher)
        pixels = torch.zeros(1, 3, clip_vision.image_size, clip_vision.image_size, device=clip_vision.load_device)
        _, hidden, embedding, *_ = clip_vision.model(pixel_values=pixels, intermediate_output=-2)
        states = embedding, hidden
    kept = comfy.model_management.intermediate_device()
    return ImagePrompt(*(check_finite(t, "The image encoder's result").to(kept, torch.float32) for t in states))


_SMALL = {"hidden_size": 64, "num_attention_heads": 4, "num_hidden_layers": 2, "num_channels": 3, "patch_size": 14}
POSITIONS = "embeddings.position_embeddings"
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
    return random_vision(DEMO_VISION[kind], seed)


def random_vision(config: dict, seed: int):
    """An image encoder (CLIP_VISION) of the host's own class by its configuration, with weights from a seed."""
    with tempfile.TemporaryDirectory() as folder:  # hosts before 0.27 read a file only
        (file := Path(folder, "config.json")).write_text(json.dumps(config), encoding="utf-8")
        encoder = comfy.clip_vision.ClipVisionModel(str(file))
    network = comfy.clip_vision.IMAGE_ENCODERS[config["model_type"]]
    shapes = network(dict(config), torch.float32, "meta", PlainOps).state_dict()
    tokens = (config["image_size"] // config["patch_size"]) ** 2 + 1
    if config["model_type"] == "dinov2" and shapes[POSITIONS].shape[1] != tokens:  # hosts before 0.27 build it for 518 x 518 whatever its configuration says
        shapes[POSITIONS] = shapes[POSITIONS][:, :tokens]
        encoder.model.embeddings.position_embeddings = torch.nn.Parameter(torch.empty(shapes[POSITIONS].shape), requires_grad=False)
    encoder.load_sd(random_state(shapes, seed))
    return encoder
