"""Hats: drawn once in the head's coordinates, flat in the shop picture and turned with the head when worn."""

from __future__ import annotations

import numpy as np

from .canvas import SOLID, Canvas, Cover
from .cloth import PART_LABELS, SLOT_IDS, Cloth, flat_canvas
from .curves import Frame, smooth, smoothstep
from .garments import Garment, trim
from .head import canvas_disc
from .palette import COLOURS, mix
from .textures import bands, edge, star_distance

FLAT = Frame(48, 90, 0.0, 3.3)


def _parts(garment: Garment) -> list[tuple[str, np.ndarray]]:
    """(role, outline in the head's coordinates), back to front; roles: cloth, rib, brim, under, knob, band."""
    if garment.kind == "beanie":
        dome = smooth([(-10.2, -5.0), (-10.0, -10.0), (-6.6, -15.6), (0, -17.8), (6.6, -15.6), (10.0, -10.0), (10.2, -5.0), (0, -4.2)], 6)
        cuff = smooth([(-10.7, -8.6), (0, -9.6), (10.7, -8.6), (10.7, -4.4), (0, -5.4), (-10.7, -4.4)], 6)
        return [("knob", canvas_disc(Frame(), 0, -19.0, 3.4)), ("cloth", dome), ("rib", cuff)]
    if garment.kind == "cap":
        dome = smooth([(-9.9, -4.6), (-9.8, -9.6), (-6.4, -14.4), (0, -16.0), (6.4, -14.4), (9.8, -9.6), (9.9, -4.6), (0, -6.6)], 6)
        visor = smooth([(-9.6, -5.6), (0, -7.8), (9.6, -5.6), (11.6, -2.4), (6.0, -3.9), (0, -4.4), (-6.0, -3.9), (-11.6, -2.4)], 6)
        return [("knob", canvas_disc(Frame(), 0, -16.0, 1.0, 0.7)), ("cloth", dome), ("brim", visor)]
    crown = smooth([(-8.8, -6.4), (-8.6, -12.4), (-4.6, -15.6), (0, -16.2), (4.6, -15.6), (8.6, -12.4), (8.8, -6.4), (0, -5.4)], 6)
    band = smooth([(-9.0, -9.4), (0, -10.4), (9.0, -9.4), (9.0, -6.2), (0, -6.8), (-9.0, -6.2)], 6)
    return [("brim", canvas_disc(Frame(), 0, -5.8, 17.0, 4.3)), ("cloth", crown), ("band", band)]


def _colour(garment: Garment, role: str, u, v, soft: float) -> np.ndarray:
    base, second = COLOURS[garment.base], COLOURS[garment.second]
    flat = np.zeros(np.broadcast_shapes(np.shape(u), np.shape(v)), np.float32)
    if role in ("band", "knob"):
        return mix(second, second, flat)
    if role == "rib":
        return mix(mix(trim(garment), base, 0.35), trim(garment), bands(u + 0 * v, 1.7, 0.42, soft))
    if garment.pattern == "striped":
        bow = v + 0.012 * u * u if role == "cloth" else v * 2.0
        return mix(base, second, bands(bow, garment.period * 0.45, 0.46, soft))
    if garment.pattern == "logo" and role == "cloth":
        return mix(base, second, edge(star_distance(u, v + (12.6 if garment.kind == "beanie" else 11.0), 2.9), soft))
    return mix(base, base, flat)


def _render(canvas: Canvas, cloth: Cloth, garment: Garment, frame: Frame, depth: float) -> list[Cover]:
    covers = []
    soft = 1 / (canvas.scale * frame.scale)
    flat = flat_canvas(canvas.height, canvas.width)
    for role, outline in _parts(garment):
        cover = canvas.shape(frame(outline))
        u, v = np.broadcast_arrays(*frame.inverse(*canvas.grid(cover)))
        colour = _colour(garment, role, u, v, soft)
        light = 1.03 - 0.17 * smoothstep(np.abs(u), 5, 11.5) - 0.010 * u
        light = light * (0.9 if role == "brim" and garment.kind == "sun hat" else 1.0)
        if role == "knob" and garment.kind == "beanie":
            light = light * (1 + 0.05 * np.cos(3.1 * u) * np.cos(3.1 * v))
        canvas.paint(cover, colour * light[..., None], label=1, depth=depth)
        solid = cover.alpha >= SOLID
        rows = cover.window
        cloth.unlit[rows][solid] = colour[solid]
        cloth.source[rows][solid] = (flat.pixels(FLAT(np.stack([u, v], -1))) - 0.5)[solid]
        cloth.owner[rows][solid] = SLOT_IDS["hat"]
        cloth.part[rows][solid] = PART_LABELS["hat"]
        if role in ("rib", "brim") and covers:
            under = canvas.moved(canvas.soften(cover, 0.5), 0, -0.6).within(covers[-1]).without(cover)
            canvas.shade(under, 0.82)
        covers.append(cover)
    return covers


def wear_hat(canvas: Canvas, cloth: Cloth, garment: Garment, head: Frame) -> Cover:
    """Paint the hat on a head; returns what it covers."""
    outlines = [head(outline) for _, outline in _parts(garment)]
    whole = canvas.shape(*outlines)
    shadow = canvas.moved(canvas.soften(whole, 0.8), 0.2, 1.4)
    inside = canvas.labels[shadow.window] > 0
    canvas.shade(shadow.scaled(inside), (0.82, 0.76, 0.74), 0.8)
    _render(canvas, cloth, garment, head, 0.75)
    return whole


def flat_hat(garment: Garment, height: int, width: int):
    """The hat as a shop shows it: see `cloth.flat_picture`."""
    canvas = flat_canvas(height, width)
    canvas.image[:] = 0.965
    cloth = Cloth.on(canvas)
    shadow = canvas.soften(canvas.shape(*[FLAT(outline) for _, outline in _parts(garment)]), 1.6)
    canvas.shade(canvas.moved(shadow, 0.7, 1.3), (0.86, 0.87, 0.9), 0.9)
    _render(canvas, cloth, garment, FLAT, 0.0)
    unlit = np.where((cloth.owner > 0)[..., None], cloth.unlit, np.float32(0.965))
    return canvas.image.clip(0, 1), (cloth.owner > 0).astype(np.float32), cloth.part, unlit
