"""Anchors and scale from points, keypoints and face meshes."""

import math

import numpy as np
import pytest

from fitting_room.preprocess import placement
from fitting_room.preprocess.catenary import arc_length
from fitting_room.preprocess.jewelry_draw import draw, necklace_curve
from fitting_room.preprocess.placement import place
from fitting_room.preprocess.pose import Person

# the astronaut of skimage.data (512x512), read off by eye
ASTRONAUT = {"nose": (228, 137), "neck": (210, 284), "right_shoulder": (95, 288), "left_shoulder": (325, 280), "right_eye": (206, 113),
             "left_eye": (243, 113), "right_ear": (186, 128), "left_ear": (268, 128), "right_elbow": (60, 430), "right_wrist": (150, 480)}
PERSON = Person({name: np.array(point, float) for name, point in ASTRONAUT.items()})
SCALE = 63 / 37                                                     # mm per pixel: the eyes are 37 px apart


def hand() -> np.ndarray:
    points = np.zeros((21, 2))
    points[0], points[9] = (200, 400), (200, 308)                   # wrist and middle knuckle 92 px apart: 1 mm per px
    points[[13, 14]] = (180, 310), (176, 270)
    return points


def mirrored(person: Person) -> Person:
    swap = {"left": "right", "right": "left"}
    body = {"_".join(swap.get(word, word) for word in name.split("_")): (511, 0) + point * (-1, 1) for name, point in person.body.items()}
    return Person(body, {swap[side]: (511, 0) + points * (-1, 1) for side, points in person.hands.items()})


def test_the_scale_comes_from_the_pupils_the_palm_or_the_user():
    assert placement.mm_per_pixel(PERSON) == pytest.approx(SCALE)
    both = Person(PERSON.body, {"left": hand()})
    assert placement.mm_per_pixel(both, "ring") == pytest.approx(1) and placement.mm_per_pixel(both) == pytest.approx(SCALE)
    assert place("necklace", 512, 512, person=PERSON, mm_per_px=1.5).mm_per_px == 1.5


@pytest.mark.parametrize("length", [360, 450, 550, 750])
def test_a_necklace_goes_round_the_neck(length):
    state = place("necklace", 512, 512, person=PERSON, length_mm=length)
    (ax, ay), (bx, by) = state.anchors
    assert math.hypot(bx - ax, by - ay) == pytest.approx(118 / SCALE)
    assert state.hidden_mm == pytest.approx(math.pi / 2 * 118)
    assert abs(arc_length(necklace_curve(state)) - (length - state.hidden_mm) / SCALE) < 1
    literal = place("necklace", 512, 512, person=PERSON, length_mm=length, hidden_mm=0)
    assert abs(arc_length(necklace_curve(literal)) - length / SCALE) < 1


def test_a_choker_on_wide_clicks_still_reaches():
    state = place("necklace", 512, 512, points=[(100, 200), (300, 200)], mm_per_px=1.0, length_mm=360)
    assert abs(arc_length(necklace_curve(state)) - 210) < 1         # 1.05 times the 200 mm between the clicks


def test_earrings_hang_below_the_ears():
    state = place("earring", 512, 512, person=PERSON)
    assert np.allclose(state.anchors, [(186, 128 + 25 / SCALE), (268, 128 + 25 / SCALE)])
    left = place("earring", 512, 512, person=PERSON, side="left", form="hoop")
    assert len(left.anchors) == 1 and left.anchors[0][0] == 268 and left.width_mm == 30
    profile = Person({name: point for name, point in PERSON.body.items() if name != "left_ear"})
    assert len(place("earring", 512, 512, person=profile).anchors) == 1                # the visible one


def test_a_face_mesh_gives_lobes_and_neck():
    mesh = np.full((478, 2), 200.0)
    mesh[[10, 152]] = (200, 100), (200, 240)
    mesh[[132, 361]] = (150, 190), (250, 190)
    mesh[[33, 133]], mesh[[362, 263]] = [(165, 150), (175, 150)], [(225, 150), (235, 150)]     # eye centres 60 px apart
    face = Person(mesh=mesh)
    state = place("earring", 512, 512, person=face)
    assert state.mm_per_px == pytest.approx(63 / 60) and np.allclose(state.anchors, [(148, 190), (252, 190)])
    neck = place("necklace", 512, 512, person=face)
    assert np.allclose(np.mean(neck.anchors, 0), (200, 240 + 0.3 * 140)) and neck.anchors[0][0] < 200 < neck.anchors[1][0]


def test_a_ring_sits_across_the_finger():
    person = Person({}, {"left": hand()})
    state = place("ring", 512, 512, person=person)
    (ax, ay), (bx, by) = state.anchors
    assert np.allclose(np.mean(state.anchors, 0), (178, 290)) and math.hypot(bx - ax, by - ay) == pytest.approx(19)
    assert abs((bx - ax) * (176 - 180) + (by - ay) * (270 - 310)) < 1e-6                # at right angles to the finger
    assert draw(state).mask.sum() == pytest.approx(19 * 6, rel=0.35)
    with pytest.raises(ValueError, match="Finger 'toe' is not known; choose one of thumb, index"):
        place("ring", 512, 512, person=person, finger="toe")


def test_a_bracelet_sits_on_the_wrist():
    state = place("bracelet", 512, 512, person=PERSON, side="right")
    middle = np.mean(state.anchors, 0)
    wrist, elbow = PERSON["right_wrist"], PERSON["right_elbow"]
    assert np.allclose(np.hypot(*(middle - wrist)), 15 / SCALE) and np.hypot(*(middle - elbow)) < np.hypot(*(wrist - elbow))


def test_two_clicks_on_the_edges_size_a_ring():
    state = place("ring", 512, 512, points=[(100, 400), (130, 440)])               # 50 px apart, 19 mm
    assert state.mm_per_px == pytest.approx(19 / 50) and state.length_mm == 19
    known = place("ring", 512, 512, points=[(100, 400), (130, 440)], mm_per_px=0.4)
    assert known.length_mm == pytest.approx(20) and known.mm_per_px == 0.4


@pytest.mark.parametrize("type, options", [
    ("necklace", {}), ("necklace", {"drop_mm": 20}), ("earring", {"form": "hoop"}), ("earring", {}), ("bracelet", {})])
def test_a_flipped_person_gives_the_flipped_mask(type, options):
    mask = draw(place(type, 512, 512, person=PERSON, **options)).mask
    assert bool((draw(place(type, 512, 512, person=mirrored(PERSON), **options)).mask == mask.flip(-1)).all())


@pytest.mark.parametrize("type, options, sentence", [
    ("necklace", {}, "cannot be sized because no pose or face was given; give mm_per_px"),
    ("necklace", {"mm_per_px": 1.0}, "No landmarks to place a necklace were found; click two points, one on each side of the neck"),
    ("earring", {"person": Person({"left_eye": np.array([1., 2]), "right_eye": np.array([30., 2])})}, "one point on each visible ear"),
    ("ring", {"person": PERSON}, "click two points, the two edges of the finger"),
    ("bracelet", {"person": PERSON, "side": "left"}, "click two points, the two edges of the wrist"),
    ("necklace", {"points": [(10, 10), (60, 10)]}, "give mm_per_px, for instance 63 divided by the pixels between the pupils"),
    ("necklace", {"points": [(10, 10)], "mm_per_px": 1}, "1 points were given for a necklace; click two points"),
    ("necklace", {"points": [(10, 10), (600, 10)], "mm_per_px": 1}, r"\(600, 10\) lies outside the 512x512 picture"),
    ("ring", {"points": [(10, 10), (10, 10)]}, "lie on the same spot"),
    ("crown", {}, "Jewelry type 'crown' is not known; choose one of necklace"),
    ("earring", {"points": [(10, 10)], "mm_per_px": 1, "form": "clip"}, "earring form 'clip' is not known"),
    ("earring", {"points": [(10, 10)], "mm_per_px": -1}, "cannot be sized|above 0"),
])
def test_bad_input_gets_a_sentence(type, options, sentence):
    with pytest.raises(ValueError, match=sentence):
        place(type, 512, 512, **options)
