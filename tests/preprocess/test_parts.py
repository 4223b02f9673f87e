"""Parse maps in the forms people have them."""

import numpy as np
import pytest
import torch

from fitting_room.preprocess import parts
from fitting_room.preprocess.arrays import from_uint8

LABELS = np.arange(20).repeat(10).reshape(1, 20, 10)


@pytest.mark.parametrize("stored", ["grey", "voc", "cihp", "viton"])
def test_every_stored_form_reads_back(stored):
    cihp = np.array(parts.CIHP_PALETTE)
    palettes = {"voc": np.array(parts._voc_palette(20)), "cihp": cihp, "viton": np.minimum(cihp, 254)}
    picture = np.repeat(LABELS[..., None], 3, -1) if stored == "grey" else palettes[stored][LABELS]
    assert (parts.labels_from_picture(from_uint8(picture.astype(np.uint8))).numpy() == LABELS).all()


def test_the_voc_colours():
    # the published palette's first entries
    assert parts._voc_palette(4) == [(0, 0, 0), (128, 0, 0), (0, 128, 0), (128, 128, 0)] and parts._voc_palette(16)[15] == (192, 128, 128)


def test_a_photograph_is_no_parse_map():
    with pytest.raises(ValueError, match="neither label numbers nor the LIP/CIHP palettes; load the PNG without resizing"):
        parts.labels_from_picture(torch.rand(1, 20, 20, 3))


def test_parts_by_scheme():
    labels = np.array([5, 4, 7, 10, 13, 11])
    assert parts.part(labels, "lip", "upper").tolist() == [True, False, True, False, False, False]
    assert parts.part(labels, "lip", "dress").tolist() == [False, False, False, True, False, False]
    assert parts.part(labels, "cihp", "dress").tolist() == [False] * 6 and parts.part(labels, "cihp", "neck")[3]
    assert parts.part(labels, "atr", "upper", "face").tolist() == [False, True, False, False, False, True]


def test_wrong_labels_get_a_sentence():
    with pytest.raises(ValueError, match="holds labels 0..19, but atr has 0..17; choose another label system"):
        parts.check_labels(torch.from_numpy(LABELS), "atr")
    with pytest.raises(ValueError, match="Label system 'coco' is not known"):
        parts.labels_from_picture(torch.zeros(1, 4, 4, 3), "coco")
    with pytest.raises(ValueError, match="integer labels .batch, height, width. were expected"):
        parts.check_labels(torch.rand(1, 4, 4))


@pytest.mark.parametrize("scheme", parts.SCHEMES)
def test_every_label_but_the_background_has_one_part(scheme):
    labels = [label for group in parts.SCHEMES[scheme].values() for label in group]
    assert sorted(labels) == list(range(1, parts.CLASSES[scheme])) and set(parts.SCHEMES[scheme]) == set(parts.LIP)
