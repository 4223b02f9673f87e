"""Terms inside the host's real U-Net with the methods' own patches: values, gradients, gates, rows, weights."""

import types

import numpy as np
import pytest
import torch
from fitting_room.data.supervision import Supervision
from fitting_room.models.parts.attention import attend
from fitting_room.models.parts.channels import STACK
from fitting_room.models.parts.reference import Reference
from fitting_room.models.parts.shadow import PICTURE, pack_picture
from fitting_room.models.parts.sites import SITES
from fitting_room.preprocess.matches import Matches
from fitting_room.training.diffusion import Schedule
from fitting_room.training.losses.attention import target_distance
from fitting_room.training.losses.masks import mask_loss, shadow_weight
from fitting_room.training.losses.targets import from_masks
from fitting_room.training.networks import Networks
from fitting_room.training.outputs import Batch, Outputs
from fitting_room.training.terms import Terms

from .losses import literal

H, W = 16, 12
SIZE = (8 * H, 8 * W)


def noise(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def base(comfyui):
    from fitting_room.host.demo import demo_unet

    return demo_unet()


def trainable(base, cls, **options):
    """A method for training whose every weight counts."""
    from fitting_room import host

    loaded = host.new_method(cls, base, 0, options)
    module = cls(loaded.module.config, host.layers(training=True, dtype=torch.float32))
    with torch.no_grad():
        for number, (name, parameter) in enumerate(sorted(module.named_parameters())):
            start = loaded.module.state_dict()[name].clone()
            fan_in = parameter[0].numel() if parameter.ndim > 1 else 1
            parameter.copy_(start + noise(*parameter.shape, seed=number) * 0.3 / max(fan_in, 1) ** 0.5)
    return module


def batch(rows=2, t=400, kept=None, **tensors):
    z0, eps = noise(2, 4, H, W, seed=1)[:rows], noise(2, 4, H, W, seed=2)[:rows]
    t = torch.full((rows,), t) if isinstance(t, int) else torch.tensor(t)
    kept = torch.ones(rows, dtype=torch.bool) if kept is None else torch.tensor(kept)
    return Batch([f"sample {i}" for i in range(rows)], {k: v[:rows] for k, v in tensors.items()}, {}, z0, t, eps, kept, list(range(rows)))


def one(b, row):
    """One sample of a batch as a batch."""
    part = slice(row, row + 1)
    return Batch(b.names[part], {k: v[part] for k, v in b.tensors.items()}, b.text, b.z0[part], b.t[part], b.noise[part], b.kept[part], b.numbers[part])


class Scene:
    """A method on the demo U-Net, and steps with it."""

    def __init__(self, base, module, patches, extras=None, context_rows=2):
        self.base, self.module, self.patches, self.extras = base, module, patches, extras or (lambda b: {})
        self.context = noise(context_rows, 77, 64, seed=3)

    def step(self, b, weights=None, options=None, supervision=None, networks=None, min_snr=0.0, also=None):
        """(terms by name, predicted noise) of one training step."""
        from fitting_room import host

        schedule = Schedule.linear()
        terms = Terms(b, weights or self.module.loss_weights, {**self.module.loss_options, **(options or {})}, networks, supervision, min_snr)
        watch = self.module.watches(terms)
        model = self.base
        for patches in self.patches(b):
            model = host.install(model, patches)
        unet, options = host.trainable_unet(model)
        z_t = schedule.add_noise(b.z0, b.noise, b.t)
        numbers = b.numbers
        marks = torch.tensor([(i + 1) if k else -(i + 1) for i, k in enumerate(b.kept.tolist())])[:, None]
        extras = {f"fitting_room_extra_{k}": v for k, v in self.extras(b).items()}
        run = lambda: unet(z_t, b.t.float(), context=self.context[numbers], transformer_options=host.watched(options, watch), fitting_room_rows=marks, **extras)
        eps = run() if also is None else also(run)
        terms.outputs = Outputs(schedule, b.z0, z_t, b.noise, eps, b.t, b.kept, decode)
        return self.module.losses(terms), eps


def decode(z):
    """A stand-in for the VAE: three channels, eight times as large, with gradient."""
    return torch.nn.functional.interpolate(z[:, :3], scale_factor=8).tanh()


def some_matches(rows=2, count=25):
    points = (torch.rand(rows, count, 2, 2, generator=torch.Generator().manual_seed(4)) * torch.tensor([SIZE[1], SIZE[0]])).floor()
    return {"matches": points, "matches_valid": torch.ones(rows, count, dtype=torch.bool)}


@pytest.fixture(scope="module")
def sift(base):
    from fitting_room.models.sift_vton import SiftVton

    module = trainable(base, SiftVton, image_width=64)
    garment, stack = noise(2, 4, H, W, seed=5), noise(2, 9, H, W, seed=6)
    return Scene(base, module, lambda b: [module.patches(garment[b.numbers])], lambda b: {STACK: stack[b.numbers]})


class Keep:
    """Keeps queries and keys as a watch sees them, beside the one that is tested."""

    def __init__(self, inner, blocks):
        self.inner, self.blocks, self.seen = inner, blocks, {}

    def wants(self, place):
        return place in self.blocks

    def see(self, place, **seen):
        self.seen[place] = seen
        if self.inner is not None and self.inner.wants(place):
            self.inner.see(place, **seen)


def test_sift_inside_the_unet_equals_the_full_maps(sift, monkeypatch):
    """Value and gradient of equation 2, summed over three blocks, against dense histograms and maps of what the blocks saw."""
    keeps = []
    watches = type(sift.module).watches
    monkeypatch.setattr(type(sift.module), "watches", lambda self, terms: keeps.append(Keep(watches(self, terms), (4, 7, 10))) or keeps[-1])
    b = batch(**some_matches())
    values, _ = sift.step(b)
    expected = []
    for row in range(2):
        found = Matches(b.tensors["matches"][row].numpy(), np.ones(25, bool), SIZE, SIZE)
        total = 0.0
        for seen in keeps[0].seen.values():
            p = literal.reference_map(found, seen["grid"], seen["key_grid"])
            total = total + literal.cross_entropy(seen["q"][row], seen["k"][row], seen["heads"], p)
        expected.append(total)
    assert sorted(keeps[0].seen) == [4, 7, 10] and keeps[0].seen[10]["grid"] == (H, W)
    torch.testing.assert_close(values["sift"], torch.stack(expected), rtol=1e-4, atol=1e-4)
    weights = [p for n, p in sift.module.named_parameters() if "attn2.to_q" in n or "attn2.to_k" in n]
    mine, theirs = (torch.autograd.grad(v.sum(), weights, retain_graph=True, allow_unused=True) for v in (values["sift"], torch.stack(expected)))
    for a, c in zip(mine, theirs):
        assert (a is None) == (c is None)
        if a is not None:
            torch.testing.assert_close(a, c, rtol=1e-3, atol=1e-4 * float(c.abs().max()))


def test_watching_changes_nothing(sift):
    b = batch(**some_matches())
    assert torch.equal(sift.step(b)[1], sift.step(b, weights={"noise": 1.0})[1])


def test_terms_of_weight_zero_are_not_computed_and_weights_do_not_touch_other_terms(sift):
    b = batch(worn=torch.ones(2, 1, *SIZE), **some_matches())
    every = sift.step(b, {"noise": 1.0, "sift": 1.0, "atv": 1.0})[0]
    assert list(every) == ["noise", "sift", "atv"] and all(v.shape == (2,) and (v > 0).all() for v in every.values())
    for off in every:
        rest = sift.step(b, {name: 3.0 for name in every if name != off})[0]
        assert set(rest) == set(every) - {off}
        assert all(torch.equal(rest[name], every[name]) for name in rest)
    watch = sift.module.watches(Terms(b, {"noise": 1.0}, sift.module.loss_options))
    assert watch is None


def test_a_batch_of_two_equals_two_singles(sift):
    b = batch(t=[100, 450], worn=torch.ones(2, 1, *SIZE), **some_matches())
    weights = {"noise": 1.0, "sift": 1.0, "atv": 1.0}
    both = sift.step(b, weights, min_snr=5.0)[0]
    for row in range(2):
        alone = sift.step(one(b, row), weights, min_snr=5.0)[0]
        for name in weights:
            torch.testing.assert_close(both[name][row : row + 1], alone[name], rtol=1e-3, atol=1e-5)


def test_the_gate_is_strict_and_per_sample(sift):
    values = sift.step(batch(t=[499, 500], **some_matches()))[0]["sift"]
    assert values[0] > 0 and values[1] == 0
    assert sift.step(batch(t=900, **some_matches()))[0]["sift"].tolist() == [0.0, 0.0]
    assert (sift.step(batch(t=900, **some_matches()), supervision=Supervision(max_timestep=1000))[0]["sift"] > 0).all()


def test_samples_without_matches_or_without_their_condition_count_zero(sift):
    found = some_matches()
    found["matches_valid"][1] = False
    values = sift.step(batch(**found))[0]
    assert values["sift"][0] > 0 and values["sift"][1] == 0 and (values["noise"] > 0).all()
    values = sift.step(batch(kept=[False, True], **some_matches()))[0]
    assert values["sift"][0] == 0 and values["sift"][1] > 0
    assert sift.step(batch(kept=[False, False], **some_matches()))[0]["sift"].tolist() == [0.0, 0.0]
    assert sift.step(batch())[0]["sift"].tolist() == [0.0, 0.0]  # no matches were ever looked for: the noise loss alone


def test_every_setting_of_the_supervision_counts(sift):
    b, own = batch(**some_matches()), Supervision()
    plain = sift.step(b)[0]["sift"]
    torch.testing.assert_close(sift.step(b, supervision=Supervision(layers="mean"))[0]["sift"], plain / 3)
    torch.testing.assert_close(sift.step(b, supervision=Supervision(batch="sum"))[0]["sift"], plain * 2)
    singles = [sift.step(b, supervision=Supervision(blocks=(block,)))[0]["sift"] for block in own.blocks]
    torch.testing.assert_close(sum(singles), plain)
    assert own.as_released() == Supervision(floor=1e-8, batch="sum")
    assert (sift.step(b, supervision=Supervision(floor=0.5))[0]["sift"] < plain).all()


def test_checkpointing_gives_the_same_term_and_gradient(sift):
    """The block is computed again in the backward pass, with the watch in it."""
    from torch.utils.checkpoint import checkpoint

    b, weights = batch(**some_matches()), [p for p in sift.module.warp.parameters()]
    gradients = []
    for also in (None, lambda run: checkpoint(run, use_reentrant=False)):
        values, _ = sift.step(b, also=also)
        gradients.append(torch.autograd.grad(values["sift"].sum() + values["noise"].sum(), weights, allow_unused=True))
    for a, c in zip(*gradients):
        torch.testing.assert_close(a, c, rtol=1e-4, atol=1e-6)


def test_in_half_precision_the_terms_stay_near(sift):
    b = batch(worn=torch.ones(2, 1, *SIZE), **some_matches())
    weights = {"sift": 1.0, "atv": 1.0}

    def halved(run):
        with torch.autocast("cpu", torch.bfloat16):
            return run()

    full, half = sift.step(b, weights)[0], sift.step(b, weights, also=halved)[0]
    for name in weights:
        assert half[name].dtype == torch.float32
        torch.testing.assert_close(half[name], full[name], rtol=0.05, atol=0.05)


def test_variation_needs_the_worn_garment(sift):
    with pytest.raises(ValueError, match="The loss 'atv' needs 'worn'.*sample 0.*weight of 'atv' to 0"):
        sift.step(batch(), {"noise": 1.0, "atv": 1.0})
    empty = sift.step(batch(worn=torch.zeros(2, 1, *SIZE)), {"noise": 1.0, "atv": 1.0})[0]["atv"]
    assert empty.tolist() == [0.0, 0.0]


def test_min_snr_and_the_released_product_of_means(sift):
    """At t = 10 and 900: mean(mse w) is not mean(mse) mean(w)."""
    b, schedule = batch(t=[10, 900]), Schedule.linear()
    plain = sift.step(b, {"noise": 1.0})[0]["noise"]
    weight = (schedule.snr(b.t).clamp(max=5) / schedule.snr(b.t)).float()
    torch.testing.assert_close(sift.step(b, {"noise": 1.0}, min_snr=5.0)[0]["noise"], plain * weight)
    released = sift.step(b, {"noise": 1.0}, {"noise_product": True}, min_snr=5.0)[0]["noise"].mean()
    torch.testing.assert_close(released, plain.mean() * weight.mean())
    assert not torch.isclose(released, (plain * weight).mean(), rtol=1e-3)


# ---- AnyDressing -------------------------------------------------------------------------------------------------------------------


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


def test_a_sink_gives_the_background_somewhere_to_look(base):
    """Queries that no garment fits: without a sink the shares sum to one, with it they need not."""
    k = torch.full((1, 16, 8), -3.0)
    q = torch.ones(1, 4, 8)
    keys = torch.cat((k, torch.zeros(1, 1, 8)), 1)
    owner = torch.nn.functional.one_hot(torch.arange(16) // 8, 2).float()
    from fitting_room.models.parts.attention import attend_labelled

    assert float(attend_labelled(q, k, k, owner, 1)[1].sum(-1).mean()) == pytest.approx(1.0)
    assert float(attend_labelled(q, keys, keys, torch.cat((owner, torch.zeros(1, 2))), 1)[1].sum(-1).mean()) < 0.01
    assert attend(q, keys, keys, 1).shape == (1, 4, 8)


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
    from fitting_room.training.losses.pictures import edge_map

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


# ---- PM-Jewelry --------------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def jewelry(comfyui):
    from fitting_room.host.demo import demo_unet
    from fitting_room.models.pm_jewelry import PMJewelry

    base = demo_unet()
    module = trainable(base, PMJewelry)
    latent, rgb = noise(2, 4, 8, 8, seed=9), torch.rand(2, 3, *SIZE, generator=torch.Generator().manual_seed(10))

    stack = noise(2, module.config.layout.extra, H, W, seed=12)

    def extras(b):
        return {PICTURE: pack_picture(rgb[b.numbers], region()[b.numbers]), STACK: stack[b.numbers]}

    return Scene(base, module, lambda b: [module.patches(latent[b.numbers]), module.shadow_at_work().patches()], extras)


def region():
    mask = torch.zeros(2, 1, *SIZE)
    mask[0, :, 32:80, 24:64], mask[1, :, 16:64, 40:88] = 1, 1
    return mask


def item_region():
    mask = torch.zeros(2, 1, 64, 64)
    mask[..., 8:56, 16:48] = 1
    return mask


def jewelry_batch(**more):
    return batch(mask=region(), item_mask=item_region(), shadow=region().roll(16, 2), person=(noise(2, 3, *SIZE).sigmoid() * 255).byte(), **more)


def test_the_distance_from_targets_inside_the_unet(jewelry, monkeypatch):
    keeps = []
    watches = type(jewelry.module).watches
    monkeypatch.setattr(type(jewelry.module), "watches", lambda self, terms: keeps.append(Keep(watches(self, terms), (7,))) or keeps[-1])
    values, _ = jewelry.step(jewelry_batch(), {"noise": 1.0, "atv": 1.0})
    seen = keeps[0].seen[7]
    looked = torch.stack([literal.looked(seen["q"][r], seen["k"][r], seen["heads"], seen["key_grid"]) for r in range(2)])
    looked = looked.transpose(1, 2).unflatten(2, seen["grid"])
    target, where = from_masks(region(), item_region(), seen["grid"], seen["key_grid"])
    torch.testing.assert_close(values["atv"], target_distance(looked, target, where, seen["key_grid"]), rtol=1e-4, atol=1e-5)
    assert (values["atv"] > 0).all()


def test_every_source_of_targets_and_the_total_variation(jewelry):
    weights = {"atv": 1.0}
    values = {"box": jewelry.step(jewelry_batch(), weights)[0]["atv"]}
    cut = jewelry_batch()
    cut.tensors["item_mask"][..., 8:24, 16:32] = 0  # a corner is missing: the box is what it was, the axes tilt
    assert torch.equal(jewelry.step(cut, weights)[0]["atv"], values["box"])
    values["moments"] = jewelry.step(cut, weights, {"atv_fit": "moments"})[0]["atv"]
    values["affine"] = jewelry.step(jewelry_batch(affine=torch.tensor([[[1.0, 0, 0.1], [0, 1.0, 0]]]).expand(2, -1, -1)), weights)[0]["atv"]
    values["matches"] = jewelry.step(jewelry_batch(**some_matches()), weights, {"atv_fit": "matches"})[0]["atv"]
    values["variation"] = jewelry.step(jewelry_batch(), weights, {"atv_mode": "variation"})[0]["atv"]
    assert all((v > 0).all() for v in values.values())
    assert len({round(v[0].item(), 6) for v in values.values()}) == len(values)


def test_the_shadow_terms_are_equations_four_and_six(jewelry):
    b = jewelry_batch(t=[400, 800])
    values, eps = jewelry.step(b, {"shadow_mask": 1.0, "shadow_noise": 1.0})
    assert values["shadow_mask"][0] > 0 and values["shadow_mask"][1] == 0  # the module does not act at t >= 700
    weight = shadow_weight(b.tensors["shadow"], (H, W))
    assert set(weight.unique().tolist()) == {1.0, 10.0}
    torch.testing.assert_close(values["shadow_noise"], ((eps - b.noise) ** 2 * weight).mean((1, 2, 3)))
    predictor = list(jewelry.module.shadow.mask_predictor.parameters())
    assert all(g.any() for g in torch.autograd.grad(values["shadow_mask"].sum(), predictor, retain_graph=True))
    assert jewelry.step(b, {"shadow_mask": 1.0}, {"dice_weight": 0.1})[0]["shadow_mask"][0] < values["shadow_mask"][0]
    by_vgg = jewelry.step(b, {"shadow_noise": 1.0}, {"shadow_weights": "vgg"}, networks=jewelry_networks())[0]["shadow_noise"]
    plain = ((eps - b.noise) ** 2).mean((1, 2, 3))
    assert (by_vgg > plain).all() and (by_vgg < values["shadow_noise"]).all()  # between 1 and 10 where the mask's are 10
    with pytest.raises(ValueError, match="mask or vgg"):
        jewelry.step(b, {"shadow_noise": 1.0}, {"shadow_weights": "depth"})
    none = jewelry.step(batch(mask=region(), item_mask=item_region()), {"shadow_mask": 1.0, "shadow_noise": 1.0})[0]
    assert none["shadow_mask"].tolist() == none["shadow_noise"].tolist() == [0.0, 0.0]


def test_the_mask_term_is_taken_from_the_modules_own_logits(jewelry, monkeypatch):
    keeps = []
    watches = type(jewelry.module).watches
    monkeypatch.setattr(type(jewelry.module), "watches", lambda self, terms: keeps.append(Keep(watches(self, terms), ("shadow",))) or keeps[-1])
    b = jewelry_batch()
    values, _ = jewelry.step(b, {"shadow_mask": 1.0})
    torch.testing.assert_close(values["shadow_mask"], mask_loss(keeps[0].seen["shadow"]["logits"], b.tensors["shadow"]))


def jewelry_networks():
    from ..models.parts.test_depth_anything import random_state
    from fitting_room.models.parts.depth_anything import DepthAnything
    from fitting_room.models.parts.layers import Layers
    from fitting_room.models.parts.vgg import Vgg

    networks, vgg = Networks(), Vgg(19, Layers(), last="relu5_2")
    networks.put("vgg19", vgg)
    networks.put("depth", DepthAnything.from_state(random_state(), "random"))
    return networks


def test_equation_eight_has_all_its_terms_and_each_weight_its_own(jewelry):
    b, networks = jewelry_batch(t=[100, 450]), jewelry_networks()
    weights = {**jewelry.module.loss_weights, "atv": 0.001}
    every, eps = jewelry.step(b, weights, networks=networks)
    assert set(every) == {"noise", "atv", "shadow_mask", "shadow_noise", "depth", "perception"}
    assert all(torch.isfinite(v).all() for v in every.values())
    for name in ("depth", "perception"):
        assert every[name][0] > 0 and every[name][1] == 0  # the picture means little above t = 400
        assert torch.autograd.grad(every[name].sum(), eps, retain_graph=True)[0][0].any()
    for off in ("depth", "perception", "shadow_mask"):
        rest = jewelry.step(b, {k: w for k, w in weights.items() if k != off}, networks=networks)[0]
        assert off not in rest and all(torch.equal(rest[k], every[k]) for k in rest)


@pytest.mark.parametrize("term, words", [("depth", "depth_anything_v2_vits.pth"), ("perception", "VGG-19")])
def test_missing_networks_are_named(jewelry, term, words):
    with pytest.raises(ValueError, match=f"The loss '{term}' needs.*{words}"):
        jewelry.step(jewelry_batch(t=100), {term: 1.0})


# ---- Diffuse to Choose, and what every method says of itself ------------------------------------------------------------------------


def test_the_perceptual_term_decodes_every_kept_row_once(comfyui):
    from fitting_room.models.diffuse_to_choose import DiffuseToChoose

    decoded, networks = [], jewelry_networks()
    b = batch(t=[10, 700], person=torch.zeros(2, 3, *SIZE, dtype=torch.uint8))
    eps = noise(2, 4, H, W, seed=11).requires_grad_(True)
    schedule = Schedule.linear()

    def counting(z):
        decoded.append(len(z))
        return decode(z)

    def run(**options):
        terms = Terms(b, DiffuseToChoose.loss_weights, {**DiffuseToChoose.loss_options, **options}, networks)
        terms.outputs = Outputs(schedule, b.z0, schedule.add_noise(b.z0, b.noise, b.t), b.noise, eps, b.t, b.kept, counting)
        return DiffuseToChoose.losses(types.SimpleNamespace(), terms)

    values = run()
    assert decoded == [2] and (values["perceptual"] > 0).all() and torch.autograd.grad(values["perceptual"].sum(), eps)[0].any()
    assert run(perceptual_max_timestep=400.0)["perceptual"][1] == 0
    assert not torch.allclose(run(perceptual_layers="first5conv")["perceptual"], values["perceptual"])


def test_every_method_declares_what_it_needs_to_train():
    from fitting_room.models.registry import METHODS
    from fitting_room.training.config import BASES
    from fitting_room.training.networks import NETWORKS

    for cls in METHODS.values():
        assert cls.loss_weights["noise"] == 1.0
        assert set(cls.loss_networks) <= set(cls.loss_weights)
        assert all(n in NETWORKS for needed in cls.loss_networks.values() for n in needed)
        assert all(t.base in BASES and t.own for t in cls.trainable.values())


def test_what_learns_exists(base):
    """Every beginning of a name stands for parameters that are there; the paper's choice comes first."""
    from fitting_room import host
    from fitting_room.models.registry import METHODS

    for cls in METHODS.values():
        if cls.kind not in ("anydressing", "igr", "diffuse_to_choose", "pm_jewelry", "sift_vton"):
            continue
        config = cls.Config.from_dict({"unet": host.unet_shape(base)})
        names = [n for n, _ in cls(config, host.layers(training=True, device="meta")).named_parameters()] + [f"{u.rstrip('?')}." for u in cls.unets]
        for setting in cls.trainable.values():
            assert all(any(n.startswith(start) for n in names) for start in setting.own), (cls.kind, setting)
