"""Modules inside the host's memory management: what a U-Net is, how ours are built, loaded and offloaded."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field

import comfy.latent_formats
import comfy.model_base
import comfy.model_management
import comfy.model_patcher
import comfy.ops
import comfy.supported_models
import comfy.utils
import torch
from torch import Tensor

from ..models.method import DENOISER, FittingMethod, MethodConfig, split_unets
from ..models.parts.layers import Layers
from ..models.parts.sites import UNetShape
from ..models.weights import Header, WeightsError


class PlainOps:
    """torch.nn's layers under the names the host's blocks ask for: for training, and for shapes on the meta device."""

    Linear = torch.nn.Linear
    Conv2d = torch.nn.Conv2d
    ConvTranspose2d = torch.nn.ConvTranspose2d
    LayerNorm = torch.nn.LayerNorm
    GroupNorm = torch.nn.GroupNorm
    Embedding = torch.nn.Embedding

    @staticmethod
    def conv_nd(dims: int, *args, **kwargs):
        """A 2-D convolution, the only kind SD1.5 has."""
        return PlainOps.Conv2d(*args, **kwargs)


@dataclass
class LoadedMethod:
    """What travels on a FITTING_METHOD socket.

    Attributes:
        module: the method; its weights are moved by `patcher`.
        header: what the file says of itself.
        patcher: the host's handle of the module.
        unets: whole U-Nets that came with the file, by name, each managed on its own.
    """

    module: FittingMethod
    header: Header
    patcher: object
    unets: dict[str, object] = field(default_factory=dict)

    @property
    def managed(self) -> list:
        """Patchers to load together with the denoiser."""
        return [self.patcher]


# ---- what a MODEL is -------------------------------------------------------------------------------------------------


def unet_shape(model) -> UNetShape:
    """The shape of a MODEL's U-Net.

    Raises:
        ValueError: the MODEL is not an SD1.5 U-Net; says what it is.
    """
    base = getattr(model, "model", None)
    unet = getattr(base, "diffusion_model", None)
    name = type(base).__name__
    blocks = [len(getattr(unet, f"{stage}_blocks", ())) for stage in ("input", "output")]
    sd15 = (
        type(base) is comfy.model_base.BaseModel
        and blocks == [12, 12]
        and isinstance(base.latent_format, comfy.latent_formats.SD15)
        and getattr(unet, "num_classes", None) is None
    )
    if name == "SD15_instructpix2pix":
        raise ValueError(
            "This MODEL has 8 input channels, which the host takes for instruct-pix2pix and feeds accordingly, so no method can use it; "
            "load an SD1.5 checkpoint of 4 or 9 channels, or the method's own."
        )
    if not sd15:
        raise ValueError(
            f"This MODEL is {name} ({type(unet).__name__}), and Fitting Room works inside the U-Net of Stable Diffusion 1.5; "
            "load an SD1.5 checkpoint, such as a v1-5 or a model fine-tuned from it."
        )
    attention = unet.input_blocks[1][1].transformer_blocks[0]
    return UNetShape(
        in_channels=unet.input_blocks[0][0].in_channels,
        model_channels=unet.model_channels,
        context_dim=attention.attn2.to_k.in_features,
        heads=attention.attn2.heads,
    )


def check_fits(model, method: LoadedMethod) -> UNetShape:
    """Refuse a method made for a U-Net of another width.

    Raises:
        ValueError: says both widths.
    """
    shape, wanted = unet_shape(model), method.module.config.unet
    for name, label in (("model_channels", "width"), ("context_dim", "token width"), ("heads", "number of heads")):
        if getattr(shape, name) != getattr(wanted, name):
            raise ValueError(
                f"This {method.module.label} file was made for a U-Net of {label} {getattr(wanted, name)}, and the MODEL has {getattr(shape, name)}; "
                "use a file and a model of the same family (the bundled demo model goes only with methods made for it)."
            )
    return shape


def read_weights(model, names: list[str]) -> dict[str, Tensor]:
    """The U-Net's own weights by LDM name, float32 on the CPU, without the LoRAs that are merged in while it is loaded.

    A name that ends in a dot means everything below it.

    Raises:
        WeightsError: NaN or infinite numbers in the MODEL's weights.
    """
    state, prefix, out = model.model.state_dict(), "diffusion_model.", {}
    whole = [n for n in names if n.endswith(".")]
    below = [k.removeprefix(prefix) for k in state if k.removeprefix(prefix).startswith(tuple(whole))] if whole else []
    for name in dict.fromkeys([*(n for n in names if not n.endswith(".")), *below]):
        backup = getattr(model, "backup", {}).get(prefix + name)
        tensor = (state[prefix + name] if backup is None else backup.weight).detach().to("cpu", torch.float32, copy=True)
        if not torch.isfinite(tensor).all():
            raise WeightsError(f"The MODEL's weight {name} has NaN or infinite numbers; load another checkpoint.")
        out[name] = tensor
    return out


def fingerprint(model) -> str:
    """A short name of a base model: "sd15:" and twelve hex digits of a hash over its first and last layers."""
    digest = hashlib.sha256()
    for name, tensor in read_weights(model, ["input_blocks.0.0.weight", "middle_block.1.proj_in.weight", "out.2.weight"]).items():
        digest.update(name.encode() + tensor.contiguous().numpy().tobytes())
    return f"sd15:{digest.hexdigest()[:12]}"


# ---- building ----------------------------------------------------------------------------------------------------------


def unet_config(shape: UNetShape) -> dict:
    """The host's configuration of an SD1.5 U-Net of any width."""
    return {
        "image_size": 32, "in_channels": shape.in_channels, "out_channels": 4, "model_channels": shape.model_channels,
        "context_dim": shape.context_dim, "channel_mult": [1, 2, 4, 4], "num_res_blocks": [2] * 4, "num_heads": shape.heads,
        "transformer_depth": [1] * 6 + [0] * 2, "transformer_depth_middle": 1, "transformer_depth_output": [1] * 9 + [0] * 3,
        "adm_in_channels": None, "use_checkpoint": False, "use_spatial_transformer": True, "legacy": False,
        "use_linear_in_transformer": False, "use_temporal_resblock": False, "use_temporal_attention": False,
        "dtype": torch.float32,
    }


def build_unet(shape: UNetShape, state: dict[str, Tensor], name: str, disable_dynamic: bool = False):
    """A MODEL (ModelPatcher) of an SD1.5-shaped U-Net with the given weights (LDM names, complete).

    Raises:
        WeightsError: keys are missing, surplus, or of another shape.
    """
    config = comfy.supported_models.SD15(unet_config(shape))
    weight_dtype = comfy.utils.weight_dtype(state) or torch.float32
    load_device, offload_device = comfy.model_management.get_torch_device(), comfy.model_management.unet_offload_device()
    parameters = sum(t.numel() for t in state.values())
    dtype = comfy.model_management.unet_dtype(
        model_params=parameters, supported_dtypes=config.supported_inference_dtypes, weight_dtype=weight_dtype
    )
    manual = comfy.model_management.unet_manual_cast(dtype, load_device, config.supported_inference_dtypes)
    config.set_inference_dtype(dtype, manual)
    model = config.get_model({}, "", device=offload_device)
    cls = comfy.model_patcher.ModelPatcher if disable_dynamic else comfy.model_patcher.CoreModelPatcher
    patcher = cls(model, load_device=load_device, offload_device=offload_device)
    from . import blocks

    blocks.with_means(model.diffusion_model)
    result = model.diffusion_model.load_state_dict(state, strict=False, assign=patcher.is_dynamic())
    if result.missing_keys or result.unexpected_keys:
        raise WeightsError(
            f"'{name}' does not hold a whole SD1.5 U-Net: {len(result.missing_keys)} keys missing {result.missing_keys[:5]}, "
            f"{len(result.unexpected_keys)} unexpected {result.unexpected_keys[:5]}; fetch the file again."
        )
    # The host builds copies of its own from this. Copied weights would lie in memory twice if their source were kept.
    again = (build_unet, (shape, state, name)) if patcher.is_dynamic() else (_build_again, (shape, model, patcher.backup, name))
    patcher.cached_patcher_init = again
    return patcher


def _build_again(shape: UNetShape, model, backup, name: str, disable_dynamic: bool = False):
    """A second U-Net with the weights of a built one, those that a LoRA replaced taken from where the host keeps them."""
    state = {}
    for key, tensor in model.diffusion_model.state_dict().items():
        kept = backup.get(f"diffusion_model.{key}")
        state[key] = (tensor if kept is None else kept.weight).detach()
    return build_unet(shape, state, name, disable_dynamic)


def layers(training: bool = False, dtype: torch.dtype | None = None, device=None) -> Layers:
    """Layer classes for a method: the host's casting layers, or plain torch layers for training."""
    from . import blocks

    return Layers(ops=PlainOps if training else comfy.ops.manual_cast, dtype=dtype, device=device, blocks=blocks)


def manage(module: torch.nn.Module, disable_dynamic: bool = False):
    """A patcher by which the host loads and offloads a module of ours."""
    management = comfy.model_management
    cls = comfy.model_patcher.ModelPatcher if disable_dynamic else comfy.model_patcher.CoreModelPatcher
    return cls(module, load_device=management.get_torch_device(), offload_device=management.unet_offload_device())


def run_module(patcher, module: torch.nn.Module, *inputs: Tensor) -> Tensor:
    """Run a part of a managed module once, on the host's device, and hand the result back where nodes keep theirs."""
    management = comfy.model_management
    management.load_models_gpu([patcher])
    dtype = next((p.dtype for p in module.parameters()), torch.float32)
    return module(*(t.to(patcher.load_device, dtype) for t in inputs)).to(management.intermediate_device())


def release(patcher) -> None:
    """Take a model out of the device's memory now, its clones with it; it stays in ordinary memory and loads again when asked."""
    management = comfy.model_management
    others = [m for m in management.current_loaded_models if m.model is None or not m.model.is_clone(patcher)]
    management.free_memory(1e30, patcher.load_device, others)


def build_method(
    cls: type[FittingMethod], header: Header, tensors: dict[str, Tensor], name: str, disable_dynamic: bool = False,
    unets: Mapping[str, object] | None = None,
) -> LoadedMethod:
    """A method with its weights, managed by the host.

    Args:
        cls: the paper's class.
        header: as read from the file, or made for a new method.
        tensors: the file's tensors, complete.
        name: what to call the file in errors.
        unets: whole U-Nets that are built already and go on being used beside those in `tensors`.

    Raises:
        WeightsError: the tensors do not fit the header's configuration.
    """
    config: MethodConfig = cls.Config.from_dict(header.config, f"the header of '{name}'")
    own, states = split_unets(cls, tensors)
    patcher = _build_module(cls, config, own, name)
    built = dict(unets or {})
    if missing := cls.required_unets(config) - {*built, *states}:
        raise WeightsError(f"'{name}' lacks the weights of {', '.join(sorted(missing))}, which {cls.label} needs; fetch the file again.")
    for part, state in states.items():
        channels = cls.unets.get(part, cls.unets.get(f"{part}?")) if part != DENOISER else state["input_blocks.0.0.weight"].shape[1]
        shape = UNetShape(channels, config.unet.model_channels, config.unet.context_dim, config.unet.heads)
        built[part] = build_unet(shape, state, f"{name} ({part})", disable_dynamic)
    return LoadedMethod(patcher.model, header, patcher, built)


def _build_module(cls: type[FittingMethod], config: MethodConfig, own: dict[str, Tensor], name: str, disable_dynamic: bool = False):
    dtype = comfy.utils.weight_dtype(own) or torch.float32
    expected = cls(config, layers(training=True, device="meta")).state_dict()
    patcher = manage(cls(config, layers(dtype=dtype, device=comfy.model_management.unet_offload_device())), disable_dynamic)
    patcher.model.take(own, name, expected=expected, assign=patcher.is_dynamic())
    patcher.model.eval().requires_grad_(False)
    patcher.cached_patcher_init = (_build_module, (cls, config, own, name))
    return patcher


def new_method(cls: type[FittingMethod], model, seed: int, options: dict) -> LoadedMethod:
    """An untrained method for a MODEL, at the paper's starting point.

    Args:
        cls: the paper's class.
        model: the base; its width decides the module's, and what the paper copies is copied from it.
        seed: of the random starting weights.
        options: configuration by name; see the class's `Config`.

    Raises:
        WeightsError: an option the method does not know.
        ValueError: the MODEL is not SD1.5.
    """
    config = cls.Config.from_dict({**options, "unet": unet_shape(model)})
    tensors = cls.initial_state(config, lambda names: read_weights(model, names), seed)
    header = Header(method=cls.kind, config=config.to_dict(), base=fingerprint(model), trained="untrained", source=f"New Method, seed {seed}")
    return build_method(cls, header, tensors, f"new {cls.label}")


def trainable_unet(model):
    """A MODEL's U-Net with its patches, for direct calls: training, and tests of single forwards.

    Returns:
        (unet, transformer_options): pass a fresh copy of the options to each call; the wrappers are in them.
    """
    import comfy.patcher_extension

    options = comfy.patcher_extension.copy_nested_dicts(model.model_options["transformer_options"])
    comfy.patcher_extension.merge_nested_dicts(options.setdefault("wrappers", {}), model.wrappers, copy_dict1=False)
    return model.model.diffusion_model, options


def file_tensors(method: LoadedMethod) -> dict[str, Tensor]:
    """A method's weights in file names, the U-Nets it carries included."""
    tensors = {k: v.detach().cpu() for k, v in method.module.file_state().items()}
    for part, patcher in method.unets.items():
        tensors |= {f"{part}.{k}": v.detach().cpu() for k, v in patcher.model.diffusion_model.state_dict().items()}
    return tensors


__all__ = [
    "LoadedMethod", "PlainOps", "build_method", "build_unet", "check_fits", "file_tensors", "fingerprint", "layers", "manage",
    "new_method", "read_weights", "release", "run_module", "trainable_unet", "unet_config", "unet_shape",
]
