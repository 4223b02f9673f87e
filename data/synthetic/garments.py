"""Garments: what they are, the pieces they are sewn from, and how each piece lies flat.

Sides are the wearer's own, as in a worn picture: the left sleeve lies on the right of the picture. t counts from the top of the
garment, in units of the worn figure; flat pictures show the pieces enlarged.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from .curves import Column, Frame, Limb, dense
from .palette import COLOURS, mix, partner
from .textures import PATTERNS, WORDS

UPPER = ("t-shirt", "shirt", "sweater", "tank top")
LOWER = ("trousers", "skirt", "shorts")
DRESS = ("dress", "sundress", "shirt dress")
HAT = ("beanie", "cap", "sun hat")
KINDS = {"upper": UPPER, "lower": LOWER, "dress": DRESS, "hat": HAT}
SLOTS = tuple(KINDS)
LONG_SLEEVE, SHORT_SLEEVE, UPPER_LENGTH = 37.0, 13.0, 45.0
LENGTH = {"trousers": 92.0, "skirt": 40.0, "shorts": 31.0, "dress": 78.0, "sundress": 72.0, "shirt dress": 76.0}
SHARES = {
    "upper": (0.14, 0.17, 0.1, 0.13, 0.12, 0.09, 0.08, 0.1, 0.07),
    "lower": (0.56, 0.12, 0.12, 0.12, 0.08, 0, 0, 0, 0),
    "dress": (0.2, 0.2, 0.14, 0.18, 0.2, 0.04, 0.04, 0, 0),
    "hat": (0.5, 0.3, 0, 0, 0, 0, 0, 0, 0.2),
}


@dataclass(frozen=True)
class Garment:
    """One garment: `slot` (upper, lower, dress, hat), `kind`, colour names, pattern, printed `text`, pattern `period` in units."""

    slot: str
    kind: str
    base: str
    second: str
    pattern: str
    text: str = ""
    period: float = 12.0
    seed: int = 0

    @property
    def sleeve(self) -> float:
        """Length of the sleeves in units, 0 = none."""
        return {"t-shirt": SHORT_SLEEVE, "dress": SHORT_SLEEVE, "tank top": 0.0, "sundress": 0.0}.get(
            self.kind, LONG_SLEEVE if self.slot in ("upper", "dress") else 0.0
        )

    @property
    def plural(self) -> bool:
        """Whether the name takes no article."""
        return self.kind in ("trousers", "shorts")

    @property
    def words(self) -> str:
        """Colours, pattern and kind: "red and white striped shirt", "black sweater that says SKY in yellow"."""
        if self.pattern == "plain":
            return f"{self.base} {self.kind}"
        if self.pattern == "letter print":
            return f"{self.base} {self.kind} that says {self.text} in {self.second}"
        if self.pattern == "logo":
            return f"{self.base} {self.kind} with a {self.second} logo"
        return f"{self.base} and {self.second} {self.pattern} {self.kind}"

    @property
    def caption(self) -> str:
        """`words` with an article."""
        return self.words if self.plural else ("an " if self.words[0] in "aeiou" else "a ") + self.words


def draw_garment(rng: np.random.Generator, slot: str, kind: str | None = None) -> Garment:
    """A garment of a slot, drawn from a generator.

    Raises:
        ValueError: an unknown slot.
    """
    if slot not in KINDS:
        raise ValueError(f"The slot '{slot}' is not known; choose one of {', '.join(SLOTS)}.")
    kind = kind or str(rng.choice(KINDS[slot]))
    base = str(rng.choice(list(COLOURS)))
    shares = np.array(SHARES[slot]) * ([1] * 5 + [0] * 4 if kind in ("shirt", "shirt dress") else 1)  # no print across buttons
    name = PATTERNS[rng.choice(len(PATTERNS), p=shares / shares.sum())]
    return Garment(slot, kind, base, partner(base, rng), name, str(rng.choice(WORDS)), float(rng.uniform(10.5, 13.5)), int(rng.integers(1 << 30)))


@dataclass(frozen=True)
class Detail:
    """A seam, rib, button or pocket in (q, t): a line (`width` > 0) or a filled polygon, kept inside the piece if `clip`."""

    points: np.ndarray
    colour: np.ndarray
    width: float = 0.0
    opacity: float = 1.0
    clip: bool = True


@dataclass(frozen=True)
class Piece:
    """One piece of cloth: its outline in (q, t), how it lies flat, and what is sewn on it. `part` is torso, left_sleeve ..."""

    part: str
    outline: np.ndarray
    flat: Column | Limb
    pattern: str
    details: tuple[Detail, ...] = field(default=())

    def cloth(self, q, t):
        """Cloth coordinates (a, b) in units: the print is a function of these."""
        if isinstance(self.flat, Limb):
            return q * np.interp(t, self.flat.length, self.flat.radii), t
        left, right = (np.interp(t, self.flat.levels, side) for side in (self.flat.left, self.flat.right))
        return (left + right) / 2 + q * (right - left) / 2, t


def trim(garment: Garment) -> np.ndarray:
    """The colour of ribs and cuffs: the base, a little darker or lighter so that it shows."""
    base = COLOURS[garment.base]
    return mix(base, (0, 0, 0), 0.2) if garment.base != "black" else mix(base, (1, 1, 1), 0.16)


def pieces(garment: Garment) -> list[Piece]:
    """The pieces in the order in which they are laid down flat."""
    if garment.slot in ("upper", "dress"):
        return [*_sleeves(garment), _trunk(garment)]
    if garment.kind == "skirt":
        return [_skirt(garment)]
    return [_leg(garment, -1), _leg(garment, 1)]


def flat_frame(garment: Garment) -> Frame:
    """Where the garment's top middle lies in a flat picture of 96 x 128 units, and how much it is enlarged."""
    length = LENGTH.get(garment.kind, UPPER_LENGTH)
    scale = min(1.52, 108 / length)
    return Frame(48, 64 - scale * length / 2, 0.0, scale)


def _neckline(half: float, depth: float, top: float = -1.0) -> np.ndarray:
    """From the middle of the neck to its right end, in (q, t)."""
    a = np.linspace(0, np.pi / 2, 10)
    return np.stack([half * np.sin(a), top + (depth - top) * np.cos(a)], -1)


def _trunk(garment: Garment) -> Piece:
    dress = garment.slot == "dress"
    length = LENGTH[garment.kind] if dress else UPPER_LENGTH
    if garment.sleeve:
        depth = {"sweater": 2.6, "shirt": 5.0, "shirt dress": 5.0, "dress": 5.5}.get(garment.kind, 3.6)
        neck = _neckline(0.37, depth)
        side = [(0.9, 3.2), (1.0, 5.0), (1.0, 14.0)]
    else:
        neck = _neckline(0.44, 8.5, -0.2)
        side = [(0.62, 1.1), (0.64, 5.0), (0.7, 9.0), (0.82, 12.5), (1.0, 14.6)]
    hem = [(0.98, length), (0.5, length + 0.8), (0.0, length + 1.0)]
    outline = np.concatenate([neck, side, hem])
    levels = np.array([-6.0, 6.0, 15.0, 29.0, 45.0, 80.0])
    half = np.array([17.2, 17.2, 16.2, 13.0, 19.5, 29.0]) if dress else np.array([17.2, 17.2, 16.6, 15.6, 16.6, 18.0])
    flat = Column(levels, -half, half)
    return Piece("torso", _both(outline), flat, garment.pattern, tuple(_trunk_details(garment, neck, length)))


def _both(half: np.ndarray) -> np.ndarray:
    return dense(np.concatenate([half, (half * (-1, 1))[::-1]]))


def _trunk_details(garment: Garment, neck: np.ndarray, length: float):
    rib, base = trim(garment), COLOURS[garment.base]
    round_neck = np.concatenate([(neck * (-1, 1))[::-1], neck])
    seam = mix(rib, (0, 0, 0), 0.25)
    buttoned = garment.kind in ("shirt", "shirt dress")
    if garment.kind == "sweater":
        yield Detail(_across(length - 4.2, length + 2), rib)
        yield Detail(np.array([(-1.0, length - 4.2), (1.0, length - 4.2)]), seam, 0.5, 0.5)
    else:
        yield Detail(np.array([(-1.0, length - 1.8), (1.0, length - 1.8)]), seam, 0.4, 0.45)
    if garment.slot == "dress":
        yield Detail(_across(28.0, 31.2), COLOURS[garment.second] if garment.pattern != "plain" else rib)
    if not buttoned:
        yield Detail(round_neck, rib, 3.4 if garment.kind == "sweater" else 2.2)
        return
    yield Detail(np.array([(0.1, neck[0, 1] - 2), (0.1, length + 1)]), seam, 0.45, 0.55)
    for t in np.arange(neck[0, 1] + 3.5, length - 3, 7.2):
        yield Detail(np.array([(0.0, t), (0.0, t + 0.05)]), mix(base, (1, 1, 1), 0.75) if garment.base != "white" else COLOURS["grey"], 1.7)
    if garment.kind == "shirt":
        pocket = np.array([(0.36, 15.0), (0.74, 15.0), (0.74, 21.0), (0.55, 22.6), (0.36, 21.0)])
        yield Detail(np.concatenate([pocket, pocket[:1]]), seam, 0.45, 0.6)
    for side in (-1, 1):
        flap = np.array([(0.36, -1.8), (0.44, 0.4), (0.32, 6.8), (0.02, neck[0, 1] + 0.4), (0.12, 2.0)]) * (side, 1)
        yield Detail(flap, mix(base, (1, 1, 1), 0.22) if garment.base not in ("white",) else base * 0.95, 0.0, 1.0, False)
        yield Detail(np.concatenate([flap[1:4]]), seam, 0.4, 0.5, False)


def _across(top: float, bottom: float) -> np.ndarray:
    return dense(np.array([(-1.2, top), (1.2, top), (1.2, bottom), (-1.2, bottom)]))


def _sleeves(garment: Garment) -> list[Piece]:
    if not garment.sleeve:
        return []
    long = garment.sleeve > 20
    made, rib = [], trim(garment)
    seam = mix(rib, (0, 0, 0), 0.25)
    cap = np.linspace(np.pi, 0, 12)
    n = garment.sleeve
    outline = dense(np.concatenate([np.stack([np.cos(cap), -5.0 * np.sin(cap)], -1), [(1.0, n), (0.0, n + 0.5), (-1.0, n)]]))
    if garment.kind in ("sweater", "shirt", "shirt dress"):
        knit = garment.kind == "sweater"
        band = [Detail(_across(n - (3.4 if knit else 2.6), n + 2), rib if knit else mix(COLOURS[garment.base], rib, 0.5))]
    else:
        band = [Detail(np.array([(-1.0, n - 1.5), (1.0, n - 1.5)]), seam, 0.4, 0.5)]
    pattern = garment.pattern if garment.pattern in ("striped", "pinstriped", "checked", "dotted") else "plain"
    for side, part in ((-1, "right_sleeve"), (1, "left_sleeve")):
        angle = 0.34 if long else 0.72
        start, way = np.array([side * 11.4, 6.6]), np.array([side * np.sin(angle), np.cos(angle)])
        along = np.linspace(0, n, 6)
        flat = Limb(start + way * along[:, None], np.interp(along, [0, 13, 37], [6.6, 6.4, 4.6]))
        made.append(Piece(part, outline, flat, pattern, tuple(band)))
    return made


def _skirt(garment: Garment) -> Piece:
    n = LENGTH["skirt"]
    wave = np.linspace(1, 0, 25)
    hem = np.stack([wave, n + 0.9 * np.sin(wave * 15.7) + 0.9 * (1 - wave**2)], -1)
    outline = np.concatenate([[(0.0, 0.0), (0.5, 0.0), (1.0, 0.0)], hem])
    flat = Column(np.array([0.0, 12.0, 40.0]), np.array([-12.5, -17.0, -23.5]), np.array([12.5, 17.0, 23.5]))
    return Piece("skirt", _both(outline), flat, garment.pattern, tuple(_waistband(garment)))


def _waistband(garment: Garment):
    rib = trim(garment)
    seam = mix(rib, (0, 0, 0), 0.25)
    yield Detail(_across(-1.0, 3.4), rib)
    yield Detail(np.array([(-1.0, 3.4), (1.0, 3.4)]), seam, 0.4, 0.6)


def _leg(garment: Garment, side: int) -> Piece:
    n = LENGTH[garment.kind]
    outline = dense(np.array([(-1.0, 0.0), (1.0, 0.0), (1.0, n), (-1.0, n)]))
    levels = np.array([0.0, 14.0, 25.0, 26.0, 60.0, 92.0])
    outer = np.array([12.6, 16.2, 17.4, 17.5, 16.4, 15.4]) if garment.kind == "trousers" else np.array([12.6, 16.4, 18.4, 18.6, 20.0, 20.0])
    inner = np.array([0.0, 0.0, 0.0, 1.0, 2.6, 4.4])
    flat = Column(levels, *((-outer, -inner) if side < 0 else (inner, outer)))
    return Piece("right_leg" if side < 0 else "left_leg", outline, flat, garment.pattern, tuple(_leg_details(garment, side, n)))


def _leg_details(garment: Garment, side: int, n: float):
    seam = mix(trim(garment), (0, 0, 0), 0.25)
    yield from _waistband(garment)
    yield Detail(np.array([(0.35 * side, 3.6), (0.8 * side, 9.5), (1.0 * side, 11.5)]), seam, 0.5, 0.6)
    yield Detail(np.array([(-1.0 * side, 3.6), (-1.0 * side, 20.0)]), seam, 0.7, 0.6)
    if garment.kind == "shorts":
        yield Detail(np.array([(-1.0, n - 2.6), (1.0, n - 2.6)]), seam, 0.45, 0.5)
    else:
        yield Detail(np.array([(0.05 * side, 26.0), (0.0, n)]), seam, 0.5, 0.3)
