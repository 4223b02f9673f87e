"""Curation: every rule on shapes whose numbers can be counted, ranking, the sheet, padding."""

import json

import cv2
import numpy as np
import pytest
from fitting_room.preprocess import curate_rules as rule
from fitting_room.preprocess.curate import Candidate, curation_report, from_parse, judge, near_duplicates, picture_hash, select
from fitting_room.preprocess.curate_rules import HARD, PASS, REJECT, UNKNOWN, CurateRules
from fitting_room.preprocess.curate_sheet import contact_sheet
from fitting_room.preprocess.proportion import apply_plan, fit_plan, mask_box
from skimage import data

RULES = CurateRules()


def box(top, bottom, left, right, size=(100, 80)):
    mask = np.zeros(size, bool)
    mask[top:bottom, left:right] = True
    return mask


def pose(layout="body25", shoulder=70.0, torso=100.0):
    """Shoulders `shoulder` apart, hips `torso` below; the person faces the camera (right shoulder on the left)."""
    points = np.zeros((25 if layout == "body25" else 18 if layout == "coco18" else 17, 3))
    right, left, right_hip, left_hip = rule.LAYOUTS[layout]
    points[right], points[left] = (50 - shoulder / 2, 20, 1), (50 + shoulder / 2, 20, 1)
    points[right_hip], points[left_hip] = (40, 20 + torso, 1), (60, 20 + torso, 1)
    return points


def good(name="good", **more):
    known = {
        "garment": box(20, 80, 20, 60), "occluders": box(0, 0, 0, 0), "category": box(20, 80, 20, 60),
        "keypoints": pose(), "in_shop": box(10, 90, 15, 65),
    }
    return Candidate(name, **{**known, **more})


@pytest.mark.parametrize("layout", sorted(rule.LAYOUTS))
def test_front_side_and_back_view(layout):
    front = rule.front_view(pose(layout), layout, RULES)
    assert (round(front.value, 6), front.score, front.verdict, front.reason) == (0.7, 1.0, PASS, "")
    side = rule.front_view(pose(layout, 25), layout, RULES)
    assert round(side.value, 6) == 0.25 and side.verdict == REJECT and "side view: shoulders 0.25" in side.reason
    back = rule.front_view(pose(layout, -70), layout, RULES)
    assert back.verdict == REJECT and back.score == 0.0 and "behind" in back.reason


def test_missing_keypoints_are_unknown_not_wrong():
    unsure = pose()
    unsure[9, 2] = 0.05
    assert rule.front_view(None, "body25", RULES).verdict == UNKNOWN
    assert rule.front_view(unsure, "body25", RULES).verdict == UNKNOWN
    two = pose()[:, :2]
    assert rule.front_view(two, "body25", RULES).verdict == PASS
    two[2] = 0
    assert rule.front_view(two, "body25", RULES).verdict == UNKNOWN
    with pytest.raises(ValueError, match="layout"):
        rule.front_view(pose(), "mpii", RULES)
    with pytest.raises(ValueError, match="shape"):
        rule.front_view(np.zeros((5, 3)), "body25", RULES)


def test_truncation_is_the_share_of_the_box_on_the_border():
    assert rule.truncation(box(20, 80, 20, 60), RULES).value == 0.0
    cut = rule.truncation(box(20, 100, 20, 60), RULES)
    assert (cut.value, cut.verdict) == (1.0, REJECT) and "bottom" in cut.reason
    tip = box(20, 90, 20, 60)
    tip[90:, 20:24] = True  # 4 of the box's 40 columns reach the border
    assert rule.truncation(tip, RULES)[1] == 0.1 and rule.truncation(tip, RULES).verdict == HARD
    assert "left" in rule.truncation(box(20, 60, 0, 40), RULES).reason
    assert "right" in rule.truncation(box(20, 60, 40, 80), RULES).reason
    assert rule.truncation(box(0, 60, 20, 60), RULES).verdict == PASS  # the top is where necks and heads are


def test_occlusion_counts_inside_the_hull():
    garment = box(20, 80, 20, 60)
    garment[40:60, 20:60] = False  # a gap of 20 of 60 rows
    covered = rule.occlusion(garment, box(40, 60, 0, 80), RULES)
    assert abs(covered.value - 1 / 3) < 0.01 and covered.verdict == REJECT
    half = rule.occlusion(garment, box(40, 50, 0, 80), RULES)
    assert abs(half.value - 1 / 6) < 0.01 and half.verdict == HARD
    assert rule.occlusion(garment, box(0, 20, 0, 80), RULES).value == 0.0
    assert rule.occlusion(garment, None, RULES).verdict == UNKNOWN


def test_fragments():
    assert rule.fragments(box(20, 80, 20, 60), None, RULES).value == 1.0
    three = box(20, 30, 20, 60) | box(40, 50, 20, 60) | box(60, 70, 20, 60)
    assert rule.fragments(three, None, RULES).verdict == REJECT and "3 pieces" in rule.fragments(three, None, RULES).reason
    specks = box(20, 80, 20, 60) | box(90, 92, 5, 7) | box(5, 7, 70, 72) | box(95, 97, 70, 72)  # 4 pixels each, under 2 %
    assert rule.fragments(specks, None, RULES).verdict == PASS
    assert rule.fragments(specks, None, RULES).value == 1.0 and judge(good(garment=specks)).score == pytest.approx(1.0)
    ragged = box(20, 80, 20, 25) | box(20, 25, 20, 60)  # an L: 475 of about 1540 pixels of its hull
    found = rule.fragments(ragged, None, RULES)
    assert 0.25 < found.value < 0.35 and found.verdict == REJECT
    torn = box(20, 80, 20, 60)
    torn[25:75, 30:55] = False
    assert rule.fragments(torn, None, RULES).verdict == REJECT
    assert rule.fragments(torn, box(25, 75, 30, 55), RULES).verdict == PASS  # an arm lies there: the garment is whole


def test_symmetry():
    assert rule.symmetry(box(10, 90, 5, 33), RULES).value == 1.0
    lopsided = box(10, 90, 20, 30) | box(10, 20, 20, 60)  # an L, 1100 pixels: 400 in common with its mirror image, 1800 in all
    assert abs(rule.symmetry(lopsided, RULES).value - 400 / 1800) < 1e-9
    assert rule.symmetry(lopsided, RULES).verdict == REJECT and rule.symmetry(None, RULES).verdict == UNKNOWN


def test_proportion():
    assert rule.proportion(box(10, 90, 15, 65), RULES).verdict == PASS  # 80 x 50
    long = rule.proportion(box(2, 98, 30, 50), RULES)  # 96 x 20: 4.8 times as high as wide
    assert long.verdict == HARD and "4.8" in long.reason and "pad" in long.reason
    small = rule.proportion(box(40, 60, 30, 50), RULES)  # 20 of 100 rows: would have to grow to 72 of 80 columns, 3.6 times
    assert small.verdict == REJECT and "3.6 times" in small.reason


def test_category():
    garment = box(20, 80, 20, 60)
    assert rule.same_category(garment, box(20, 80, 20, 40), RULES).value == 0.5
    assert rule.same_category(garment, box(20, 80, 20, 40), RULES).verdict == REJECT
    assert rule.same_category(garment, garment, RULES).verdict == PASS


def test_the_hull_of_a_triangle_and_of_a_line():
    triangle = np.tril(np.ones((40, 40), bool))
    holed = triangle.copy()
    holed[20:30, 5:15] = False
    assert (rule.convex_hull(holed) == triangle).all()
    line = box(10, 11, 5, 60)
    assert (rule.convex_hull(line) == line).all()
    assert (rule.convex_hull(box(3, 4, 3, 4)) == box(3, 4, 3, 4)).all()


def test_the_score_is_the_geometric_mean_of_what_is_known():
    whole = judge(good())
    assert whole.score == pytest.approx(1.0) and whole.verdict == PASS and whole.reason == ""
    bare = judge(Candidate("bare", box(20, 80, 20, 60)))
    assert bare.score == pytest.approx(1.0) and sum(r.verdict == UNKNOWN for r in bare.rules) == 5
    side = judge(good(keypoints=pose(shoulder=40)))  # ramp from 0.225 to 0.70: (0.40 - 0.225) / 0.475
    assert side.score == pytest.approx((0.175 / 0.475) ** (1 / 7)) and side.verdict == REJECT


def test_an_empty_mask_is_a_verdict_not_an_exception():
    found = judge(good(garment=np.zeros((100, 80))))
    assert found.verdict == REJECT and found.score < 0.01 and "empty" in found.reason


def test_masks_of_two_pictures_are_refused():
    with pytest.raises(ValueError, match="same picture"):
        judge(good(occluders=np.zeros((50, 40))))


def test_select_keeps_the_best_share():
    found = [judge(good(str(n), keypoints=pose(shoulder=s))) for n, s in enumerate((30, 70, 50, 40, 60))]
    chosen = select(found, 0.4)
    assert chosen.kept == [1, 4] and chosen.rejected == [2, 3, 0]
    assert len(select(found, 0.01).kept) == 1 and len(select(found, 1.0).kept) == 5
    assert select(found, 1.0, cut=True).kept == [1, 4, 2] and select([], 0.2) == ([], [])
    with pytest.raises(ValueError, match="share"):
        select(found, 0.0)


def test_every_threshold_is_used():
    """Each rule's verdict moves with its own threshold, on a candidate just on the other side."""
    garment = box(20, 90, 20, 60)
    garment[90:, 20:24] = True
    garment[50:58, 25:55] = False
    shop = box(10, 90, 15, 65)
    shop[10:60, 15:30] = False
    known = {"garment": garment, "occluders": box(50, 58, 25, 55), "category": box(20, 75, 20, 60), "in_shop": shop}
    candidate = good(keypoints=pose(shoulder=50), **known)
    before = {r.name: r.verdict for r in judge(candidate).rules}
    moved = {
        "front view": {"side_view": 0.6}, "truncation": {"truncation": 0.08}, "occlusion": {"occlusion": 0.05},
        "fragments": {"solidity": 0.999}, "symmetry": {"symmetry": 0.95}, "proportion": {"aspect": (0.4, 1.2)},
        "category": {"category": 0.95},
    }
    for name, change in moved.items():
        after = {r.name: r.verdict for r in judge(candidate, CurateRules(**change)).rules}
        assert [key for key in after if after[key] != before[key]] == [name]


def test_labels_of_two_parsings():
    parse = np.array([[4, 5, 14, 16], [7, 2, 11, 0]])
    garment, over = from_parse(parse, "upper", "atr")
    assert garment.tolist() == [[True, False, False, False], [False] * 4]
    assert over.tolist() == [[False, False, True, True], [False, True, False, False]]
    garment, over = from_parse(parse, "upper", "lip")
    assert garment.tolist() == [[False, True, False, False], [True, False, False, False]]
    assert over.tolist() == [[False, False, True, False], [False, True, True, False]]
    with pytest.raises(ValueError, match="upper, lower or full"):
        from_parse(parse, "shoes")


def test_the_report_is_plain_and_says_uncalibrated():
    found = [judge(good()), judge(good("cut", garment=box(20, 100, 20, 60)))]
    report = json.loads(json.dumps(curation_report(found, select(found, 0.5))))
    assert report["thresholds_calibrated"] is False and report["thresholds"]["truncation"] == 0.15
    assert (report["kept"], report["of"]) == (1, 2)
    assert report["rules"]["truncation"] == {"pass": 1, "hard": 0, "reject": 1, "unknown": 0}
    assert report["pairs"][1]["kept"] is False and "bottom" in report["pairs"][1]["reason"]


def test_near_duplicates_by_picture():
    astronaut, coffee = data.astronaut(), data.coffee()
    resaved = cv2.imdecode(cv2.imencode(".jpg", astronaut[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 60])[1], 1)[..., ::-1]
    hashes = [picture_hash(p) for p in (astronaut, coffee, cv2.resize(resaved, (300, 300)), astronaut[:, ::-1])]
    assert near_duplicates(hashes) == [(0, 2)]
    assert near_duplicates([0b1111, 0, 0b11111]) == [(0, 1), (0, 2)] and near_duplicates([]) == []


def test_padding_centres_and_fills():
    mask = box(0, 100, 30, 50)  # a strip over the whole height
    plan = fit_plan(mask, (200, 160))
    assert plan.scale == pytest.approx(1.8)
    picture = np.full((100, 80, 3), 250, np.uint8)
    picture[mask] = (200, 10, 10)
    done = apply_plan(picture, plan, background=(250, 250, 250))
    top, bottom, left, right = mask_box(done[..., 1] < 128)
    assert done.shape == (200, 160, 3) and bottom - top == 180 and abs(right - left - 36) <= 1
    assert abs(top - 10) <= 1 and abs(left + right - 160) <= 2 and (done[:9] == 250).all()


def test_padding_shrinks_moves_off_canvas_and_finds_its_background():
    picture = np.full((60, 60), 0.25, np.float32)
    picture[20:30, 40:60] = 1.0
    small = apply_plan(picture, fit_plan(picture > 0.5, (10, 10)))
    assert small.dtype == np.float32 and small.shape == (10, 10) and small.max() == pytest.approx(1.0)
    assert mask_box(small > 0.6)[2:] == (0, 9) or mask_box(small > 0.6)[3] - mask_box(small > 0.6)[2] == 9
    assert small[0, 0] == pytest.approx(0.25)
    with pytest.raises(ValueError, match="empty"):
        fit_plan(np.zeros((4, 4), bool), (8, 8))


def test_the_sheet_frames_kept_and_rejected():
    found = [judge(good("a")), judge(good("b", garment=box(20, 100, 20, 60))), judge(good("c", keypoints=pose(shoulder=-60)))]
    asked = []

    def picture(index):
        asked.append(index)
        return np.full((100, 80, 3), 128, np.uint8)

    chosen = select(found, 0.67)
    sheet = contact_sheet(picture, found, chosen, columns=3)
    assert asked == chosen.kept + chosen.rejected and sheet.dtype == np.uint8
    colours = {tuple(c) for c in sheet.reshape(-1, 3)[::7].tolist()}
    assert {(70, 190, 110), (235, 180, 60), (225, 85, 75)} <= colours
    assert contact_sheet([], [], select([]), columns=3).ndim == 3
    only_one = contact_sheet(picture, found, chosen, columns=3, per_group=1)
    assert only_one.shape[0] <= sheet.shape[0] and len(asked) == 5
