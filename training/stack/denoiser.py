"""The stack's denoiser, trained with its text encoder: pictures from words, pictures with a hole, and pictures with a garment in view.

One U-Net of nine input channels (noisy latent, mask, masked latent, the host's inpainting order) learns all three. Rows without a
hole have zeros in the last five channels, so the U-Net of four channels is the same one without them.

Rows with a garment go through AnyDressing's second attention (Eq. 6 of the paper) on features of the U-Net itself, so that
self-attention learns to say where a pattern is, and to be asked: what SD1.5 has learned from billions of pictures, and a net this small would
not find while frozen. Loss: min-SNR weighted noise error (gamma 5); where there is a hole, places outside count a tenth of those inside.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

from ...models.parts.reference import Reference
from ..diffusion import Schedule
from .autoencoder import SPREAD
from .text import TextEncoder

BETAS = (0.9, 0.99)
SNR_CAP = 5.0
OUTSIDE = 0.1
"""Weight of places outside the hole, to one of those inside; a sample's weights have a mean of one."""


@dataclass
class Drawn:
    """The drawn world as latents.

    Attributes:
        image: (N,4,h,w). item, masked: (N,2,4,h,w). mask: (N,2,1,h,w), 0 or 1. count: (N,) things per sample. person: (N,) bool.
        caption: (N,T) rows of the text table. words, blind: (N,2,T). empty: (1,T).
    """

    image: Tensor
    item: Tensor
    masked: Tensor
    mask: Tensor
    count: Tensor
    person: Tensor
    caption: Tensor
    words: Tensor
    blind: Tensor
    empty: Tensor

    def __len__(self) -> int:
        return len(self.image)


@dataclass
class Rows:
    """What one forward sees: z0 (B,4,h,w), hole (B,5,h,w) (mask and masked latent, or zeros), text (B,T), garment (B,4,h,w) or None,
    kept (B,) bool: the garment is in view, weight (B,1,h,w) of places."""

    z0: Tensor
    hole: Tensor
    text: Tensor
    garment: Tensor | None
    kept: Tensor
    weight: Tensor


class Draws:
    """Rows of a training, from a generator of its own."""

    def __init__(self, drawn: Drawn, seed: int):
        self.drawn, self.generator = drawn, torch.Generator().manual_seed(seed)
        self.people = torch.nonzero(drawn.person).flatten()

    def chance(self, count: int) -> Tensor:
        """Uniform numbers (count,)."""
        return torch.rand(count, generator=self.generator)

    def timesteps(self, count: int) -> Tensor:
        """Half of them uniform, a quarter each in 400..999 and in 800..999, where layout and colour are decided."""
        t, where = torch.randint(1000, (count,), generator=self.generator), self.chance(count)
        return torch.where(where < 0.5, t, torch.where(where < 0.75, 400 + t * 6 // 10, 800 + t // 5))

    def _which(self, rows: Tensor) -> Tensor:
        return (self.chance(len(rows)) * self.drawn.count[rows]).long()

    def _hole(self, rows: Tensor, which: Tensor, open_: Tensor) -> tuple[Tensor, Tensor]:
        mask, masked = self.drawn.mask[rows, which].float(), self.drawn.masked[rows, which].float()
        hole = torch.cat((mask, masked), 1) * open_.view(-1, 1, 1, 1)
        weight = torch.where(open_.view(-1, 1, 1, 1) > 0, OUTSIDE + (1 - OUTSIDE) * mask, torch.ones_like(mask))
        return hole, weight / weight.mean((1, 2, 3), keepdim=True)  # a picture with a small hole counts as much as a whole one

    def plain(self, count: int) -> Rows:
        """A fifth things alone, 45 % whole pictures, the rest pictures with a hole; a tenth of the captions empty."""
        d = self.drawn
        rows = torch.randint(len(d), (count,), generator=self.generator)
        which, kind, word = self._which(rows), self.chance(count), self.chance(count)
        alone, open_ = kind < 0.2, (kind >= 0.65).float()
        z0 = torch.where(alone.view(-1, 1, 1, 1), d.item[rows, which].float(), d.image[rows].float())
        text = torch.where((alone[:, None]), d.words[rows, which], d.caption[rows])
        text = torch.where(((open_ > 0) & (word > 0.7))[:, None], d.blind[rows, which], text)
        text = torch.where((word < 0.1)[:, None], d.empty, text)
        hole, weight = self._hole(rows, which, open_)
        return Rows(z0, hole, text, None, torch.zeros(count, dtype=torch.bool), weight)

    def dressed(self, count: int) -> Rows:
        """People with one of their garments in view, half of them with a hole where it is worn; captions mostly do not name it."""
        d = self.drawn
        rows = self.people[torch.randint(len(self.people), (count,), generator=self.generator)]
        which, word, kept = self._which(rows), self.chance(count), self.chance(count) > 0.12
        text = torch.where((word < 0.85)[:, None], d.blind[rows, which], d.caption[rows])
        text = torch.where((~kept | (word < 0.1))[:, None], d.empty, text)
        hole, weight = self._hole(rows, which, (self.chance(count) < 0.5).float())
        return Rows(d.image[rows].float(), hole, text, d.item[rows, which].float(), kept, weight)


class Model(nn.Module):
    """Denoiser, text encoder and AnyDressing's attention, as one that learns."""

    def __init__(self, studio, unet: nn.Module, text: TextEncoder, dressing: nn.Module):
        super().__init__()
        self.unet, self.text, self.dressing, self.studio = unet, text, dressing, (studio,)
        for module in (unet, text, dressing):
            module.requires_grad_(True)

    def eps(self, x: Tensor, t: Tensor, tokens: Tensor, hole: Tensor, garment: Tensor | None = None, kept: Tensor | None = None) -> Tensor:
        """The predicted noise (B,4,h,w)."""
        studio, patches = self.studio[0], []
        if garment is not None:
            features = studio.features(self.unet, torch.cat((garment, torch.zeros_like(hole)), 1))
            size = tuple(8 * s for s in garment.shape[-2:])
            patches = [self.dressing.patches([Reference("anydressing", "upper", features, size)], 1.0)]
        return studio.run(self.unet, torch.cat((x, hole), 1), t, tokens, patches, kept)


def zero_outputs(unet: nn.Module) -> nn.Module:
    """Start every residual branch, and the output, at zero."""
    with torch.no_grad():
        for name, parameter in unet.named_parameters():
            if name.endswith(("proj_out.weight", "proj_out.bias")) or ".out_layers.3." in name or name.startswith("out.2."):
                parameter.zero_()
    return unet


@dataclass
class Progress:
    """Where a training stands: `seconds` of its time used, `samples` seen, `ema` (the running mean of the weights), optimizer state."""

    seconds: float
    samples: int
    step: int
    weights: dict[str, Tensor]
    ema: dict[str, Tensor]
    optimizer: dict


def fit(
    model: Model, draws: Draws, schedule: Schedule, minutes: float, batch: int, rate: float, rank: int = 0, world: int = 1, dressed_from: float = 0.4,
    start: Progress | None = None, keep: Callable[[Progress], None] | None = None, every: float = 180.0, say: Callable[[str], None] = print,
) -> Progress:
    """Train for a time.

    Args:
        minutes: of the whole training, earlier parts included. batch: rows per step and process.
        rate: of AdamW, constant for 40 % after 100 steps of warm-up, then cosine.
        dressed_from: share of the time after which every second step has garments in view.
        start: to go on from. keep: is given the state every `every` seconds.
    """
    model.unet.to(memory_format=torch.channels_last)  # a tenth faster on a processor: fewer copies around attention
    parameters = {k: p for k, p in model.named_parameters() if p.requires_grad}
    if start is not None:
        model.load_state_dict(start.weights)
    ema = {k: p.detach().clone() for k, p in parameters.items()} if start is None else start.ema
    fresh = [p for k, p in parameters.items() if k.startswith("dressing.")]
    groups = [{"params": [p for k, p in parameters.items() if not k.startswith("dressing.")], "times": 1.0}, {"params": fresh, "times": 2.0}]
    optimizer = torch.optim.AdamW(groups, lr=rate, betas=BETAS, weight_decay=1e-3, fused=True)
    if start is not None:
        optimizer.load_state_dict(start.optimizer)
    alphas = schedule.abar.float()
    snr = SPREAD**2 * alphas / (1 - alphas)
    by_time = snr.clamp(max=SNR_CAP) / snr
    device = next(iter(parameters.values())).device
    before, step, samples, begun, last = (start.seconds, start.step, start.samples) + (time.monotonic(),) * 2 if start else (0.0, 0, 0, *(time.monotonic(),) * 2)
    first, smooth = samples, {}
    while True:
        used = before + time.monotonic() - begun
        share = _agreed(used / (60 * minutes), world)
        if share >= 1:
            break
        for group in optimizer.param_groups:
            group["lr"] = group["times"] * rate * min(1, (step + 1) / 100) * (1 if share < 0.4 else max(0.02, 0.5 + 0.5 * math.cos(math.pi * (share - 0.4) / 0.6)))
        kind = "dressed" if share >= dressed_from and step % 2 else "plain"
        rows = getattr(draws, kind)(batch)
        t, noise = draws.timesteps(batch), torch.randn(rows.z0.shape, generator=draws.generator)
        z0, noise, hole, kept = (v.to(device) for v in (rows.z0, noise, rows.hole, rows.kept))
        a = alphas[t].view(-1, 1, 1, 1).to(device)
        garment = None if rows.garment is None else rows.garment.to(device)
        eps = model.eps(a.sqrt() * z0 + (1 - a).sqrt() * noise, t, model.text(rows.text.to(device)), hole, garment, kept if garment is not None else None)
        error = ((eps - noise).square() * rows.weight.to(device)).mean((1, 2, 3))
        loss = (error * by_time[t].to(device)).mean()
        optimizer.zero_grad()
        loss.backward()
        _average(list(parameters.values()), world)
        torch.nn.utils.clip_grad_norm_(list(parameters.values()), 1.0)
        optimizer.step()
        step, samples = step + 1, samples + batch * world
        with torch.no_grad():
            torch._foreach_lerp_(list(ema.values()), [p.detach() for p in parameters.values()], 1 - min(0.998, (1 + step) / (10 + step)))
        smooth[kind] = loss.item() if kind not in smooth else 0.99 * smooth[kind] + 0.01 * loss.item()
        if rank == 0 and step % 200 == 0:
            say(f"denoiser: step {step}, {100 * share:.0f} %, {(samples - first) / (time.monotonic() - begun):.0f} samples/s, loss " + ", ".join(f"{k} {v:.4f}" for k, v in smooth.items()))
        if rank == 0 and keep is not None and time.monotonic() - last > every:
            last = time.monotonic()
            keep(_progress(model, ema, optimizer, used, samples, step))
    return _progress(model, ema, optimizer, before + time.monotonic() - begun, samples, step)


def _progress(model, ema, optimizer, seconds, samples, step) -> Progress:
    return Progress(seconds, samples, step, {k: v.detach().clone() for k, v in model.state_dict().items()}, ema, optimizer.state_dict())


def _agreed(share: float, world: int) -> float:
    """The first process's clock counts."""
    if world == 1:
        return share
    value = torch.tensor(share)
    dist.broadcast(value, 0)
    return float(value)


def _average(parameters: list[nn.Parameter], world: int) -> None:
    """Gradients as the mean over processes, in one message."""
    if world == 1:
        return
    flat = torch.cat([torch.zeros_like(p).flatten() if p.grad is None else p.grad.flatten() for p in parameters])
    dist.all_reduce(flat)
    flat /= world
    for parameter, part in zip(parameters, flat.split([p.numel() for p in parameters])):
        parameter.grad = part.view_as(parameter).clone()


@torch.no_grad()
def sample(model: Model, schedule: Schedule, text: Tensor, empty: Tensor, hole: Tensor, garment: Tensor | None = None, steps: int = 20, guidance: float = 2.5, seed: int = 0) -> Tensor:
    """Latents (B,4,h,w) by DDIM, for looking at; hole (B,5,h,w) as in `Rows`, zeros for none."""
    alphas, generator = schedule.abar.float(), torch.Generator().manual_seed(seed)
    rows = len(text)
    x = torch.randn(rows, 4, *hole.shape[-2:], generator=generator).to(hole)
    tokens = torch.cat((model.text(text), model.text(empty).expand(rows, -1, -1)))
    kept = torch.cat((torch.ones(rows, dtype=torch.bool), torch.zeros(rows, dtype=torch.bool)))
    times = torch.linspace(999, 0, steps + 1).round().long()
    for t, after in zip(times[:-1], [*times[1:-1], None]):
        a, b = alphas[t], torch.tensor(1.0) if after is None else alphas[after]
        both = None if garment is None else garment.repeat(2, 1, 1, 1)
        conditional, plain = model.eps(x.repeat(2, 1, 1, 1), t.expand(2 * rows), tokens, hole.repeat(2, 1, 1, 1), both, kept).chunk(2)
        eps = plain + guidance * (conditional - plain)
        clean = ((x - (1 - a).sqrt() * eps) / a.sqrt()).clamp(-4.5 * SPREAD, 4.5 * SPREAD)
        inside = hole[:, :1] + (hole[:, 1:].abs().sum((1, 2, 3), keepdim=True) == 0)
        clean = inside * clean + (1 - inside) * hole[:, 1:]
        x = b.sqrt() * clean + (1 - b).sqrt() * (x - a.sqrt() * clean) / (1 - a).sqrt()
    return x


def pooled_mask(mask: Tensor, size: tuple[int, int]) -> Tensor:
    """(B,1,H,W) 0/1 at latent size, as the host's inpainting does it: bilinear, rounded."""
    return F.interpolate(mask.float(), size, mode="bilinear").round()
