"""Results found again by what they were made of."""

import torch
from fitting_room.models.parts.kept import Kept


def ask(kept, value, timestep=None, lasts=None, made=None):
    return kept.get((torch.tensor([value]),), timestep, lasts, lambda: made)


def test_equal_inputs_share_a_result_and_others_do_not():
    kept = Kept()
    assert [ask(kept, 1.0, made="a"), ask(kept, 2.0, made="b"), ask(kept, 1.0, made="c"), ask(kept, 2.0, made="d")] == ["a", "b", "a", "b"]


def test_another_shape_or_dtype_is_another_input():
    kept = Kept()
    ask(kept, 1.0, made="a")
    assert kept.get((torch.tensor([1.0, 1.0]),), None, None, lambda: "two") == "two"
    assert kept.get((torch.tensor([1.0], dtype=torch.float64),), None, None, lambda: "double") == "double"


def test_a_result_serves_as_many_levels_as_it_lasts():
    kept = Kept()
    assert [ask(kept, 1.0, t, 2, made=t) for t in (900, 800, 700, 600, 600, 500)] == [900, 900, 700, 700, 700, 500]


def test_a_level_that_comes_again_does_not_meet_a_later_result():
    kept = Kept()
    assert [ask(kept, 1.0, t, 2, made=n) for n, t in enumerate((900, 800, 700, 900))] == [0, 0, 2, 3]


def test_no_more_results_are_kept_than_asked_for():
    kept = Kept(most=2)
    for value in (1.0, 2.0, 3.0):
        ask(kept, value, made=value)
    assert ask(kept, 3.0, made="new") == 3.0 and ask(kept, 1.0, made="new") == "new"
