"""AnyDressing against a literal version of its equations, which shares no code with the production path."""

import copy
import math

import pytest
import torch
from fitting_room.models.anydressing import AnyDressing, AnyDressingConfig
from fitting_room.models.parts.layers import Layers
from fitting_room.models.parts.reference import Reference
from fitting_room.models.parts.sites import SITES, UNetShape
from fitting_room.models.weights import WeightsError

from ..support import randomise

NARROW = UNetShape(4, 32, 64, 8)


def block(unet, site):
    path = site.ldm_path.split(".")
    for name in path:
        unet = unet[int(name)] if name.isdigit() else getattr(unet, name)
    return unet


def softmax_attention(q, k, v, heads):
    """Head by head, row by row, as on paper."""
    d, out = q.shape[-1] // heads, []
    for h in range(heads):
        part = slice(h * d, (h + 1) * d)
        weights = (q[..., part] @ k[..., part].transpose(-1, -2) / math.sqrt(d)).softmax(-1)
        out.append(weights @ v[..., part])
    return torch.cat(out, -1)


def literal_capture(unet, state, slot, latent):
    """GarmentsNet written out: LoRA merged into a copy of the weights, cross-attention replaced by nothing."""
    net, features = copy.deepcopy(unet), {}

    class Nothing(torch.nn.Module):
        def forward(self, x, **_):
            return torch.zeros_like(x)

    for site in SITES:
        b, layer = block(net, site), f"{site.ldm_path}.attn1"
        for name in ("to_q", "to_k", "to_v"):
            up, down, alpha = (state[f"gfe.{slot}.{layer}.{name}.{k}"] for k in ("lora_up.weight", "lora_down.weight", "alpha"))
            getattr(b.attn1, name).weight.data += up @ down * float(alpha) / down.shape[0]
        b.attn2 = Nothing()
        b.norm1.register_forward_hook(lambda _, __, out, site=site: features.update({site: out.detach()}))
    net(latent, torch.zeros(latent.shape[0]), context=torch.zeros(latent.shape[0], 1, 64))
    return features


def literal_denoise(unet, state, garments, strength, x, t, context, conditional):
    """DressingNet written out: eq. 6 in place of every self-attention's forward, conditional rows only."""
    net = copy.deepcopy(unet)
    for site in SITES:
        attn, layer = block(net, site).attn1, f"da.{site.ldm_path}.attn1"
        f_all = torch.cat([g[site] for g in garments], 1)
        k2, v2 = f_all @ state[f"{layer}.to_k.weight"].T, f_all @ state[f"{layer}.to_v.weight"].T

        def forward(x, context=None, value=None, mask=None, transformer_options=None, attn=attn, k2=k2, v2=v2):
            q, k, v = attn.to_q(x), attn.to_k(x), attn.to_v(x)
            z = softmax_attention(q, k, v, attn.heads)
            for row in conditional:
                z[row : row + 1] = z[row : row + 1] + strength * softmax_attention(q[row : row + 1], k2, v2, attn.heads)
            return attn.to_out(z)

        attn.forward = forward
    return net(x, t, context=context)


@pytest.fixture(scope="module")
def setting(comfyui):
    from fitting_room import host
    from fitting_room.host.demo import demo_unet

    model = demo_unet()
    method = randomise(host.new_method(AnyDressing, model, 0, {"rank": 4, "slots": ["upper", "lower"]}), scale=0.5)
    generator = torch.Generator().manual_seed(3)
    latents = {"upper": torch.randn(1, 4, 12, 8, generator=generator), "lower": torch.randn(1, 4, 8, 8, generator=generator)}
    return host, model, method, latents, generator


@torch.no_grad()
def test_capture_equals_the_literal_garment_net(setting):
    host, model, method, latents, _ = setting
    state = method.module.file_state()
    for slot, latent in latents.items():
        expected = literal_capture(model.model.diffusion_model, state, slot, latent)
        found = host.capture(model, latent, lora=method.module.garment_lora([slot]), also_load=method.managed)
        assert list(found) == list(SITES)
        for site in SITES:
            torch.testing.assert_close(found[site], expected[site], rtol=1e-4, atol=2e-4)


@torch.no_grad()
def test_garments_of_two_slots_in_one_pass_equal_two_passes(setting):
    host, model, method, latents, generator = setting
    both = torch.randn(2, 4, 8, 8, generator=generator)
    together = host.capture(model, both, lora=method.module.garment_lora(["upper", "lower"]), also_load=method.managed)
    for row, slot in enumerate(("upper", "lower")):
        alone = host.capture(model, both[row : row + 1], lora=method.module.garment_lora([slot]), also_load=method.managed)
        for site in SITES:
            torch.testing.assert_close(together[site][row : row + 1], alone[site], rtol=1e-4, atol=2e-4)


@torch.no_grad()
@pytest.mark.parametrize("order", [("upper", "lower"), ("lower", "upper"), ("upper",)])
def test_one_step_equals_equation_six(setting, order):
    host, model, method, latents, _ = setting
    state, unet = method.module.file_state(), model.model.diffusion_model
    captured = {s: literal_capture(unet, state, s, z) for s, z in latents.items()}
    references = [Reference("anydressing", s, captured[s], (0, 0)) for s in order]
    options = host.trainable_unet(host.install(model, method.module.patches(references, 0.7), method.managed))[1]
    generator = torch.Generator().manual_seed(9)
    x, context = torch.randn(2, 4, 16, 12, generator=generator), torch.randn(2, 77, 64, generator=generator)
    t = torch.tensor([500.0, 500.0])
    marks = torch.tensor([[-1], [1]])  # the unconditional row first, as the host stacks them
    found = unet(x, t, context=context, transformer_options=options, fitting_room_rows=marks)
    expected = literal_denoise(unet, state, [captured[s] for s in order], 0.7, x, t, context, conditional=[1])
    plain = unet(x, t, context=context)
    assert torch.equal(found[0], plain[0]) or torch.allclose(found[0], plain[0], rtol=1e-5, atol=1e-5 * float(plain.abs().max()))
    torch.testing.assert_close(found[1], expected[1], rtol=1e-4, atol=1e-4 * float(expected.abs().max()))
    assert not torch.allclose(found[1], plain[1], atol=1e-2 * float(plain.abs().max()))


@torch.no_grad()
def test_a_garment_of_strength_two_has_twice_the_values(setting):
    _, _, method, _, _ = setting
    features = {s: torch.randn(1, 6, NARROW.channels(s)) for s in SITES}
    one, two = (Reference("anydressing", "upper", features, (0, 0), strength) for strength in (1.0, 2.0))
    like = torch.zeros(1)
    keys, values = method.module.memory(SITES[0], [one], like)
    keys_2, values_2 = method.module.memory(SITES[0], [two], like)
    assert torch.equal(keys, keys_2) and torch.equal(values * 2, values_2)


def test_the_paper_start_copies_the_base_and_the_lora_is_silent():
    config = AnyDressingConfig(NARROW, slots=("upper",), rank=2)
    base = {f"{s.ldm_path}.attn1.{n}.weight": torch.full((NARROW.channels(s),) * 2, float(i)) for s in SITES for i, n in enumerate(("to_k", "to_v"), 1)}
    state = AnyDressing.initial_state(config, lambda names: {n: base[n] for n in names}, seed=0)
    for site in SITES:
        layer = f"{site.ldm_path}.attn1"
        assert torch.equal(state[f"da.{layer}.to_k.weight"], base[f"{layer}.to_k.weight"])
        assert torch.equal(state[f"da.{layer}.to_v.weight"], base[f"{layer}.to_v.weight"])
        assert not state[f"gfe.upper.{layer}.to_q.lora_up.weight"].any()
    assert sum(t.numel() for k, t in state.items() if k.startswith("da.")) == sum(2 * NARROW.channels(s) ** 2 for s in SITES)


def test_full_width_has_the_parameters_the_paper_needs():
    """24.78 M for W'_k and W'_v, 74,880 times the rank for each slot."""
    module = AnyDressing(AnyDressingConfig(slots=("upper", "lower"), rank=64), Layers(device="meta"))
    count = {p: sum(t.numel() for n, t in module.named_parameters() if n.startswith(p)) for p in ("da.", "gfe.upper")}
    assert count == {"da.": 24_780_800, "gfe.upper": 74_880 * 64}


def test_keys_may_name_layers_as_diffusers_does():
    for site in SITES:
        ldm, diffusers = (f"gfe.upper.{p}.attn1.to_q.lora_up.weight" for p in (site.ldm_path, site.diffusers_path))
        assert AnyDressing.to_module(ldm) == AnyDressing.to_module(diffusers) == f"gfe.upper.{site}.to_q.lora_up.weight"
        assert AnyDressing.to_file(AnyDressing.to_module(ldm)) == ldm


def test_the_lora_learns_through_the_reference_pass_except_at_the_last_site(setting):
    """What the last site's LoRA would change is read by nothing: the pass ends at that site's norm1."""
    _, model, method, latents, _ = setting
    from fitting_room.host import layers
    from fitting_room.host.reference import _Pass

    with torch.enable_grad():
        module = AnyDressing(method.module.config, layers(training=True, dtype=torch.float32))
        module.load_state_dict({k: v.clone() for k, v in method.module.state_dict().items()})
        run = _Pass(SITES[:-1] + SITES[-1:], lambda n: n, module.garment_lora(["upper"]), cross_attention=False)
        with pytest.raises(Exception, match=""):
            model.model.diffusion_model(latents["upper"], torch.zeros(1), context=torch.zeros(1, 1, 64), transformer_options=run.options())
        sum(f.pow(2).mean() for f in run.features.values()).backward()
    silent = {n for n, p in module.gfe["upper"].named_parameters() if p.grad is None or not p.grad.any()}
    assert silent == {n for n, _ in module.gfe["upper"].named_parameters() if n.startswith("output_11")}


@pytest.mark.parametrize("options, words", [
    ({"slots": ("Upper!",)}, "cannot name a garment slot"), ({"rank": 0}, "at least 1"), ({"start": "warm"}, "copy, zero"),
])
def test_a_wrong_configuration_is_refused(options, words):
    with pytest.raises(WeightsError, match=words):
        AnyDressingConfig(NARROW, **options)


def test_bad_references_get_one_sentence(setting):
    _, _, method, _, _ = setting
    good = {s: torch.randn(1, 4, NARROW.channels(s)) for s in SITES}
    wide = {s: torch.randn(1, 4, 2 * NARROW.channels(s)) for s in SITES}
    with pytest.raises(ValueError, match="another width"):
        method.module.patches([Reference("anydressing", "upper", wide, (0, 0))])
    batches = [Reference("anydressing", "upper", {s: f.expand(n, -1, -1) for s, f in good.items()}, (0, 0)) for n in (2, 3)]
    with pytest.raises(ValueError, match="do not broadcast"):
        method.module.patches(batches)
    with pytest.raises(WeightsError, match="upper, lower"):
        method.module.garment_lora(["shoes"])
