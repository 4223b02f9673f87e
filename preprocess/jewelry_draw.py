"""A JEWELRY_STATE drawn: the mask to repaint, its bounding box, and the oriented boxes the product picture is placed in.

Everything hangs by gravity, straight down in the picture, turned by the state's tilt. Sizes in mm become pixels by mm_per_px.
"""

from dataclasses import dataclass

import numpy as np
import torch

from .arrays import Box, bounding_box, from_bool
from .catenary import catenary
from .jewelry import DEFAULTS, JewelryState
from .shapes import capsule, ellipse, polygon, stroke

THINNEST = 1.5   # px; half of the thinnest line drawn, or a latent pixel would lose it


@dataclass(frozen=True)
class Drawn:
    """mask (1,1,H,W), 1 = repaint; its Box; corners (N,4,2) of each piece, top-left first and clockwise in its own frame."""

    mask: torch.Tensor
    box: Box
    corners: np.ndarray


def draw(state: JewelryState) -> Drawn:
    """Draw the state; raises ValueError when nothing of the piece lies inside the picture, or a necklace is too short to close."""
    region, corners = {"necklace": _necklace, "earring": _earrings, "ring": _band, "bracelet": _band}[state.type](state, _anchors(state))
    box = bounding_box(region)
    if box is None:
        raise ValueError(f"The {state.type} lies outside the {state.width}x{state.height} picture; move it back or place it again.")
    return Drawn(from_bool(region), box, np.stack(corners))


def necklace_curve(state: JewelryState) -> np.ndarray:
    """The visible chain (N,2) in pixels: a catenary of arc length (length_mm - hidden_mm) / mm_per_px between the anchors."""
    return _curve(state, _anchors(state))


def _axes(state: JewelryState) -> tuple[np.ndarray, np.ndarray]:
    """Unit vectors to the piece's right and down."""
    angle = np.deg2rad(state.amount("tilt"))
    right = np.array([np.cos(angle), np.sin(angle)])
    return right, np.array([-right[1], right[0]])


def _anchors(state: JewelryState) -> np.ndarray:
    """The anchors (N,2) moved and, two of one piece, turned about their middle."""
    points = np.array(state.anchors) + np.array([state.amount("x"), state.amount("y")]) / state.mm_per_px
    if state.type == "earring":
        return points
    right, down = _axes(state)
    middle = points.mean(0)
    return middle + (points - middle) @ np.stack([right, down])


def _curve(state: JewelryState, anchors: np.ndarray) -> np.ndarray:
    """The chain hangs along the picture's vertical in the untilted frame and is turned with the anchors."""
    right, down = _axes(state)
    middle = anchors.mean(0)
    frame = np.stack([right, down], 1)
    start, end = (anchors - middle) @ frame
    visible = (state.amount("length") - state.hidden_mm) / state.mm_per_px
    if visible < np.hypot(*(end - start)):
        raise ValueError(f"A necklace of {state.amount('length'):.0f} mm with {state.hidden_mm:.0f} mm behind the neck does not "
                         f"reach between its anchors, "
                         f"{np.hypot(*(end - start)) * state.mm_per_px:.0f} mm apart; make it longer, or move the anchors together.")
    return middle + catenary(start, end, visible) @ frame.T


def _necklace(state: JewelryState, anchors: np.ndarray):
    size, scale = (state.height, state.width), state.amount("size") / state.mm_per_px
    right, down = _axes(state)
    curve, radius = _curve(state, anchors), max(state.width_mm * scale / 2, THINNEST)
    region = stroke(size, curve, radius)
    outline = [curve - radius, curve + radius]
    if state.drop_mm > 0:   # a pendant at the lowest point
        drop, low = state.drop_mm * scale, curve[(curve @ down).argmax()]
        region |= ellipse(size, low + down * drop / 2, drop / 2, max(0.35 * drop, radius), down)
        outline.append((low + down * drop)[None])
    points = np.concatenate(outline)
    return region, [_box(points, right, down)]


def _box(points: np.ndarray, right: np.ndarray, down: np.ndarray) -> np.ndarray:
    """The box around points along the axes, as corners (4,2)."""
    u, v = points @ right, points @ down
    return np.stack([a * right + b * down for a, b in ((u.min(), v.min()), (u.max(), v.min()), (u.max(), v.max()), (u.min(), v.max()))])


def _earrings(state: JewelryState, anchors: np.ndarray):
    size, scale = (state.height, state.width), state.amount("size") / state.mm_per_px
    (right, down), form = _axes(state), state.shown_form
    # a form chosen by feedback has its own usual width, the placed one the width it was given
    width = (state.width_mm if form == state.form else DEFAULTS[form]["width_mm"]) * scale
    reach = {"stud": width, "hoop": width, "drop": state.amount("length") * scale}[form]
    region, corners = np.zeros(size, bool), []
    for lobe in anchors:
        top = lobe - down * width / 2 if form == "stud" else lobe
        if form == "drop":
            head = max(0.22 * width, THINNEST)
            tail = max(width / 2, THINNEST)
            region |= capsule(size, lobe + down * head, lobe + down * max(reach - tail, head), head, tail)
        else:
            centre, radius = top + down * width / 2, max(width / 2, THINNEST)
            disc = ellipse(size, centre, radius, radius)
            hole = radius - max(0.2 * radius, 2 * THINNEST)
            region |= disc & ~ellipse(size, centre, hole, hole) if form == "hoop" and hole > 1 else disc
        corners.append(np.stack([top - right * width / 2, top + right * width / 2,
                                 top + right * width / 2 + down * reach, top - right * width / 2 + down * reach]))
    return region, corners


def _band(state: JewelryState, anchors: np.ndarray):
    """A ring or bracelet: a box across the finger or wrist."""
    across = anchors[1] - anchors[0]
    across = across / max(float(np.hypot(*across)), 1e-9)
    along = np.array([-across[1], across[0]])
    half_length = max(state.amount("length") * state.amount("size") / state.mm_per_px / 2, THINNEST)
    half_width = max(state.width_mm * state.amount("size") / state.mm_per_px / 2, THINNEST)
    middle = anchors.mean(0)
    corners = np.stack([middle + u * half_length * across + v * half_width * along for u, v in ((-1, -1), (1, -1), (1, 1), (-1, 1))])
    return polygon((state.height, state.width), corners), [corners]
