"""What measuring asks of the host: embeddings by the user's own image encoder, and the demo stack to train variants on."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Callable, Mapping
from typing import Any

import comfy.model_management
import torch
from torch import Tensor

from ..models.method import FittingMethod
from ..models.weights import Header
from .demo import DEMO_METHODS, demo_method, demo_stack
from .inpaint import widen
from .models import LoadedMethod, build_method, fingerprint, new_method, unet_shape
from .training import Studio, learning
from .vision import demo_vision, encode_vision


def vision_embedder(clip_vision) -> Callable[[Tensor], Tensor]:
    """A function from pictures (B,H,W,3) in 0..1 to embeddings (B,C): the class token after the last norm, of CLIP or DINOv2."""
    return lambda pictures: encode_vision(clip_vision, pictures).pooled


class Bench:
    """The demo stack as a place to train many variants of methods on; what is loaded is loaded once.

    Args:
        networks: what losses look through (`training.networks.Networks`).
        precision: of training.
    """

    learning = staticmethod(learning)

    def __init__(self, networks, precision: str = "fp32"):
        self.networks, self.precision = networks, precision
        self._stacks: dict[int, tuple] = {}
        self._vision: dict[str, Any] = {}
        networks.device = comfy.model_management.get_torch_device()

    def stack(self, channels: int) -> tuple:
        """(MODEL, CLIP, VAE, trained) of the stack with 4 or 9 input channels; other numbers are the former, widened by columns of zeros."""
        if channels not in self._stacks:
            with torch.inference_mode(False):
                model, *others = demo_stack(9 if channels == 9 else 4)
                self._stacks[channels] = (widen(model, channels) if unet_shape(model).in_channels < channels else model, *others)
        return self._stacks[channels]

    def start(self, method: type[FittingMethod], channels: int, vision: str, options: Mapping[str, Any] | None, seed: int) -> tuple[Studio, LoadedMethod]:
        """(studio, method) on the stack: untrained with these options, or with its bundled demo weights for None.

        Raises:
            ValueError: no demo weights of the method are bundled.
        """
        if vision not in self._vision:
            self._vision[vision] = demo_vision(vision)
        model, clip, vae, _ = self.stack(channels)
        studio = Studio(model, vae, clip, self._vision[vision], self.precision)
        if options is not None:
            return studio, new_method(method, model, seed, dict(options))
        loaded, trained = demo_method(model, method)
        if not trained:
            raise ValueError(f"No demo weights of {method.kind} are bundled; make them with tools/train_demo.py --methods {method.kind}.")
        return studio, loaded

    @staticmethod
    def bundled(kind: str) -> str:
        """A hash of a method's bundled demo weights, "" where there are none."""
        path = DEMO_METHODS / f"demo_{kind}.safetensors"
        return hashlib.sha256(path.read_bytes()).hexdigest()[:12] if path.is_file() else ""

    @staticmethod
    def trained(method: type[FittingMethod], header: Header, tensors: Mapping[str, Tensor], name: str) -> LoadedMethod:
        """A method with these weights."""
        return build_method(method, header, dict(tensors), name)

    def machine(self) -> dict[str, str]:
        """What it runs on, and which stack."""
        device = comfy.model_management.get_torch_device()
        name = torch.cuda.get_device_name(device) if device.type == "cuda" else f"{platform.machine()} processor, {torch.get_num_threads()} threads"
        model, _, _, trained = self.stack(4)
        stack = f"{'trained' if trained else 'untrained, from a seed'}, {fingerprint(model)}"
        return {"device": name, "torch": torch.__version__, "python": platform.python_version(), "precision": self.precision, "stack": stack}
