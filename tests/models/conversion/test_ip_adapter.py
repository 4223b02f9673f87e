"""IP-Adapter files as IGR's low-level path: the published layouts, and a sentence for all others."""

import pytest
import torch
from fitting_room.models.conversion import ip_adapter
from fitting_room.models.igr import IGR, IGRConfig
from fitting_room.models.parts.layers import Layers
from fitting_room.models.parts.sites import UNetShape
from fitting_room.models.weights import WeightsError, read_foreign

NARROW = UNetShape(4, 32, 64, 8)


def released(adapter, width, tokens, shape=NARROW):
    """Tensors with the names and shapes of a published file, made from the published tables rather than from our module."""
    context, state = shape.context_dim, {}
    widths = [1, 1, 2, 2, 4, 4, 4, 4, 4, 2, 2, 2, 1, 1, 1, 4]
    for number, multiple in zip(range(1, 32, 2), widths):
        for name in ("to_k_ip", "to_v_ip"):
            state[f"ip_adapter.{number}.{name}.weight"] = torch.randn(multiple * shape.model_channels, context)
    linear = {
        "base": {"proj": (tokens * context, width), "norm": (context,)},
        "full-face": {"proj.0": (width, width), "proj.2": (context, width), "proj.3": (context,)},
        "plus": {"proj_in": (context, width), "proj_out": (context, context), "norm_out": (context,)},
    }[adapter]
    for name, size in linear.items():
        state |= {f"image_proj.{name}.weight": torch.randn(size), f"image_proj.{name}.bias": torch.randn(size[0])}
    if adapter == "plus":
        state["image_proj.latents"] = torch.randn(1, tokens, context)
        for i in range(4):
            head = f"image_proj.layers.{i}"
            state |= {f"{head}.0.{n}.{p}": torch.randn(context) for n in ("norm1", "norm2") for p in ("weight", "bias")}
            state |= {f"{head}.0.to_q.weight": torch.randn(64, context), f"{head}.0.to_kv.weight": torch.randn(128, context)}
            state |= {f"{head}.0.to_out.weight": torch.randn(context, 64), f"{head}.1.0.weight": torch.randn(context), f"{head}.1.0.bias": torch.randn(context)}
            state |= {f"{head}.1.1.weight": torch.randn(4 * context, context), f"{head}.1.3.weight": torch.randn(context, 4 * context)}
    return state


@pytest.mark.parametrize("adapter, width, tokens", [("base", 48, 4), ("plus", 80, 16), ("full-face", 80, 257)])
@pytest.mark.parametrize("trainer", [False, True])
def test_the_three_layouts_load_into_the_module_unchanged(adapter, width, tokens, trainer):
    tensors = released(adapter, width, tokens)
    given = {k.replace("ip_adapter.", "adapter_modules."): v for k, v in tensors.items()} | {"unet.conv_in.weight": torch.zeros(1)} if trainer else tensors
    assert ip_adapter.matches(given)
    header, found = ip_adapter.convert(given, "a test")
    config = IGRConfig.from_dict(header.config)
    assert (config.adapter, config.clip_width, config.tokens, config.garmnet, config.unet) == (adapter, width, tokens, False, NARROW)
    module = IGR(config, Layers(dtype=torch.float32))
    module.take(found, "test.safetensors")
    assert all(torch.equal(v, tensors[k]) for k, v in module.state_dict().items()) and len(module.state_dict()) == len(tensors)


def test_a_methods_garmnet_prompts_and_crop_stay_its_own():
    own = IGRConfig(NARROW, prompts=("a", "b", "c"), crop_fill="white")
    config = IGRConfig.from_dict(ip_adapter.convert(released("base", 48, 4), like=own)[0].config)
    assert (config.adapter, config.tokens, config.garmnet, config.prompts, config.crop_fill) == ("base", 4, True, ("a", "b", "c"), "white")
    with pytest.raises(WeightsError, match="width 32, and the IGR method has 320"):
        ip_adapter.convert(released("base", 48, 4), like=IGRConfig())


def test_other_kinds_are_refused_by_name():
    base, full = released("base", 48, 4), released("full-face", 80, 257)
    faceid = base | {"ip_adapter.0.to_q_lora.down.weight": torch.zeros(1)}
    portrait = {k: v for k, v in full.items() if not k.startswith("image_proj.proj.3")}
    sdxl = {k: v for k, v in base.items()} | {f"ip_adapter.{n}.to_k_ip.weight": torch.zeros(1) for n in range(33, 140, 2)}
    for tensors, words in [
        (faceid, "FaceID"), (portrait, "portrait"), (sdxl, "70 cross-attentions"), ({"model.weight": torch.zeros(1)}, "no IP-Adapter"),
        ({k: v for k, v in base.items() if "image_proj.proj" not in k}, "known layouts"),
    ]:
        with pytest.raises(WeightsError, match=words):
            ip_adapter.convert(tensors)
    assert not ip_adapter.matches({"model.weight"})


def test_a_pickle_of_two_dictionaries_reads_like_the_flat_file(tmp_path):
    flat = released("base", 48, 4)
    nested = {part: {k.removeprefix(f"{part}."): v for k, v in flat.items() if k.startswith(f"{part}.")} for part in ("image_proj", "ip_adapter")}
    torch.save(nested, tmp_path / "ip-adapter_sd15.bin")
    found = read_foreign(tmp_path / "ip-adapter_sd15.bin")
    assert found.keys() == flat.keys() and all(torch.equal(found[k], flat[k]) for k in flat)
