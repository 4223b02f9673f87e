"""PM-Jewelry's terms inside the host's real U-Net: targets, the shadow's mask and noise, and equation 8 as a whole."""

import pytest
import torch
from fitting_room.models.parts.channels import STACK
from fitting_room.models.parts.shadow import PICTURE, pack_picture
from fitting_room.training.losses.attention import target_distance
from fitting_room.training.losses.masks import mask_loss, shadow_weight
from fitting_room.training.losses.targets import from_masks

from .losses import literal
from .scene import SIZE, H, Keep, Scene, W, batch, noise, random_networks, some_matches, trainable


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
    by_vgg = jewelry.step(b, {"shadow_noise": 1.0}, {"shadow_weights": "vgg"}, networks=random_networks())[0]["shadow_noise"]
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


def test_equation_eight_has_all_its_terms_and_each_weight_its_own(jewelry):
    b, networks = jewelry_batch(t=[100, 450]), random_networks()
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
