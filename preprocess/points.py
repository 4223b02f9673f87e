"""Points as people type or click them: "120,80; 300,90" in pixels, "0.31,0.16; 0.78,0.18" in shares of the picture, or JSON."""

import json
from typing import NamedTuple


class Point(NamedTuple):
    """x and y in pixels; label 1 = on the object, 0 = off it (background)."""

    x: float
    y: float
    label: int = 1


def parse_points(text: str, width: int, height: int) -> list[Point]:
    """Read points from text, "" gives none.

    Pixels; or, where every coordinate lies in 0..1 and one is no whole number, shares of width and height, which stay right when the
    picture's size changes. Either "x,y" pairs separated by ";" or line breaks, with an optional third number as the label, or JSON: a list of
    {"x", "y", "label"?} (as the points editors of other packs write) or of [x, y, label?].
    Raises ValueError for text that is neither, a label other than 0 or 1, and a point outside the picture.
    """
    points, rows = [], _numbers(text.strip())
    shares = _are_shares([value for numbers in rows for value in numbers[:2]])
    for place, numbers in enumerate(rows, 1):
        if len(numbers) not in (2, 3) or (len(numbers) == 3 and numbers[2] not in (0, 1)):
            raise ValueError(f"Point {place} reads {numbers}, but x, y and an optional label 1 or 0 were expected.")
        x, y = (_pixel(value, side) if shares else value for value, side in zip(numbers, (width, height)))
        if not (0 <= x < width and 0 <= y < height):
            raise ValueError(f"Point {place} ({x:g}, {y:g}) lies outside the {width}x{height} picture; give pixels of this picture.")
        points.append(Point(x, y, int(numbers[2]) if len(numbers) == 3 else 1))
    return points


def _are_shares(values: list[float]) -> bool:
    return all(0 <= value <= 1 for value in values) and any(value != int(value) for value in values)


def _pixel(share: float, side: int) -> float:
    """A share of a side as a pixel: centres lie at whole numbers, so 0.5 of 101 pixels is pixel 50."""
    return min(max(share * side - 0.5, 0.0), side - 1.0)


def _numbers(text: str) -> list[list[float]]:
    if not text:
        return []
    try:
        if text[0] in "[{":
            items = json.loads(text)
            items = [items] if isinstance(items, dict) else items
            return [[float(item[key]) for key in ("x", "y", "label") if key in item] if isinstance(item, dict)
                    else [float(value) for value in item] for item in items]
        return [[float(value) for value in part.split(",")] for part in text.replace("\n", ";").split(";") if part.strip()]
    except (ValueError, TypeError) as error:
        raise ValueError(f"The points '{text[:60]}' could not be read; write them as \"120,80; 300,90\" "
                         'or as JSON [{"x": 120, "y": 80}].') from error


def parse_box(text: str, width: int, height: int) -> tuple[float, float, float, float] | None:
    """Read a box "x0,y0,x1,y1" in pixels or, as in parse_points, in shares of the picture; "" gives None. Raises ValueError when it is no box inside the picture."""
    if not text.strip():
        return None
    try:
        x0, y0, x1, y1 = values = [float(value) for value in text.split(",")]
    except ValueError as error:
        raise ValueError(f"The box '{text[:60]}' could not be read; write it as \"x0,y0,x1,y1\" in pixels.") from error
    if _are_shares(values):
        x0, y0, x1, y1 = x0 * width, y0 * height, x1 * width, y1 * height
    if not (0 <= x0 < x1 <= width and 0 <= y0 < y1 <= height):
        raise ValueError(f"The box {x0:g},{y0:g},{x1:g},{y1:g} is not a box inside the {width}x{height} picture; write x0,y0,x1,y1 "
                         f"with x0 < x1 and y0 < y1.")
    return x0, y0, x1, y1
