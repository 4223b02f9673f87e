"""Shapes drawn into bool arrays (H,W), and masks grown by a disc.

Pixel centres lie at integer coordinates and a pixel belongs to a shape when its centre does. Points are (x, y) in pixels.
"""

import numpy as np

from .arrays import Box, bounding_box

# A centre exactly on the edge counts as inside whichever way rounding fell, so that mirrored shapes are mirrored masks.
EDGE = 1e-6


def _window(size: tuple[int, int], points: np.ndarray, margin: float) -> tuple[slice, slice, np.ndarray, np.ndarray]:
    """The slices of the picture around the points, and the pixel coordinates x (1,w) and y (h,1) in them."""
    low, high = points.min(0) - margin - 1, points.max(0) + margin + 2
    x0, y0 = np.clip(np.floor(low), 0, (size[1], size[0])).astype(int)
    x1, y1 = np.clip(np.ceil(high), (x0, y0), (size[1], size[0])).astype(int)
    return slice(y0, y1), slice(x0, x1), np.arange(x0, x1, dtype=np.float64)[None], np.arange(y0, y1, dtype=np.float64)[:, None]


def capsule(size: tuple[int, int], start, end, radius: float, end_radius: float | None = None) -> np.ndarray:
    """A round-ended bar from start to end, tapering from radius to end_radius (default the same)."""
    out = np.zeros(size, bool)
    (ax, ay), (bx, by) = start, end
    end_radius = radius if end_radius is None else end_radius
    rows, columns, x, y = _window(size, np.array([start, end], float), max(radius, end_radius))
    dx, dy = bx - ax, by - ay
    t = np.clip(((x - ax) * dx + (y - ay) * dy) / max(dx * dx + dy * dy, 1e-12), 0, 1)
    reach = radius + (end_radius - radius) * t
    out[rows, columns] = (x - ax - t * dx) ** 2 + (y - ay - t * dy) ** 2 <= reach * reach + EDGE
    return out


def stroke(size: tuple[int, int], points: np.ndarray, radius: float) -> np.ndarray:
    """A line of half-width radius through points (N,2)."""
    out = np.zeros(size, bool)
    for start, end in zip(points[:-1], points[1:]):
        rows, columns, x, y = _window(size, np.stack([start, end]), radius)
        dx, dy = end - start
        t = np.clip(((x - start[0]) * dx + (y - start[1]) * dy) / max(dx * dx + dy * dy, 1e-12), 0, 1)
        out[rows, columns] |= (x - start[0] - t * dx) ** 2 + (y - start[1] - t * dy) ** 2 <= radius * radius + EDGE
    return out


def ellipse(size: tuple[int, int], centre, rx: float, ry: float, axis=(1.0, 0.0)) -> np.ndarray:
    """An ellipse with half-axis rx along the unit vector `axis` and ry across it."""
    out = np.zeros(size, bool)
    rows, columns, x, y = _window(size, np.array([centre], float), max(rx, ry))
    u = (x - centre[0]) * axis[0] + (y - centre[1]) * axis[1]
    v = (y - centre[1]) * axis[0] - (x - centre[0]) * axis[1]
    out[rows, columns] = (u / max(rx, 1e-9)) ** 2 + (v / max(ry, 1e-9)) ** 2 <= 1 + EDGE
    return out


def polygon(size: tuple[int, int], points) -> np.ndarray:
    """A filled polygon (N,2) by the even-odd rule, its outline included."""
    points = np.asarray(points, float)
    rows, columns, x, y = _window(size, points, 0)
    inside = np.zeros(np.broadcast_shapes(x.shape, y.shape), bool)
    for (ax, ay), (bx, by) in zip(points, np.roll(points, -1, 0)):
        if ay != by:
            inside ^= ((ay > y) != (by > y)) & (x < ax + (y - ay) * (bx - ax) / (by - ay))
    out = np.zeros(size, bool)
    out[rows, columns] = inside
    return out | stroke(size, np.concatenate([points, points[:1]]), EDGE ** 0.5)


def hull(points: np.ndarray) -> np.ndarray:
    """The convex hull of points (N,2), in order (Andrew's monotone chain)."""
    ordered = sorted({(float(x), float(y)) for x, y in points})
    if len(ordered) < 3:
        return np.array(ordered)

    def half(sequence):
        chain = []
        for x, y in sequence:
            while len(chain) > 1 and ((chain[-1][0] - chain[-2][0]) * (y - chain[-2][1])
                                      <= (chain[-1][1] - chain[-2][1]) * (x - chain[-2][0])):
                chain.pop()
            chain.append((x, y))
        return chain[:-1]

    return np.array(half(ordered) + half(ordered[::-1]))


def fill_box(size: tuple[int, int], box: Box | None) -> np.ndarray:
    """A filled Box; None draws nothing."""
    out = np.zeros(size, bool)
    if box is not None:
        out[box.y0:box.y1, box.x0:box.x1] = True
    return out


def grow(region: np.ndarray, radius: float) -> np.ndarray:
    """Grow a bool region (H,W) by a disc of radius pixels; a negative radius shrinks it, the picture's border excepted."""
    from scipy.ndimage import distance_transform_edt
    box = bounding_box(region)
    if radius == 0 or box is None:
        return region.copy()
    margin = int(np.ceil(abs(radius))) + 1
    rows = slice(max(box.y0 - margin, 0), box.y1 + margin)
    columns = slice(max(box.x0 - margin, 0), box.x1 + margin)
    out, part = np.zeros_like(region), region[rows, columns]
    if radius > 0:
        out[rows, columns] = distance_transform_edt(~part) <= radius
    else:
        out[rows, columns] = part if part.all() else distance_transform_edt(part) > -radius
    return out
