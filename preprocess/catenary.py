"""The curve of a hanging chain of a given length between two points.

A catenary y = a cosh((x - x0) / a) through two points a distance h apart across and v apart in height, with arc length s, satisfies
sqrt(s^2 - v^2) = 2 a sinh(h / (2 a)). With r = sqrt(s^2 - v^2) / h and u = h / (2 a) this is sinh(u) / u = r, one monotone equation.
"""

import numpy as np


def catenary(start, end, length: float, spacing: float = 0.5) -> np.ndarray:
    """Points (N,2) along the chain from start to end, x and y in pixels with y downwards, about `spacing` apart.

    length is the arc's length in pixels. Raises ValueError when it is shorter than the distance between the ends.
    """
    (x0, y0), (x1, y1) = start, end
    if x0 > x1:
        return catenary(end, start, length, spacing)[::-1]
    chord, across, drop = float(np.hypot(x1 - x0, y1 - y0)), x1 - x0, y1 - y0
    if length < chord:
        raise ValueError(f"A chain of {length:.1f} px does not reach between points {chord:.1f} px apart; make it longer or move "
                         f"the points.")
    count = max(2, int(np.ceil(length / spacing)) + 1)
    if length <= chord * (1 + 1e-9):
        return np.linspace((x0, y0), (x1, y1), count)
    if across < 1e-6 * length:
        return _folded(x0, y0, y1, length, count)
    u = _solve(np.sqrt(length ** 2 - drop ** 2) / across)
    a = across / (2 * u)
    # in the frame where the chain's lowest point is at xi = 0: arc from the left end is a (sinh(xi / a) - sinh(xi0 / a))
    middle = a * np.arctanh(np.clip(drop / length, -1 + 1e-15, 1 - 1e-15))
    left = -middle - across / 2
    arcs = np.linspace(0, length, count)
    xi = a * np.arcsinh(np.sinh(left / a) + arcs / a)
    # the chain hangs: with y downwards its height above the ends is subtracted
    x, y = x0 + xi - left, y0 - a * (np.cosh(xi / a) - np.cosh(left / a))
    points = np.stack([x, y], 1)
    points[0], points[-1] = (x0, y0), (x1, y1)
    return points


def _solve(r: float) -> float:
    """u > 0 with sinh(u) / u = r > 1, by Newton from above in the logarithm."""
    # sinh(u) / u >= 1 + u^2 / 6, and for large u it is about exp(u) / (2 u)
    u = np.sqrt(6 * (r - 1)) if r < 3 else np.log(2 * r) + np.log(np.log(2 * r) + 1)
    for _ in range(60):
        value = np.log(np.sinh(u) / u) - np.log(r)
        step = value / (1 / np.tanh(u) - 1 / u)
        u = max(u - step, u / 10)
        if abs(step) < 1e-13 * u:
            break
    return float(u)


def _folded(x: float, y0: float, y1: float, length: float, count: int) -> np.ndarray:
    """Both ends on one vertical: the chain hangs straight down and comes back."""
    bottom = (y0 + y1 + length) / 2
    arcs = np.linspace(0, length, count)
    y = np.where(arcs <= bottom - y0, y0 + arcs, bottom - (arcs - (bottom - y0)))
    return np.stack([np.full(count, float(x)), y], 1)


def arc_length(points: np.ndarray) -> float:
    """The length of the line through points (N,2)."""
    return float(np.hypot(*np.diff(points, axis=0).T).sum())
