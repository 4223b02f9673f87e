"""Laying cloth on a canvas: one painter for the flat garment and for the worn one, so that both carry the same print.

The colour of a pixel is a function of cloth coordinates alone (`albedo`); light is multiplied on afterwards. `Cloth` keeps, beside
the picture, the unlit colours and for every pixel of a garment the point of the flat picture it shows.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .canvas import SOLID, Canvas
from .curves import Frame, Placed, dense, smoothstep
from .garments import Detail, Garment, Piece, flat_frame, pieces
from .palette import COLOURS, mix
from .textures import Folds, pattern, pleats

SLOT_IDS = {"upper": 1, "lower": 2, "dress": 3, "hat": 4}
PART_LABELS = {"torso": 5, "left_sleeve": 21, "right_sleeve": 22, "skirt": 5, "left_leg": 23, "right_leg": 24, "hat": 5}
"""Garment parsing: torso and sleeves as in GP-VTON's maps, which SIFT-VTON reads; legs are numbers of our own."""


@dataclass
class Cloth:
    """What is known of the garments on a canvas, pixel by pixel.

    unlit (H,W,3): colours without light; source (H,W,2): x, y in pixels of the garment's flat picture, of the same size;
    owner (H,W): `SLOT_IDS` of the visible garment, 0 elsewhere; part (H,W): `PART_LABELS`.
    """

    unlit: np.ndarray
    source: np.ndarray
    owner: np.ndarray
    part: np.ndarray

    @classmethod
    def on(cls, canvas: Canvas) -> Cloth:
        """No garment yet."""
        size = (canvas.height, canvas.width)
        return cls(np.zeros((*size, 3), np.float32), np.zeros((*size, 2), np.float32), np.zeros(size, np.uint8), np.zeros(size, np.uint8))

    def hide(self, cover) -> None:
        """Something else was painted here."""
        solid = cover.alpha >= SOLID
        self.owner[cover.window][solid] = 0
        self.part[cover.window][solid] = 0


def flat_canvas(height: int, width: int) -> Canvas:
    """The canvas of a flat picture: 96 x 128 units, centred."""
    scale = min(width / 96, height / 128)
    return Canvas(height, width, scale, ((width - 96 * scale) / 2, (height - 128 * scale) / 2))


def albedo(garment: Garment, piece: Piece, q, t, soft: float) -> np.ndarray:
    """The colour (...,3) of the cloth at (q, t), without light; `soft` is a pixel's size in units."""
    a, b = piece.cloth(q, t)
    return mix(COLOURS[garment.base], COLOURS[garment.second], pattern(piece.pattern, a, b, soft, garment.period, garment.text))


def lay(canvas: Canvas, cloth: Cloth, garment: Garment, piece: Piece, placed, zoom: float, light, label: int, depth: float = 0.0, fade=None):
    """Paint a piece where `placed` (a map of (q, t)) puts it; returns its cover.

    `zoom` is the size of a cloth unit in canvas units, `light(q, t, a, b)` gives the light (h,w), about 1, `fade(t)` thins it out.
    """
    cover = canvas.shape(placed.forward(*piece.outline.T))
    x, y = canvas.grid(cover)
    q, t = placed.inverse(x, y)
    cover = cover.scaled(fade(t)) if fade else cover
    a, b = piece.cloth(q, t)
    colour = albedo(garment, piece, q, t, 1 / (canvas.scale * zoom))
    bulge = depth + 0.06 * np.sqrt(np.clip(1 - q * q, 0, 1))
    canvas.paint(cover, colour, label=label, depth=bulge)
    solid = cover.alpha >= SOLID
    cloth.unlit[cover.window][solid] = colour[solid]
    flat = flat_canvas(canvas.height, canvas.width).pixels(Placed(piece.flat, flat_frame(garment)).forward(q, t)) - 0.5
    cloth.source[cover.window][solid] = flat[solid]
    cloth.owner[cover.window][solid] = SLOT_IDS[garment.slot]
    cloth.part[cover.window][solid] = PART_LABELS[piece.part]
    for detail in piece.details:
        sew(canvas, cloth, detail, placed, zoom, cover, (garment, piece, label))
    canvas.shade(cover, light(q, t, a, b)[..., None])
    return cover


def sew(canvas: Canvas, cloth: Cloth, detail: Detail, placed, zoom: float, cover, owner) -> None:
    """Draw a seam, rib or button with the piece's map."""
    if detail.width:
        points = detail.points if len(detail.points) > 6 else _subdivided(detail.points)
        spot = canvas.stroke(placed.forward(*points.T), detail.width * zoom)
    else:
        spot = canvas.shape(placed.forward(*dense(detail.points).T))
    if detail.clip:
        spot = spot.within(cover)
    canvas.paint(spot, detail.colour, detail.opacity, label=owner[2] if not detail.clip else None)
    rows, columns = spot.window
    target = cloth.unlit[rows, columns]
    target += (detail.colour - target) * (spot.alpha * detail.opacity)[..., None]
    if not detail.clip:  # a collar reaches beyond its piece
        solid = spot.alpha >= SOLID
        x, y = canvas.grid(spot)
        flat = flat_canvas(canvas.height, canvas.width).pixels(Placed(owner[1].flat, flat_frame(owner[0])).forward(*placed.inverse(x, y))) - 0.5
        cloth.source[rows, columns][solid] = flat[solid]
        cloth.owner[rows, columns][solid] = SLOT_IDS[owner[0].slot]
        cloth.part[rows, columns][solid] = PART_LABELS[owner[1].part]


def _subdivided(points: np.ndarray) -> np.ndarray:
    at = np.linspace(0, len(points) - 1, 24)
    return np.stack([np.interp(at, np.arange(len(points)), points[:, i]) for i in (0, 1)], -1)


def flat_light(garment: Garment, piece: Piece):
    """Light on cloth lying flat: nearly even, a little darker towards the edges."""
    folds = Folds(np.random.default_rng(garment.seed), [(-9, 30, 1.2), (9, 32, -1.2), (0, 38, 0.1), (6, 20, 0.9)], 3, 0.05)

    def light(q, t, a, b):
        even = 1.02 - 0.09 * smoothstep(np.abs(q), 0.72, 1.05) - 0.02 * q
        even = even * pleats(a, b, 0.9, 6, 34, 0.035) if piece.part == "skirt" else even
        return even * folds(a, b)

    return light


def flat_picture(garment: Garment, height: int, width: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The garment as a shop shows it: picture (H,W,3), mask (H,W), parts (H,W), unlit picture (H,W,3), on near-white."""
    if garment.slot == "hat":
        from .hats import flat_hat

        return flat_hat(garment, height, width)
    canvas = flat_canvas(height, width)
    canvas.image[:] = 0.965
    cloth = Cloth.on(canvas)
    frame = flat_frame(garment)
    made = [(piece, Placed(piece.flat, frame)) for piece in pieces(garment)]
    shadow = canvas.soften(canvas.shape(*[placed.forward(*piece.outline.T) for piece, placed in made]), 1.6)
    canvas.shade(canvas.moved(shadow, 0.7, 1.3), (0.86, 0.87, 0.9), 0.9)
    if garment.slot != "lower":
        _inside(canvas, garment, made[-1], frame)
    for piece, placed in made:
        lay(canvas, cloth, garment, piece, placed, frame.scale, flat_light(garment, piece), 1)
        if piece.part.endswith("sleeve"):
            _armhole(canvas, made[-1])
    unlit = np.where((cloth.owner > 0)[..., None], cloth.unlit, np.float32(0.965))
    return canvas.image.clip(0, 1), (cloth.owner > 0).astype(np.float32), cloth.part, unlit


def _inside(canvas: Canvas, garment: Garment, trunk, frame: Frame) -> None:
    """The back of the neck opening, seen from inside."""
    piece, placed = trunk
    top = piece.outline[piece.outline[:, 1] < 3.0]
    half = np.abs(top[:, 0]).max() * (0.42 if garment.sleeve else 0.62)
    a = np.linspace(0, np.pi, 14)
    back = np.concatenate([np.stack([half * np.cos(a), -0.8 - 1.4 * np.sin(a)], -1), [(-half, 10.0), (half, 10.0)]])
    canvas.paint(canvas.shape(placed.forward(*back.T)), mix(COLOURS[garment.base], (0, 0, 0), 0.36))


def _armhole(canvas: Canvas, trunk) -> None:
    """A soft shadow of the body on the sleeves beneath it."""
    piece, placed = trunk
    cover = canvas.soften(canvas.shape(placed.forward(*piece.outline.T)), 1.0)
    canvas.shade(cover, 0.9, 0.5)
