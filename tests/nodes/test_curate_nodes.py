"""Curation on the real host, over a folder of drawn figures whose faults are known."""

import json

import numpy as np
import pytest
from PIL import Image

from ..support import run

pytestmark = pytest.mark.usefixtures("comfyui")
FULL = np.zeros((96, 72), bool)
FULL[20:70, 20:52] = True
CUT = np.zeros((96, 72), bool)
CUT[40:96, 20:52] = True  # reaches the bottom
TORN = FULL.copy()
TORN[28:34], TORN[44:50], TORN[58:62] = False, False, False
FIGURES = {"good": FULL, "cut": CUT, "torn": TORN, "empty": np.zeros((96, 72), bool)}


@pytest.fixture
def pairs(tmp_path, monkeypatch):
    import folder_paths

    for name, mask in FIGURES.items():
        for part in ("person", "garment", "mask"):
            (tmp_path / "set" / part).mkdir(parents=True, exist_ok=True)
        for part in ("person", "garment"):
            Image.new("RGB", (72, 96), "grey").save(tmp_path / f"set/{part}/{name}.png")
        Image.fromarray(mask.astype(np.uint8) * 255).save(tmp_path / f"set/mask/{name}.png")
    monkeypatch.setattr(folder_paths, "input_directory", str(tmp_path))
    return run("FittingRoomPairs", layout="folder", folder="set", split="train").args[0]


def curated(pairs, **inputs):
    return run("FittingRoomCurate", **{"pairs": pairs, "rules": "", "share": 0.25, "category": "upper", **inputs}).args


def test_the_good_one_is_kept_and_reasons_are_given(pairs):
    kept, sheet, report, details = curated(pairs)
    assert [s.name for s in kept] == ["good"] and sheet.shape[0] == 1 and sheet.shape[-1] == 3
    assert report.startswith("1 of 4 pairs kept") and "truncation: 1 reject" in report
    told = json.loads(details)
    reasons = {p["name"]: p["reason"] for p in told["pairs"]}
    assert reasons == {"good": "", "cut": "cut off at the bottom (100%)", "torn": "in 4 pieces", "empty": "the garment mask is empty"}
    assert told["thresholds_calibrated"] is False


def test_share_cut_and_thresholds_decide(pairs):
    assert len(curated(pairs, share=1.0)[0]) == 4
    assert [s.name for s in curated(pairs, share=1.0, cut=True)[0]] == ["good"]
    lenient = curated(pairs, share=1.0, cut=True, rules='{"max_parts": 4, "solidity": 0.5}')[0]
    assert [s.name for s in lenient] == ["good", "torn"]


def test_a_broken_file_is_turned_away_with_its_name(pairs, tmp_path):
    (tmp_path / "set/mask/good.png").write_bytes(b"no picture")
    (tmp_path / "set/person/good.png").write_bytes(b"no picture")
    _, sheet, report, details = curated(pairs, share=1.0, cut=True)
    reasons = {p["name"]: p["reason"] for p in json.loads(details)["pairs"]}
    assert "good.png cannot be read as a picture" in reasons["good"] and sheet.max() <= 1


@pytest.mark.parametrize("rules, sentence", [
    ("nonsense", "not JSON"),
    ('{"sharpness": 1}', "no rules 'sharpness'; the rules are"),
    ('{"occlusion": "much"}', "give a number"),
    ('{"aspect": 1}', "give two numbers"),
])
def test_bad_rules_are_refused_before_running(rules, sentence):
    from fitting_room.nodes.curate import Curate

    assert sentence in Curate.validate_inputs(rules=rules)
    assert Curate.validate_inputs(rules="") is True
