"""Randomness by number: order, and draws that do not depend on who asks first."""

import torch
from fitting_room.training.draws import Order, generator, sample_index, seed_of


def test_every_epoch_is_another_permutation():
    order = Order(0, 5)
    epochs = [[order[5 * e + i] for i in range(5)] for e in range(4)]
    assert all(sorted(e) == [0, 1, 2, 3, 4] for e in epochs) and len({tuple(e) for e in epochs}) > 1
    assert [sample_index(0, n, 5) for n in range(20)] == [i for e in epochs for i in e]
    assert order[3] == epochs[0][3]  # backwards too


def test_seeds_differ_by_every_part():
    seeds = {seed_of(*parts) for parts in ((0, 1), (1, 0), (0, 1, "step"), (0, 11), (0, "1", "augment"))}
    assert len(seeds) == 5 and all(0 <= s < 2**63 for s in seeds)


def test_a_sample_draws_the_same_whatever_came_before():
    first = torch.rand(3, generator=generator(7, 12, "step"))
    torch.rand(100)
    assert torch.equal(first, torch.rand(3, generator=generator(7, 12, "step")))
