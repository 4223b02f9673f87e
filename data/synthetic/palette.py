"""Colours of the drawn world, sRGB 0..1, and the names captions use for them."""

from __future__ import annotations

import numpy as np


def rgb(r: int, g: int, b: int) -> np.ndarray:
    """A colour from 8-bit levels."""
    return np.array([r, g, b], np.float32) / 255


COLOURS = {
    "red": rgb(206, 52, 56), "orange": rgb(238, 136, 52), "yellow": rgb(246, 206, 78), "green": rgb(58, 142, 92),
    "teal": rgb(42, 162, 166), "blue": rgb(52, 92, 188), "purple": rgb(126, 78, 168), "pink": rgb(242, 150, 180),
    "brown": rgb(128, 86, 58), "black": rgb(44, 44, 52), "white": rgb(244, 242, 236), "grey": rgb(146, 150, 158),
}
SKIN = (rgb(250, 221, 200), rgb(240, 200, 168), rgb(222, 172, 132), rgb(190, 136, 98), rgb(142, 94, 66), rgb(98, 64, 48))
HAIR = (rgb(42, 34, 34), rgb(78, 52, 40), rgb(128, 82, 52), rgb(214, 170, 104), rgb(176, 84, 48), rgb(166, 164, 168), rgb(238, 206, 140))
WHITE, INK = rgb(255, 253, 248), rgb(52, 42, 46)


def luminance(colour: np.ndarray) -> float:
    """Perceived lightness of a colour, 0..1 (Rec. 601 weights)."""
    return float(colour @ np.array([0.299, 0.587, 0.114], np.float32))


def mix(a, b, share):
    """The colour a share of the way from a to b; `share` may be an array (...)."""
    share = np.asarray(share, np.float32)
    return np.asarray(a, np.float32) + (np.asarray(b, np.float32) - np.asarray(a, np.float32)) * share[..., None]


def jitter(colour: np.ndarray, rng: np.random.Generator, spread: float = 0.025) -> np.ndarray:
    """The colour a little off, so that no two pictures have the very same."""
    return np.clip(colour + rng.normal(0, spread, 3).astype(np.float32), 0, 1)


def warm_shadow(colour: np.ndarray, depth: float = 1.0) -> np.ndarray:
    """The colour in shadow: darker, and warmer on skin."""
    return colour * (1 - np.array([0.13, 0.2, 0.23], np.float32) * depth)


def partner(base: str, rng: np.random.Generator) -> str:
    """A second colour that stands out against `base`."""
    dark = luminance(COLOURS[base]) < 0.52
    choices = ["white", "white", "yellow", "pink"] if dark else ["black", "blue", "red", "white"]
    apart = [c for c in choices if c != base and np.abs(COLOURS[c] - COLOURS[base]).sum() > 0.55]
    return str(rng.choice(apart or ["black"]))
