"""The bundled small stack: U-Net, text encoder and VAE of SD1.5's shape, built from the host's own classes.

About 12 million parameters, so that every workflow runs in seconds on any machine before anything is downloaded. Its
weights come from `models/demo/stack.safetensors` where that file is bundled, and from a seed otherwise; then its
pictures are patterns of noise that show the wiring, not what a method can do.
"""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import comfy.cldm.cldm
import comfy.controlnet
import comfy.ldm.models.autoencoder
import comfy.lora
import comfy.model_management
import comfy.ops
import comfy.sd
import comfy.sd1_clip
import comfy.supported_models_base
import torch
from torch import Tensor

from ..models.method import FittingMethod
from ..models.parts.layers import Layers
from ..models.parts.sites import UNetShape
from ..models.weights import read, unpacked
from . import blocks
from .files import DEMO_METHODS
from .models import LoadedMethod, PlainOps, build_method, build_unet, new_method, unet_config, unet_shape

DEMO_SHAPE = UNetShape(in_channels=4, model_channels=32, context_dim=64, heads=8)
DEMO_WEIGHTS = Path(__file__).resolve().parents[1] / "models" / "demo" / "stack.safetensors"
VOCABULARY = 49408
_TEXT = "clip_l.transformer.text_model.embeddings"
_TABLE, _POSITIONS, _FIRST = f"{_TEXT}.token_embedding.weight", f"{_TEXT}.position_embedding.weight", "input_blocks.0.0.weight"

_CLIP = {"hidden_size": 64, "intermediate_size": 256, "num_attention_heads": 4, "num_hidden_layers": 2, "projection_dim": 64}
_VAE = {
    "double_z": True, "z_channels": 4, "resolution": 256, "in_channels": 3, "out_ch": 3, "ch": 32, "ch_mult": [1, 1, 1, 1],
    "num_res_blocks": 1, "attn_resolutions": [], "dropout": 0.0,
}


def random_state(shapes: dict[str, Tensor], seed: int) -> dict[str, Tensor]:
    """Weights from a seed: normal with variance 1 / fan-in for matrices, 1 for norms' weights, 0 for biases.

    The number of a tensor depends on the seed and its name only, so a wider copy or another order changes nothing else.
    """
    out = {}
    for name, like in sorted(shapes.items()):
        if like.dtype not in (torch.float16, torch.bfloat16, torch.float32):
            out[name] = torch.arange(like.shape[-1]).expand(like.shape).clone() if like.ndim else torch.zeros(like.shape, dtype=like.dtype)
        elif like.ndim > 1:
            generator = torch.Generator().manual_seed(seed * 1_000_003 + sum(ord(c) * (i + 1) for i, c in enumerate(name)))
            out[name] = torch.randn(like.shape, generator=generator) / math.sqrt(max(like[0].numel(), 1))
        else:
            out[name] = torch.full(like.shape, 1.0 if name.endswith("weight") else 0.0)
    return out


def demo_unet(shape: UNetShape = DEMO_SHAPE, seed: int = 0):
    """A narrow MODEL with weights from a seed; 4, 9, 11, 13 ... input channels."""
    return build_unet(shape, random_state(blocks.unet(shape, Layers(PlainOps, torch.float32, "meta")).state_dict(), seed), "the demo model")


def demo_clip(seed: int = 1, state: dict[str, Tensor] | None = None):
    """A two-layer text encoder behind SD1.5's own tokenizer; tokens (1,77,64), or as many as the positions of `state`."""
    length = 77 if state is None else len(state[_POSITIONS])
    options = {"clip_l_model_config": {**_CLIP, "max_position_embeddings": length}}
    target = comfy.supported_models_base.ClipTarget(comfy.sd1_clip.SD1Tokenizer, comfy.sd1_clip.SD1ClipModel)
    clip = comfy.sd.CLIP(target, model_options=options, tokenizer_data={"clip_l_max_length": length})
    if state is None:
        meta = comfy.sd1_clip.SD1ClipModel(device="meta", dtype=torch.float32, model_options={**options, "custom_operations": PlainOps})
        state = random_state(meta.state_dict(), seed)
    clip.cond_stage_model.load_state_dict(state, strict=False, assign=clip.patcher.is_dynamic())
    return clip


def _whole_table(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """A text encoder's weights with all of CLIP's vocabulary: words that were never in training share the mean of those that were."""
    state = dict(state)
    ids, rows = state.pop("table_ids").long(), state.pop("table_rows")
    table = rows.mean(0, keepdim=True).repeat(VOCABULARY, 1)
    table[ids] = rows
    width = rows.shape[1]
    return {**state, _TABLE: table, "clip_l.transformer.text_projection.weight": torch.eye(width), "clip_l.logit_scale": torch.tensor(4.6055)}


def token_ids(texts: list[str], length: int) -> list[list[int]]:
    """Token ids of texts, each `length` numbers with start, end and padding; what is longer is cut.

    For training; by the host's own SD1.5 tokenizer.
    """
    tokenizer = comfy.sd1_clip.SD1Tokenizer(tokenizer_data={"clip_l_max_length": length})
    return [[t[0] for t in tokenizer.tokenize_with_weights(text)["l"][0]] for text in texts]


def demo_vae(seed: int = 2, state: dict[str, Tensor] | None = None):
    """A small KL autoencoder with 4 latent channels and 8 pixels per latent pixel."""
    if state is not None and "vae_scale" in state:  # the layout of the host's tiny autoencoder
        return comfy.sd.VAE(sd=state)
    config = {"params": {"ddconfig": _VAE, "embed_dim": 4}}
    if state is None:
        with torch.device("meta"):
            meta = comfy.ldm.models.autoencoder.AutoencoderKL(**config["params"])
        state = random_state(meta.state_dict(), seed)
    return comfy.sd.VAE(sd=state, config=config)


def bundled_stack() -> tuple[dict[str, dict[str, Tensor]], dict[str, str]]:
    """({"unet", "clip", "vae"}: tensors by name, what the header says) of the bundled stack's file, which must be there."""
    from safetensors import safe_open
    from safetensors.torch import load_file

    with safe_open(DEMO_WEIGHTS, "pt") as file:
        said = file.metadata()
    state = unpacked(load_file(str(DEMO_WEIGHTS)))
    return {p: {k.removeprefix(f"{p}."): v for k, v in state.items() if k.startswith(f"{p}.")} for p in ("unet", "clip", "vae")}, said


def demo_stack(in_channels: int = 4):
    """(MODEL, CLIP, VAE, trained): the bundled small stack; `trained` says whether its weights are more than a seed.

    Args:
        in_channels: 4, or 9 for the inpainting form (mask and masked latent behind the noisy one, as the host orders them), which is the
            same U-Net: its last five channels are zero where there is no hole.
    """
    shape = replace(DEMO_SHAPE, in_channels=in_channels)
    if not DEMO_WEIGHTS.is_file():
        return demo_unet(shape), demo_clip(), demo_vae(), False
    parts, _ = bundled_stack()
    unet = parts["unet"]
    unet[_FIRST] = unet[_FIRST][:, :in_channels].contiguous()
    return build_unet(shape, unet, DEMO_WEIGHTS.name), demo_clip(state=_whole_table(parts["clip"])), demo_vae(state=parts["vae"]), True


DEMO_OPTIONS: dict[str, dict] = {
    "anydressing": {"slots": ["upper", "lower", "full", "hat"], "rank": 8}, "igr": {"clip_width": 64, "tokens": 4}, "diffuse_to_choose": {"image_width": 64},
    "sift_vton": {"image_width": 64}, "pm_jewelry": {},
}
"""Methods with bundled weights -> what they are built with for the small stack."""


def demo_method(model, cls: type[FittingMethod]) -> tuple[LoadedMethod, bool]:
    """(method, trained): the bundled weights of a method for the small stack, or an untrained start where none are bundled.

    Args:
        model: of `demo_stack`, with as many channels as the method wants.
        cls: the paper's class, one of those that `DEMO_OPTIONS` names.
    """
    path = DEMO_METHODS / f"demo_{cls.kind}.safetensors"
    if not path.is_file():
        return new_method(cls, model, 0, DEMO_OPTIONS[cls.kind]), False
    header, tensors = read(path, cls.kind)
    return build_method(cls, header, tensors, path.name), True


def demo_controlnet(model, seed: int = 3):
    """A ControlNet of the model's own width, with weights from a seed; for workflows on the demo model only."""
    shape = unet_shape(model)
    config = {k: v for k, v in unet_config(shape).items() if k not in ("out_channels", "use_temporal_resblock", "use_temporal_attention", "dtype")}
    config |= {"in_channels": 4, "hint_channels": 3}
    meta = comfy.cldm.cldm.ControlNet(**config, dtype=torch.float32, device="meta", operations=PlainOps)
    net = comfy.cldm.cldm.ControlNet(**config, dtype=torch.float32, operations=comfy.ops.manual_cast)
    net.load_state_dict(random_state(meta.state_dict(), seed))
    return comfy.controlnet.ControlNet(net, load_device=comfy.model_management.get_torch_device())


def demo_lora(model, strength: float, seed: int = 4):
    """A clone of the model with a random low-rank change of its attentions, through the host's own LoRA code."""
    unet_shape(model)
    keys = [k for k in comfy.lora.model_lora_keys_unet(model.model, {}).values() if isinstance(k, str) and ".attn" in k and k.endswith("to_v.weight")]
    loras, names, state = {}, sorted(set(keys)), model.model.state_dict()
    for number, key in enumerate(names):
        generator = torch.Generator().manual_seed(seed * 1000 + number)
        out, width = state[key].shape
        loras[f"demo.{number}.lora_up.weight"] = torch.randn(out, 4, generator=generator) / 2
        loras[f"demo.{number}.lora_down.weight"] = torch.randn(4, width, generator=generator) / math.sqrt(width)
    patches = comfy.lora.load_lora(loras, {f"demo.{i}": k for i, k in enumerate(names)})
    styled = model.clone()
    styled.add_patches(patches, strength)
    return styled
