"""Rooms and tables with a free spot in which a product can be placed."""

from __future__ import annotations

import numpy as np

from .backgrounds import _box, _disc
from .canvas import Canvas, blur
from .curves import smoothstep
from .palette import jitter, mix, rgb
from .products import SIZES, draw_product, render, shadow
from .solids import View

WALLS = (rgb(242, 230, 212), rgb(206, 220, 214), rgb(232, 212, 208), rgb(212, 220, 234), rgb(240, 222, 186), rgb(220, 214, 230))
FLOORS = (rgb(206, 164, 122), rgb(184, 140, 104), rgb(222, 190, 150), rgb(168, 130, 104))
RUGS = (rgb(214, 128, 104), rgb(116, 158, 164), rgb(228, 196, 130), rgb(150, 132, 170), rgb(240, 230, 214))


def draw_room(canvas: Canvas, rng: np.random.Generator) -> dict[str, View]:
    """Paint a living room; returns the views of its free spots: "floor" (the middle), "side" (beside it) and "wall" (above it)."""
    x = (np.arange(canvas.width, dtype=np.float32)[None] + 0.5) / canvas.width
    y = (np.arange(canvas.height, dtype=np.float32)[:, None] + 0.5) / canvas.height
    wall, floor = jitter(WALLS[rng.integers(len(WALLS))], rng, 0.012), jitter(FLOORS[rng.integers(len(FLOORS))], rng, 0.012)
    edge = rng.uniform(0.64, 0.68)
    light = np.exp(-(((x - 0.3) / 0.6) ** 2) - ((y - 0.3) / 0.5) ** 2)
    canvas.image[:] = mix(wall * 0.94, mix(wall, (1, 1, 1), 0.4), light)
    boards = mix(floor, floor * 0.82, (1 - (y - edge) / (1 - edge)) + 0 * x)
    canvas.image[:] = np.where((y > edge)[..., None], boards, canvas.image)
    for row in (0.02, 0.055, 0.105, 0.17, 0.25, 0.34):
        canvas.shade(_box(canvas, 0, edge + row, 1, edge + row + 0.0035), 0.86, 0.8)
    canvas.paint(_box(canvas, 0, edge - 0.022, 1, edge), mix(wall, (1, 1, 1), 0.75))
    canvas.shade(_box(canvas, 0, edge, 1, edge + 0.008), 0.7, 0.6)
    canvas.depth[:] = np.where(y > edge, 0.2 + 0.5 * (y - edge) / (1 - edge), 0.12) + 0 * x
    side = int(rng.choice([-1, 1]))
    _window(canvas, rng, 0.2 if side < 0 else 0.8)
    _pictures(canvas, rng, 0.84 if side < 0 else 0.16)
    rug = jitter(RUGS[rng.integers(len(RUGS))], rng, 0.02)
    for r, tone in ((1.0, rug), (0.86, mix(rug, (1, 1, 1), 0.45)), (0.78, rug)):
        canvas.paint(_disc(canvas, 0.5, edge + 0.17, 43 * r, 12 * r), tone)
    _corner(canvas, rng, side, edge)
    centre = (np.array([0.5 * canvas.width, (edge + 0.15) * canvas.height]) - canvas.offset) / canvas.scale
    x, y = float(centre[0]), float(centre[1])
    return {"floor": View(x, y, 1.0, 0.0, 0.34), "side": View(x + side * 34, y - 9, 0.9, 0.0, 0.3), "wall": View(x + side * 2.0, y - 46, 0.8, 0.0, 0.0)}


def _window(canvas: Canvas, rng: np.random.Generator, at: float) -> None:
    left, right = at - 0.15, at + 0.15
    canvas.paint(_box(canvas, left, 0.06, right, 0.4), rgb(252, 250, 246), depth=0.12)
    canvas.paint(_box(canvas, left + 0.018, 0.075, right - 0.018, 0.388), jitter(rgb(184, 222, 240), rng))
    canvas.paint(_disc(canvas, at - 0.04, 0.37, 13, 9).within(_box(canvas, left + 0.018, 0.075, right - 0.018, 0.388)), rgb(150, 198, 146))
    canvas.paint(_disc(canvas, at + 0.07, 0.38, 11, 9).within(_box(canvas, left + 0.018, 0.075, right - 0.018, 0.388)), rgb(126, 182, 134))
    canvas.paint(_box(canvas, at - 0.008, 0.07, at + 0.008, 0.395), rgb(252, 250, 246))
    canvas.paint(_box(canvas, left, 0.225, right, 0.237), rgb(252, 250, 246))
    curtain = jitter(RUGS[rng.integers(len(RUGS))], rng, 0.02)
    for x0, x1 in ((left - 0.07, left + 0.03), (right - 0.03, right + 0.07)):
        cover = _box(canvas, x0, 0.035, x1, 0.6)
        x, _ = canvas.grid(cover)
        canvas.paint(cover, curtain * (1 + 0.09 * np.cos(x * 2.1))[..., None] * np.ones((cover.alpha.shape[0], 1, 1), np.float32))
    canvas.paint(_box(canvas, left - 0.09, 0.026, right + 0.09, 0.04), rgb(150, 112, 82))


def _pictures(canvas: Canvas, rng: np.random.Generator, at: float) -> None:
    for y0, w, h in ((0.1, 0.16, 0.16), (0.29, 0.12, 0.1)):
        x0 = at - w / 2
        canvas.shade(canvas.moved(canvas.soften(_box(canvas, x0, y0, x0 + w, y0 + h), 0.8), 0.6, 1.0), 0.84)
        canvas.paint(_box(canvas, x0, y0, x0 + w, y0 + h), rgb(140, 106, 80))
        inner = _box(canvas, x0 + 0.012, y0 + 0.009, x0 + w - 0.012, y0 + h - 0.009)
        canvas.paint(inner, rgb(250, 246, 238))
        for _ in range(3):
            tone = (rgb(222, 122, 96), rgb(104, 154, 162), rgb(238, 196, 110), rgb(124, 150, 110))[rng.integers(4)]
            spot = _disc(canvas, x0 + w * rng.uniform(0.3, 0.7), y0 + h * rng.uniform(0.3, 0.75), rng.uniform(2.0, 4.2))
            canvas.paint(spot.within(inner), tone, 0.9)


def _corner(canvas: Canvas, rng: np.random.Generator, side: int, edge: float) -> None:
    """Something of the room's own in a corner."""
    kind = str(rng.choice(["plant", "lamp"]))
    at = (np.array([(0.5 - side * 0.40) * canvas.width, (edge + 0.035) * canvas.height]) - canvas.offset) / canvas.scale
    thing = draw_product(rng, kind)
    view = View(float(at[0]), float(at[1]), 0.82, 0.0, 0.26)
    shadow(canvas, thing, view, 0.5)
    render(canvas, thing, view, 0.25)
    canvas.labels[:] = 0


def draw_table(canvas: Canvas, rng: np.random.Generator) -> View:
    """Paint a table top before a soft wall; returns the view of its free spot."""
    x = (np.arange(canvas.width, dtype=np.float32)[None] + 0.5) / canvas.width
    y = (np.arange(canvas.height, dtype=np.float32)[:, None] + 0.5) / canvas.height
    draw_room(canvas, rng)
    for c in range(3):
        canvas.image[..., c] = blur(canvas.image[..., c].clip(0, 1), 1.3 * canvas.scale)
    edge = rng.uniform(0.68, 0.72)
    wood = jitter(FLOORS[rng.integers(len(FLOORS))], rng, 0.02)
    grain = 1 + 0.02 * np.cos(60 * y + 3 * np.sin(5 * x)) + 0.012 * np.cos(190 * y + 5 * np.sin(4 * x + 1))
    top = mix(wood * 0.93, mix(wood, (1, 1, 1), 0.2), smoothstep(y, edge, 1.0) + 0 * x) * grain[..., None]
    share = np.clip((y - edge) * canvas.height + 0.5, 0, 1)
    canvas.image[:] = mix(canvas.image, top, share + 0 * x)
    canvas.shade(_box(canvas, 0, edge, 1, edge + 0.01), 1.08)
    canvas.depth[:] = np.where(y > edge, 0.35 + 0.5 * (y - edge) / (1 - edge), 0.1) + 0 * x
    canvas.labels[:] = 0
    centre = (np.array([0.5 * canvas.width, (edge + 0.13) * canvas.height]) - canvas.offset) / canvas.scale
    return View(float(centre[0] + rng.uniform(-6, 6)), float(centre[1]), 1.5, 0.0, 0.24)


def free_spot(canvas: Canvas, view: View, kind: str, slack: float = 1.1):
    """The region a product of a kind is painted into: a rounded box around it, `slack` times as large, as a cover."""
    w, d, h = SIZES[kind]
    w, d = abs(np.cos(view.yaw)) * w + abs(np.sin(view.yaw)) * d, abs(np.cos(view.yaw)) * d + abs(np.sin(view.yaw)) * w
    below = d / 2 * np.sin(view.pitch)
    above = h * np.cos(view.pitch) + below
    middle, half = (above - below) / 2, ((above + below) / 2 * slack + 2.0) * view.scale
    x0, x1 = view.x - (w / 2 * slack + 1.5) * view.scale, view.x + (w / 2 * slack + 1.5) * view.scale
    y0, y1 = view.y - middle * view.scale - half, view.y - middle * view.scale + half
    r = 2.5
    return canvas.shape(np.array([(x0 + r, y0 + r), (x1 - r, y0 + r), (x1 - r, y1 - r), (x0 + r, y1 - r)]), round_by=r)
