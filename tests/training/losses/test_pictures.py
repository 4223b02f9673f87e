"""Losses on decoded pictures with small random VGGs: against the formulas written out, and what each must and must not see."""

import numpy as np
import pytest
import torch
from fitting_room.models.parts.dists import Dists
from fitting_room.models.parts.layers import Layers
from fitting_room.models.parts.vgg import MEAN, STD, Vgg
from fitting_room.training.losses import pictures


@pytest.fixture(scope="module")
def vgg():
    return random_weights(Vgg(19, Layers(), last="relu5_2"))


@pytest.fixture(scope="module")
def dists():
    return random_weights(Dists(Layers()))


def random_weights(module):
    generator = torch.Generator().manual_seed(0)
    for name, p in module.named_parameters():
        if p.ndim == 4 and name.endswith("weight"):
            p.data = torch.randn(p.shape, generator=generator) * (2 / p[0].numel()) ** 0.5
    return module.eval().requires_grad_(False)


def pair(rows=2, height=32, width=32, seed=1):
    generator = torch.Generator().manual_seed(seed)
    a, b = (torch.rand(rows, 3, height, width, generator=generator) * 2 - 1 for _ in range(2))
    return a.requires_grad_(True), b


def convolutions(vgg, x, last):
    """VGG written out: normalise, convolve, ReLU, halve by the maximum after each block."""
    x, out = ((x + 1) / 2 - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None], {}
    convs = [m for m in vgg.features if isinstance(m, torch.nn.Conv2d)]
    for block, count in enumerate((2, 2, 4, 4, 4), 1):
        for number in range(1, count + 1):
            if not convs:
                return out
            conv = convs.pop(0)
            x = torch.nn.functional.conv2d(x, conv.weight, conv.bias, padding=1).clamp_min(0)
            out[f"relu{block}_{number}"] = x
        x = torch.nn.functional.max_pool2d(x, 2)
    return out


def test_perceptual_equals_the_formula_in_value_and_gradient(vgg):
    a, b = pair()
    found = pictures.perceptual(vgg, a, b)
    maps = [convolutions(vgg, t, "relu5_2") for t in (a, b)]
    weights = {"relu1_2": 1 / 32, "relu2_2": 1 / 16, "relu3_2": 1 / 8, "relu4_2": 1 / 4, "relu5_2": 1.0}
    expected = sum(w * (maps[0][k] - maps[1][k]).abs().mean((1, 2, 3)) for k, w in weights.items())
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(*(torch.autograd.grad(v.sum(), a, retain_graph=True)[0] for v in (found, expected)))
    first = pictures.perceptual(vgg, a, b, "first5conv")
    expected = sum((maps[0][k] - maps[1][k]).abs().mean((1, 2, 3)) for k in ("relu1_1", "relu1_2", "relu2_1", "relu2_2", "relu3_1")) / 5
    torch.testing.assert_close(first, expected)
    with pytest.raises(ValueError, match="dci5"):
        pictures.perceptual(vgg, a, b, "all")


def test_cosine_perception_equals_the_formula_inside_the_mask(vgg):
    a, b = pair()
    mask = torch.zeros(2, 1, 32, 32)
    mask[:, :, 16:32, 0:16] = 1
    found, maps, expected = pictures.cosine_perception(vgg, a, b, mask), [convolutions(vgg, t, "relu5_2") for t in (a, b)], 0.0
    for name in ("relu1_2", "relu2_2", "relu3_2", "relu4_2", "relu5_2"):
        x, y = (m[name] for m in maps)
        unlike = 1 - (x * y).sum(1) / (x.norm(dim=1) * y.norm(dim=1)).clamp_min(1e-6)
        step = 32 // x.shape[-2]
        w = mask[:, 0].unfold(1, step, step).unfold(2, step, step).mean((-1, -2))
        expected = expected + (unlike * w).sum((1, 2)) / w.sum((1, 2)) / 5
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    assert float(pictures.cosine_perception(vgg, b, b, mask).abs().max()) < 1e-5
    assert pictures.cosine_perception(vgg, a, b, torch.zeros_like(mask)).tolist() == [0.0, 0.0]


def test_masked_dists_is_the_mean_over_garments_of_masked_pictures(dists):
    a, b = (t.detach() for t in pair())
    masks = torch.zeros(2, 2, 32, 32)
    masks[:, 0, :16], masks[:, 1, 16:] = 1, 1
    found = pictures.masked_dists(dists, a, b, masks)
    expected = sum(dists((a + 1) / 2 * m, (b + 1) / 2 * m) for m in masks.split(1, 1)) / 2
    torch.testing.assert_close(found, expected)
    assert float(pictures.masked_dists(dists, b, b, masks).abs().max()) < 1e-4
    masks[1] = 0
    assert pictures.masked_dists(dists, a, b, masks)[1] == 0.0
    cropped = pictures.masked_dists(dists, a, b, masks, crop=True)
    assert torch.isfinite(cropped).all() and not torch.isclose(cropped[0], found[0])


def test_high_frequency_equals_the_formula():
    a, b = pair()
    masks, edge = (torch.rand(2, 2, 32, 32, generator=torch.Generator().manual_seed(4)) > 0.5).float(), torch.zeros(2, 1, 32, 32)
    edge[..., ::3] = 1
    expected = torch.stack([(((a - b) * masks[:, k : k + 1] * edge) ** 2).mean((1, 2, 3)) for k in range(2)]).mean(0)
    torch.testing.assert_close(pictures.high_frequency(a, b, masks, edge), expected)
    ones = torch.ones(2, 1, 32, 32)
    by_area = pictures.high_frequency(a, b, ones, edge, by_area=True)
    torch.testing.assert_close(by_area, ((a - b) ** 2)[..., ::3].mean((1, 2, 3)))
    assert pictures.high_frequency(a, b, ones * 0, edge, by_area=True).tolist() == [0.0, 0.0]


def test_the_edge_map_finds_a_step_and_nothing_in_a_flat_picture():
    picture = torch.full((2, 3, 32, 32), -1.0)
    picture[0, :, :, 16:] = 1.0
    edge = pictures.edge_map(picture)
    assert edge.shape == (2, 1, 32, 32) and not edge[1].any()
    columns = edge[0, 0, 16].nonzero().flatten().tolist()
    assert len(columns) == 3 and set(columns) & {15, 16}  # one pixel, widened to three
    assert pictures.edge_map(picture, dilation=1)[0, 0, 16].sum() == 1


def test_the_edge_map_is_opencvs():
    cv2 = pytest.importorskip("cv2")
    picture = torch.rand(1, 3, 64, 48, generator=torch.Generator().manual_seed(6))
    smooth = torch.nn.functional.avg_pool2d(picture, 9, 1, 4)
    pixels = (smooth[0].permute(1, 2, 0) * 255).round().byte().numpy()
    grey = cv2.GaussianBlur(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), (5, 5), 1.4)
    expected = cv2.dilate(cv2.Canny(grey, 20, 60), np.ones((3, 3)))
    found = pictures.edge_map(smooth * 2 - 1, 20, 60)[0, 0].numpy() > 0
    assert (found == (expected > 0)).mean() > 0.99  # OpenCV blurs in fixed point


def test_a_batch_of_two_equals_two_singles(vgg, dists):
    a, b = (t.detach() for t in pair())
    masks = torch.ones(2, 1, 32, 32)
    masks[1, :, :20] = 0
    for term in (
        lambda r: pictures.perceptual(vgg, a[r], b[r]), lambda r: pictures.cosine_perception(vgg, a[r], b[r], masks[r]),
        lambda r: pictures.masked_dists(dists, a[r], b[r], masks[r]),
        lambda r: pictures.high_frequency(a[r], b[r], masks[r], pictures.edge_map(b[r])),
    ):
        torch.testing.assert_close(term(slice(0, 2)), torch.cat([term(slice(0, 1)), term(slice(1, 2))]), rtol=1e-4, atol=1e-5)
