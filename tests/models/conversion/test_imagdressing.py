"""IMAGDressing's published layout, made small, comes in whole and runs."""

import pytest
import torch
from fitting_room.models.conversion import imagdressing
from fitting_room.models.parts.names import ldm_name
from fitting_room.models.parts.sites import DIFFUSERS_ORDER, SITES
from fitting_room.models.weights import WeightsError

from ...support import close, prompts, sample


def test_diffusers_names_are_the_hosts(comfyui):
    from fitting_room.host.demo import demo_unet

    table = diffusers_names(demo_unet().model.diffusion_model.state_dict())
    assert len(table) == 686
    assert {k: ldm_name(k) for k in table} == table
    assert ldm_name("conv_act.weight") is None


def diffusers_names(unet_state):
    """The host's own table, without the shortcuts that this U-Net does not have."""
    import comfy.utils
    from fitting_room.host.demo import DEMO_SHAPE
    from fitting_room.host.models import unet_config

    return {d: ldm for d, ldm in comfy.utils.unet_to_diffusers(unet_config(DEMO_SHAPE)).items() if ldm in unet_state}


def checkpoint(unet_state, seed=0):
    """A narrow checkpoint with the published names, every tensor from a seed."""
    from fitting_room.host.demo import DEMO_SHAPE
    from fitting_room.models.parts.layers import Layers
    from fitting_room.models.parts.tokens import Resampler, ResamplerConfig

    generator = torch.Generator().manual_seed(seed)
    names = diffusers_names(unet_state)
    out = {f"module.ref_unet.{d}": unet_state[ldm] for d, ldm in names.items()}
    out |= {f"module.unet.{d}": unet_state[ldm] for d, ldm in list(names.items())[:7]}
    for number, site in enumerate(DIFFUSERS_ORDER):
        c = DEMO_SHAPE.channels(site)
        for name in ("to_k_ref", "to_v_ref"):
            out[f"module.adapter_modules.{2 * number}.{name}.weight"] = torch.randn(c, c, generator=generator) / c**0.5
    resampler = Resampler(ResamplerConfig(inputs=48, width=128, outputs=64, tokens=5, depth=2, heads=2), Layers())
    for name, tensor in resampler.state_dict().items():
        out[f"module.proj.{name}"] = torch.randn(tensor.shape, generator=generator) / max(tensor.shape[-1], 1) ** 0.5
    return out


@pytest.fixture(scope="module")
def converted(comfyui):
    from fitting_room.host import demo

    model = demo.demo_unet(seed=5)
    source = checkpoint(model.model.diffusion_model.state_dict())
    return source, *imagdressing.convert(source, "0" * 64)


def test_every_key_is_accounted_for(converted):
    source, header, tensors, report = converted
    assert imagdressing.recognises(source) and not imagdressing.recognises(["model.diffusion_model.out.2.weight"])
    assert len(tensors) == 686 + 32 + sum(k.startswith("module.proj.") for k in source)
    assert any("Dropped 7 tensors of 'unet'" in line for line in report)
    assert header.method == "anydressing" and "NON-COMMERCIAL" in header.describe() and "0" * 64 in header.source


def test_attention_index_counts_the_middle_last(converted):
    source, _, tensors, _ = converted
    middle = next(s for s in SITES if s.stage == "middle")
    assert torch.equal(tensors[f"da.{middle.ldm_path}.attn1.to_k.weight"], source["module.adapter_modules.30.to_k_ref.weight"])
    assert torch.equal(tensors[f"da.{SITES[7].ldm_path}.attn1.to_v.weight"], source["module.adapter_modules.12.to_v_ref.weight"])


def test_it_dresses_with_its_own_garment_net(converted):
    from fitting_room import host
    from fitting_room.host.demo import demo_clip, demo_unet
    from fitting_room.models.anydressing import AnyDressing
    from fitting_room.models.parts.reference import Reference

    _, header, tensors, _ = converted
    method = host.build_method(AnyDressing, header, tensors, "imagdressing")
    model, (positive, negative) = demo_unet(), prompts(demo_clip())
    with torch.inference_mode():
        hidden = torch.randn(1, 9, 48, generator=torch.Generator().manual_seed(1))
        tokens = host.run_module(method.patcher, method.module.resampler, hidden)
        latent = torch.randn(1, 4, 12, 8, generator=torch.Generator().manual_seed(2))
        features = host.capture(method.unets["garment_unet"], latent, tokens, lora=method.module.garment_lora(["any"]), cross_attention=True)
    assert tokens.shape == (1, 5, 64)
    dressed = host.install(model, method.module.patches([Reference("anydressing", "any", features, (96, 64))], 1.0), method.managed)
    assert not close(sample(dressed, positive, negative), sample(model, positive, negative), 1e-3)


def test_an_incomplete_file_is_refused(converted):
    source = {k: v for k, v in converted[0].items() if "adapter_modules.30.to_v_ref" not in k}
    with pytest.raises(WeightsError, match="adapter_modules.30.to_v_ref"):
        imagdressing.convert(source, "")
