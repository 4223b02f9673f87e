"""Finding the pairs of a folder, and reading keypoints."""

import json

import numpy as np
import pytest
from fitting_room.data.find import find_pairs
from fitting_room.data.pairs import match_files, read_keypoints
from PIL import Image


def touch(root, *names):
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".json":
            path.write_text("{}")
        else:
            Image.new("L", (4, 4)).save(path)


def viton(root):
    for name in ("00001_00", "00002_00", "00003_00"):
        touch(root, f"train/image/{name}.jpg", f"train/cloth/{name}.jpg", f"train/cloth-mask/{name}.jpg", f"train/agnostic-mask/{name}_mask.png",
              f"train/image-parse-v3/{name}.png", f"train/openpose_json/{name}_keypoints.json", f"train/image-densepose/{name}.jpg")
    (root / "train_pairs.txt").write_text("00002_00.jpg 00001_00.jpg\n00001_00.jpg 00003_00.jpg\n\n00009_00.jpg 00001_00.jpg\n../../secret.jpg x.jpg\n")


def test_viton_hd_takes_the_list_and_the_worn_garment(tmp_path):
    viton(tmp_path)
    pairs = find_pairs("viton-hd", tmp_path)
    assert [r.name for r in pairs] == ["00002_00", "00001_00"]  # the list's order; the third is not in it
    first = pairs[0]
    assert first.garment.name == "00002_00.jpg" and first.person.parent.name == "image" and first.scheme == "cihp"
    assert first.agnostic_mask.name == "00002_00_mask.png" and first.keypoints.name == "00002_00_keypoints.json"
    report = pairs.report()
    assert "2 pairs" in report and "parse 2" in report and "'../../secret.jpg', which is a path" in report
    assert "1 of 3 pairs have no person picture and were left out: 00009_00" in report


def test_without_a_list_every_picture_counts(tmp_path):
    viton(tmp_path)
    (tmp_path / "train_pairs.txt").unlink()
    assert [r.name for r in find_pairs("viton-hd", tmp_path)] == ["00001_00", "00002_00", "00003_00"]
    assert [r.name for r in find_pairs("viton-hd", tmp_path, limit=2)] == ["00001_00", "00002_00"]


def test_matching_gets_part_labels_only_as_a_pair(tmp_path):
    viton(tmp_path)
    plain = match_files(find_pairs("viton-hd", tmp_path)[0])
    assert plain.densepose is None and plain.garment_parse is None and plain.person_mask.name == "00002_00_mask.png"
    touch(tmp_path, "train/image-densepose_siftvton/00002_00.png")
    assert match_files(find_pairs("viton-hd", tmp_path)[0]).densepose is None
    touch(tmp_path, "train/cloth_parse-bytedance/00002_00.png")
    both = match_files(find_pairs("viton-hd", tmp_path)[0])
    assert both.densepose.parent.name == "image-densepose_siftvton" and both.garment_parse.parent.name == "cloth_parse-bytedance"


def test_dress_code_knows_its_categories(tmp_path):
    for folder, number in (("upper_body", "000001"), ("dresses", "020714")):
        touch(tmp_path, f"{folder}/images/{number}_0.jpg", f"{folder}/images/{number}_1.jpg", f"{folder}/label_maps/{number}_4.png", f"{folder}/keypoints/{number}_2.json")
        (tmp_path / folder / "train_pairs.txt").write_text(f"{number}_0.jpg {number}_1.jpg\n")
    samples = list(find_pairs("dress-code", tmp_path))
    assert [(s.name, s.category, s.scheme) for s in samples] == [("upper_body-000001", "upper", "atr"), ("dresses-020714", "full", "atr")]
    assert samples[0].person.name == "000001_0.jpg" and samples[0].garment.name == "000001_1.jpg" and samples[0].parse.name == "000001_4.png"


def test_a_plain_folder(tmp_path):
    touch(tmp_path, "person/anna.png", "person/ben.jpg", "garment/anna.jpg", "mask/anna.png", "person/.hidden.png")
    pairs = find_pairs("folder", tmp_path)
    assert [r.name for r in pairs] == ["anna"] and pairs[0].worn_mask.name == "anna.png" and "ben" in pairs.problems[0]
    assert len(pairs.subset([])) == 0 and pairs.subset([0])[0] is pairs[0]


@pytest.mark.parametrize("layout, sentence", [("folder", "expected person and garment"), ("viton-hd", "expected train/image"), ("dress-code", "expected upper_body"), ("coco", "is not known")])
def test_a_folder_of_another_layout_says_what_was_expected(tmp_path, layout, sentence):
    touch(tmp_path, "photos/a.png")
    with pytest.raises(ValueError, match=sentence):
        find_pairs(layout, tmp_path)


def person(at, size=1.0):
    points = np.zeros((25, 3))
    points[[2, 5, 9, 12]] = [[*at, 1], [at[0] + 40 * size, at[1], 1], [at[0] + 5, at[1] + 60 * size, 0.9], [at[0] + 35 * size, at[1] + 60 * size, 0.9]]
    return {"pose_keypoints_2d": points.ravel().tolist()}


def test_keypoints_are_those_of_the_largest_person(tmp_path):
    path = tmp_path / "k.json"
    path.write_text(json.dumps({"people": [person((10, 10), 0.5), person((100, 20))]}))
    points, layout = read_keypoints(path, 384, 512)
    assert layout == "body25" and tuple(points[2]) == (100, 20, 1)
    path.write_text(json.dumps({"people": []}))
    assert read_keypoints(path, 384, 512) is None


def test_dress_codes_keypoints_are_scaled_from_their_canvas(tmp_path):
    path = tmp_path / "k.json"
    path.write_text(json.dumps({"keypoints": [[192.0, 256.0, 1.0, 0.0]] * 17 + [[-1.0, -1.0, 0.0, -1.0]]}))
    points, layout = read_keypoints(path, 768, 1024)
    assert layout == "coco18" and tuple(points[0]) == (384, 512, 1) and points[17, 2] == 0


@pytest.mark.parametrize("text", ["{}", "[]", "no json", '{"people": [{"pose_keypoints_2d": [1, 2, 3]}]}'])
def test_other_json_is_refused_by_name(tmp_path, text):
    (tmp_path / "k.json").write_text(text)
    with pytest.raises(ValueError, match="k.json holds no keypoints of 18 or 25"):
        read_keypoints(tmp_path / "k.json", 10, 10)
