"""The IP-Adapter projectors against their published formulas, written out slowly in float64."""

import math

import pytest
import torch
from fitting_room.models.parts.layers import Layers
from fitting_room.models.parts.tokens import HiddenProjection, ImageProjection, Resampler, ResamplerConfig


def filled(module, seed=0):
    """The module in float64 with every weight random."""
    generator = torch.Generator().manual_seed(seed)
    module = module.double()
    for p in module.parameters():
        p.data = torch.randn(p.shape, generator=generator, dtype=torch.float64) * 0.3
    return module


def norm(x, weight, bias):
    mean = x.mean(-1, keepdim=True)
    return (x - mean) / torch.sqrt(((x - mean) ** 2).mean(-1, keepdim=True) + 1e-5) * weight + bias


def gelu(x):
    return x * 0.5 * (1 + torch.erf(x / math.sqrt(2)))


@torch.no_grad()
def test_base_splits_one_linear_layer_into_tokens_and_norms_each():
    w = filled(ImageProjection(5, 3, 2, Layers())).state_dict()
    module = ImageProjection(5, 3, 2, Layers()).double()
    module.load_state_dict(w)
    assert set(w) == {"proj.weight", "proj.bias", "norm.weight", "norm.bias"} and w["proj.weight"].shape == (6, 5)
    x = torch.randn(4, 5, dtype=torch.float64)
    flat = x @ w["proj.weight"].T + w["proj.bias"]
    expected = torch.stack([norm(flat[:, 3 * i : 3 * i + 3], w["norm.weight"], w["norm.bias"]) for i in range(2)], 1)
    torch.testing.assert_close(module(x), expected, rtol=1e-10, atol=1e-10)


@torch.no_grad()
def test_full_face_is_a_perceptron_with_a_norm_on_every_hidden_state():
    module = filled(HiddenProjection(6, 3, Layers()))
    w, x = module.state_dict(), torch.randn(2, 7, 6, dtype=torch.float64)
    assert set(w) == {f"proj.{i}.{n}" for i in (0, 2, 3) for n in ("weight", "bias")}
    hidden = gelu(x @ w["proj.0.weight"].T + w["proj.0.bias"])
    expected = norm(hidden @ w["proj.2.weight"].T + w["proj.2.bias"], w["proj.3.weight"], w["proj.3.bias"])
    torch.testing.assert_close(module(x), expected, rtol=1e-10, atol=1e-10)


@torch.no_grad()
@pytest.mark.parametrize("depth", [1, 3])
def test_plus_is_a_perceiver_whose_latents_also_attend_to_themselves(depth):
    config = ResamplerConfig(inputs=10, width=12, outputs=8, tokens=5, depth=depth, heads=3, head_width=4, ff=2)
    module = filled(Resampler(config, Layers()))
    w, x = module.state_dict(), torch.randn(2, 6, 10, dtype=torch.float64)
    assert len(w) == 7 + depth * 11
    tokens = x @ w["proj_in.weight"].T + w["proj_in.bias"]
    latents = w["latents"].repeat(2, 1, 1)
    for i in range(depth):
        layer = {k.removeprefix(f"layers.{i}."): v for k, v in w.items() if k.startswith(f"layers.{i}.")}
        seen = torch.cat((norm(tokens, layer["0.norm1.weight"], layer["0.norm1.bias"]), norm(latents, layer["0.norm2.weight"], layer["0.norm2.bias"])), 1)
        q = norm(latents, layer["0.norm2.weight"], layer["0.norm2.bias"]) @ layer["0.to_q.weight"].T
        k, v = (seen @ layer["0.to_kv.weight"].T).split(12, -1)
        heads = []
        for h in range(3):  # the published code scales q and k by d ** -0.25 each
            part = slice(4 * h, 4 * h + 4)
            heads.append(((q[..., part] * 4**-0.25) @ (k[..., part] * 4**-0.25).transpose(1, 2)).softmax(-1) @ v[..., part])
        latents = torch.cat(heads, -1) @ layer["0.to_out.weight"].T + latents
        inner = norm(latents, layer["1.0.weight"], layer["1.0.bias"]) @ layer["1.1.weight"].T
        latents = gelu(inner) @ layer["1.3.weight"].T + latents
    expected = norm(latents @ w["proj_out.weight"].T + w["proj_out.bias"], w["norm_out.weight"], w["norm_out.bias"])
    torch.testing.assert_close(module(x), expected, rtol=1e-10, atol=1e-10)
