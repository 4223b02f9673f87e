"""VGG and DISTS: torchvision's layout and numbers, and DISTS written out."""

import pytest
import torch
from fitting_room.models.parts.dists import CHANNELS, STAGES, Dists
from fitting_room.models.parts.layers import Layers
from fitting_room.models.parts.vgg import MEAN, STD, Hanning, Vgg, names


def filled(module, seed=0):
    generator = torch.Generator().manual_seed(seed)
    for p in module.parameters():
        p.data = torch.randn(p.shape, generator=generator) * ((2 / p[0].numel()) ** 0.5 if p.ndim == 4 else 0.1)
    return module


@pytest.mark.parametrize("depth", [16, 19])
def test_it_is_torchvisions(depth):
    vgg = pytest.importorskip("torchvision.models.vgg")
    theirs = filled(vgg.make_layers(vgg.cfgs["D" if depth == 16 else "E"]))
    state = {f"features.{k}": t for k, t in theirs.state_dict().items()} | {"classifier.0.weight": torch.zeros(1)}
    mine = Vgg(depth, Layers()).take(state, "vgg.pth")
    x = torch.rand(1, 3, 32, 48, generator=torch.Generator().manual_seed(1))
    maps, expected = mine(x, names(depth)), []
    h = (x - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None]
    for layer in theirs:
        h = layer(h)
        if isinstance(layer, torch.nn.ReLU):
            expected.append(h.clone())
    assert len(maps) == len(expected) == depth - 3
    for a, b in zip(maps, expected):
        assert torch.equal(a, b)
    bare = Vgg(depth, Layers(), last="relu2_1").take(theirs.state_dict(), "vgg.pth")  # keys without `features.`
    assert torch.equal(bare(x, ("relu2_1",))[0], expected[2])


def test_checkpointed_maps_have_the_same_gradient():
    vgg = filled(Vgg(16, Layers(), last="relu2_2")).requires_grad_(False)
    x = torch.rand(1, 3, 16, 16, requires_grad=True)
    one = torch.autograd.grad(vgg(x, ("relu1_1", "relu2_2"))[1].sum(), x)[0]
    h = (x - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None]
    for layer in vgg.features:
        h = layer(h)
    torch.testing.assert_close(one, torch.autograd.grad(h.sum(), x)[0])


def test_a_wrong_file_is_refused_by_name():
    with pytest.raises(ValueError, match=r"'other.pth' is not VGG-19.*features.0.weight"):
        Vgg(19, Layers(device="meta")).take({}, "other.pth")
    state = Vgg(16, Layers()).state_dict()
    with pytest.raises(ValueError, match="VGG-19"):
        Vgg(19, Layers(device="meta")).take(state, "vgg16.pth")
    with pytest.raises(ValueError, match="'w.pt' does not hold DISTS"):
        Dists(Layers()).take(state, "vgg16.pth", {"alpha": torch.ones(3)}, "w.pt")


def test_hanning_pooling_by_hand():
    """The window is (1, 2, 1) / 4 in each direction: a lone 4 at a kept place gives sqrt(16 / 4) = 2, beside it sqrt(16 / 8)."""
    x = torch.zeros(1, 1, 5, 5)
    x[..., 2, 2] = 4
    out = Hanning()(x)[0, 0]
    assert out.shape == (3, 3) and float(out[1, 1]) == pytest.approx(2.0) and float(out[0, 0]) == pytest.approx(0.0, abs=1e-5)
    assert float(Hanning()(torch.ones(1, 1, 9, 9))[0, 0, 2, 2]) == pytest.approx(1.0)


def literal_dists(vgg, x, y, alpha, beta):
    """Equations 5 to 7, channel by channel."""
    feats = []
    for picture in (x, y):
        h, maps = (picture - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None], [picture]
        convs = [m for m in vgg.features if isinstance(m, torch.nn.Conv2d)]
        for block, count in enumerate((2, 2, 3, 3, 3)):
            if block:
                w = torch.tensor([[1.0, 2, 1], [2, 4, 2], [1, 2, 1]]) / 16
                h = torch.stack([torch.nn.functional.conv2d(c[None, None] ** 2, w[None, None], stride=2, padding=1)[0, 0] for c in h[0]])[None].add(1e-12).sqrt()
            for _ in range(count):
                conv = convs.pop(0)
                h = torch.nn.functional.conv2d(h, conv.weight, conv.bias, padding=1).clamp_min(0)
            maps.append(h)
        feats.append(maps)
    score, place = 0.0, 0
    for a, b in zip(*feats):
        for p, q in zip(a[0], b[0]):
            mp, mq, vp, vq = p.mean(), q.mean(), p.var(unbiased=False), q.var(unbiased=False)
            cov = ((p - mp) * (q - mq)).mean()
            score = score + alpha[place] * (2 * mp * mq + 1e-6) / (mp**2 + mq**2 + 1e-6) + beta[place] * (2 * cov + 1e-6) / (vp + vq + 1e-6)
            place += 1
    return 1 - score / (alpha.sum() + beta.sum())


def test_dists_equals_its_equations():
    generator = torch.Generator().manual_seed(3)
    weights = {k: torch.rand(1, sum(CHANNELS), 1, 1, generator=generator) for k in ("alpha", "beta")}
    dists = Dists(Layers()).take(filled(Vgg(16, Layers())).state_dict(), "vgg16.pth", weights, "dists.pt")
    x, y = torch.rand(1, 3, 20, 16, generator=generator), torch.rand(1, 3, 20, 16, generator=generator)
    expected = literal_dists(dists.vgg, x, y, *(w.flatten() for w in weights.values()))
    torch.testing.assert_close(dists(x, y)[0], expected, rtol=1e-4, atol=1e-5)
    assert float(dists(x, x)) == pytest.approx(0.0, abs=1e-5)


def test_dists_without_its_weights_counts_every_stage_alike():
    dists = Dists(Layers())
    assert (dists.alpha.sum() + dists.beta.sum()).item() == pytest.approx(1.0, abs=1e-5)
    for part in torch.split(dists.alpha[0, :, 0, 0], CHANNELS):
        assert part.sum().item() == pytest.approx(1 / 12, abs=1e-5)
    assert len(STAGES) + 1 == len(CHANNELS)


def test_dists_has_a_gradient():
    """Some published versions run without one by default, which silently trains nothing."""
    dists = filled(Dists(Layers())).requires_grad_(False)
    x = torch.rand(1, 3, 32, 32, requires_grad=True)
    assert torch.autograd.grad(dists(x, torch.rand(1, 3, 32, 32)).sum(), x)[0].any()
