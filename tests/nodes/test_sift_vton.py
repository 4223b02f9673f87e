"""The try-on nodes: what stands on the conditioning, what the sampler starts from, and the sentences for bad input."""

import numpy as np
import pytest
import torch
from fitting_room.preprocess.matches import Matches

pytestmark = pytest.mark.usefixtures("comfyui")


@pytest.fixture(scope="module")
def stack(comfyui):
    from fitting_room.host import demo_stack, demo_vision, new_method
    from fitting_room.models.sift_vton import SiftVton

    with torch.inference_mode():
        model, clip, vae, _ = demo_stack()
        yield model, vae, new_method(SiftVton, model, 0, {"image_width": 64}), demo_vision()


def scene(height=128, width=96, rows=1):
    generator = torch.Generator().manual_seed(1)
    person, pose = (torch.rand(rows, height, width, 3, generator=generator) for _ in range(2))
    mask = torch.zeros(rows, height, width)
    mask[:, 40:100, 20:70] = 1
    return person, mask, pose


def conditioned(vae, **changes):
    from fitting_room.nodes.sift_vton import TryOnConditioning

    person, mask, pose = scene()
    inputs = {"person": person, "mask": mask, "pose": pose, **changes}
    empty = [[torch.zeros(1, 1, 64), {}]]
    with torch.inference_mode():
        return TryOnConditioning.execute(empty, empty, vae, **inputs).result


def test_the_stack_is_agnostic_keep_pose(stack):
    from fitting_room.host import encode_latent

    _, vae, _, _ = stack
    person, mask, pose = scene()
    positive, negative, latent = conditioned(vae)
    given = positive[0][1]["noise_concat"]
    assert torch.equal(given, negative[0][1]["noise_concat"]) and given.shape == (1, 9, 16, 12)
    with torch.inference_mode():
        grey = torch.where(mask[..., None] > 0.5, 0.5, person)
        torch.testing.assert_close(given[:, :4], encode_latent(vae, grey), atol=2e-3, rtol=2e-3)
        assert torch.equal(given[:, 5:], encode_latent(vae, pose))
    assert given[0, 4, 8, 5] == 0 and given[0, 4, 0, 0] == 1  # 1 = stays
    torch.testing.assert_close(latent["samples"] * 0.18215, given[:, :4])


def test_starts(stack):
    from fitting_room.host import encode_latent

    _, vae, _, _ = stack
    with torch.inference_mode():
        assert torch.equal(conditioned(vae, start="person")[2]["samples"] * 0.18215, encode_latent(vae, scene()[0]))
    assert conditioned(vae, start="noise")[2]["samples"].abs().max() == 0


def test_mask_edges(stack):
    _, vae, _, _ = stack
    mask = torch.zeros(1, 128, 96)
    mask[:, :, :42] = 1  # a quarter into the sixth latent column, whose two middle pixels are 43 and 44
    plain, filtered = (conditioned(vae, mask=mask, mask_edges=e)[0][0][1]["noise_concat"][0, 4, 0] for e in ("plain", "filtered"))
    assert plain.tolist() == [0] * 5 + [1] * 7
    assert 0 < filtered[4] < filtered[5] < 1


@pytest.mark.parametrize("changes, message", [
    ({"mask": torch.zeros(1, 128, 96)}, "covers nothing"),
    ({"mask": torch.ones(1, 128, 96)}, "covers the whole picture"),
    ({"pose": torch.zeros(1, 96, 96, 3)}, "pose picture is 96 x 96"),
    ({"person": torch.zeros(1, 100, 96, 3), "pose": torch.zeros(1, 100, 96, 3)}, "multiples of 8"),
    ({"pose": torch.full((1, 128, 96, 3), float("nan"))}, "NaN"),
    ({"mask": torch.ones(3, 128, 96).tril(), "person": torch.zeros(2, 128, 96, 3)}, "batch"),
])
def test_bad_pictures(stack, changes, message):
    with pytest.raises(ValueError, match=message):
        conditioned(stack[1], **changes)


def test_the_token_and_its_null(stack):
    from fitting_room.nodes.sift_vton import EncodeGarmentToken

    model, _, method, vision = stack
    with torch.inference_mode():
        positive, negative = EncodeGarmentToken.execute(method, vision, torch.rand(2, 50, 40, 3)).result
    assert positive[0][0].shape == (2, 1, 64) and torch.equal(negative[0][0], method.module.token.null)


def test_an_image_encoder_of_another_width_or_none(stack):
    from fitting_room.host import new_method
    from fitting_room.models.sift_vton import SiftVton
    from fitting_room.nodes.sift_vton import EncodeGarmentToken

    model, _, _, vision = stack
    wide = new_method(SiftVton, model, 0, {})
    for came, message in ((vision, r"64 wide\), and this SIFT-VTON file needs CLIP ViT-L \(1024 wide\)"), (None, "No image encoder came in")):
        with pytest.raises(ValueError, match=message):
            EncodeGarmentToken.execute(wide, came, torch.rand(1, 8, 8, 3))


def run(stack, steps=2, cfg=1.5):
    from fitting_room import host
    from fitting_room.nodes.sift_vton import ApplySiftVton, EncodeGarmentToken, TryOnConditioning
    import comfy.sample

    model, vae, method, vision = stack
    person, mask, pose = scene()
    garment = torch.rand(1, 64, 64, 3, generator=torch.Generator().manual_seed(9))
    with torch.inference_mode():
        fitted = ApplySiftVton.execute(model, method, vae, garment, 1.0, 0.0, 1.0).result[0]
        tokens = EncodeGarmentToken.execute(method, vision, garment).result
        positive, negative, latent = TryOnConditioning.execute(*tokens, vae, person, mask, pose).result
        noise = comfy.sample.prepare_noise(latent["samples"], 0)
        sampler, sigmas = host.plms(model, steps), host.plms_sigmas(model, steps)
        samples = comfy.sample.sample_custom(fitted, noise, cfg, sampler, sigmas, positive, negative, latent["samples"], disable_pbar=True, seed=0)
    return fitted, positive, {"samples": samples}, garment


def test_try_on_with_plms_from_a_plain_model(stack):
    _, _, latent, _ = run(stack)
    assert torch.isfinite(latent["samples"]).all() and latent["samples"].shape == (1, 4, 16, 12)


def test_attention_of_points_and_of_matches(stack):
    from fitting_room.nodes.attention_map import AttentionMap

    fitted, positive, latent, garment = run(stack)
    with torch.inference_mode():
        maps, table = AttentionMap.execute(fitted, positive, latent, garment, "30,40; 60,90", steps=2).result
        assert maps.shape[0] == 2 and maps.shape[-1] == 3 and table.splitlines()[1].split()[0] == "30,40"
        matches = Matches(np.float32([[[30, 40], [20, 10]], [[60, 90], [40, 50]]]), np.array([True, True]), (128, 96), (64, 64))
        beside, table = AttentionMap.execute(fitted, positive, latent, garment, "", [matches], torch.rand(1, 128, 96, 3), steps=1).result
    assert beside.shape[2] > maps.shape[2]
    assert table.splitlines()[1].split()[1] == "30,31"  # (20, 10) of a 64 x 64 garment, fitted into 96 x 128 (16 rows above)


def test_nothing_to_ask_and_nobody_to_ask(stack):
    from fitting_room.nodes.attention_map import AttentionMap

    fitted, positive, latent, garment = run(stack)
    with pytest.raises(ValueError, match="nothing to ask: no points are given and no matches are connected"):
        AttentionMap.execute(fitted, positive, latent, garment)
    from fitting_room.models.parts.patches import Patches
    from fitting_room import host

    plain = host.install(stack[0], Patches(), channels=True)
    with torch.inference_mode(), pytest.raises(ValueError, match="connect a MODEL that carries Apply SIFT-VTON"):
        AttentionMap.execute(plain, positive, latent, garment, "3,3")


def test_a_method_of_another_paper(stack):
    from fitting_room.host import new_method
    from fitting_room.models.anydressing import AnyDressing
    from fitting_room.nodes.sift_vton import ApplySiftVton, EncodeGarmentToken

    model, vae, _, vision = stack
    other = new_method(AnyDressing, model, 0, {"rank": 2})
    with pytest.raises(ValueError, match="a method of AnyDressing, and SIFT-VTON is needed"):
        ApplySiftVton.execute(model, other, vae, torch.rand(1, 8, 8, 3), 1.0, 0.0, 1.0)
    with pytest.raises(ValueError, match="AnyDressing has no token"):
        EncodeGarmentToken.execute(other, vision, torch.rand(1, 8, 8, 3))
