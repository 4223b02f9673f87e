"""Agnostic masks from parse, pose and garment; augmentation; the region to render again."""

import numpy as np
import pytest
import torch

from fitting_room.preprocess import body, masks, shapes
from fitting_room.preprocess.masks import Wish, agnostic_mask
from fitting_room.preprocess.pose import Person

SIZE = (512, 400)
STANDING = {
    "nose": (200, 70), "neck": (200, 130), "right_shoulder": (155, 130), "left_shoulder": (245, 130), "right_elbow": (130, 200),
    "right_wrist": (120, 265), "left_elbow": (290, 180), "left_wrist": (330, 240), "right_hip": (172, 270), "left_hip": (228, 270),
    "right_knee": (165, 370), "left_knee": (240, 370), "right_ankle": (160, 460), "left_ankle": (245, 465), "right_eye": (188, 60),
    "left_eye": (212, 60), "right_ear": (175, 66), "left_ear": (225, 66),
}
PERSON = Person({name: np.array(point, float) for name, point in STANDING.items()})


def at(name, toward=None, share=0.0):
    point = np.array(STANDING[name], float)
    point = point if toward is None else point + share * (np.array(STANDING[toward]) - point)
    return int(round(point[1])), int(round(point[0]))


def parsed() -> np.ndarray:
    """The standing person as CIHP labels: t-shirt to above the elbows, trousers, shoes."""
    labels = np.zeros(SIZE, np.int64)
    for side, arm, shoe in (("left", 14, 18), ("right", 15, 19)):
        for upper, lower in (("hip", "knee"), ("knee", "ankle")):
            labels[shapes.capsule(SIZE, STANDING[f"{side}_{upper}"], STANDING[f"{side}_{lower}"], 22)] = 9
        elbow, wrist = np.array(STANDING[f"{side}_elbow"], float), np.array(STANDING[f"{side}_wrist"], float)
        labels[shapes.capsule(SIZE, elbow, wrist + 0.7 * (wrist - elbow), 11)] = arm
        ankle = np.array(STANDING[f"{side}_ankle"], float)
        labels[shapes.capsule(SIZE, ankle, ankle + [0, 25], 12)] = shoe
    labels[shapes.polygon(SIZE, [(155, 120), (245, 120), (232, 280), (168, 280)])] = 5
    for side in body.SIDES:
        labels[shapes.capsule(SIZE, STANDING[f"{side}_shoulder"], STANDING[f"{side}_elbow"], 18)] = 5
    labels[shapes.capsule(SIZE, (200, 120), (200, 100), 14)] = 10
    labels[shapes.ellipse(SIZE, (200, 62), 32, 40)] = 2
    labels[shapes.ellipse(SIZE, (200, 72), 24, 30)] = 13
    return labels


LABELS = torch.from_numpy(parsed())[None]
SOURCES = {
    "pose": {"people": [PERSON]},
    "parse": {"labels": LABELS, "scheme": "cihp"},
    "both": {"people": [PERSON], "labels": LABELS, "scheme": "cihp"},
    "garment": {"garment": (LABELS == 5)[:, None].float()},
}


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("style", masks.STYLES)
def test_upper_covers_the_shirt_and_spares_head_hands_and_feet(source, style):
    mask, note = agnostic_mask(*SIZE, Wish("upper", style=style), **SOURCES[source])
    assert mask.shape == (1, 1, *SIZE) and note == "" and set(mask.unique().tolist()) == {0.0, 1.0}
    assert mask[0, 0][at("neck", "right_hip", 0.5)] and mask[0, 0][at("right_shoulder", "right_elbow", 0.5)]
    assert not mask[0, 0][at("nose")] and not mask[0, 0][at("left_ankle")] and not mask[0, 0][at("left_knee")]
    if source != "garment":
        assert bool((mask[LABELS[:, None] == 5]).all()) or source == "pose"
        assert not mask[0, 0][at("left_wrist", "left_elbow", -0.5)]                  # the hand
        assert mask[0, 0][at("left_elbow", "left_wrist", 0.5)]                       # the forearm, a long sleeve's


@pytest.mark.parametrize("source", ["pose", "both", "parse"])
def test_short_sleeves_spare_the_forearms(source):
    short, _ = agnostic_mask(*SIZE, Wish("upper", "short"), **SOURCES[source])
    long, _ = agnostic_mask(*SIZE, Wish("upper", "long"), **SOURCES[source])
    for side in body.SIDES:
        forearm = at(f"{side}_elbow", f"{side}_wrist", 0.85)
        assert long[0, 0][forearm] and not short[0, 0][forearm]
        assert short[0, 0][at(f"{side}_shoulder", f"{side}_elbow", 0.7)]
    assert bool((short <= long).all())


@pytest.mark.parametrize("source", ["pose", "both", "parse"])
def test_lower_and_full(source):
    lower, _ = agnostic_mask(*SIZE, Wish("lower"), **SOURCES[source])
    full, _ = agnostic_mask(*SIZE, Wish("full"), **SOURCES[source])
    for joint in ("left_knee", "right_knee"):
        assert lower[0, 0][at(joint)] and full[0, 0][at(joint)]
    assert not lower[0, 0][at("neck")] and not lower[0, 0][at("nose")] and not full[0, 0][at("nose")]
    assert full[0, 0][at("neck", "left_hip", 0.4)]
    if source != "pose":
        shoes = (LABELS[0] == 18) | (LABELS[0] == 19)
        assert lower[0, 0][shoes].mean() < 0.6 and bool(lower[LABELS[:, None] == 9].all())


def test_the_other_half_of_the_outfit_stays():
    upper, _ = agnostic_mask(*SIZE, Wish("upper", grow_px=0), **SOURCES["both"])
    assert not upper[LABELS[:, None] == 9].any()
    lower, _ = agnostic_mask(*SIZE, Wish("lower", grow_px=0), **SOURCES["both"])
    assert not lower[LABELS[:, None] == 5].any()


def test_drawn_shapes_end_where_the_other_half_of_the_outfit_begins():
    waist = int(torch.nonzero(LABELS[0] == 9)[0, 0])                                 # the trousers' first row
    upper, _ = agnostic_mask(*SIZE, Wish("upper", grow_px=0), **SOURCES["both"])
    shirt = (LABELS[0] == 5)[waist:]
    assert not (upper[0, 0, waist:, 150:250] * ~shirt[:, 150:250]).any()             # no fringe beside the trousers
    lower, _ = agnostic_mask(*SIZE, Wish("lower", grow_px=0), **SOURCES["both"])
    assert not lower[0, 0, :waist].any()


def test_a_drawn_sleeve_is_wide_enough_to_hide_a_loose_one():
    region = body.sleeve(PERSON, "left", "long", SIZE)
    elbow, wrist = (np.array(STANDING[f"left_{joint}"], float) for joint in ("elbow", "wrist"))
    across = np.array([wrist[1] - elbow[1], elbow[0] - wrist[0]]) / np.hypot(*(wrist - elbow))
    for offset in (-15, 15):                                                         # a sixth of the shoulders to each side
        x, y = np.rint((elbow + wrist) / 2 + offset * across).astype(int)
        assert region[y, x]


def test_keep_is_a_choice():
    sources = SOURCES["both"]
    kept, _ = agnostic_mask(*SIZE, Wish(style="bounding_box"), **sources)
    bare, _ = agnostic_mask(*SIZE, Wish(style="bounding_box", keep=()), **sources)
    gone = (bare > kept)[0, 0]
    assert bool((LABELS[0][gone] != 5).all()) and gone.sum() > 100
    assert kept[0, 0][gone].sum() == 0


def test_styles_nest_and_growing_grows():
    parse, box, whole = (agnostic_mask(*SIZE, Wish(style=style, keep=()), **SOURCES["both"])[0] for style in masks.STYLES)
    assert bool((parse <= box).all()) and bool((box <= whole).all()) and parse.sum() < box.sum() < whole.sum()
    areas = [float(agnostic_mask(*SIZE, Wish(grow_px=px), **SOURCES["parse"])[0].sum()) for px in (0, 4, 16)]
    assert areas == sorted(areas) and areas[0] < areas[1] < areas[2]


def test_protected_pixels_are_never_repainted():
    protect = torch.zeros(1, *SIZE)
    protect[:, 150:200, 180:220] = 1
    mask, _ = agnostic_mask(*SIZE, Wish(), protect=protect, **SOURCES["both"])
    assert not mask[:, :, 150:200, 180:220].any()


def test_a_mirrored_pose_gives_the_mirrored_mask():
    swap = {"left": "right", "right": "left"}
    names = {name: "_".join(swap.get(word, word) for word in name.split("_")) for name in PERSON.body}
    mirrored = Person({names[name]: (SIZE[1] - 1, 0) + point * (-1, 1) for name, point in PERSON.body.items()})
    for wish in (Wish(), Wish("full", "short", "box")):
        assert torch.equal(agnostic_mask(*SIZE, wish, people=[mirrored])[0], agnostic_mask(*SIZE, wish, people=[PERSON])[0].flip(-1))


def test_hand_keypoints_win_over_the_estimate():
    hand = np.array(STANDING["left_wrist"]) + np.random.default_rng(0).uniform(-8, 8, (21, 2)) + [20, -40]      # bent upwards
    person = Person(PERSON.body, {"left": hand})
    region = body.hand(person, "left", SIZE)
    assert region[200, 350] and not body.hand(PERSON, "left", SIZE)[200, 350]


def test_batches_sizes_and_notes():
    small = torch.nn.functional.interpolate(LABELS[:, None].float(), scale_factor=0.5)[:, 0].long()
    mask, note = agnostic_mask(*SIZE, Wish(), labels=small, scheme="cihp", people=[PERSON, None])
    assert len(mask) == 2 and note == "The parse map was 200x256 and was resized to the picture's 400x512. No person was found in pose 2."
    both, _ = agnostic_mask(*SIZE, Wish(), labels=LABELS, scheme="cihp", people=[PERSON])
    assert (mask[0] != both[0]).float().mean() < 0.01
    _, note = agnostic_mask(*SIZE, Wish(), garment=torch.ones(1, 1, 64, 50) * (torch.arange(50) < 20))
    assert note == "The garment mask was 50x64 and was resized to the picture's 400x512."
    with pytest.raises(ValueError, match="A batch of 2 does not fit a batch of 3"):
        agnostic_mask(*SIZE, Wish(), labels=LABELS.expand(3, -1, -1), people=[PERSON, PERSON])


@pytest.mark.parametrize("call, sentence", [
    (lambda: agnostic_mask(64, 64), "needs a source; connect a parse map, pose keypoints or a mask of the garment"),
    (lambda: agnostic_mask(64, 64, garment=torch.zeros(1, 64, 64)), "the agnostic mask covers nothing"),
    (lambda: agnostic_mask(64, 64, garment=torch.ones(1, 64, 64)), "covers the whole picture"),
    (lambda: agnostic_mask(64, 64, people=[None]), "covers nothing"),
    (lambda: Wish("shoes"), "category 'shoes' is not known; choose one of upper, lower, full"),
    (lambda: Wish(sleeves="none"), "sleeve length 'none' is not known"),
    (lambda: Wish(style="oval"), "mask style 'oval' is not known"),
    (lambda: Wish(keep=("feet",)), "'feet' are not known; choose among hands, hair, face"),
])
def test_bad_input_gets_a_sentence(call, sentence):
    with pytest.raises(ValueError, match=sentence):
        call()


def test_the_agnostic_picture_is_grey_inside_and_untouched_outside():
    image, mask = torch.rand(1, 8, 8, 3), torch.zeros(1, 1, 8, 8)
    mask[..., 2:5, 2:5] = 1
    out = masks.agnostic_image(image, mask)
    assert bool((out[:, 2:5, 2:5] == 0.5).all()) and torch.equal(out[:, 5:], image[:, 5:]) and torch.equal(out[:, :2], image[:, :2])


def test_augmentation_is_fine_box_or_seeded():
    mask = torch.from_numpy(shapes.ellipse((40, 50), (25, 20), 12, 8)).float()[None, None].repeat(64, 1, 1, 1)
    box = torch.zeros_like(mask)
    box[..., 12:29, 13:38] = 1
    assert torch.equal(masks.augment(mask, "fine"), mask) and torch.equal(masks.augment(mask, "box"), box)
    mixed = masks.augment(mask, "mixed", seed=3)
    boxes = [bool(torch.equal(item, other)) for item, other in zip(mixed, box)]
    assert all(torch.equal(item, mask[0]) for item, boxed in zip(mixed, boxes) if not boxed)
    assert 16 < sum(boxes) < 48                                                     # 64 fair coins: 32, standard deviation 4
    assert torch.equal(masks.augment(mask, "mixed", seed=3), mixed) and not torch.equal(masks.augment(mask, "mixed", seed=4), mixed)
    assert torch.equal(masks.augment(mask[:5], "mixed", seed=3), mixed[:5])
    assert torch.equal(masks.augment(mask, "mixed", box_share=1), box) and not masks.augment(torch.zeros(1, 1, 4, 4), "box").any()
    with pytest.raises(ValueError, match="'blur' is not known; choose fine, box or mixed"):
        masks.augment(mask, "blur")


def test_the_region_to_render_again_holds_old_and_new():
    old, new = torch.zeros(1, 1, 60, 60), torch.zeros(1, 1, 60, 60)
    old[..., 10:20, 10:20], new[..., 30:35, 30:50] = 1, 1
    region = masks.rerender_region(old, new, 4)
    assert bool((region >= torch.maximum(old, new)).all()) and region.sum() > old.sum() + new.sum()
    assert region[0, 0, 6, 15] == 1 and region[0, 0, 5, 15] == 0                     # four pixels more, not five
    assert torch.equal(masks.rerender_region(old, new, 0), torch.maximum(old, new))
    with pytest.raises(ValueError, match="the region to render again covers nothing"):
        masks.rerender_region(torch.zeros(1, 1, 8, 8), torch.zeros(1, 1, 8, 8))
