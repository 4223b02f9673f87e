"""Folders matched by name, and whatever takes no part listed by name."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from fitting_room.evaluation.folders import Readable, listed, match, match_parts, pictures_in, read, resized, runs_in
from fitting_room.evaluation.looks import Looks
from fitting_room.evaluation.measure import compare, evaluate
from fitting_room.evaluation.metrics import METRICS, MetricError, paired
from fitting_room.evaluation.protocol import PROTOCOLS
from fitting_room.evaluation.statistics import Summary, over_runs, summarise

torchmetrics = pytest.importorskip("torchmetrics")
IGR = PROTOCOLS["igr"]


def draw(path, seed, size=(24, 32)):
    """A picture of noise, its file's bytes depending on the seed alone."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), np.uint8)).save(path)
    return path


@pytest.fixture
def folders(tmp_path):
    real, generated = tmp_path / "real", tmp_path / "generated"
    for number in range(4):
        draw(real / f"{number:06}_00.png", number)
        draw(generated / f"{number:06}_00.png", number + 10)
    return real, generated


# ---- matching --------------------------------------------------------------------------------------------------------------


def test_names_decide_who_belongs_to_whom(tmp_path):
    real, generated = tmp_path / "real", tmp_path / "made"
    for name in ("shirt.jpg", "shirt_red.png", "000001_00.png", "alone.png"):
        draw(real / name, 1)
    for name in ("shirt_00001_.png", "shirt_red_00002_.png", "000001_00_000007_00.png", "shirt_red_blue_00003_.png", "nobody.png"):
        draw(generated / name, 2)
    (generated / "shirt_00001_.txt").write_text("a  red\nshirt")
    (generated / "notes.txt").write_text("hello")
    (generated / "more").mkdir()
    found = match(real, generated)
    assert [(n, g.name) for n, _, g in found.pairs] == [("000001_00", "000001_00_000007_00.png"), ("shirt", "shirt_00001_.png"), ("shirt_red", "shirt_red_00002_.png")]
    kinds = {(p.kind, p.name) for p in found.problems}
    assert kinds == {("no truth", "nobody.png"), ("second result", "shirt_red_blue_00003_.png"), ("no result", "alone.png"), ("not looked into", "notes.txt"), ("not looked into", "more")}
    assert found.captions == {"shirt_00001_": "a red shirt"}
    assert any(line == "no truth (1): nobody.png" for line in listed(found.problems))


def test_an_exact_name_goes_before_a_counted_one(tmp_path):
    for name in ("a.png", "a_00001_.png"):
        draw(tmp_path / "made" / name, 1)
    draw(tmp_path / "real" / "a.png", 1)
    found = match(tmp_path / "real", tmp_path / "made")
    assert found.pairs[0][2].name == "a.png" and [p.name for p in found.problems] == ["a_00001_.png"]


def test_folders_without_pictures_are_refused(tmp_path):
    draw(tmp_path / "real" / "a.png", 1)
    (tmp_path / "made").mkdir()
    with pytest.raises(ValueError, match="The folder 'made' has no pictures"):
        match(tmp_path / "real", tmp_path / "made")
    with pytest.raises(ValueError, match="There is no folder"):
        pictures_in(tmp_path / "nowhere")


def test_pictures_are_read_upright_on_white_and_resized_as_asked(tmp_path):
    rgba = np.zeros((8, 6, 4), np.uint8)
    rgba[:, :3] = (255, 0, 0, 255)
    Image.fromarray(rgba).save(tmp_path / "a.png")
    picture = read(tmp_path / "a.png")
    assert picture.shape == (3, 8, 6) and picture[:, 0, 0].tolist() == [1, 0, 0] and picture[:, 0, 5].tolist() == [1, 1, 1]
    wide = torch.rand(3, 40, 40)
    assert resized(wide, (10, 10)).shape == (3, 10, 10)
    plain = resized(wide, (10, 10))
    assert torch.allclose(plain[:, 0, 0], wide[:, 1:3, 1:3].mean((1, 2)), atol=1e-6)  # bilinear without a filter: the four nearest pixels
    assert not torch.allclose(resized(wide, (10, 10), "area-bicubic"), plain, atol=1e-3)


# ---- a measurement ---------------------------------------------------------------------------------------------------------


def test_values_are_those_of_the_pairs_and_nothing_is_left_out_in_silence(folders):
    real, generated = folders
    draw(generated / "000002_00.png", 12, (30, 32))
    (generated / "000003_00.png").write_bytes(b"no picture")
    draw(generated / "stranger.png", 3)
    found = evaluate(real, generated, IGR, Looks(), metrics=["ssim", "psnr"], size=None)
    expected = {n: float(paired("psnr", read(generated / f"{n}.png")[None], read(real / f"{n}.png")[None], Looks())[0]) for n in ("000000_00", "000001_00")}
    assert {n: v["psnr"] for n, v in found.files[""].items()} == pytest.approx(expected)
    assert found.results["psnr"].value == pytest.approx(np.mean(list(expected.values()))) and found.results["psnr"].count == 2
    text = "\n".join(found.problems)
    for words in ("wrong size (1): 000002_00.png (30 x 32, expected 24 x 32)", "unreadable (1): 000003_00.png", "no truth (1): stranger.png"):
        assert words in text
    assert "not at the paper's 768 x 1024" in found.table() and json.loads(found.to_json())["results"]["ssim"]["count"] == 2


def test_truths_are_brought_to_the_papers_size_and_results_must_have_it(folders):
    real, generated = folders
    with pytest.raises(MetricError, match="SSIM: no picture could be compared"):
        evaluate(real, generated, IGR, Looks(), metrics=["ssim"])
    found = evaluate(real, generated, IGR, Looks(), metrics=["ssim"], size=(24, 32))
    assert found.results["ssim"].count == 4
    for number in range(4):
        draw(generated / f"{number:06}_00.png", number, (12, 16))
    smaller = evaluate(real, generated, IGR, Looks(), metrics=["ssim"], size=(12, 16))
    assert smaller.results["ssim"].count == 4 and smaller.results["ssim"].value < 0.99


def test_seeds_in_subfolders_give_a_spread(folders, tmp_path):
    real, _ = folders
    values = []
    for seed in range(3):
        for number in range(4):
            draw(tmp_path / "seeds" / f"seed{seed}" / f"{number:06}_00.png", 100 * seed + number + 50)
        values.append(evaluate(real, tmp_path / "seeds" / f"seed{seed}", IGR, Looks(), metrics=["psnr"], size=None).results["psnr"].value)
    assert runs_in(tmp_path / "seeds").keys() == {"seed0", "seed1", "seed2"}
    found = evaluate(real, tmp_path / "seeds", IGR, Looks(), metrics=["psnr"], size=None).results["psnr"]
    assert found.spread_over == "3 runs" and found.value == pytest.approx(np.mean(values)) and found.deviation == pytest.approx(np.std(values, ddof=1)) and found.count == 12


def test_what_a_metric_lacks_is_in_the_table_and_the_others_are_computed(folders):
    found = evaluate(*folders, IGR, Looks(), size=None)
    assert set(found.results) == {"ssim"} and set(found.left_out) == {"lpips", "dists", "fid", "clip_fid", "kid"}
    assert "| FID | lower | not computed" in found.table() and "FID's Inception network" in found.table()
    with pytest.raises(MetricError, match="No metric could be computed.*Inception"):
        evaluate(*folders, IGR, Looks(), setting="unpaired", size=None)
    with pytest.raises(ValueError, match="IGR has no multiple test; it has paired, unpaired"):
        evaluate(*folders, IGR, Looks(), setting="multiple")


def colours(batch):
    """A stand-in for the user's image encoder: the mean colour of each quarter, (B,12)."""
    b = batch.movedim(-1, 1)
    return torch.nn.functional.adaptive_avg_pool2d(b, 2).flatten(1)


def test_the_users_own_encoder_gives_distances_of_its_own_name(folders):
    looks = Looks(vision=colours, batch=3)
    found = evaluate(*folders, IGR, looks, metrics=["clip_vision_similarity", "clip_vision_distance", "clip_vision_kernel"], size=None)
    from fitting_room.evaluation.distances import frechet

    real, generated = (torch.cat([colours(read(p).movedim(0, -1)[None]) for p in sorted(f.iterdir())]) for f in folders)
    assert found.results["clip_vision_distance"].value == pytest.approx(frechet(generated.double(), real.double()), rel=1e-4)
    cosine = torch.nn.functional.cosine_similarity(generated, real)
    assert [v["clip_vision_similarity"] for v in found.files[""].values()] == pytest.approx(cosine.tolist(), abs=1e-5)
    assert "FID" not in found.table().split("Test:")[1].split("\n\n", 1)[1]


def test_several_garments_are_compared_with_their_own_regions(tmp_path):
    real, made = tmp_path / "real", tmp_path / "made"
    red, green = (np.broadcast_to(np.array(c, np.uint8), (16, 12, 3)) for c in ((255, 0, 0), (0, 255, 0)))
    both = np.concatenate([red, green])
    half = np.zeros((32, 12), np.uint8)
    half[:16] = 255
    for path, picture in (
        (real / "upper" / "a.png", red), (real / "lower" / "a.png", green), (real / "upper" / "b.png", red), (made / "a.png", both), (made / "b.png", both),
        (made / "upper_worn" / "a.png", half), (made / "lower_worn" / "a.png", 255 - half),
    ):
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.ascontiguousarray(picture)).save(path)
    found = match_parts(real, made)
    assert set(found.parts) == {"a"} and {(p.kind, p.name) for p in found.problems} == {("no region", "b.png"), ("no truth", "b.png")}
    looks = Looks()
    looks.embedder = lambda metric: lambda pictures: torch.stack([p.mean((1, 2)) for p in pictures])
    looks.lacks = lambda needs, packages=(): ""
    values = evaluate(real, made, PROTOCOLS["anydressing"], looks, "multiple", ["clip_i_star"], None)
    assert values.results["clip_i_star"].value == pytest.approx(1) and values.results["clip_i_star"].count == 1


# ---- batches ---------------------------------------------------------------------------------------------------------------


def test_batches_are_compared_one_by_one_or_with_one_truth():
    made, real = torch.rand(3, 24, 20, 3), torch.rand(3, 24, 20, 3)
    found = compare(made, real, ["psnr", "ssim"], Looks())
    assert [v["psnr"] for v in found.files[""].values()] == pytest.approx(paired("psnr", made.movedim(-1, 1), real.movedim(-1, 1), Looks()).tolist())
    one = compare(made, real[:1], ["psnr"], Looks())
    assert one.files[""]["1"]["psnr"] == pytest.approx(found.files[""]["1"]["psnr"]) and one.results["psnr"].count == 3
    for wrong, words in (((made, real[:2], ["psnr"]), "3 results and 2 true pictures"), ((made, real[:, :12], ["psnr"]), "bring them to one size"), ((made, real, []), "known are psnr"), ((made, real, ["attention_concentration"]), "two batches of pictures do not hold")):
        with pytest.raises(MetricError, match=words):
            compare(*wrong, Looks())
    assert "it needs a prompt per result" in str(pytest.raises(MetricError, compare, made, real, ["clip_t"], Looks(files={"clip_b32": "."})).value)


def test_equal_pictures_are_infinitely_alike_and_said_so():
    a = torch.rand(2, 24, 20, 3)
    found = compare(a, a, ["psnr", "ssim"], Looks())
    assert found.results["psnr"].value == float("inf") and "every picture is equal" in found.table() and '"inf"' in found.to_json()
    assert found.results["ssim"].value == pytest.approx(1)


# ---- statistics ------------------------------------------------------------------------------------------------------------


def test_the_interval_is_a_bootstrap_of_the_mean():
    values = list(np.random.default_rng(0).normal(5, 2, 200))
    found = summarise(values)
    assert found.value == pytest.approx(np.mean(values)) and found.deviation == pytest.approx(np.std(values, ddof=1))
    half = 1.96 * found.deviation / 200**0.5
    assert found.low == pytest.approx(found.value - half, abs=0.25 * half) and found.high == pytest.approx(found.value + half, abs=0.25 * half)
    mixed = summarise([1.0, 3.0, float("inf")])
    assert mixed.value == 2 and mixed.count == 3 and "1 of 3 pictures are equal" in mixed.note
    with pytest.raises(ValueError, match="no values"):
        summarise([])


def test_runs_are_averaged_and_missing_ones_said():
    found = over_runs({"a": {"ssim": Summary(0.5, 4)}, "b": {"ssim": Summary(0.7, 4)}, "c": {}})["ssim"]
    assert (found.value, found.count, found.spread_over) == (pytest.approx(0.6), 8, "2 runs") and found.deviation == pytest.approx(0.02**0.5) and "1 of 3 runs" in found.note


# ---- protocols -------------------------------------------------------------------------------------------------------------


def test_protocols_are_those_of_the_papers():
    assert {n: (p.size, p.sampler, p.steps, p.guidance) for n, p in PROTOCOLS.items()} == {
        "igr": ((768, 1024), "DDIM", 25, 1.5), "anydressing": ((576, 768), "DDIM", 30, 6.0), "diffuse_to_choose": ((512, 512), "DDIM", 40, 5.0),
        "pm_jewelry": ((384, 512), "PLMS", 50, None), "sift_vton": ((384, 512), "PLMS", 50, 1.5),
    }
    for protocol in PROTOCOLS.values():
        assert all(m in METRICS for s in protocol.settings for m in s.metrics)
        assert all(s.name in ("paired", "unpaired", "multiple") for s in protocol.settings)
    assert PROTOCOLS["sift_vton"].setting("unpaired").metrics == ("fid", "kid")


def test_unreadable_truths_do_not_stop_the_rest(folders):
    real, generated = folders
    (real / "000001_00.png").write_bytes(b"")
    found = evaluate(real, generated, IGR, Looks(vision=colours), metrics=["psnr", "clip_vision_distance"], size=None)
    assert found.results["psnr"].count == 3 and found.results["clip_vision_distance"].count == 4
    assert sum("unreadable" in p for p in found.problems) == 1
    assert list(Readable(match(real, generated)))[0][0] == "000000_00"
