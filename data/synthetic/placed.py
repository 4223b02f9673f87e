"""Insertion samples: a product in a room, on a table or on an arm; the scene without it; the product from another side."""

from __future__ import annotations

import numpy as np

from .backgrounds import PLACES, draw_place
from .canvas import SOLID, Canvas, Cover, Layer
from .figure import draw_body, draw_look
from .people import LEFT_HAND, RIGHT_HAND, draw_mitten, draw_person, person_canvas
from .products import FURNITURE, KINDS, SMALL, Product, draw_product, product_picture, render, shadow
from .rooms import draw_room, draw_table, free_spot
from .samples import InsertionSample
from .scenes import draw_outfit, generator
from .solids import View

PLACES_FOR = {**{k: "room" for k in FURNITURE}, "picture": "room", **{k: "table" for k in SMALL}, "bag": "person"}
SPOTS = {"room": ("floor", "sofa"), "room for lamp": ("side", "lamp"), "room for picture": ("wall", "picture"), "table": ("", "vase")}
"""Empty scenes by name: which free spot they offer, and the product whose size it has."""


def insertion_sample(seed: int, height: int, width: int, kind: str | None = None) -> InsertionSample:
    """A product in its scene. `kind` is one of `products.KINDS`; drawn from the seed if not given."""
    kind = kind or KINDS[seed % len(KINDS)]
    rng = generator(seed, "insertion")
    product = draw_product(rng, kind)
    canvas, view, finish, words = {"room": _in_room, "table": _on_table, "person": _on_arm}[PLACES_FOR[kind]](rng, product, height, width)
    scene = canvas.image.clip(0, 1).copy()
    if finish is None:
        shadow(canvas, product, view)
    layer = Layer(canvas)
    render(layer, product, view, 0.72)
    if finish is None:
        image = layer.over(canvas.image.clip(0, 1))
        product_mask = layer.mask
    else:
        image, product_mask = finish(layer)
    region = free_spot(canvas, view, kind)
    mask = np.zeros((height, width), np.float32)
    mask[region.window] = region.alpha >= SOLID
    picture, picture_mask = product_picture(product, height, width)
    depth = np.where(product_mask > 0, 0.72, canvas.depth).astype(np.float32)
    return InsertionSample(
        product, image, scene, picture, picture_mask, product_mask, np.maximum(mask, product_mask), bounds(product_mask), depth, f"{product.caption} {words}",
    )


def bounds(mask: np.ndarray) -> np.ndarray:
    """x0, y0, x1, y1 of the pixels set, half open; zeros for an empty mask."""
    rows, columns = np.nonzero(mask.any(1))[0], np.nonzero(mask.any(0))[0]
    if not len(rows):
        return np.zeros(4, np.int64)
    return np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1])


def empty_scene(seed: int, height: int, width: int, name: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A scene of `SPOTS` without a product: picture (H,W,3), the free spot (H,W) with 1 = repaint, depth (H,W).

    The same seed gives the same room under every name, with another spot free.
    """
    rng = generator(seed, "room")
    canvas = _room_canvas(height, width)
    spot, kind = SPOTS[name]
    view = draw_room(canvas, rng)[spot] if spot else draw_table(canvas, rng)
    region = free_spot(canvas, view, kind)
    mask = np.zeros((height, width), np.float32)
    mask[region.window] = region.alpha >= SOLID
    return canvas.image.clip(0, 1), mask, canvas.depth.clip(0, 1)


def _room_canvas(height: int, width: int) -> Canvas:
    scale = min(width / 96, height / 128)
    return Canvas(height, width, scale, ((width - 96 * scale) / 2, (height - 128 * scale) / 2))


def _in_room(rng: np.random.Generator, product: Product, height: int, width: int):
    canvas = _room_canvas(height, width)
    spots = draw_room(canvas, rng)
    if product.kind == "picture":
        return canvas, spots["wall"], None, "on the wall of a room"
    view, shift = spots["floor"], float(rng.uniform(-6, 6)) * (product.kind != "sofa")
    return canvas, View(view.x + shift, view.y, 1.18 if product.kind != "sofa" else 1.12, float(rng.uniform(-0.22, 0.22)), view.pitch), None, "in a room"


def _on_table(rng: np.random.Generator, product: Product, height: int, width: int):
    canvas = _room_canvas(height, width)
    view = draw_table(canvas, rng)
    return canvas, View(view.x, view.y, view.scale, float(rng.uniform(-0.3, 0.3)), view.pitch), None, "on a table"


def _on_arm(rng: np.random.Generator, product: Product, height: int, width: int):
    """A bag in a hand that hangs; the hand is painted again over the handles."""
    look = draw_look(rng)
    side = int(rng.integers(2))
    poses = ["hip", "hip"] if rng.random() < 0.3 else [str(rng.choice(["down", "wave", "hip"])) for _ in range(2)]
    poses[side] = "relaxed"
    body = draw_body(rng, look, tuple(poses))
    canvas = person_canvas(height, width)
    place = str(rng.choice(list(PLACES)))
    draw_place(canvas, rng, place)
    draw_person(canvas, body, draw_outfit(rng, "dress" if rng.random() < 0.4 else "separates"))
    hand = body.hands[side]
    grip = hand(np.array([0.0, 5.2]))
    k = 0.92
    view = View(float(grip[0]), float(grip[1]) + 32.5 * k * np.cos(0.2), k, float(rng.uniform(-0.4, 0.4)), 0.2)
    base = canvas.image.clip(0, 1)

    def finish(layer: Layer):
        board = Canvas(height, width, canvas.scale, tuple(canvas.offset))
        board.image[:] = base
        cast = board.moved(board.soften(Cover(0, 0, layer.alpha), 1.4), 1.0, 1.2)
        board.shade(cast.scaled(canvas.labels[cast.window] > 0), (0.76, 0.7, 0.7), 0.8)
        fingers = Layer(canvas)
        cover = draw_mitten(fingers, hand, look.skin, (-1, 1)[side], (RIGHT_HAND, LEFT_HAND)[side], 0.7)
        image = fingers.over(layer.over(board.image))
        mask = layer.mask.copy()
        mask[cover.window][cover.alpha >= SOLID] = 0
        return image, mask

    return canvas, view, finish, f"in a person's hand {PLACES[place]}"
