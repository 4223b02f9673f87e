"""Models from files, for programs that run without a workflow."""

from __future__ import annotations

import os

import comfy.clip_vision
import comfy.sd
import comfy.utils
import folder_paths


def load_models(checkpoint: str, vae: str = "", clip_vision: str = ""):
    """(MODEL, VAE, CLIP, CLIP_VISION or None) from files: paths, or names in the host's model folders.

    Raises:
        ValueError: a file that is not there.
    """
    made = comfy.sd.load_checkpoint_guess_config(_model_file("checkpoints", checkpoint), output_vae=True, output_clip=True)
    model, clip, own = made[:3]
    if vae:
        own = comfy.sd.VAE(sd=comfy.utils.load_torch_file(_model_file("vae", vae)))
    return model, own, clip, load_vision(clip_vision) if clip_vision else None


def load_vision(name: str):
    """A CLIP_VISION from a path, or a name in models/clip_vision.

    Raises:
        ValueError: a file that is not there, or that the host cannot read as an image encoder.
    """
    vision = comfy.clip_vision.load(_model_file("clip_vision", name))
    if vision is None:
        raise ValueError(f"The file '{name}' holds no image encoder that this ComfyUI knows; give a CLIP vision or DINOv2 file.")
    return vision


def _model_file(folder: str, name: str) -> str:
    path = name if os.path.isfile(name) else folder_paths.get_full_path(folder, name)
    if path is None:
        raise ValueError(f"The file '{name}' is neither a path nor in models/{folder}; correct the name, or put it there.")
    return path
