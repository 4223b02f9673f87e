"""StableVITON, SIFT-VTON and Paint by Example: published names and shapes at full size without numbers, and narrow with numbers."""

import pytest
import torch
from fitting_room.models import conversion, weights
from fitting_room.models.conversion import FAMILIES, stableviton
from fitting_room.models.parts.sites import UNetShape
from fitting_room.models.weights import WeightsError

from ... import released

pytestmark = pytest.mark.usefixtures("comfyui")
NARROW = {"width": 64, "vae": 32, "vision_layers": 2}
SMALL = UNetShape(13, 32, 64, 8)


def numbers(tensors):
    return sum(t.numel() for t in tensors.values())


@pytest.fixture(scope="module")
def full(comfyui):
    return released.without_numbers(released.stableviton_shapes(UNetShape(13), sift=True))


def test_the_table_is_the_published_layout(full):
    """1958 keys and 1838.7 million parameters; the counts per part are the specification's."""
    assert len(full) == 1958
    parameters = {k: t for k, t in full.items() if k not in released.SCHEDULE and not k.endswith("explicit_ratio")}
    assert round(numbers(parameters) / 1e6, 1) == 1838.7
    count = {p: sum(k.startswith(p) for k in full) for p in (
        "model.diffusion_model.warp_flow_blks", "model.diffusion_model.warp_zero_convs", "control_model", "first_stage_model",
        "cond_stage_model.transformer", "cond_stage_model.mapper",
    )}
    assert list(count.values()) == [234, 18, 300, 248, 391, 60]
    assert full["model.diffusion_model.warp_flow_blks.2.transformer_blocks.0.attn2.to_k.weight"].shape == (1280, 640)


def test_every_key_of_a_full_checkpoint_is_accounted_for(full):
    header, kept, report, companions = stableviton.convert(full, "f" * 64)
    checkpoint, vision = companions
    dropped = 68 + 2 + 13 + 1  # the encoder's last blocks, lastzc, the schedule, explicit_ratio
    assert len(kept) - 1 + len(checkpoint.tensors) + len(vision.tensors) + dropped == len(full)  # the added columns are a copy
    assert len(checkpoint.tensors) == 686 + 248 and len(vision.tensors) == 391
    text = "\n".join(report)
    assert "Left out 68 tensors, the garment encoder's last blocks" in text and "no published file has" not in text
    assert header.source.endswith("f" * 64) and "CC BY-NC-SA 4.0" in text and "NON-COMMERCIAL" in header.describe()
    assert round((348.8 + 171.8 + 8.0 - 174.1) * 10) == round(numbers({k: t for k, t in kept.items() if k.startswith(("encoder", "warp"))}) / 1e5)


def test_the_kept_tensors_are_exactly_the_full_size_module(full):
    from fitting_room import host
    from fitting_room.models.sift_vton import SiftVton

    header, kept, *_ = stableviton.convert(full, "")
    module = SiftVton(SiftVton.Config.from_dict(header.config), host.layers(training=True, device="meta"))
    expected = module.state_dict()
    assert set(kept) == set(expected) and all(kept[k].shape == t.shape for k, t in expected.items())
    assert not any("input_blocks.9." in k or "middle_block" in k for k in kept)


def test_the_host_recognises_the_companions(full):
    import comfy.model_detection

    checkpoint, _ = stableviton.convert(full, "")[3]
    config = comfy.model_detection.model_config_from_unet(dict(checkpoint.tensors), "model.diffusion_model.")
    assert type(config).__name__ == "SD15" and config.unet_config["in_channels"] == 13


def test_families_are_told_apart_by_their_keys():
    wide, narrow = UNetShape(9, 32, 64, 8), {"width": 64, "vae": 32, "vision_layers": 2}
    tables = {
        "stableviton": released.stableviton_shapes(SMALL, **narrow), "siftvton": released.stableviton_shapes(SMALL, True, **narrow),
        "paint_by_example": released.paint_by_example_shapes(wide, **narrow),
        "imagdressing": ["module.ref_unet.conv_in.weight", "module.adapter_modules.0.to_k_ref.weight"],
        "ip_adapter": ["image_proj.proj.weight", "ip_adapter.1.to_k_ip.weight"],
    }
    assert {name: conversion.recognise(keys).name for name, keys in tables.items()} == {name: name for name in tables}
    assert conversion.recognise(["model.diffusion_model.out.2.weight"]) is None
    assert FAMILIES["stableviton"].recognises(tables["siftvton"])  # asked for by the base's name it is taken too


@pytest.fixture(scope="module")
def narrow_file(comfyui, tmp_path_factory):
    tensors = released.filled(released.stableviton_shapes(SMALL, **NARROW))
    path = tmp_path_factory.mktemp("released") / "VITONHD.ckpt"
    torch.save({"state_dict": tensors, "epoch": 3, "optimizer_states": [{"state": {}}]}, path)
    return path, tensors


def test_a_nested_pickle_becomes_files_that_load(narrow_file, tmp_path):
    from fitting_room.host.models import build_unet
    from fitting_room.nodes.load import load

    path, source = narrow_file
    converted = conversion.convert(path)
    written, companions = converted.write(lambda kind: tmp_path / kind, "viton")
    method = load(str(written))
    assert method.module.kind == "sift_vton" and method.module.config.unconditional == "garment" and not method.module.config.antialias
    assert weights.sha256(path) in method.header.source and "NON-COMMERCIAL" in method.header.describe()
    assert torch.equal(method.module.warp[2].block.proj_in.weight, source["model.diffusion_model.warp_flow_blks.2.proj_in.weight"])
    assert torch.equal(method.module.channels.conv.weight, source["model.diffusion_model.input_blocks.0.0.weight"][:, 4:])
    assert [p.relative_to(tmp_path).as_posix() for p in companions] == [
        "checkpoints/viton-unet-vae.safetensors", "clip_vision/viton-clip-vision.safetensors",
    ]
    state = weights.read_foreign(companions[0])
    unet = {k.removeprefix("model.diffusion_model."): t for k, t in state.items() if k.startswith("model.diffusion_model.")}
    build_unet(SMALL, unet, "the companion")  # refuses missing and surplus keys
    with pytest.raises(WeightsError, match="exists already"):
        converted.write(lambda kind: tmp_path / kind, "viton")


def test_a_companion_is_no_method_and_says_how_it_is_loaded(narrow_file, tmp_path):
    from fitting_room.nodes.load import load

    _, companions = conversion.convert(narrow_file[0]).write(lambda kind: tmp_path / kind, "viton")
    with pytest.raises(WeightsError, match="no method by itself.*Load Checkpoint"):
        load(str(companions[0]))


def test_a_released_file_given_to_load_method_is_named(tmp_path):
    from safetensors.torch import save_file

    path = tmp_path / "stableviton.safetensors"
    save_file({k: torch.zeros(1) for k in stableviton.MARKS}, path)
    with pytest.raises(WeightsError, match="its keys are those of StableVITON; convert it"):
        weights.read_header(path)


@pytest.mark.parametrize("lost, message", [
    ("learnable_vector", "lacks learnable_vector"),
    ("model.diffusion_model.warp_zero_convs.4.bias", "251 tensors for 'warp.'"),
    ("control_model.input_blocks.4.0.in_layers.0.weight", "231 tensors for 'encoder.'"),
    ("model.diffusion_model.out.2.bias", "685 tensors for 'model.diffusion_model.'"),
    ("first_stage_model.quant_conv.weight", "247 tensors for 'first_stage_model.'"),
])
def test_an_incomplete_file_is_refused(narrow_file, lost, message):
    tensors = {k: t for k, t in narrow_file[1].items() if k != lost}
    with pytest.raises(WeightsError, match=message):
        stableviton.convert(tensors, "")


def test_surplus_keys_are_named(narrow_file):
    report = stableviton.convert({**narrow_file[1], "my.extra": torch.zeros(2)}, "")[2]
    assert any("1 tensors that no published file has: my.extra" in line for line in report)


def test_paint_by_example(tmp_path):
    from fitting_room import host
    from fitting_room.nodes.load import load
    from safetensors.torch import save_file

    tensors = released.filled(released.paint_by_example_shapes(UNetShape(9, 32, 64, 8), **NARROW))
    tensors["cond_stage_model.transformer.vision_model.embeddings.position_ids"] = torch.arange(257)
    save_file(tensors, tmp_path / "pbe.safetensors")
    converted = conversion.convert(tmp_path / "pbe.safetensors", "paint_by_example")
    written, _ = converted.write(lambda kind: tmp_path / kind, "pbe")
    method = load(str(written))
    assert method.module.kind == "paint_by_example" and len(converted.tensors) == 65
    assert any("position numbers" in line for line in converted.report)
    token = host.run_module(method.patcher, method.module.token, torch.randn(2, 64))
    assert token.shape == (2, 1, 64) and torch.equal(method.module.token.nulls(token), tensors["learnable_vector"])
    with pytest.raises(WeightsError, match="not a file of StableVITON; it looks like Paint by Example"):
        conversion.convert(tmp_path / "pbe.safetensors", "stableviton")


def test_other_files_are_refused_by_name(tmp_path):
    from safetensors.torch import save_file

    save_file({"some.weight": torch.zeros(2)}, tmp_path / "other.safetensors")
    with pytest.raises(WeightsError, match="'other.safetensors' is of no family known here"):
        conversion.convert(tmp_path / "other.safetensors")
    with pytest.raises(WeightsError, match="There is no family 'x'"):
        conversion.convert(tmp_path / "other.safetensors", "x")


@pytest.mark.parametrize("name", ["", "../up", "a/b", ".hidden", "c:x"])
def test_names_stay_in_their_folder(name):
    with pytest.raises(WeightsError, match="cannot name a file"):
        conversion.plain_name(name)


def test_the_command_line(narrow_file, tmp_path, capsys):
    from fitting_room.tools import convert as tool

    assert tool.main([str(narrow_file[0]), "--models", str(tmp_path), "--name", "shop"]) == 0
    assert "Licence: CC BY-NC-SA 4.0" in capsys.readouterr().out and (tmp_path / "fitting_room" / "shop.safetensors").is_file()
    assert tool.main([str(tmp_path / "nothing.ckpt"), "--models", str(tmp_path)]) == 1
    assert "There is no file" in capsys.readouterr().err


def test_the_node_writes_and_reports(narrow_file, tmp_path, monkeypatch):
    from fitting_room.nodes import convert as node

    monkeypatch.setattr(node, "source_path", lambda name: narrow_file[0])
    monkeypatch.setattr(node, "models_folder", lambda kind: tmp_path / kind)
    path, report = node.ConvertWeights.execute("checkpoints/VITONHD.ckpt", "auto", "viton").result
    assert path.endswith("fitting_room/viton.safetensors") and "Wrote checkpoints/viton-unet-vae.safetensors" in report
    assert "NON-COMMERCIAL" in report
