"""The rules of the "high-quality" subset, each from masks or pose to a score, a verdict and a reason.

Source: what IGR section 3.2 names (occlusion, truncation, side view, extreme proportion) without numbers. All thresholds are
UNCALIBRATED: see `curate.py`.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from .proportion import fit_plan, mask_box

PASS, HARD, REJECT, UNKNOWN = "pass", "hard", "reject", "unknown"

# (right shoulder, left shoulder, right hip, left hip) of the common keypoint layouts; right and left are the person's own
LAYOUTS = {"coco18": (2, 5, 8, 11), "body25": (2, 5, 9, 12), "coco17": (6, 5, 12, 11)}


@dataclass(frozen=True)
class CurateRules:
    """Thresholds; all uncalibrated (see the module's text). Shares are of the area or length named."""

    side_view: float = 0.45  # shoulder width / torso height below: a side view (synthetic: front 0.70, side 0.25)
    front_view: float = 0.70  # at or above: full score
    truncation_hard: float = 0.05  # share of a side of the garment's box lying on the picture's border
    truncation: float = 0.15
    occlusion: float = 0.25  # share of the garment's convex hull under arms, hair, bag, scarf
    max_parts: int = 2
    part_share: float = 0.02  # smaller components are specks
    solidity: float = 0.6  # area / area of the convex hull
    symmetry: float = 0.6  # overlap of the in-shop mask with its mirror image
    aspect: tuple[float, float] = (0.4, 3.0)  # height / width of the in-shop garment
    fill: float = 0.35  # garment height / picture height
    max_enlarge: float = 2.0  # what padding and rescaling may enlarge before detail is invented
    category: float = 0.6  # share of the garment mask that the parse calls the declared category
    keypoint: float = 0.1  # keypoints less sure than this are missing


class Rule(NamedTuple):
    """One rule's answer: measured value (nan if unknown), score 0 (worst) to 1, verdict, and the reason in words."""

    name: str
    value: float
    score: float
    verdict: str
    reason: str


def front_view(keypoints, layout: str, rules: CurateRules) -> Rule:
    """Shoulder width over torso height; a front view shows the person's right shoulder on the picture's left."""
    if layout not in LAYOUTS:
        raise ValueError(f"The keypoint layout is {layout!r}, expected one of {', '.join(LAYOUTS)}.")
    if keypoints is None:
        return _unknown("front view", "no keypoints")
    points = np.asarray(keypoints, np.float64)
    if points.ndim != 2 or points.shape[1] not in (2, 3) or len(points) <= max(LAYOUTS[layout]):
        raise ValueError(f"The keypoints have shape {points.shape}, expected ({max(LAYOUTS[layout]) + 1} or more, 2 or 3) for {layout}.")
    used = points[list(LAYOUTS[layout])]
    seen = used[:, 2] >= rules.keypoint if points.shape[1] == 3 else (used != 0).any(axis=1)  # OpenPose writes 0, 0 for missing
    if not seen.all():
        return _unknown("front view", "a shoulder or hip is missing")
    right, left, hips = used[0, :2], used[1, :2], used[2:, :2].mean(axis=0)
    height = float(np.linalg.norm((right + left) / 2 - hips))
    width = (left[0] - right[0]) / max(height, 1e-6)
    if width <= 0:
        return _answer("front view", width, 0.0, REJECT, "the person is seen from behind")
    score = _ramp(width, 0.5 * rules.side_view, rules.front_view)
    verdict = REJECT if width < rules.side_view else PASS
    return _answer("front view", width, score, verdict, f"side view: shoulders {width:.2f} of the torso")


def truncation(garment: np.ndarray, rules: CurateRules) -> Rule:
    """The largest share of the garment's box that lies on the picture's left, right or bottom border (two pixels deep)."""
    top, bottom, left, right = mask_box(garment)
    shares = {
        "bottom": garment[-2:].any(axis=0).sum() / (right - left),
        "left": garment[:, :2].any(axis=1).sum() / (bottom - top),
        "right": garment[:, -2:].any(axis=1).sum() / (bottom - top),
    }
    side, share = max(shares.items(), key=lambda item: item[1])
    verdict = REJECT if share > rules.truncation else HARD if share >= rules.truncation_hard else PASS
    score = 1.0 - _ramp(share, 0.0, 2 * rules.truncation)
    return _answer("truncation", share, score, verdict, f"cut off at the {side} ({share:.0%})")


def occlusion(garment: np.ndarray, occluders: np.ndarray | None, rules: CurateRules) -> Rule:
    """The share of the garment's convex hull under arms, hair, bags and scarfs. Some occlusion is a hard case worth keeping."""
    if occluders is None:
        return _unknown("occlusion", "no parsing")
    hull = convex_hull(garment)
    share = float((occluders & hull & ~garment).sum() / hull.sum())
    verdict = REJECT if share > rules.occlusion else HARD if share > 0.4 * rules.occlusion else PASS
    return _answer("occlusion", share, 1.0 - _ramp(share, 0.0, 2 * rules.occlusion), verdict, f"{share:.0%} of the garment is covered")


def fragments(garment: np.ndarray, occluders: np.ndarray | None, rules: CurateRules) -> Rule:
    """How whole the garment is: area over hull area (occluders filled in where known), and the number of larger parts."""
    garment, parts = without_specks(garment, rules)
    hull = convex_hull(garment)
    whole = garment if occluders is None else garment | (occluders & hull)
    solidity = float(whole.sum() / hull.sum())
    score = _ramp(solidity, 0.5 * rules.solidity, 0.85) * min(1.0, rules.max_parts / parts)
    if parts > rules.max_parts:
        return _answer("fragments", solidity, score, REJECT, f"in {parts} pieces")
    verdict = REJECT if solidity < rules.solidity else PASS
    return _answer("fragments", solidity, score, verdict, f"ragged: {solidity:.0%} of its outline filled")


def symmetry(in_shop: np.ndarray | None, rules: CurateRules) -> Rule:
    """Overlap (IoU) of the in-shop mask with its mirror image about its box's middle; low for a garment shown from the side."""
    if in_shop is None or not in_shop.any():
        return _unknown("symmetry", "no in-shop mask")
    top, bottom, left, right = mask_box(in_shop)
    crop = in_shop[top:bottom, left:right]
    value = float((crop & crop[:, ::-1]).sum() / (crop | crop[:, ::-1]).sum())
    verdict = REJECT if value < rules.symmetry else PASS
    return _answer("symmetry", value, _ramp(value, 0.5 * rules.symmetry, 0.8), verdict, f"in-shop photo lopsided ({value:.0%} symmetric)")


def proportion(in_shop: np.ndarray | None, rules: CurateRules) -> Rule:
    """How the garment sits in its product photo: extremes are padded and rescaled (`proportion.fit_plan`), hopeless ones rejected."""
    if in_shop is None or not in_shop.any():
        return _unknown("proportion", "no in-shop mask")
    top, bottom, left, right = mask_box(in_shop)
    aspect, fill = (bottom - top) / (right - left), (bottom - top) / in_shop.shape[0]
    low, high = rules.aspect
    if low <= aspect <= high and fill >= rules.fill:
        return _answer("proportion", aspect, 1.0, PASS, "")
    enlarge = fit_plan(in_shop, in_shop.shape).scale
    if enlarge > rules.max_enlarge:
        return _answer("proportion", aspect, 0.1, REJECT, f"too small in its photo: needs enlarging {enlarge:.1f} times")
    return _answer("proportion", aspect, 0.7, HARD, f"extreme proportion (height/width {aspect:.1f}, fills {fill:.0%}): pad and rescale")


def same_category(garment: np.ndarray, category: np.ndarray | None, rules: CurateRules) -> Rule:
    """The share of the garment's mask that the parse calls the declared category."""
    if category is None:
        return _unknown("category", "no parsing")
    share = float((garment & category).sum() / garment.sum())
    verdict = REJECT if share < rules.category else PASS
    return _answer("category", share, _ramp(share, 0.5 * rules.category, 0.9), verdict, f"only {share:.0%} is of the declared category")


def without_specks(mask: np.ndarray, rules: CurateRules) -> tuple[np.ndarray, int]:
    """(mask without components of at most `part_share` of the area, number of components left); a speck would stretch the hull."""
    from scipy import ndimage

    labels, _ = ndimage.label(mask, np.ones((3, 3)))
    areas = np.bincount(labels.ravel())
    areas[0] = 0
    large = areas > rules.part_share * areas.sum()
    return large[labels], int(large.sum())


def convex_hull(mask: np.ndarray) -> np.ndarray:
    """The convex hull (H,W) bool of a mask (H,W) bool with at least one pixel; pixels of the mask are always inside."""
    from PIL import Image, ImageDraw
    from scipy.spatial import ConvexHull, QhullError

    rows = np.flatnonzero(mask.any(axis=1))
    first, last = mask[rows].argmax(axis=1), mask.shape[1] - 1 - mask[rows][:, ::-1].argmax(axis=1)
    edge = np.concatenate((np.stack((first, rows), 1), np.stack((last, rows), 1)))
    try:
        edge = edge[ConvexHull(edge).vertices]
    except (QhullError, ValueError):
        return mask.copy()  # a line of pixels is its own hull
    picture = Image.new("1", mask.shape[::-1])
    ImageDraw.Draw(picture).polygon([tuple(point) for point in edge.tolist()], fill=1)
    return np.asarray(picture) | mask


def _answer(name, value, score, verdict, reason):
    return Rule(name, float(value), score, verdict, "" if verdict == PASS else reason)


def _ramp(value, zero, one):
    return float(np.clip((value - zero) / (one - zero), 0.0, 1.0))


def _unknown(name, why):
    return Rule(name, math.nan, math.nan, UNKNOWN, why)
