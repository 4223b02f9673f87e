"""Matching nodes on the real host: a photograph moved by a known perspective, bad input, and a folder pass that is stopped."""

import cv2
import numpy as np
import pytest
import torch
from skimage import data

from ..support import run

pytestmark = pytest.mark.usefixtures("comfyui")
SHIFT = np.float32([[0.9, 0.05, 12], [-0.05, 0.9, 30], [0, 0, 1]])
PHOTO = data.astronaut()


def tensor(picture):
    return torch.from_numpy(np.ascontiguousarray(picture)).float()[None] / 255


GARMENT = tensor(cv2.warpPerspective(PHOTO, SHIFT, (512, 512), borderValue=(255,) * 3))


def matched(**inputs):
    return run("FittingRoomSiftMatches", **{"garment": GARMENT, "person": tensor(PHOTO), "ratio": 0.8, "max_angle": 45.0, "max_scale": 2.25, **inputs})


def test_a_known_move_is_recovered():
    found, drawn, count = matched().args
    assert len(found) == 1 and count == found[0].count > 100
    ends = found[0].points.astype(np.float64)
    expected = cv2.perspectiveTransform(ends[:, None, 0], SHIFT.astype(np.float64))[:, 0]
    assert np.percentile(np.hypot(*(ends[:, 1] - expected).T), 95) < 2.5  # pixels
    assert drawn.shape[0] == 1 and drawn.shape[2] == 1024 and drawn.max() <= 1


def test_thresholds_seed_and_masks_matter():
    loose = matched().args[2]
    assert matched(ratio=0.6).args[2] < loose
    assert np.array_equal(matched(seed=5).args[0][0].points, matched(seed=5).args[0][0].points)
    half = torch.zeros(1, 512, 512)
    half[:, :, :256] = 1
    points = matched(person_mask=half).args[0][0].points
    assert len(points) and points[:, 0, 0].max() < 257


def test_a_batch_and_one_garment_for_all():
    people = torch.cat([tensor(PHOTO), tensor(np.full_like(PHOTO, 128))])
    found, drawn, count = matched(person=people).args
    assert len(found) == 2 and drawn.shape[0] == 2 and found[1].count == 0 and count == found[0].count
    assert "as plain fabric does; nothing is wrong" in found[1].note


@pytest.mark.parametrize("change, words", [
    (lambda g: g.rot90(1, (1, 2)), "turned by about 90 degrees"),
    (lambda g: g.flip(2), "mirrored left to right"),
    (lambda g: torch.ones_like(g), "plain fabric"),
])
def test_turned_mirrored_and_plain_garments_are_told(change, words):
    assert words in matched(garment=change(GARMENT)).args[0][0].note


def test_grey_and_alpha_pictures_are_read():
    alpha = torch.cat([GARMENT, torch.ones_like(GARMENT[..., :1])], -1)
    assert matched(garment=alpha).args[2] == matched().args[2]
    assert matched(garment=GARMENT.mean(-1, keepdim=True), person=tensor(PHOTO).mean(-1, keepdim=True)).args[2] > 50


@pytest.mark.parametrize("inputs, sentence", [
    ({"densepose": GARMENT}, "one is missing; connect both or none"),
    ({"person": tensor(PHOTO).repeat(3, 1, 1, 1), "garment": GARMENT.repeat(2, 1, 1, 1)}, "give 1 or 3"),
    ({"densepose": GARMENT, "garment_parse": torch.zeros_like(GARMENT)}, "holds none of the red values"),
])
def test_bad_input_gets_one_sentence(inputs, sentence):
    with pytest.raises(ValueError, match=sentence):
        matched(**inputs)


def test_a_mask_that_excludes_everything_says_so():
    found = matched(person_mask=torch.zeros(1, 512, 512)).args[0][0]
    assert found.count == 0 and "person mask excludes everything" in found.note


# ---- a data set -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def dataset(tmp_path, monkeypatch):
    """Two pairs below the input folder, and the pairs a node finds there."""
    import folder_paths

    for part in ("person", "garment"):
        (tmp_path / "input" / "set" / part).mkdir(parents=True)
    for number, name in enumerate("ab"):
        cv2.imwrite(str(tmp_path / f"input/set/person/{name}.png"), PHOTO[:, :, ::-1])
        moved = cv2.warpPerspective(PHOTO, SHIFT + np.float32([[0, 0, 9 * number], [0, 0, 0], [0, 0, 0]]), (512, 512))
        cv2.imwrite(str(tmp_path / f"input/set/garment/{name}.png"), moved[:, :, ::-1])
    monkeypatch.setattr(folder_paths, "input_directory", str(tmp_path / "input"))
    monkeypatch.setattr(folder_paths, "output_directory", str(tmp_path / "output"))
    return tmp_path


def pairs():
    return run("FittingRoomPairs", layout="folder", folder="set", split="train").args[0]


def passed(**inputs):
    return run("FittingRoomSiftFolder", **{"pairs": pairs(), "folder": "m", "ratio": 0.8, "max_angle": 45.0, "max_scale": 2.25, **inputs}).args


def test_a_folder_pass_writes_once_and_goes_on_where_it_ended(dataset):
    from fitting_room.preprocess.matches import from_json

    folder, report = passed()
    files = sorted((dataset / "output" / "m").glob("*_sift_matches.json"))
    assert [f.name for f in files] == ["a_sift_matches.json", "b_sift_matches.json"] and folder == str(dataset / "output" / "m")
    assert from_json(files[0].read_text()).count > 20 and "2 of 2 pairs have matches on file (2 now, 0 before)" in report
    assert "(0 now, 2 before)" in passed()[1]
    files[0].unlink()
    assert "(1 now, 1 before)" in passed()[1]
    assert "(2 now, 0 before)" in passed(ratio=0.7)[1]


def test_cancel_keeps_what_is_done(dataset, monkeypatch):
    import comfy.model_management as management

    calls = []

    def stop():
        calls.append(1)
        if len(calls) > 2:  # while the second pair is at work
            raise management.InterruptProcessingException()

    with monkeypatch.context() as patch:
        patch.setattr(management, "throw_exception_if_processing_interrupted", stop)
        with pytest.raises(management.InterruptProcessingException):
            passed()
    assert [f.name for f in (dataset / "output" / "m").glob("*.json")] == ["a_sift_matches.json"]
    assert "(1 now, 1 before)" in passed()[1]


def test_pairs_outside_the_input_folder_are_refused_before_running(dataset):
    from fitting_room.nodes.matches import SiftFolder
    from fitting_room.nodes.pairs import DataSetPairs

    assert "lies outside" in DataSetPairs.validate_inputs(folder="../output")
    assert "no folder 'gone'" in DataSetPairs.validate_inputs(folder="gone")
    assert "not a folder below the output directory" in SiftFolder.validate_inputs(folder="../x")


def test_new_files_are_noticed(dataset):
    from fitting_room.nodes.pairs import DataSetPairs

    before = DataSetPairs.fingerprint_inputs(layout="folder", folder="set", split="train")
    assert before == DataSetPairs.fingerprint_inputs(layout="folder", folder="set", split="train")
    (dataset / "input/set/person/c.png").write_bytes((dataset / "input/set/person/a.png").read_bytes())
    assert DataSetPairs.fingerprint_inputs(layout="folder", folder="set", split="train") != before
