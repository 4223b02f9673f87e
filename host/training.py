"""The host's side of training: copies of its networks that can learn, encoders, and forwards with the same patches as sampling.

Why copies. Nodes run in inference mode and so do the loaders, so the weights of a MODEL are inference tensors that no backward pass may
touch; and a training must not change a MODEL that other nodes hold. A U-Net here is the host's own class with torch's own
layers, and a method's module is rebuilt the same way. Everything must run inside `torch.inference_mode(False)`, in which also
these copies must be made (`Studio` opens it itself where it builds).

Frozen networks stay in the computation's precision; what learns is float32.
"""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace

import comfy.ldm.modules.attention
import comfy.ldm.modules.diffusionmodules.openaimodel
import comfy.model_management
import torch
from torch import Tensor, nn
from torch.amp import autocast_mode
from torch.utils.checkpoint import checkpoint

from ..models.method import FittingMethod
from ..models.parts.patches import Memo, Patches
from ..models.parts.sites import SITES, Site
from . import blocks
from .attach import check_predicts_noise
from .channels import EXTRA
from .denoiser import KEY, PATCHES, ROWS, WRAPPERS, _Install, watched
from .encode import LATENT, encode_latent, encode_text
from .models import LoadedMethod, layers, read_weights, unet_shape
from .reference import LoraTerm, _Pass
from .vision import check_encoder, encode_vision, final_norm, image_prompt

TYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


@contextmanager
def learning():
    """Where gradients are possible: nodes run in inference mode, in which nothing can be learned."""
    with torch.inference_mode(False), torch.enable_grad():
        yield


def best_precision() -> str:
    """bf16 where the device computes in it, else fp32."""
    device = comfy.model_management.get_torch_device()
    return "bf16" if device.type != "cpu" and comfy.model_management.should_use_bf16(device) else "fp32"


class _Forgetful(Memo):
    """Keeps nothing: what is computed in a checkpointed block must be computed again in its second run."""

    def once(self, key, compute):
        """`compute()`, every time."""
        return compute()


def _plain_attention(func, *args, **kwargs):
    """The one kernel of the host that surely has a backward pass."""
    return comfy.ldm.modules.attention.attention_pytorch(*args, **kwargs)


class Studio:
    """What a training asks of the host.

    Args:
        model: the base, a MODEL of SD1.5 with epsilon prediction. Its LoRAs and patches are left out (`notes` says so).
        vae, clip, clip_vision: as nodes hand them over; the last two only where the method needs them.
        precision: "fp32", "bf16" or "fp16", of the computation.
        checkpointing: compute activations again in the backward pass.

    Attributes:
        shape: of the base.
        device: where training runs.
        notes: what the user should know.
    """

    def __init__(self, model, vae, clip=None, clip_vision=None, precision: str = "fp32", checkpointing: bool = False):
        self.shape = unet_shape(model)
        check_predicts_noise(model, "training")
        self.model, self.vae, self.clip, self.clip_vision = model, vae, clip, clip_vision
        self.precision, self.checkpointing = precision, checkpointing
        self.device = comfy.model_management.get_torch_device()
        self.notes = ["The MODEL's LoRAs are left out: a method learns on the plain base."] if model.patches else []
        self._decoder: nn.Module | None = None

    # ---- networks ------------------------------------------------------------------------------------------------------

    def alphas_cumprod(self) -> Tensor:
        """abar_t of the base, (1000,)."""
        sigmas = self.model.get_model_object("model_sampling").sigmas.detach().double().cpu().clone()
        return 1 / (1 + sigmas**2)

    def base(self) -> nn.Module:
        """A copy of the base's U-Net, float32, on the CPU."""
        return self.unet(self.model)

    def unet(self, patcher) -> nn.Module:
        """A copy of a MODEL's U-Net (its own weights, without LoRAs), float32, on the CPU."""
        shape = unet_shape(patcher)
        with torch.inference_mode(False):
            network = blocks.unet(shape, replace(layers(training=True), device="meta"))
            network.load_state_dict(read_weights(patcher, list(network.state_dict())), assign=True)
        return self._prepared(network)

    def module(self, method: LoadedMethod) -> FittingMethod:
        """A copy of a method's module that can learn, float32, on the CPU."""
        kept = method.module
        with torch.inference_mode(False):
            module = type(kept)(kept.config, layers(training=True, dtype=torch.float32))
            module.load_state_dict({k: v.detach().float().cpu().clone() for k, v in kept.state_dict().items()})
        return self._prepared(module)

    def place(self, network: nn.Module) -> nn.Module:
        """Bring a network to the device: what learns in float32, a network that is frozen in the computation's precision."""
        if not any(p.requires_grad for p in network.parameters()):
            for part in network.modules():
                if isinstance(part, (nn.Linear, nn.Conv2d)):  # norms are small, and half precision is not for them
                    part.to(TYPES[self.precision])
        return network.to(self.device)

    def make_room(self) -> None:
        """Take the host's own models off the device before training starts."""
        comfy.model_management.unload_all_models()
        comfy.model_management.soft_empty_cache()

    def measure(self) -> None:
        """Start to measure the most memory in use."""
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)

    def peak_memory(self) -> int:
        """The most memory in use, in bytes: of the device, or of this process where it trains on the processor."""
        if self.device.type == "cuda":
            return torch.cuda.max_memory_allocated(self.device)
        try:
            import resource

            return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        except ImportError:
            import psutil

            return psutil.Process().memory_info().rss

    def _prepared(self, network: nn.Module) -> nn.Module:
        network.requires_grad_(False).train()
        if self.checkpointing:
            for part in network.modules():
                if isinstance(part, (blocks.Transformer, comfy.ldm.modules.diffusionmodules.openaimodel.ResBlock)):
                    part.forward = _checkpointed(part.forward)
                elif isinstance(part, comfy.ldm.modules.attention.SpatialTransformer):
                    part.forward = _checkpointed_transformer(part.forward)
        return network

    # ---- forwards ------------------------------------------------------------------------------------------------------

    def computing(self):
        """The context of a forward: autocast where the precision is not fp32."""
        if self.precision == "fp32":
            return nullcontext()
        return autocast_mode.autocast(self.device.type, TYPES[self.precision])

    def run(
        self, unet: nn.Module, x: Tensor, t: Tensor, context: Tensor, patches: Sequence[Patches] = (), kept: Tensor | None = None,
        extras: Mapping[str, Tensor] | None = None, watch=None,
    ) -> Tensor:
        """One forward of a U-Net with methods on it, (B,4,h,w) float32: what `install` does while sampling.

        Args:
            x: (B,Cin,h,w), extra channels included. t: (B,), 0..999. context: (B,T,context_dim).
            patches: what the methods ask.
            kept: (B,) bool; False rows are unconditional ones. None: all are conditional.
            extras: row-aligned tensors, by the names methods look for in `Call.extras`.
            watch: looks into the forward (`models/parts/watch.py`), or None.
        """
        installs = [_Install(p, float("inf"), float("-inf"), null) for q in patches for p, null in ((q, False), (q.null, True)) if p is not None]
        numbers = torch.arange(1, x.shape[0] + 1, device=x.device)
        marks = numbers if kept is None else torch.where(kept.to(x.device), numbers, -numbers)
        options = {
            "patches": {name: [patch] for name, patch in PATCHES.items()}, "wrappers": {WRAPPERS.DIFFUSION_MODEL: {KEY: installs}},
            "optimized_attention_override": _plain_attention, f"{KEY}_memo": _Forgetful(),
        }
        named = {f"{EXTRA}{name}": tensor for name, tensor in (extras or {}).items()}
        with self.computing():
            return unet(x, t.to(x.device).float(), context=context, transformer_options=watched(options, watch), **{ROWS: marks.unsqueeze(1)}, **named).float()

    def features(
        self, unet: nn.Module, latent: Tensor, context: Tensor | None = None, lora: LoraTerm | None = None, timestep: float = 0.0
    ) -> dict[Site, Tensor]:
        """The reference pass with gradient: per site (R,N,C), the input of self-attention after norm1.

        Args:
            latent: (R,Cin,h,w), scaled, clean.
            context: (R,T,context_dim) for cross-attention; None takes it out.
            lora: terms to add to the projections, as in `capture`.
        """
        run = _Pass(SITES, lambda n: n, lora, context is not None, stops=False)
        options = run.options()
        own = options.get("optimized_attention_override")
        options["optimized_attention_override"] = _plain_attention if own is None else lambda func, *a, **k: own(comfy.ldm.modules.attention.attention_pytorch, *a, **k)
        rows = latent.shape[0]
        if context is None:
            context = latent.new_zeros(rows, 1, self.shape.context_dim)
        with self.computing():
            unet(latent, torch.full((rows,), float(timestep), device=latent.device), context=context, transformer_options=options)
        return run.features

    # ---- frozen encoders -----------------------------------------------------------------------------------------------

    def encoders(self) -> str:
        """Which encoders these are: a short hash over the first numbers of each of their tensors, and of how they are used."""
        digest = hashlib.sha256(f"{getattr(self.clip, 'layer_idx', None)}".encode())
        holders = (("vae", self.vae, "first_stage_model"), ("clip", self.clip, "cond_stage_model"), ("vision", self.clip_vision, "model"))
        for name, holder, network in holders:
            if holder is None:
                continue
            if patches := getattr(getattr(holder, "patcher", None), "patches", None):  # a LoRA has no lasting name: kept for this session
                digest.update(f"{sorted(map(str, patches))} {holder.patcher.patches_uuid}".encode())
            for key, tensor in getattr(holder, network).state_dict().items():
                digest.update(f"{name} {key} {tuple(tensor.shape)}".encode() + tensor.flatten()[:16].float().cpu().numpy().tobytes())
        return digest.hexdigest()[:16]

    @torch.no_grad()
    def latent(self, pictures: Tensor) -> Tensor:
        """Scaled latents (B,4,H/8,W/8) of pictures (B,3,H,W) in 0..1: the posterior's mode."""
        return encode_latent(self.vae, pictures.movedim(1, -1)).float().cpu()

    @torch.no_grad()
    def text(self, prompt: str) -> Tensor:
        """Tokens (T,context_dim) of a prompt.

        Raises:
            ValueError: no text encoder.
        """
        return encode_text(self.clip, prompt)[0][0][0].detach().float().cpu().clone()

    @torch.no_grad()
    def vision(self, picture: Tensor, **options):
        """What the image encoder says of one picture (3,h,w) in 0..1; see `host.vision.encode_vision`."""
        said = encode_vision(self.clip_vision, picture.movedim(0, -1)[None], **options)
        return type(said)(*(t[0].detach().float().cpu().clone() for t in said))

    @torch.no_grad()
    def final_norm(self, states: Tensor) -> Tensor:
        """The image encoder's last norm on all its tokens (M,C)."""
        return final_norm(self.clip_vision, states[None])[0].float().cpu().clone()

    @torch.no_grad()
    def image_prompt(self, picture: Tensor | None):
        """What an IP-Adapter reads of a square picture (3,S,S) in 0..1, or of none; see `host.vision.image_prompt`."""
        said = image_prompt(self.clip_vision, None if picture is None else picture.movedim(0, -1)[None])
        return type(said)(*(t[0].detach().float().cpu().clone() for t in said))

    def need_vision(self, kind: str, width: int, who: str) -> None:
        """Refuse to start without the image encoder that a method needs.

        Raises:
            ValueError: names both encoders.
        """
        check_encoder(self.clip_vision, kind, width, who)

    @torch.no_grad()
    def pictures(self, latents: Tensor) -> Tensor:
        """Pictures (B,3,8h,8w) in 0..1 of scaled latents, without gradient."""
        decoded = self.vae.decode(LATENT.process_out(latents.detach().float().cpu()))
        return decoded.movedim(-1, 1).float().cpu().clamp(0, 1).clone()

    def decode(self, latents: Tensor) -> Tensor:
        """Pictures (B,3,8h,8w) in about -1..1, not clamped, with gradient, of scaled latents on the device."""
        if self._decoder is None:
            with torch.inference_mode(False):
                self._decoder = _learnable_copy(self.vae.first_stage_model).to(self.device)
        network = self._decoder
        weight = next(network.parameters())
        z = LATENT.process_out(latents).to(weight.dtype)
        return (checkpoint(network.decode, z, use_reentrant=False) if self.checkpointing else network.decode(z)).float()


def _learnable_copy(network: nn.Module) -> nn.Module:
    """A copy whose weights are no inference tensors, frozen."""
    with torch.no_grad():
        made = copy.deepcopy(network)
        for part in made.modules():
            for name, parameter in list(part._parameters.items()):
                if parameter is not None:
                    part._parameters[name] = nn.Parameter(parameter.detach().clone(), requires_grad=False)
            for name, buffer in list(part._buffers.items()):
                if buffer is not None:
                    part._buffers[name] = buffer.detach().clone()
    return made.eval()


def _checkpointed(forward: Callable) -> Callable:
    def run(*args):
        return checkpoint(forward, *args, use_reentrant=False) if torch.is_grad_enabled() else forward(*args)

    return run


def _checkpointed_transformer(forward: Callable) -> Callable:
    """As above; the options are copied, because the host goes on writing the current block's name into them."""

    def run(x, context=None, transformer_options=None):
        options = dict(transformer_options or {})
        if not torch.is_grad_enabled():
            return forward(x, context, options)
        return checkpoint(lambda x, context: forward(x, context, options), x, context, use_reentrant=False)

    return run
