"""DepthFM on the host's U-Net class: a narrow file of its shape against the steps written out by hand."""

import math

import numpy as np
import pytest
import torch

from ..support import run

pytestmark = pytest.mark.usefixtures("comfyui")


def narrow_state(width=32, context=48, channels=8):
    """Weights of a narrow U-Net of Stable Diffusion 2.1's shape: linear projections in the transformers, 8 input channels."""
    from comfy.ldm.modules.diffusionmodules.openaimodel import UNetModel
    from fitting_room.host.demo import random_state
    from fitting_room.host.models import PlainOps

    unet = UNetModel(
        image_size=32, in_channels=channels, out_channels=4, model_channels=width, channel_mult=[1, 2, 4, 4], num_res_blocks=[2] * 4, num_heads=-1, num_head_channels=width,
        transformer_depth=[1] * 6 + [0] * 2, transformer_depth_middle=1, transformer_depth_output=[1] * 9 + [0] * 3, context_dim=context, use_spatial_transformer=True,
        use_linear_in_transformer=True, legacy=False, dtype=torch.float32, device="meta", operations=PlainOps,
    )
    return random_state(unet.state_dict(), 5)


@pytest.fixture(scope="module")
def content():
    text = np.random.default_rng(0).normal(size=(1, 77, 48)).astype(np.float32)
    return {"state_dict": narrow_state(), "empty_text_embedding": text, "noising_step": 0, "ldm_hparams": {"in_channels": 8, "attention": [4, 2, 1]}}


def written(content, folder, **changes):
    path = folder / "depthfm.ckpt"
    torch.save({k: v for k, v in {**content, **changes}.items() if v is not None}, path)
    return str(path)


def test_it_integrates_the_velocity_in_steps(content, tmp_path, comfyui):
    """Two Euler steps by hand, on the U-Net the file holds, equal the function's result."""
    from fitting_room import host

    vae = host.demo_stack()[2]
    image = torch.rand(1, 64, 128, 3, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        loaded = host.load_depthfm(written(content, tmp_path))
        unet, z = loaded.patcher.model, host.encode_latent(vae, image)
        text = torch.from_numpy(content["empty_text_embedding"])
        state = z.clone()
        for time in (0.0, 0.5):
            state = state + 0.5 * unet(torch.cat([state, z], 1), torch.tensor([time]), context=text)
        expected = vae.first_stage_model.decode(state / 0.18215)
        calls = []
        decoded = host.decode_depth(loaded, vae, image, steps=2, progress=lambda *at: calls.append(at))
        single = host.decode_depth(loaded, vae, image, steps=1)
    assert decoded.shape == (1, 3, 64, 128) and calls == [(1, 2), (2, 2)]
    torch.testing.assert_close(decoded, expected.float(), atol=1e-4, rtol=1e-4)
    assert not torch.allclose(decoded, single, atol=1e-3)


def test_noise_is_added_where_the_file_says_so(content, tmp_path):
    from fitting_room.host import depthfm

    z = torch.randn(1, 4, 64, 64)
    assert depthfm._noised(z, 0, 1) is z
    half = depthfm._noised(z, 500, 1)  # tan(pi / 4) = 1: signal and noise have equal power
    noise = torch.randn(z.shape, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(half, (z + noise) / math.sqrt(2), atol=1e-4, rtol=1e-4)
    assert torch.equal(half, depthfm._noised(z, 500, 1)) and not torch.equal(half, depthfm._noised(z, 500, 2))


def test_through_the_node(content, tmp_path, monkeypatch):
    import folder_paths
    from fitting_room import host

    monkeypatch.setitem(folder_paths.folder_names_and_paths, "checkpoints", ([str(tmp_path)], {".ckpt"}))
    written(content, tmp_path, noising_step=400)
    assert "checkpoints/depthfm.ckpt" in host.depth_files()
    image = torch.rand(2, 100, 150, 3, generator=torch.Generator().manual_seed(1))
    inputs = {"image": image, "source": "depthfm", "convention": "near_bright", "normalise": True, "vae": host.demo_stack()[2],
              "depthfm_file": "checkpoints/depthfm.ckpt", "steps": 1, "resolution": 128}
    first, again, other = (run("FittingRoomDepth", **inputs, seed=seed).args[0] for seed in (0, 0, 1))
    assert first.shape == (2, 100, 150, 3) and 0 <= first.min() and first.max() <= 1 and first.std() > 0.01
    assert torch.equal(first, again) and not torch.equal(first, other)


@pytest.mark.parametrize("changes, sentence", [
    ({"empty_text_embedding": None}, "lacks empty_text_embedding"),
    ({"state_dict": {"input_blocks.0.0.weight": torch.zeros(32, 4, 3, 3)}}, "holds no DepthFM"),
    ({"noising_step": math.cos}, "plain weights"),  # a pickle that names a function
])
def test_other_files_are_refused(content, tmp_path, changes, sentence):
    from fitting_room import host

    with pytest.raises(ValueError, match=sentence):
        host.load_depthfm(written(content, tmp_path, **changes))


def test_a_torn_file_is_refused(content, tmp_path):
    from fitting_room import host

    state = dict(content["state_dict"])
    state.pop("out.2.bias")
    with pytest.raises(ValueError, match="1 keys missing .'out.2.bias'"):
        host.load_depthfm(written(content, tmp_path, state_dict=state))
