"""What is drawn of a JEWELRY_STATE."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from fitting_room.preprocess.catenary import arc_length
from fitting_room.preprocess.jewelry import JewelryState, apply_feedback
from fitting_room.preprocess.jewelry_draw import draw, necklace_curve

SIZE = (400, 300)
NECKLACE = JewelryState("necklace", *SIZE, 1.25, ((110.0, 120.0), (190.0, 124.0)), length_mm=450.0, hidden_mm=150.0)
EARRINGS = JewelryState("earring", *SIZE, 0.5, ((90.0, 150.5), (210.0, 149.0)), form="hoop", width_mm=20.0)
BAND = JewelryState("bracelet", *SIZE, 0.5, ((100.0, 200.0), (160.0, 200.0)), length_mm=30.0, width_mm=10.0)


@pytest.mark.parametrize("tilt", [0.0, 14.0])
@pytest.mark.parametrize("length, hidden", [(450.0, 150.0), (360.0, 0.0), (750.0, 185.0)])
def test_the_visible_chain_has_its_length_within_a_pixel(tilt, length, hidden):
    curve = necklace_curve(replace(NECKLACE, length_mm=length, hidden_mm=hidden, tilt_deg=tilt))
    assert abs(arc_length(curve) - (length - hidden) / 1.25) < 1


def test_a_longer_necklace_covers_more():
    areas = [float(draw(replace(NECKLACE, length_mm=length)).mask.sum()) for length in range(260, 700, 40)]
    assert all(a < b for a, b in zip(areas, areas[1:]))
    assert draw(replace(NECKLACE, drop_mm=30)).mask.sum() > draw(NECKLACE).mask.sum()          # a pendant


def flipped(state: JewelryState) -> JewelryState:
    return replace(state, anchors=tuple((state.width - 1 - x, y) for x, y in reversed(state.anchors)), tilt_deg=-state.tilt_deg)


@pytest.mark.parametrize("state", [
    NECKLACE, replace(NECKLACE, drop_mm=25.0, tilt_deg=8.0), EARRINGS, replace(EARRINGS, form="stud"),
    replace(EARRINGS, form="drop", drop_mm=30.0, tilt_deg=5.0), replace(BAND, anchors=((100.0, 200.0), (150.0, 231.0)))])
def test_a_flipped_input_gives_the_flipped_mask(state):
    assert torch.equal(draw(flipped(state)).mask, draw(state).mask.flip(-1))


def test_sizes_by_hand():
    band = draw(BAND)                                                       # 60 px across, 20 px wide, around (130, 200)
    assert band.box == (190, 100, 211, 161) and band.mask.sum() == 61 * 21
    assert np.allclose(band.corners[0], [[100, 190], [160, 190], [160, 210], [100, 210]])
    stud = draw(replace(EARRINGS, form="stud", anchors=((90.0, 150.0),), width_mm=8.0))        # 16 px
    assert stud.box == (142, 82, 159, 99)
    hoop = draw(replace(EARRINGS, anchors=((90.0, 150.0),)))                # 40 px, hanging from its top
    assert hoop.box == (150, 70, 191, 111) and hoop.mask[0, 0, 170, 90] == 0 and hoop.mask[0, 0, 151, 90] == 1
    drop = draw(replace(EARRINGS, form="drop", drop_mm=30.0, width_mm=10.0, anchors=((90.0, 150.0),)))
    assert drop.box == (150, 80, 211, 101)                                  # 60 px down, 20 px wide
    assert np.allclose(drop.corners[0], [[80, 150], [100, 150], [100, 210], [80, 210]])


def test_the_mask_lies_in_its_boxes():
    for state in (NECKLACE, EARRINGS, apply_feedback(EARRINGS, "drop"), BAND):
        drawn = draw(state)
        rows, columns = np.nonzero(drawn.mask[0, 0].numpy())
        low, high = drawn.corners.reshape(-1, 2).min(0), drawn.corners.reshape(-1, 2).max(0)
        assert columns.min() >= low[0] - 1 and rows.min() >= low[1] - 1 and columns.max() <= high[0] + 1 and rows.max() <= high[1] + 1
        assert (drawn.box.y0, drawn.box.x1) == (rows.min(), columns.max() + 1) and drawn.mask.shape == (1, 1, *SIZE)


def test_what_cannot_be_drawn_says_why():
    with pytest.raises(ValueError, match="A necklace of 200 mm with 150 mm behind the neck does not reach between its anchors, 100 "
                                         "mm apart"):
        draw(replace(NECKLACE, length_mm=200.0))
    with pytest.raises(ValueError, match="The bracelet lies outside the 300x400 picture"):
        draw(replace(BAND, anchors=((1000.0, 200.0), (1060.0, 200.0))))
