"""The drawn data set: files that agree with each other, and faults that curation finds."""

import numpy as np
import pytest
from fitting_room.data.curation import candidate
from fitting_room.data.drawn import draw_folder
from fitting_room.data.find import find_pairs
from fitting_room.preprocess.curate import judge
from fitting_room.preprocess.pictures import read_picture


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    return find_pairs("folder", draw_folder(tmp_path_factory.mktemp("d") / "drawn", 3, 256, 192))


def test_masks_labels_and_keypoints_agree(pairs):
    assert len(pairs) == 3 and not pairs.problems
    for record in pairs:
        worn, agnostic = (read_picture(path, "L") > 128 for path in (record.worn_mask, record.agnostic_mask))
        assert worn.shape == (256, 192) and worn.any() and not (worn & ~agnostic).any()
        found = candidate(record, "upper")
        assert found.keypoints.shape == (18, 3)
        assert (found.category & (found.garment > 128)).sum() > 0.9 * worn.sum()  # the parse calls it an upper garment
        assert read_picture(record.garment_mask, "L").shape == (256, 192)


def test_whole_pictures_are_whole_and_close_ones_are_cut(pairs):
    cut = [next(rule.value for rule in judge(candidate(r, "upper")).rules if rule.name == "truncation") for r in pairs]
    assert cut[0] == cut[1] == 0 and cut[2] > 0.15


def test_keypoints_move_with_the_crop(pairs):
    """The shoulder the close picture is cut around lies 35 % down and half across, where no border holds it back."""
    points = candidate(pairs[2], "upper").keypoints
    assert abs(points[5, 1] - 0.35 * 256) < 2 or abs(points[5, 0] - 96) < 2


def test_a_folder_is_drawn_whole_or_not_at_all(tmp_path):
    def stop(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        draw_folder(tmp_path / "x", 2, 64, 48, progress=stop)
    assert list(tmp_path.iterdir()) == []
    first = draw_folder(tmp_path / "x", 1, 64, 48)
    before = np.asarray(read_picture(first / "person" / "drawn_0000.png"))
    assert draw_folder(tmp_path / "x", 1, 64, 48) == first and np.array_equal(before, read_picture(first / "person" / "drawn_0000.png"))
