"""Faces and hair, in the head's frame: (0, 0) is the middle of the face, which is 16.8 units wide and 22 high."""

from __future__ import annotations

import numpy as np

from .canvas import Canvas, Cover
from .curves import Frame, smooth
from .figure import Look
from .palette import INK, WHITE, mix, rgb, warm_shadow

HAIR, FACE, GLASSES = 2, 13, 4  # labels of human parsing (CIHP)
_TURN = np.linspace(0, 2 * np.pi, 32, endpoint=False)
_RING = np.stack([np.cos(_TURN), np.sin(_TURN)], -1)
FACE_OUTLINE = [(0, -11.0), (5.4, -9.8), (8.0, -5.2), (8.4, 0.0), (7.7, 5.0), (5.0, 9.4), (1.7, 11.5)]
BACK = {
    "bob": [(0, -13.2), (6.5, -12.2), (10.2, -7.5), (11.0, 0.0), (11.2, 7.0), (9.8, 11.6), (4.0, 11.0), (0, 9.0)],
    "long": [(0, -13.2), (6.5, -12.2), (10.2, -7.5), (10.8, 0.0), (11.4, 9.0), (12.4, 19.0), (11.6, 26.0), (6.0, 25.0), (0, 22.0)],
    "wavy": [(0, -13.6), (6.8, -12.4), (10.6, -7.0), (10.6, -1.0), (12.6, 4.5), (11.6, 9.5), (13.6, 14.5), (12.0, 19.0), (13.0, 23.0), (8.0, 24.0), (0, 20.0)],
}


def _both(points, per: int = 6) -> np.ndarray:
    p = np.asarray(points, float)
    other = (p * (-1, 1))[::-1]
    other = other[other[:, 0] < -1e-6]
    return smooth(np.concatenate([p, other]), per)


def hair_behind(canvas: Canvas, head: Frame, look: Look, depth: float = 0.5) -> Cover:
    """The hair that hangs or stands behind the head; drawn before the body. Returns its cover."""
    dark = mix(look.hair, (0, 0, 0), 0.24)
    if look.style in BACK:
        cover = canvas.shape(head(_both(BACK[look.style])))
    elif look.style == "afro":
        t = np.linspace(0, 2 * np.pi, 15, endpoint=False)
        lumps = [canvas_disc(head, 11.4 * np.cos(a), -4.5 + 11.0 * np.sin(a), 5.0 + 0.7 * np.sin(5 * a + 1)) for a in t]
        cover = canvas.shape(canvas_disc(head, 0, -4.5, 13), *lumps)
        dark = mix(look.hair, (0, 0, 0), 0.08)
    elif look.style == "ponytail":
        cover = canvas.shape(head(smooth([(5, -11), (10.5, -11.5), (13.6, -6), (13.6, 3), (15, 11), (12.0, 9.5), (9.8, 3), (9.4, -3)], 6)))
    else:
        return canvas.empty()
    canvas.paint(cover, dark, label=HAIR, depth=depth)
    _strands(canvas, cover, head, look)
    return cover


def canvas_disc(frame: Frame, x: float, y: float, r: float, ry: float | None = None) -> np.ndarray:
    """An ellipse (n,2) of a frame in canvas units."""
    return frame(_RING * (r, r if ry is None else ry) + (x, y))


def _strands(canvas: Canvas, cover: Cover, head: Frame, look: Look) -> None:
    """Light running down the hair."""
    u, v = head.inverse(*canvas.grid(cover))
    u, v = np.broadcast_arrays(u, v)
    gloss = 0.10 * np.cos(u * 1.1 + 0.4 * np.sin(v * 0.3)) + 0.05 * np.cos(u * 2.7 + v * 0.12)
    crown = 0.16 * np.exp(-(((v + 8.5 - 0.02 * u * u) / 2.0) ** 2)) * np.exp(-(((u + 2.5) / 5.0) ** 2))
    canvas.shade(cover, (1 + (gloss * 0.6 + crown * 1.4))[..., None])


def draw_head(canvas: Canvas, head: Frame, look: Look, depth: float = 0.62, hat: bool = False) -> tuple[Cover, Cover]:
    """Ears, face, features and front hair; returns the covers of the face and of the hair in front."""
    shadow = warm_shadow(look.skin)
    for side in (-1, 1):
        ear = canvas.shape(canvas_disc(head, side * 8.5, 1.2, 1.7, 2.7))
        canvas.paint(ear, mix(look.skin, shadow, 0.45), label=FACE, depth=depth - 0.05)
        canvas.paint(canvas.shape(canvas_disc(head, side * 8.5, 1.3, 0.8, 1.5)), shadow, 0.7)
    face = canvas.shape(head(_both(FACE_OUTLINE)))
    u, v = np.broadcast_arrays(*head.inverse(*canvas.grid(face)))
    light = np.clip(0.55 * ((u - 3.5) / 6) ** 2 * (u > 3.5) + 0.35 * np.clip((v - 6.5) / 5, 0, 1) ** 2, 0, 1)
    canvas.paint(face, mix(look.skin, shadow, light), label=FACE, depth=depth + 0.1 * np.sqrt(np.clip(1 - (u / 9) ** 2 - (v / 13) ** 2, 0, 1)))
    if look.beard:
        _beard(canvas, head, look, face)
    _features(canvas, head, look)
    front = _front_hair(canvas, head, look, face, depth + 0.1) if not (hat and look.style in ("bun",)) else canvas.empty()
    if look.glasses:
        _glasses(canvas, head)
    return face, front


def _features(canvas: Canvas, head: Frame, look: Look) -> None:
    shadow = warm_shadow(look.skin, 1.2)
    brow = mix(look.hair, INK, 0.35)
    blush = mix(look.skin, rgb(226, 96, 92), 0.5)
    for side in (-1, 1):
        cheek = canvas.soften(canvas.shape(canvas_disc(head, side * 4.9, 4.2, 1.7, 1.2)), 0.7)
        canvas.paint(cheek, blush, 0.42)
        canvas.paint(canvas.shape(canvas_disc(head, side * 3.4, -0.5, 1.5, 1.12)), WHITE, 0.95)
        iris = canvas.shape(canvas_disc(head, side * 3.4, -0.5, 1.08, 1.12))
        canvas.paint(iris, look.eyes)
        canvas.paint(canvas.shape(canvas_disc(head, side * 3.4, -0.5, 0.62, 0.66)), rgb(26, 20, 24))
        canvas.paint(canvas.shape(canvas_disc(head, side * 3.4 + 0.35, -0.9, 0.3)), WHITE)
        lash = head(smooth([(side * 1.75, -0.6), (side * 2.6, -1.65), (side * 3.7, -1.85), (side * 5.1, -1.0)], 6, closed=False))
        canvas.paint(canvas.stroke(lash, 0.62, 0.75), INK)
        arch = head(smooth([(side * 1.8, -3.4), (side * 3.4, -4.1), (side * 5.3, -3.4)], 6, closed=False))
        canvas.paint(canvas.stroke(arch, 0.95, 0.5), brow)
    canvas.paint(canvas.stroke(head(smooth([(0.5, -0.2), (0.95, 2.2), (0.2, 3.0), (-0.7, 2.8)], 6, closed=False)), 0.42, 0.8), shadow, 0.8)
    lips = mix(warm_shadow(look.skin, 1.6), rgb(200, 62, 78), 0.35 + 0.5 * look.lips)
    mouth = smooth([(-2.7, 5.7), (-1.2, 6.45), (0, 6.6), (1.2, 6.45), (2.7, 5.7), (1.5, 7.35), (0, 7.8), (-1.5, 7.35)], 5)
    canvas.paint(canvas.shape(head(mouth)), lips)
    canvas.paint(canvas.shape(head(smooth([(-1.9, 6.15), (0, 6.7), (1.9, 6.15), (0, 7.0)], 5))), WHITE, 0.85 - 0.5 * look.lips)


def _beard(canvas: Canvas, head: Frame, look: Look, face: Cover) -> None:
    outer = [(8.7, 0.4), (8.1, 6.0), (5.3, 10.3), (1.9, 12.3)]
    inner = [(7.2, 0.4), (6.2, 4.2), (3.6, 4.7), (0.9, 4.4)]
    jaw = np.concatenate([smooth(outer, 5, closed=False), smooth(np.array(outer[::-1]) * (-1, 1), 5, closed=False)])
    top = np.concatenate([smooth(np.array(inner) * (-1, 1), 5, closed=False), smooth(inner[::-1], 5, closed=False)])
    cover = canvas.shape(head(np.concatenate([jaw, top]))).without(canvas.shape(canvas_disc(head, 0, 6.9, 3.5, 1.55)))
    canvas.paint(cover, mix(look.hair, look.skin, 0.12), 0.94)


def _front_hair(canvas: Canvas, head: Frame, look: Look, face: Cover, depth: float) -> Cover:
    top = [(-9.3, 0.5), (-9.7, -5.0), (-7.4, -10.6), (-3.0, -13.4), (2.4, -13.6), (7.2, -11.0), (9.7, -5.0), (9.3, 0.5)]
    if look.style in ("short", "crop"):
        lift = 1.2 if look.style == "short" else 0.0
        line = [(8.2, -1.0), (7.6, -4.6), (5.0, -6.6), (0.5, -6.2), (-4.2, -7.2), (-7.4, -4.8), (-8.2, -1.0)]
        top = [(x, y - lift * (y < -8)) for x, y in top]
    elif look.style in ("bun", "ponytail"):
        line = [(8.4, -0.8), (7.3, -5.2), (3.6, -8.2), (0, -8.9), (-3.6, -8.2), (-7.3, -5.2), (-8.4, -0.8)]
    elif look.style == "afro":
        line = [(8.3, -1.2), (7.0, -5.6), (3.4, -7.8), (0, -8.2), (-3.4, -7.8), (-7.0, -5.6), (-8.3, -1.2)]
    elif look.style == "bob":
        line = [(7.9, 5.0), (7.0, -2.0), (6.2, -4.6), (2.0, -5.2), (-3.0, -5.4), (-6.4, -4.6), (-7.2, -2.0), (-7.9, 5.0)]
        top = [(-10.6, 7.0), *top[1:-1], (10.6, 7.0)]
    else:
        line = [(8.6, 7.0), (7.9, -1.5), (5.6, -6.2), (-1.2, -9.6), (-5.4, -6.8), (-7.6, -2.0), (-8.6, 7.0)]
        top = [(-10.4, 8.0), *top[1:-1], (10.4, 8.0)]
    outline = np.concatenate([smooth(top, 6, closed=False), smooth(line, 6, closed=False)])
    shapes = [head(outline)]
    if look.style == "bun":
        shapes.append(canvas_disc(head, 0.4, -16.2, 5.0, 4.4))
    cover = canvas.shape(*shapes)
    cast = canvas.moved(canvas.soften(cover, 0.5), 0.2, 1.0).within(face)
    canvas.shade(cast.without(cover), warm_shadow(np.ones(3, np.float32)), 0.75)
    canvas.paint(cover, look.hair, label=HAIR, depth=depth)
    _strands(canvas, cover, head, look)
    if look.style == "bun":
        knot = canvas.stroke(head(smooth([(-4.2, -13.2), (0.3, -12.2), (4.8, -13.2)], 6, closed=False)), 0.7)
        canvas.shade(knot.within(cover), 0.72)
    return cover


def _glasses(canvas: Canvas, head: Frame) -> None:
    for side in (-1, 1):
        rim = canvas.shape(canvas_disc(head, side * 3.5, -0.3, 3.0, 2.7)).without(canvas.shape(canvas_disc(head, side * 3.5, -0.3, 2.5, 2.2)))
        canvas.paint(canvas.shape(canvas_disc(head, side * 3.5, -0.3, 2.6, 2.3)), rgb(236, 246, 255), 0.16)
        canvas.paint(rim, INK, 0.95, label=GLASSES)
        canvas.paint(canvas.stroke(head(np.array([(side * 6.4, -0.8), (side * 8.3, -0.4)])), 0.5), INK)
    canvas.paint(canvas.stroke(head(smooth([(-0.8, -0.6), (0, -1.1), (0.8, -0.6)], 4, closed=False)), 0.5), INK)


def locks(canvas: Canvas, head: Frame, look: Look, depth: float = 0.7) -> Cover:
    """Hair that falls over the shoulders in front of the body; drawn after the clothes. Returns its cover."""
    if look.style not in ("long", "wavy"):
        return canvas.empty()
    wave = 1.3 if look.style == "wavy" else 0.0
    lock = [(8.2, 4), (10.6 + wave, 8), (12.2 - wave, 14), (12.2 + wave, 20), (11.0 - wave, 26.5), (8.6, 21), (8.9 + wave, 14), (7.4, 9)]
    cover = canvas.shape(*[head(smooth(np.array(lock) * (side, 1), 6)) for side in (-1, 1)])
    canvas.paint(cover, look.hair, label=HAIR, depth=depth)
    _strands(canvas, cover, head, look)
    return cover
