"""Where jewelry goes on a person: anchors and the scale in mm, from clicked points, pose keypoints or a face mesh.

The distance between the pupils is 63 mm (adult mean), the palm from the wrist to the middle finger's knuckle 92 mm; a scale given
by the user comes first. A neck is 118 mm broad. How high neck and lobes sit was set
by eye; every anchor can be replaced by clicked points. Left and right are the wearer's own.
"""

import math

import numpy as np

from .body import SIDES, down_axis
from .jewelry import DEFAULTS, FORMS, TYPES, JewelryState
from .pose import FINGERS, Person

PUPILS_MM = 63.0
PALM_MM = 92.0
NECK_MM = 118.0   # breadth
# face-mesh vertices: forehead and chin, the jaw's edge below each ear, eye corners (right eye, left eye)
FOREHEAD, CHIN = 10, 152
LOBES = {"right": 132, "left": 361}
EYES = ((33, 133), (362, 263))
MANUAL = {
    "necklace": "click two points, one on each side of the neck",
    "earring": "click one point on each visible ear lobe",
    "ring": "click two points, the two edges of the finger where the ring sits",
    "bracelet": "click two points, the two edges of the wrist where the bracelet sits",
}


def place(type: str, height: int, width: int, points=(), person: Person | None = None, mm_per_px: float = 0.0, side: str = "both",
          form: str = "drop", finger: str = "ring", length_mm: float = 0.0, drop_mm: float = -1.0, width_mm: float = 0.0,
          tilt_deg: float = 0.0, hidden_mm: float = -1.0, seed: int = 0, styles: dict[str, float] | None = None) -> JewelryState:
    """A JEWELRY_STATE for a picture of height x width.

    points (x, y): clicked anchors, which replace what the person's keypoints say. mm_per_px 0 takes it from the person. length_mm,
    width_mm 0 and drop_mm -1 take the type's usual size. A necklace's length is its whole length as sold; hidden_mm of it lie
    behind the neck, -1 meaning half of a round neck between the anchors, 0 that the whole length hangs in front.
    Raises ValueError, naming the points to click or the scale to give, when the person does not show enough.
    """
    if type not in TYPES:
        raise ValueError(f"Jewelry type '{type}' is not known; choose one of {', '.join(TYPES)}.")
    if type == "earring" and form not in FORMS:
        raise ValueError(f"The earring form '{form}' is not known; choose one of {', '.join(FORMS)}.")
    usual = DEFAULTS[form if type == "earring" else type]
    scale = mm_per_px or (mm_per_pixel(person, type) if person else 0.0)
    if len(points):
        anchors = _clicked(type, points, height, width)
        if type in ("ring", "bracelet"):
            across = float(np.hypot(*(anchors[1] - anchors[0])))
            length_mm = length_mm or (across * scale if scale else usual["length_mm"])
            scale = scale or length_mm / max(across, 1e-6)
    else:
        _need_scale(scale, type, person)
        anchors = _found(type, person, side, finger, length_mm or usual["length_mm"], scale)
    _need_scale(scale, type, person)
    if type == "necklace" and hidden_mm < 0:
        apart = float(np.hypot(*(anchors[1] - anchors[0]))) * scale
        # a tight one on anchors clicked far apart keeps enough in front to reach across
        hidden_mm = min(math.pi / 2 * apart, (length_mm or usual["length_mm"]) - 1.05 * apart)
    return JewelryState(
        type=type, height=height, width=width, mm_per_px=float(scale), anchors=tuple((float(x), float(y)) for x, y in anchors), side=side,
        form=form, length_mm=float(length_mm or usual["length_mm"]), hidden_mm=max(float(hidden_mm), 0.0),
        drop_mm=float(drop_mm if drop_mm >= 0 else usual["drop_mm"]), width_mm=float(width_mm or usual["width_mm"]),
        tilt_deg=float(tilt_deg), styles=tuple((styles or {}).items()), seed=int(seed))


def mm_per_pixel(person: Person, type: str = "necklace") -> float:
    """The scale at the person: from the pupils, for rings and bracelets first from the palm; 0 when neither is seen."""
    measures = [_apart(person, PUPILS_MM), *(_palm(person, side) for side in SIDES)]
    if type in ("ring", "bracelet"):
        measures = measures[1:] + measures[:1]
    return next((measure for measure in measures if measure > 0), 0.0)


def _apart(person: Person, mm: float) -> float:
    if person.mesh is not None:
        right, left = (person.mesh[list(corners)].mean(0) for corners in EYES)
    elif person.has("left_eye", "right_eye"):
        right, left = person["right_eye"], person["left_eye"]
    else:
        return 0.0
    distance = float(np.hypot(*(left - right)))
    return mm / distance if distance > 1 else 0.0


def _palm(person: Person, side: str) -> float:
    hand = person.hands.get(side)
    distance = 0.0 if hand is None else float(np.hypot(*(hand[9] - hand[0])))
    return PALM_MM / distance if distance > 1 else 0.0   # NaN compares false


def _need_scale(scale: float, type: str, person: Person | None) -> None:
    if scale > 0:
        return
    seen = "no pose or face was given" if person is None else "neither both eyes nor a palm are seen"
    raise ValueError(f"The {type} cannot be sized because {seen}; give mm_per_px, for instance 63 divided by the pixels between the "
                     f"pupils.")


def _clicked(type: str, points, height: int, width: int) -> np.ndarray:
    wanted = (1, 2) if type == "earring" else (2,)
    if len(points) not in wanted:
        raise ValueError(f"{len(points)} points were given for a {type}; {MANUAL[type]}.")
    anchors = np.array([point[:2] for point in points], float)
    for x, y in anchors:
        if not (0 <= x < width and 0 <= y < height):
            raise ValueError(f"The point ({x:g}, {y:g}) lies outside the {width}x{height} picture; give pixels of this picture.")
    if len(anchors) == 2 and np.hypot(*(anchors[1] - anchors[0])) < 1:
        raise ValueError(f"Both points for the {type} lie on the same spot; {MANUAL[type]}.")
    return anchors


def _found(type: str, person: Person | None, side: str, finger: str, length_mm: float, scale: float) -> np.ndarray:
    anchors = None
    if person is not None:
        finders = {
            "necklace": lambda: _neck(person, NECK_MM / scale),
            "earring": lambda: _lobes(person, side, scale),
            "ring": lambda: _finger(person, side, finger, length_mm / scale),
            "bracelet": lambda: _wrist(person, side, length_mm, scale),
        }
        anchors = finders[type]()
    if anchors is None:
        raise ValueError(f"No landmarks to place a {type} were found; {MANUAL[type]}.")
    return anchors


def _neck(person: Person, breadth: float) -> np.ndarray | None:
    """The neck's two sides at its base, `breadth` pixels apart, the wearer's right first."""
    if person.has("left_shoulder", "right_shoulder"):
        left, right = person["left_shoulder"], person["right_shoulder"]
        across = (left - right) / max(float(np.hypot(*(left - right))), 1e-6)
        middle = (left + right) / 2 - down_axis(person) * 0.14 * person.unit
    elif person.mesh is not None:
        face = person.mesh[CHIN] - person.mesh[FOREHEAD]
        across = np.array([face[1], -face[0]]) / max(float(np.hypot(*face)), 1e-6)
        middle = person.mesh[CHIN] + 0.3 * face
    else:
        return None
    return np.stack([middle - across * breadth / 2, middle + across * breadth / 2])


def _lobes(person: Person, side: str, scale: float) -> np.ndarray | None:
    """The visible lobes of the wished sides, the right one first."""
    wished = [name for name in ("right", "left") if side in (name, "both")]
    if person.mesh is not None:
        centre = (person.mesh[LOBES["right"]] + person.mesh[LOBES["left"]]) / 2
        # the mesh ends before the ear, the lobe lies a little farther out
        return np.stack([centre + 1.04 * (person.mesh[LOBES[name]] - centre) for name in wished])
    down = np.array([0.0, 1.0])
    if person.has("left_eye", "right_eye"):
        line = person["left_eye"] - person["right_eye"]
        down = np.array([-line[1], line[0]]) / max(float(np.hypot(*line)), 1e-6)
    lobes = [person[f"{name}_ear"] + down * 25 / scale for name in wished if person.has(f"{name}_ear")]
    return np.stack(lobes) if lobes else None


def _finger(person: Person, side: str, finger: str, across: float) -> np.ndarray | None:
    """The two edges of the finger halfway between its knuckle and the next joint, `across` pixels apart."""
    if finger not in FINGERS:
        raise ValueError(f"Finger '{finger}' is not known; choose one of {', '.join(FINGERS)}.")
    for name in SIDES if side == "both" else (side,):
        hand = person.hands.get(name)
        if hand is not None and not np.isnan(hand[list(FINGERS[finger])]).any():
            knuckle, joint = hand[list(FINGERS[finger])]
            return _edges((knuckle + joint) / 2, joint - knuckle, across)
    return None


def _wrist(person: Person, side: str, length_mm: float, scale: float) -> np.ndarray | None:
    """The two edges of the wrist 15 mm above the hand."""
    for name in SIDES if side == "both" else (side,):
        hand = person.hands.get(name)
        if person.has(f"{name}_wrist", f"{name}_elbow"):
            wrist, axis = person[f"{name}_wrist"], person[f"{name}_wrist"] - person[f"{name}_elbow"]
        elif hand is not None and not np.isnan(hand[[0, 9]]).any():
            wrist, axis = hand[0], hand[9] - hand[0]
        else:
            continue
        return _edges(wrist - axis / max(float(np.hypot(*axis)), 1e-6) * 15 / scale, axis, length_mm / scale)
    return None


def _edges(middle: np.ndarray, axis: np.ndarray, across: float) -> np.ndarray:
    """Two points `across` apart, at right angles to the axis through the middle."""
    axis = axis / max(float(np.hypot(*axis)), 1e-6)
    side = np.array([-axis[1], axis[0]]) * across / 2
    return np.stack([middle - side, middle + side])
