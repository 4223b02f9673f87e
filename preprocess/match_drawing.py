"""Matches drawn side by side: person left, garment right, one coloured line per match.

Colours follow the height on the person, so a line that crosses its neighbours or ends among other colours is a wrong one.
"""

import numpy as np

from .matches import Matches
from .pictures import resize, to_rgb8

MARGIN, GAP, BAR = 16, 24, 52
PAPER, INK, FAINT = (24, 25, 28), (238, 238, 240), (150, 152, 158)
SMOOTH = 4  # fractional bits of OpenCV's drawing coordinates


def draw_matches(person, garment, matches: Matches, width: int = 1024, max_lines: int = 100, title: str = "") -> np.ndarray:
    """A picture (H, width, 3) RGB uint8 of both pictures, the matches and what was filtered out.

    person, garment  the pictures the matches belong to, of any size and kind (grey, alpha)
    width            of the drawing in pixels, 256 or more; the two pictures are shown at equal height
    max_lines        more matches than this are thinned evenly over the person, so that single lines stay readable
    """
    if width < 256:
        raise ValueError(f"The drawing is {width} pixels wide, expected 256 or more: raise the width.")
    left, right = to_rgb8(person, 0, "person picture"), to_rgb8(garment, 255, "garment picture")
    height = _height(left.shape, right.shape, width)
    panels = [_panel(picture, height) for picture in (left, right)]
    canvas = np.full((height + 2 * BAR, width, 3), PAPER, np.uint8)
    start = (width - panels[0].shape[1] - panels[1].shape[1] - GAP) // 2
    corners = (start, start + panels[0].shape[1] + GAP)
    for panel, x in zip(panels, corners, strict=True):
        canvas[BAR : BAR + height, x : x + panel.shape[1]] = panel
    shown = _spread(matches, max_lines)
    fitted = matches.resized(panels[0].shape[:2], panels[1].shape[:2]).points[shown]
    _lines(canvas, fitted + np.array([[[corners[0], BAR], [corners[1], BAR]]], np.float32), height)
    return _caption(canvas, matches, len(shown), title)


def _height(left, right, width):
    aspect = left[1] / left[0] + right[1] / right[0]
    return max(32, min(int((width - 2 * MARGIN - GAP) / aspect), 2 * width))


def _panel(picture, height):
    import cv2

    width = max(1, round(picture.shape[1] * height / picture.shape[0]))
    if height < picture.shape[0]:
        picture = cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA)
    else:
        picture = resize(picture, (height, width))
    grey = picture.mean(axis=2, keepdims=True)
    return (0.72 * (0.6 * picture + 0.4 * grey)).astype(np.uint8)  # calm enough for lines to stand out, light fabric included


def _spread(matches, limit):
    """Indices of at most `limit` valid matches, each as far as can be from those chosen before (on the person)."""
    index = np.flatnonzero(matches.valid)
    if len(index) <= limit:
        return index
    points = matches.points[index, 0]
    chosen = [int(points.sum(axis=1).argmin())]
    distance = np.full(len(index), np.inf)
    for _ in range(limit - 1):
        distance = np.minimum(distance, ((points - points[chosen[-1]]) ** 2).sum(axis=1))
        chosen.append(int(distance.argmax()))
    return index[np.sort(chosen)]


def _lines(canvas, ends, height):
    import cv2

    if not len(ends):
        return
    order = np.argsort(ends[:, 0, 1], kind="stable")
    y = ends[order, 0, 1]
    level = (y - y[0]) / max(float(y[-1] - y[0]), 1e-6)
    colours = cv2.applyColorMap(np.rint(level * 215 + 20).astype(np.uint8).reshape(-1, 1), cv2.COLORMAP_TURBO)[:, 0, ::-1]
    fixed = np.rint(ends[order] * 2**SMOOTH).astype(int).tolist()
    thick = 2 if len(ends) <= 40 and height >= 300 else 1
    glass = canvas.copy()
    for (a, b), colour in zip(fixed, colours.tolist(), strict=True):
        cv2.line(glass, a, b, colour, thick, cv2.LINE_AA, SMOOTH)
    ink = 0.8 if len(ends) <= 40 else 0.6  # many lines would hide what they connect
    cv2.addWeighted(glass, ink, canvas, 1.0 - ink, 0, dst=canvas)
    radius = (4 if thick == 2 else 3) << SMOOTH
    for pair, colour in zip(fixed, colours.tolist(), strict=True):
        for end in pair:
            cv2.circle(canvas, end, radius + (1 << SMOOTH), PAPER, -1, cv2.LINE_AA, SMOOTH)
            cv2.circle(canvas, end, radius, colour, -1, cv2.LINE_AA, SMOOTH)


def _caption(canvas, matches, shown, title):
    from PIL import Image, ImageDraw

    picture = Image.fromarray(canvas)
    draw = ImageDraw.Draw(picture)
    head = "no matches" if not matches.count else "1 match" if matches.count == 1 else f"{matches.count} matches"
    head += f" ({shown} drawn)" if shown < matches.count else ""
    _text(draw, (MARGIN, BAR // 2), f"{title}   {head}" if title else head, INK, 20, canvas.shape[1])
    steps = matches.removed_by()
    first = next(iter(steps.values()), (0, 0))[0]
    words = [f"{name.replace('_', ' ')} -{removed}" for name, (_, removed) in steps.items() if removed]
    foot = matches.note or (f"{first} candidates:  " + "   ".join(words) if words else "nothing was filtered")
    _text(draw, (MARGIN, canvas.shape[0] - BAR // 2), foot, INK if matches.note else FAINT, 15, canvas.shape[1])
    return np.asarray(picture)


def _text(draw, at, text, colour, size, width):
    from PIL import ImageFont

    font = ImageFont.load_default(size=size)
    while size > 9 and draw.textlength(text, font=font) > width - 2 * MARGIN:
        size -= 1
        font = ImageFont.load_default(size=size)
    draw.text(at, text, fill=colour, font=font, anchor="lm")
