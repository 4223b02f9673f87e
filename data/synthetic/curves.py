"""Curves, frames and the maps between a piece of cloth lying flat and the same piece worn.

A piece of cloth has its own coordinates (q, t): q runs from -1 at one side to 1 at the other, t down the piece in units. Every map
below goes from (q, t) to the plane and back, so a point of the flat garment and its place on the body are found from each other.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np


def smooth(points, per: int = 8, closed: bool = True) -> np.ndarray:
    """A Catmull-Rom curve through points (n,2), `per` samples between neighbours."""
    p = np.asarray(points, float)
    if closed:
        p = np.concatenate([p[-1:], p, p[:2]])
    else:
        p = np.concatenate([2 * p[:1] - p[1:2], p, 2 * p[-1:] - p[-2:-1]])
    t = np.arange(per) / per
    weights = np.stack([-t + 2 * t**2 - t**3, 2 - 5 * t**2 + 3 * t**3, t + 4 * t**2 - 3 * t**3, -(t**2) + t**3]) / 2
    curve = np.einsum("kt,nkc->ntc", weights, np.stack([p[:-3], p[1:-2], p[2:-1], p[3:]], 1)).reshape(-1, 2)
    return curve if closed else np.concatenate([curve, p[-2:-1]])


def dense(points, step: float = 1.4) -> np.ndarray:
    """The closed polygon of (q, t) with points added along long edges, so that it bends under a curved map."""
    p = np.asarray(points, float)
    d = np.roll(p, -1, 0) - p
    count = np.maximum(1, np.ceil(np.hypot(d[:, 0] * 8, d[:, 1]) / step)).astype(int)  # q is about 8 units a half width
    which = np.repeat(np.arange(len(p)), count)
    share = (np.arange(len(which)) - np.repeat(np.cumsum(count) - count, count)) / count[which]
    return p[which] + d[which] * share[:, None]


def smoothstep(x, low: float = 0.0, high: float = 1.0):
    """0 below low, 1 above high, smooth between."""
    t = np.clip((x - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)


@dataclass(frozen=True)
class Frame:
    """A placed coordinate system: (u, v) lies at origin + scale * R(turn) (flip * u, v)."""

    x: float = 0.0
    y: float = 0.0
    turn: float = 0.0
    scale: float = 1.0
    flip: int = 1

    def __call__(self, points) -> np.ndarray:
        """Points (..., 2) of this frame in the outer one."""
        p = np.asarray(points, float)
        c, s = np.cos(self.turn) * self.scale, np.sin(self.turn) * self.scale
        u, v = p[..., 0] * self.flip, p[..., 1]
        return np.stack([self.x + c * u - s * v, self.y + s * u + c * v], -1)

    def inverse(self, x, y) -> tuple[np.ndarray, np.ndarray]:
        """u, v of outer coordinates x, y (arrays that broadcast)."""
        c, s = np.float32(np.cos(self.turn) / self.scale), np.float32(np.sin(self.turn) / self.scale)
        dx, dy = x - np.float32(self.x), y - np.float32(self.y)
        return (c * dx + s * dy) * self.flip, c * dy - s * dx

    def inner(self, x: float, y: float, turn: float = 0.0, scale: float = 1.0, flip: int = 1) -> Frame:
        """A frame placed inside this one."""
        at = self(np.array([x, y]))
        return Frame(float(at[0]), float(at[1]), self.turn + turn * self.flip, self.scale * scale, self.flip * flip)


@dataclass(frozen=True)
class Column:
    """A piece that hangs: at height t it spans from left(t) to right(t), given at heights `levels`.

    `round` in 0..1 is how far it wraps a cylinder: 0 spreads q evenly, towards 1 it is foreshortened at the sides.
    """

    levels: np.ndarray
    left: np.ndarray
    right: np.ndarray
    round: float = 0.0

    def _sides(self, t):
        left = np.interp(t, self.levels, self.left)
        right = np.interp(t, self.levels, self.right)
        return (left + right) / 2, np.maximum((right - left) / 2, 1e-3)

    def forward(self, q, t) -> np.ndarray:
        """(q, t) to the plane, (..., 2)."""
        q, t = np.asarray(q, float), np.asarray(t, float)
        middle, half = self._sides(t)
        return np.stack([middle + half * self._bend(q), t], -1)

    def inverse(self, x, y) -> tuple[np.ndarray, np.ndarray]:
        """Plane coordinates to (q, t); beyond the sides |q| > 1."""
        x, t = np.broadcast_arrays(x, y)
        middle, half = self._sides(t)
        return self._unbend((x - middle) / half).astype(np.float32), t.astype(np.float32)

    def _bend(self, q):
        if not self.round:
            return q
        inside = np.clip(q, -1, 1)
        return np.sin(inside * np.pi / 2 * self.round) / np.sin(np.pi / 2 * self.round) + (q - inside)

    def _unbend(self, p):
        if not self.round:
            return p
        inside = np.clip(p, -1, 1)
        return np.arcsin(inside * np.sin(np.pi / 2 * self.round)) / (np.pi / 2 * self.round) + (p - inside)


@dataclass(frozen=True)
class Limb:
    """A piece around a bent axis `points` (n,2): t is the way along it, q the distance from it in half widths `radii` (n,)."""

    points: np.ndarray
    radii: np.ndarray
    length: np.ndarray = field(init=False)

    def __post_init__(self):
        d = self.points[1:] - self.points[:-1]
        step = np.hypot(d[:, 0], d[:, 1])
        object.__setattr__(self, "length", np.concatenate([[0.0], np.cumsum(step)]))

    def _along(self):
        d = np.empty_like(self.points, float)
        d[1:-1] = self.points[2:] - self.points[:-2]
        d[0], d[-1] = self.points[1] - self.points[0], self.points[-1] - self.points[-2]
        return d / (np.hypot(d[:, 0], d[:, 1])[:, None] + 1e-9)

    def forward(self, q, t) -> np.ndarray:
        """(q, t) to the plane; before the start and after the end the axis goes on straight."""
        q, t = np.asarray(q, float), np.asarray(t, float)
        inside = np.clip(t, 0, self.length[-1])
        d = self._along()
        p = np.stack([np.interp(inside, self.length, self.points[:, i]) for i in (0, 1)], -1)
        e = np.stack([np.interp(inside, self.length, d[:, i]) for i in (0, 1)], -1)
        r = np.interp(inside, self.length, self.radii)
        return p + e * (t - inside)[..., None] + np.stack([-e[..., 1], e[..., 0]], -1) * (q * r)[..., None]

    def inverse(self, x, y) -> tuple[np.ndarray, np.ndarray]:
        """Plane coordinates to (q, t) by the nearest segment of the axis."""
        start = self.points[:-1].astype(np.float32)
        d = (self.points[1:] - self.points[:-1]).astype(np.float32)
        size = np.hypot(d[:, 0], d[:, 1])
        ex, ey = (d / size[:, None]).T[..., None, None]  # (n-1,1,1)
        low, high = np.zeros_like(size), size.copy()
        low[0], high[-1] = -np.inf, np.inf
        dx = np.asarray(x, np.float32) - start[:, 0, None, None]
        dy = np.asarray(y, np.float32) - start[:, 1, None, None]
        along = dx * ex + dy * ey  # (n-1,h,w)
        off = dy * ex - dx * ey
        inside = np.clip(along, low[:, None, None], high[:, None, None])
        nearest = ((along - inside) ** 2 + off**2).argmin(0)[None]
        t = np.take_along_axis(inside, nearest, 0)[0] + self.length[:-1].astype(np.float32)[nearest[0]]
        side = np.take_along_axis(off, nearest, 0)[0]
        r = np.interp(t, self.length, self.radii).astype(np.float32)
        return side / r, t

    def outline(self, grow: float = 0.0) -> list[np.ndarray]:
        """Polygons whose union is the limb, with round ends, `grow` units thicker."""
        from .canvas import ribbon

        return ribbon(self.points, self.radii + grow)


@dataclass(frozen=True)
class Placed:
    """A map moved, turned and enlarged by a frame."""

    map: Column | Limb
    frame: Frame

    def forward(self, q, t) -> np.ndarray:
        """(q, t) to the plane."""
        return self.frame(self.map.forward(q, t))

    def inverse(self, x, y) -> tuple[np.ndarray, np.ndarray]:
        """Plane coordinates to (q, t)."""
        return self.map.inverse(*self.frame.inverse(x, y))


def bent_axis(a, b, c, n: int = 9, rounding: float = 0.28) -> np.ndarray:
    """An axis (2n+1,2) from a over the joint b to c, rounded at b over a share of both bones."""
    a, b, c = (np.asarray(p, float) for p in (a, b, c))
    p, q = b + (a - b) * rounding, b + (c - b) * rounding
    t = np.linspace(0, 1, n)[:, None]
    corner = (1 - t) ** 2 * p + 2 * t * (1 - t) * b + t**2 * q
    k = max(2, n // 2)
    first = a + (p - a) * np.linspace(0, 1, k, endpoint=False)[:, None]
    return np.concatenate([first, corner, q + (c - q) * np.linspace(0, 1, k + 1)[1:, None]])
