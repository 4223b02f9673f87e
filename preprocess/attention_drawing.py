"""Attention over a garment drawn as SIFT-VTON's figure 4 shows it: the asked point on the person, the garment under a heat map."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .pictures import resize, to_rgb8

PAPER, INK = (24, 25, 28), (238, 238, 240)
POINT, TARGET = (70, 160, 255), (255, 255, 255)
GAP, BAR = 12, 40


def heat_over(garment: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """A garment under a heat map: calm grey where nobody looks, bright where attention gathers.

    garment  (H,W,3) RGB uint8
    weights  (h,w), not negative; the largest is full heat
    """
    import cv2

    height, width = garment.shape[:2]
    share = weights / max(float(weights.max()), 1e-12)
    share = np.clip(cv2.resize(share.astype(np.float32), (width, height), interpolation=cv2.INTER_CUBIC), 0, 1)
    heat = cv2.applyColorMap(np.rint(share * 255).astype(np.uint8), cv2.COLORMAP_INFERNO)[..., ::-1].astype(np.float32)
    grey = 0.55 * garment.mean(axis=2, keepdims=True) + 30  # light fabric must not swallow the heat
    ink = np.clip(share * 1.6, 0, 0.92)[..., None]
    return np.rint(grey * (1 - ink) + heat * ink).astype(np.uint8)


def draw_attention(
    garment, weights: np.ndarray, target: Sequence[float] | None, radius: float, caption: str, person=None, point: Sequence[float] | None = None,
) -> np.ndarray:
    """One picture (H,W,3) RGB uint8: the person with the asked point boxed, beside the garment under its heat map.

    garment  the garment's picture, any kind
    weights  (h,w) attention over it
    target   x, y in pixels of the garment: what `radius` is counted from; None draws no ring
    caption  one line below the picture
    person   the person's picture, or None for the garment alone; shown at the garment's height
    point    x, y of the asked point in pixels of the person
    """
    import cv2

    picture = to_rgb8(garment, 255, "garment picture")
    panel = heat_over(picture, weights)
    if target is not None:
        centre = [int(round(v * 16)) for v in target]
        cv2.circle(panel, centre, int(radius * 16), PAPER, 3, cv2.LINE_AA, 4)
        cv2.circle(panel, centre, int(radius * 16), TARGET, 1, cv2.LINE_AA, 4)
    panels = [panel]
    if person is not None:
        panels.insert(0, _boxed(to_rgb8(person, 255, "person picture"), point, panel.shape[0]))
    width = sum(p.shape[1] for p in panels) + GAP * (len(panels) - 1)
    canvas = np.full((panel.shape[0] + BAR, width, 3), PAPER, np.uint8)
    x = 0
    for part in panels:
        canvas[: part.shape[0], x : x + part.shape[1]] = part
        x += part.shape[1] + GAP
    return _caption(canvas, caption)


def _boxed(person: np.ndarray, point, height: int) -> np.ndarray:
    import cv2

    scale = height / person.shape[0]
    person = resize(person, (height, max(1, round(person.shape[1] * scale)))).copy()
    if point is not None:
        x, y = ((v + 0.5) * scale - 0.5 for v in point)
        half = max(6, height // 40)
        corners = [(int(round(x - half)), int(round(y - half))), (int(round(x + half)), int(round(y + half)))]
        cv2.rectangle(person, *corners, PAPER, 4, cv2.LINE_AA)
        cv2.rectangle(person, *corners, POINT, 2, cv2.LINE_AA)
    return person


def _caption(canvas: np.ndarray, text: str) -> np.ndarray:
    from PIL import Image, ImageDraw, ImageFont

    picture = Image.fromarray(canvas)
    draw, size, width = ImageDraw.Draw(picture), 16, canvas.shape[1]
    font = ImageFont.load_default(size=size)
    while size > 8 and draw.textlength(text, font=font) > width - 16:
        size -= 1
        font = ImageFont.load_default(size=size)
    draw.text((8, canvas.shape[0] - BAR // 2), text, fill=INK, font=font, anchor="lm")
    return np.array(picture)
