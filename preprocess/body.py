"""Where torso, sleeves, legs, hands and head lie, drawn from pose keypoints as bool regions (H,W).

Widths are shares of the distance between the shoulder joints, generous enough to hide a loose garment's outline; they were set by
eye on photographs. A limb that runs out of the picture is followed to where it leaves.
"""

import numpy as np

from .pose import Person
from .shapes import capsule, ellipse, grow, hull, polygon

SIDES = ("left", "right")
UPPER_ARM, FOREARM, WRIST = 0.26, 0.22, 0.17      # half-widths, shares of the shoulder distance
THIGH, KNEE, ANKLE = 0.36, 0.26, 0.2
HAND_LENGTH = 0.75                                # of the forearm's length
SHORT_SLEEVE = 1.1                                # of the upper arm's length: a short sleeve may end just below the elbow


def torso(person: Person, size: tuple[int, int]) -> np.ndarray:
    """From the neck's base to below the hips, shoulders included; down to the picture's edge where the hips are not seen."""
    if not person.has("left_shoulder", "right_shoulder"):
        return np.zeros(size, bool)
    left, right, unit = person["left_shoulder"], person["right_shoulder"], person.unit
    middle, down = (left + right) / 2, down_axis(person)
    across = (left - right) / max(float(np.hypot(*(left - right))), 1e-6)
    hips = [person[f"{side}_hip"] if person.has(f"{side}_hip") else shoulder * 0.8 + middle * 0.2 + down * 1.6 * unit
            for side, shoulder in (("left", left), ("right", right))]
    hem = [hip + down * 0.45 * unit + sign * across * 0.28 * unit for hip, sign in zip(hips, (1, -1))]
    hips = [hip + sign * across * 0.28 * unit for hip, sign in zip(hips, (1, -1))]
    shoulders = [left + across * 0.2 * unit, right - across * 0.2 * unit]
    region = polygon(size, hull(np.stack([*shoulders, *hips, *hem])))
    for shoulder in (left, right):
        region |= capsule(size, shoulder, middle - down * 0.16 * unit, 0.18 * unit, 0.16 * unit)
    return region


def neck(person: Person, size: tuple[int, int]) -> np.ndarray:
    """The neck from its base to under the chin."""
    if not person.has("neck", "nose"):
        return np.zeros(size, bool)
    start, end = person["neck"], person["nose"]
    return capsule(size, start, start + 0.45 * (end - start), 0.24 * person.unit, 0.18 * person.unit)


def sleeve(person: Person, side: str, length: str, size: tuple[int, int]) -> np.ndarray:
    """A `long` sleeve to the wrist or a `short` one to just below the elbow."""
    shoulder, elbow, wrist = (person[f"{side}_{joint}"] for joint in ("shoulder", "elbow", "wrist"))
    region = np.zeros(size, bool)
    if shoulder is None:
        return region
    elbow_seen = elbow is not None
    elbow = elbow if elbow_seen else shoulder + down_axis(person) * 0.9 * person.unit
    region |= capsule(size, shoulder, shoulder + SHORT_SLEEVE * (elbow - shoulder), UPPER_ARM * person.unit, FOREARM * person.unit)
    if length == "long" and elbow_seen:
        end = wrist if wrist is not None else elbow + 0.85 * (elbow - shoulder)
        region |= capsule(size, elbow, end, FOREARM * person.unit, WRIST * person.unit)
    return region


def legs(person: Person, size: tuple[int, int]) -> np.ndarray:
    """Hips to ankles with the space between, as a skirt or wide trousers fill it."""
    unit, down, outline, region = person.unit, down_axis(person), [], np.zeros(size, bool)
    for side in SIDES:
        hip, knee, ankle = (person[f"{side}_{joint}"] for joint in ("hip", "knee", "ankle"))
        if hip is None:
            continue
        knee = knee if knee is not None else hip + down * 1.3 * unit
        ankle = ankle if ankle is not None else knee + 0.95 * (knee - hip)
        top = hip - down * 0.4 * unit
        outline += [top, knee, ankle]
        region |= capsule(size, top, hip, 0.3 * unit, THIGH * unit)
        region |= capsule(size, hip, knee, THIGH * unit, KNEE * unit) | capsule(size, knee, ankle, KNEE * unit, ANKLE * unit)
    if len(outline) > 3:
        region |= polygon(size, hull(np.stack(outline))) | capsule(size, outline[0], outline[3], 0.3 * unit)
    return region


def hand(person: Person, side: str, size: tuple[int, int]) -> np.ndarray:
    """A hand, from its 21 points where given, else as the forearm's continuation beyond the wrist."""
    points = person.hands.get(side)
    if points is not None and (~np.isnan(points).any(1)).sum() >= 3:
        seen = points[~np.isnan(points).any(1)]
        spread = float(np.hypot(*np.ptp(seen, axis=0)))
        outline = hull(seen)
        region = polygon(size, outline) if len(outline) > 2 else np.zeros(size, bool)
        return grow(region, max(2.0, 0.08 * spread))
    if not person.has(f"{side}_elbow", f"{side}_wrist"):
        return np.zeros(size, bool)
    elbow, wrist = person[f"{side}_elbow"], person[f"{side}_wrist"]
    along = wrist - elbow
    # foreshortened forearms say little about the hand's size, the shoulders do
    reach = max(float(np.hypot(*along)), 0.6 * person.unit)
    along = along / max(float(np.hypot(*along)), 1e-6)
    start = wrist + along * 0.12 * reach
    return capsule(size, start, wrist + along * HAND_LENGTH * reach, 0.24 * reach, 0.26 * reach)


def head(person: Person, size: tuple[int, int]) -> np.ndarray:
    """Face and the hair around it: an ellipse from chin to crown, set by nose, eyes and ears."""
    if not person.has("nose"):
        return np.zeros(size, bool)
    nose, unit = person["nose"], person.unit
    eyes = [person[f"{side}_eye"] for side in SIDES if person.has(f"{side}_eye")]
    ears = [person[f"{side}_ear"] for side in SIDES if person.has(f"{side}_ear")]
    half = max([0.26 * unit] + [0.62 * float(np.hypot(*(ears[0] - ears[1])))] * (len(ears) == 2))
    up = np.mean(eyes, 0) - nose if eyes else -down_axis(person)
    up = up / max(float(np.hypot(*up)), 1e-6)
    # chin 0.8 below the nose, crown and hair 1.9 above it
    return ellipse(size, nose + up * 0.55 * half, 1.35 * half, 1.1 * half, up)


def down_axis(person: Person) -> np.ndarray:
    """The unit vector from the shoulders to the hips, straight down where they are not seen."""
    if person.has("left_shoulder", "right_shoulder", "left_hip", "right_hip"):
        along = (person["left_hip"] + person["right_hip"] - person["left_shoulder"] - person["right_shoulder"]) / 2
        length = float(np.hypot(*along))
        if length > 0.3 * person.unit:
            return along / length
    return np.array([0.0, 1.0])
