"""The folder pass: released layout, taken up again, cancelled, unreadable files, filters that do nothing."""

import json

import cv2
import numpy as np
import pytest
from fitting_room.preprocess import pictures
from fitting_room.preprocess.match_cache import LEDGER, PairFiles, cache_matches, load_pair, pair_seed
from fitting_room.preprocess.matches import from_json
from fitting_room.preprocess.sift import MatchOptions, match_pair
from PIL import Image
from skimage import data


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    """Four pairs of small pictures: three shots under known moves, one plain garment."""
    folder = tmp_path_factory.mktemp("pairs")
    person = cv2.resize(data.astronaut(), (192, 256), interpolation=cv2.INTER_AREA)
    pairs = []
    for number in range(4):
        move = np.array([[0.9, 0.02 * number, 8.0], [0.0, 0.9, 4.0 * number]])
        cloth = cv2.warpAffine(person, move, (192, 256), borderValue=(255,) * 3) if number < 3 else np.full_like(person, 220)
        paths = folder / f"{number:05d}_00_person.png", folder / f"{number:05d}_00_cloth.png"
        for path, picture in zip(paths, (person, cloth), strict=True):
            Image.fromarray(picture).save(path)
        pairs.append(PairFiles(f"{number:05d}_00", *paths))
    return pairs


def files_in(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.glob("*.json"))}


def test_a_pass_writes_the_released_layout(dataset, tmp_path):
    seen = []
    report = cache_matches(dataset, tmp_path, progress=lambda *step: seen.append(step))
    assert seen == [(n + 1, 4, pair.name) for n, pair in enumerate(dataset)]
    assert (report.total, report.matched, report.kept, report.failed, report.cancelled) == (4, 4, 0, [], False)
    assert report.without == ["00003_00"]
    body = json.loads((tmp_path / "00000_00_sift_matches.json").read_text())
    direct = match_pair(*load_pair(dataset[0]), seed=pair_seed(0, "00000_00"))
    assert np.allclose(body, direct.resized((512, 384)).points, atol=1e-4)
    assert json.loads((tmp_path / "00003_00_sift_matches.json").read_text()) == []
    counts = [from_json(path.read_text()).count for path in sorted(tmp_path.glob("*.json"))]
    assert report.matches == sum(counts) and counts[0] > 50
    assert report.removed["ratio"][0] > report.matches


def test_a_second_pass_does_nothing_and_reports_the_same(dataset, tmp_path):
    first = cache_matches(dataset, tmp_path)
    before = {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    second = cache_matches(dataset, tmp_path)
    assert (second.matched, second.kept) == (0, 4)
    assert second.removed == first.removed and second.matches == first.matches
    assert {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == before


def test_cancelled_then_taken_up_again(dataset, tmp_path):
    done = []
    report = cache_matches(dataset, tmp_path / "a", progress=lambda *step: done.append(step), cancelled=lambda: len(done) >= 2)
    assert report.cancelled and report.matched == 2 and len(files_in(tmp_path / "a")) == 2
    assert "start it again" in " ".join(report.lines())
    report = cache_matches(dataset, tmp_path / "a")
    assert (report.matched, report.kept, report.cancelled) == (2, 2, False)
    cache_matches(dataset, tmp_path / "b")
    assert files_in(tmp_path / "a") == files_in(tmp_path / "b")


def test_an_exception_from_progress_leaves_whole_files(dataset, tmp_path):
    def stop(done, total, name):
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cache_matches(dataset, tmp_path, progress=stop)
    assert len(files_in(tmp_path)) == 2 and not list(tmp_path.glob(".*"))
    assert cache_matches(dataset, tmp_path).kept == 2


def test_neither_order_nor_workers_change_a_file(dataset, tmp_path):
    cache_matches(dataset, tmp_path / "a")
    cache_matches(dataset[::-1], tmp_path / "b", workers=3)
    assert files_in(tmp_path / "a") == files_in(tmp_path / "b")


def test_other_options_or_seed_are_matched_again(dataset, tmp_path):
    cache_matches(dataset, tmp_path)
    assert cache_matches(dataset, tmp_path, MatchOptions(ratio=0.7)).matched == 4
    assert cache_matches(dataset, tmp_path, MatchOptions(ratio=0.7)).matched == 0
    assert cache_matches(dataset, tmp_path, MatchOptions(ratio=0.7), seed=1).matched == 4
    assert cache_matches(dataset, tmp_path, MatchOptions(ratio=0.7), seed=1, overwrite=True).matched == 4


def test_a_released_file_is_kept_and_a_broken_one_is_not(dataset, tmp_path):
    released = tmp_path / "00000_00_sift_matches.json"
    released.write_text("[[[1.0, 2.0], [3.0, 4.0]]]")
    (tmp_path / "00001_00_sift_matches.json").write_text("[[[1.0,")
    report = cache_matches(dataset, tmp_path)
    assert report.kept == 1 and report.matched == 3
    assert released.read_text() == "[[[1.0, 2.0], [3.0, 4.0]]]"
    assert from_json((tmp_path / "00001_00_sift_matches.json").read_text()).count > 50


def test_a_torn_ledger_line_costs_only_its_counts(dataset, tmp_path):
    cache_matches(dataset[:2], tmp_path)
    ledger = tmp_path / LEDGER
    ledger.write_bytes(ledger.read_bytes()[:-30])
    report = cache_matches(dataset, tmp_path)
    assert (report.kept, report.matched) == (2, 2)
    lines = ledger.read_text().splitlines()
    assert [json.loads(line)["name"] for line in (lines[0], *lines[2:])] == ["00000_00", "00002_00", "00003_00"]


def test_unreadable_files_are_named_and_the_rest_goes_on(dataset, tmp_path):
    broken, missing = tmp_path / "broken.png", tmp_path / "missing.png"
    broken.write_bytes(dataset[0].person.read_bytes()[:3000])
    pairs = [PairFiles("a", broken, dataset[0].garment), PairFiles("b", dataset[0].person, missing), *dataset]
    report = cache_matches(pairs, tmp_path / "out")
    assert report.matched == 4 and [name for name, _ in report.failed] == ["a", "b"]
    assert "broken.png cannot be read" in report.failed[0][1] and "missing.png is missing" in report.failed[1][1]
    assert any("broken.png" in line for line in report.lines())
    assert len(files_in(tmp_path / "out")) == 4


def test_a_filter_that_removes_nothing_is_reported(dataset, tmp_path):
    report = cache_matches(dataset, tmp_path, MatchOptions(max_scale=1e6))
    assert "scale" in report.idle_filters() and "ratio" not in report.idle_filters()
    assert any(line.startswith("The scale filter removed nothing of ") for line in report.lines())
    none_at_all = cache_matches(dataset[3:], tmp_path / "plain")
    assert none_at_all.idle_filters() == []  # nothing reached them
    assert any("No pair has a single match" in line for line in none_at_all.lines())


def test_names_that_are_paths_or_double(dataset, tmp_path):
    for name in ("../a", "a/b", "a\\b", "", ".hidden"):
        with pytest.raises(ValueError, match="plain file name"):
            cache_matches([PairFiles(name, dataset[0].person, dataset[0].garment)], tmp_path)
    with pytest.raises(ValueError, match="Two pairs"):
        cache_matches([dataset[0], dataset[0]], tmp_path)


def test_parts_from_label_pictures(dataset, tmp_path):
    dense, parse = np.zeros((256, 192, 3), np.uint8), np.zeros((256, 192, 3), np.uint8)
    dense[128:, :, 0], dense[:128, :, 0] = 20, 170
    parse[115:, :, 0], parse[:115, :, 0] = 6, 22
    for name, picture in (("dense", dense), ("parse", parse)):
        Image.fromarray(picture).save(tmp_path / f"{name}.png")
    both = {"densepose": tmp_path / "dense.png", "garment_parse": tmp_path / "parse.png"}
    pair = PairFiles("a", dataset[0].person, dataset[0].garment, **both)
    report = cache_matches([pair], tmp_path / "out")
    parts = {step[0] for step in json.loads((tmp_path / "out" / LEDGER).read_text())["removed"]}
    assert report.matches > 20 and {"torso", "right_arm"} <= parts
    half = PairFiles("b", dataset[0].person, dataset[0].garment, densepose=both["densepose"])
    assert "garment parsing" in cache_matches([half], tmp_path / "out").failed[0][1]


def test_pictures_are_turned_upright(tmp_path):
    picture = Image.fromarray(np.arange(24, dtype=np.uint8).reshape(2, 4, 3))
    exif = picture.getexif()
    exif[274] = 6  # to be shown a quarter turn clockwise
    picture.save(tmp_path / "a.png", exif=exif)
    assert pictures.read_picture(tmp_path / "a.png").shape == (4, 2, 3)
