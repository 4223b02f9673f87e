"""Built U-Nets: what the host copies, what lies in memory, and what leaves it."""

import weakref

import pytest
import torch

from ..support import needs_deep_copies

pytestmark = pytest.mark.usefixtures("comfyui")


def test_a_deep_copy_has_the_plain_weights_while_a_lora_is_merged(comfyui):
    import comfy.model_management as management
    from fitting_room.host.demo import demo_lora, demo_unet

    needs_deep_copies()
    with torch.inference_mode(False):
        model = demo_unet()
        plain = {k: v.clone() for k, v in model.model.diffusion_model.state_dict().items()}
        styled = demo_lora(model, 0.8)
        management.load_models_gpu([styled], force_full_load=True)
        merged = model.model.diffusion_model.state_dict()
        assert any(not torch.equal(merged[k], plain[k]) for k in plain)
        copied = model.clone(force_deepcopy=True).model.diffusion_model.state_dict()
    assert all(torch.equal(copied[k], plain[k]) and copied[k] is not merged[k] for k in plain)


def test_weights_do_not_lie_in_memory_twice(comfyui):
    from fitting_room.host import blocks, build_unet
    from fitting_room.host.demo import DEMO_SHAPE, random_state
    from fitting_room.host.models import PlainOps
    from fitting_room.models.parts.layers import Layers

    state = random_state(blocks.unet(DEMO_SHAPE, Layers(PlainOps, torch.float32, "meta")).state_dict(), 0)
    model = build_unet(DEMO_SHAPE, state, "a test")
    if model.is_dynamic():
        pytest.skip("the host keeps the given tensors themselves")
    source = weakref.ref(state["input_blocks.0.0.weight"])
    del state
    assert source() is None


def test_release_takes_a_model_and_its_clones_out_of_memory_and_no_other(comfyui):
    import comfy.model_management as management
    from fitting_room.host import release
    from fitting_room.host.demo import demo_unet

    one, other = demo_unet(seed=1), demo_unet(seed=2)
    loaded = lambda m: any(entry.model is not None and entry.model.is_clone(m) for entry in management.current_loaded_models)  # noqa: E731
    management.load_models_gpu([one.clone(), other])
    assert loaded(one) and loaded(other)
    release(one)
    assert not loaded(one) and loaded(other)
    management.load_models_gpu([one])
    assert loaded(one)
