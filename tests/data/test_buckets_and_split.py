"""Canvases of a picture's own proportions, and samples that are kept out of training."""

import numpy as np
import pytest
import torch
from fitting_room.data.buckets import bucket_of, bucket_sizes
from fitting_room.data.check import check
from fitting_room.data.find import find_pairs
from fitting_room.data.source import PairSource
from fitting_room.data.split import hold_out, shared_pictures
from fitting_room.preprocess.pictures import picture_size, read_picture
from PIL import Image


def save(path, height, width, level=90, **more):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((height, width, 3), level, np.uint8)).save(path, **more)


@pytest.mark.parametrize("height, width", [(512, 384), (512, 512), (768, 576), (128, 96), (64, 64), (1024, 768)])
def test_canvases_are_multiples_of_eight_of_about_one_area(height, width):
    sizes = bucket_sizes(height, width)
    assert (height, width) in sizes and 3 <= len(sizes) <= 16
    for h, w in sizes:
        assert h % 8 == w % 8 == 0 and 0.6 * height * width <= h * w <= height * width and 0.5 <= h / w <= 2


def test_a_picture_gets_the_canvas_of_its_proportions():
    assert bucket_of((1024, 768), 512, 384) == (512, 384)
    assert bucket_of((300, 300), 512, 512) == (512, 512)
    h, w = bucket_of((600, 1200), 512, 512)
    assert w / h == pytest.approx(2, rel=0.2)
    assert bucket_of((10, 1000), 512, 512) == min(bucket_sizes(512, 512), key=lambda s: s[0] / s[1])


def mixed(root):
    """Four pictures of three proportions."""
    for name, (h, w) in {"a": (64, 48), "b": (48, 64), "c": (64, 64), "d": (128, 96)}.items():
        save(root / "person" / f"{name}.png", h, w, level=50 + ord(name))
        save(root / "garment" / f"{name}.png", 32, 32, level=ord(name))
    return find_pairs("folder", root)


def test_samples_come_in_their_canvas_without_padding(tmp_path):
    pairs = mixed(tmp_path)
    plain, source = PairSource(pairs, 64, 64), PairSource(pairs, 64, 64, buckets=True)
    assert {plain.sample(i).size for i in range(4)} == {(64, 64)}
    sizes = [source.sample(i).size for i in range(4)]
    assert sizes[0] == sizes[3] != sizes[1] != sizes[2] == (64, 64) and sizes == source.sizes
    for i in range(4):
        sample = source.sample(i)
        assert sample.item.picture.shape[-2:] == sample.size and float(sample.valid.mean()) > 0.85 >= 0.75 == float(plain.sample(0).valid.mean())
    assert source.key(0) != plain.key(0) and source.key(2) == plain.key(2)


def test_the_size_of_a_picture_that_lies_on_its_side(tmp_path):
    lying = Image.Exif()
    lying[0x0112] = 6
    save(tmp_path / "a.jpg", 40, 60, exif=lying)
    assert picture_size(tmp_path / "a.jpg") == (60, 40) == read_picture(tmp_path / "a.jpg").shape[:2]
    (tmp_path / "b.png").write_bytes(b"nothing")
    with pytest.raises(OSError, match="b.png cannot be read"):
        picture_size(tmp_path / "b.png")


def test_samples_that_share_a_picture_stay_together(tmp_path):
    """Anna wears two garments, Ben one of them and Carl another: one group; Dora is alone."""
    for name in ("anna", "ben", "carl", "dora"):
        save(tmp_path / f"{name}.png", 64, 48)
    for number in range(4):
        save(tmp_path / f"g{number}.png", 32, 32)
    rows = [("anna", 0), ("anna", 1), ("ben", 1), ("carl", 2), ("dora", 3)]
    (tmp_path / "pairs.csv").write_text("name,person,garment\n" + "".join(f"{n},{p}.png,g{g}.png\n" for n, (p, g) in enumerate(rows)))
    groups = shared_pictures(find_pairs("folder", tmp_path))
    assert groups[0] == groups[1] == groups[2] and len({groups[0], groups[3], groups[4]}) == 3


def test_whole_groups_are_held_out():
    groups = [0, 0, 0, 1, 2, 2, 3]
    for seed in range(20):
        trained, held = hold_out(groups, 3, torch.Generator().manual_seed(seed))
        assert sorted(trained + held) == list(range(7)) and 0 < len(held) <= 3
        assert not {groups[i] for i in trained} & {groups[i] for i in held}
    assert hold_out(groups, 0, torch.Generator()) == (list(range(7)), [])
    with pytest.raises(ValueError, match="2 of 5 samples cannot be held out, because the samples share their pictures"):
        hold_out([0] * 5, 2, torch.Generator())
    with pytest.raises(ValueError, match="nothing would be left"):
        hold_out([0, 1], 2, torch.Generator())


def test_the_check_tells_of_copies_small_pictures_and_padding(tmp_path):
    pairs = mixed(tmp_path)
    save(tmp_path / "person" / "e.png", 64, 48, level=50 + ord("a"))
    save(tmp_path / "garment" / "e.png", 32, 32, level=ord("a"))
    lines = " ".join(check(find_pairs("folder", tmp_path), 128, 96).lines())
    assert "1 samples are copies of another one (e of a)" in lines
    assert "4 x person's picture smaller than 96 x 128, enlarged" in lines and "2 x person's picture of other proportions" in lines
    assert check(pairs, 64, 48).copies == []
