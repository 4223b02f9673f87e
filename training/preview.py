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
PAPER, INK, MIDDLE, PALE, DOT, RAW = "#fbfaf7", "#222222", "#666666", "#d9d6cf", "#d97706", "#b9c7da"
TERM_ROW, TERMS_IN_A_ROW = 92, 4


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
    """DDIM without noise (Song et al. 2021, eq. 12, eta = 0), guidance eps = u + g (c - u); z (B,4,h,w) is pure noise.

    Of a task that fills a hole the rest is the picture's own in every step, as the host's noise mask has it.
    """
    schedule, rows = task.schedule, torch.ones(len(batch), dtype=torch.bool, device=z.device)
    noise, hole = z, batch.get("mask") if task.fills_hole else None
    if hole is not None:
        hole = torch.nn.functional.interpolate(hole.float(), z.shape[-2:], mode="bilinear")
    times = torch.linspace(len(schedule) - 1, 0, steps + 1).round().long()
    for now, then in zip(times[:-1], times[1:]):
        stop()
        t = torch.full((len(batch),), int(now), device=z.device)
        if hole is not None:
            z = hole * z + (1 - hole) * schedule.add_noise(batch.z0, noise, t)
        eps = task.predict(batch, z, t, rows)
        if guidance != 1.0:
            bare = task.predict(batch, z, t, ~rows)
            eps = bare + guidance * (eps - bare)
        clean = schedule.clean(z, eps, t)
        if hole is not None:
            clean = hole * clean + (1 - hole) * batch.z0
        z = clean if int(then) == 0 else schedule.add_noise(clean, eps, torch.full_like(t, int(then)))
    return z


# ---- pictures ----------------------------------------------------------------------------------------------------------


def curve(
    history: Mapping[str, list[float]], done: int, total: int, validation: Mapping[str, list[float]] | None = None, facts: str = "",
    weights: Mapping[str, float] | None = None, width: int = 640, height: int = 380,
):
    """The loss over the steps as a PIL picture, and under it a small curve per term, each on a scale of its own.

    Args:
        history: per term its mean at every step; "loss" is drawn raw (pale) and as running mean (dark).
        done, total: steps.
        validation: "step" and "loss" of every validation, drawn as dots.
        facts: a line of text under the title.
        weights: of the terms.
        width, height: in pixels; terms add to the height.
    """
    from PIL import Image, ImageDraw

    terms = {k: v for k, v in history.items() if k != "loss" and len(history) > 2}
    picture = Image.new("RGB", (width, height + TERM_ROW * -(-len(terms) // TERMS_IN_A_ROW)), PAPER)
    pen = ImageDraw.Draw(picture)
    pen.font = _font()
    box = (64, 72, width - 24, height - 34)
    losses = history.get("loss", [])
    smooth, checked = running_mean(losses), dict(zip((validation or {}).get("step", ()), (validation or {}).get("loss", ())))
    pen.text((box[0], 8), f"step {done} of {total}" + (f", loss {smooth[-1]:.3g}" if losses else ""), fill=INK)
    pen.text((box[0], 26), facts, fill=MIDDLE)
    if not losses:
        return picture
    low, high = _limits(losses, smooth, list(checked.values()))
    _axes(pen, box, low, high, len(losses))
    for values, colour, thick in ((losses, RAW, 1), (smooth, COLOURS[0], 2)):
        points = _points(values, low, high, box)
        if len(points) > 1:
            pen.line(points, fill=colour, width=thick)
    for step, value in checked.items():
        x, y = _place(step - 1, value, max(len(losses) - 1, 1), low, high, box)
        pen.ellipse((x - 4, y - 4, x + 4, y + 4), fill=DOT, outline=PAPER)
    seen = [("every step", RAW), ("running mean", COLOURS[0])] + ([(f"validation {list(checked.values())[-1]:.3g}", DOT)] if checked else [])
    _legend(pen, box[0], 46, seen)
    for number, (name, values) in enumerate(terms.items()):
        row, column = divmod(number, TERMS_IN_A_ROW)
        side = (width - 40) // TERMS_IN_A_ROW
        _term(pen, (20 + column * side, height + row * TERM_ROW), side - 16, name, values, (weights or {}).get(name, 1.0), COLOURS[1 + number % (len(COLOURS) - 1)])
    return picture


def _term(pen, corner: tuple[int, int], width: int, name: str, values: list[float], weight: float, colour: str) -> None:
    """One term's running mean with its first and last value, and its weight."""
    x, y = corner
    smooth = running_mean(values)
    pen.text((x, y), f"{name} x {weight:g}", fill=colour)
    pen.text((x, y + 15), f"{smooth[0]:.3g} to {smooth[-1]:.3g}", fill=MIDDLE)
    box, (low, high) = (x, y + 34, x + width, y + TERM_ROW - 14), _limits(smooth, smooth, [])
    pen.line((box[0], box[3], box[2], box[3]), fill=PALE)
    points = _points(smooth, low, high, box)
    if len(points) > 1:
        pen.line(points, fill=colour, width=2)


def _font(size: int = 12):
    from PIL import ImageFont

    try:
        return ImageFont.load_default(size)
    except (TypeError, ImportError):  # older Pillow, or one without FreeType: its small fixed font
        return ImageFont.load_default()


def _axes(pen, box, low: float, high: float, steps: int) -> None:
    for number in range(5):
        share = number / 4
        y, x = box[3] - share * (box[3] - box[1]), box[0] + share * (box[2] - box[0])
        pen.line((box[0], y, box[2], y), fill=PALE)
        pen.text((box[0] - 8, y), f"{low + share * (high - low):.3g}", fill=INK, anchor="rm")
        label = round(1 + share * (steps - 1))
        if steps > 4 or number in (0, 4):
            pen.text((x, box[3] + 8), str(label), fill=INK, anchor="mt")


def _legend(pen, x: float, y: float, entries: list[tuple[str, str]]) -> None:
    for text, colour in entries:
        pen.rectangle((x, y + 6, x + 14, y + 9), fill=colour)
        pen.text((x + 18, y), text, fill=INK)
        x += pen.textlength(text) + 34


def running_mean(values: list[float], keep: float = 0.95) -> list[float]:
    """Exponential mean without the start's bias: a constant stays that constant."""
    out, total, weight = [], 0.0, 0.0
    for value in values:
        total, weight = keep * total + (1 - keep) * value, keep * weight + (1 - keep)
        out.append(total / weight)
    return out


def _limits(losses: list[float], smooth: list[float], others: list[float]) -> tuple[float, float]:
    """What the axis shows: all of the means and the others, and the raw values but for the highest hundredth."""
    ordered = sorted(losses)
    low, high = min(ordered[0], *smooth, *others), max(ordered[min(len(ordered) - 1, int(0.99 * len(ordered)))], *smooth, *others)
    flat = high - low <= 1e-6 * max(abs(low), abs(high))  # a constant, and rounding
    return (low - 0.5 * abs(low) - 1e-6, high + 0.5 * abs(high) + 1e-6) if flat else (low, high)


def _points(values: list[float], low: float, high: float, box) -> list[tuple[float, float]]:
    """Line through the values, one point per pixel column at most."""
    count, columns = len(values), int(box[2] - box[0])
    places = range(count) if count <= columns else sorted({round(i * (count - 1) / (columns - 1)) for i in range(columns)})
    return [_place(i, values[i], max(count - 1, 1), low, high, box) for i in places]


def _place(number: float, value: float, last: int, low: float, high: float, box) -> tuple[float, float]:
    """Where value `number` of 0 .. last lies in the picture."""
    return box[0] + number / last * (box[2] - box[0]), box[3] - min(max((value - low) / (high - low), 0), 1) * (box[3] - box[1])


def sheet(drawn: list[tuple[str, Tensor, Tensor]], plot, side: int = 288):
    """True pictures above, drawn ones below, the curve under them."""
    from PIL import Image, ImageDraw

    tiles = [(name, _picture(true, side), _picture(made, side)) for name, true, made in drawn]
    width = max(plot.width, sum(t[1].width + 8 for t in tiles) + 8)
    height = 2 * (side + 22) + 8
    picture = Image.new("RGB", (width, height + plot.height), PAPER)
    pen, x = ImageDraw.Draw(picture), 8
    pen.font = _font()
    for name, true, made in tiles:
        pen.text((x, 4), _shortened(pen, f"{name} (true)", true.width), fill=INK)
        picture.paste(true, (x, 20))
        pen.text((x, side + 26), "drawn", fill=INK)
        picture.paste(made, (x, side + 42))
        x += true.width + 8
    picture.paste(plot, (0, height))
    return picture


def _shortened(pen, text: str, width: int) -> str:
    """A text that is no wider than its tile."""
    while text and pen.textlength(text) > width:
        text = text.removesuffix("...")[:-1] + "..." if len(text) > 4 else ""
    return text


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
