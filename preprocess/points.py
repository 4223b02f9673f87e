"""Points as people type or click them: "120,80; 300,90" or JSON, in pixels of the picture."""

import json
from typing import NamedTuple


class Point(NamedTuple):
    """x and y in pixels; label 1 = on the object, 0 = off it (background)."""

    x: float
    y: float
    label: int = 1


def parse_points(text: str, width: int, height: int) -> list[Point]:
    """Read points from text, "" gives none.

    Either "x,y" pairs separated by ";" or line breaks, with an optional third number as the label, or JSON: a list of
    {"x", "y", "label"?} (as the points editors of other packs write) or of [x, y, label?].
    Raises ValueError for text that is neither, a label other than 0 or 1, and a point outside the picture.
    """
    points = []
    for place, numbers in enumerate(_numbers(text.strip()), 1):
        if len(numbers) not in (2, 3) or (len(numbers) == 3 and numbers[2] not in (0, 1)):
            raise ValueError(f"Point {place} reads {numbers}, but x, y and an optional label 1 or 0 were expected.")
        x, y = numbers[:2]
        if not (0 <= x < width and 0 <= y < height):
            raise ValueError(f"Point {place} ({x:g}, {y:g}) lies outside the {width}x{height} picture; give pixels of this picture.")
        points.append(Point(x, y, int(numbers[2]) if len(numbers) == 3 else 1))
    return points


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
    """Read a box "x0,y0,x1,y1" in pixels; "" gives None. Raises ValueError when it is no box inside the picture."""
    if not text.strip():
        return None
    try:
        x0, y0, x1, y1 = (float(value) for value in text.split(","))
    except ValueError as error:
        raise ValueError(f"The box '{text[:60]}' could not be read; write it as \"x0,y0,x1,y1\" in pixels.") from error
    if not (0 <= x0 < x1 <= width and 0 <= y0 < y1 <= height):
        raise ValueError(f"The box {x0:g},{y0:g},{x1:g},{y1:g} is not a box inside the {width}x{height} picture; write x0,y0,x1,y1 "
                         f"with x0 < x1 and y0 < y1.")
    return x0, y0, x1, y1
