"""Jewelry: what there is, and how each piece is drawn, lying for a picture or worn.

A piece is drawn into a `Layer` in its own frame, so the worn piece and the product picture show the same design.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .canvas import Canvas, Cover, Layer
from .curves import Frame, smooth
from .head import canvas_disc
from .palette import WHITE, mix, rgb
from .textures import heart_distance

METALS = {"gold": rgb(228, 180, 74), "silver": rgb(196, 202, 212), "rose gold": rgb(224, 152, 130)}
GEMS = {
    "ruby": rgb(200, 28, 62), "sapphire": rgb(36, 82, 196), "emerald": rgb(22, 152, 98), "amethyst": rgb(142, 78, 190), "pearl": rgb(250, 240, 230),
    "diamond": rgb(222, 238, 248), "topaz": rgb(242, 168, 48), "turquoise": rgb(54, 188, 186),
}
DESIGNS = {
    "earrings": ("stud", "hoop", "drop"), "necklace": ("pendant", "beaded", "heart pendant"), "ring": ("solitaire", "band", "three-stone"),
    "bracelet": ("bangle", "beaded", "charm"),
}
TYPES = tuple(DESIGNS)


@dataclass(frozen=True)
class Jewel:
    """One piece (earrings count as one): `kind` of `TYPES`, a design of it, metal and stone by name, `size` about 1."""

    kind: str
    design: str
    metal: str
    gem: str
    size: float = 1.0

    @property
    def words(self) -> str:
        """Metal, design and stone: "gold drop earrings with ruby"."""
        name = {"solitaire": "ring", "three-stone": "three-stone ring", "band": "band ring", "bangle": "bangle bracelet"}.get(self.design)
        if name is None:
            name = f"{self.design} {self.kind}"
        return f"{self.metal} {name}" + ("" if self.plain else f" with {self.gem}")

    @property
    def plain(self) -> bool:
        """Whether no stone is set."""
        return self.design in ("hoop", "band", "bangle")

    @property
    def caption(self) -> str:
        """`words` with an article."""
        return self.words if self.kind == "earrings" else "a " + self.words


def draw_jewel(rng: np.random.Generator, kind: str) -> Jewel:
    """A piece of a kind, drawn from a generator.

    Raises:
        ValueError: an unknown kind.
    """
    if kind not in DESIGNS:
        raise ValueError(f"The jewelry '{kind}' is not known; choose one of {', '.join(TYPES)}.")
    return Jewel(kind, str(rng.choice(DESIGNS[kind])), str(rng.choice(list(METALS), p=[0.5, 0.3, 0.2])), str(rng.choice(list(GEMS))), float(rng.uniform(0.9, 1.15)))


def gem(layer: Canvas, frame: Frame, jewel: Jewel, x: float, y: float, r: float, drop: float = 1.0) -> None:
    """A cut stone or a pearl of radius r at (x, y), in a thin setting; `drop` stretches it downwards."""
    colour, metal = GEMS[jewel.gem], METALS[jewel.metal]
    layer.paint(layer.shape(canvas_disc(frame, x, y, r * 1.16, r * 1.16 * drop)), mix(metal, (0, 0, 0), 0.16), depth=0.9)
    stone = layer.shape(canvas_disc(frame, x, y, r, r * drop))
    u, v = np.broadcast_arrays(*frame.inverse(*layer.grid(stone)))
    u, v = (u - x) / r, (v - y) / (r * drop)
    if jewel.gem == "pearl":
        light = np.clip(1.03 - 0.3 * np.hypot(u - 0.2, v - 0.25) ** 2 + 0.1 * (v + u), 0.55, 1.06)
        layer.paint(stone, colour * light[..., None], depth=0.92)
    else:
        facet = np.floor(((np.arctan2(v, u) / np.pi) % 2) * 4) / 8
        table = np.hypot(u, v) < 0.55
        light = np.where(table, 1.22 - 0.25 * (u + v), 0.78 + 0.55 * np.abs(((facet + 0.3) % 1) - 0.5) - 0.12 * v)
        layer.paint(stone, np.clip(colour * light[..., None] + np.where(table, 0.06, 0)[..., None], 0, 1), depth=0.92)
    layer.paint(layer.shape(canvas_disc(frame, x - 0.34 * r, y - 0.38 * r * drop, r * 0.24, r * 0.2)), WHITE, 0.9)


def wire(layer: Canvas, points: np.ndarray, width: float, metal: str, opacity: float = 1.0) -> None:
    """A polished metal wire along points in canvas units: dark rim, body, bright line."""
    colour = METALS[metal]
    layer.paint(layer.stroke(points, width), mix(colour, (0.25, 0.12, 0.05), 0.38), opacity, depth=0.88)
    layer.paint(layer.stroke(points - (0.1 * width, 0.12 * width), width * 0.62), colour, opacity, depth=0.88)
    layer.paint(layer.stroke(points - (0.18 * width, 0.2 * width), width * 0.2), mix(colour, (1, 1, 1), 0.75), opacity)


def earring(layer: Canvas, frame: Frame, jewel: Jewel) -> None:
    """One earring; (0, 0) is the hole in the lobe, the piece hangs to about y = 7."""
    k = jewel.size
    if jewel.design == "stud":
        gem(layer, frame, jewel, 0, 0.2, 1.25 * k)
    elif jewel.design == "hoop":
        t = np.linspace(-0.5 * np.pi, 1.5 * np.pi, 48)
        wire(layer, frame(np.stack([2.5 * k * np.cos(t) * 0.8, 2.7 * k + 2.7 * k * np.sin(t)], -1)), 0.72 * frame.scale, jewel.metal)
    else:
        wire(layer, frame(np.array([(0, 0), (0, 1.3), (0, 2.6 * k)])), 0.42 * frame.scale, jewel.metal)
        gem(layer, frame, jewel, 0, 0, 0.62 * k)
        gem(layer, frame, jewel, 0, 4.4 * k, 1.35 * k, 1.4)


def strand(layer: Canvas, curve: np.ndarray, frame: Frame, jewel: Jewel) -> None:
    """A necklace: the chain along `curve` (n,2) in canvas units, what hangs on it at `frame`."""
    if jewel.design == "beaded":
        for spot in _spaced(curve, 1.5 * jewel.size * frame.scale):
            gem(layer, Frame(*spot, 0, frame.scale), jewel, 0, 0, 0.72 * jewel.size)
        return
    wire(layer, curve, 0.4 * frame.scale, jewel.metal)
    for i, spot in enumerate(_spaced(curve, 0.62 * frame.scale)):
        if i % 2:
            layer.paint(layer.disc(*spot, 0.13 * frame.scale), mix(METALS[jewel.metal], (0.2, 0.1, 0), 0.5), 0.6)
    wire(layer, frame(np.array([(0, -0.1), (0, 0.5), (0, 1.0)])), 0.5 * frame.scale, jewel.metal)
    if jewel.design == "pendant":
        gem(layer, frame, jewel, 0, 2.9 * jewel.size, 1.45 * jewel.size, 1.25)
        return
    k = 2.3 * jewel.size
    box = layer.shape(frame(np.array([(-k * 1.2, 0.2), (k * 1.2, 0.2), (k * 1.2, 5.6), (-k * 1.2, 5.6)])))
    u, v = np.broadcast_arrays(*frame.inverse(*layer.grid(box)))
    inside = heart_distance(u, v - 2.9, k)
    soft = 1 / (layer.scale * frame.scale)
    for grow, colour in ((0.0, mix(METALS[jewel.metal], (0.2, 0.1, 0), 0.4)), (-0.28, METALS[jewel.metal])):
        layer.paint(box.scaled(np.clip((inside + grow) / soft + 0.5, 0, 1)), colour * (1.1 - 0.06 * (u + v - 2.9))[..., None], depth=0.9)
    gem(layer, frame, jewel, 0, 2.7, 0.7 * jewel.size)


def _spaced(curve: np.ndarray, step: float) -> np.ndarray:
    length = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(curve, axis=0), axis=1))])
    n = max(2, int(round(length[-1] / step)))
    at = np.linspace(0, length[-1], n + 1)
    return np.stack([np.interp(at, length, curve[:, i]) for i in (0, 1)], -1)


def front_arc(half: float, sag: float, n: int = 25) -> np.ndarray:
    """The near half of a band around something `half` wide: from (-half, 0) to (half, 0), hanging `sag` in the middle."""
    a = np.linspace(-np.pi / 2, np.pi / 2, n)
    return np.stack([half * np.sin(a), sag * np.cos(a)], -1)


def ring_front(layer: Canvas, frame: Frame, jewel: Jewel, half: float) -> None:
    """The visible part of a ring on a finger of half width `half`; the finger runs along y."""
    arc = front_arc(half * 1.08, -0.9)
    wire(layer, frame(arc), (1.25 if jewel.design == "band" else 0.85) * jewel.size * frame.scale, jewel.metal)
    _stones(layer, frame, jewel, -0.9, half / 3.6)


def _stones(layer: Canvas, frame: Frame, jewel: Jewel, y: float, k: float) -> None:
    k = k * jewel.size
    if jewel.design == "solitaire":
        gem(layer, frame, jewel, 0, y - 0.3, 1.95 * k)
    elif jewel.design == "three-stone":
        for x, r in ((-2.1, 1.05), (2.1, 1.05), (0, 1.5)):
            gem(layer, frame, jewel, x * k, y - 0.1, r * k)


def bracelet_front(layer: Canvas, frame: Frame, jewel: Jewel, half: float) -> None:
    """The visible part of a bracelet on a wrist of half width `half`; the arm runs along y."""
    arc = frame(front_arc(half * 1.06, 1.9))
    if jewel.design == "beaded":
        for spot in _spaced(arc, 2.05 * jewel.size * frame.scale):
            gem(layer, Frame(*spot, frame.turn, frame.scale), jewel, 0, 0, 0.98 * jewel.size)
        return
    wire(layer, arc, (1.8 if jewel.design == "bangle" else 0.8) * jewel.size * frame.scale, jewel.metal)
    if jewel.design == "charm":
        for x, y, r in ((-0.5, 1.7, 1.0), (0.02, 1.9, 1.35), (0.5, 1.7, 1.0)):
            gem(layer, frame, jewel, x * half, y + 1.35 * jewel.size, r * jewel.size)


def product_layer(jewel: Jewel, height: int, width: int) -> Layer:
    """The piece as a shop shows it, alone on a transparent layer of 96 x 128 units."""
    scale = min(width / 96, height / 128)
    layer = Layer(Canvas(height, width, scale, ((width - 96 * scale) / 2, (height - 128 * scale) / 2)))
    if jewel.kind == "earrings":
        for frame in flat_earrings(jewel):
            earring(layer, frame, jewel)
    elif jewel.kind == "necklace":
        strand(layer, flat_chain(), Frame(48, 86, 0, 3.2), jewel)
    elif jewel.kind == "ring":
        t = np.linspace(0, 2 * np.pi, 80)
        frame, k = Frame(48, 70, 0, 6.0), jewel.size
        oval = np.stack([4.2 * np.cos(t), 4.6 * np.sin(t)], -1)
        wire(layer, frame(oval), (1.25 if jewel.design == "band" else 0.85) * k * frame.scale, jewel.metal)
        _stones(layer, frame, jewel, -4.6, 1.15)
    else:
        _flat_bracelet(layer, jewel)
    return layer


def _flat_bracelet(layer: Layer, jewel: Jewel) -> None:
    frame = Frame(48, 62, -0.1, 3.0)
    t = np.linspace(np.pi, 3 * np.pi, 90)
    oval = frame(np.stack([11.2 * np.cos(t), 7.4 * np.sin(t)], -1))
    if jewel.design == "beaded":
        for spot in _spaced(oval, 2.05 * jewel.size * frame.scale)[:-1]:
            gem(layer, Frame(*spot, 0, frame.scale), jewel, 0, 0, 0.98 * jewel.size)
        return
    wire(layer, oval, (1.8 if jewel.design == "bangle" else 0.8) * jewel.size * frame.scale, jewel.metal)
    if jewel.design == "charm":
        for x, y, r in ((-0.42, 6.6, 1.0), (0.0, 7.4, 1.35), (0.42, 6.6, 1.0)):
            gem(layer, frame, jewel, x * 11.2, y + 1.35 * jewel.size, r * jewel.size)


def flat_earrings(jewel: Jewel) -> tuple[Frame, Frame]:
    """The frames of the two earrings in a product picture."""
    scale = 12.0 if jewel.design == "stud" else 9.0
    top = 64.0 if jewel.design == "stud" else 40.0
    return Frame(28, top, 0.05, scale), Frame(68, top, -0.05, scale)


def flat_chain() -> np.ndarray:
    """The chain of a necklace lying for its picture."""
    return smooth([(40, 17), (24, 27), (19, 46), (27, 68), (40, 82), (48, 86), (56, 82), (69, 68), (77, 46), (72, 27), (56, 17)], 10, closed=False)


def product_picture(jewel: Jewel, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Picture (H,W,3) on near-white and mask (H,W) of the piece alone."""
    layer = product_layer(jewel, height, width)
    y = np.linspace(0, 1, height, dtype=np.float32)[:, None, None]
    ground = np.broadcast_to(np.float32(0.975) - 0.03 * y, (height, width, 3)).copy()
    board = Canvas(height, width, layer.scale, tuple(layer.offset))
    board.image[:] = ground
    shadow = board.moved(board.soften(Cover(0, 0, layer.alpha), 1.2), 0.8, 1.8)
    board.shade(shadow, (0.78, 0.78, 0.82), 0.8)
    return layer.over(board.image), layer.mask

