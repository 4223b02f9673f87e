"""AnyDressing's terms inside the host's real U-Net: localization from its own queries and keys, texture below its gate."""

import pytest
import torch
from fitting_room.models.parts.attention import attend_labelled
from fitting_room.models.parts.reference import Reference
from fitting_room.models.parts.sites import SITES
from fitting_room.training.diffusion import Schedule
from fitting_room.training.losses.pictures import edge_map
from fitting_room.training.networks import Networks

from .losses import literal
from .scene import SIZE, H, Scene, W, batch, decode, noise, one, trainable


@pytest.fixture(scope="module")
def base(comfyui):
    from fitting_room.host.demo import demo_unet

    return demo_unet()


@pytest.fixture(scope="module", params=[False, True], ids=["", "sink"])
def dressing(base, request):
    from fitting_room.models.anydressing import AnyDressing

    module = trainable(base, AnyDressing, rank=4, slots=["upper", "lower"], sink=request.param)

    def patches(b):
        rows = b.numbers
        features = [{s: noise(2, n, module.config.unet.channels(s), seed=7 + i)[rows] for s in SITES} for i, n in enumerate((10, 6))]
        worn = [Reference("anydressing", slot, f, (0, 0)) for slot, f in zip(("upper", "lower"), features)]
        scene.worn = worn
        return [module.patches(worn, 1.0)]

    scene = Scene(base, module, patches)
    return scene


def half_masks():
    masks = torch.zeros(2, 2, *SIZE)
    masks[:, 0, : SIZE[0] // 2, 16:80], masks[:, 1, SIZE[0] // 2 :, 16:80] = 1, 1
    return masks


def test_localization_inside_the_unet_equals_equations_seven_to_nine(dressing):
    """P written out from the U-Net's own queries and K', at all sixteen sites."""
    queries = {}
    hooks = []
    for site in SITES:
        layer = dressing.base.model.diffusion_model.get_submodule(site.ldm_path).attn1
        hooks.append(layer.to_q.register_forward_hook(lambda m, i, o, site=site: queries.__setitem__(site, o)))
    b = batch(worn=half_masks())
    try:
        values, _ = dressing.step(b, {"noise": 1.0, "localization": 1.0})
    finally:
        for hook in hooks:
            hook.remove()
    per_site = []
    for site in SITES:
        keys, layer = torch.cat([g.features[site] for g in dressing.worn], 1), dressing.module.da[str(site)]
        keys = keys @ layer.to_k.weight.T
        if dressing.module.config.sink:
            keys = torch.cat((keys, torch.zeros_like(keys[:, :1])), 1)
        grid = (-(-H // site.stride), -(-W // site.stride))
        pooled = torch.nn.functional.adaptive_avg_pool2d(half_masks(), grid).flatten(2)
        rows = []
        for r in range(2):
            p = literal.full_map(queries[site][r], keys[r], 8).mean(0)
            a = torch.stack((p[:, :10].sum(1), p[:, 10:16].sum(1)))
            rows.append(((a - pooled[r]) ** 2).mean())
        per_site.append(torch.stack(rows))
    torch.testing.assert_close(values["localization"], torch.stack(per_site).mean(0), rtol=1e-4, atol=1e-6)
    weights = [dressing.module.da[str(s)].to_k.weight for s in SITES]
    mine, theirs = (torch.autograd.grad(v.sum(), weights, retain_graph=True) for v in (values["localization"], torch.stack(per_site).mean(0)))
    for a, c in zip(mine, theirs):
        torch.testing.assert_close(a, c, rtol=1e-3, atol=1e-3 * float(c.abs().max()))


def test_localization_leaves_the_picture_as_it_was(dressing):
    b = batch(worn=half_masks())
    torch.testing.assert_close(dressing.step(b, {"noise": 1.0, "localization": 1.0})[1], dressing.step(b, {"noise": 1.0})[1], rtol=1e-4, atol=1e-5)


def test_without_masks_localization_is_skipped_and_dropped_rows_count_zero(dressing):
    assert dressing.step(batch(), {"noise": 1.0, "localization": 1.0})[0]["localization"].tolist() == [0.0, 0.0]
    values = dressing.step(batch(worn=half_masks(), kept=[True, False]), {"noise": 1.0, "localization": 1.0})[0]["localization"]
    assert values[0] > 0 and values[1] == 0
    alone = dressing.step(one(batch(worn=half_masks()), 0), {"noise": 1.0, "localization": 1.0})[0]["localization"]
    torch.testing.assert_close(values[:1], alone, rtol=1e-4, atol=1e-6)


def test_a_sink_gives_the_background_somewhere_to_look():
    """Queries that no garment fits: without a sink the shares sum to one, with it they need not."""
    k = torch.full((1, 16, 8), -3.0)
    q = torch.ones(1, 4, 8)
    keys = torch.cat((k, torch.zeros(1, 1, 8)), 1)
    owner = torch.nn.functional.one_hot(torch.arange(16) // 8, 2).float()
    assert float(attend_labelled(q, k, k, owner, 1)[1].sum(-1).mean()) == pytest.approx(1.0)
    assert float(attend_labelled(q, keys, keys, torch.cat((owner, torch.zeros(1, 2))), 1)[1].sum(-1).mean()) < 0.01


class Brightness(torch.nn.Module):
    """A stand-in for DISTS that can be worked out: squared difference of the mean brightness."""

    def forward(self, generated, real):
        return (generated.mean((1, 2, 3)) - real.mean((1, 2, 3))) ** 2


def test_texture_is_equations_eleven_to_thirteen_below_the_gate(dressing):
    networks = Networks()
    networks.put("dists", Brightness())
    person = (torch.rand(2, 3, *SIZE, generator=torch.Generator().manual_seed(8)) * 255).byte()
    person[:, :, :, 40:] //= 4
    b = batch(t=[350, 351], worn=half_masks(), person=person)
    values, eps = dressing.step(b, {"texture": 1.0}, networks=networks)
    assert values["texture"][1] == 0
    abar = Schedule.linear().abar[350].float()
    z_t = abar.sqrt() * b.z0 + (1 - abar).sqrt() * b.noise
    shown = decode((z_t[:1] - (1 - abar).sqrt() * eps[:1]) / abar.sqrt())
    real = person[:1].float() / 127.5 - 1
    expected, edge = 0.0, edge_map(real)
    assert edge.any()
    for k in range(2):
        m = half_masks()[:1, k : k + 1]
        a, c = ((t + 1) / 2 * m for t in (shown, real))
        expected = expected + 0.5 * ((a.mean() - c.mean()) ** 2 + (((shown - real) * m * edge) ** 2).mean())
    torch.testing.assert_close(values["texture"][0], expected, rtol=1e-3, atol=1e-5)
    assert torch.autograd.grad(values["texture"].sum(), eps)[0][0].any()
    with pytest.raises(ValueError, match="The loss 'texture' needs VGG-16"):
        dressing.step(b, {"texture": 1.0})
