"""The names of the drawn pictures, apart from what draws them: a list in a node's schema must not import the whole drawing code."""

from __future__ import annotations

GARMENTS = ("upper garment", "lower garment", "dress", "hat")
JEWELRY = ("earrings", "necklace", "ring", "bracelet")
PEOPLE = (
    "person", *(f"person for {g}" for g in GARMENTS[1:]), *(f"person wearing {g}" for g in GARMENTS), "pose", "densepose",
)
HEADS = ("head for earrings", "head for necklace", "hand for ring", "hand for bracelet")
SCENES = ("room", "room for lamp", "room for picture", "table", "person for bag")
PRODUCTS = ("sofa", "armchair", "lamp", "plant", "stool", "picture", "vase", "table lamp", "teapot", "bag")
PICTURES = (*PEOPLE, *GARMENTS, *HEADS, *(f"wearing {j}" for j in JEWELRY), *JEWELRY, *SCENES, *PRODUCTS)
"""As `data.synthetic.PICTURES`; a test holds the two equal."""


def draw_picture(name: str, seed: int, height: int, width: int):
    """`data.synthetic.draw_picture`, imported when it is first needed."""
    from .synthetic import draw_picture as draw

    return draw(name, seed, height, width)
