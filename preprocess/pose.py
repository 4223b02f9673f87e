"""People from pose keypoints: the host's POSE_KEYPOINT frames, OpenPose JSON (18 or 25 body points) and face-mesh landmarks.

Left and right are the person's own. Points are (x, y) in pixels of the picture; a missing point is None, a missing group too.
"""

import json
from dataclasses import dataclass, field

import numpy as np

COCO_18 = ("nose", "neck", "right_shoulder", "right_elbow", "right_wrist", "left_shoulder", "left_elbow", "left_wrist", "right_hip",
           "right_knee", "right_ankle", "left_hip", "left_knee", "left_ankle", "right_eye", "left_eye", "right_ear", "left_ear")
BODY_25 = (*COCO_18[:8], "mid_hip", *COCO_18[8:], *("",) * 6)
FINGERS = {"thumb": (2, 3), "index": (5, 6), "middle": (9, 10), "ring": (13, 14), "little": (17, 18)}   # knuckle, next joint of 21


@dataclass(frozen=True)
class Person:
    """Body points by name, hands (21,2) by side with NaN where missing, and the face mesh (478,2) where one was given."""

    body: dict[str, np.ndarray] = field(default_factory=dict)
    hands: dict[str, np.ndarray] = field(default_factory=dict)
    mesh: np.ndarray | None = None

    def __getitem__(self, name: str) -> np.ndarray | None:
        """A body point, None where it was not found."""
        return self.body.get(name)

    def has(self, *names: str) -> bool:
        """Whether all the named body points were found."""
        return all(name in self.body for name in names)

    @property
    def unit(self) -> float:
        """The width between the shoulder joints in pixels; turned bodies get it from the torso's length. 0 when unknown."""
        across = along = 0.0
        if self.has("left_shoulder", "right_shoulder"):
            across = float(np.hypot(*(self["left_shoulder"] - self["right_shoulder"])))
        hips = [self[name] for name in ("left_hip", "right_hip") if self.has(name)]
        if hips and self.has("neck"):
            along = 0.6 * float(np.hypot(*(np.mean(hips, 0) - self["neck"])))
        return max(across, along)


def read_pose(frames, height: int, width: int, smallest_score: float = 0.3) -> list[Person | None]:
    """The largest person of every frame, None where nobody was found.

    frames: one OpenPose dict {"people": [...], "canvas_width"?, "canvas_height"?} or a list of them. Coordinates are scaled from the
    canvas to the picture (height, width); values all below 2 are taken as fractions of it. Raises ValueError for other forms.
    """
    frames = [frames] if isinstance(frames, dict) else frames
    if not isinstance(frames, (list, tuple)) or not all(isinstance(frame, dict) and "people" in frame for frame in frames):
        raise ValueError("The pose has no list of frames with 'people'; give POSE_KEYPOINT from a pose node, or OpenPose's JSON.")
    return [_largest(frame, height, width, smallest_score) for frame in frames]


def _largest(frame: dict, height: int, width: int, smallest: float) -> Person | None:
    scale = np.array([width / (frame.get("canvas_width") or width), height / (frame.get("canvas_height") or height)])
    people = [_person(raw, scale, np.array([width, height]), smallest) for raw in frame["people"]]
    people = [person for person in people if person.body]
    return max(people, key=lambda person: float(np.ptp(np.stack(list(person.body.values())), axis=0).sum()), default=None)


def _person(raw: dict, scale: np.ndarray, size: np.ndarray, smallest: float) -> Person:
    points = _triples(raw.get("pose_keypoints_2d"), scale, size, smallest)
    names = BODY_25 if len(points) == 25 else COCO_18
    if len(points) not in (0, 18, 25):
        raise ValueError(f"The pose has {len(points)} body points, but 18 (COCO) or 25 (BODY_25) were expected.")
    body = {name: point for name, point in zip(names, points) if name and not np.isnan(point).any()}
    hands = {side: _triples(raw.get(f"hand_{side}_keypoints_2d"), scale, size, smallest) for side in ("left", "right")}
    return Person(body, {side: hand for side, hand in hands.items() if len(hand) == 21 and not np.isnan(hand).all()})


def _triples(flat, scale: np.ndarray, size: np.ndarray, smallest: float) -> np.ndarray:
    """Flat [x, y, score, ...] to points (N,2) in pixels, NaN where the score is low or the point is at or beyond the zero corner."""
    values = np.array(flat or [], float).reshape(-1, 3)
    points = values[:, :2]
    missing = (values[:, 2] < smallest) | (points < 0).any(1) | (points == 0).all(1)
    known = points[~missing]
    fractions = len(known) and known.max() < 2
    return np.where(missing[:, None], np.nan, points * (size if fractions else scale))


def read_mesh(landmarks: dict, height: int, width: int) -> list[Person | None]:
    """The largest face of every frame of the host's FACE_LANDMARKS as a Person with a mesh, None where no face was found."""
    if not isinstance(landmarks, dict) or "frames" not in landmarks:
        raise ValueError("The face landmarks have no 'frames'; give FACE_LANDMARKS from the host's face landmark node.")
    rows, columns = landmarks.get("image_size", (height, width))
    meshes = []
    for faces in landmarks["frames"]:
        points = [np.asarray(face["landmarks_xy"], float) * (width / columns, height / rows) for face in faces]
        meshes.append(max(points, key=lambda mesh: float(np.ptp(mesh, axis=0).sum()), default=None))
    return [None if mesh is None else Person(mesh=mesh) for mesh in meshes]


def merged(people: list[Person | None], faces: list[Person | None]) -> list[Person | None]:
    """Bodies from read_pose with the meshes from read_mesh, picture by picture; either list may be empty or of length 1."""
    count = max(len(people), len(faces))
    if any(len(items) not in (0, 1, count) for items in (people, faces)):
        raise ValueError(f"{len(people)} poses and {len(faces)} faces do not fit together; give both for the same pictures.")
    rows = []
    for index in range(count):
        person, face = (items[index % len(items)] if items else None for items in (people, faces))
        both = person is not None and face is not None
        rows.append(Person(person.body, person.hands, face.mesh) if both else person or face)
    return rows


def find_people(pose, pose_json: str, face, height: int, width: int) -> list[Person | None]:
    """People from whatever is at hand: keypoint frames, else their JSON text, and face landmarks; [] where nothing is given.

    Raises ValueError for text that is no JSON, and as read_pose and read_mesh do.
    """
    if pose is None and pose_json.strip():
        try:
            pose = json.loads(pose_json)
        except ValueError as error:
            raise ValueError(f"The pose text is not JSON ({error}); give OpenPose's JSON, {{\"people\": [...]}}, or leave it empty.") from error
    people = [] if pose is None else read_pose(pose, height, width)
    return merged(people, [] if face is None else read_mesh(face, height, width))
