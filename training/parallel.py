"""One process, or several that share every step: the loop does not know which.

Under `accelerate launch` (or torchrun) each process takes its share of the step's samples, and gradients are averaged before the
optimizer moves. Which samples a step sees does not depend on the number of processes (`training.draws`), only their sum of batches.
DeepSpeed ZeRO-2 comes in through accelerate's own configuration; what it cannot do is said at `Several`.
"""

from __future__ import annotations

import os
from contextlib import nullcontext

import torch
from torch import Tensor, nn

from .config import TrainConfig


class Alone:
    """One process.

    Attributes:
        rank, size: place of this process among all.
        steps_itself: whether the optimizer moves in the last backward pass, and not when it is told to.
        notes: what the user should know.
    """

    rank, size = 0, 1
    steps_itself = False
    notes: tuple[str, ...] = ()

    def prepare(self, step: nn.Module, optimizer: torch.optim.Optimizer):
        """What to call in their place."""
        return step, optimizer

    def weights_changed(self, optimizer: torch.optim.Optimizer) -> None:
        """Called after the weights were replaced by those of a checkpoint."""

    def backward(self, loss: Tensor) -> None:
        """Gradients of a loss."""
        loss.backward()

    def gathering(self, step: nn.Module):
        """Around each forward and backward of a step; gradients of all processes are averaged in the last one."""
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
        return float(torch.nn.utils.clip_grad_norm_(parameters, norm or float("inf"), foreach=_many_at_once(parameters)))


def _many_at_once(parameters: list[nn.Parameter]) -> bool | None:
    """True on the processor, where torch would go through small tensors one by one; elsewhere torch knows best."""
    return True if all(p.device.type == "cpu" for p in parameters) else None


class Several(Alone):
    """Several processes through accelerate.

    Under DeepSpeed (ZeRO 1 or 2) the engine takes the optimizer's step itself, in the last backward pass, and each process holds its part of
    the optimizer's state alone. Such a part cannot be written into one checkpoint: a resumed run has the weights, their running mean, the
    order of the samples and all draws, and starts with fresh moments of AdamW (`notes` says so).

    Args:
        config: of the run.
        cpu: train on the processor (gloo).

    Raises:
        ValueError: DeepSpeed in a form that the loop cannot drive.
    """

    def __init__(self, config: TrainConfig, cpu: bool = False):
        from accelerate import Accelerator
        from accelerate.utils import DistributedDataParallelKwargs, DistributedType

        unused = DistributedDataParallelKwargs(find_unused_parameters=True)  # not every sample reaches every slot's LoRA
        # "no": the precision of the forward is the loop's own affair, and what learns stays in 32 bits
        self.accelerator = Accelerator(cpu=cpu, mixed_precision="no", gradient_accumulation_steps=config.accumulate, kwargs_handlers=[unused])
        self.rank, self.size = self.accelerator.process_index, self.accelerator.num_processes
        self.steps_itself = self.accelerator.distributed_type == DistributedType.DEEPSPEED
        if self.steps_itself:
            self._tell_deepspeed(self.accelerator.state.deepspeed_plugin, config)

    def _tell_deepspeed(self, plugin, config: TrainConfig) -> None:
        if plugin.zero_stage > 2 or config.precision == "fp16" or config.optimizer == "adamw8bit":
            raise ValueError(
                f"DeepSpeed is set to ZeRO stage {plugin.zero_stage} with precision {config.precision} and optimizer {config.optimizer}; this training runs under it "
                "with stage 0 to 2, fp32 or bf16, and adamw. Change `accelerate config`, or --set precision=bf16 optimizer=adamw."
            )
        plugin.deepspeed_config |= {  # what accelerate would read off a DataLoader, and what it would decide by itself
            "train_micro_batch_size_per_gpu": config.batch, "gradient_accumulation_steps": config.accumulate, "gradient_clipping": config.max_norm,
        }
        self.notes = (
            "DeepSpeed keeps the optimizer's state in parts that checkpoints do not hold: a resumed run goes on with the same weights, samples and noise, "
            "but with fresh moments of AdamW.",
        )

    def prepare(self, step: nn.Module, optimizer: torch.optim.Optimizer):
        """Wrapped for data parallelism, or for DeepSpeed where accelerate was configured so."""
        return self.accelerator.prepare(step, optimizer)

    def weights_changed(self, optimizer: torch.optim.Optimizer) -> None:
        """ZeRO keeps a copy of the weights, from which it would write the old ones back."""
        refresh = getattr(getattr(optimizer, "optimizer", None), "refresh_fp32_params", None)
        if self.steps_itself and refresh is not None:
            refresh()

    def backward(self, loss: Tensor) -> None:
        """As accelerate wants it; the division by the accumulation is the loop's, so it is taken back here."""
        self.accelerator.backward(loss * self.accelerator.gradient_accumulation_steps)

    def gathering(self, step: nn.Module):
        """Exchange gradients in the last pass only."""
        return self.accelerator.accumulate(step)

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
        """As accelerate wants it; DeepSpeed has clipped already, and tells the norm."""
        return float(self.accelerator.clip_grad_norm_(parameters, norm or float("inf")) or 0.0)


def choose(config: TrainConfig, cpu: bool | None = None) -> Alone:
    """`Several` where a launcher started this process as one of several, else `Alone`.

    Args:
        config: of the run.
        cpu: train on the processor; None asks torch whether there is an accelerator.

    Raises:
        ValueError: several processes without accelerate, or DeepSpeed in a form that the loop cannot drive.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) <= 1 and os.environ.get("ACCELERATE_USE_DEEPSPEED", "false").lower() != "true":
        return Alone()
    try:
        return Several(config, not torch.cuda.is_available() if cpu is None else cpu)
    except ImportError as error:
        raise ValueError(
            f"Training in several processes needs accelerate, and deepspeed where accelerate is set to it ({error}); install the extra: pip install 'fitting-room[train]'."
        ) from error
