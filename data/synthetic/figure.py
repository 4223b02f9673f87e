"""The body: proportions and pose drawn from a generator, the maps that put cloth on it, keypoints and the DensePose-like part map.

Units: the figure stands in 96 x 128 units, seen from the front and cut off at the knees; (0, 0) of the trunk's frame is the middle
of the shoulder line. Left and right are the person's own: the left arm is on the right of the picture, side +1.
"""

from __future__ import annotations

import colorsys
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from .canvas import Canvas
from .curves import Column, Frame, Limb, Placed, bent_axis, smooth
from .palette import HAIR, SKIN

ARM_POSES = ("down", "down", "relaxed", "hip", "across", "wave", "open")
HEADS = ("short", "bob", "long", "bun", "ponytail", "afro", "wavy", "crop")
KEYPOINTS = (
    "nose", "neck", "right_shoulder", "right_elbow", "right_wrist", "left_shoulder", "left_elbow", "left_wrist", "right_hip", "right_knee",
    "right_ankle", "left_hip", "left_knee", "left_ankle", "right_eye", "left_eye", "right_ear", "left_ear",
)
"""Order of `Body.keypoints`: COCO's 18 points as OpenPose writes them."""

DENSEPOSE = np.array([
    (53, 42, 135), (37, 60, 163), (20, 80, 194), (4, 97, 223), (8, 110, 221), (14, 122, 216), (20, 132, 212), (15, 144, 208), (11, 156, 203),
    (6, 166, 198), (22, 173, 185), (38, 179, 172), (55, 185, 159), (86, 187, 144), (114, 189, 130), (145, 191, 116), (170, 189, 105),
    (192, 188, 96), (216, 186, 86), (228, 192, 74), (240, 199, 60), (252, 206, 46), (251, 220, 36), (250, 235, 25), (249, 251, 14)], np.uint8)
"""Colours of DensePose's 24 parts as its fine segmentation is drawn (and VITON-HD stores it); row 0, the background, is drawn black."""


@dataclass(frozen=True)
class Look:
    """Who it is: skin and hair colours, hair style, glasses, beard, eyes, and the widths of the body in units."""

    skin: np.ndarray
    hair: np.ndarray
    style: str
    glasses: bool
    beard: bool
    lips: float
    shoulder: float
    bust: float
    waist: float
    hip: float
    limb: float
    eyes: np.ndarray


def draw_look(rng: np.random.Generator, styles: tuple[str, ...] = HEADS) -> Look:
    """A person drawn from a generator; `styles` limits the hair."""
    skin = int(rng.integers(len(SKIN)))
    hair = HAIR[rng.choice(len(HAIR), p=[0.26, 0.24, 0.16, 0.12, 0.1, 0.05, 0.07] if skin < 3 else [0.55, 0.3, 0.07, 0.01, 0.02, 0.04, 0.01])]
    broad = rng.random()  # 0 slender and curved, 1 broad and straight
    weight = rng.normal(0, 1.0)
    style = str(rng.choice(styles))
    eyes = [(74, 48, 36), (60, 84, 60), (58, 88, 130), (52, 38, 34)][int(rng.choice(4, p=[0.4, 0.15, 0.2, 0.25]))]
    return Look(
        SKIN[skin], hair, style, bool(rng.random() < 0.14), bool(style in ("short", "crop") and broad > 0.45 and rng.random() < 0.5),
        float(rng.uniform(0.2, 1.0) * (style not in ("short", "crop"))), 15.0 + 2.2 * broad + 0.5 * weight, 13.6 + 1.6 * broad + 0.9 * weight,
        10.8 + 2.6 * broad + 1.2 * weight, 14.8 - 1.0 * broad + 0.9 * weight, 1 + 0.06 * weight + 0.06 * broad,
        np.array(eyes, np.float32) / 255,
    )


@dataclass(frozen=True)
class Body:
    """A posed body. `arms` and `legs` are limbs in canvas units, right first; `hands` are frames at the wrists, fingers along +y."""

    look: Look
    trunk: Frame
    head: Frame
    sway: float
    arms: tuple[Limb, Limb]
    joints: tuple[np.ndarray, np.ndarray]
    hands: tuple[Frame, Frame]
    legs: tuple[Limb, Limb]
    poses: tuple[str, str]

    def half_width(self, t):
        """Half the trunk's width in units at height t below the shoulders."""
        k = self.look
        return np.interp(t, [0, 6, 13, 20, 29, 37, 44, 52], [k.shoulder + 1.2, k.shoulder + 1.0, k.bust + 0.7, k.bust - 0.2, k.waist, (k.waist + k.hip) / 2 + 0.6, k.hip, k.hip + 0.3])

    def middle(self, t):
        """Where the trunk's middle lies at height t: the hips may be pushed to a side."""
        return self.sway * np.interp(t, [0, 14, 30, 44, 60, 92], [0, 0.1, 0.6, 1.0, 0.8, 0.3])

    def column(self, top: float, levels, half, ease: float = 0.0, wrap: float = 0.72) -> Placed:
        """The map of a piece that hangs from height `top`, with half widths `half` at `levels` below it."""
        levels = np.asarray(levels, float)
        middle, half = self.middle(levels + top), np.asarray(half, float) + ease
        return Placed(Column(levels, middle - half, middle + half, wrap), self.trunk.inner(0, top))

    def leg_column(self, side: int, top: float, outer, inner, levels) -> Placed:
        """The map of one trouser leg; `outer` and `inner` are distances from the middle at `levels` below `top`."""
        levels = np.asarray(levels, float)
        middle = self.middle(levels + top)
        low, high = (-np.asarray(outer), -np.asarray(inner)) if side < 0 else (np.asarray(inner), np.asarray(outer))
        return Placed(Column(levels, middle + low, middle + high, 0.5), self.trunk.inner(0, top))

    def torso(self, grow: float = 0.0) -> np.ndarray:
        """The outline of neck and trunk in canvas units."""
        k = self.look
        t = np.array([13.0, 20, 29, 37, 44, 52])
        right = np.concatenate([[(4.1, -8.0), (4.5, -2.6), (7.5, -0.2), (k.shoulder - 3, 1.8), (k.shoulder + 0.4, 4.6), (k.shoulder + 0.2, 9.0)],
                                np.stack([self.half_width(t) - (t > 30) * 0.9, t], -1)])  # never wider than what is worn over it
        right[:, 0] += grow
        both = np.concatenate([right, (right * (-1, 1))[::-1]])
        both[:, 0] += self.middle(both[:, 1])
        return self.trunk(smooth(both, 5))

    @property
    def keypoints(self) -> np.ndarray:
        """(18,2) in canvas units, in the order of `KEYPOINTS`; knees and ankles may lie below the picture."""
        head, trunk = self.head, self.trunk
        right, left = self.joints
        legs = [leg.forward(0, np.array([0.0, leg.length[-1] * 0.53, leg.length[-1]])) for leg in self.legs]
        face = head(np.array([(0, 2.6), (-3.4, -0.6), (3.4, -0.6), (-8.4, 0.8), (8.4, 0.8)]))
        return np.stack([face[0], trunk(np.array([0, 0.5])), *right, *left, *legs[0], *legs[1], *face[1:]])


def draw_body(rng: np.random.Generator, look: Look, poses: tuple[str, str] | None = None, room: float = 1.0) -> Body:
    """A pose drawn from a generator; `poses` names the right and the left arm's (see `ARM_POSES`)."""
    k = rng.uniform(0.95, 1.04) * room
    lean = rng.normal(0, 0.022)
    trunk = Frame(48 + rng.uniform(-3, 3), rng.uniform(38, 40.5) + (1 - k) * 30, lean, k)
    poses = poses or (str(rng.choice(ARM_POSES)), str(rng.choice(ARM_POSES)))
    if poses == ("across", "across") or poses == ("wave", "wave"):
        poses = (poses[0], "down")
    made = [_arm(rng, look, trunk, side, pose) for side, pose in zip((-1, 1), poses, strict=True)]
    sway = rng.normal(0, 1.3)
    legs = tuple(_leg(look, trunk, side, sway, rng.uniform(0, 1.8)) for side in (-1, 1))
    head = trunk.inner(rng.normal(0, 0.35), -16.6, rng.normal(0, 0.06))
    return Body(look, trunk, head, sway, tuple(m[0] for m in made), tuple(m[1] for m in made), tuple(m[2] for m in made), legs, poses)


def _arm(rng, look: Look, trunk: Frame, side: int, pose: str):
    upper, lower = {
        "down": (rng.uniform(0.14, 0.26), rng.uniform(-0.05, 0.12)), "relaxed": (rng.uniform(0.24, 0.4), rng.uniform(-0.25, 0.05)),
        "hip": (rng.uniform(0.66, 0.8), rng.uniform(-0.92, -0.78)), "across": (rng.uniform(0.1, 0.25), rng.uniform(-1.5, -1.2)),
        "wave": (rng.uniform(0.55, 0.8), rng.uniform(2.5, 2.85)), "open": (rng.uniform(0.4, 0.6), rng.uniform(0.6, 0.95)),
    }[pose]
    way = lambda angle: np.array([side * np.sin(angle), np.cos(angle)])
    shoulder = np.array([side * (look.shoulder - 2.6), 6.2])
    elbow = shoulder + 21.5 * way(upper)
    wrist = elbow + 19.0 * way(lower)
    axis = trunk(bent_axis(shoulder, elbow, wrist))
    along = np.linspace(0, 1, len(axis))
    radii = np.interp(along, [0, 0.2, 0.5, 0.65, 1], [4.5, 4.4, 3.6, 3.5, 2.5]) * look.limb * trunk.scale
    toward = wrist - elbow
    hand = trunk.inner(*wrist, np.arctan2(-toward[0], toward[1]), 1.0, 1)
    return Limb(axis, radii), trunk(np.stack([shoulder, elbow, wrist])), hand


def _leg(look: Look, trunk: Frame, side: int, sway: float, stance: float) -> Limb:
    hip = np.array([side * look.hip * 0.52 + sway, 46.0])
    knee = np.array([side * (look.hip * 0.5 + stance * 0.5) + sway * 0.6, 86.0])
    ankle = np.array([side * (look.hip * 0.46 + stance) + sway * 0.2, 122.0])
    axis = trunk(smooth([hip, knee, ankle], 8, closed=False))
    along = np.linspace(0, 1, len(axis))
    radii = np.interp(along, [0, 0.25, 0.53, 0.68, 1], [look.hip * 0.47, 7.2, 5.6, 5.7, 3.4]) * trunk.scale
    return Limb(axis, radii)


def densepose_labels(canvas: Canvas, body: Body) -> np.ndarray:
    """DensePose part numbers (H,W) uint8 of the bare body, 0 = background: what lies beneath the clothes."""
    board = Image.new("L", (canvas.width, canvas.height))
    draw = ImageDraw.Draw(board)

    def fill(label: int, *polygons) -> None:
        for p in polygons:
            draw.polygon([(float(x), float(y)) for x, y in canvas.pixels(p) - 0.5], fill=label)

    for leg, upper, lower in zip(body.legs, (7, 8), (11, 12), strict=True):
        knee = int(0.53 * (len(leg.points) - 1))
        fill(lower, *_part(leg, knee, len(leg.points)))
        fill(upper, *_part(leg, 0, knee + 1))
    fill(2, body.torso())
    ring = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    half = ring[:20] + np.pi / 2
    for label, angles in ((24, ring), (23, half)):
        fill(label, body.head(np.stack([8.2 * np.cos(angles), -1.5 + 11.6 * np.sin(angles)], -1)))
    for arm, hand, labels in zip(body.arms, body.hands, ((16, 20, 3), (15, 19, 4)), strict=True):
        elbow = len(arm.points) // 2
        fill(labels[1], *_part(arm, elbow, len(arm.points)))
        fill(labels[0], *_part(arm, 0, elbow + 1))
        fill(labels[2], hand(np.stack([3.4 * np.cos(ring), 4.0 + 5.2 * np.sin(ring)], -1)))
    return np.asarray(board)


def _part(limb: Limb, start: int, stop: int) -> list[np.ndarray]:
    return Limb(limb.points[start:stop], limb.radii[start:stop]).outline()


def densepose_picture(labels: np.ndarray) -> np.ndarray:
    """The part numbers in DensePose's colours on black, (H,W,3) float32 0..1."""
    colours = DENSEPOSE.copy()
    colours[0] = 0
    return colours[labels].astype(np.float32) / 255


BONES = ((1, 2), (1, 5), (2, 3), (3, 4), (5, 6), (6, 7), (1, 8), (8, 9), (9, 10), (1, 11), (11, 12), (12, 13), (1, 0), (0, 14), (14, 16), (0, 15), (15, 17))
"""Pairs of `KEYPOINTS` that are joined in a skeleton picture."""


def skeleton_picture(points: np.ndarray, height: int, width: int) -> np.ndarray:
    """Keypoints (18,2) in pixels as a coloured skeleton on black, the way pose ControlNets read it; (H,W,3) float32 0..1."""
    board = Image.new("RGB", (2 * width, 2 * height))
    draw = ImageDraw.Draw(board)
    thick = max(2.0, min(width / 96, height / 128) * 1.9)
    hues = [colorsys.hsv_to_rgb(i / 18, 1.0, 1.0) for i in range(18)]
    tone = lambda i, light: tuple(int(255 * light * c) for c in hues[i])
    for i, (a, b) in enumerate(BONES):
        line = [(2 * float(x) + 1, 2 * float(y) + 1) for x, y in (points[a], points[b])]
        draw.line(line, fill=tone(i, 0.6), width=round(2 * thick))
    for i, (x, y) in enumerate(points):
        draw.ellipse([2 * x + 1 - thick, 2 * y + 1 - thick, 2 * x + 1 + thick, 2 * y + 1 + thick], fill=tone(i, 1.0))
    return np.asarray(board.reduce(2), np.float32) / 255
