"""Simple solids seen from any side: rounded boxes and turned shapes, in parallel projection.

World axes: x to the right, y away from the viewer, z up, in units. A `View` turns the world about z by `yaw` and looks down by
`pitch`, so the same product can be shown in a room and, from another side, in its product picture.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .canvas import Canvas
from .curves import smoothstep
from .palette import mix

_LIGHT = np.array([-0.5, -0.62, 0.6]) / np.linalg.norm([-0.5, -0.62, 0.6])


@dataclass(frozen=True)
class View:
    """Where the world's origin lies on the canvas (x, y in units), how large a world unit is, and from where it is seen."""

    x: float
    y: float
    scale: float = 1.0
    yaw: float = 0.0
    pitch: float = 0.35

    def turned(self, points) -> np.ndarray:
        """World points (...,3) turned by the yaw."""
        p = np.asarray(points, float)
        c, s = np.cos(self.yaw), np.sin(self.yaw)
        return np.stack([c * p[..., 0] - s * p[..., 1], s * p[..., 0] + c * p[..., 1], p[..., 2]], -1)

    def __call__(self, points) -> np.ndarray:
        """World points (...,3) on the canvas (...,2)."""
        p = self.turned(points)
        up = p[..., 2] * np.cos(self.pitch) + p[..., 1] * np.sin(self.pitch)
        return np.stack([self.x + self.scale * p[..., 0], self.y - self.scale * up], -1)

    def nearness(self, point) -> float:
        """Larger = nearer to the viewer; for the order of painting."""
        p = self.turned(point)
        return float(p[2] * np.sin(self.pitch) - p[1] * np.cos(self.pitch))


@dataclass(frozen=True)
class Box:
    """A box from `low` to `high` (x, y, z) with edges rounded by `round`."""

    low: tuple[float, float, float]
    high: tuple[float, float, float]
    colour: np.ndarray
    round: float = 0.5

    @property
    def middle(self) -> np.ndarray:
        """Its centre."""
        return (np.array(self.low) + np.array(self.high)) / 2

    def draw(self, canvas: Canvas, view: View, depth: float) -> None:
        """Paint the three faces that are seen."""
        r = min(self.round, 0.45 * float(np.min(np.array(self.high) - np.array(self.low))))
        low, high = np.array(self.low) + r, np.array(self.high) - r
        faces = []
        for axis in range(3):
            for end, sign in ((low, -1), (high, 1)):
                normal = np.zeros(3)
                normal[axis] = sign
                if view.nearness(normal) > 1e-3:
                    faces.append((view.nearness(normal), self._corners(low, high, axis, end), normal))
        whole = canvas.shape(*[view(c) for _, c, _ in faces], round_by=r * view.scale)
        canvas.paint(whole, self.colour * 0.86, label=1, depth=depth)
        for _, corners, normal in sorted(faces, key=lambda f: f[0]):
            light = 0.66 + 0.42 * max(0.0, float(view.turned(normal) @ _LIGHT))
            flat = view(corners)
            cover = canvas.soften(canvas.shape(flat, round_by=0.75 * r * view.scale), 0.28 * r * view.scale)
            x, y = canvas.grid(cover)
            fall = 1.03 - 0.07 * smoothstep(y, flat[:, 1].min(), flat[:, 1].max()) + 0 * x
            canvas.paint(cover, np.clip(self.colour * (light * fall)[..., None] * 1.06, 0, 1), depth=depth)

    @staticmethod
    def _corners(low, high, axis: int, end) -> np.ndarray:
        a, b = (i for i in range(3) if i != axis)
        out = np.tile(end, (4, 1)).astype(float)
        out[:, a] = [low[a], high[a], high[a], low[a]]
        out[:, b] = [low[b], low[b], high[b], high[b]]
        return out


@dataclass(frozen=True)
class Turned:
    """A shape turned about the upright axis through (x, y): `profile` (n,2) of (radius, height), from bottom to top.

    `paint(angle, height)` gives the colour (...,3); `hollow` shows a dark inside at the top.
    """

    x: float
    y: float
    profile: np.ndarray
    paint: object
    hollow: bool = False

    @property
    def middle(self) -> np.ndarray:
        """A point inside."""
        return np.array([self.x, self.y, self.profile[:, 1].mean()])

    def _ring(self, view: View, r: float, z: float, n: int = 40) -> np.ndarray:
        t = np.linspace(0, 2 * np.pi, n, endpoint=False)
        return view(np.stack([self.x + r * np.cos(t), self.y + r * np.sin(t), np.full(n, z)], -1))

    def draw(self, canvas: Canvas, view: View, depth: float) -> None:
        """Paint the outside, then the opening or the lid."""
        heights = np.linspace(self.profile[0, 1], self.profile[-1, 1], 36)
        radii = np.interp(heights, self.profile[:, 1], self.profile[:, 0])
        axis = view(np.stack([np.full(36, self.x), np.full(36, self.y), heights], -1))
        sides = np.concatenate([axis + np.stack([radii, 0 * radii], -1) * view.scale, (axis - np.stack([radii, 0 * radii], -1) * view.scale)[::-1]])
        cover = canvas.shape(sides, self._ring(view, radii[0], heights[0]), self._ring(view, radii[-1], heights[-1]))
        x, y = canvas.grid(cover)
        z = (axis[0, 1] - y) / (view.scale * np.cos(view.pitch)) + heights[0]
        for _ in range(2):  # the front of a ring lies lower in the picture than its middle
            r = np.interp(z + 0 * x, heights, radii)
            q = np.clip((x - axis[0, 0]) / (r * view.scale + 1e-6), -1, 1)
            z = (axis[0, 1] - y) / (view.scale * np.cos(view.pitch)) + heights[0] + r * np.sqrt(1 - q * q) * np.tan(view.pitch)
        colour = self.paint(np.arcsin(q) - view.yaw, z)
        light = 1.06 - 0.30 * smoothstep(q, -0.35, 1.05) - 0.10 * smoothstep(-q, 0.7, 1.05) + 0.10 * np.exp(-(((q + 0.42) / 0.2) ** 2))
        canvas.paint(cover, np.clip(colour * light[..., None], 0, 1), label=1, depth=depth)
        top = canvas.shape(self._ring(view, radii[-1], heights[-1]))
        tone = self.paint(np.zeros(1), np.array([heights[-1]]))[0]
        canvas.paint(top, np.clip(tone * 1.08, 0, 1), depth=depth)
        if self.hollow:
            canvas.paint(canvas.shape(self._ring(view, radii[-1] * 0.86, heights[-1])), mix(tone, (0, 0, 0), 0.55))


def draw_solids(canvas: Canvas, view: View, solids, depth: float = 0.5) -> None:
    """Paint solids from far to near."""
    for solid in sorted(solids, key=lambda s: view.nearness(s.middle)):
        solid.draw(canvas, view, depth)


def contact_shadow(canvas: Canvas, view: View, low: tuple[float, float], high: tuple[float, float], strength: float = 0.75) -> None:
    """The soft dark patch where something stands on the ground, from (x, y) low to high."""
    corners = np.array([(low[0], low[1], 0), (high[0], low[1], 0), (high[0], high[1], 0), (low[0], high[1], 0)])
    ground = canvas.shape(view(corners), round_by=0.6 * view.scale)
    canvas.shade(canvas.moved(canvas.soften(ground, 2.6 * view.scale), 1.6 * view.scale, 0.8 * view.scale), (0.62, 0.58, 0.60), strength)
    canvas.shade(canvas.soften(ground, 0.9 * view.scale), (0.62, 0.56, 0.56), 0.6 * strength)
