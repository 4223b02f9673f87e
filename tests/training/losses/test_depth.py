"""Depth consistency against its formula written out, and what it must not mind."""

import pytest
import torch
from fitting_room.training.losses.depth import depth_consistency, fit


def maps(seed=0, size=(1, 1, 16, 24)):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(size, generator=generator), torch.randn(size, generator=generator)


def literal(x, y, w):
    """One sample by normal equations and explicit differences."""
    span = y.max() - y.min()
    x, y = x / span, y / span
    a = torch.stack((x.flatten(), torch.ones(x.numel())), 1) * w.flatten()[:, None].sqrt()
    solution = torch.linalg.lstsq(a.double(), (y.flatten() * w.flatten().sqrt()).double()).solution
    e = (solution[0] * x + solution[1] - y).double()
    loss = (e.abs() * w).sum() / w.sum()
    for s in (1, 2, 4, 8):
        es, ws = e[::s, ::s], w[::s, ::s].double()
        for move in (lambda t: (t[:, 1:], t[:, :-1]), lambda t: (t[1:], t[:-1])):
            (p, q), (u, v) = move(es), move(ws)
            loss = loss + 0.5 * ((p - q).abs() * u * v).sum() / (u * v).sum()
    return loss.float()


def test_equals_the_formula():
    x, y = maps(size=(2, 1, 16, 24))
    weight = torch.ones(2, 1, 16, 24)
    weight[:, :, 4:9, 3:11] = 0.25
    torch.testing.assert_close(depth_consistency(x, y, weight), torch.stack([literal(*(t[r, 0] for t in (x, y, weight))) for r in range(2)]), rtol=1e-4, atol=1e-5)


def test_scale_and_shift_do_not_matter():
    """Relative depth is known up to a scale and a shift; units of the truth do not matter either."""
    x, y = maps()
    assert float(depth_consistency(3 * y - 7, y)) == pytest.approx(0.0, abs=1e-5)
    torch.testing.assert_close(depth_consistency(5 * x + 2, y), depth_consistency(x, y), rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(depth_consistency(x, 100 * y), depth_consistency(x, y), rtol=1e-3, atol=1e-4)


def test_what_is_left_out_does_not_count():
    x, y = maps()
    weight = torch.ones_like(x)
    weight[..., 8:] = 0
    changed = x.clone()
    changed[..., 8:] += 100
    torch.testing.assert_close(depth_consistency(changed, y, weight), depth_consistency(x, y, weight))
    assert not torch.isclose(depth_consistency(changed, y), depth_consistency(x, y))


def test_gradient_goes_through_the_fit():
    """L is blind to scale and shift of x, so its gradient is orthogonal to both directions."""
    x, y = maps()
    x.requires_grad_(True)
    gradient = torch.autograd.grad(depth_consistency(x, y).sum(), x)[0]
    assert gradient.any()
    assert float(gradient.sum()) == pytest.approx(0.0, abs=1e-4) and float((gradient * x.detach()).sum()) == pytest.approx(0.0, abs=1e-3)


@pytest.mark.parametrize("x, y, weight", [
    (torch.zeros(1, 1, 8, 8), torch.rand(1, 1, 8, 8), None), (torch.rand(1, 1, 8, 8), torch.ones(1, 1, 8, 8), None),
    (torch.rand(1, 1, 8, 8), torch.rand(1, 1, 8, 8), torch.zeros(1, 1, 8, 8)),
])
def test_flat_depths_and_an_empty_region_are_no_nan(x, y, weight):
    x = x.clone().requires_grad_(True)
    loss = depth_consistency(x, y, weight)
    assert torch.isfinite(loss).all() and torch.isfinite(torch.autograd.grad(loss.sum(), x)[0]).all()


def test_a_flat_prediction_fits_as_the_mean():
    y = torch.arange(4.0).reshape(1, 1, 2, 2)
    scale, shift = fit(torch.ones_like(y), y, torch.ones_like(y))
    assert float(scale) == 0.0 and float(shift) == 1.5


def test_a_batch_of_two_equals_two_singles():
    x, y = maps(size=(2, 1, 16, 24))
    both = depth_consistency(x, y)
    torch.testing.assert_close(both, torch.cat([depth_consistency(x[r : r + 1], y[r : r + 1]) for r in range(2)]))
