"""Depth Anything V2 against the implementation in transformers, with random weights under the published names."""

import pytest
import torch
from fitting_room.models.parts.depth_anything import DepthAnything, DepthShape
from fitting_room.models.parts.layers import Layers

SMALL = DepthShape(width=128, blocks=4, taps=(0, 1, 2, 3), features=16, outs=(12, 24, 48, 96), grid=4)


def random_state(shape=SMALL, seed=0):
    generator, out = torch.Generator().manual_seed(seed), {}
    for name, like in DepthAnything(shape, Layers(device="meta")).state_dict().items():
        scale = like[0].numel() ** -0.5 if like.ndim > 1 and not name.endswith(("cls_token", "pos_embed")) else 0.3
        out[name] = torch.randn(like.shape, generator=generator) * scale + (1.0 if "norm" in name and name.endswith("weight") else 0.2 if like.ndim == 1 else 0.0)
    return out


def theirs(state):
    """transformers' model with the same weights, renamed."""
    transformers = pytest.importorskip("transformers")
    backbone = transformers.Dinov2Config(
        hidden_size=128, num_hidden_layers=4, num_attention_heads=2, image_size=56, patch_size=14, out_indices=[1, 2, 3, 4], apply_layernorm=True, reshape_hidden_states=False,
    )
    config = transformers.DepthAnythingConfig(
        backbone_config=backbone, reassemble_hidden_size=128, neck_hidden_sizes=[12, 24, 48, 96], fusion_hidden_size=16, head_in_index=-1,
    )
    model = transformers.DepthAnythingForDepthEstimation(config).eval()
    new = {k: v for k, v in model.state_dict().items() if k.endswith("mask_token")}
    pairs = [("pretrained.cls_token", "backbone.embeddings.cls_token"), ("pretrained.pos_embed", "backbone.embeddings.position_embeddings")]
    pairs = dict(pairs)
    simple = {"pretrained.patch_embed.proj": "backbone.embeddings.patch_embeddings.projection", "pretrained.norm": "backbone.layernorm"}
    for i in range(4):
        mine, other = f"pretrained.blocks.{i}", f"backbone.encoder.layer.{i}"
        simple |= {f"{mine}.{n}": f"{other}.{n}" for n in ("norm1", "norm2", "mlp.fc1", "mlp.fc2")} | {f"{mine}.attn.proj": f"{other}.attention.o_proj"}
        pairs |= {f"{mine}.ls{n}.gamma": f"{other}.layer_scale{n}.lambda1" for n in (1, 2)}
        for w in ("weight", "bias"):
            for n, part in zip("qkv", state[f"{mine}.attn.qkv.{w}"].chunk(3)):
                new[f"{other}.attention.{n}_proj.{w}"] = part
        simple |= {f"depth_head.projects.{i}": f"neck.reassemble_stage.layers.{i}.projection", f"depth_head.resize_layers.{i}": f"neck.reassemble_stage.layers.{i}.resize"}
        pairs[f"depth_head.scratch.layer{i + 1}_rn.weight"] = f"neck.convs.{i}.weight"
        mine, other = f"depth_head.scratch.refinenet{4 - i}", f"neck.fusion_stage.layers.{i}"
        simple[f"{mine}.out_conv"] = f"{other}.projection"
        simple |= {f"{mine}.resConfUnit{u}.conv{c}": f"{other}.residual_layer{u}.convolution{c}" for u in (1, 2) for c in (1, 2)}
    simple |= {"depth_head.scratch.output_conv1": "head.conv1", "depth_head.scratch.output_conv2.0": "head.conv2", "depth_head.scratch.output_conv2.2": "head.conv3"}
    for mine, other in simple.items():
        pairs |= {f"{mine}.{w}": f"{other}.{w}" for w in ("weight", "bias") if f"{mine}.{w}" in state}
    new |= {other: state[mine] for mine, other in pairs.items()}
    model.load_state_dict(new)
    return model


def test_it_equals_transformers():
    state = random_state()
    mine, other = DepthAnything.from_state(state, "random"), theirs(state)
    picture = torch.rand(2, 3, 56, 56, generator=torch.Generator().manual_seed(1))
    mean, std = torch.tensor([0.485, 0.456, 0.406])[:, None, None], torch.tensor([0.229, 0.224, 0.225])[:, None, None]
    with torch.no_grad():
        expected = other((picture - mean) / std).predicted_depth
        found = mine(picture)[:, 0]
    assert expected.std() > 0.01
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4 * float(expected.abs().max()))


def test_the_size_is_read_from_the_file():
    assert DepthShape.of(random_state()) == SMALL
    shapes = {"vits": (384, 12, (2, 5, 8, 11), 64, (48, 96, 192, 384), 24.8), "vitl": (1024, 24, (4, 11, 17, 23), 256, (256, 512, 1024, 1024), 335.3)}
    for width, blocks, taps, features, outs, millions in shapes.values():
        network = DepthAnything(DepthShape(width, blocks, taps, features, outs), Layers(device="meta"))
        assert DepthShape.of(network.state_dict()) == DepthShape(width, blocks, taps, features, outs)
        assert sum(p.numel() for p in network.parameters()) / 1e6 == pytest.approx(millions, abs=0.1)


def test_any_size_works_and_has_a_gradient():
    network = DepthAnything.from_state(random_state(), "random")
    picture = torch.rand(1, 3, 64, 48, requires_grad=True)
    depth = network(picture)
    assert depth.shape == (1, 1, 70, 42)
    assert torch.autograd.grad(depth.sum(), picture)[0].any()
    assert all(not p.requires_grad for p in network.parameters())


@pytest.mark.parametrize("state", [{}, {"features.0.weight": torch.zeros(64, 3, 3, 3)}])
def test_another_file_is_refused_by_name(state):
    with pytest.raises(ValueError, match="'other.pth' is no Depth Anything V2"):
        DepthAnything.from_state(state, "other.pth")
