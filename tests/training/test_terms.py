"""SIFT-VTON's and Diffuse to Choose's terms inside the host's real U-Net: values, gradients, gates, rows, weights."""

import types

import numpy as np
import pytest
import torch
from fitting_room.data.supervision import Supervision
from fitting_room.models.parts.channels import STACK
from fitting_room.preprocess.matches import Matches
from fitting_room.training.diffusion import Schedule
from fitting_room.training.outputs import Outputs
from fitting_room.training.terms import Terms

from .losses import literal
from .scene import SIZE, H, Keep, Scene, W, batch, decode, noise, one, random_networks, some_matches, trainable


@pytest.fixture(scope="module")
def base(comfyui):
    from fitting_room.host.demo import demo_unet

    return demo_unet()


@pytest.fixture(scope="module")
def sift(base):
    from fitting_room.models.sift_vton import SiftVton

    module = trainable(base, SiftVton, image_width=64)
    garment, stack = noise(2, 4, H, W, seed=5), noise(2, 9, H, W, seed=6)
    return Scene(base, module, lambda b: [module.patches(garment[b.numbers])], lambda b: {STACK: stack[b.numbers]})


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


# ---- Diffuse to Choose, and what every method says of itself ------------------------------------------------------------------------


def test_the_perceptual_term_decodes_every_kept_row_once(comfyui):
    from fitting_room.models.diffuse_to_choose import DiffuseToChoose

    decoded, networks = [], random_networks()
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
