"""What is looked at while training: drawn pictures from fixed noise, the curve of the loss, both on one sheet."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import Tensor

from .config import TrainConfig
from .draws import generator

COLOURS = ("#1f4e8c", "#b5532a", "#3b7d4f", "#7a4e8a", "#8a6d3b", "#3a7f7a", "#a03b5c", "#555555")
PAPER, INK, PALE = "#fbfaf7", "#222222", "#d9d6cf"


@torch.no_grad()
def draw(task, items: list, config: TrainConfig, stop: Callable[[], None] = lambda: None) -> list[Tensor]:
    """Draw encoded samples with deterministic DDIM from noise that depends on the seed and the sample's place alone.

    Returns:
        per sample its drawn picture (3,H,W) in 0..1.
    """
    out = []
    for place, item in enumerate(items):
        batch = task.batches([item], [place])[0]
        noise = torch.randn(batch.z0.shape, generator=generator(config.seed, "validation", place))
        z = ddim(task, batch, noise.to(batch.z0), config.validation_steps, config.guidance, stop)
        out.append(task.studio.pictures(z)[0])
    return out


def ddim(task, batch, z: Tensor, steps: int, guidance: float, stop: Callable[[], None] = lambda: None) -> Tensor:
    """DDIM without noise (Song et al. 2021, eq. 12, eta = 0), guidance eps = u + g (c - u); z (B,4,h,w) is pure noise."""
    schedule, rows = task.schedule, torch.ones(len(batch), dtype=torch.bool, device=z.device)
    times = torch.linspace(len(schedule) - 1, 0, steps + 1).round().long()
    for now, then in zip(times[:-1], times[1:]):
        stop()
        t = torch.full((len(batch),), int(now), device=z.device)
        eps = task.predict(batch, z, t, rows)
        if guidance != 1.0:
            bare = task.predict(batch, z, t, ~rows)
            eps = bare + guidance * (eps - bare)
        clean = schedule.clean(z, eps, t)
        z = clean if int(then) == 0 else schedule.add_noise(clean, eps, torch.full_like(t, int(then)))
    return z


# ---- pictures ----------------------------------------------------------------------------------------------------------


def curve(history: Mapping[str, list[float]], done: int, total: int, width: int = 640, height: int = 360):
    """The loss over the steps as a PIL picture: the raw values pale, their running mean dark, the terms beside it."""
    from PIL import Image, ImageDraw

    picture = Image.new("RGB", (width, height), PAPER)
    pen = ImageDraw.Draw(picture)
    box = (64, 34, width - 20, height - 34)
    losses = history.get("loss", [])
    pen.text((box[0], 10), f"loss, step {done} of {total}", fill=INK)
    if not losses:
        return picture
    smooth = running_mean(losses)
    low, high = _limits(losses, smooth)
    for share in (0.0, 0.5, 1.0):
        y = box[3] - share * (box[3] - box[1])
        pen.line((box[0], y, box[2], y), fill=PALE)
        pen.text((8, y - 6), f"{low + share * (high - low):.3g}", fill=INK)
    pen.text((box[0], box[3] + 10), "0", fill=INK)
    pen.text((box[2] - 40, box[3] + 10), str(len(losses)), fill=INK)
    for values, colour, thick in ((losses, "#b9c7da", 1), (smooth, COLOURS[0], 2)):
        points = _points(values, low, high, box)
        if len(points) > 1:
            pen.line(points, fill=colour, width=thick)
    x = box[0] + 190
    for number, name in enumerate(k for k in history if k != "loss"):
        text = f"{name} {running_mean(history[name])[-1]:.3g}"
        pen.text((x, 10), text, fill=COLOURS[(number + 1) % len(COLOURS)])
        x += 8 * len(text) + 10
    return picture


def running_mean(values: list[float], keep: float = 0.95) -> list[float]:
    """Exponential mean without the start's bias: a constant stays that constant."""
    out, total, weight = [], 0.0, 0.0
    for value in values:
        total, weight = keep * total + (1 - keep) * value, keep * weight + (1 - keep)
        out.append(total / weight)
    return out


def _limits(losses: list[float], smooth: list[float]) -> tuple[float, float]:
    """What the axis shows: all of the mean, and the raw values but for the highest hundredth."""
    ordered = sorted(losses)
    low, high = min(ordered[0], min(smooth)), max(ordered[min(len(ordered) - 1, int(0.99 * len(ordered)))], max(smooth))
    return (low, high) if high > low else (low - 0.5 * abs(low) - 1e-6, high + 0.5 * abs(high) + 1e-6)


def _points(values: list[float], low: float, high: float, box) -> list[tuple[float, float]]:
    """Line through the values, one point per pixel column at most."""
    count, columns = len(values), int(box[2] - box[0])
    places = range(count) if count <= columns else sorted({round(i * (count - 1) / (columns - 1)) for i in range(columns)})
    span = max(count - 1, 1)
    return [(box[0] + i / span * (box[2] - box[0]), box[3] - min(max((values[i] - low) / (high - low), 0), 1) * (box[3] - box[1])) for i in places]


def sheet(drawn: list[tuple[str, Tensor, Tensor]], plot, side: int = 288):
    """True pictures above, drawn ones below, the curve under them."""
    from PIL import Image, ImageDraw

    tiles = [(name, _picture(true, side), _picture(made, side)) for name, true, made in drawn]
    width = max(plot.width, sum(t[1].width + 8 for t in tiles) + 8)
    height = 2 * (side + 22) + 8
    picture = Image.new("RGB", (width, height + plot.height), PAPER)
    pen, x = ImageDraw.Draw(picture), 8
    for name, true, made in tiles:
        pen.text((x, 4), f"{name} (true)"[:40], fill=INK)
        picture.paste(true, (x, 20))
        pen.text((x, side + 26), "drawn", fill=INK)
        picture.paste(made, (x, side + 42))
        x += true.width + 8
    picture.paste(plot, (0, height))
    return picture


def _picture(tensor: Tensor, side: int):
    from PIL import Image

    array = (tensor.clamp(0, 1) * 255).round().to(torch.uint8).movedim(0, -1).cpu().numpy()
    picture = Image.fromarray(array)
    scale = side / picture.height
    return picture.resize((max(1, round(picture.width * scale)), side), Image.LANCZOS if scale < 1 else Image.NEAREST)


def write(picture, path: Path) -> None:
    """Save a picture whole or not at all; a full disk costs the picture, not the training."""
    temporary = path.with_name(f".{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        picture.save(temporary, "JPEG", quality=92)
        os.replace(temporary, path)
    except OSError:
        temporary.unlink(missing_ok=True)
