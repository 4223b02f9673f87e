"""Torso and arms from label pictures."""

import numpy as np
import pytest
from fitting_room.preprocess.garment_parts import PARTS, part_masks


def test_labels_become_masks_inside_the_repainted_region():
    dense = np.array([[20, 170, 251], [145, 252, 0]], np.uint8)
    parse = np.array([[5, 6, 7, 21], [22, 0, 8, 255]], np.uint8)
    repaint = np.array([[255, 255, 255], [255, 0, 255]], np.uint8)
    person, garment = part_masks(np.dstack((dense, dense * 0, dense * 0)), repaint, parse)
    assert tuple(person) == tuple(garment) == PARTS == ("torso", "right_arm", "left_arm")
    assert person["torso"].tolist() == [[True, False, False], [False, False, False]]
    assert person["right_arm"].tolist() == [[False, True, True], [False, False, False]]
    assert person["left_arm"].tolist() == [[False, False, False], [True, False, False]]
    assert garment["torso"].tolist() == [[True, True, True, False], [False] * 4]
    assert garment["left_arm"].tolist() == [[False, False, False, True], [False] * 4]
    assert garment["right_arm"].tolist() == [[False] * 4, [True, False, False, False]]


def test_a_float_mask_of_another_size():
    dense = np.full((8, 6), 20, np.uint8)
    mask = np.zeros((4, 3), np.float32)
    mask[:2] = 1.0
    person, _ = part_masks(dense, mask, np.full((4, 4), 5, np.uint8))
    assert person["torso"][:3].all() and not person["torso"][5:].any()


@pytest.mark.parametrize("which, words", [(0, "DensePose"), (1, "garment parsing")])
def test_a_picture_without_labels_is_refused_instead_of_losing_every_match(which, words):
    pictures = [np.full((4, 4), 20, np.uint8), np.full((4, 4), 5, np.uint8)]
    pictures[which] = np.full((4, 4), 99, np.uint8)
    with pytest.raises(ValueError, match=words):
        part_masks(pictures[0], np.ones((4, 4)), pictures[1])
