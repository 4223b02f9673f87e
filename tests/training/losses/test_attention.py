"""Losses on attention against full maps, small cases that can be worked out by hand, and what must not leak between samples."""

import math

import numpy as np
import pytest
import torch
from fitting_room.models.parts.attention import attend, attend_labelled, looked_at
from fitting_room.preprocess.matches import Matches, cells
from fitting_room.training.losses.attention import Entries, localization, sift_cross_entropy, target_distance, total_variation

from . import literal

HEADS, GRID, KEY_GRID, SIZE = 2, (6, 5), (4, 7), (60, 70)


def queries(rows=2, width=16, scale=1.0, seed=0):
    generator = torch.Generator().manual_seed(seed)
    q = torch.randn(rows, GRID[0] * GRID[1], width, generator=generator) * scale
    k = torch.randn(rows, KEY_GRID[0] * KEY_GRID[1], width, generator=generator) * scale
    return q.double().requires_grad_(True), k.double().requires_grad_(True)


def some_matches(count, seed):
    rng = np.random.default_rng(seed)
    points = np.floor(rng.uniform(0, 1, (count, 2, 2)) * (SIZE[1], SIZE[0])).astype(np.float32)
    return Matches(points, np.ones(count, bool), SIZE, SIZE)


def entries(matches, rows=None):
    found = cells(matches, GRID, KEY_GRID)
    rows = list(range(len(matches))) if rows is None else rows
    return Entries(torch.tensor(rows)[torch.from_numpy(found.sample)], *(torch.from_numpy(t) for t in (found.query, found.key, found.weight)))


@pytest.mark.parametrize("floor, scale", [(0.0, 1.0), (1e-8, 1.0), (1e-8, 6.0), (0.0, 6.0)])
def test_sift_equals_the_full_map_in_value_and_gradient(floor, scale):
    q, k = queries(3, scale=scale)
    matches = [some_matches(40, 1), some_matches(0, 2), some_matches(9, 3)]
    found = sift_cross_entropy(q, k, HEADS, entries(matches), floor)
    expected = torch.stack([literal.cross_entropy(q[r], k[r], HEADS, literal.reference_map(m, GRID, KEY_GRID).double(), floor) for r, m in enumerate(matches)])
    torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-6)
    assert found[1] == 0.0 and (found[[0, 2]] > 0).all()
    for mine, theirs in zip(torch.autograd.grad(found.sum(), (q, k)), torch.autograd.grad(expected.sum(), (q, k))):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-6 * float(theirs.abs().max()))


def test_sift_of_even_attention_is_the_logarithm_of_the_number_of_keys():
    """Zero queries look everywhere alike: q_ij = 1/28, so -sum p log q = log 28 whatever the matches are."""
    q, k = queries()
    found = sift_cross_entropy(torch.zeros_like(q), k, HEADS, entries([some_matches(5, 1), some_matches(20, 2)]))
    torch.testing.assert_close(found, torch.full((2,), math.log(28)))


def test_sift_is_least_where_attention_is_the_reference():
    """With p = (3/4, 1/4) on two keys, q = p gives the entropy of p, and no other q gives less."""
    one = Entries(torch.zeros(2, dtype=torch.long), torch.zeros(2, dtype=torch.long), torch.tensor([0, 1]), torch.tensor([0.75, 0.25]))
    q = torch.ones(1, 1, 1)
    values = []
    for third in (0.0, 0.1, math.log(3), 2.0):
        k = torch.tensor([third, 0.0, -50.0]).reshape(1, 3, 1)
        values.append(float(sift_cross_entropy(q, k, 1, one)))
    assert min(values) == values[2] == pytest.approx(-0.75 * math.log(0.75) - 0.25 * math.log(0.25), abs=1e-6)


def test_the_released_floor_saturates_and_the_exact_form_does_not():
    """A match that gets no attention: the floor stops at -log 1e-8 = 18.4 without gradient, the equation goes on."""
    one = Entries(*(torch.zeros(1, dtype=torch.long) for _ in range(3)), torch.ones(1))
    q, k = torch.full((1, 1, 1), 60.0, requires_grad=True), torch.tensor([-1.0, 0.0]).reshape(1, 2, 1)
    exact, floored = sift_cross_entropy(q, k, 1, one), sift_cross_entropy(q, k, 1, one, 1e-8)
    assert exact.item() == pytest.approx(60.0, abs=1e-4) and floored.item() == pytest.approx(-math.log(1e-8), abs=1e-3)
    assert abs(float(torch.autograd.grad(exact, q)[0])) == pytest.approx(1.0, abs=1e-3)
    assert abs(float(torch.autograd.grad(floored, q)[0])) < 1e-6


def test_a_batch_of_two_equals_two_singles_and_rows_do_not_leak():
    q, k = queries(2)
    matches = [some_matches(30, 1), some_matches(4, 2)]
    both = sift_cross_entropy(q, k, HEADS, entries(matches))
    for row in range(2):
        alone = sift_cross_entropy(q[row : row + 1], k[row : row + 1], HEADS, entries([matches[row]]))
        torch.testing.assert_close(both[row : row + 1], alone)
    gradient = torch.autograd.grad(both[0], q)[0]
    assert gradient[0].any() and not gradient[1].any()


def test_only_matched_queries_get_gradient():
    q, k = queries(1)
    match = Matches(np.array([[[25.0, 15.0], [3.0, 3.0]]]), np.ones(1, bool), SIZE, SIZE)  # x 25 of 70 in 5 columns: 1; y 15 of 60 in 6 rows: 1
    gradient = torch.autograd.grad(sift_cross_entropy(q, k, HEADS, entries([match])).sum(), q)[0]
    assert gradient[0].any(-1).nonzero().flatten().tolist() == [1 * 5 + 1]


@pytest.mark.parametrize("rows", [[], [0]])
def test_no_matches_are_zero_without_nan(rows):
    q, k = queries(2)
    found = sift_cross_entropy(q, k, HEADS, entries([some_matches(0, 0) for _ in rows], rows))
    assert found.tolist() == [0.0, 0.0]


def test_where_attention_looks_equals_the_full_map():
    q, k = queries()
    found = looked_at(q, k, HEADS, KEY_GRID)
    expected = torch.stack([literal.looked(q[r], k[r], HEADS, KEY_GRID) for r in range(2)])
    torch.testing.assert_close(found.double(), expected.double(), rtol=1e-4, atol=1e-5)
    weights = torch.randn(found.shape, generator=torch.Generator().manual_seed(5))
    for mine, theirs in zip(torch.autograd.grad((found * weights).sum(), (q, k)), torch.autograd.grad((expected * weights).sum(), (q, k))):
        torch.testing.assert_close(mine, theirs, rtol=1e-3, atol=1e-5)


def test_labelled_attention_gives_attention_and_the_share_of_each_group():
    q, k = queries()
    v = torch.randn_like(k)
    labels = torch.nn.functional.one_hot(torch.arange(k.shape[1]) % 3, 3).float()
    out, shares = attend_labelled(q, k, v, labels, HEADS)
    torch.testing.assert_close(out, attend(q, k, v, HEADS))
    expected = torch.stack([literal.full_map(q[r], k[r], HEADS) @ labels.double() for r in range(2)])
    torch.testing.assert_close(shares, expected)
    torch.testing.assert_close(shares.sum(-1), torch.ones_like(shares[..., 0]))


# ---- total variation and targets -------------------------------------------------------------------------------------------------


def test_total_variation_equals_the_literal_one():
    generator = torch.Generator().manual_seed(1)
    points, mask = torch.randn(3, 2, *GRID, generator=generator), (torch.rand(3, 1, *GRID, generator=generator) > 0.4).float()
    mask[2] = 0
    found = total_variation(points, mask)
    expected = [literal.variation(points[r].permute(1, 2, 0), mask[r, 0]) for r in range(3)]
    torch.testing.assert_close(found, torch.stack(expected))
    assert found[2] == 0.0


def test_total_variation_of_a_ramp_is_its_slope():
    """Looking twice as far for each step down and once for each step right: 2 + 1, wherever the mask is."""
    y, x = torch.meshgrid(torch.arange(6.0), torch.arange(5.0), indexing="ij")
    looked = torch.stack((2 * y, x))[None]
    mask = torch.zeros(1, 1, 60, 50)
    mask[..., 10:50, 10:40] = 1  # cells (1..4, 1..3)
    assert float(total_variation(looked, mask)) == pytest.approx(3.0)
    assert float(total_variation(torch.ones(1, 2, 6, 5), mask)) == 0.0


def test_a_lone_cell_has_no_neighbours_and_no_nan():
    mask = torch.zeros(1, 1, 6, 5)
    mask[..., 2, 2] = 1
    looked = torch.randn(1, 2, 6, 5, requires_grad=True)
    loss = total_variation(looked, mask)
    assert loss.item() == 0.0 and not torch.autograd.grad(loss, looked)[0].any()


def test_target_distance_by_hand():
    """One cell off by (3, 4): |3| + |4| = 7 over a diagonal of 5; a second cell on target halves it."""
    looked, target = torch.zeros(1, 2, 1, 2), torch.tensor([[[[3.0, 0.0]], [[4.0, 0.0]]]])
    assert float(target_distance(looked, target, torch.tensor([[[[1.0, 0.0]]]]), (3, 4))) == pytest.approx(7 / 5)
    assert float(target_distance(looked, target, torch.ones(1, 1, 1, 2), (3, 4))) == pytest.approx(7 / 10)
    assert float(target_distance(looked, target * float("nan"), torch.zeros(1, 1, 1, 2), (3, 4))) == 0.0


# ---- localization ----------------------------------------------------------------------------------------------------------------


def literal_localization(shares, masks, grid, norm="mse"):
    """Equation 9 with M pooled cell by cell."""
    out, (h, w) = [], grid
    for a, m in zip(shares.mean(1), masks):
        ch, cw = m.shape[-2] // h, m.shape[-1] // w
        total = 0.0
        for k in range(a.shape[-1]):
            pooled = torch.stack([m[k, y * ch : (y + 1) * ch, x * cw : (x + 1) * cw].mean() for y in range(h) for x in range(w)])
            squared = (a[:, k] - pooled) ** 2
            total = total + (squared.mean() if norm == "mse" else squared.sum().sqrt())
        out.append(total / a.shape[-1])
    return torch.stack(out)


def some_shares(rows=2, garments=3):
    generator = torch.Generator().manual_seed(2)
    shares = torch.randn(rows, HEADS, 30, garments, generator=generator).softmax(-1)
    masks = (torch.rand(rows, garments, 48, 40, generator=generator) > 0.5).float()
    return shares.requires_grad_(True), masks


@pytest.mark.parametrize("norm", ["mse", "frobenius"])
def test_localization_equals_the_literal_one(norm):
    shares, masks = some_shares()
    found, expected = localization(shares, masks, GRID, norm=norm), literal_localization(shares, masks, GRID, norm)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(*(torch.autograd.grad(v.sum(), shares)[0] for v in (found, expected)))


def test_the_floor_of_two_garments_on_background():
    """Where no garment is, shares that sum to one are least wrong when even: (1/2)^2 = 0.25, and nothing does better."""
    masks = torch.zeros(1, 2, 6, 5)
    even = torch.full((1, 1, 30, 2), 0.5)
    assert float(localization(even, masks, GRID)) == pytest.approx(0.25)
    uneven = torch.stack((torch.full((1, 1, 30), 0.7), torch.full((1, 1, 30), 0.3)), -1)
    assert float(localization(uneven, masks, GRID)) > 0.25
    assert float(localization(even, masks, GRID, background="garments")) == 0.0


def test_one_garment_says_nothing():
    shares = torch.ones(2, 1, 30, 1, requires_grad=True)
    assert localization(shares, torch.zeros(2, 1, 6, 5), GRID).tolist() == [0.0, 0.0]


def test_shares_on_their_masks_cost_nothing_and_positions_outside_can_be_left_out():
    masks = torch.zeros(1, 2, 6, 5)
    masks[:, 0, :3], masks[:, 1, 3:] = 1, 1
    shares = masks.flatten(2).transpose(1, 2).unsqueeze(1).clone()
    assert float(localization(shares, masks, GRID)) == 0.0
    masks[:, 1, 5] = 0  # the lowest row belongs to nobody now; shares still say garment 1: 5 cells off by 1, of 30 cells and 2 garments
    assert float(localization(shares, masks, GRID)) == pytest.approx(5 / 60)
    assert float(localization(shares, masks, GRID, background="garments")) == 0.0


def test_per_head_is_at_least_the_mean_over_heads():
    shares, masks = some_shares()
    assert (localization(shares, masks, GRID, per_head=True) > localization(shares, masks, GRID)).all()


def test_wrong_requests_are_refused():
    shares, masks = some_shares()
    with pytest.raises(ValueError, match="one mask per garment"):
        localization(shares, masks[:, :2], GRID)
    with pytest.raises(ValueError, match="garments"):
        localization(shares, masks, GRID, background="none")
