"""The nodes of Diffuse to Choose: tokens of the product, hints, and what bad input is answered with."""

import pytest
import torch

pytestmark = pytest.mark.usefixtures("comfyui")


def dinov2(width, layers=2):
    """A DINOv2 of the host's own class at the released picture size (518 pixels, 1370 positions), with weights from a seed."""
    from fitting_room.host.vision import random_vision

    config = {
        "model_type": "dinov2", "hidden_size": width, "num_hidden_layers": layers, "num_attention_heads": 4, "num_channels": 3, "patch_size": 14,
        "image_size": 518, "layer_norm_eps": 1e-6, "use_swiglu_ffn": False, "image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225],
    }
    return random_vision(config, 6)


@pytest.fixture(scope="module")
def scene(comfyui):
    from fitting_room import host
    from fitting_room.host.demo import demo_unet
    from fitting_room.models.diffuse_to_choose import DiffuseToChoose
    from fitting_room.nodes import diffuse_to_choose as nodes

    model = demo_unet()
    return nodes, model, lambda **options: host.new_method(DiffuseToChoose, model, 0, options)


def product(seed=0, size=(90, 60)):
    return torch.rand(1, *size, 3, generator=torch.Generator().manual_seed(seed))


@torch.inference_mode()
def test_dinov2_gives_257_tokens_and_a_null_of_equal_length(scene):
    nodes, _, make = scene
    method, vision = make(image_width=32), dinov2(32)
    (positive, _), (negative, _) = (c[0] for c in nodes.EncodeProduct.execute(method, vision, product()).args)
    assert positive.shape == negative.shape == (1, 257, 64)
    assert vision.image_size == 518  # the shared encoder is as it was
    assert (negative == negative[:, :1]).all() and torch.equal(negative[0, 0], method.module.tokens.null[0, 0])


@torch.inference_mode()
def test_the_tokens_are_one_linear_layer_of_the_normalised_patches(scene):
    """Written out: 224 x 224 by bicubic with antialias, 8 bits, ImageNet's statistics, the encoder, W x + b."""
    from fitting_room.host.vision import _positions

    nodes, _, make = scene
    method, vision = make(image_width=32), dinov2(32)
    small = torch.nn.functional.interpolate(product().movedim(-1, 1), (224, 224), mode="bicubic", antialias=True)
    small = (small * 255).clamp(0, 255).round() / 255
    mean, std = (torch.tensor(v)[:, None, None] for v in ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]))
    with _positions(vision.model, 224):  # nothing on hosts that resize them themselves
        states = vision.model(pixel_values=(small - mean) / std)[0]
    weights = method.module.file_state()
    expected = states @ weights["tokens.proj.weight"].T + weights["tokens.proj.bias"]
    torch.testing.assert_close(nodes.EncodeProduct.execute(method, vision, product()).args[0][0][0], expected, rtol=1e-4, atol=1e-4)


@torch.inference_mode()
def test_the_paint_by_example_ladder_takes_one_token_or_all_of_clip(scene):
    from fitting_room.host import demo_vision

    nodes, _, make = scene
    tokens = {}
    for encoder, count in (("clip_cls", 1), ("clip_all", 257)):
        method = make(image_encoder=encoder, image_width=64, hint="off")  # the same seed, so the same projector
        tokens[encoder], null = (c[0][0] for c in nodes.EncodeProduct.execute(method, demo_vision("clip"), product()).args)
        assert tokens[encoder].shape == null.shape == (1, count, 64)
    torch.testing.assert_close(tokens["clip_cls"], tokens["clip_all"][:, :1])


@torch.inference_mode()
def test_paint_by_example_s_own_token_comes_from_its_mapper(scene):
    from fitting_room import host
    from fitting_room.host import demo_vision
    from fitting_room.models.paint_by_example import PaintByExample

    nodes, model, _ = scene
    method, vision = host.new_method(PaintByExample, model, 0, {"image_width": 64}), demo_vision("clip")
    token, null = (c[0][0] for c in nodes.EncodeProduct.execute(method, vision, product()).args)
    assert torch.equal(token, method.module.token(host.encode_vision(vision, product(), like_host=True).pooled))
    assert token.shape == (1, 1, 64) and torch.equal(null, method.module.token.null)


@torch.inference_mode()
def test_a_batch_of_products_gives_a_batch_of_tokens(scene):
    nodes, _, make = scene
    method, vision = make(image_width=32), dinov2(32)
    both = nodes.EncodeProduct.execute(method, vision, torch.cat([product(0), product(1)])).args[0][0][0]
    alone = nodes.EncodeProduct.execute(method, vision, product(1)).args[0][0][0]
    torch.testing.assert_close(both[1:], alone, rtol=1e-4, atol=1e-4)


def test_the_wrong_image_encoder_is_answered_with_the_right_one(scene):
    from fitting_room.host import demo_vision

    nodes, _, make = scene
    giant = make()
    cases = {
        "DINOv2 base .768 wide., and this Diffuse to Choose file needs DINOv2 giant .1536 wide.": dinov2(768),
        "DINOv2 small .384 wide.": dinov2(384),
        "DINOv2 large .1024 wide.": dinov2(1024),
        "clip_vision_model .64 wide.": demo_vision("clip"),
        "could not read its file": None,
    }
    for message, vision in cases.items():
        with pytest.raises(ValueError, match=f"{message}.*small and base do not fit.*giant, 1536 wide, or large, 1024"):
            nodes.EncodeProduct.execute(giant, vision, product())


def test_alpha_empty_masks_and_other_methods_are_refused(scene):
    from fitting_room import host
    from fitting_room.host.demo import demo_vae
    from fitting_room.models.anydressing import AnyDressing

    nodes, model, make = scene
    with pytest.raises(ValueError, match="The product picture has an alpha channel"):
        nodes.EncodeProduct.execute(make(image_width=32), dinov2(32), torch.rand(1, 64, 64, 4))
    texts = [[[torch.zeros(1, 1, 64), {}]]] * 2
    with pytest.raises(ValueError, match="The mask covers nothing"):
        nodes.InpaintConditioning.execute(*texts, demo_vae(), product(), torch.zeros(1, 90, 60))
    other = host.new_method(AnyDressing, model, 0, {"rank": 4})
    with pytest.raises(ValueError, match="This is a method of AnyDressing, and Diffuse to Choose is needed here"):
        nodes.FiLMHintEncoder.execute(model, other, torch.zeros(1, 64, 64, 3), 1.0, 0.0, 1.0)


def test_a_latent_hint_needs_the_vae(scene):
    from fitting_room.host.demo import demo_vae

    nodes, model, make = scene
    method = make(hint="latent")
    with pytest.raises(ValueError, match="connect the VAE"):
        nodes.FiLMHintEncoder.execute(model, method, torch.zeros(1, 64, 64, 3), 1.0, 0.0, 1.0)
    with torch.inference_mode():
        nodes.FiLMHintEncoder.execute(model, method, torch.zeros(1, 64, 64, 3), 1.0, 0.0, 1.0, vae=demo_vae())


@torch.inference_mode()
def test_odd_sizes_are_cut_alike_everywhere(scene):
    """A 101 x 75 picture: tokens aside, hint, latent and result all lose 5 rows and 3 columns, half on each side."""
    from fitting_room.host.demo import demo_vae
    from fitting_room.nodes.hint import PlaceHint

    from ..support import sample

    nodes, model, make = scene
    image, mask = product(2, (101, 75)), torch.zeros(1, 101, 75)
    mask[:, 20:70, 20:60] = 1
    texts = [[[torch.randn(1, 4, 64, generator=torch.Generator().manual_seed(s)), {}]] for s in (1, 2)]
    positive, negative, latent = nodes.InpaintConditioning.execute(*texts, demo_vae(), image, mask).args
    assert latent["samples"].shape == (1, 4, 12, 9) and torch.equal(latent["noise_mask"][0, 0], mask[0, 2:98, 1:73])
    hint = PlaceHint.execute(product(), mask, "stretch", "rgb").args[0]
    assert hint.shape == (1, 101, 75, 3)
    fitted = nodes.FiLMHintEncoder.execute(model, make(), hint, 1.0, 0.0, 1.0).args[0]
    assert torch.isfinite(sample(fitted, positive, negative, size=(12, 9), steps=1)).all()
