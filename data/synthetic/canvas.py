"""A small painter: anti-aliased shapes with soft edges on float pictures, and the maps that come for free while painting.

Shapes are given in units; a canvas knows how many pixels a unit is. Whatever is painted last owns its pixels: besides the
colours the canvas keeps who that is (`labels`), how near it is (`depth`) and, for garments, where each pixel comes from.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

SOLID = 0.5  # a pixel belongs to a shape that covers at least half of it


@dataclass(frozen=True)
class Cover:
    """How much of each pixel a shape covers: `alpha` (h,w) float32 0..1, its upper left corner at pixel (left, top)."""

    top: int
    left: int
    alpha: np.ndarray

    @property
    def window(self) -> tuple[slice, slice]:
        """The slices of the picture that `alpha` covers."""
        h, w = self.alpha.shape
        return slice(self.top, self.top + h), slice(self.left, self.left + w)

    def scaled(self, factor) -> Cover:
        """The cover times a number or an array (h,w)."""
        return Cover(self.top, self.left, self.alpha * factor)

    def within(self, other: Cover) -> Cover:
        """The part that lies inside another cover."""
        return self.scaled(other.fitted(self))

    def without(self, other: Cover) -> Cover:
        """The part that lies outside another cover."""
        return self.scaled(1 - other.fitted(self))

    def fitted(self, like: Cover) -> np.ndarray:
        """This cover's alpha on another's window, 0 where it does not reach."""
        out = np.zeros_like(like.alpha)
        top, left = max(self.top, like.top), max(self.left, like.left)
        bottom = min(self.top + self.alpha.shape[0], like.top + like.alpha.shape[0])
        right = min(self.left + self.alpha.shape[1], like.left + like.alpha.shape[1])
        if top < bottom and left < right:
            out[top - like.top : bottom - like.top, left - like.left : right - like.left] = self.alpha[
                top - self.top : bottom - self.top, left - self.left : right - self.left
            ]
        return out


class Canvas:
    """A picture of `height` x `width` pixels; the unit point (x, y) lies at pixel (offset + scale * (x, y))."""

    def __init__(self, height: int, width: int, scale: float, offset: tuple[float, float] = (0.0, 0.0)):
        self.height, self.width, self.scale, self.offset = height, width, float(scale), np.asarray(offset, float)
        self.samples = 4 if height * width <= 1 << 17 else 2  # large pictures need fewer subsamples
        self.image = np.ones((height, width, 3), np.float32)
        self.labels = np.zeros((height, width), np.uint8)
        self.depth = np.zeros((height, width), np.float32)

    def pixels(self, points) -> np.ndarray:
        """Unit points (..., 2) in pixels."""
        return np.asarray(points, float) * self.scale + self.offset

    def grid(self, cover: Cover | None = None) -> tuple[np.ndarray, np.ndarray]:
        """x (1,w) and y (h,1) of the pixel centres of a cover's window, or of the whole picture, in units."""
        rows, columns = cover.window if cover else (slice(0, self.height), slice(0, self.width))
        x = (np.arange(columns.start, columns.stop, dtype=np.float32) + 0.5 - self.offset[0]) / self.scale
        y = (np.arange(rows.start, rows.stop, dtype=np.float32) + 0.5 - self.offset[1]) / self.scale
        return x[None, :].astype(np.float32), y[:, None].astype(np.float32)

    def empty(self) -> Cover:
        """A cover of nothing."""
        return Cover(0, 0, np.zeros((1, 1), np.float32))

    def everything(self) -> Cover:
        """A cover of the whole picture."""
        return Cover(0, 0, np.ones((self.height, self.width), np.float32))

    def shape(self, *polygons, round_by: float = 0.0) -> Cover:
        """The union of polygons, each (n,2) in units; `round_by` units are added all round, which rounds the corners."""
        outlines = [self.pixels(p) for p in polygons if len(p) > 2]
        if not outlines:
            return self.empty()
        grow = round_by * self.scale
        low = np.floor(np.min([o.min(0) for o in outlines], 0) - grow).astype(int) - 1
        high = np.ceil(np.max([o.max(0) for o in outlines], 0) + grow).astype(int) + 1
        low, high = np.maximum(low, 0), np.minimum(high, (self.width, self.height))
        if (high <= low).any():
            return self.empty()
        size, s = high - low, self.samples
        board = Image.new("L", (int(size[0]) * s, int(size[1]) * s))
        draw = ImageDraw.Draw(board)
        for outline in outlines:
            _fill(draw, (outline - low) * s, grow * s)
        return Cover(int(low[1]), int(low[0]), np.asarray(board.reduce(s), np.float32) / 255)

    def disc(self, x: float, y: float, rx: float, ry: float | None = None, tilt: float = 0.0) -> Cover:
        """An ellipse around (x, y) with half axes rx, ry in units, turned by `tilt` radians."""
        px, py = rx * _ROUND[:, 0], (rx if ry is None else ry) * _ROUND[:, 1]
        c, s = np.cos(tilt), np.sin(tilt)
        return self.shape(np.stack([x + px * c - py * s, y + px * s + py * c], -1))

    def stroke(self, points, width, taper: float = 1.0) -> Cover:
        """A round-ended line through points (n,2); its width in units goes from `width` to `width * taper`."""
        points = np.asarray(points, float)
        radii = np.linspace(width, width * taper, len(points)) / 2
        return self.shape(*ribbon(points, radii))

    def paint(self, cover: Cover, colour, opacity: float = 1.0, label: int | None = None, depth=None) -> None:
        """Lay a colour (3,) or colours (h,w,3) over a cover; `label` and `depth` (number or (h,w)) are set where it is solid."""
        target = self.image[cover.window]
        target += (np.asarray(colour, np.float32) - target) * (cover.alpha * opacity)[..., None]
        if label is None and depth is None:
            return
        solid = cover.alpha >= SOLID
        if label is not None:
            self.labels[cover.window][solid] = label
        if depth is not None:
            self.depth[cover.window][solid] = np.broadcast_to(depth, solid.shape)[solid]

    def shade(self, cover: Cover, factor, opacity: float = 1.0) -> None:
        """Multiply the picture under a cover by a factor, a number or (3,) or (h,w,3); owners stay."""
        target = self.image[cover.window]
        target *= 1 + (np.asarray(factor, np.float32) - 1) * (cover.alpha * opacity)[..., None]

    def soften(self, cover: Cover, radius: float) -> Cover:
        """The cover blurred by a Gaussian of `radius` units."""
        r = radius * self.scale
        pad = int(np.ceil(2.5 * r)) + 1
        top, left = max(0, cover.top - pad), max(0, cover.left - pad)
        bottom = min(self.height, cover.top + cover.alpha.shape[0] + pad)
        right = min(self.width, cover.left + cover.alpha.shape[1] + pad)
        wide = cover.fitted(Cover(top, left, np.zeros((bottom - top, right - left), np.float32)))
        return Cover(top, left, blur(wide, r))

    def moved(self, cover: Cover, dx: float, dy: float) -> Cover:
        """The cover moved by (dx, dy) units, rounded to whole pixels and cut at the border."""
        top, left = cover.top + round(dy * self.scale), cover.left + round(dx * self.scale)
        h, w = cover.alpha.shape
        y0, x0 = max(0, -top), max(0, -left)
        y1, x1 = min(h, self.height - top), min(w, self.width - left)
        if y0 >= y1 or x0 >= x1:
            return self.empty()
        return Cover(top + y0, left + x0, cover.alpha[y0:y1, x0:x1])


def blur(values: np.ndarray, radius_px: float) -> np.ndarray:
    """A Gaussian blur of values (h,w) in 0..1, exact to one grey level of 255."""
    if radius_px < 0.25:
        return values
    levels = Image.fromarray(np.rint(np.clip(values, 0, 1) * 255).astype(np.uint8))
    return np.asarray(levels.filter(ImageFilter.GaussianBlur(radius_px)), np.float32) / 255


def _fill(draw: ImageDraw.ImageDraw, outline: np.ndarray, grow: float) -> None:
    outline = outline - 0.5
    draw.polygon(outline.ravel().tolist(), fill=255)
    if grow > 0.3:
        corners = [tuple(corner) for corner in outline.tolist()]
        draw.line([*corners, corners[0], corners[1]], fill=255, width=max(1, round(2 * grow)), joint="curve")
        for x, y in corners:
            draw.ellipse([x - grow, y - grow, x + grow, y + grow], fill=255)


def _circle(n: int) -> np.ndarray:
    t = np.linspace(0, 2 * np.pi, n, endpoint=False)
    return np.stack([np.cos(t), np.sin(t)], -1)


_ROUND, _END = _circle(48), _circle(20)


def ribbon(points: np.ndarray, radii: np.ndarray) -> list[np.ndarray]:
    """Polygons whose union is a line of varying radius with round ends."""
    along = np.empty_like(points, float)
    along[1:-1] = points[2:] - points[:-2]
    along[0], along[-1] = points[1] - points[0], points[-1] - points[-2]
    across = along[:, ::-1] * (-1, 1)
    across *= (radii / (np.hypot(across[:, 0], across[:, 1]) + 1e-9))[:, None]
    return [np.concatenate([points + across, (points - across)[::-1]]), points[0] + _END * radii[0], points[-1] + _END * radii[-1]]


class Layer(Canvas):
    """A transparent canvas: `image` is premultiplied by `alpha` (H,W), so that it can be laid over any picture later."""

    def __init__(self, like: Canvas):
        super().__init__(like.height, like.width, like.scale, tuple(like.offset))
        self.image[:] = 0
        self.alpha = np.zeros((like.height, like.width), np.float32)

    def paint(self, cover: Cover, colour, opacity: float = 1.0, label: int | None = None, depth=None) -> None:
        """As on a canvas, and the layer becomes opaque there."""
        super().paint(cover, colour, opacity, label, depth)
        target = self.alpha[cover.window]
        target += (1 - target) * (cover.alpha * opacity)

    def over(self, picture: np.ndarray) -> np.ndarray:
        """The layer on a picture (H,W,3)."""
        return (picture * (1 - self.alpha[..., None]) + self.image).clip(0, 1)

    @property
    def mask(self) -> np.ndarray:
        """1 where the layer covers at least half a pixel, (H,W) float32."""
        return (self.alpha >= SOLID).astype(np.float32)
