"""What the curation rules get from a pair's files."""

import json

import numpy as np
import pytest
from fitting_room.data.curation import candidate, read_labels
from fitting_room.data.find import find_pairs
from fitting_room.preprocess.parts import CIHP_PALETTE
from PIL import Image

LABELS = np.zeros((64, 48), np.uint8)
LABELS[16:40, 12:36] = 5   # upper clothes
LABELS[16:40, 8:12] = 14   # an arm beside it
LABELS[40:60, 14:34] = 9   # trousers


def folder(root, *, parse=True, mask=False, keypoints=False):
    for part in ("person", "garment"):
        (root / part).mkdir(parents=True)
        Image.new("RGB", (48, 64), "grey").save(root / part / "a.png")
    if parse:
        (root / "parse").mkdir()
        Image.fromarray(LABELS).save(root / "parse" / "a.png")
    if mask:
        (root / "mask").mkdir()
        Image.fromarray((LABELS == 5).astype(np.uint8) * 255).save(root / "mask" / "a.png")
    if keypoints:
        (root / "keypoints").mkdir()
        points = np.zeros((18, 3))
        points[[2, 5, 8, 11]] = [[14, 18, 1], [34, 18, 1], [17, 42, 1], [31, 42, 1]]
        (root / "keypoints" / "a.json").write_text(json.dumps({"people": [{"pose_keypoints_2d": points.ravel().tolist()}]}))
    return find_pairs("folder", root)[0]


def test_a_parse_map_gives_garment_and_occluders(tmp_path):
    found = candidate(folder(tmp_path / "d", keypoints=True), "upper")
    assert np.array_equal(found.garment, LABELS == 5) and np.array_equal(found.occluders, LABELS == 14)
    assert found.category is None and found.layout == "coco18" and found.keypoints.shape == (18, 3)
    assert np.array_equal(candidate(folder(tmp_path / "e"), "lower").garment, LABELS == 9)


def test_a_mask_is_checked_against_the_parse(tmp_path):
    found = candidate(folder(tmp_path / "d", mask=True), "upper")
    assert np.array_equal(found.garment > 128, LABELS == 5) and np.array_equal(found.category, LABELS == 5)


def test_without_either_nothing_can_be_judged(tmp_path):
    with pytest.raises(ValueError, match="neither a mask of the worn garment nor a parse map"):
        candidate(folder(tmp_path / "d", parse=False), "upper")


@pytest.mark.parametrize("kind", ["grey", "palette", "colours"])
def test_labels_are_read_however_they_are_stored(tmp_path, kind):
    if kind == "grey":
        picture = Image.fromarray(LABELS)
    else:
        picture = Image.fromarray(LABELS, "P")
        picture.putpalette([c for colour in CIHP_PALETTE for c in colour])
        picture = picture.convert("RGB") if kind == "colours" else picture
    picture.save(tmp_path / "a.png")
    assert np.array_equal(read_labels(tmp_path / "a.png", "cihp"), LABELS)


def test_a_photograph_is_no_parse_map(tmp_path):
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (32, 32, 3), np.uint8)).save(tmp_path / "a.png")
    with pytest.raises(ValueError, match="a.png: The parse map's colours"):
        read_labels(tmp_path / "a.png", "cihp")
