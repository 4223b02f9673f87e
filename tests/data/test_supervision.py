"""What the supervisor says, and what it refuses."""

import numpy as np
import pytest
from fitting_room.data.supervision import ALL_BLOCKS, MIDDLE_BLOCKS, Supervision, blocks_from_text
from fitting_room.preprocess.matches import Matches


def one(x):
    return Matches(np.full((1, 2, 2), x, np.float32), np.ones(1, bool), (64, 48), (64, 48))


def test_the_defaults_are_the_papers():
    own = Supervision()
    assert (own.weight, own.max_timestep, own.blocks, own.floor) == (0.0005, 500.0, (4, 7, 10), 0.0)
    assert own.as_released().floor == 1e-8 and own.as_released().batch == "sum"


@pytest.mark.parametrize("text, blocks", [("", MIDDLE_BLOCKS), ("all", ALL_BLOCKS), ("10, 4", (10, 4)), ("7", (7,)), ("4 7 10", MIDDLE_BLOCKS)])
def test_blocks_as_people_type_them(text, blocks):
    assert blocks_from_text(text) == blocks
    assert Supervision(blocks=blocks).blocks == tuple(sorted(blocks))


@pytest.mark.parametrize("options, words", [
    ({"blocks": ()}, "none.*3 to 11"), ({"blocks": (2, 4)}, "2, 4.*3 to 11"), ({"weight": -1.0}, "neither may be negative"),
    ({"layers": "max"}, "sum or mean"), ({"batch": "max"}, "mean or sum"),
])
def test_bad_settings_get_one_sentence(options, words):
    with pytest.raises(ValueError, match=words):
        Supervision(**options)


def test_words_are_no_blocks():
    with pytest.raises(ValueError, match="'the middle' is no list of blocks"):
        blocks_from_text("the middle")


def test_given_matches_stand_for_the_data_sets_own():
    own, given = one(1), (one(2), one(3))
    assert Supervision().of(5, own) is own and Supervision().of(5, None) is None
    assert Supervision(matches=given).of(1, own) is given[1]
    with pytest.raises(ValueError, match="matches of 2 pairs"):
        Supervision(matches=given).of(2, own)
