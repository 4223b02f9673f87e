"""Measuring on the real host: batches, folders, what is refused and how it is said."""

import json
import re

import numpy as np
import pytest
import torch
from PIL import Image

from ..support import run

pytestmark = pytest.mark.usefixtures("comfyui")
pytest.importorskip("torchmetrics")


@pytest.fixture
def root(tmp_path, monkeypatch):
    import folder_paths

    (tmp_path / "input").mkdir()
    monkeypatch.setattr(folder_paths, "input_directory", str(tmp_path / "input"))
    monkeypatch.setattr(folder_paths, "output_directory", str(tmp_path / "output"))
    return tmp_path


def batch(count=2, seed=0):
    return torch.rand(count, 32, 24, 3, generator=torch.Generator().manual_seed(seed))


def valid(node_id, **inputs):
    """What the node's validate_inputs says of these."""
    from fitting_room import nodes

    found = {cls.GET_SCHEMA().node_id: cls for cls in nodes.NODES}[node_id]
    return found.validate_inputs(**inputs)


def test_compare_gives_a_table_and_the_numbers():
    real, made = batch(), batch(seed=1)
    table, numbers = run("FittingRoomCompare", real=real, generated=made, metrics="psnr, ssim").args
    told = json.loads(numbers)
    expected = [-10 * float(torch.log10((a - b).pow(2).mean())) for a, b in zip(real, made)]
    assert [told["files"][""][str(i + 1)]["psnr"] for i in range(2)] == pytest.approx(expected, abs=1e-3)
    assert told["results"]["psnr"]["value"] == pytest.approx(np.mean(expected), abs=1e-3) and "| SSIM | higher |" in table and "2 results" in table


def test_the_users_clip_vision_has_a_distance_of_its_own():
    vision = run("FittingRoomDemoVision", kind="clip").args[0]
    names = "clip_vision_similarity, clip_vision_distance"
    table, numbers = run("FittingRoomCompare", real=batch(3), generated=batch(3), metrics=names, clip_vision=vision).args
    told = json.loads(numbers)["results"]
    assert told["clip_vision_similarity"]["value"] == pytest.approx(1, abs=1e-4) and told["clip_vision_distance"]["value"] == pytest.approx(0, abs=1e-3)
    assert "CLIP vision distance" in table and "FID" not in table
    other = json.loads(run("FittingRoomCompare", real=batch(3), generated=batch(3, 5) * 0.3, metrics=names, clip_vision=vision).args[1])["results"]
    assert other["clip_vision_distance"]["value"] > told["clip_vision_distance"]["value"] + 1e-3


def test_compare_says_what_is_wrong():
    for inputs, words in (
        ({"metrics": "clip_vision_distance"}, "Load CLIP Vision"), ({"metrics": "lpips"}, "alexnet\\* in models/metrics"), ({"generated": batch(2)[:, :16]}, "bring them to one size"),
        ({"generated": batch(3)}, "3 results and 2 true pictures"),
    ):
        with pytest.raises(ValueError, match=words):
            run("FittingRoomCompare", **{"real": batch(), "generated": batch(seed=1), "metrics": "psnr", **inputs})
    assert "The metric sim is not known; known are psnr" in valid("FittingRoomCompare", metrics="psnr, sim") and valid("FittingRoomCompare", metrics="psnr, ssim") is True


def saved(folder, images, names="", prompts=""):
    return run("FittingRoomSaveResults", images=images, folder=folder, names=names, prompts=prompts).args[0]


def test_results_are_saved_by_name_and_measured_by_folder(root):
    real, made = batch(3), batch(3, 7)
    folders = saved("test/real", real, "a\nb\nc"), saved("test/made", made, "b\na\nx", "a shirt")
    assert (root / "output/test/made/b.txt").read_text() == "a shirt"
    table, path = run("FittingRoomEvaluate", real=folders[0], generated=folders[1], protocol="igr", metrics="psnr", width=24, height=32).args
    told = json.loads(open(path, encoding="utf-8").read())
    levels = [(t * 255).round() / 255 for t in (real, made)]
    expected = {n: -10 * float(torch.log10((levels[0][i] - levels[1][j]).pow(2).mean())) for n, i, j in (("a", 0, 1), ("b", 1, 0))}
    assert {n: v["psnr"] for n, v in told["files"][""].items()} == pytest.approx(expected, abs=1e-3)
    assert "no truth (1): x.png" in table and "no result (1): c.png" in table and path.endswith("evaluation_00001.json")


def test_evaluate_reads_no_folder_outside_and_refuses_early(root):
    Image.new("RGB", (8, 8)).save(root / "input" / "a.png")
    for inputs, words in (
        ({"real": "/etc"}, "lies outside"), ({"real": "nowhere"}, "There is no folder 'nowhere'"), ({"protocol": "igr", "test": "multiple"}, "IGR has no multiple test"),
        ({"metrics": "sim"}, "The metric sim"), ({"width": 64, "height": 0}, "give both"), ({"width": 68, "height": 64}, "width is 68"),
    ):
        assert re.search(words, valid("FittingRoomEvaluate", **inputs)), inputs
    assert valid("FittingRoomEvaluate", real="", generated="", protocol="igr", test="paired", metrics="psnr", width=0, height=0) is True
    with pytest.raises(ValueError, match="has no pictures|No metric could be computed"):
        run("FittingRoomEvaluate", real="", generated="", protocol="igr", metrics="psnr")


def test_a_changed_folder_is_measured_again(root):
    from fitting_room.nodes.evaluation import Evaluate

    saved("test/real", batch(1), "a")
    inputs = {"real": "test/real", "generated": "test/real", "protocol": "igr"}
    first = Evaluate.fingerprint_inputs(**inputs)
    assert first == Evaluate.fingerprint_inputs(**inputs) != Evaluate.fingerprint_inputs(**{**inputs, "protocol": "sift_vton"})
    saved("test/real", batch(1, 1), "b")
    assert Evaluate.fingerprint_inputs(**inputs) != first


def test_saving_refuses_names_that_are_none(root):
    for names, words in (("a", "2 pictures and 1 names"), ("a\n../b", "'../b' cannot name"), ("a\na", "'a' cannot name")):
        with pytest.raises(ValueError, match=words):
            saved("test/x", batch(2), names)
    assert "below the output directory" in valid("FittingRoomSaveResults", folder="../x")
    saved("test/x", batch(2))
    assert sorted(p.name for p in (root / "output/test/x").iterdir()) == ["0001.png", "0002.png"]


def test_only_folders_with_pictures_may_be_read(root):
    from fitting_room.host import readable_folder

    saved("test/x", batch(1))
    assert readable_folder("test/x") == root / "output" / "test" / "x" and readable_folder("") == root / "input"
    for name in ("/etc", "../x"):
        with pytest.raises(ValueError, match="outside"):
            readable_folder(name)
