"""Between pictures and tensors: sizes, the VAE's scale, image encoders, conditionings.

The VAE's factor 0.18215 is applied here and nowhere else.
"""

from __future__ import annotations

import comfy.conds
import comfy.latent_formats
import comfy.model_management
import comfy.utils
import torch
from torch import Tensor

from .channels import EXTRA

LATENT = comfy.latent_formats.SD15()


def latent_size(width: int, height: int) -> tuple[int, int]:
    """Check a picture size in pixels and return (height / 8, width / 8).

    Raises:
        ValueError: a side is not a positive multiple of 8.
    """
    if width < 8 or height < 8 or width % 8 or height % 8:
        raise ValueError(f"The size {width} x {height} cannot be encoded; both sides must be multiples of 8, for example {max(width // 8, 1) * 8} x {max(height // 8, 1) * 8}.")
    return height // 8, width // 8


def encode_latent(vae, image: Tensor) -> Tensor:
    """Encode pictures to scaled latents: the posterior's mode times 0.18215.

    Args:
        vae: the host's VAE.
        image: (B,H,W,3), 0..1, sides multiples of 8.

    Returns:
        (B,4,H/8,W/8).

    Raises:
        ValueError: sides that are not multiples of 8, or NaN in the picture or its latent.
    """
    latent_size(image.shape[2], image.shape[1])
    check_finite(image, "The picture")
    latent = LATENT.process_in(vae.encode(image[..., :3]))
    check_finite(latent, "The latent of the picture")
    return latent


def latent_samples(latent: Tensor) -> Tensor:
    """A scaled latent as a LATENT holds it (the host multiplies by 0.18215 itself)."""
    return LATENT.process_out(latent)


def encode_text(clip, text: str) -> list:
    """A prompt as CONDITIONING, by the host's own text encoder (its LoRAs and layer choice included).

    Raises:
        ValueError: no text encoder.
    """
    if clip is None:
        raise ValueError("The text encoder is missing: this checkpoint holds none; load one with a CLIP loader node.")
    return clip.encode_from_tokens_scheduled(clip.tokenize(text))


def check_finite(tensor: Tensor, name: str) -> Tensor:
    """Refuse NaN and infinite numbers.

    Raises:
        ValueError: names the tensor.
    """
    if not torch.isfinite(tensor).all():
        raise ValueError(f"{name} has NaN or infinite numbers; the node before it went wrong (a half-precision VAE often does), fix or replace it.")
    return tensor


def with_extras(conditioning: list, **tensors: Tensor) -> list:
    """A conditioning that carries row-aligned latents-sized tensors (B,C,h,w) to the methods, by name.

    The host repeats them to the batch and narrows them to an area; methods find them in `Call.extras`.
    """
    out = []
    for text, values in conditioning:
        conds = {f"{EXTRA}{k}": comfy.conds.CONDNoiseShape(t) for k, t in tensors.items()}
        out.append([text, {**values, "model_conds": {**values.get("model_conds", {}), **conds}}])
    return out


def with_values(conditioning: list, **values) -> list:
    """A conditioning with more entries in its dictionaries; the given one stays as it was."""
    return [[text, {**old, **values}] for text, old in conditioning]
