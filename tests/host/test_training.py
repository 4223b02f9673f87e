"""The host's side of training: the same forward as sampling, and gradients where there were none."""

import pytest
import torch

from ..support import randomise
from ..training.support import scene

pytestmark = pytest.mark.usefixtures("comfyui")


@pytest.fixture(scope="module")
def made(comfyui, tmp_path_factory):
    return scene("anydressing", tmp_path_factory.mktemp("scene"))


def inputs(rows=2, context_dim=64):
    g = torch.Generator().manual_seed(0)
    return torch.randn(rows, 4, 8, 8, generator=g), torch.tensor([500.0, 20.0])[:rows], torch.randn(rows, 7, context_dim, generator=g)


def test_a_copy_answers_as_the_model_does(made):
    from fitting_room.host import learning, trainable_unet

    x, t, context = inputs()
    with torch.inference_mode():
        unet, options = trainable_unet(made.model)
        expected = unet(x, t, context=context, transformer_options=options).clone()
    with torch.inference_mode(), learning():
        studio = made.studio()
        copy = studio.place(studio.base())
        copy.requires_grad_(True)
        found = studio.run(copy, x, t, context)
        found.sum().backward()
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4 * float(expected.abs().max()))
    assert all(p.grad is not None and not p.is_inference() for p in copy.parameters())


def test_patches_act_in_training_as_installed(made):
    """Eq. 6 through `install` and the host's wrappers, and through `Studio.run`, with an unconditional row between."""
    from fitting_room import host
    from fitting_room.host.denoiser import ROWS
    from fitting_room.models.parts.reference import Reference
    from fitting_room.models.parts.sites import SITES

    x, t, context = inputs()
    with torch.inference_mode():
        method = randomise(host.new_method(type(made.method.module), made.model, 1, {"rank": 2, "slots": ["upper"]}))
        latent = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(1))
        features = host.capture(made.model, latent, lora=method.module.garment_lora(["upper"]), also_load=method.managed)
        fitted = host.install(made.model, method.module.patches([Reference("anydressing", "upper", features, (64, 64))], 1.0), method.managed)
        unet, options = host.trainable_unet(fitted)
        expected = unet(x, t, context=context, transformer_options=options, **{ROWS: torch.tensor([[1], [-2]])}).clone()
    with torch.inference_mode(), host.learning(), torch.no_grad():
        studio = made.studio()
        base, module = studio.place(studio.base()), studio.place(studio.module(method))
        own = studio.features(base, latent, lora=module.garment_lora(["upper"]))
        for site in SITES:
            torch.testing.assert_close(own[site], features[site], rtol=1e-4, atol=1e-4 * float(features[site].abs().max()))
        patches = module.patches([Reference("anydressing", "upper", own, (64, 64))], 1.0)
        found = studio.run(base, x, t, context, [patches], torch.tensor([True, False]))
        plain = studio.run(base, x, t, context)
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3 * float(expected.abs().max()))
    assert torch.equal(found[1], plain[1]) and not torch.allclose(found[0], plain[0], atol=1e-2)


def test_pictures_go_through_the_decoder_with_gradient(made):
    from fitting_room.host import learning

    with torch.inference_mode(), learning():
        studio = made.studio()
        z = torch.randn(1, 4, 8, 8, requires_grad=True)
        decoded = studio.decode(z)
        decoded.sum().backward()
        plain = studio.pictures(z)
    assert decoded.shape == (1, 3, 64, 64) and z.grad.abs().sum() > 0
    torch.testing.assert_close(((decoded.detach() + 1) / 2).clamp(0, 1), plain, rtol=1e-3, atol=1e-3)


def test_the_schedule_is_the_models_own(made):
    from fitting_room.training.diffusion import Schedule

    torch.testing.assert_close(made.studio().alphas_cumprod(), Schedule.linear().abar, rtol=1e-4, atol=1e-6)


def test_a_lora_on_the_model_is_left_out_and_said(made):
    from fitting_room import host

    with torch.inference_mode():
        styled = host.demo_lora(made.model, 0.8)
    studio = host.Studio(styled, made.vae, made.clip)
    assert "LoRAs are left out" in studio.notes[0]
    with host.learning():
        copy, plain = studio.base().state_dict(), made.studio().base().state_dict()
    assert all(torch.equal(copy[k], v) for k, v in plain.items())


@pytest.mark.parametrize("precision", ["bf16"])
def test_half_precision_stays_near(made, precision):
    from fitting_room.host import learning

    x, t, context = inputs()
    with torch.inference_mode(), learning(), torch.no_grad():
        exact = made.studio()
        half = made.studio(precision=precision)
        frozen = half.place(half.base())
        found, expected = half.run(frozen, x, t, context), exact.run(exact.place(exact.base()), x, t, context)
    assert next(frozen.parameters()).dtype is torch.bfloat16 and found.dtype is torch.float32
    assert float((found - expected).abs().mean()) < 0.05 * float(expected.abs().mean())


def test_an_image_encoder_that_is_missing_is_named(made):
    from fitting_room.host import Studio

    with pytest.raises(ValueError, match="No image encoder.*DINOv2"):
        Studio(made.model, made.vae).need_vision("dinov2", 1536, "this method")


def test_other_encoders_have_another_name(made):
    """Kept encodings are found under it: a VAE, a text encoder or a layer of it that was exchanged must find nothing."""
    import copy

    from fitting_room.host import Studio

    name = made.studio().encoders()
    assert Studio(made.model, made.vae, made.clip, made.vision).encoders() == name
    vae = copy.copy(made.vae)
    with torch.inference_mode():
        vae.first_stage_model = copy.deepcopy(made.vae.first_stage_model)
        next(vae.first_stage_model.parameters()).flatten()[0].add_(0.5)
        skipping = made.clip.clone()
        skipping.clip_layer(-2)
    others = [Studio(made.model, vae, made.clip, made.vision), Studio(made.model, made.vae, skipping, made.vision), Studio(made.model, made.vae, made.clip)]
    names = {name, *(s.encoders() for s in others)}
    assert len(names) == 4


def test_a_trained_lora_is_read_by_the_hosts_own_loader(made):
    """The file's terms become patches of every projection; the host's merged U-Net then answers as the one that was trained."""
    import comfy.model_management
    import comfy.sd
    from fitting_room.host import learning, trainable_unet
    from fitting_room.training.trainable import choose

    x, t, context = inputs()
    with torch.inference_mode(), learning(), torch.no_grad():
        studio = made.studio()
        base = studio.place(studio.base())
        terms = choose(base, "lora", rank=2, seed=1)
        for term in terms.terms:
            term["up"].normal_(std=0.1, generator=torch.Generator().manual_seed(len(term["up"])))
        expected, file = studio.run(base, x, t, context), terms.file_state()
    with torch.inference_mode():
        styled, _ = comfy.sd.load_lora_for_models(made.model, None, file, 1.0, 0.0)
        assert len(styled.patches) == len(terms.names) == 16 * 8
        comfy.model_management.load_models_gpu([styled])
        unet, options = trainable_unet(styled)
        found = unet(x, t, context=context, transformer_options=options)
        comfy.model_management.unload_all_models()
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3 * float(expected.abs().max()))
