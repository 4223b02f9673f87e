"""Files to samples: padded, of one size, and refused by name."""

import numpy as np
import pytest
import torch
from fitting_room.data.check import NEEDS, check
from fitting_room.data.find import find_pairs
from fitting_room.data.read import Fit, read_sample
from fitting_room.data.source import PairSource
from fitting_room.preprocess.matches import Matches, to_json
from PIL import Image


def save(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(pixels, np.uint8)).save(path)


def folder(root, names=("a", "b"), size=(64, 48)):
    """Persons 48 x 64 (half red), garments 32 x 32, masks of the lower half."""
    h, w = size
    for name in names:
        person = np.zeros((h, w, 3))
        person[: h // 2] = (255, 0, 0)
        mask = np.zeros((h, w))
        mask[h // 2 :] = 255
        save(root / "person" / f"{name}.png", person)
        save(root / "garment" / f"{name}.png", np.full((32, 32, 3), 80))
        save(root / "mask" / f"{name}.png", mask)
        save(root / "agnostic_mask" / f"{name}.png", mask)
    return root


def test_fitting_pads_and_never_stretches():
    fit = Fit((64, 48), (64, 64))
    assert fit.inner == (64, 48) and (fit.top, fit.left) == (0, 8)
    padded = fit.picture(torch.zeros(3, 64, 48))
    assert bool((padded[:, :, :8] == 1).all()) and bool((padded[:, :, 8:56] == 0).all()) and bool((padded[:, :, 56:] == 1).all())
    half = Fit((64, 48), (32, 24))
    # pixel centres at whole numbers: the middle of a 48 wide picture, 23.5, is the middle of a 24 wide one, 11.5
    torch.testing.assert_close(half.points(torch.tensor([23.5, 31.5]), (64, 48)), torch.tensor([11.5, 15.5]))
    # matches that refer to another size of the same picture
    torch.testing.assert_close(fit.points(torch.tensor([11.5, 15.5]), (32, 24)), torch.tensor([31.5, 31.5]))


def test_a_sample_has_one_size_and_knows_its_padding(tmp_path):
    sample = read_sample(find_pairs("folder", folder(tmp_path))[0], 64, 64)
    assert sample.person.shape == (3, 64, 64) and sample.mask.shape == sample.item.worn.shape == sample.valid.shape == (1, 64, 64)
    assert torch.equal(sample.mask, sample.item.worn) and bool((sample.valid[..., :8] == 0).all()) and float(sample.valid.mean()) == 0.75
    assert torch.equal(sample.person[:, 0, 32], torch.tensor([1.0, 0.0, 0.0])) and float(sample.mask[0, 48, 32]) == 1.0
    assert sample.item.picture.shape == (3, 64, 64) and float(sample.item.picture[0, 32, 32]) == pytest.approx(80 / 255)


def test_matches_come_in_pixels_of_the_sample(tmp_path):
    root = folder(tmp_path, ("a",))
    (root / "matches").mkdir()
    points = np.array([[[23.5, 31.5], [15.5, 15.5]]], np.float32)
    (root / "matches" / "a_sift_matches.json").write_text(to_json(Matches(points, np.ones(1, bool), (64, 48), (32, 32))))
    sample = read_sample(find_pairs("folder", root)[0], 128, 96)
    torch.testing.assert_close(sample.item.matches, torch.tensor([[[47.5, 63.5], [47.5, 63.5]]]))  # 32 x 32 fits 96 x 96, 16 below the top


@pytest.mark.parametrize("damage, words", [
    (lambda r: (r / "person" / "a.png").write_bytes(b"no picture"), "a.png"),
    (lambda r: (r / "garment" / "a.png").write_bytes((r / "garment" / "a.png").read_bytes()[:40]), "a.png"),
    (lambda r: (r / "agnostic_mask" / "a.png").unlink() or (r / "mask" / "a.png").unlink(), "no mask"),
    (lambda r: save(r / "agnostic_mask" / "a.png", np.zeros((64, 48))), "agnostic_mask/a.png is empty"),
    (lambda r: save(r / "agnostic_mask" / "a.png", np.full((48, 64), 255)), "is 64 x 48 and the person's picture 48 x 64"),
])
def test_the_check_names_what_is_wrong(tmp_path, damage, words):
    root = folder(tmp_path)
    pairs = find_pairs("folder", root)
    damage(root)
    pairs = find_pairs("folder", root) if words == "no mask" else pairs
    found = check(pairs, 64, 48, NEEDS["diffuse_to_choose"])
    assert found.total == 2 and [name for name, _ in found.bad] == ["a"] and words in found.bad[0][1]
    source = PairSource(pairs, 64, 48, needs=NEEDS["diffuse_to_choose"])
    with pytest.raises(ValueError, match="a"):
        source.sample(0)
    assert source.sample(1).name == "b"


def test_a_whole_data_set_is_said_to_be_whole(tmp_path):
    seen = []
    found = check(find_pairs("folder", folder(tmp_path)), 64, 48, ("mask", "worn"), lambda *p: seen.append(p))
    assert not found.bad and found.lines()[0] == "All 2 samples can be read." and seen == [(1, 2), (2, 2)]


def test_dressing_takes_every_slot_a_person_has(tmp_path):
    for name in ("a", "b"):
        save(tmp_path / "person" / f"{name}.png", np.zeros((64, 48, 3)))
    for slot, names in (("upper", "ab"), ("lower", "a"), ("hat", "b")):
        for name in names:
            save(tmp_path / slot / f"{name}.png", np.full((32, 32, 3), 80))
    save(tmp_path / "hat_worn" / "b.png", np.full((64, 48), 255))
    (tmp_path / "caption").mkdir()
    (tmp_path / "caption" / "a.txt").write_text("a person\nin a park")
    pairs = find_pairs("dressing", tmp_path)
    assert [[i.slot for i in r.things()] for r in pairs] == [["upper", "lower"], ["upper", "hat"]]
    sample = read_sample(pairs[0], 64, 48)
    assert sample.caption == "a person in a park" and sample.items[1].worn is None
    assert bool(read_sample(pairs[1], 64, 48).items[1].worn.all())
    assert "Garments: upper 2, lower 1, hat 1." in pairs.report()


def test_a_table_names_files_and_says_which_lines_are_left_out(tmp_path):
    for name in ("p1", "g1", "m1"):
        save(tmp_path / "files" / f"{name}.png", np.full((64, 48, 3), 120))
    (tmp_path / "pairs.csv").write_text(
        "name,source,product,mask,caption\none,files/p1.png,files/g1.png,files/m1.png,a vase\ntwo,files/p1.png,files/no.png,,\nthree,../p1.png,files/g1.png,,\n"
    )
    pairs = find_pairs("product", tmp_path)
    assert [r.name for r in pairs] == ["one"] and pairs[0].caption == "a vase" and pairs[0].agnostic_mask.name == "m1.png"
    assert "line 3: garment files/no.png" in pairs.problems[0] and "line 4: person ../p1.png" in pairs.problems[1]


def test_unpaired_takes_the_second_column_and_val_lies_in_train(tmp_path):
    for name in ("1", "2"):
        save(tmp_path / "train" / "image" / f"{name}.jpg", np.zeros((64, 48, 3)))
        save(tmp_path / "train" / "cloth" / f"{name}.jpg", np.full((64, 48, 3), 80))
    (tmp_path / "train_pairs.txt").write_text("1.jpg 2.jpg\n2.jpg 1.jpg\n")
    (tmp_path / "siftvton_val_pairs.txt").write_text("2.jpg 1.jpg\n")
    assert [(r.name, r.garment.stem) for r in find_pairs("viton-hd", tmp_path, pairing="unpaired")] == [("1-2", "2"), ("2-1", "1")]
    assert [(r.name, r.garment.stem) for r in find_pairs("viton-hd", tmp_path)] == [("1", "1"), ("2", "2")]
    assert [r.name for r in find_pairs("viton-hd", tmp_path, "val")] == ["2"]


def test_the_key_of_a_sample_follows_its_files(tmp_path):
    root = folder(tmp_path)
    source = PairSource(find_pairs("folder", root), 64, 48)
    before, other, data = source.key(0), source.key(1), source.fingerprint()
    save(root / "mask" / "a.png", np.full((64, 48), 255))
    assert source.key(0) != before and source.key(1) == other
    save(root / "garment" / "c.png", np.zeros((8, 8, 3)))
    save(root / "person" / "c.png", np.zeros((8, 8, 3)))
    assert PairSource(find_pairs("folder", root), 64, 48).fingerprint() != data
