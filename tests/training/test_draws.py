"""Randomness by number: order, and draws that do not depend on who asks first."""

import pytest
import torch
from fitting_room.training.draws import Order, generator, seed_of


def test_every_epoch_is_another_permutation():
    order = Order(0, range(5))
    epochs = [[order[5 * e + i] for i in range(5)] for e in range(4)]
    assert all(sorted(e) == [0, 1, 2, 3, 4] for e in epochs) and len({tuple(e) for e in epochs}) > 1
    other = Order(0, range(5))
    assert [other[n] for n in (17, 2, 9)] == [epochs[3][2], epochs[0][2], epochs[1][4]]  # whatever was asked for before
    assert order[3] == epochs[0][3]  # backwards too


def test_seeds_differ_by_every_part():
    seeds = {seed_of(*parts) for parts in ((0, 1), (1, 0), (0, 1, "step"), (0, 11), (0, "1", "augment"))}
    assert len(seeds) == 5 and all(0 <= s < 2**63 for s in seeds)


def test_a_sample_draws_the_same_whatever_came_before():
    first = torch.rand(3, generator=generator(7, 12, "step"))
    torch.rand(100)
    assert torch.equal(first, torch.rand(3, generator=generator(7, 12, "step")))


@pytest.mark.parametrize("block", [2, 3, 4])
def test_a_forward_sees_one_size_as_far_as_that_goes(block):
    """Seven tall samples and four wide ones: every epoch still has all of them once, and at most the remainders meet in mixed blocks."""
    sizes = ["tall"] * 7 + ["wide"] * 4
    order = Order(3, range(100, 111), sizes, block)
    numbers = [order[n] for n in range(11 * block)]  # whole epochs and whole blocks
    epochs = [numbers[11 * e : 11 * (e + 1)] for e in range(block)]
    assert all(sorted(e) == list(range(100, 111)) for e in epochs) and len({tuple(e) for e in epochs}) > 1
    blocks = [numbers[i : i + block] for i in range(0, len(numbers), block)]
    mixed = sum(len({sizes[n - 100] for n in b}) > 1 for b in blocks)
    plain = [Order(3, range(100, 111))[n] for n in range(11 * block)]
    without = sum(len({sizes[n - 100] for n in plain[i : i + block]}) > 1 for i in range(0, len(plain), block))
    assert mixed <= 2 * block and mixed < without
