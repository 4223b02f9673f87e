"""The only package that imports ComfyUI. Everything else of Fitting Room reaches the host through these names."""

from comfy_api.latest import ComfyExtension, io, ui

from .channels import channel_route, with_channels
from .demo import demo_controlnet, demo_lora, demo_stack
from .denoiser import install
from .encode import check_finite, encode_latent, encode_text, latent_size, raw_latent, with_extras, with_values
from .evaluate import evaluate
from .files import (
    adapter_files,
    adapter_path,
    method_files,
    method_path,
    methods_directory,
    models_folder,
    output_path,
    progress,
    register_folders,
    source_files,
    source_path,
    stop_if_interrupted,
)
from .inpaint import LAYOUTS, inpaint_conditioning, widen
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
    release,
    run_module,
    trainable_unet,
    unet_shape,
)
from .plms import plms, plms_sigmas
from .reference import capture
from .vision import demo_vision, encode_vision, vision_width

__all__ = [
    "ComfyExtension", "LAYOUTS", "LoadedMethod", "adapter_files", "adapter_path", "build_method", "build_unet", "capture",
    "channel_route", "check_finite", "check_fits", "demo_controlnet", "demo_lora", "demo_stack", "demo_vision", "encode_latent",
    "encode_text", "encode_vision", "evaluate", "file_tensors", "fingerprint", "inpaint_conditioning", "install", "io", "latent_size",
    "layers", "manage", "method_files", "method_path", "methods_directory", "models_folder", "new_method", "output_path", "plms",
    "plms_sigmas", "progress", "raw_latent", "read_weights", "register_folders", "release", "run_module", "source_files",
    "source_path", "stop_if_interrupted", "trainable_unet", "ui", "unet_shape", "vision_width", "widen", "with_channels",
    "with_extras", "with_values",
]
