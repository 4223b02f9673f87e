"""Keypoints in the forms pose nodes write."""

import numpy as np
import pytest

from fitting_room.preprocess import pose
from fitting_room.preprocess.pose import Person, merged


def flat(points: dict, names) -> list[float]:
    return [value for name in names for value in (*points.get(name, (-1, -1)), float(name in points))]


POINTS = {"nose": (50, 20), "neck": (50, 40), "left_shoulder": (70, 40), "right_shoulder": (30, 42)}


def test_both_body_layouts_and_the_canvas():
    for names in (pose.COCO_18, pose.BODY_25):
        frame = {"people": [{"pose_keypoints_2d": flat(POINTS, names)}], "canvas_width": 100, "canvas_height": 200}
        person, = pose.read_pose(frame, 400, 300)                     # picture 300 wide, 400 high: x 3, y 2
        assert set(person.body) == set(POINTS) and person["left_shoulder"].tolist() == [210, 80] and person["left_hip"] is None


def test_fractions_of_the_picture():
    points = {name: (x / 100, y / 200) for name, (x, y) in POINTS.items()}
    frame = {"people": [{"pose_keypoints_2d": flat(points, pose.COCO_18)}], "canvas_width": 100, "canvas_height": 200}
    person, = pose.read_pose(frame, 400, 300)
    assert np.allclose(person["left_shoulder"], [210, 80])


def test_the_largest_person_and_nobody():
    small = {name: (x / 4 + 5, y / 4 + 5) for name, (x, y) in POINTS.items()}
    bodies = [{"pose_keypoints_2d": flat(points, pose.COCO_18)} for points in (small, POINTS)]
    people = pose.read_pose([{"people": bodies}, {"people": []}], 200, 100)
    assert people[0]["nose"].tolist() == [50, 20] and people[1] is None


def test_low_scores_are_missing_and_hands_are_read():
    body = flat(POINTS, pose.COCO_18)
    body[2] = 0.1                                                     # the nose's score
    hand = [value for n in range(21) for value in (10 + n, 50, 0.9 if n else 0.0)]
    raw = {"pose_keypoints_2d": body, "hand_left_keypoints_2d": hand, "hand_right_keypoints_2d": None}
    person, = pose.read_pose({"people": [raw]}, 200, 100)
    assert person["nose"] is None and set(person.hands) == {"left"}
    assert np.isnan(person.hands["left"][0]).all() and person.hands["left"][5].tolist() == [15, 50]


def test_the_unit_is_the_shoulders_or_the_torso():
    turned = {"neck": (50, 40), "left_shoulder": (52, 40), "right_shoulder": (48, 40), "left_hip": (50, 100), "right_hip": (50, 100)}
    person, = pose.read_pose({"people": [{"pose_keypoints_2d": flat(turned, pose.COCO_18)}]}, 200, 100)
    assert person.unit == pytest.approx(0.6 * 60)


def test_meshes_are_scaled_and_the_largest_taken():
    mesh = np.random.default_rng(0).random((478, 2)) * 40
    found = pose.read_mesh({"frames": [[{"landmarks_xy": mesh / 3}, {"landmarks_xy": mesh}], []], "image_size": (100, 50)}, 200, 100)
    assert np.allclose(found[0].mesh, mesh * 2) and found[1] is None


def test_bodies_and_meshes_are_merged_by_picture():
    body, face = Person({"nose": np.array([1.0, 2.0])}), Person(mesh=np.zeros((478, 2)))
    rows = merged([body, None, body], [face, face, None])
    assert rows[0].mesh is face.mesh and rows[0]["nose"] is body["nose"] and rows[1] is face and rows[2] is body
    assert merged([], [face]) == [face] and len(merged([body], [face, face])) == 2
    with pytest.raises(ValueError, match="2 poses and 3 faces do not fit together"):
        merged([body] * 2, [face] * 3)


def test_other_things_get_a_sentence():
    with pytest.raises(ValueError, match="no list of frames with 'people'"):
        pose.read_pose([{"persons": []}], 10, 10)
    with pytest.raises(ValueError, match="has 17 body points, but 18 .COCO. or 25 .BODY_25. were expected"):
        pose.read_pose({"people": [{"pose_keypoints_2d": [1.0] * 51}]}, 10, 10)
    with pytest.raises(ValueError, match="face landmarks have no 'frames'"):
        pose.read_mesh([], 10, 10)


def test_people_from_whatever_is_at_hand():
    import json

    from fitting_room.preprocess.pose import find_people

    frame = {"people": [{"pose_keypoints_2d": [10.0, 20.0, 1.0] + [0.0] * 51}]}
    assert find_people(None, "", None, 50, 50) == []
    typed, given = find_people(None, json.dumps(frame), None, 50, 50), find_people(frame, "ignored", None, 50, 50)
    assert typed[0]["nose"].tolist() == given[0]["nose"].tolist() == [10.0, 20.0]
    with pytest.raises(ValueError, match="not JSON"):
        find_people(None, "nose", None, 50, 50)
