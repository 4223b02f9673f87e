"""Jewelry samples: a head or a hand, the same with a piece on it, its exact shadow and the region to repaint."""

from __future__ import annotations

from copy import deepcopy

import numpy as np

from .backgrounds import draw_place
from .canvas import SOLID, Canvas, Cover, Layer
from .curves import Frame, Limb, smooth
from .figure import draw_body, draw_look
from .garments import Garment, draw_garment
from .hands import Hand, draw_hand
from .head import canvas_disc
from .jewelry import TYPES, Jewel, bracelet_front, draw_jewel, earring, flat_chain, flat_earrings, front_arc, product_picture, ring_front, strand
from .palette import COLOURS
from .people import draw_person
from .samples import JewelrySample
from .scenes import generator, saliency_of

HEAD_WIDTH_MM, FINGER_MM, WRIST_MM = 150.0, 18.0, 58.0
UP_STYLES = ("bun", "ponytail", "short", "crop")
_SHADOW = np.array([0.62, 0.5, 0.5], np.float32)


def jewelry_sample(seed: int, height: int, width: int, kind: str | None = None) -> JewelrySample:
    """A piece of jewelry worn. `kind` is one of `jewelry.TYPES`; drawn from the seed if not given."""
    kind = kind or TYPES[seed % len(TYPES)]
    rng = generator(seed, "jewelry")
    jewel = draw_jewel(rng, kind)
    canvas, worn = (_head if kind in ("earrings", "necklace") else _hand)(rng, jewel, height, width)
    layer = Layer(canvas)
    region, anchors, matches, mm_per_unit = worn(layer)
    bare = canvas.image.clip(0, 1)
    unshadowed = layer.over(bare)
    image = layer.over(_shadowed(canvas, layer, bare))
    shadow = (np.abs(image - unshadowed).max(-1) > 0.5 / 255).astype(np.float32)
    image = np.where(shadow[..., None] > 0, image, unshadowed)
    depth = np.where(layer.mask > 0, np.maximum(layer.depth, canvas.depth), canvas.depth)
    picture, picture_mask = product_picture(jewel, height, width)
    board = Canvas(height, width, canvas.scale)
    board.image[:] = image
    saliency = np.maximum(0.55 * saliency_of(board, (canvas.labels > 0).astype(np.float32)), layer.alpha).clip(0, 1)
    mask = np.zeros((height, width), np.float32)
    mask[region.window] = region.alpha >= SOLID
    mask = np.maximum(mask, layer.mask)
    where = "a person wearing" if kind in ("earrings", "necklace") else "a hand wearing"
    return JewelrySample(
        jewel, image, bare, unshadowed, picture, picture_mask, layer.mask, shadow, mask, depth, saliency, (canvas.pixels(anchors) - 0.5).astype(np.float32),
        _matches_px(canvas, matches, height, width), mm_per_unit / canvas.scale, f"{where} {jewel.caption}",
    )


def _shadowed(canvas: Canvas, layer: Layer, bare: np.ndarray) -> np.ndarray:
    """The bare picture with the jewelry's shadow on whatever is there, skin or cloth, but not on the air behind."""
    board = Canvas(canvas.height, canvas.width, canvas.scale, tuple(canvas.offset))
    board.image[:] = bare
    ground = (canvas.labels > 0).astype(np.float32)
    near = board.moved(board.soften(Cover(0, 0, layer.alpha), 0.5), 0.55, 0.75)
    board.shade(near.scaled(ground[near.window]), _SHADOW, 0.9)
    far = board.moved(board.soften(Cover(0, 0, layer.alpha), 1.1), 0.9, 1.4)
    board.shade(far.scaled(ground[far.window]), _SHADOW, 0.4)
    return board.image


def _matches_px(canvas: Canvas, matches: np.ndarray, height: int, width: int) -> np.ndarray:
    """Pairs (M,2,2) in units of the worn and of the product picture to pixels, those inside both pictures."""
    scale = min(width / 96, height / 128)
    flat = Canvas(height, width, scale, ((width - 96 * scale) / 2, (height - 128 * scale) / 2))
    pairs = np.stack([canvas.pixels(matches[:, 0]), flat.pixels(matches[:, 1])], 1) - 0.5
    inside = ((pairs >= 0) & (pairs <= np.array([width - 1, height - 1]))).all((1, 2))
    return pairs[inside].astype(np.float32)


def _close_up(height: int, width: int, centre: tuple[float, float], tall: float) -> Canvas:
    """A canvas that shows `tall` units from top to bottom around a point (3/4 of it across, if the picture is 4:3)."""
    scale = min(height / tall, width / (tall * 0.75))
    return Canvas(height, width, scale, (width / 2 - centre[0] * scale, height / 2 - centre[1] * scale))


def _head(rng: np.random.Generator, jewel: Jewel, height: int, width: int):
    look = draw_look(rng, UP_STYLES)
    body = draw_body(rng, look, ("down", "down"))
    garment = draw_garment(rng, "upper", "tank top")
    garment = Garment("upper", "tank top", garment.base, garment.second, "plain" if rng.random() < 0.6 else "striped", seed=garment.seed)
    up = -18.5 if jewel.kind == "earrings" else -4.0
    canvas = _close_up(height, width, tuple(body.trunk(np.array([0.0, up]))), 34.0 if jewel.kind == "earrings" else 52.0)
    draw_place(canvas, rng, str(rng.choice(["studio", "studio", "park", "beach", "room"])))
    draw_person(canvas, body, {"upper": garment})
    mm = HEAD_WIDTH_MM / (16.8 * body.trunk.scale)
    if jewel.kind == "earrings":
        return canvas, lambda layer: (*_wear_earrings(layer, body.head, jewel), mm)
    drop = float(rng.uniform(7.0, 14.0))
    return canvas, lambda layer: (*_wear_necklace(layer, body.trunk, jewel, drop), mm)


def _wear_earrings(layer: Layer, head: Frame, jewel: Jewel):
    lobes = [head.inner(side * 8.7, 3.5, -head.turn) for side in (-1, 1)]
    matches, shapes = [], []
    for lobe, flat in zip(lobes, flat_earrings(jewel), strict=True):
        earring(layer, lobe, jewel)
        grid = np.stack(np.meshgrid([-1.0, 0.0, 1.0], np.linspace(0, 6.4 if jewel.design != "stud" else 1.0, 6)), -1).reshape(-1, 2)
        matches.append(np.stack([lobe(grid), flat(grid)], 1))
        shapes.append(lobe(smooth([(-1.9, -1.8), (1.9, -1.8), (3.0, 3.0), (2.8, 7.6), (0, 8.6), (-2.8, 7.6), (-3.0, 3.0)], 5)))
    return layer.shape(*shapes), np.array([(f.x, f.y) for f in lobes]), np.concatenate(matches)


def _wear_necklace(layer: Layer, trunk: Frame, jewel: Jewel, drop: float):
    half = [(4.1, -3.6), (5.3, -0.6), (5.0, drop * 0.5), (2.4, drop * 0.88)]
    curve = trunk(smooth([*[(-x, y) for x, y in half], (0, drop), *half[::-1]], 10, closed=False))
    hang = trunk.inner(0, drop)
    strand(layer, curve, hang, jewel)
    share = np.linspace(0.1, 0.9, 17)
    matches = np.stack([_along(curve, share), _along(flat_chain(), share)], 1)
    if jewel.design != "beaded":
        spots = np.array([(0, 1.5), (0, 3.0), (-0.9, 2.6), (0.9, 2.6)])
        matches = np.concatenate([matches, np.stack([hang(spots), Frame(48, 86, 0, 3.2)(spots)], 1)])
    shapes = Limb(curve, np.full(len(curve), 2.6)).outline()
    region = layer.shape(*shapes, canvas_disc(trunk, 0, drop + 2.6, 6.0, 6.4))
    return region, curve[[0, -1]], matches


def _along(curve: np.ndarray, share: np.ndarray) -> np.ndarray:
    length = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(curve, axis=0), axis=1))])
    return np.stack([np.interp(share * length[-1], length, curve[:, i]) for i in (0, 1)], -1)


def _hand(rng: np.random.Generator, jewel: Jewel, height: int, width: int):
    look, ring = draw_look(rng), jewel.kind == "ring"
    small = _posed_hand(Canvas(16, 12, 1 / 8), deepcopy(rng), look)  # only to see where it will be
    canvas = _close_up(height, width, ((small.ring.x, small.ring.y) if ring else (small.wrist.x, small.wrist.y)), 40.0 if ring else 46.0)
    hand = _posed_hand(canvas, rng, look)
    if ring:
        return canvas, lambda layer: (*_wear_band(layer, hand.ring, hand.ring_half, jewel), FINGER_MM / (2 * hand.ring_half))
    half = hand.wrist_half * hand.wrist.scale
    return canvas, lambda layer: (*_wear_band(layer, hand.wrist, hand.wrist_half, jewel), WRIST_MM / (2 * half))


def _posed_hand(canvas: Canvas, rng: np.random.Generator, look) -> Hand:
    draw_place(canvas, rng, "studio")
    return draw_hand(canvas, rng, look.skin, COLOURS[str(rng.choice(list(COLOURS)))])


def _wear_band(layer: Layer, frame: Frame, half: float, jewel: Jewel):
    """A ring or bracelet; the near half of the band is matched to the near half of the one in the product picture."""
    ring = jewel.kind == "ring"
    (ring_front if ring else bracelet_front)(layer, frame, jewel, half)
    angle = np.linspace(-1.2, 1.2, 13)
    worn = frame(np.stack([half * 1.07 * np.sin(angle), (-0.9 if ring else 1.9) * np.cos(angle)], -1))
    if ring:
        flat = Frame(48, 70, 0, 6.0)(np.stack([4.2 * np.sin(angle), -4.6 * np.cos(angle)], -1))
    else:
        flat = Frame(48, 62, -0.1, 3.0)(np.stack([11.2 * np.sin(angle), 7.4 * np.cos(angle)], -1))
    ends = frame(front_arc(half, 0.0)[[0, -1]])
    w, (up, down) = half * 1.3, (4.2, 3.2) if ring else (3.6, 6.4)
    box = np.array([(-w, -up), (w, -up), (w, down), (-w, down)])
    return layer.shape(frame(box), round_by=0.8), ends[np.argsort(ends[:, 0])], np.stack([worn, flat], 1)
