"""Optimizer and learning rate, from a `TrainConfig`."""

from __future__ import annotations

import math

import torch

from .config import TrainConfig


FUSED = ("cpu", "cuda")
"""Devices of torch's fused AdamW."""


def make_optimizer(parameters: list[torch.nn.Parameter], config: TrainConfig) -> tuple[torch.optim.Optimizer, str]:
    """AdamW, in 8 bits where that is asked for and bitsandbytes is there; else torch's fused one where the device has it.

    Returns:
        the optimizer, and a note where it is another one than was asked for ("" otherwise).
    """
    options = {"lr": config.learning_rate, "betas": (config.beta1, config.beta2), "weight_decay": config.weight_decay}
    if config.optimizer == "adamw8bit":
        on_gpu = all(p.is_cuda for p in parameters)
        try:
            if not on_gpu:
                raise ImportError
            from bitsandbytes.optim import AdamW8bit

            return AdamW8bit(parameters, **options), ""
        except ImportError:
            why = "bitsandbytes is not installed" if on_gpu else "8-bit states need a CUDA device"
            return _adamw(parameters, options), f"AdamW keeps its state in 32 bits ({why})."
    return _adamw(parameters, options), ""


def _adamw(parameters: list[torch.nn.Parameter], options: dict) -> torch.optim.AdamW:
    if all(p.device.type in FUSED for p in parameters):  # hundreds of small tensors in one call
        try:
            return torch.optim.AdamW(parameters, **options, fused=True)
        except RuntimeError:  # a torch whose fused form knows CUDA alone
            pass
    return torch.optim.AdamW(parameters, **options)


def learning_rate(config: TrainConfig, step: int) -> float:
    """The rate of optimizer step `step` (0 is the first): a linear rise over `warmup` steps, then the schedule."""
    if step < config.warmup:
        return config.learning_rate * (step + 1) / config.warmup
    if config.schedule == "constant":
        return config.learning_rate
    done = (step - config.warmup) / max(1, config.steps - config.warmup)
    share = 1 - done if config.schedule == "linear" else 0.5 * (1 + math.cos(math.pi * min(done, 1.0)))
    return config.learning_rate * max(share, 0.0)
