"""DepthFM on the host's own U-Net and VAE classes.

Gui et al., "DepthFM: Fast Monocular Depth Estimation with Flow Matching", AAAI 2025. A U-Net of Stable Diffusion 2.1's shape with
8 input channels predicts the velocity that carries the picture's latent to its depth's latent in a few Euler steps:

    z_0 = latent of the picture, noised to `noising_step` of 1000 on a cosine schedule where the file says so
    z_(t + 1/n) = z_t + v([z_t; z_picture], t, c) / n,   t = 0, 1/n, ... in 0..1, c = the empty text's encoding, kept in the file

The decoded z_1 holds log depth in its three channels (`preprocess.depth.from_depthfm`). Latents are SD1.5's, scaled.
"""

from __future__ import annotations

import copy
import math
import os
from dataclasses import dataclass

import comfy.model_detection
import comfy.model_management
import comfy.ops
import numpy as np
import torch
from comfy.ldm.modules.diffusionmodules.openaimodel import UNetModel
from torch import Tensor

from ..models.weights import WeightsError, read_foreign
from .encode import LATENT, check_finite, encode_latent
from .models import manage

FIRST = "input_blocks.0.0.weight"


@dataclass(frozen=True)
class DepthFM:
    """A loaded DepthFM: the U-Net's patcher, the empty text's encoding (1,T,C), and how far the start is noised (of 1000)."""

    patcher: object
    empty_text: Tensor
    noising_step: int


def load_depthfm(path: str) -> DepthFM:
    """Read a DepthFM file: the authors' checkpoint (weights only, no code), or safetensors with the same names.

    Raises:
        WeightsError: a file of something else, or one without the empty text's encoding or the noising step.
    """
    name = os.path.basename(path)
    tensors = _read(path)
    first = next((key for key in tensors if key.endswith(FIRST) and tensors[key].shape[1] == 8), None)
    if first is None:
        raise WeightsError(f"'{name}' holds no DepthFM (a U-Net with 8 input channels); choose another file, or feed a depth picture instead.")
    prefix = first.removesuffix(FIRST)
    state = {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix) and key not in ("empty_text_embedding", "noising_step")}
    missing = [key for key in ("empty_text_embedding", "noising_step") if key not in tensors]
    if missing:
        raise WeightsError(f"'{name}' lacks {' and '.join(missing)}, which DepthFM's own checkpoint carries beside the U-Net; use that file.")
    text = tensors["empty_text_embedding"].float()
    text = text.reshape(1, *text.shape[-2:])
    return DepthFM(manage(_unet(state, name)), text, int(tensors["noising_step"]))


def decode_depth(depthfm: DepthFM, vae, image: Tensor, steps: int = 4, seed: int = 0, progress=None) -> Tensor:
    """What DepthFM decodes for pictures, one after another.

    Args:
        image: (B,H,W,3), 0..1, sides multiples of 8 (64 is what it was trained with).
        steps: Euler steps; 4 in the paper.
        seed: of the start's noise.
        progress: called with (done, total) U-Net calls.

    Returns:
        (B,3,H,W), about -1..1, not clamped.
    """
    management, device = comfy.model_management, depthfm.patcher.load_device
    latents = encode_latent(vae, image)
    unet = depthfm.patcher.model
    management.load_models_gpu([depthfm.patcher], memory_required=latents[0].numel() * 4096)
    dtype = torch.float16 if management.should_use_fp16(device) else torch.float32
    out = []
    for index, latent in enumerate(latents):
        picture = latent[None].to(device, torch.float32)
        state = _noised(picture, depthfm.noising_step, seed + index)
        for step in range(steps):
            time = torch.full((1,), step / steps, device=device)
            both = torch.cat([state, picture], 1).to(dtype)                                                # (1,8,h,w)
            state = state + unet(both, time, context=depthfm.empty_text.to(device, dtype)).float() / steps
            if progress is not None:
                progress(index * steps + step + 1, len(latents) * steps)
        out.append(state)
    return check_finite(_decode_raw(vae, torch.cat(out)), "DepthFM's depth")


def _noised(latent: Tensor, step: int, seed: int) -> Tensor:
    """z at `step` of 1000 on the cosine schedule of the authors' code: alpha = 1 / (1 + (tan(pi t / 2) + 1e-5)^2)."""
    if step <= 0:
        return latent
    alpha = 1 / (1 + (math.tan(math.pi * step / 2000) + 1e-5) ** 2)
    noise = torch.randn(latent.shape, generator=torch.Generator().manual_seed(seed)).to(latent)
    return math.sqrt(alpha) * latent + math.sqrt(1 - alpha) * noise


def _decode_raw(vae, latent: Tensor) -> Tensor:
    """The VAE's output before the host clamps it to a picture: log depth may exceed a picture's range."""
    raw = copy.copy(vae)
    raw.process_output = lambda image: image
    return raw.decode(LATENT.process_out(latent)).movedim(-1, 1).float()


def _unet(state: dict[str, Tensor], name: str) -> UNetModel:
    """The host's U-Net class in the file's shape, with the file's weights."""
    config = comfy.model_detection.detect_unet_config(state, "")
    # as all U-Nets of Stable Diffusion 2: heads are 64 wide (narrow test files have narrower ones)
    heads = min(64, config["model_channels"])
    config |= {"num_heads": -1, "num_head_channels": heads, "image_size": 32, "use_spatial_transformer": True, "legacy": False, "use_checkpoint": False}
    config |= {"attn_precision": torch.float32, "dtype": next(iter(state.values())).dtype}
    unet = UNetModel(**config, operations=comfy.ops.manual_cast, device=comfy.model_management.unet_offload_device())
    result = unet.load_state_dict(state, strict=False, assign=True)
    if result.missing_keys or result.unexpected_keys:
        raise WeightsError(
            f"'{name}' does not hold a whole DepthFM: {len(result.missing_keys)} keys missing {result.missing_keys[:3]}, "
            f"{len(result.unexpected_keys)} unexpected {result.unexpected_keys[:3]}; fetch the file again."
        )
    return unet.eval().requires_grad_(False)


def _read(path: str) -> dict[str, Tensor]:
    """The file's tensors under its own names; numbers and numpy arrays beside the weights become tensors."""
    with open(path, "rb") as stream:
        start = stream.read(2)
    if start != b"PK":
        return read_foreign(path)
    # the authors' checkpoint keeps the text's encoding as a numpy array, which torch does not count among plain weights
    rebuild = np.zeros(0).__reduce__()[0]
    names = [f"numpy.{core}.multiarray._reconstruct" for core in ("core", "_core")]  # numpy 1 and 2 write different ones
    kinds = [type(np.dtype(kind)) for kind in (np.float16, np.float32, np.float64)]
    try:
        with torch.serialization.safe_globals([*((rebuild, name) for name in names), np.ndarray, np.dtype, *kinds]):
            content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except Exception as error:
        raise WeightsError(
            f"'{os.path.basename(path)}' is a pickle that does not load as plain weights ({str(error).splitlines()[0][:160]}); "
            "it may be truncated or may want to run code, so it is refused."
        ) from error
    if not isinstance(content, dict):
        return {}
    beside = {key: torch.as_tensor(content[key]) for key in ("empty_text_embedding", "noising_step") if key in content}
    state = content.get("state_dict", content)
    return {key: value for key, value in state.items() if isinstance(value, Tensor)} | beside
