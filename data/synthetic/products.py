"""Products for a room, a table or an arm: sofa, armchair, stool, lamps, vase, teapot, plant, bag and a framed picture, seen from any side.

World units: a sofa is 56 wide; z = 0 is what the product stands on.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .canvas import Canvas
from .curves import Limb, smooth
from .palette import COLOURS, WHITE, mix, partner, rgb
from .solids import Box, Turned, View, contact_shadow, draw_solids
from .textures import bands, dots

FURNITURE, SMALL = ("sofa", "armchair", "lamp", "plant", "stool"), ("vase", "table lamp", "teapot")
KINDS = (*FURNITURE, *SMALL, "bag", "picture")
SIZES = {
    "sofa": (56, 22, 27), "armchair": (29, 22, 27), "lamp": (18, 18, 66), "plant": (38, 20, 46), "stool": (17, 17, 17), "vase": (18, 18, 44),
    "table lamp": (26, 26, 42), "teapot": (36, 22, 26), "bag": (24, 9, 34), "picture": (26, 1.6, 32),
}
"""Width, depth and height of each kind in world units."""
WOOD = rgb(150, 104, 72)


@dataclass(frozen=True)
class Product:
    """One product: `kind` of `KINDS`, colour names, pattern (plain, striped, dotted) and a seed for what grows in it."""

    kind: str
    base: str
    second: str
    pattern: str
    seed: int

    @property
    def words(self) -> str:
        """Colours, pattern and kind: "teal and white striped vase"."""
        name = {"lamp": "floor lamp", "plant": "potted plant", "picture": "framed picture"}.get(self.kind, self.kind)
        return f"{self.base} {name}" if self.pattern == "plain" else f"{self.base} and {self.second} {self.pattern} {name}"

    @property
    def caption(self) -> str:
        """`words` with an article."""
        return ("an " if self.words[0] in "aeiou" else "a ") + self.words


def draw_product(rng: np.random.Generator, kind: str) -> Product:
    """A product of a kind, drawn from a generator.

    Raises:
        ValueError: an unknown kind.
    """
    if kind not in KINDS:
        raise ValueError(f"The product '{kind}' is not known; choose one of {', '.join(KINDS)}.")
    base = str(rng.choice([c for c in COLOURS if c != "black"]))
    share = 0.35 if kind in ("sofa", "armchair", "stool") else 0.6
    pattern = str(rng.choice(["striped", "dotted"])) if rng.random() < share else "plain"
    return Product(kind, base, partner(base, rng), pattern, int(rng.integers(1 << 30)))


def render(canvas: Canvas, product: Product, view: View, depth: float = 0.5) -> None:
    """Paint a product; nothing else, no shadow."""
    {"sofa": _sofa, "armchair": _sofa, "lamp": _lamp, "plant": _plant, "stool": _stool, "vase": _vase, "table lamp": _table_lamp, "teapot": _teapot,
     "bag": _bag, "picture": _picture}[product.kind](canvas, product, view, depth)


def shadow(canvas: Canvas, product: Product, view: View, strength: float = 0.75) -> None:
    """Paint the shadow where the product stands."""
    w, d, h = SIZES[product.kind]
    if product.kind == "picture":
        wall = canvas.shape(view(np.array([(-w / 2, 0.8, 0), (w / 2, 0.8, 0), (w / 2, 0.8, h), (-w / 2, 0.8, h)])))
        canvas.shade(canvas.moved(canvas.soften(wall, 1.2 * view.scale), 0.9 * view.scale, 1.2 * view.scale), (0.66, 0.64, 0.66), strength)
        return
    k = {"lamp": 0.62, "plant": 0.5, "vase": 0.5, "table lamp": 0.5, "teapot": 0.62}.get(product.kind, 0.94)
    contact_shadow(canvas, view, (-w / 2 * k, -d / 2 * k), (w / 2 * k, d / 2 * k), strength)


def cloth(product: Product, angle_or_x, z, period: float = 5.5, soft: float = 0.25) -> np.ndarray:
    """The product's colour at (across, up), both in world units."""
    across, z = np.broadcast_arrays(angle_or_x, z)
    share = np.zeros(across.shape, np.float32)
    if product.pattern == "striped":
        share = bands(z, period, 0.46, soft)
    elif product.pattern == "dotted":
        share = dots(across, z, period, soft)
    return mix(COLOURS[product.base], COLOURS[product.second], share)


def _sofa(canvas: Canvas, p: Product, view: View, depth: float) -> None:
    w = SIZES[p.kind][0] / 2
    base, accent = COLOURS[p.base], COLOURS[p.second]
    legs = [Box((x - 0.9, y - 0.9, 0), (x + 0.9, y + 0.9, 3.6), WOOD, 0.3) for x in (-w + 3, w - 3) for y in (-8, 8)]
    seats = 2 if p.kind == "sofa" else 1
    inner = w - 5.4
    edges = np.linspace(-inner, inner, seats + 1)
    solids = [*legs, Box((-w + 1, -9.5, 3), (w - 1, 9.5, 8.5), base * 0.94, 1.0), Box((-w + 1.5, 6, 6), (w - 1.5, 11, 26.5), base * 0.97, 2.4)]
    draw_solids(canvas, view, solids, depth)
    for a, b in zip(edges[:-1], edges[1:], strict=True):
        draw_solids(canvas, view, [Box((a + 0.2, 2.5, 12.5), (b - 0.2, 7.0, 24.5), base, 2.2)], depth)
    for a, b in zip(edges[:-1], edges[1:], strict=True):
        draw_solids(canvas, view, [Box((a + 0.1, -10, 8.5), (b - 0.1, 5, 13.2), mix(base, (1, 1, 1), 0.06), 1.8)], depth)
    arms = [Box((-w, -10.5, 3), (-w + 5.4, 10, 17.5), base, 2.0), Box((w - 5.4, -10.5, 3), (w, 10, 17.5), base, 2.0)]
    draw_solids(canvas, view, arms, depth)
    if p.pattern != "plain":
        _cushion(canvas, p, view, -inner + 5.2, depth)
        if seats > 1:
            _cushion(canvas, p, view, inner - 5.2, depth)
    else:
        draw_solids(canvas, view, [Box((-inner + 0.8, -1.5, 13), (-inner + 9.6, 2.4, 21.5), accent, 1.9)], depth)


def _cushion(canvas: Canvas, p: Product, view: View, x: float, depth: float) -> None:
    corners = np.array([(x - 4.6, 0.5, 13.0), (x + 4.6, 0.5, 13.0), (x + 4.4, 2.2, 22.0), (x - 4.4, 2.2, 22.0)])
    flat = view(corners)
    cover = canvas.shape(smooth(np.concatenate([[a, a * 0.5 + b * 0.5 + (flat.mean(0) - (a + b) / 2) * 0.07] for a, b in zip(flat, np.roll(flat, -1, 0), strict=True)]), 4), round_by=0.7 * view.scale)
    gx, gy = canvas.grid(cover)
    u, v = np.broadcast_arrays((gx - flat[:, 0].mean()) / view.scale, (flat[:, 1].mean() - gy) / view.scale)
    colour = mix(COLOURS[p.second], COLOURS[p.base], bands(v, 3.2, 0.45, 0.2) if p.pattern == "striped" else dots(u, v, 3.4, 0.2))
    canvas.shade(canvas.moved(canvas.soften(cover, 0.8), 0.5, 0.6), 0.8, 0.7)
    canvas.paint(cover, colour * (1.04 - 0.012 * u - 0.006 * v - 0.004 * (u * u + v * v) * 0.5)[..., None], label=1, depth=depth + 0.02)


def _turned(canvas, view, profile, paint, depth, hollow=False) -> None:
    Turned(0, 0, np.array(profile, float), paint, hollow).draw(canvas, view, depth)


def _plain(colour):
    return lambda angle, z: np.broadcast_to(colour, (*np.broadcast_shapes(np.shape(angle), np.shape(z)), 3))


def _shade(canvas: Canvas, p: Product, view: View, low: float, high: float, wide: float, narrow: float, depth: float) -> None:
    """A lamp shade that glows."""
    at = view(np.array([0, 0, (low + high) / 2]))
    halo = canvas.soften(canvas.disc(*at, wide * 1.25 * view.scale), wide * 0.7 * view.scale)
    if not hasattr(canvas, "alpha"):
        canvas.paint(halo, rgb(255, 238, 190), 0.4)
    lit = lambda angle, z: np.clip(mix(cloth(p, angle * wide, z - low - 2), rgb(255, 246, 214), 0.42), 0, 1)
    _turned(canvas, view, [(wide, low), (narrow, high)], lit, depth, True)


def _lamp(canvas: Canvas, p: Product, view: View, depth: float) -> None:
    _turned(canvas, view, [(5.6, 0), (5.6, 0.9), (4.8, 1.4)], _plain(WOOD * 0.9), depth)
    _turned(canvas, view, [(0.7, 1.2), (0.7, 50)], _plain(WOOD), depth)
    _shade(canvas, p, view, 48, 64, 9.0, 6.0, depth)


def _table_lamp(canvas: Canvas, p: Product, view: View, depth: float) -> None:
    body = smooth([(6.0, 0), (6.4, 1.2), (4.0, 3.0), (6.6, 8.5), (5.0, 14.5), (1.6, 18.0), (1.2, 23)], 6, closed=False)
    _turned(canvas, view, body, _plain(mix(COLOURS[p.second], COLOURS[p.base], 0.1)), depth)
    _shade(canvas, p, view, 22, 40, 12.5, 8.0, depth)


def _vase_profile(seed: int) -> np.ndarray:
    shapes = ([(4.6, 0), (7.6, 5), (8.2, 11), (5.4, 18), (3.2, 22), (4.6, 26)], [(4.4, 0), (6.0, 6), (7.6, 15), (7.2, 21), (4.4, 24), (5.0, 26)],
              [(5.6, 0), (6.4, 4), (5.6, 12), (5.0, 20), (6.2, 26)])
    return smooth(shapes[seed % 3], 6, closed=False)


def _vase(canvas: Canvas, p: Product, view: View, depth: float) -> None:
    profile = _vase_profile(p.seed)
    rng = np.random.default_rng(p.seed)
    petals = (rgb(246, 214, 96), rgb(240, 140, 160), rgb(250, 246, 240), rgb(214, 96, 88))[p.seed % 4]
    top = profile[-1]
    for angle, reach in ((-0.42, 15), (0.38, 14), (-0.05, 19), (0.16, 10)):
        angle += rng.normal(0, 0.07)
        yaw = view.yaw * 0.5
        tip = np.array([reach * np.sin(angle + 0.3 * yaw), 0, top[1] + reach * np.cos(angle)])
        stem = view(np.stack([np.array([0.2 * tip[0] * s + 0.8 * tip[0] * s * s, 0, top[1] - 3 + (tip[2] - top[1] + 3) * s]) for s in np.linspace(0, 1, 10)]))
        canvas.paint(canvas.stroke(stem, 0.7 * view.scale), rgb(92, 140, 86), label=1, depth=depth)
        _leaf(canvas, stem[4], stem[4] + np.array([np.sign(angle + 0.01) * 3.6, -2.4]) * view.scale, 1.5 * view.scale, rgb(108, 160, 96), depth)
        _flower(canvas, stem[-1], 2.7 * view.scale, petals, depth)
    _turned(canvas, view, profile, lambda a, z: cloth(p, a * 7.0, z - 1.0, 6.2), depth, True)


def _flower(canvas: Canvas, at: np.ndarray, r: float, colour: np.ndarray, depth: float) -> None:
    t = np.linspace(0, 2 * np.pi, 6, endpoint=False) + 0.3
    for i, a in enumerate(t):
        canvas.paint(canvas.disc(at[0] + 0.62 * r * np.cos(a), at[1] + 0.62 * r * np.sin(a), 0.56 * r), colour * (1 - 0.05 * (i % 2)), label=1, depth=depth)
    canvas.paint(canvas.disc(*at, 0.42 * r), rgb(222, 160, 60), label=1, depth=depth)


def _picture(canvas: Canvas, p: Product, view: View, depth: float) -> None:
    draw_solids(canvas, view, [Box((-13, -0.8, 0), (13, 0.8, 32), WOOD, 0.4)], depth)
    plane = lambda u, v: view(np.stack([np.asarray(u, float), np.full(np.shape(u), -0.85), np.asarray(v, float)], -1))
    canvas.paint(canvas.shape(plane([-11, 11, 11, -11], [2, 2, 30, 30])), rgb(252, 249, 242), depth=depth)
    inner = canvas.shape(plane([-8.5, 8.5, 8.5, -8.5], [4.5, 4.5, 27.5, 27.5]))
    canvas.paint(inner, mix(COLOURS[p.second], (1, 1, 1), 0.35))
    t = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    canvas.paint(canvas.shape(plane(2.5 + 4.2 * np.cos(t), 20.5 + 4.2 * np.sin(t))).within(inner), COLOURS[p.base])
    for low, tone in ((13.0, 0.25), (9.5, 0.0)):
        x = np.linspace(-8.5, 8.5, 24)
        hill = low + 1.8 * np.sin(x * 0.42 + low + p.seed % 7)
        canvas.paint(canvas.shape(plane([*x, 8.5, -8.5], [*hill, 4.5, 4.5])).within(inner), mix(COLOURS[p.base], (1, 1, 1) if tone else (0, 0, 0), tone or 0.2))


def _leaf(canvas: Canvas, base: np.ndarray, tip: np.ndarray, width: float, colour: np.ndarray, depth: float) -> None:
    s = np.linspace(0, 1, 12)
    axis = base + (tip - base) * s[:, None]
    limb = Limb(axis, np.maximum(width * np.sin(np.pi * s**0.8) ** 0.8, 0.02))
    cover = canvas.shape(*limb.outline())
    q, _ = limb.inverse(*canvas.grid(cover))
    canvas.paint(cover, mix(colour, colour * 0.82, (q > 0) * 1.0), label=1, depth=depth)


def _plant(canvas: Canvas, p: Product, view: View, depth: float) -> None:
    rng = np.random.default_rng(p.seed)
    _turned(canvas, view, [(5.6, 0), (7.6, 13)], lambda a, z: cloth(p, a * 6.5, z - 0.8), depth, True)
    green = (rgb(78, 142, 92), rgb(104, 158, 96), rgb(66, 128, 104))[p.seed % 3]
    base = view(np.array([0, 0, 12.4]))
    angles = np.concatenate([np.linspace(-1.15, 1.15, 8), np.linspace(-0.6, 0.6, 4)]) + rng.normal(0, 0.05, 12)
    for i, angle in enumerate(angles):
        reach = (27 if i < 8 else 19) * rng.uniform(0.85, 1.1) * (1.12 - 0.3 * abs(angle))
        tip = base + np.array([np.sin(angle + 0.25 * np.sin(view.yaw)), -np.cos(angle)]) * reach * view.scale
        _leaf(canvas, base + (tip - base) * 0.12, tip, 2.9 * view.scale, mix(green, (1, 1, 0.8), 0.04 * (i % 4)), depth)


def _stool(canvas: Canvas, p: Product, view: View, depth: float) -> None:
    for a in (0.4, 1.9, 3.5, 5.0):
        x, y = 6.0 * np.cos(a), 6.0 * np.sin(a)
        foot = view(np.array([(x * 0.8, y * 0.8, 13), (x * 1.15, y * 1.15, 0)]))
        canvas.paint(canvas.stroke(foot, 1.7 * view.scale, 0.7), WOOD * (0.9 + 0.1 * (y < 0)), label=1, depth=depth)
    _turned(canvas, view, [(8.0, 12.0), (8.6, 13.2), (8.6, 15.4), (7.8, 16.6)], lambda a, z: cloth(p, a * 8, (z - 12) * 1.6, 4.0), depth)


def _teapot(canvas: Canvas, p: Product, view: View, depth: float) -> None:
    c = COLOURS[p.base]
    turn = np.cos(view.yaw)
    spout = view(np.array([(8.5 * turn, 0, 8), (13.0 * turn, 0, 11), (16.0 * turn, 0, 17.5)]))
    canvas.paint(canvas.stroke(smooth(spout, 6, closed=False), 4.2 * view.scale, 0.5), c * 0.95, label=1, depth=depth)
    handle = view(np.array([(-9 * turn, 0, 15.5), (-14.5 * turn, 0, 16), (-15.5 * turn, 0, 10), (-9.5 * turn, 0, 5.5)]))
    canvas.paint(canvas.stroke(smooth(handle, 6, closed=False), 1.9 * view.scale), c * 0.9, label=1, depth=depth)
    body = smooth([(6.4, 0), (10.4, 4.5), (11.0, 9.5), (8.6, 15), (5.4, 17.6)], 6, closed=False)
    _turned(canvas, view, body, lambda a, z: cloth(p, a * 10, z - 0.5, 5.0), depth)
    lid = smooth([(5.6, 17.4), (5.0, 19.0), (1.6, 20.2), (1.2, 21.2), (1.9, 22.6), (0.4, 23.8)], 5, closed=False)
    _turned(canvas, view, lid, _plain(COLOURS[p.second] if p.pattern != "plain" else c), depth)


def _bag(canvas: Canvas, p: Product, view: View, depth: float) -> None:
    c = COLOURS[p.base]
    arcs = [view(np.stack([7.0 * np.cos(t), np.full_like(t, y), 18 + 15.0 * np.sin(t) ** 0.8], -1)) for y in (3.0, -3.4) for t in [np.linspace(np.pi, 0, 26)]]
    canvas.paint(canvas.stroke(arcs[0], 1.5 * view.scale), c * 0.62, label=1, depth=depth)
    draw_solids(canvas, view, [Box((-12, -4.4, 0), (12, 4.4, 19.5), c, 1.9)], depth)
    front = view(np.array([(-11.4, -4.4, 0.6), (11.4, -4.4, 0.6), (11.4, -4.4, 18.8), (-11.4, -4.4, 18.8)]))
    across, up = (front[1] - front[0]) / 22.8, (front[3] - front[0]) / 18.2
    cover = canvas.shape(front, round_by=0.3 * view.scale)
    x, y = canvas.grid(cover)
    det = across[0] * up[1] - across[1] * up[0]
    u = ((x - front[0, 0]) * up[1] - (y - front[0, 1]) * up[0]) / det - 11.4
    v = ((y - front[0, 1]) * across[0] - (x - front[0, 0]) * across[1]) / det
    canvas.paint(cover, np.clip(cloth(p, u, v, 5.4) * (1.06 - 0.006 * u - 0.12 * np.exp(-v / 1.6))[..., None], 0, 1))
    band = front[0] + np.array([[0, 13.6], [22.8, 13.6], [22.8, 18.2], [0, 18.2]]) @ np.stack([across, up])
    canvas.paint(canvas.shape(band, round_by=0.3 * view.scale), mix(c, (0, 0, 0), 0.34), depth=depth)
    lock = front[0] + np.array([11.4, 13.6]) @ np.stack([across, up])
    canvas.paint(canvas.disc(*lock, 1.5 * view.scale), rgb(232, 190, 92), depth=depth)
    canvas.paint(canvas.disc(lock[0] - 0.4 * view.scale, lock[1] - 0.4 * view.scale, 0.5 * view.scale), WHITE, 0.8)
    canvas.paint(canvas.stroke(arcs[1], 1.6 * view.scale), c * 0.74, label=1, depth=depth)


def product_picture(product: Product, height: int, width: int, yaw: float | None = None) -> tuple[np.ndarray, np.ndarray]:
    """The product alone, on near-white, from a side of its own: picture (H,W,3) and mask (H,W)."""
    rng = np.random.default_rng(product.seed + 1)
    scale = min(width / 96, height / 128)
    canvas = Canvas(height, width, scale, ((width - 96 * scale) / 2, (height - 128 * scale) / 2))
    y = np.linspace(0, 1, height, dtype=np.float32)[:, None, None]
    canvas.image[:] = 0.985 - 0.05 * y
    w, d, h = SIZES[product.kind]
    zoom = min(78 / (w + 0.35 * d), 92 / h)
    yaw = float(rng.choice([-1, 1]) * rng.uniform(0.35, 0.6)) if yaw is None else yaw
    view = View(48, 64 + 0.48 * h * zoom, zoom, yaw, rng.uniform(0.24, 0.36))
    shadow(canvas, product, view, 0.5)
    render(canvas, product, view)
    return canvas.image.clip(0, 1), (canvas.labels > 0).astype(np.float32)
