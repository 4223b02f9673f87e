"""Samples of the drawn world, each from one seed: people in garments, jewelry on heads and hands, products in rooms."""

from __future__ import annotations

import numpy as np

from .backgrounds import PLACES, draw_place
from .canvas import Canvas, blur
from .cloth import SLOT_IDS
from .curves import Limb
from .figure import HEADS, Body, densepose_labels, draw_body, draw_look
from .garments import Garment, draw_garment
from .head import canvas_disc
from .people import LEFT_ARM, LEFT_HAND, RIGHT_ARM, RIGHT_HAND, WAIST, Person, draw_person, person_canvas
from .samples import PersonSample, WornGarment, person_caption

OUTFITS = ("separates", "dress")


def generator(seed: int, kind: str) -> np.random.Generator:
    """The generator of one sample: seeds of different kinds never share a stream."""
    return np.random.default_rng([int(seed) & 0xFFFFFFFF, int(seed) >> 32, sum(ord(c) * 31**i for i, c in enumerate(kind)) % (1 << 31)])


def draw_outfit(rng: np.random.Generator, outfit: str) -> dict[str, Garment]:
    """Garments that can be worn together, main garment first.

    Raises:
        ValueError: an unknown outfit.
    """
    if outfit not in OUTFITS:
        raise ValueError(f"The outfit '{outfit}' is not known; choose one of {', '.join(OUTFITS)}.")
    worn = {slot: draw_garment(rng, slot) for slot in (("dress",) if outfit == "dress" else ("upper", "lower"))}
    hat = draw_garment(rng, "hat")
    if rng.random() < 0.18:
        worn["hat"] = hat
    return worn


def saliency_of(canvas: Canvas, subject: np.ndarray) -> np.ndarray:
    """Where the eye goes: the subject, its middle first, and contrast within it; (H,W) 0..1."""
    grey = canvas.image @ np.array([0.299, 0.587, 0.114], np.float32)
    contrast = np.abs(grey - blur(grey, 4 * canvas.scale))
    soft = blur(subject, 2.0 * canvas.scale) * (0.55 + 0.45 * blur(subject, 8 * canvas.scale))
    return (0.8 * soft + 1.2 * contrast * soft).clip(0, 1).astype(np.float32)


def person_sample(seed: int, height: int, width: int, outfit: str | None = None, hat: bool | None = None) -> PersonSample:
    """A person in garments. `outfit` is drawn too if not given (one in four wears a dress); `hat` forces one on or off."""
    rng = generator(seed, "person")
    outfit = outfit or OUTFITS[int(rng.random() < 0.25)]
    look, body, place, tucked, garments, canvas = _cast(rng, outfit, height, width, hat)
    draw_place(canvas, rng, place)
    person = draw_person(canvas, body, garments, tucked)
    keep = np.isin(canvas.labels, (2, 4, 13, LEFT_HAND, RIGHT_HAND))
    views = {slot: _worn(person, g, keep) for slot, g in garments.items()}
    subject = (canvas.labels > 0).astype(np.float32)
    parse = canvas.labels.copy()
    parse[parse == LEFT_HAND], parse[parse == RIGHT_HAND] = LEFT_ARM, RIGHT_ARM
    return PersonSample(
        canvas.image, views, keypoints_px(canvas, body), densepose_labels(canvas, body), parse, canvas.depth, saliency_of(canvas, subject), subject,
        keep.astype(np.float32), person_caption([g.caption for g in garments.values()], PLACES[place]), PLACES[place],
    )


def _cast(rng: np.random.Generator, outfit: str, height: int, width: int, hat: bool | None):
    """Who, how, where and in what; drawn in an order that does not depend on the outfit, so a seed keeps its person."""
    look = draw_look(rng, HEADS)
    body = draw_body(rng, look)
    place = str(rng.choice(list(PLACES)))
    tucked = bool(rng.random() < 0.4)
    wardrobe = np.random.default_rng(rng.integers(1 << 62))
    garments = draw_outfit(wardrobe, outfit)
    if hat is False:
        garments.pop("hat", None)
    elif hat and "hat" not in garments:
        garments["hat"] = draw_garment(wardrobe, "hat")
    return look, body, place, tucked, garments, person_canvas(height, width)


def keypoints_px(canvas: Canvas, body: Body) -> np.ndarray:
    """The body's keypoints (18,3): x, y in pixels, and 1 where they lie in the picture."""
    points = canvas.pixels(body.keypoints) - 0.5
    seen = (points >= 0).all(1) & (points[:, 0] <= canvas.width - 1) & (points[:, 1] <= canvas.height - 1)
    return np.concatenate([points, seen[:, None]], 1).astype(np.float32)


def _worn(person: Person, garment: Garment, keep: np.ndarray) -> WornGarment:
    cloth = person.cloth
    mask = cloth.owner == SLOT_IDS[garment.slot]
    region = agnostic_region(person, garment.slot) & ~keep
    if garment.slot == "lower":
        region &= ~np.isin(cloth.owner, (SLOT_IDS["upper"], SLOT_IDS["hat"])) & ~np.isin(person.canvas.labels, (LEFT_ARM, RIGHT_ARM))
    return WornGarment(
        garment, mask.astype(np.float32), np.where(mask[..., None], cloth.unlit, np.float32(0)),
        (region | mask).astype(np.float32), np.where(mask[..., None], cloth.source, np.float32(np.nan)),
        np.where(mask, cloth.part, 0).astype(np.uint8),
    )


def agnostic_region(person: Person, slot: str) -> np.ndarray:
    """A loose region (H,W) bool in which any garment of the slot would fit, so that it tells nothing of the one worn."""
    canvas, body = person.canvas, person.body
    if slot == "hat":
        shapes = [canvas_disc(body.head, 0, -11.5, 18.5, 10.5)]
    else:
        shapes = []
        if slot in ("upper", "dress"):
            t = np.linspace(-1.5, 48, 12)
            half = np.maximum(body.half_width(np.clip(t, 6, 48)) + 4.0, 0)
            shapes.append(_band(body, t, half))
            for arm in body.arms:
                n = int(len(arm.points) * 0.9)
                shapes += Limb(arm.points[:n], np.maximum(arm.radii[:n] + 3.6, 7.2)).outline()
        if slot in ("lower", "dress"):
            t = np.linspace(WAIST - 2, 130, 24)
            shapes.append(_band(body, t, np.interp(t, [WAIST - 2, 36, 48, 80, 130], [15.5, 20, 25, 29, 29])))
    cover = canvas.shape(*shapes)
    out = np.zeros((canvas.height, canvas.width), bool)
    out[cover.window] = cover.alpha > 0.5
    return out


def _band(body: Body, t: np.ndarray, half: np.ndarray) -> np.ndarray:
    middle = body.middle(t)
    return body.trunk(np.concatenate([np.stack([middle - half, t], -1), np.stack([middle + half, t], -1)[::-1]]))

