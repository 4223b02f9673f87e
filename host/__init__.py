"""The only package that imports ComfyUI. Everything else of Fitting Room reaches the host through these names."""

from comfy_api.latest import ComfyExtension, io, ui

from .attach import (
    attachment,
    check_predicts_noise,
    with_attachment,
)
from .channels import (
    channel_route,
    with_channels,
)
from .demo import (
    demo_controlnet,
    demo_lora,
    demo_stack,
)
from .denoiser import (
    install,
    watched,
)
from .depthfm import (
    decode_depth,
    load_depthfm,
)
from .encode import (
    check_finite,
    encode_latent,
    encode_text,
    latent_samples,
    latent_size,
    with_extras,
    with_values,
)
from .evaluate import (
    Bench,
    vision_embedder,
)
from .files import (
    adapter_files,
    adapter_path,
    data_path,
    depth_files,
    depth_path,
    method_files,
    method_path,
    methods_directory,
    metrics_folders,
    models_folder,
    output_folder,
    output_path,
    progress,
    readable_folder,
    register_folders,
    sam_files,
    sam_path,
    source_files,
    source_path,
    stop_if_interrupted,
    temp_folder,
    user_folder,
)
from .inpaint import (
    inpaint_conditioning,
    LAYOUTS,
    widen,
)
from .load import (
    load_models,
    load_vision,
)
from .models import (
    build_method,
    build_unet,
    check_fits,
    file_tensors,
    fingerprint,
    layers,
    LoadedMethod,
    manage,
    new_method,
    read_weights,
    release,
    run_module,
    trainable_unet,
    unet_shape,
)
from .one_call import (
    one_call,
    several_calls,
)
from .plms import (
    plms,
    plms_sigmas,
)
from .reference import (
    capture,
)
from .training import (
    best_precision,
    learning,
    Studio,
)
from .vision import (
    check_encoder,
    demo_vision,
    encode_vision,
    final_norm,
    image_prompt,
    vision_width,
)
from .whole import (
    load_whole,
    manage_whole,
)

__all__ = [
    "adapter_files",
    "adapter_path",
    "attachment",
    "Bench",
    "best_precision",
    "build_method",
    "build_unet",
    "capture",
    "channel_route",
    "check_encoder",
    "check_finite",
    "check_fits",
    "check_predicts_noise",
    "ComfyExtension",
    "data_path",
    "decode_depth",
    "demo_controlnet",
    "demo_lora",
    "demo_stack",
    "demo_vision",
    "depth_files",
    "depth_path",
    "encode_latent",
    "encode_text",
    "encode_vision",
    "file_tensors",
    "final_norm",
    "fingerprint",
    "image_prompt",
    "inpaint_conditioning",
    "install",
    "io",
    "latent_samples",
    "latent_size",
    "layers",
    "learning",
    "load_models",
    "load_vision",
    "LAYOUTS",
    "load_depthfm",
    "load_whole",
    "LoadedMethod",
    "manage",
    "manage_whole",
    "method_files",
    "method_path",
    "methods_directory",
    "metrics_folders",
    "models_folder",
    "new_method",
    "one_call",
    "output_folder",
    "output_path",
    "plms",
    "plms_sigmas",
    "progress",
    "read_weights",
    "readable_folder",
    "register_folders",
    "release",
    "run_module",
    "sam_files",
    "sam_path",
    "several_calls",
    "source_files",
    "source_path",
    "stop_if_interrupted",
    "Studio",
    "temp_folder",
    "trainable_unet",
    "ui",
    "unet_shape",
    "user_folder",
    "vision_embedder",
    "vision_width",
    "watched",
    "widen",
    "with_attachment",
    "with_channels",
    "with_extras",
    "with_values",
]
