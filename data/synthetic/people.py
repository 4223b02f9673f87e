"""A person in garments: the layers in the order in which they lie on one another."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .canvas import Canvas, Cover, blur
from .cloth import Cloth, lay
from .curves import Frame, Limb, Placed, smooth, smoothstep
from .figure import Body
from .garments import LENGTH, Garment, Piece, pieces
from .hats import wear_hat
from .head import canvas_disc, draw_head, hair_behind, locks
from .palette import mix, warm_shadow
from .textures import Folds, pleats

UPPER_LABEL, DRESS_LABEL, PANTS_LABEL, SKIRT_LABEL, NECK, RIGHT_ARM, LEFT_ARM, RIGHT_LEG, LEFT_LEG = 5, 6, 9, 12, 10, 15, 14, 17, 16
RIGHT_HAND, LEFT_HAND = 31, 30  # kept apart from the arms while drawing; a parse map calls them arms
WAIST = 27.5
FADE = {"across": (14.0, 19.0), "hip": (17.0, 23.0), "relaxed": (22.0, 28.0), "down": (23.0, 29.0)}
"""Where along an arm, in units, it comes out before the trunk, by pose: there it hardly overlaps it. Other arms stay outside."""


@dataclass
class Person:
    """A drawn person: the canvas, what is known of the cloth, and the covers of head and hair."""

    canvas: Canvas
    cloth: Cloth
    body: Body
    head: Cover


def person_canvas(height: int, width: int, zoom: float = 1.0) -> Canvas:
    """A canvas whose 96 x 128 units touch the lower edge, centred; `zoom` enlarges about the lower middle."""
    scale = min(width / 96, height / 128) * zoom
    return Canvas(height, width, scale, (width / 2 - 48 * scale, height - 128 * scale))


def draw_person(canvas: Canvas, body: Body, garments: dict[str, Garment], tucked: bool = False) -> Person:
    """Paint a dressed body on a canvas that already has its background; `garments` by slot.

    Arms are painted twice: whole before the trunk, which then covers the shoulder, and from the upper arm on in front of it.
    """
    cloth = Cloth.on(canvas)
    look, hat = body.look, garments.get("hat")
    _ground_shadow(canvas, body)
    if not (hat and look.style == "afro"):
        hair_behind(canvas, body.head, look)
    _legs(canvas, body)
    for side in (0, 1):
        _arm(canvas, cloth, body, side, garments, False)
    _torso(canvas, cloth, body)
    for slot in ["upper", "lower", "dress"] if tucked else ["lower", "upper", "dress"]:
        if slot in garments:
            _wear_trunk(canvas, cloth, body, garments[slot], tucked)
    face, front = draw_head(canvas, body.head, look, hat=hat is not None)
    for cover in (face, front):
        cloth.hide(cover)
    cloth.hide(locks(canvas, body.head, look))
    if hat:
        wear_hat(canvas, cloth, hat, body.head)
    for side in (0, 1):
        _arm(canvas, cloth, body, side, garments, True)
    np.clip(canvas.image, 0, 1, out=canvas.image)
    _round_depth(canvas)
    return Person(canvas, cloth, body, face)


def _round_depth(canvas: Canvas) -> None:
    """Let the depth of neighbouring parts flow into one another, but not into the background."""
    inside = (canvas.labels > 0).astype(np.float32)
    r = 1.0 * canvas.scale
    smooth_depth = blur(canvas.depth * inside, r) / np.maximum(blur(inside, r), 1e-3)
    canvas.depth[:] = np.where(inside > 0, 0.5 * canvas.depth + 0.5 * smooth_depth, canvas.depth).clip(0, 1)


def _ground_shadow(canvas: Canvas, body: Body) -> None:
    whole = canvas.shape(body.torso(1.5), *[p for limb in (*body.legs, *body.arms) for p in limb.outline(0.8)], canvas_disc(body.head, 0, -1, 9.5, 12.5))
    canvas.shade(canvas.moved(canvas.soften(whole, 3.0), 2.2, 2.0), (0.72, 0.70, 0.74), 0.36)


def _skin_limb(canvas: Canvas, limb: Limb, skin: np.ndarray, label: int, depth: float, fade: tuple[float, float] | None = None) -> Cover:
    cover = canvas.shape(*limb.outline())
    q, t = limb.inverse(*canvas.grid(cover))
    cover = cover.scaled(smoothstep(t, *fade)) if fade else cover
    away = smoothstep(q, -0.1, -1.15) if limb.points[-1][1] >= limb.points[0][1] else smoothstep(q, 0.1, 1.15)
    canvas.paint(cover, mix(skin, warm_shadow(skin), away * 0.85), label=label, depth=depth + 0.05 * np.sqrt(np.clip(1 - q * q, 0, 1)))
    return cover


def _legs(canvas: Canvas, body: Body) -> None:
    for leg, label in zip(body.legs, (RIGHT_LEG, LEFT_LEG), strict=True):
        _skin_limb(canvas, leg, body.look.skin, label, 0.5)


def _torso(canvas: Canvas, cloth: Cloth, body: Body) -> None:
    skin = body.look.skin
    cover = canvas.shape(body.torso())
    _drop_shadow(canvas, cover, 0.2, 0.4, 0.8, 0.6)
    cloth.hide(cover)
    u, v = np.broadcast_arrays(*body.trunk.inverse(*canvas.grid(cover)))
    side = smoothstep(u, 3, 17) * 0.6
    canvas.paint(cover, mix(skin, warm_shadow(skin), side), label=NECK, depth=0.55)
    chin = cover.within(canvas.soften(canvas.shape(canvas_disc(body.head, 1.2, 4.6, 7.2, 9.6)), 0.9))
    canvas.shade(chin.scaled(smoothstep(v, 3.2, -2.0)), warm_shadow(np.ones(3, np.float32), 1.1))
    bones = [body.trunk(smooth([(s * 1.6, 2.2), (s * 5.5, 1.5), (s * 10.0, 1.3)], 6, closed=False)) for s in (-1, 1)]
    for bone in bones:
        canvas.shade(canvas.stroke(bone, 0.7, 0.4).within(cover), warm_shadow(np.ones(3, np.float32), 0.8), 0.8)


def _placed(body: Body, garment: Garment, piece: Piece, tucked: bool) -> tuple[Placed | Limb, float]:
    """The map that puts a piece on the body, and how near it is."""
    if piece.part in ("left_leg", "right_leg"):
        side = -1 if piece.part == "right_leg" else 1
        levels = np.array([0.0, 8.0, 16.0, 25.0, 27.0, 40.0, 62.0, 92.0])
        ease = 1.0 if garment.kind == "trousers" else 2.2
        centre = body.look.hip * np.array([0, 0, 0, 0, 0.52, 0.5, 0.49, 0.47]) + np.array([0, 0, 0, 0, 0, 0.4, 1.0, 1.6])
        limb = np.array([0, 0, 0, 0, body.look.hip * 0.46, 7.2, 6.4, 5.6]) * 1.02
        outer = np.where(levels < 26, body.half_width(levels + WAIST) + 0.5, centre + limb + ease)
        outer[3] = max(outer[2] + 0.2, outer[4])
        inner = np.where(levels < 26, 0.0, np.maximum(0.12, centre - limb - ease))
        return body.leg_column(side, WAIST, outer, inner, levels), 0.56
    if piece.part == "skirt":
        levels = np.array([0.0, 6.0, 14.0, 40.0])
        half = np.array([body.half_width(WAIST) + 0.4, body.half_width(WAIST + 6) + 0.7, body.look.hip + 1.6, body.look.hip + 7.5])
        return body.column(WAIST, levels, half), 0.57
    t = np.array([-6.0, 6.0, 13.0, 20.0, 29.0, 37.0, 46.0])
    half = body.half_width(t) + np.array([0.5, 0.5, 0.7, 0.9, 1.0, 1.2, 1.4])
    if garment.slot == "upper" and garment.kind != "tank top":
        half[4] = max(half[4], 0.86 * half[2])  # a loose top does not follow the waist
    if tucked and garment.slot == "upper":
        half[4:] = np.minimum(half[4:], body.half_width(t[4:]) - 1.0)  # what is tucked in lies under the waistband
    if garment.slot == "dress":
        n = LENGTH[garment.kind]
        t, half = np.append(t, n), np.append(half, body.look.hip + 10.0)
        half[4] = body.half_width(29) + 0.4
    return body.column(0.0, t, half), 0.6


def _wear_trunk(canvas: Canvas, cloth: Cloth, body: Body, garment: Garment, tucked: bool) -> None:
    for piece in pieces(garment):
        if piece.part.endswith("sleeve"):
            continue
        placed, depth = _placed(body, garment, piece, tucked)
        _drop_shadow(canvas, canvas.shape(placed.forward(*piece.outline.T)), 0.3, 1.2, 0.8)
        label = {"upper": UPPER_LABEL, "dress": DRESS_LABEL}.get(garment.slot, SKIRT_LABEL if garment.kind == "skirt" else PANTS_LABEL)
        lay(canvas, cloth, garment, piece, placed, body.trunk.scale, _worn_light(garment, piece), label, depth)


def _worn_light(garment: Garment, piece: Piece):
    """Light on worn cloth: rounded by the body, creased where it is pulled."""
    spots = {
        "torso": [(-12, 13, 0.75), (12, 13, -0.75), (-9, 27, -0.35), (9, 27, 0.35), (-6, 38, -0.2), (7, 36, 0.25), (0, 9, 0.0)],
        "left_leg": [(3, 22, 0.5), (9, 20, -0.4), (8, 48, 0.1), (8, 52, -0.2)], "right_leg": [(-3, 22, -0.5), (-9, 20, 0.4), (-8, 48, -0.1), (-8, 52, 0.2)],
        "skirt": [],
    }.get(piece.part, [(0, 15, 0.2), (1, 19, -0.2), (-1, 23, 0.25), (0, 4, 0.1)])
    rng = np.random.default_rng([garment.seed, *piece.part.encode()])
    folds = Folds(rng, spots, 7 if piece.part == "torso" else 5, 0.11)
    bare = piece.part in ("left_leg", "right_leg")

    def light(q, t, a, b):
        rounded = 1.045 - 0.055 * q - (0.10 if bare else 0.15) * smoothstep(np.abs(q), 0.55, 1.08)
        if garment.slot == "dress" and piece.part == "torso":
            rounded = rounded * pleats(a, b, 0.62, 34, 72, 0.09)
        if piece.part == "skirt":
            rounded = rounded * pleats(a, b, 0.8, 5, 34, 0.1)
        return rounded * folds(a, b)

    return light


def _drop_shadow(canvas: Canvas, cover: Cover, dx: float, dy: float, soft: float, strength: float = 0.75) -> None:
    """A soft shadow of what will be painted at `cover` on the person beneath it."""
    shadow = canvas.moved(canvas.soften(cover, soft), dx, dy)
    canvas.shade(shadow.scaled(canvas.labels[shadow.window] > 0), (0.80, 0.75, 0.75), strength)


def _arm(canvas: Canvas, cloth: Cloth, body: Body, side: int, garments: dict[str, Garment], front: bool) -> None:
    """An arm, its hand and its sleeve; `front` paints only what may lie before the trunk, fading in below the shoulder."""
    limb, hand, k = body.arms[side], body.hands[side], body.trunk.scale
    label, hand_label = ((RIGHT_ARM, RIGHT_HAND), (LEFT_ARM, LEFT_HAND))[side]
    worn = garments.get("upper") or garments.get("dress")
    sleeves = [p for p in pieces(worn) if p.part == ("right_sleeve", "left_sleeve")[side]] if worn else []
    near = (0.68 if body.poses[side] in ("across", "hip") else 0.62) if front else 0.54
    start, end = FADE.get(body.poses[side], (24.0, 30.0)) if front else (-2.0, -1.0)
    if front:
        cover = canvas.shape(*limb.outline(0.6))
        _drop_shadow(canvas, cover.scaled(smoothstep(limb.inverse(*canvas.grid(cover))[1], start * k, end * k)), 0.6, 1.5, 1.1)
    bare = max(start, worn.sleeve - 5.0) if sleeves else start  # no skin shows through a sleeve that is only half there
    cloth.hide(_skin_limb(canvas, limb, body.look.skin, label, near, (bare * k, max(bare + 1, end) * k) if front else None))
    if front:
        cloth.hide(draw_mitten(canvas, hand, body.look.skin, (-1, 1)[side], hand_label, near + 0.04))
    for piece in sleeves:
        sleeve = _sleeve(body, limb, worn)
        cap = canvas.shape(sleeve.forward(*piece.outline.T))
        if front:
            cap = cap.scaled(smoothstep(sleeve.inverse(*canvas.grid(cap))[1], start, end))
        _drop_shadow(canvas, cap, 0.2, 0.9, 0.6, 0.5)
        fade = (lambda t: smoothstep(t, start, end)) if front else None
        lay(canvas, cloth, worn, piece, sleeve, k, _worn_light(worn, piece), UPPER_LABEL if worn.slot == "upper" else DRESS_LABEL, near + 0.02, fade)


def _sleeve(body: Body, limb: Limb, garment: Garment) -> Limb:
    """The sleeve's map: the arm's axis in cloth units, wider than the arm."""
    share = limb.length / limb.length[-1]
    short = garment.sleeve < 20
    ease = np.interp(share, [0, 0.3, 0.6, 1], [1.4, 1.9, 1.9, 1.5]) if not short else np.interp(share, [0, 0.35, 1], [1.4, 2.4, 3.0])
    return _Scaled(limb.points, limb.radii + ease * body.trunk.scale, body.trunk.scale)


class _Scaled(Limb):
    """A limb whose t counts cloth units of `scale` canvas units."""

    def __init__(self, points: np.ndarray, radii: np.ndarray, scale: float):
        object.__setattr__(self, "points", points)
        object.__setattr__(self, "radii", radii)
        object.__setattr__(self, "scale", scale)
        self.__post_init__()

    def forward(self, q, t):
        return super().forward(q, np.asarray(t, float) * self.scale)

    def inverse(self, x, y):
        q, t = super().inverse(x, y)
        return q, t / np.float32(self.scale)


def draw_mitten(canvas: Canvas, hand: Frame, skin: np.ndarray, side: int, label: int, depth: float) -> Cover:
    """A small hand: palm, four fingers and a thumb towards the body."""
    palm = smooth([(-2.5, -1.0), (2.5, -1.0), (3.1, 2.2), (2.8, 5.0), (-2.8, 5.0), (-3.1, 2.2)], 5)
    parts = [hand(palm)]
    tips = []
    for i, (x, n) in enumerate(((-2.15, 3.6), (-0.75, 4.5), (0.7, 4.4), (2.05, 3.4))):
        axis = hand(np.array([(x, 4.4), (x * 1.12, 4.4 + n)]))
        tips.append(axis)
        parts += Limb(axis, np.array([0.85, 0.72]) * hand.scale).outline()
    thumb = hand(smooth([(-side * 2.2, 1.2), (-side * 3.7, 3.2), (-side * 3.9, 5.4)], 4, closed=False))
    parts += Limb(thumb, np.linspace(1.05, 0.75, len(thumb)) * hand.scale).outline()
    cover = canvas.shape(*parts)
    u, v = np.broadcast_arrays(*hand.inverse(*canvas.grid(cover)))
    canvas.paint(cover, mix(skin, warm_shadow(skin), np.clip(0.25 + 0.07 * u, 0, 0.7)), label=label, depth=depth)
    for x in (-1.45, 0.0, 1.4):
        canvas.shade(canvas.stroke(hand(np.array([(x, 4.2), (x * 1.12, 8.2)])), 0.36 * hand.scale).within(cover), warm_shadow(np.ones(3, np.float32), 1.1))
    return cover
