"""One process, or several that share every step: the loop does not know which.

Under `accelerate launch` (or torchrun) each process takes its share of the step's samples, and gradients are averaged before the
optimizer moves. Which samples a step sees does not depend on the number of processes (`training.draws`), only their sum of batches.
DeepSpeed ZeRO-2 comes in through accelerate's own configuration.
"""

from __future__ import annotations

import os
from contextlib import nullcontext

import torch
from torch import Tensor, nn


class Alone:
    """One process.

    Attributes:
        rank, size: place of this process among all.
    """

    rank, size = 0, 1

    def prepare(self, step: nn.Module, optimizer: torch.optim.Optimizer):
        """What to call in their place."""
        return step, optimizer

    def backward(self, loss: Tensor) -> None:
        """Gradients of a loss."""
        loss.backward()

    def gathering(self, step: nn.Module, last: bool):
        """Around a forward and backward; gradients of all processes are averaged in the last one of a step."""
        return nullcontext()

    def mean(self, values: Tensor) -> Tensor:
        """The mean over all processes."""
        return values

    def together(self) -> None:
        """Wait for all processes."""

    def agree(self, flag: bool) -> bool:
        """True where any process says so."""
        return flag

    def clip(self, parameters: list[nn.Parameter], norm: float) -> float:
        """Clip the gradient to a norm (0: only measure it); returns the norm before."""
        return float(torch.nn.utils.clip_grad_norm_(parameters, norm or float("inf")))


class Several(Alone):
    """Several processes through accelerate.

    Args:
        accumulate: forwards per step.
        cpu: train on the processor (gloo).
    """

    def __init__(self, accumulate: int = 1, cpu: bool = False):
        from accelerate import Accelerator
        from accelerate.utils import DistributedDataParallelKwargs

        unused = DistributedDataParallelKwargs(find_unused_parameters=True)  # not every sample reaches every slot's LoRA
        self.accelerator = Accelerator(cpu=cpu, gradient_accumulation_steps=accumulate, kwargs_handlers=[unused])
        self.rank, self.size = self.accelerator.process_index, self.accelerator.num_processes

    def prepare(self, step: nn.Module, optimizer: torch.optim.Optimizer):
        """Wrapped for data parallelism, or for DeepSpeed where accelerate was configured so."""
        return self.accelerator.prepare(step, optimizer)

    def backward(self, loss: Tensor) -> None:
        """As accelerate wants it; the division by the accumulation is the loop's, so it is taken back here."""
        self.accelerator.backward(loss * self.accelerator.gradient_accumulation_steps)

    def gathering(self, step: nn.Module, last: bool):
        """Exchange gradients in the last pass only."""
        return nullcontext() if last or self.size == 1 else self.accelerator.no_sync(step)

    def mean(self, values: Tensor) -> Tensor:
        """The mean over all processes."""
        return self.accelerator.reduce(values.to(self.accelerator.device), "mean") if self.size > 1 else values

    def together(self) -> None:
        """Wait for all processes."""
        self.accelerator.wait_for_everyone()

    def agree(self, flag: bool) -> bool:
        """True where any process says so."""
        return bool(self.mean(torch.tensor(float(flag))) > 0)

    def clip(self, parameters: list[nn.Parameter], norm: float) -> float:
        """As accelerate wants it: DeepSpeed clips by itself."""
        return float(self.accelerator.clip_grad_norm_(parameters, norm or float("inf")) or 0.0)


def choose(accumulate: int = 1, cpu: bool | None = None) -> Alone:
    """`Several` where a launcher started this process as one of several, else `Alone`.

    Args:
        accumulate: forwards per step.
        cpu: train on the processor; None asks torch whether there is an accelerator.

    Raises:
        ValueError: several processes without accelerate.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) <= 1 and os.environ.get("ACCELERATE_USE_DEEPSPEED", "false").lower() != "true":
        return Alone()
    try:
        return Several(accumulate, not torch.cuda.is_available() if cpu is None else cpu)
    except ImportError as error:
        raise ValueError(f"Training in several processes needs accelerate ({error}); install the extra: pip install 'fitting-room[train]'.") from error
