"""A hand seen from the back, large, for rings and bracelets."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .canvas import Canvas
from .curves import Frame, Limb, smooth, smoothstep
from .head import canvas_disc
from .palette import WHITE, mix, rgb, warm_shadow

# Base, angle from upright, length, base radius of the index, middle, ring and little finger, in the hand's frame (wrist at 0, y down).
FINGERS = ((-11.4, -36.5, -0.15, 29.0, 4.3), (-3.9, -39.5, -0.03, 33.0, 4.45), (3.9, -38.0, 0.08, 30.0, 4.2), (11.2, -33.0, 0.22, 23.0, 3.6))


@dataclass(frozen=True)
class Hand:
    """Where rings and bracelets go: a frame with y along the ring finger at the ring's place, its half width; the same at the wrist."""

    ring: Frame
    ring_half: float
    wrist: Frame
    wrist_half: float


def draw_hand(canvas: Canvas, rng: np.random.Generator, skin: np.ndarray, sleeve: np.ndarray) -> Hand:
    """Paint a hand that comes from below; `sleeve` is the colour of a cuff at the lower edge."""
    flip = int(rng.choice([-1, 1]))
    frame = Frame(48 - flip * 1.0 + rng.uniform(-3, 3), 94 + rng.uniform(-2, 2), rng.uniform(-0.14, 0.14), rng.uniform(0.96, 1.06), flip)
    spread = rng.uniform(0.75, 1.35)
    fingers = [_finger(frame, f, spread, rng.normal(0, 0.02)) for f in FINGERS]
    thumb_axis = frame(smooth([(-7.5, -10), (-15.0, -17), (-21.0, -25), (-24.0, -34), (-25.0, -41)], 5, closed=False))
    thumb = Limb(thumb_axis, np.interp(np.linspace(0, 1, len(thumb_axis)), [0, 0.4, 0.75, 1], [7.0, 5.0, 4.4, 3.4]) * frame.scale)
    palm = frame(smooth([(-7.0, -3), (-11.0, -9), (-15.0, -22), (-15.8, -35), (-8, -40.5), (0, -43), (8, -40.5), (15.0, -34), (14.6, -20), (11.2, -9), (7.0, -3)], 6))
    arm_axis = frame(np.array([(0, -20.0), (0, -9.0), (0, 0), (0, 7), (0.6, 17), (1.5, 34), (2.5, 60)]))
    arm = Limb(arm_axis, np.array([13.4, 11.6, 9.9, 9.5, 10.4, 12.6, 14.5]) * frame.scale)
    parts = [p for limb in (*fingers, thumb, arm) for p in limb.outline()]
    whole = canvas.shape(palm, *parts)
    canvas.shade(canvas.moved(canvas.soften(whole, 3.4), 3.0, 3.4), (0.66, 0.63, 0.66), 0.55)
    canvas.paint(whole, warm_shadow(skin, 0.5), label=1, depth=0.6)
    _shaded(canvas, thumb, skin, 0.62)
    _shaded(canvas, arm, skin, 0.6)
    for finger in fingers:
        _shaded(canvas, finger, skin, 0.66)
    _palm(canvas, frame, palm, skin)
    polish = rgb(*[(244, 196, 190), (214, 84, 96), (250, 226, 216), (176, 120, 170)][rng.integers(4)])
    for finger in (*fingers, thumb):
        _nail(canvas, finger, skin, polish)
    for finger in fingers:
        for share in (0.43, 0.47):
            spot = finger.length[-1] * share
            canvas.shade(canvas.stroke(finger.forward(np.array([-0.5, 0, 0.5]), np.array([spot, spot - 0.35, spot])), 0.36), warm_shadow(np.ones(3, np.float32)), 0.7)
    _cuff(canvas, frame, sleeve)
    ring = fingers[2]
    at = ring.length[-1] * 0.3
    low, high = ring.forward(0, np.array(at)), ring.forward(0, np.array(at + 1))
    turn = float(np.arctan2(*(high - low)[::-1])) + np.pi / 2
    wrist = frame.inner(0.1, 6.5)
    return Hand(Frame(*low, turn), float(np.interp(at, ring.length, ring.radii)), Frame(wrist.x, wrist.y, wrist.turn, wrist.scale), 9.6)


def _finger(frame: Frame, finger, spread: float, bend: float) -> Limb:
    x, y, angle, n, r = finger
    angle = angle * spread + bend
    way = np.array([np.sin(angle), -np.cos(angle)])
    start = np.array([x, y]) - way * 6
    s = np.linspace(0, n + 6, 9)
    axis = start + way * s[:, None] + np.array([way[1], -way[0]]) * (0.0016 * (s**2) * np.sign(x + 0.1))[:, None] * -1
    radii = np.interp(s / s[-1], [0, 0.3, 0.5, 0.62, 0.85, 1], [r * 1.12, r, r * 0.93, r * 0.96, r * 0.82, r * 0.68])
    return Limb(frame(axis), radii * frame.scale)


def _shaded(canvas: Canvas, limb: Limb, skin: np.ndarray, depth: float) -> None:
    cover = canvas.shape(*limb.outline())
    canvas.shade(canvas.moved(canvas.soften(cover, 0.7), 0.5, 0.3).without(cover), warm_shadow(np.ones(3, np.float32), 0.9), 0.5)
    q, _ = limb.inverse(*canvas.grid(cover))
    edge = smoothstep(np.abs(q), 0.55, 1.1) * 0.55 + 0.45 * smoothstep(q, 0.1, 1.1)
    canvas.paint(cover, mix(skin, warm_shadow(skin), edge), depth=depth + 0.08 * np.sqrt(np.clip(1 - q * q, 0, 1)))


def _palm(canvas: Canvas, frame: Frame, outline: np.ndarray, skin: np.ndarray) -> None:
    cover = canvas.shape(outline)
    u, v = np.broadcast_arrays(*frame.inverse(*canvas.grid(cover)))
    fade = smoothstep(v, -41.5, -33.0) * smoothstep(v, 4.0, -6.0)  # runs into fingers and arm without an edge
    side = smoothstep(np.abs(u), 10, 16.5) * 0.6 + 0.25 * smoothstep(u, 2, 15)
    canvas.paint(cover.scaled(fade), mix(skin, warm_shadow(skin), side), depth=0.68)
    for x, y, _, _, _ in FINGERS:
        knuckle = canvas.soften(canvas.shape(canvas_disc(frame, x * 0.98, y + 2.2, 2.6, 2.0)), 1.2)
        canvas.paint(knuckle.within(cover), mix(skin, (1, 0.9, 0.85), 0.3), 0.6)
        canvas.shade(canvas.stroke(frame(smooth([(x * 0.98 - 2, y + 4.2), (x * 0.98, y + 4.9), (x * 0.98 + 2, y + 4.2)], 4, closed=False)), 0.5), warm_shadow(np.ones(3, np.float32)), 0.5)
    for x, y, _, _, _ in FINGERS[:3]:
        valley = frame(np.array([(x + 3.8, y - 3.0), (x + 3.6, y + 3.2)]))
        canvas.shade(canvas.soften(canvas.stroke(valley, 0.9, 0.3), 0.3), warm_shadow(np.ones(3, np.float32), 1.4), 0.8)


def _nail(canvas: Canvas, finger: Limb, skin: np.ndarray, polish: np.ndarray) -> None:
    n, r = finger.length[-1], float(finger.radii[-1])
    t = np.linspace(0, 2 * np.pi, 28)
    spot = canvas.shape(finger.forward(0.72 * np.cos(t), n - 0.2 * r + 1.25 * r * np.sin(t)))
    canvas.paint(spot, mix(polish, skin, 0.12))
    shine = finger.forward(np.array([-0.32, -0.34, -0.3]), np.array([n - 0.8 * r, n, n + 0.5 * r]))
    canvas.paint(canvas.stroke(shine, 0.22 * r), WHITE, 0.65)


def _cuff(canvas: Canvas, frame: Frame, colour: np.ndarray) -> None:
    outline = frame(np.array([(-13.5, 19.5), (-7, 21.0), (0, 21.4), (7, 21.0), (14.0, 19.5), (20, 70), (-17, 70)]))
    cover = canvas.shape(outline, round_by=0.6)
    canvas.shade(canvas.moved(canvas.soften(cover, 1.0), 0.0, -1.0), warm_shadow(np.ones(3, np.float32)), 0.5)
    u, v = np.broadcast_arrays(*frame.inverse(*canvas.grid(cover)))
    light = 1.04 - 0.14 * smoothstep(np.abs(u), 6, 16) - 0.004 * u + 0.03 * np.cos(u * 0.9 + v * 0.15)
    canvas.paint(cover, colour * light[..., None], label=5, depth=0.62)
    canvas.shade(canvas.stroke(frame(smooth([(-14.2, 24.4), (0, 26.0), (14.6, 24.4)], 8, closed=False)), 0.5).within(cover), 0.8)
