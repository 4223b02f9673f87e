"""PM-Jewelry's nodes: what they give, and the one sentence for each kind of bad input."""

import pytest
import torch

from ..cases.pm_jewelry import pictures
from ..support import close, prompts, randomise, sample


class World:
    """Bases of 4, 9 and 11 channels, a text encoder, a VAE, and the nodes."""

    def __init__(self):
        from fitting_room.host.demo import demo_clip, demo_unet, demo_vae
        from fitting_room.models.parts.sites import UNetShape
        from fitting_room.nodes import pm_jewelry

        self.nodes, self.vae, self.texts = pm_jewelry, demo_vae(), prompts(demo_clip())
        self.bases = {n: demo_unet(UNetShape(n, 32, 64, 8)) for n in (4, 9, 11, 17)}

    def method(self, base, **options):
        from fitting_room import host
        from fitting_room.models.pm_jewelry import PMJewelry

        return host.new_method(PMJewelry, base, 0, options)

    def conditioning(self, *given, **options):
        with torch.inference_mode():
            return self.nodes.JewelryConditioning.execute(*self.texts, self.vae, *(given or pictures()), **options).result

    def encoder(self, base, method, strength=1.0, start=0.0, end=1.0, **options):
        jewelry = torch.rand(1, 40, 60, 3, generator=torch.Generator().manual_seed(6))
        with torch.inference_mode():
            return self.nodes.JewelryEncoder.execute(base, method, self.vae, jewelry, strength, start, end, **options).result[0]

    def shadow(self, model, method, strength=1.0, threshold=0.5, max_timestep=700):
        return self.nodes.ShadowModule.execute(model, method, strength, threshold, max_timestep).result[0]

    def mask(self, model, positive, latent, timestep=300, **options):
        with torch.inference_mode():
            return self.nodes.ShadowMask.execute(model, positive, latent, timestep, **options).result[0]


@pytest.fixture(scope="module")
def world(comfyui):
    return World()


# ---- the conditioning ------------------------------------------------------------------------------------------------------


def test_order_scale_and_polarity_of_the_stack(world):
    """z 4 comes from the sampler; then head 4 (scaled), keep 1, depth 1, saliency 1 in -1..1."""
    from fitting_room import host

    image, mask, depth, saliency = pictures()
    positive, negative, latent = world.conditioning()
    stack = positive[0][1]["noise_concat"]
    assert stack.shape == (1, 7, 16, 12) and torch.equal(stack, negative[0][1]["noise_concat"])
    masked = torch.where(mask[..., None] > 0.5, torch.full_like(image, 0.5), image)
    assert torch.equal(stack[:, :4], host.encode_latent(world.vae, masked))
    squares = mask.reshape(1, 16, 8, 12, 8).mean((2, 4))
    assert torch.allclose(stack[:, 4], 1 - squares) and stack[0, 4, 0, 0] == 1 and stack[0, 4, 9, 4] == 0
    for channel, grey in ((5, depth), (6, saliency)):
        assert torch.allclose(stack[:, channel], grey.mean(-1).reshape(1, 16, 8, 12, 8).mean((2, 4)) * 2 - 1, atol=1e-6)
    assert torch.allclose(latent["samples"] * 0.18215, stack[:, :4], atol=1e-6) and "noise_mask" not in latent


def test_seventeen_channels(world):
    positive, _, _ = world.conditioning(maps="encoded")
    assert positive[0][1]["noise_concat"].shape == (1, 13, 16, 12)
    base = world.bases[17]
    out = sample(world.encoder(base, world.method(base, maps="encoded")), *world.conditioning(maps="encoded")[:2])
    assert torch.isfinite(out).all()


@pytest.mark.parametrize("start, same", [("agnostic", False), ("person", True), ("noise", False)])
def test_start_latents(world, start, same):
    from fitting_room import host

    latent = world.conditioning(start=start, keep_outside=True)[2]
    picture = host.encode_latent(world.vae, pictures()[0]) / 0.18215
    assert close(latent["samples"], picture, 1e-5) == same and latent["noise_mask"].shape == (1, 1, 128, 96)
    assert start != "noise" or not latent["samples"].any()


def test_given_conditionings_stay_as_they_were(world):
    before = [set(c[0][1]) for c in world.texts]
    world.conditioning()
    assert [set(c[0][1]) for c in world.texts] == before


def test_maps_of_another_size_are_resized_and_it_is_said(world):
    image, mask, depth, saliency = pictures()
    with torch.inference_mode():
        out = world.nodes.JewelryConditioning.execute(*world.texts, world.vae, image, mask[:, ::2, ::2], depth[:, ::2, ::2], saliency)
    said = out.ui.as_dict()["text"][0]
    assert "The mask was 48x64" in said and "The depth picture was 48 x 64 and was resized to 96 x 128" in said


@pytest.mark.parametrize("change, sentence", [
    (lambda p: (p[0], p[1] * 0, *p[2:]), "covers nothing"),
    (lambda p: (p[0], p[1] * 0 + 1, *p[2:]), "covers the whole picture"),
    (lambda p: (p[0][:, :-3], *p[1:]), "multiples of 8"),
    (lambda p: (p[0], p[1], p[2][:, :64], p[3]), "depth picture is 96 x 64 and the head picture 96 x 128"),
    (lambda p: (p[0], p[1], p[2], p[3][:, :, :64]), "saliency picture is 64 x 128"),
    (lambda p: (p[0] * float("nan"), *p[1:]), "NaN"),
    (lambda p: (p[0].expand(3, -1, -1, -1), p[1].expand(2, -1, -1), *p[2:]), "give 1 or 3"),
])
def test_bad_pictures_get_one_sentence(world, change, sentence):
    with pytest.raises(ValueError, match=sentence):
        world.conditioning(*change(pictures()))


# ---- encoder and shadow module ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("channels", [4, 9, 11])
@pytest.mark.parametrize("mode", ["reference", "stack"])
def test_any_sd15_and_a_native_checkpoint(world, channels, mode):
    """Untrained nothing changes, bit for bit; with weights both parts show."""
    base = world.bases[channels]
    method, (positive, negative, _) = world.method(base, encoder_input=mode), world.conditioning()
    off = sample(world.shadow(world.encoder(base, method, 0.0), method, 0.0), positive, negative)
    assert torch.equal(sample(world.shadow(world.encoder(base, method), method), positive, negative), off)
    randomise(method)
    encoder = sample(world.encoder(base, method), positive, negative)
    both = sample(world.shadow(world.encoder(base, method), method), positive, negative)
    assert not close(encoder, off, 1e-3) and not close(both, encoder, 1e-3)


def test_unconditional_rows_see_no_jewelry(world):
    """With guidance 0 only the unconditional half is left: the encoder must be gone, whichever conditioning stands there."""
    base, (positive, negative, _) = world.bases[11], world.conditioning()
    model = world.encoder(base, randomise(world.method(base, shadow=False)))
    for pair in ((positive, negative), (negative, positive)):
        assert close(sample(model, *pair, cfg=0.0), sample(base, *pair, cfg=0.0), 1e-5)


def test_a_model_of_other_channels_is_refused(world):
    method = world.method(world.bases[17])
    with pytest.raises(ValueError, match="17 input channels, and PM-Jewelry needs 11"):
        world.encoder(world.bases[17], method)


def test_a_conditioning_of_seventeen_channels_does_not_fit_eleven(world):
    base = world.bases[4]
    positive, negative, _ = world.conditioning(maps="encoded")
    with pytest.raises(ValueError, match="needs 7 extra channels .* and 13 came"):
        sample(world.encoder(base, randomise(world.method(base))), positive, negative)


def test_a_sampler_without_the_conditioning_says_so(world):
    base = world.bases[11]
    with pytest.raises(ValueError, match="11 input channels and 9 came; connect both outputs"):
        sample(world.encoder(base, world.method(base)), *world.texts)


def test_a_model_that_predicts_v_is_refused(world):
    from comfy_extras.nodes_model_advanced import ModelSamplingDiscrete

    base = ModelSamplingDiscrete().patch(world.bases[11], "v_prediction", False)[0]
    with pytest.raises(ValueError, match="does not predict noise"):
        world.shadow(base, world.method(world.bases[11]))


def test_a_method_of_another_paper_is_refused(world):
    from fitting_room import host
    from fitting_room.models.anydressing import AnyDressing

    other = host.new_method(AnyDressing, world.bases[4], 0, {"rank": 4, "slots": ["upper"]})
    for call in (lambda: world.encoder(world.bases[4], other), lambda: world.shadow(world.bases[4], other)):
        with pytest.raises(ValueError, match="AnyDressing, and PM-Jewelry is needed"):
            call()


def test_ranges_are_checked_before_running(world):
    check = world.nodes.JewelryEncoder.validate_inputs
    assert check(0.0, 1.0) is True and "start must not lie after the end" in check(0.8, 0.2)


def test_the_mask_of_the_piece_takes_its_background_away(world):
    base, (positive, negative, _) = world.bases[11], world.conditioning()
    method, mask = randomise(world.method(base, shadow=False)), torch.zeros(1, 40, 60)
    mask[:, 10:30, 20:40] = 1
    cut = sample(world.encoder(base, method, jewelry_mask=mask), positive, negative)
    assert not close(cut, sample(world.encoder(base, method), positive, negative), 1e-3)


def test_the_piece_is_encoded_once_per_generation_at_the_size_that_is_sampled(world, monkeypatch):
    from fitting_room.nodes import sift_vton

    sizes, real = [], sift_vton.encode_latent
    monkeypatch.setattr(sift_vton, "encode_latent", lambda vae, image: sizes.append(tuple(image.shape[1:3])) or real(vae, image))
    base, (positive, negative, _) = world.bases[11], world.conditioning()
    model = world.encoder(base, randomise(world.method(base, shadow=False)))
    assert sizes == []
    sample(model, positive, negative, steps=3)
    assert sizes == [(128, 96)]


def test_the_channels_stay_when_the_encoder_acts_in_a_part_of_the_steps_only(world):
    """start_percent and end_percent belong to the zero cross-attention; the inputs of eq. 1 are there at every step."""
    base, (positive, negative, _) = world.bases[4], world.conditioning()
    method = randomise(world.method(base, shadow=False))
    late = world.encoder(base, method, start=1.0)
    off = sample(world.encoder(base, method, 0.0), positive, negative, steps=1)
    assert not close(sample(late, positive, negative, steps=1), off, 1e-3)


# ---- the look at the mask ----------------------------------------------------------------------------------------------------


def test_the_shadow_mask_is_one_call_and_repeats_itself(world):
    base = world.bases[11]
    method, (positive, _, latent) = randomise(world.method(base)), world.conditioning()
    model, calls = world.shadow(world.encoder(base, method), method), []
    handle = base.model.diffusion_model.out.register_forward_hook(lambda *_: calls.append(1))
    try:
        first = world.mask(model, positive, latent)
    finally:
        handle.remove()
    assert len(calls) == 1 and first.shape == (1, 128, 96) and 0 <= first.min() < first.max() <= 1
    assert torch.equal(world.mask(model, positive, latent), first)
    assert not torch.equal(world.mask(model, positive, latent, timestep=600), first)
    assert not torch.equal(world.mask(model, positive, latent, seed=1), first)
    applied = world.mask(model, positive, latent, view="applied")
    assert set(applied.unique().tolist()) == {0.0, 1.0} and torch.equal(applied[:, ::8, ::8].repeat_interleave(8, 1).repeat_interleave(8, 2), applied)


def test_one_mask_per_picture_of_a_batch(world):
    base = world.bases[11]
    method = randomise(world.method(base))
    positive, _, latent = world.conditioning(*pictures(rows=2))
    masks = world.mask(world.shadow(base, method), positive, latent)
    assert masks.shape == (2, 128, 96) and not torch.equal(masks[0], masks[1])


def test_the_shadow_mask_needs_a_shadow_module_and_a_timestep_it_acts_at(world):
    base = world.bases[11]
    positive, _, latent = world.conditioning()
    with pytest.raises(ValueError, match="has no shadow module"):
        world.mask(base, positive, latent)
    with pytest.raises(ValueError, match="acts only below 700"):
        world.mask(world.shadow(base, world.method(base)), positive, latent, timestep=700)


def test_a_lora_after_the_shadow_module_keeps_it(world):
    from fitting_room.host.demo import demo_lora

    base = world.bases[11]
    method, (positive, _, latent) = randomise(world.method(base)), world.conditioning()
    model = world.shadow(base, method)
    assert not torch.equal(world.mask(demo_lora(model, 0.8), positive, latent), world.mask(model, positive, latent))
