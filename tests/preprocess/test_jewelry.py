"""JEWELRY_STATE: JSON, feedback, undo, bounds."""

import json

import pytest
import torch

from fitting_room.preprocess import jewelry
from fitting_room.preprocess.jewelry import JewelryState, apply_feedback, from_json, to_json, undo
from fitting_room.preprocess.jewelry_draw import draw

NECKLACE = JewelryState("necklace", 400, 300, 1.3, ((110.0, 120.0), (190.0, 124.0)), length_mm=450.0, hidden_mm=160.0)
EARRING = JewelryState("earring", 400, 300, 0.7, ((90.0, 150.5), (210.0, 149.0)), form="drop", drop_mm=35.0, width_mm=12.0)
RING = JewelryState("ring", 400, 300, 0.37, ((100.0, 200.0), (140.0, 215.0)), side="left", length_mm=19.0, width_mm=6.0)


@pytest.mark.parametrize("state", [NECKLACE, EARRING, RING])
@pytest.mark.parametrize("action, back", [
    ("longer", "shorter"), ("bigger", "smaller"), ("right", "left"), ("down", "up"), ("tilt_right", "tilt_left")])
def test_k_steps_there_and_back_restore_the_mask(state, action, back):
    before = draw(state).mask
    for steps in ([1.0] * 3, [0.1, 0.2], [2.37]):
        there = state
        for step in steps:
            there = apply_feedback(there, action, step)
        assert not torch.equal(draw(there).mask, before)
        for step in steps:
            there = apply_feedback(there, back, step)
        assert torch.equal(draw(there).mask, before) and len(there.history) == 2 * len(steps)
        assert there.amount("length") == state.amount("length") and there.amount("tilt") == state.amount("tilt")


def test_a_step_has_its_unit():
    assert apply_feedback(NECKLACE, "longer", 2).amount("length") == 470
    assert apply_feedback(NECKLACE, "smaller", 2).amount("size") == pytest.approx(0.9)
    assert apply_feedback(NECKLACE, "tilt_left").amount("tilt") == -2
    assert apply_feedback(EARRING, "longer").amount("length") == 45


def test_undo_takes_back_the_last():
    changed = apply_feedback(apply_feedback(EARRING, "longer"), "hoop")
    assert changed.shown_form == "hoop" and undo(changed).shown_form == "drop" and undo(changed, 2) == EARRING
    assert apply_feedback(changed, "undo", 2) == EARRING
    with pytest.raises(ValueError, match="3 feedbacks were to be undone, but only 2 were given"):
        undo(changed, 3)


def test_json_round_trip_keeps_everything():
    state = apply_feedback(apply_feedback(EARRING, "bigger", 0.35), "stud")
    again = from_json(to_json(state))
    assert again == state and torch.equal(draw(again).mask, draw(state).mask) and undo(again, 2) == EARRING


def test_bounds_refuse_and_leave_the_state_usable():
    with pytest.raises(ValueError, match="'longer' would bring the necklace to 1550 mm, but .* to 1500 is allowed; use a smaller step"):
        apply_feedback(NECKLACE, "longer", 110)
    with pytest.raises(ValueError, match="'smaller' would bring the earring to 0.15 times its size"):
        apply_feedback(EARRING, "smaller", 17)
    far = JewelryState(**{**NECKLACE.__dict__, "length_mm": 2000.0})
    assert apply_feedback(far, "shorter").amount("length") == 1990             # back towards the bounds is allowed
    with pytest.raises(ValueError):
        apply_feedback(far, "longer")


@pytest.mark.parametrize("state, action, step, sentence", [
    (NECKLACE, "nicer", 1, "feedback 'nicer' is not known; choose one of longer, shorter"),
    (NECKLACE, "longer", -1, "a feedback step of -1 was given, but at least 0.01 is needed"),
    (NECKLACE, "longer", float("nan"), "step of nan"),
    (NECKLACE, "hoop", 1, "belongs to earrings, but the piece is a necklace"),
    (JewelryState("earring", 9, 9, 1.0, ((4.0, 4.0),), form="stud"), "longer", 1, "stud earring has no length"),
])
def test_bad_feedback_gets_a_sentence(state, action, step, sentence):
    with pytest.raises(ValueError, match=f"(?i){sentence}"):
        apply_feedback(state, action, step)


def changed(**entries) -> str:
    return json.dumps({**json.loads(to_json(NECKLACE)), **entries})


@pytest.mark.parametrize("text, sentence", [
    ("necklace", "is not JSON"),
    ("[1]", "has version None, but this pack reads version 1"),
    (changed(jewelry_state=2), "has version 2, but this pack reads version 1"),
    (changed(colour="gold"), "fields do not fit .colour."),
    (changed(type="crown"), "type 'crown' is not known; choose one of necklace"),
    (changed(mm_per_px="wide"), "wrong kind"),
    (changed(mm_per_px=0), "must be above 0"),
    (changed(anchors=[[1, 2]]), "needs 2 anchor points, but 1 were given"),
    (changed(anchors=[[1, 2], [3]]), "wrong kind"),
    (changed(history=[["louder", 100]]), "feedback 'louder' is not known"),
    (changed(height=12.5), "not in whole pixels"),
    (changed(length_mm=float("inf")), "not finite"),
])
def test_foreign_states_are_refused(text, sentence):
    with pytest.raises(ValueError, match=sentence):
        from_json(text)


def test_every_action_has_an_opposite_of_the_same_amount():
    by_what = {}
    for what, amount in jewelry.ACTIONS.values():
        by_what.setdefault(what, []).append(amount)
    assert all(len(pair) == 2 and pair[0] == -pair[1] > 0 for pair in by_what.values()) and set(by_what) == set(jewelry.BOUNDS)


def test_a_state_in_words():
    placed = jewelry.JewelryState("necklace", 100, 100, 1.0, ((20.0, 20.0), (60.0, 20.0)), length_mm=450.0, hidden_mm=180.0)
    assert jewelry.describe(placed) == "necklace, 450 mm (180 mm behind the neck)"
    changed = jewelry.apply_feedback(jewelry.apply_feedback(placed, "longer", 2), "bigger", 1)
    assert jewelry.describe(changed) == "necklace, 470 mm (180 mm behind the neck), 1.05 times its size; after longer 2, bigger 1"
