"""Patterns as functions of cloth coordinates, so that the flat and the worn garment carry the very same print.

a (across) and b (down) are cloth coordinates in units; `soft` is the size of a pixel in the same units and sets how wide an edge
is drawn, which keeps every pattern free of stairs at any picture size. Every function returns the share 0..1 of the second colour.
"""

from __future__ import annotations

import numpy as np

from .curves import smoothstep

PATTERNS = ("plain", "striped", "pinstriped", "checked", "dotted", "star print", "heart print", "letter print", "logo")
WORDS = ("SKY", "SUN", "JOY", "ART", "YES", "WOW", "HEY", "42", "07", "88")
PRINT_AT = 17.0  # how far below the shoulders a print sits, in units

# Strokes of the letters on a grid 4 wide and 6 high; "/" lifts the pen.
_STROKES = {
    "A": "06 20 46/14 34", "E": "40 00 06 46/03 33", "H": "00 06/40 46/03 43", "J": "40 44 35 26 16 05 04", "K": "00 06/40 03 46",
    "N": "06 00 46 40", "O": "20 10 01 05 16 36 45 41 30 20", "R": "06 00 30 41 42 33 03/23 46", "S": "41 30 10 01 02 13 33 44 45 36 16 05",
    "T": "00 40/20 26", "U": "00 04 16 36 44 40", "W": "00 16 22 36 40", "Y": "00 23 40/23 26", "0": "20 10 01 05 16 36 45 41 30 20",
    "2": "01 10 30 41 42 06 46", "4": "36 30 04 44", "7": "00 40 16", "8": "20 10 01 02 13 33 42 41 30 20/13 04 05 16 36 45 44 33",
}


def edge(distance, soft):
    """1 inside (distance > 0), 0 outside, one pixel wide between."""
    return np.clip(distance / max(float(soft), 1e-3) + 0.5, 0, 1)


def bands(x, period: float, share: float, soft: float):
    """Stripes along one coordinate: `share` of every period, the first one centred at 0."""
    return edge(share * period / 2 - np.abs((x / period + 0.5) % 1 - 0.5) * period, soft)


def pattern(name: str, a, b, soft: float, period: float = 12.0, text: str = ""):
    """The share of the second colour of a named pattern at cloth coordinates (a, b).

    Raises:
        ValueError: an unknown pattern.
    """
    if name == "plain":
        return np.zeros(np.broadcast_shapes(np.shape(a), np.shape(b)), np.float32)
    if name == "striped":
        return bands(b + 0 * a, period, 0.46, soft)
    if name == "pinstriped":
        return bands(a + 0 * b, period * 0.9, 0.42, soft)
    if name == "checked":
        return 0.5 * bands(a, period * 1.15, 0.5, soft) + 0.5 * bands(b, period * 1.15, 0.5, soft)
    if name == "dotted":
        return dots(a, b, period * 0.92, soft)
    if name in PATTERNS:
        return edge(print_distance(name, a, b - PRINT_AT, text), soft)
    raise ValueError(f"The pattern '{name}' is not known; choose one of {', '.join(PATTERNS)}.")


def dots(a, b, period: float, soft: float):
    """Dots in staggered rows."""
    row = np.floor(b / period + 0.5)
    x = (a / period + 0.5 * (row % 2) + 0.5) % 1 - 0.5
    y = b / period + 0.5 - row - 0.5
    return edge((0.29 - np.hypot(x, y)) * period, soft)


def print_distance(name: str, x, y, text: str = ""):
    """How far inside a chest print centred at (0, 0) a point lies, in units; negative outside."""
    if name == "star print":
        return star_distance(x, y, 9.5)
    if name == "heart print":
        return heart_distance(x, y + 1.0, 8.0)
    if name == "letter print":
        return text_distance(text, x, y, 8.5 if len(text) > 2 else 11.0)
    ring = np.minimum(7.5 - np.hypot(x, y), 9.0)
    return np.where(ring > 1.4, star_distance(x, y, 5.2), ring)  # logo: a star in a ring


def star_distance(x, y, radius: float, points: int = 5, depth: float = 0.45):
    """Distance into a star with one point up."""
    sector = np.pi / points
    angle = np.abs((np.arctan2(x, -y) + sector) % (2 * sector) - sector)
    r = np.hypot(x, y)
    px, py = r * np.cos(angle), r * np.sin(angle)
    tip, notch = np.array([radius, 0.0]), radius * depth * np.array([np.cos(sector), np.sin(sector)])
    d = notch - tip
    normal = np.array([-d[1], d[0]]) / np.hypot(*d)
    return (px - tip[0]) * normal[0] + (py - tip[1]) * normal[1]


def heart_distance(x, y, size: float):
    """About how far into a heart a point lies (two discs above a diamond)."""
    x = np.abs(x) / size
    y = -y / size
    lobe = 0.52 - np.hypot(x - 0.45, y - 0.3)
    body = (1.02 - (x * 1.05 + np.abs(y - 0.12) * 0.95)) * 0.7
    body = np.where(y > 0.3, np.minimum(body, 0.42 - x), body)
    return np.maximum(lobe, np.where(y > 0.32, -1.0, body)) * size


def text_distance(text: str, x, y, height: float, weight: float = 0.2):
    """Distance into the strokes of a word centred at (0, 0); `weight` is half the stroke's width as a share of the height.

    Raises:
        ValueError: a letter that has no strokes here.
    """
    unit = height / 6
    left = -(len(text) * 5.6 - 1.6) / 2
    distance = np.full(np.broadcast_shapes(np.shape(x), np.shape(y)), -1e3, np.float32)
    u, v = x / unit, y / unit + 3
    for i, letter in enumerate(text):
        if letter not in _STROKES:
            raise ValueError(f"The letter '{letter}' cannot be printed; use {''.join(sorted(_STROKES))}.")
        for line in _STROKES[letter].split("/"):
            spots = [(int(c[0]) + left + 5.6 * i, int(c[1])) for c in line.split()]
            for p, q in zip(spots[:-1], spots[1:], strict=True):
                distance = np.maximum(distance, -_to_segment(u, v, p, q))
    return (distance + weight * 3.4) * unit


def _to_segment(x, y, p, q):
    dx, dy = q[0] - p[0], q[1] - p[1]
    s = np.clip(((x - p[0]) * dx + (y - p[1]) * dy) / (dx * dx + dy * dy), 0, 1)
    return np.hypot(x - p[0] - s * dx, y - p[1] - s * dy)


class Folds:
    """Soft creases of worn cloth: a few short waves of light and dark at places drawn from a generator."""

    def __init__(self, rng: np.random.Generator, spots: list[tuple[float, float, float]], count: int, strength: float = 0.1):
        """`spots` are (a, b, angle) about which creases gather, angle 0 = across."""
        chosen = [spots[i] for i in rng.integers(len(spots), size=count)] if spots else []
        self.creases = [
            (a + rng.normal(0, 2.0), b + rng.normal(0, 2.2), angle + rng.normal(0, 0.25), rng.uniform(4, 9), rng.uniform(0.9, 1.7),
             strength * rng.uniform(0.6, 1.2))
            for a, b, angle in chosen
        ]

    def __call__(self, a, b):
        """The light, about 1, at cloth coordinates."""
        light = np.ones(np.broadcast_shapes(np.shape(a), np.shape(b)), np.float32)
        for x, y, angle, length, width, strength in self.creases:
            c, s = np.float32(np.cos(angle)), np.float32(np.sin(angle))
            along, off = (a - x) * c + (b - y) * s, (b - y) * c - (a - x) * s
            near = np.exp(-0.5 * (along / length) ** 2 - 0.5 * (off / width) ** 2)
            light += np.float32(strength) * (-off / width) * near * 1.3
        return light


def pleats(a, b, count: float, start: float, end: float, strength: float = 0.09):
    """Light on hanging pleats that open from `start` to `end` of b."""
    opening = smoothstep(b, start, end)
    return 1 + strength * opening * np.cos(a * count)
