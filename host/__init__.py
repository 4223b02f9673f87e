"""The only package that imports ComfyUI. Everything else of Fitting Room reaches the host through these names."""

from comfy_api.latest import ComfyExtension, io, ui

from .channels import channel_route, with_channels
from .demo import demo_controlnet, demo_lora, demo_stack
from .denoiser import install
from .encode import check_finite, encode_latent, latent_size, with_extras, with_values
from .files import (
    method_files,
    method_path,
    methods_directory,
    output_path,
    progress,
    register_folders,
    source_files,
    source_path,
    stop_if_interrupted,
)
from .models import (
    LoadedMethod,
    build_method,
    build_unet,
    check_fits,
    file_tensors,
    fingerprint,
    layers,
    manage,
    new_method,
    read_weights,
    run_module,
    trainable_unet,
    unet_shape,
)
from .reference import capture
from .vision import demo_vision, encode_vision, vision_width

__all__ = [
    "ComfyExtension", "LoadedMethod", "build_method", "build_unet", "capture", "channel_route", "check_finite", "check_fits",
    "demo_controlnet", "demo_lora", "demo_stack", "demo_vision", "encode_latent", "encode_vision", "file_tensors", "fingerprint",
    "install", "io", "latent_size", "layers", "manage", "method_files", "method_path", "methods_directory", "new_method",
    "output_path", "progress", "read_weights", "register_folders", "run_module", "source_files", "source_path", "stop_if_interrupted",
    "trainable_unet", "ui", "unet_shape", "vision_width", "with_channels", "with_extras", "with_values",
]
