"""Inpainting: the masked picture and the mask on a conditioning, in the order and polarity that the U-Net was trained with."""

from __future__ import annotations

import comfy.model_patcher
import torch
import torch.nn.functional as F
from torch import Tensor

from ..models.parts.channels import MASKED_EXTRA, PAINT_BY_EXAMPLE
from ..models.parts.sites import UNetShape
from .channels import with_channels
from .encode import LATENT, check_finite, latent_size, with_extras, with_values
from .models import build_unet, read_weights, unet_shape

LAYOUTS = ("inpainting", "paint_by_example")
"""inpainting: [z 4, mask 1 (1 = repaint), masked 4], the host's own. paint_by_example: [z 4, masked 4, keep 1 (1 = keep)]."""


def inpaint_conditioning(positive: list, negative: list, vae, image: Tensor, mask: Tensor, layout: str = "inpainting", noise_mask: bool = True):
    """Conditionings that carry the masked picture and the mask, and the latent to start from.

    The masked picture is grey (0 in the VAE's -1..1) where it is repainted. It also travels as the extra "masked", scaled, for
    methods on a U-Net whose input lacks it.

    Args:
        positive, negative: conditionings; both get the same.
        vae: of SD1.5.
        image: (B,H,W,3), 0..1, sides multiples of 8.
        mask: (B,1,H,W), 1 = repaint, threshold 0.5.
        layout: one of `LAYOUTS`.
        noise_mask: also tell the sampler to leave the rest of the latent alone.

    Returns:
        positive, negative, LATENT.

    Raises:
        ValueError: sides that are not multiples of 8, NaN, or an unknown layout.
    """
    height, width = latent_size(image.shape[2], image.shape[1])
    if layout not in LAYOUTS:
        raise ValueError(f"The layout {layout!r} is not known; choose one of {', '.join(LAYOUTS)}.")
    repaint = (mask > 0.5).to(image.dtype)
    grey = torch.where(repaint.movedim(1, -1) > 0, 0.5, check_finite(image, "The picture")[..., :3])
    raw = check_finite(vae.encode(grey), "The latent of the masked picture")
    scaled = LATENT.process_in(raw)
    if layout == "inpainting":
        values = {"concat_latent_image": raw, "concat_mask": repaint}
    else:  # the released code resizes the mask bilinearly and does not round it
        small = F.interpolate(repaint, (height, width), mode="bilinear")
        stack = PAINT_BY_EXAMPLE.stack(masked=scaled, mask=small)
        positive, negative, values = with_channels(positive, PAINT_BY_EXAMPLE, stack), with_channels(negative, PAINT_BY_EXAMPLE, stack), {}
    latent = {"samples": check_finite(vae.encode(image[..., :3]), "The latent of the picture")}
    if noise_mask:
        latent["noise_mask"] = repaint
    return *(with_values(with_extras(c, **{MASKED_EXTRA: scaled}), **values) for c in (positive, negative)), latent


def widen(model, in_channels: int = 9):
    """A MODEL whose U-Net takes more input channels; the new columns of its first convolution are zero, so that it answers as before.

    Raises:
        ValueError: not an SD1.5 U-Net, or one that has as many channels already.
    """
    shape = unet_shape(model)
    if shape.in_channels >= in_channels:
        raise ValueError(f"The MODEL has {shape.in_channels} input channels already, and {in_channels} were asked for; use it as it is.")
    names = list(model.model.diffusion_model.state_dict())
    state = read_weights(model, names)
    first = state["input_blocks.0.0.weight"]
    state["input_blocks.0.0.weight"] = torch.cat((first, first.new_zeros(first.shape[0], in_channels - first.shape[1], 3, 3)), 1)
    dtype = model.model.get_dtype()
    wider = build_unet(UNetShape(in_channels, shape.model_channels, shape.context_dim, shape.heads), {k: t.to(dtype) for k, t in state.items()}, "the widened MODEL")
    wider.patches = {k: list(p) for k, p in model.patches.items()}
    wider.patches_uuid = model.patches_uuid
    wider.model_options = comfy.model_patcher.create_model_options_clone(model.model_options)
    return wider
