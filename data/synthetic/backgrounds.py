"""Soft places for a person to stand in: simple shapes, out of focus."""

from __future__ import annotations

import numpy as np

from .canvas import Canvas, blur
from .curves import smoothstep
from .head import canvas_disc
from .curves import Frame
from .palette import jitter, mix, rgb

PLACES = {"studio": "in a studio", "park": "in a park", "beach": "at the beach", "street": "in a street", "room": "in a room"}
STUDIO = (rgb(226, 216, 206), rgb(200, 214, 222), rgb(236, 208, 196), rgb(206, 218, 202), rgb(216, 208, 228), rgb(240, 224, 190))


def draw_place(canvas: Canvas, rng: np.random.Generator, place: str) -> None:
    """Fill the canvas with a place, one of `PLACES`; depth runs from 0 far away to 0.3 at the lower edge.

    Raises:
        ValueError: an unknown place.
    """
    if place not in PLACES:
        raise ValueError(f"The place '{place}' is not known; choose one of {', '.join(PLACES)}.")
    x = (np.arange(canvas.width, dtype=np.float32)[None] + 0.5) / canvas.width
    y = (np.arange(canvas.height, dtype=np.float32)[:, None] + 0.5) / canvas.height
    {"studio": _studio, "park": _park, "beach": _beach, "street": _street, "room": _room}[place](canvas, rng, x, y)
    canvas.depth[:] = np.broadcast_to(0.28 * np.clip((y - 0.35) / 0.65, 0, 1) ** 1.5, canvas.depth.shape)
    if place != "studio":
        for c in range(3):
            canvas.image[..., c] = blur(canvas.image[..., c], 0.7 * canvas.scale)
    canvas.image *= (1.02 - 0.1 * ((x - 0.5) ** 2 + (y - 0.45) ** 2))[..., None]
    np.clip(canvas.image, 0, 1, out=canvas.image)


def _box(canvas: Canvas, x0: float, y0: float, x1: float, y1: float):
    """A rectangle given in shares of the picture, as a cover."""
    corners = np.array([(x0, y0), (x1, y0), (x1, y1), (x0, y1)]) * (canvas.width, canvas.height)
    return canvas.shape((corners - canvas.offset) / canvas.scale)


def _disc(canvas: Canvas, x: float, y: float, r: float, ry: float | None = None):
    """A disc at shares (x, y) of the picture with radii in units."""
    at = (np.array([x * canvas.width, y * canvas.height]) - canvas.offset) / canvas.scale
    return canvas.shape(canvas_disc(Frame(), at[0], at[1], r, ry))


def _studio(canvas: Canvas, rng, x, y) -> None:
    tone = jitter(STUDIO[rng.integers(len(STUDIO))], rng)
    glow = np.exp(-(((x - 0.42) / 0.5) ** 2) - ((y - 0.36) / 0.45) ** 2)
    floor = smoothstep(y, 0.8, 1.0)
    canvas.image[:] = mix(mix(tone * 0.86, mix(tone, (1, 1, 1), 0.45), glow), tone * 0.8, 0.6 * floor + 0 * x)


def _park(canvas: Canvas, rng, x, y) -> None:
    horizon = rng.uniform(0.46, 0.56)
    sky = mix(jitter(rgb(150, 206, 238), rng), rgb(230, 243, 246), y / horizon)
    grass = mix(jitter(rgb(160, 204, 110), rng), rgb(92, 156, 84), (y - horizon) / (1 - horizon))
    canvas.image[:] = np.where((y < horizon)[..., None], sky, grass)
    canvas.paint(_disc(canvas, rng.uniform(0.05, 0.95), horizon + 0.06, 44, 15), jitter(rgb(128, 184, 112), rng))
    for i in range(int(rng.integers(3, 5))):
        at = rng.uniform(0.02, 0.28) + 0.7 * (i % 2)
        r = rng.uniform(9, 14)
        top = horizon - rng.uniform(0.08, 0.2)
        canvas.paint(_box(canvas, at - 0.014, top, at + 0.014, horizon + 0.05), rgb(126, 92, 70))
        leaf = jitter(rgb(88, 158, 96), rng, 0.04)
        for dx, dy, s in ((0, 0, 1), (-0.07, 0.045, 0.72), (0.07, 0.04, 0.76)):
            canvas.paint(_disc(canvas, at + dx, top + dy, r * s, r * s * 0.95), leaf * (1 - 0.1 * (dx > 0)))
        canvas.paint(_disc(canvas, at - 0.03, top - 0.03, r * 0.5), mix(leaf, (1, 1, 0.7), 0.2), 0.7)
    for _ in range(2):
        cx, cy = rng.uniform(0.1, 0.9), rng.uniform(0.06, 0.2)
        for dx, s in ((-0.06, 0.7), (0, 1), (0.06, 0.75)):
            canvas.paint(_disc(canvas, cx + dx, cy, 5 * s, 2.6 * s), (1, 1, 1), 0.75)


def _beach(canvas: Canvas, rng, x, y) -> None:
    horizon = rng.uniform(0.38, 0.48)
    shore = horizon + rng.uniform(0.16, 0.24)
    warm = rng.random() < 0.4
    top, low = (rgb(246, 170, 140), rgb(253, 224, 178)) if warm else (rgb(118, 192, 232), rgb(224, 242, 246))
    canvas.image[:] = mix(jitter(top, rng), low, y / horizon + 0 * x)
    sea = mix(jitter(rgb(70, 166, 186), rng), rgb(132, 210, 206), (y - horizon) / (shore - horizon))
    canvas.image[:] = np.where((y > horizon)[..., None], sea, canvas.image)
    line = shore + 0.012 * np.sin(x * 11 + rng.uniform(0, 6))
    sand = mix(jitter(rgb(246, 222, 176), rng), rgb(226, 190, 138), (y - shore) / (1 - shore))
    canvas.image[:] = mix(canvas.image, (1, 1, 1), 0.8 * np.exp(-(((y - line) / 0.014) ** 2)))
    canvas.image[:] = np.where((y > line)[..., None], sand, canvas.image)
    canvas.paint(_disc(canvas, rng.choice([0.14, 0.86]), rng.uniform(0.1, horizon - 0.08), 6.5), rgb(255, 246, 206))


def _street(canvas: Canvas, rng, x, y) -> None:
    canvas.image[:] = mix(jitter(rgb(190, 216, 234), rng), rgb(240, 240, 232), y + 0 * x)
    ground = rng.uniform(0.7, 0.78)
    for x0, x1 in ((-0.02, 0.34), (0.36, 0.62), (0.64, 1.02)):
        top = rng.uniform(-0.1, 0.22)
        wall = jitter((rgb(226, 184, 158), rgb(196, 200, 196), rgb(238, 214, 170), rgb(196, 164, 156), rgb(180, 196, 210))[rng.integers(5)], rng)
        canvas.paint(_box(canvas, x0, top, x1, ground), wall)
        for wy in np.arange(max(top, 0) + 0.06, ground - 0.14, 0.15):
            for wx in np.linspace(x0 + 0.05, x1 - 0.13, 2):
                canvas.paint(_box(canvas, wx, wy, wx + 0.08, wy + 0.09), mix(wall, rgb(86, 110, 134), 0.62))
                canvas.paint(_box(canvas, wx, wy, wx + 0.08, wy + 0.03), mix(wall, rgb(200, 226, 240), 0.7), 0.6)
    canvas.paint(_box(canvas, 0, ground, 1, 1), jitter(rgb(176, 174, 176), rng))
    canvas.paint(_box(canvas, 0, ground + 0.08, 1, 1), rgb(140, 140, 148))


def _room(canvas: Canvas, rng, x, y) -> None:
    wall = jitter((rgb(238, 222, 200), rgb(200, 216, 208), rgb(226, 206, 214), rgb(208, 214, 230))[rng.integers(4)], rng)
    canvas.image[:] = mix(mix(wall, (1, 1, 1), 0.2), wall * 0.93, x + 0.3 * y)
    floor = rng.uniform(0.78, 0.86)
    canvas.paint(_box(canvas, 0, floor, 1, 1), jitter(rgb(196, 154, 116), rng))
    canvas.paint(_box(canvas, 0, floor - 0.02, 1, floor), rgb(250, 248, 242))
    side = int(rng.integers(2))
    at = (0.03, 0.66)[side]
    canvas.paint(_box(canvas, at, 0.07, at + 0.31, 0.42), rgb(250, 248, 244))
    pane = _box(canvas, at + 0.02, 0.085, at + 0.29, 0.405)
    canvas.paint(pane, jitter(rgb(176, 214, 234), rng))
    canvas.paint(_box(canvas, at + 0.02, 0.3, at + 0.29, 0.405), rgb(166, 202, 150), 0.8)
    canvas.paint(_box(canvas, at + 0.148, 0.085, at + 0.162, 0.405), rgb(250, 248, 244))
    other = (0.78, 0.08)[side]
    canvas.paint(_box(canvas, other, 0.66, other + 0.13, 0.8), jitter(rgb(214, 122, 92), rng))
    for angle in (-0.7, -0.25, 0.2, 0.65):
        canvas.paint(_disc(canvas, other + 0.065 + 0.12 * np.sin(angle), 0.56 - 0.05 * np.cos(angle), 3.0, 8.5), jitter(rgb(86, 150, 100), rng, 0.04))
