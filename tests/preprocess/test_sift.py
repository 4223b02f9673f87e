"""Matching on real photographs: known homographies, true disparity, and the pictures that have nothing to match."""

import random

import cv2
import numpy as np
import pytest
import torch
from fitting_room.preprocess import sift
from fitting_room.preprocess.pictures import to_rgb8
from fitting_room.preprocess.ransac import project
from fitting_room.preprocess.sift import MatchOptions, match_batch, match_pair
from fitting_room.preprocess.sift_features import describe, two_nearest
from skimage import data

WARP = np.array([[0.8, 0.1, 60.0], [-0.05, 0.85, 40.0], [1e-4, 2e-4, 1.0]])


@pytest.fixture(scope="module")
def astronaut():
    return cv2.resize(data.astronaut(), (384, 512), interpolation=cv2.INTER_AREA)


@pytest.fixture(scope="module")
def garment(astronaut):
    """The photograph under a known homography on white, as a garment shot would be."""
    return cv2.warpPerspective(astronaut, WARP, (384, 512), borderValue=(255, 255, 255))


@pytest.fixture(scope="module")
def motorcycle():
    return data.stereo_motorcycle()


def distance_to(matches, h):
    return np.linalg.norm(project(h[None], matches.points[:, 0].astype(np.float64))[0] - matches.points[:, 1], axis=1)


def test_a_known_homography_is_matched_to_the_pixel(astronaut, garment):
    found = match_pair(astronaut, garment)
    error = distance_to(found, WARP)
    assert found.count > 150 and found.note == ""
    assert np.median(error) < 0.5 and np.percentile(error, 95) < 2.0


def test_an_implanted_lie_is_removed(astronaut, garment):
    """A second copy of a patch, far from where the homography puts it, gives matches; none of them survives."""
    lying = garment.copy()
    lying[380:500, 250:370] = astronaut[330:450, 20:140]

    def near_lie(found):
        return ((found.points[:, 1] >= [250, 380]) & (found.points[:, 1] < [370, 500])).all(axis=1).sum()

    anything = match_pair(astronaut, lying, options=MatchOptions(ransac_px=1e6))
    assert near_lie(anything) >= 10
    assert near_lie(match_pair(astronaut, lying)) == 0


def test_the_report_accounts_for_every_candidate(astronaut, garment):
    found = match_pair(astronaut, garment)
    order = [step.filter for step in found.removed]
    assert order == ["ratio", "angle", "scale", "colour", "duplicates", "ransac", "minimum"]
    left = found.removed[0].before
    for step in found.removed:
        assert step.before == left
        left -= step.removed
    assert left == found.count


def test_few_matches_take_the_small_set_rules(astronaut, garment):
    patch = np.zeros(astronaut.shape[:2], bool)
    patch[290:370, 100:170] = True
    found = match_pair(astronaut, garment, patch)
    order = [step.filter for step in found.removed]
    assert order[5:] == ["slope", "garment_neighbour", "person_neighbour", "minimum"]
    assert 2 <= found.count < 15 and np.median(distance_to(found, WARP)) < 1.0


def test_true_disparity_of_a_stereo_pair(motorcycle):
    """Middlebury's motorcycle: a point (x, y) of the left picture lies at (x - disparity, y) in the right one."""
    left, right, disparity = motorcycle
    found = match_pair(left, right)
    person, seen = found.points[:, 0].astype(np.float64), found.points[:, 1].astype(np.float64)
    pixel = np.rint(person).astype(int)
    true = disparity[pixel[:, 1], pixel[:, 0]]
    known = np.isfinite(true)
    error = np.hypot(seen[known, 0] - (person[known, 0] - true[known]), seen[known, 1] - person[known, 1])
    # 494 matches, 460 with known depth: median 0.34 px, 95th percentile 4.0 px (objects' edges, where depth jumps in one pixel)
    assert known.sum() > 300
    assert np.median(error) < 0.6 and np.percentile(error, 95) < 6.0


@pytest.mark.parametrize("threads", [1, 2, 4])
def test_neither_global_seeds_nor_threads_matter(astronaut, garment, threads):
    noisy = np.clip(garment.astype(int) + np.random.default_rng(0).normal(0, 12, garment.shape), 0, 255).astype(np.uint8)
    before = cv2.getNumThreads()
    try:
        cv2.setNumThreads(2)
        first = match_pair(astronaut, noisy, seed=3)
        random.seed(threads)
        np.random.seed(threads)
        torch.manual_seed(threads)
        cv2.setRNGSeed(threads)
        cv2.setNumThreads(threads)
        again = match_pair(astronaut, noisy, seed=3)
    finally:
        cv2.setNumThreads(before)
    assert (first.points == again.points).all() and first.removed == again.removed


def test_nearest_neighbours_equal_opencvs(astronaut, garment):
    left, right = describe(astronaut).descriptors, describe(garment).descriptors
    index, best, second = two_nearest(left, right, block=100)
    theirs = cv2.BFMatcher(cv2.NORM_L2).knnMatch(left, right, k=2)
    assert index.tolist() == [a.trainIdx for a, _ in theirs]
    assert best.tolist() == [a.distance for a, _ in theirs]
    assert second.tolist() == [b.distance for _, b in theirs]


def test_features_equal_opencvs_on_the_released_luma(astronaut):
    mine = describe(astronaut, "released")
    keypoints, descriptors = cv2.SIFT_create().detectAndCompute(astronaut, None)  # RGB where BGR is assumed
    assert (mine.descriptors == descriptors).all()
    assert mine.xy.tolist() == [list(point.pt) for point in keypoints]
    assert len(describe(astronaut, "rgb").xy) != len(mine.xy)


@pytest.mark.parametrize("shade", [0, 128, 255])
def test_a_plain_garment_gives_an_empty_result_that_says_so(astronaut, shade):
    found = match_pair(astronaut, np.full((512, 384, 3), shade, np.uint8))
    assert found.count == 0 and found.points.shape == (0, 2, 2)
    assert "No matches" in found.note and "plain" in found.note


def test_two_unrelated_pictures(astronaut):
    found = match_pair(astronaut, data.coffee())
    assert found.count < 4
    assert found.count or "no distinctive detail" in found.note


@pytest.mark.parametrize("turns, degrees", [(1, 90), (2, 180), (3, 90)])
def test_a_turned_garment_is_named(garment, astronaut, turns, degrees):
    found = match_pair(astronaut, np.rot90(garment, turns))
    assert found.count < 15
    assert f"turned by about {degrees} degrees" in found.note
    upside = match_pair(astronaut, np.rot90(garment, turns), options=MatchOptions(max_angle=180.0))
    assert upside.count > 100 and upside.note == ""


def test_a_mirrored_garment_is_named(astronaut, garment):
    found = match_pair(astronaut, garment[:, ::-1])
    assert "mirrored" in found.note


def test_masks_are_obeyed(astronaut, garment):
    left = np.zeros((512, 384), np.float32)
    left[:, :192] = 1.0
    found = match_pair(astronaut, garment, left)
    assert found.count > 20 and (found.points[:, 0, 0] < 200).all()  # a keypoint of the mask's rim may lie a few pixels outside
    half_size = match_pair(astronaut, garment, left[::2, ::2])
    assert abs(half_size.count - found.count) < 0.2 * found.count
    on_garment = match_pair(astronaut, garment, None, left)
    assert on_garment.count > 20 and (on_garment.points[:, 1, 0] < 200).all()


@pytest.mark.parametrize("side", ["person", "garment"])
def test_a_mask_that_excludes_everything_is_named(astronaut, garment, side):
    nothing = np.zeros((512, 384), np.float32)
    found = match_pair(astronaut, garment, **{f"{side}_mask": nothing})
    assert found.count == 0 and f"the {side} mask excludes everything" in found.note


def test_parts_never_match_across(astronaut, garment):
    rows = np.arange(512)[:, None] * np.ones((1, 384))
    person = {"torso": rows < 256, "right_arm": rows >= 256, "left_arm": rows < 0}
    flat = {"torso": rows >= 256, "right_arm": rows >= 256, "left_arm": rows < 256}
    found = match_pair(astronaut, garment, person, flat)
    assert {step.part for step in found.removed} >= {"torso", "right_arm"}
    top, bottom = found.points[:, 0, 1] < 250, found.points[:, 0, 1] > 262
    assert (found.points[top, 1, 1] > 250).all() and (found.points[bottom, 1, 1] > 250).all()
    assert bottom.sum() > 30


def test_parts_must_agree(astronaut, garment):
    mask = np.ones((512, 384), bool)
    with pytest.raises(ValueError, match="torso"):
        match_pair(astronaut, garment, {"torso": mask}, {"left_arm": mask})
    with pytest.raises(ValueError, match="parts"):
        match_pair(astronaut, garment, {"torso": mask}, mask)


def test_grey_alpha_float_and_tensor_pictures(astronaut, garment):
    plain = match_pair(astronaut, garment)
    opaque = np.dstack((garment, np.full(garment.shape[:2], 255, np.uint8)))
    assert (match_pair(astronaut, opaque).points == plain.points).all()
    tensor = torch.from_numpy(garment.astype(np.float32) / 255.0)[None]
    assert (match_pair(torch.from_numpy(astronaut), tensor).points == plain.points).all()
    grey = cv2.cvtColor(garment, cv2.COLOR_RGB2GRAY)
    for picture in (grey, grey[..., None], np.dstack((grey,) * 3)):
        assert match_pair(cv2.cvtColor(astronaut, cv2.COLOR_RGB2GRAY), picture).count > 100


def test_what_is_transparent_is_not_matched(astronaut, garment):
    alpha = np.zeros(garment.shape[:2], np.uint8)
    alpha[:, 192:] = 255
    found = match_pair(astronaut, np.dstack((garment, alpha)))
    assert found.count > 20 and (found.points[:, 1, 0] > 184).all()
    assert to_rgb8(np.zeros((2, 2, 4), np.uint8), 255).min() == 255 and to_rgb8(np.zeros((2, 2, 4), np.uint8), 0).max() == 0


def test_sizes_may_differ(astronaut, garment):
    """Points come back in the pixels of the pictures as given, and a large garment photo is not taken for a change of scale."""
    large = cv2.resize(garment, (1152, 1536), interpolation=cv2.INTER_CUBIC)
    found = match_pair(astronaut, large)
    assert found.garment_size == (1536, 1152) and found.person_size == (512, 384)
    back = found.resized((512, 384), (512, 384))
    assert found.count > 150 and np.median(distance_to(back, WARP)) < 0.5
    native = match_pair(astronaut, large, options=MatchOptions(working_pixels=None)).resized((512, 384), (512, 384))
    assert native.count > 100 and np.median(distance_to(native, WARP)) < 0.6


def test_a_batch_is_its_singles(astronaut, garment):
    persons = np.stack((astronaut, np.flip(astronaut, 1), astronaut))
    seen = []
    batch = match_batch(persons, garment[None], seed=5, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(1, 3), (2, 3), (3, 3)]
    for row, found in enumerate(batch):
        single = match_pair(persons[row], garment, seed=5 + row)
        assert (found.points == single.points).all() and found.seed == 5 + row
    with pytest.raises(ValueError, match="2 persons for 3 pairs"):
        match_batch(persons[:2], np.stack((garment,) * 3))


def test_inputs_are_not_written_to(astronaut, garment):
    person, cloth, mask = astronaut.copy(), garment.copy(), np.ones((512, 384), np.float32)
    match_pair(person, cloth, mask, mask)
    assert (person == astronaut).all() and (cloth == garment).all() and (mask == 1).all()


def test_each_option_reaches_its_filter(astronaut, garment):
    count = {step.filter: step.removed for step in match_pair(astronaut, garment).removed}
    strict = {
        "ratio": MatchOptions(ratio=0.5), "angle": MatchOptions(max_angle=5.0), "scale": MatchOptions(max_scale=1.1),
        "duplicates": MatchOptions(duplicate_px=20.0), "ransac": MatchOptions(ransac_px=0.5), "minimum": MatchOptions(minimum=10_000),
    }
    for name, options in strict.items():
        now = {step.filter: step.removed for step in match_pair(astronaut, garment, options=options).removed}
        assert now[name] > count[name], name
    without = {step.filter for step in match_pair(astronaut, garment, options=MatchOptions(legacy=True, colour=False)).removed}
    assert not without & {"scale", "colour"}


@pytest.mark.parametrize(
    "wrong",
    [{"ratio": 0.0}, {"ratio": 1.5}, {"max_angle": -1.0}, {"max_scale": 0.5}, {"ransac_from": 3}, {"luma": "bgr"}, {"working_pixels": 3}],
)
def test_options_out_of_range_are_named(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        MatchOptions(**wrong)


@pytest.mark.parametrize(
    "picture, words",
    [
        (np.zeros((2, 8, 8, 3), np.uint8), "one picture"),
        (np.zeros((8, 8, 2), np.uint8), "one picture"),
        (np.zeros((0, 8, 3), np.uint8), "one picture"),
        (np.full((8, 8, 3), 255.0), "divide by 255"),
        (np.full((8, 8, 3), np.nan), "not finite"),
        (np.zeros((8, 8, 3), np.int64), "uint8"),
    ],
)
def test_what_is_not_a_picture_is_refused_by_name(astronaut, picture, words):
    with pytest.raises(ValueError, match=f"garment picture.*{words}"):
        match_pair(astronaut, picture)


def test_tiny_pictures_do_not_fail(astronaut):
    assert match_pair(astronaut, np.zeros((1, 1, 3), np.uint8)).count == 0
    assert sift.match_pair(np.zeros((3, 5)), np.zeros((4, 4)), options=MatchOptions(working_pixels=None)).count == 0
