"""The running mean of the weights, which is what is saved and shown."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor


class Ema:
    """mean <- d mean + (1 - d) weights, with d = min(decay, (1 + n) / (10 + n)) after n updates.

    Args:
        parameters: trained parameters by name.
        decay: 0 turns it off: then the mean is the weights themselves and costs nothing.
    """

    def __init__(self, parameters: Mapping[str, Tensor], decay: float):
        self.decay, self.updates = decay, 0
        self.mean = {k: p.detach().clone().float() for k, p in parameters.items()} if decay else {}

    @torch.no_grad()
    def update(self, parameters: Mapping[str, Tensor]) -> None:
        """Take one optimizer step into the mean."""
        if not self.mean:
            return
        keep = min(self.decay, (1 + self.updates) / (10 + self.updates))
        self.updates += 1
        torch._foreach_lerp_(list(self.mean.values()), [parameters[k].detach().float() for k in self.mean], 1 - keep)

    def weights(self, parameters: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """What is to be saved: the mean where there is one, else the weights."""
        return {k: self.mean.get(k, p.detach()) for k, p in parameters.items()}

    @torch.no_grad()
    def swap(self, parameters: Mapping[str, Tensor]) -> None:
        """Exchange mean and weights: once before validation, once after."""
        for name, mean in self.mean.items():
            weights = parameters[name].detach().clone().float()
            parameters[name].copy_(mean)
            mean.copy_(weights)
