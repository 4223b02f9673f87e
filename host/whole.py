"""Modules of other projects, which know plain torch layers only.

The host can leave part of a model in main memory only where its layers cast themselves; a foreign module is loaded whole
or not at all.
"""

from __future__ import annotations

import comfy.model_management
import comfy.model_patcher
import torch


class _Held(torch.nn.Module):
    """The host writes attributes such as `device` on what it manages; a foreign module may not take them."""

    def __init__(self, inner: torch.nn.Module):
        super().__init__()
        self.inner = inner


def manage_whole(module: torch.nn.Module):
    """A patcher by which the host loads a foreign module as a whole and offloads it when it needs the room."""
    management = comfy.model_management
    return comfy.model_patcher.ModelPatcher(
        _Held(module), load_device=management.get_torch_device(), offload_device=management.unet_offload_device()
    )


def load_whole(patcher, working_memory: int = 0) -> torch.nn.Module:
    """The module on the host's device, after the host has made room for it and `working_memory` bytes beside it."""
    comfy.model_management.load_models_gpu([patcher], memory_required=working_memory, force_full_load=True)
    return patcher.model.inner
