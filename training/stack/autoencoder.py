"""The stack's autoencoder: a narrow net trained here, and the same net as the host's tiny autoencoder (TAESD's layout) reads it.

The layout has 64 channels everywhere; a narrow net of 16, 32, 64 channels learns four times faster on a processor, and padding it with
zeros afterwards changes nothing: a channel of zeros stays zero, and a residual block of zeros is a ReLU.
Latents have unit variance inside (a batch norm without parameters, folded into the encoder's last convolution at export), and the denoiser sees
them times SPREAD. Why: its last group norm has one channel per group at this width, so it can hardly say anything about a mean, and
what it misses of the noise's mean over h w cells is 14.6 / sqrt(h w) of a clean latent at the first step, 1.05 at 16 x 12 cells: every picture from
nothing came out in one glaring colour. Three times larger latents are three times less hurt, and so few cells need less noise anyway.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .pictures import Pictures

CHANNELS = (16, 32, 64, 64)
"""At full, 1/2, 1/4 and 1/8 resolution."""
FULL = 64
SPREAD = 3.0
"""Standard deviation of latents as the denoiser sees them."""
NOISE = 0.3
"""Standard deviation of the noise on latents in training, as a share of theirs: about what a small denoiser gets wrong.

With 0.05 the judge named pattern and colour of worn garments right in 92.6 % and 75 % of true pictures after a round trip; after 22 more minutes of one
core's work with 0.3 and the cells' absolute error in the loss, in 98 % and 95 % (64 held-out persons), and restored garments in 100 %. Persons 23.8 dB, and
21.6 dB with latents off by half their deviation (18.7 before). The price: latents that hold this much are harder to learn, and a denoiser that has seen few
samples paints patches of the right colours where a pattern should be.
"""
SCALE = 0.18215 / SPREAD
"""What the host's VAE class multiplies latents by before its decoder."""
EXACT = 0.85
"""Share of a training after which it computes in fp32; before, bf16 with channels last, which a processor does in half the time."""
ENCODER_BLOCKS = (1, 3, 4, 5, 7, 8, 9, 11, 12, 13)
DECODER_BLOCKS = (3, 4, 5, 8, 9, 10, 13, 14, 15, 18)


def _conv(before: int, after: int, **options) -> nn.Conv2d:
    return nn.Conv2d(before, after, 3, padding=1, **options)


class Residual(nn.Module):
    """relu(x + three convolutions)."""

    def __init__(self, channels: int):
        super().__init__()
        self.conv = nn.Sequential(_conv(channels, channels), nn.ReLU(), _conv(channels, channels), nn.ReLU(), _conv(channels, channels))

    def forward(self, x: Tensor) -> Tensor:
        """(B,C,h,w) to the same."""
        return F.relu(x + self.conv(x))


class Soft(nn.Module):
    """3 tanh(x / 3): what the decoder does to latents first."""

    def forward(self, x: Tensor) -> Tensor:
        """(B,4,h,w) to the same."""
        return torch.tanh(x / 3) * 3


def _encoder() -> nn.Sequential:
    a, b, c, d = CHANNELS
    down = {"stride": 2, "bias": False}
    return nn.Sequential(
        _conv(3, a), nn.ReLU(),
        _conv(a, b, **down), Residual(b), nn.ReLU(), nn.ReLU(),
        _conv(b, c, **down), Residual(c), Residual(c), nn.ReLU(),
        _conv(c, d, **down), Residual(d), Residual(d), Residual(d), _conv(d, 4),
    )


def _decoder() -> nn.Sequential:
    a, b, c, d = CHANNELS
    return nn.Sequential(
        Soft(), _conv(4, d), nn.ReLU(), Residual(d), Residual(d), Residual(d),
        nn.Upsample(scale_factor=2), _conv(d, c, bias=False), Residual(c), Residual(c), nn.ReLU(),
        nn.Upsample(scale_factor=2), _conv(c, b, bias=False), Residual(b), nn.ReLU(), nn.ReLU(),
        nn.Upsample(scale_factor=2), _conv(b, a, bias=False), Residual(a), _conv(a, 3),
    )


class Autoencoder(nn.Module):
    """Pictures (B,3,H,W) in 0..1 to latents (B,4,H/8,W/8), and back."""

    def __init__(self):
        super().__init__()
        self.encoder, self.decoder, self.norm = _encoder(), _decoder(), nn.BatchNorm2d(4, affine=False, momentum=0.02)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        for module in self.modules():
            if isinstance(module, Residual):
                module.conv[4].weight.data.mul_(0.2)
        self.decoder[-1].weight.data.mul_(0.3)
        self.decoder[-1].bias.data.fill_(0.5)

    def encode(self, pictures: Tensor) -> Tensor:
        """Latents (B,4,H/8,W/8), standard deviation `SPREAD`."""
        return self.norm(self.encoder(pictures)) * SPREAD

    def decode(self, latents: Tensor) -> Tensor:
        """Pictures, not clamped."""
        return self.decoder(latents / SPREAD)

    def forward(self, pictures: Tensor, noise: float) -> Tensor:
        """Pictures after a round trip, with noise on the latents so that small errors of a denoiser stay small."""
        latents = self.encode(pictures)
        return self.decode(latents + SPREAD * noise * torch.randn_like(latents))

    @torch.no_grad()
    def export(self) -> dict[str, Tensor]:
        """The state dict of TAESD's layout, float32; a host that multiplies latents by 0.18215 sees them as `encode` gives them."""
        spread = torch.rsqrt(self.norm.running_var + self.norm.eps)
        state = {"vae_scale": torch.tensor(SCALE), "vae_shift": torch.tensor(0.0)}
        for name, net, blocks, ends in (("taesd_encoder", self.encoder, ENCODER_BLOCKS, (3, 4)), ("taesd_decoder", self.decoder, DECODER_BLOCKS, (4, 3))):
            convolutions = [i for i, m in enumerate(net) if isinstance(m, nn.Conv2d)]
            for index, module in enumerate(net):
                if index in blocks:
                    for part in (0, 2, 4):
                        conv = module.conv[part] if isinstance(module, Residual) else None
                        state |= _padded(f"{name}.{index}.conv.{part}", None if conv is None else conv.weight, None if conv is None else conv.bias, FULL, FULL, True)
                elif index in convolutions:
                    weight, bias = module.weight, module.bias
                    if net is self.encoder and index == convolutions[-1]:
                        weight, bias = weight * spread[:, None, None, None], (bias - self.norm.running_mean) * spread
                    first, last = index == convolutions[0], index == convolutions[-1]
                    state |= _padded(f"{name}.{index}", weight, bias, ends[1] if last else FULL, ends[0] if first else FULL, module.bias is not None)
        return state

    @torch.no_grad()
    def take(self, state: dict[str, Tensor]) -> Autoencoder:
        """Weights from what `export` gave; the batch norm, folded there, starts as the identity."""
        for name, net in (("taesd_encoder", self.encoder), ("taesd_decoder", self.decoder)):
            for index, module in enumerate(net):
                parts = {f".conv.{p}": module.conv[p] for p in (0, 2, 4)} if isinstance(module, Residual) else {"": module}
                for suffix, conv in parts.items():
                    if isinstance(conv, nn.Conv2d):
                        conv.weight.copy_(state[f"{name}.{index}{suffix}.weight"][: conv.out_channels, : conv.in_channels])
                        if conv.bias is not None:
                            conv.bias.copy_(state[f"{name}.{index}{suffix}.bias"][: conv.out_channels])
        self.norm.running_mean.zero_()
        self.norm.running_var.fill_(1 - self.norm.eps)
        return self


def _padded(name: str, weight: Tensor | None, bias: Tensor | None, out: int, into: int, has_bias: bool) -> dict[str, Tensor]:
    wide = {f"{name}.weight": torch.zeros(out, into, 3, 3)}
    if weight is not None:
        wide[f"{name}.weight"][: weight.shape[0], : weight.shape[1]] = weight.cpu()
    if has_bias:
        wide[f"{name}.bias"] = torch.zeros(out)
        if bias is not None:
            wide[f"{name}.bias"][: bias.shape[0]] = bias.cpu()
    return wide


def similarity(a: Tensor, b: Tensor) -> Tensor:
    """Mean structural similarity with a 7 x 7 box window at every second pixel, of pictures (B,3,H,W) in 0..1."""
    mean = lambda x: F.avg_pool2d(x, 7, 2, 3)  # noqa: E731
    ma, mb = mean(a), mean(b)
    va, vb, cov = mean(a * a) - ma**2, mean(b * b) - mb**2, mean(a * b) - ma * mb
    return ((2 * ma * mb + 1e-4) * (2 * cov + 9e-4) / ((ma**2 + mb**2 + 1e-4) * (va + vb + 9e-4))).mean()


def reconstruction_loss(drawn: Tensor, true: Tensor) -> Tensor:
    """L1, its gradient, structure, and the mean colour of every 8 x 8 cell, without which colours collapse.

    The square of the cells' error says little once it is small, and pink stayed peach and lilac grey; so its absolute value counts too.
    """
    edges = sum((drawn.diff(dim=d) - true.diff(dim=d)).abs().mean() for d in (2, 3))
    cells = F.avg_pool2d(drawn - true, 8)
    return (drawn - true).abs().mean() + 0.5 * edges + 0.2 * (1 - similarity(drawn, true)) + 12 * cells.pow(2).mean() + 2 * cells.abs().mean() + 2 * (drawn - true).pow(2).mean()


def crops(pictures: Pictures, rng: np.random.Generator, batch: int, size: int = 64) -> Tensor:
    """Random crops (B,3,size,size) in 0..1 of pictures, of masked pictures and of the things alone."""
    out, (height, width) = [], pictures.image.shape[1:3]
    for row in rng.integers(0, len(pictures), batch):
        which, kind = int(rng.integers(len(pictures.words[row]))), rng.random()
        if kind < 0.5:
            picture = pictures.image[row]
        elif kind < 0.65:
            picture = pictures.masked(np.array([row]), which)[0]
        else:
            picture = pictures.item[row, which]
        y, x = (int(rng.integers(0, (side - size) // 8 + 1)) * 8 for side in (height, width))
        out.append(picture[y : y + size, x : x + size])
    return torch.from_numpy(np.stack(out)).permute(0, 3, 1, 2).float().div_(255)


def fit(
    pictures: Pictures, minutes: float, seed: int, device: torch.device, batch: int, rate: float = 3e-3, say: Callable[[str], None] = print, steps: int = 0,
    start: Autoencoder | None = None,
) -> tuple[Autoencoder, int]:
    """Train an autoencoder for a time, or for a number of steps where it is given; (the net, crops seen). `start` goes on learning."""
    torch.manual_seed(seed)
    net, rng = (Autoencoder() if start is None else start).to(device).train(), np.random.default_rng(seed)
    optimizer = torch.optim.AdamW(net.parameters(), lr=rate, betas=(0.9, 0.99), weight_decay=1e-4, fused=True)
    net = net.to(memory_format=torch.channels_last)
    begun, step, smooth = time.monotonic(), 0, None
    while (share := step / steps if steps else (time.monotonic() - begun) / (60 * minutes)) < 1:
        for group in optimizer.param_groups:
            group["lr"] = rate * min(1, (step + 1) / 100) * (0.5 + 0.5 * math.cos(math.pi * share)) + 1e-5
        true = crops(pictures, rng, batch).to(device)
        with torch.autocast(device.type, torch.bfloat16, enabled=share < EXACT):
            drawn = net(true.contiguous(memory_format=torch.channels_last), NOISE)
        loss = reconstruction_loss(drawn.float().contiguous(), true)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        step += 1
        smooth = loss.item() if smooth is None else 0.98 * smooth + 0.02 * loss.item()
        if step % 200 == 0:
            say(f"autoencoder: step {step}, {step * batch / (time.monotonic() - begun):.0f} crops/s, loss {smooth:.4f}")
    return net.eval(), step * batch


@torch.no_grad()
def psnr(net: Autoencoder, pictures: np.ndarray, device: torch.device) -> float:
    """Mean PSNR in dB of pictures (N,H,W,3) uint8 after a round trip."""
    true = torch.from_numpy(pictures).permute(0, 3, 1, 2).float().div(255).to(device)
    drawn = net.decode(net.encode(true)).clamp(0, 1)
    return float((-10 * torch.log10((drawn - true).pow(2).mean((1, 2, 3)))).mean())


@torch.no_grad()
def latents(net: Autoencoder, pictures: np.ndarray, device: torch.device, batch: int = 100) -> Tensor:
    """Latents (N,4,h,w) float16 of pictures (N,H,W,3) uint8."""
    net = net.to(memory_format=torch.channels_last)
    parts = (torch.from_numpy(pictures[i : i + batch]).permute(0, 3, 1, 2).float().div(255).to(device) for i in range(0, len(pictures), batch))
    return torch.cat([net.encode(p.contiguous(memory_format=torch.channels_last)).half().cpu() for p in parts])
