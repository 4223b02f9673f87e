"""Shadow losses against their formulas written out, and by hand."""

import math

import numpy as np
import pytest
import torch
from fitting_room.training.losses.masks import dice, dilate, mask_loss, shadow_weight, shadow_weight_from_features


def test_mask_loss_equals_the_formulas():
    generator = torch.Generator().manual_seed(0)
    logits, mask = torch.randn(2, 1, 6, 5, generator=generator).requires_grad_(True), (torch.rand(2, 1, 6, 5, generator=generator) > 0.5).float()
    found, expected = mask_loss(logits, mask, 0.1), []
    for l, m in zip(logits, mask):
        p = 1 / (1 + torch.exp(-l))
        bce = -(m * p.log() + (1 - m) * (1 - p).log()).mean()
        expected.append(bce + 0.1 * (1 - (2 * (p * m).sum() + 1) / (p.sum() + m.sum() + 1)))
    torch.testing.assert_close(found, torch.stack(expected))
    torch.testing.assert_close(*(torch.autograd.grad(v.sum(), logits)[0] for v in (found, torch.stack(expected))))


def test_by_hand():
    """Logit 0 is one half: BCE log 2. Four cells of one half against one shadow: Dice 1 - (2 * 0.5 + 1) / (2 + 1 + 1) = 1/2."""
    mask = torch.tensor([[[[1.0, 0.0], [0.0, 0.0]]]])
    assert float(mask_loss(torch.zeros(1, 1, 2, 2), mask)) == pytest.approx(math.log(2) + 0.5)
    assert float(mask_loss(torch.where(mask > 0, 40.0, -40.0), mask)) == pytest.approx(0.0, abs=1e-6)


def test_empty_masks_are_no_nan():
    assert float(dice(torch.zeros(1, 1, 4, 4), torch.zeros(1, 1, 4, 4))) == 0.0
    logits = torch.full((1, 1, 4, 4), -200.0, requires_grad=True)
    loss = mask_loss(logits, torch.zeros(1, 1, 4, 4))
    assert torch.isfinite(torch.autograd.grad(loss.sum(), logits)[0]).all() and float(loss.detach()) == pytest.approx(0.0)


def test_a_mask_of_another_size_is_averaged():
    big = torch.zeros(1, 1, 8, 8)
    big[..., :4, :4] = 1
    assert float(mask_loss(torch.zeros(1, 1, 2, 2), big)) == pytest.approx(math.log(2) + 0.5)


def test_growing_is_opencvs():
    cv2 = pytest.importorskip("cv2")
    mask = (torch.rand(1, 1, 20, 17, generator=torch.Generator().manual_seed(1)) > 0.95).float()
    for side in (3, 6):
        expected = cv2.dilate(mask[0, 0].numpy(), np.ones((side, side)))
        assert np.array_equal(dilate(mask, side)[0, 0].numpy(), expected)


def test_the_shadow_counts_ten_times_and_its_surroundings_too():
    mask = torch.zeros(1, 1, 16, 16)
    mask[..., 8, 8] = 1
    weight = shadow_weight(mask, (16, 16))
    assert weight.unique().tolist() == [1.0, 10.0] and int((weight > 1).sum()) == 36
    assert (shadow_weight(torch.zeros(1, 1, 128, 128), (16, 16)) == 1).all()


def test_weights_from_features_lie_between_one_and_ten_inside_the_mask():
    generator = torch.Generator().manual_seed(2)
    a, b = torch.randn(2, 8, 8, 8, generator=generator), torch.randn(2, 8, 8, 8, generator=generator)
    mask = torch.zeros(2, 1, 16, 16)
    mask[..., 4:12, 4:12] = 1
    weight = shadow_weight_from_features(a, b, mask, (16, 16))
    inside = shadow_weight(mask, (16, 16)) > 1
    assert (weight[~inside] == 1).all() and weight[inside].min() >= 1 and weight.max() <= 10 and weight[inside].std() > 0
    assert torch.equal(shadow_weight_from_features(a, a, mask, (16, 16)), torch.ones(2, 1, 16, 16))
