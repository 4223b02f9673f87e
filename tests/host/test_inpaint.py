"""The masked picture on a conditioning: order, scale and polarity, against the host's own node and numbers by hand."""

import pytest
import torch
from fitting_room.models.parts.sites import UNetShape

from ..support import sample

pytestmark = pytest.mark.usefixtures("comfyui")


@pytest.fixture(scope="module")
def scene(comfyui):
    from fitting_room.host.demo import demo_vae

    g = torch.Generator().manual_seed(0)
    image, mask = torch.rand(1, 128, 96, 3, generator=g), torch.zeros(1, 1, 128, 96)
    mask[..., 32:64, 16:48] = 1  # 8-pixel cells 4..7 x 2..5
    texts = [[[torch.randn(1, 5, 64, generator=g), {}]] for _ in range(2)]
    return demo_vae(), image, mask, texts


def input_of(model, conditionings):
    """What the U-Net's first convolution sees in one step, rows of the positive conditioning."""
    seen = []
    hook = model.model.diffusion_model.input_blocks[0][0].register_forward_pre_hook(lambda _, args: seen.append(args[0].clone()))
    sample(model, *conditionings, steps=1, cfg=1.0)
    hook.remove()
    return seen[0]


@torch.inference_mode()
def test_an_inpainting_checkpoint_sees_what_the_host_s_own_node_gives(scene):
    import nodes
    from fitting_room import host
    from fitting_room.host.demo import demo_unet

    vae, image, mask, texts = scene
    model = demo_unet(UNetShape(9, 32, 64, 8))
    *ours, latent = host.inpaint_conditioning(*texts, vae, image, mask)
    *stock, stock_latent = nodes.InpaintModelConditioning().encode(*texts, image, vae, mask[:, 0], True)
    assert torch.equal(input_of(model, ours)[:, 4:], input_of(model, stock)[:, 4:])
    assert torch.equal(latent["samples"], stock_latent["samples"]) and torch.equal(latent["noise_mask"], stock_latent["noise_mask"])


@torch.inference_mode()
def test_paint_by_example_gets_masked_then_keep(scene):
    """[z 4, masked 4 times 0.18215, mask 1 with 1 = keep], on the positive and on the negative rows."""
    from fitting_room import host
    from fitting_room.host.demo import demo_unet

    vae, image, mask, texts = scene
    model = demo_unet(UNetShape(9, 32, 64, 8))
    positive, negative, latent = host.inpaint_conditioning(*texts, vae, image, mask, "paint_by_example", noise_mask=False)
    grey = torch.where(mask.movedim(1, -1) > 0.5, 0.5, image)
    for first, second in ((positive, negative), (negative, positive)):
        x = input_of(model, (first, second))
        assert x.shape[1] == 9
        assert torch.equal(x[:, 4:8], vae.encode(grey) * 0.18215)
        keep = torch.ones(16, 12)
        keep[4:8, 2:6] = 0
        assert torch.equal(x[0, 8], keep)
    assert "noise_mask" not in latent


@torch.inference_mode()
def test_a_four_channel_model_samples_with_the_same_conditioning(scene):
    from fitting_room import host
    from fitting_room.host.demo import demo_unet

    vae, image, mask, texts = scene
    model = demo_unet()
    assert input_of(model, host.inpaint_conditioning(*texts, vae, image, mask)[:2]).shape[1] == 4


@torch.inference_mode()
def test_bad_input_is_answered_with_one_sentence(scene):
    from fitting_room import host

    vae, image, mask, texts = scene
    with pytest.raises(ValueError, match="multiples of 8"):
        host.inpaint_conditioning(*texts, vae, image[:, :100, :90], mask[..., :100, :90])
    with pytest.raises(ValueError, match="'outpainting' is not known; choose one of inpainting, paint_by_example"):
        host.inpaint_conditioning(*texts, vae, image, mask, "outpainting")
    with pytest.raises(ValueError, match="NaN"):
        host.inpaint_conditioning(*texts, vae, image * float("nan"), mask)


@torch.inference_mode()
def test_a_widened_model_paints_as_before(scene):
    from fitting_room import host
    from fitting_room.host.demo import demo_lora, demo_unet

    vae, image, mask, texts = scene
    four = demo_lora(demo_unet(), 0.8)
    nine = host.widen(four)
    conditionings = host.inpaint_conditioning(*texts, vae, image, mask)[:2]
    assert host.unet_shape(nine).in_channels == 9
    assert torch.allclose(sample(nine, *conditionings), sample(four, *conditionings), rtol=1e-4, atol=1e-4)
    with pytest.raises(ValueError, match="has 9 input channels already"):
        host.widen(nine)
