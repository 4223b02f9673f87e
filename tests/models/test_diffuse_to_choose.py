"""Diffuse to Choose against a literal version of its equations, which shares no code with the production path."""

import copy
import math

import pytest
import torch
import torch.nn.functional as F
from fitting_room.models.diffuse_to_choose import Adapter, DiffuseToChoose, DiffuseToChooseConfig
from fitting_room.models.parts.layers import Layers
from fitting_room.models.parts.sites import SITES, UNetShape
from fitting_room.models.weights import WeightsError

from ..support import close, randomise, sample

NINE = UNetShape(9, 32, 64, 8)
SD15 = UNetShape(9, 320, 768, 8)
T = 300.0


# ---- the literal version ---------------------------------------------------------------------------------------------------


def literal_adapter(state, hint):
    x = hint
    for i, stride in ((0, 2), (2, 2), (4, 2), (6, 1)):
        x = F.conv2d(x, state[f"adapter.{i}.weight"], state[f"adapter.{i}.bias"], stride=stride, padding=1)
        if i < 6:
            x = x * torch.sigmoid(x)
    return x


def embedded(net, t):
    """Sines and cosines of t at 16 frequencies, through the U-Net's two layers."""
    half = 16
    angles = t[:, None] * torch.exp(-math.log(10000) * torch.arange(half) / half)[None]
    return net.time_embed(torch.cat([angles.cos(), angles.sin()], 1))


def encode(net, x, emb, context):
    """Outputs of the twelve input blocks and of the middle block."""
    outputs = []
    for block in (*net.input_blocks, net.middle_block):
        x = block(x, emb, context, {})
        outputs.append(x)
    return outputs


def literal_encoder(unet, state, entry, t, context):
    """The thirteen features, from a whole U-Net whose encoder carries the file's weights."""
    net = copy.deepcopy(unet)
    own = {k.removeprefix("encoder.net."): v for k, v in state.items() if k.startswith("encoder.net.")}
    net.input_blocks[0][0] = torch.nn.Conv2d(4, 32, 3, padding=1)
    net.load_state_dict({**net.state_dict(), **own})
    return encode(net, entry, embedded(net, t), context)


def literal_change(state, k, integration, mode, h, f, s):
    """h_k with f_k at strength s, pixel by pixel."""
    p = f"fuse.{k}."
    if integration == "film":
        if mode == "channel":
            f = f.mean((2, 3))[:, :, None, None].expand_as(h)
        both = torch.einsum("oc,bchw->bohw", state[f"{p}to_gamma_beta.weight"][:, :, 0, 0], f) + state[f"{p}to_gamma_beta.bias"][:, None, None]
        gamma, beta = both[:, : h.shape[1]], both[:, h.shape[1] :]
        return h * (1 + s * gamma) + s * beta
    if integration == "add":
        return h + s * (torch.einsum("oc,bchw->bohw", state[f"{p}zero.weight"][:, :, 0, 0], f) + state[f"{p}zero.bias"][:, None, None])
    out = h.clone()
    for b in range(h.shape[0]):
        th, tf = (F.layer_norm(x[b].flatten(1).T, (x.shape[1],), state[f"{p}norm_{n}.weight"], state[f"{p}norm_{n}.bias"]) for x, n in ((h, "h"), (f, "f")))
        q, key, v = (x @ state[f"{p}to_{n}.weight"].T for x, n in ((th, "q"), (tf, "k"), (tf, "v")))
        width, heads = q.shape[-1] // 8, []
        for i in range(8):
            part = slice(i * width, (i + 1) * width)
            heads.append((q[:, part] @ key[:, part].T / math.sqrt(width)).softmax(-1) @ v[:, part])
        added = torch.cat(heads, -1) @ state[f"{p}to_out.weight"].T + state[f"{p}to_out.bias"]
        out[b] += s * added.T.reshape(h.shape[1:])
    return out


def literal_denoise(unet, state, config, hint, masked, s, x, t, context, rows):
    """The U-Net's forward written out, with section 3.2 between its halves; `rows` see the hint."""
    net = copy.deepcopy(unet)
    for site in SITES:
        for n in ("k", "v"):
            change = state.get(f"cross.{site.ldm_path}.attn2.to_{n}.weight")
            if change is not None and s != 0:
                net.get_submodule(f"{site.ldm_path}.attn2.to_{n}").weight.data += change
    entry = hint if config.hint == "latent" else literal_adapter(state, hint) + masked
    t_hint = torch.zeros_like(t) if config.timestep_mode == "fixed" else t
    features = literal_encoder(unet, state, entry.expand(x.shape[0], -1, -1, -1), t_hint, context)

    def change(k, h):
        out = h.clone()
        for row in rows:
            one = slice(row, row + 1)
            out[one] = literal_change(state, k, config.integration, config.film_mode, h[one], features[k][one], s)
        return out

    emb = embedded(net, t)
    *skips, h = encode(net, x, emb, context)
    h = change(12, h)
    for i, block in enumerate(net.output_blocks):
        size = skips[10 - i].shape if i < 11 else None
        h = block(torch.cat([h, change(11 - i, skips[11 - i])], 1), emb, context, {}, size)
    return net.out(h)


# ---- fixtures --------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def base(comfyui):
    from fitting_room.host.demo import demo_unet

    return demo_unet(NINE)


def inputs(seed=0):
    g = torch.Generator().manual_seed(seed)
    hint = torch.zeros(1, 3, 128, 96)
    hint[..., 16:80, 24:72] = torch.rand(1, 3, 64, 48, generator=g)
    return {"x": torch.randn(2, 9, 16, 12, generator=g), "t": torch.tensor([T, T]), "context": torch.randn(2, 257, 64, generator=g), "hint": hint}


def run(base, method, hint, strength=1.0, x=None, t=None, context=None, marks=(-1, 1), **extras):
    """One forward of the host's U-Net with the method, the unconditional row first as the host stacks them."""
    from fitting_room import host

    model = host.install(base, method.module.patches(hint, strength), method.managed)
    model.patch_model(load_weights=True) if model.patches else None
    unet, options = host.trainable_unet(model)
    try:
        return unet(x, t, context=context, transformer_options=options, fitting_room_rows=torch.tensor(marks)[:, None], **extras)
    finally:
        model.unpatch_model() if model.patches else None


VARIANTS = [
    {}, {"film_mode": "channel"}, {"integration": "add"}, {"integration": "cross_attention"}, {"timestep_mode": "fixed"}, {"rows": "conditional"},
    {"hint": "latent"}, {"conv_in": "masked"}, {"main_unet": "frozen"},
]


@torch.no_grad()
@pytest.mark.parametrize("options", VARIANTS, ids=lambda o: ",".join(f"{k}={v}" for k, v in o.items()) or "the paper's")
def test_one_forward_equals_the_equations(base, options):
    from fitting_room import host

    method = randomise(host.new_method(DiffuseToChoose, base, 0, options), scale=0.5)
    config, data = method.module.config, inputs()
    hint = data.pop("hint")
    if config.hint == "latent":
        hint = torch.randn(1, 4, 16, 12, generator=torch.Generator().manual_seed(8))
    state = method.module.file_state()
    rows = [0, 1] if config.rows == "all" else [1]
    for strength in (1.0, 0.6):
        expected = literal_denoise(base.model.diffusion_model, state, config, hint, data["x"][:, 5:9], strength, rows=rows, **data)
        found = run(base, method, hint, strength, **data)
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4 * float(expected.abs().max()))
    plain = base.model.diffusion_model(data["x"], data["t"], context=data["context"])
    assert not close(found[1:], plain[1:], 1e-2)


@torch.no_grad()
def test_unconditional_rows_are_left_alone_where_the_file_says_so(base):
    from fitting_room import host

    method = randomise(host.new_method(DiffuseToChoose, base, 0, {"rows": "conditional", "main_unet": "frozen"}), scale=0.5)
    data = inputs()
    hint = data.pop("hint")
    plain = base.model.diffusion_model(data["x"], data["t"], context=data["context"])
    assert torch.equal(run(base, method, hint, **data)[:1], plain[:1])


# ---- adapter, replica, places ----------------------------------------------------------------------------------------------


def test_the_adapter_has_four_layers_and_36292_parameters():
    adapter = Adapter(Layers())
    assert [m.weight.shape[:2] for m in adapter if hasattr(m, "weight")] == [(16, 3), (32, 16), (96, 32), (4, 96)]
    assert sum(p.numel() for p in adapter.parameters()) == 36_292
    for height, width in ((512, 512), (768, 576), (520, 264)):
        assert adapter(torch.zeros(1, 3, height, width)).shape == (1, 4, height // 8, width // 8)


def parameters(options):
    from fitting_room import host

    module = DiffuseToChoose(DiffuseToChooseConfig(unet=SD15, **options), host.layers(training=True, device="meta"))
    return {name: sum(p.numel() for p in child.parameters()) for name, child in module.named_children()}


def test_full_size_has_the_papers_parameter_counts(comfyui):
    film = parameters({})
    from fitting_room import host

    whole = host.layers(training=True, device="meta").blocks.unet(UNetShape(4), host.layers(training=True, device="meta"))
    encoder = [p for n, p in whole.named_parameters() if not n.startswith(("output_blocks.", "out."))]
    assert film["encoder"] == sum(p.numel() for p in encoder) == 348_712_960  # 348.7 M
    assert film["adapter"] == 36_292
    assert film["tokens"] == 1536 * 768 + 768 + 768  # one layer and the null
    widths = [320] * 4 + [640] * 3 + [1280] * 6
    assert film["fuse"] == sum(2 * c * c + 2 * c for c in widths) == 22_959_360  # 22.96 M
    assert parameters({"film_mode": "channel"})["fuse"] == film["fuse"]  # one state dict for both
    assert parameters({"integration": "add"})["fuse"] == sum(c * c + c for c in widths)
    assert film["cross"] == 2 * 768 * (5 * 320 + 5 * 640 + 6 * 1280)
    assert parameters({"image_encoder": "dino_large"})["tokens"] == 1024 * 768 + 2 * 768
    assert set(parameters({"hint": "off", "main_unet": "frozen"})) == {"fuse", "tokens", "cross"}


@torch.no_grad()
def test_the_replica_equals_the_base_s_encoder_when_the_hint_is_silent(comfyui):
    """Copied weights and a zero adapter: the features are the base's own, bit for bit."""
    from fitting_room import host
    from fitting_room.host.demo import demo_unet

    four = demo_unet()
    method = host.new_method(DiffuseToChoose, four, 0, {})
    method.module.adapter[-1].weight.zero_()
    g = torch.Generator().manual_seed(1)
    z, t, context = torch.randn(2, 4, 16, 12, generator=g), torch.tensor([T, 20.0]), torch.randn(2, 7, 64, generator=g)
    expected = []

    def watch(h):
        expected.append(h)
        return h

    unet = four.model.diffusion_model
    hook = unet.middle_block[-1].register_forward_hook(lambda module, inputs, h: expected.append(h))
    unet(z, t, context=context, transformer_options={"patches": {"input_block_patch": [lambda h, options: watch(h)]}})
    hook.remove()
    found = method.module.features(method.module.adapter(torch.rand(1, 3, 128, 96)) + z, t, context)
    assert len(found) == 13
    for one, other in zip(found, expected, strict=True):
        assert torch.equal(one, other)


@torch.no_grad()
def test_conv_in_takes_the_columns_of_z_or_of_the_masked_latent(base):
    from fitting_room import host

    whole = base.model.diffusion_model.input_blocks[0][0].weight
    for option, columns in (("noise", slice(0, 4)), ("masked", slice(5, 9))):
        made = host.new_method(DiffuseToChoose, base, 0, {"conv_in": option})
        assert torch.equal(made.module.file_state()["encoder.net.input_blocks.0.0.weight"], whole[:, columns])


def test_cross_attention_can_leave_out_the_finest_places():
    config = DiffuseToChooseConfig(integration="cross_attention", attention_stride=2)
    assert config.places == tuple(range(3, 13))
    assert DiffuseToChooseConfig(attention_stride=2).places == tuple(range(13))


# ---- sampling --------------------------------------------------------------------------------------------------------------


def conditions(host, masked=True, length=257, size=(16, 12)):
    g = torch.Generator().manual_seed(4)
    image, mask = torch.rand(1, 8 * size[0], 8 * size[1], 3, generator=g), torch.zeros(1, 1, 8 * size[0], 8 * size[1])
    mask[..., 16:80, 24:72] = 1
    texts = [[[torch.randn(1, length, 64, generator=g), {}]] for _ in range(2)]
    if not masked:
        return texts
    from fitting_room.host.demo import demo_vae

    with torch.inference_mode():
        return host.inpaint_conditioning(*texts, demo_vae(), image, mask)[:2]


@pytest.fixture(scope="module")
def scene(base):
    from fitting_room import host

    return host, randomise(host.new_method(DiffuseToChoose, base, 0, {}), scale=0.5), inputs()["hint"]


def test_the_fixed_mode_equals_every_step_at_t_zero_bit_for_bit(base, scene):
    """Running the encoder once and keeping gamma and beta is the same as running it at t = 0 in every step."""
    host, _, hint = scene
    method = randomise(host.new_method(DiffuseToChoose, base, 0, {"timestep_mode": "fixed"}), scale=0.5)
    calls = []
    method.module.encoder.register_forward_hook(lambda *_: calls.append(1))
    model = host.install(base, method.module.patches(hint), method.managed)
    texts = conditions(host)
    kept = sample(model, *texts, steps=4)
    assert len(calls) == 1  # one forward with both rows
    patches = method.module.patches(hint)
    patches.prepare.__self__.lasts = 1  # as in per_step, but at the file's t = 0
    every = sample(host.install(base, patches, method.managed), *texts, steps=4)
    assert len(calls) == 5 and torch.equal(kept, every)


def test_what_is_kept_follows_the_context_of_each_row(base, scene):
    """Separate forwards per conditioning, and a prompt that changes between steps, never meet another row's features."""
    host, _, hint = scene
    method = randomise(host.new_method(DiffuseToChoose, base, 0, {"timestep_mode": "fixed"}), scale=0.5)
    (yes, no), g = conditions(host), torch.Generator().manual_seed(9)
    later = [[torch.randn(1, 257, 64, generator=g), {**yes[0][1], "start_percent": 0.5, "end_percent": 1.0}]]
    changing = [[yes[0][0], {**yes[0][1], "start_percent": 0.0, "end_percent": 0.5}], *later]
    patches, every = method.module.patches(hint), method.module.patches(hint)
    every.prepare.__self__.lasts = 1
    kept, literal = (sample(host.install(base, p, method.managed), changing, no, steps=4) for p in (patches, every))
    assert torch.equal(kept, literal)


def test_refreshing_every_second_step_halves_the_encoder_s_runs(base, scene):
    host, method, hint = scene
    calls, texts = [], conditions(host)
    hook = method.module.encoder.register_forward_hook(lambda *_: calls.append(1))
    exact = sample(host.install(base, method.module.patches(hint), method.managed), *texts, steps=4)
    assert len(calls) == 4
    reused = sample(host.install(base, method.module.patches(hint, 1.0, 2), method.managed), *texts, steps=4)
    hook.remove()
    assert len(calls) == 6 and not torch.equal(exact, reused)


def test_swapped_conditionings_give_the_output_swapped(base, scene):
    """Both halves see the hint: guidance 0 shows the negative alone, so swapping must equal guidance 1 unswapped."""
    host, method, hint = scene
    model, (yes, no) = host.install(base, method.module.patches(hint), method.managed), conditions(host)
    assert close(sample(model, no, yes, cfg=0.0), sample(model, yes, no, cfg=1.0), 1e-5)


def test_the_masked_latent_is_the_u_net_s_own_channels_5_to_8(base, scene):
    """Our extra and the host's inpainting channels are the same numbers; the stock node works as well."""
    host, method, hint = scene
    model, ours = host.install(base, method.module.patches(hint), method.managed), conditions(host)
    stock = [[[c, {k: v for k, v in values.items() if k != "model_conds"}]] for c, values in (ours[0][0], ours[1][0])]
    assert torch.equal(sample(model, *ours), sample(model, *stock))


def test_area_conditioning_is_refused(base, scene):
    host, method, hint = scene
    yes, no = conditions(host)
    halved = [[yes[0][0], {**yes[0][1], "area": (8, 12, 0, 0), "set_area_to_bounds": False, "strength": 1.0}]]
    with pytest.raises(ValueError, match="The hint is 96 x 128 pixels, but what is sampled here is 96 x 64.*area conditioning"):
        sample(host.install(base, method.module.patches(hint), method.managed), halved, no)


def test_a_hint_of_another_size_is_refused(base, scene):
    host, method, hint = scene
    with pytest.raises(ValueError, match="The hint is 64 x 64 pixels, but what is sampled here is 96 x 128"):
        sample(host.install(base, method.module.patches(hint[..., :64, :64]), method.managed), *conditions(host))


def test_two_hints_do_not_fit_three_pictures(base, scene):
    host, method, hint = scene
    with pytest.raises(ValueError, match="The hint has 2 pictures but the latent batch has 3"):
        sample(host.install(base, method.module.patches(hint.expand(2, -1, -1, -1)), method.managed), *conditions(host), batch=3)


def test_a_four_channel_model_without_the_masked_picture_is_refused(comfyui):
    from fitting_room import host
    from fitting_room.host.demo import demo_unet

    four = demo_unet()
    method = host.new_method(DiffuseToChoose, four, 0, {})
    with pytest.raises(ValueError, match="put Inpaint Conditioning"):
        sample(host.install(four, method.module.patches(inputs()["hint"]), method.managed), *conditions(host, masked=False))


def test_a_file_for_nine_channels_refuses_a_four_channel_model(scene):
    _, method, _ = scene
    method.module.check_base(9)
    with pytest.raises(ValueError, match="made for an inpainting U-Net of 9 input channels, and the MODEL has 4"):
        method.module.check_base(4)


def test_wrong_options_are_answered_with_the_right_ones(base):
    from fitting_room import host

    with pytest.raises(WeightsError, match="'sum'; it must be one of film, add, cross_attention"):
        host.new_method(DiffuseToChoose, base, 0, {"integration": "sum"})
    with pytest.raises(WeightsError, match="this base has 4 channels"):
        DiffuseToChooseConfig(unet=UNetShape(4), conv_in="masked")
    with pytest.raises(ValueError, match="at least 1"):
        host.new_method(DiffuseToChoose, base, 0, {}).module.patches(inputs()["hint"], 1.0, 0)


def test_the_denoiser_s_own_weights_change_on_the_clone_only(base, scene):
    """The differences of the cross-attention: on at any strength but 0, and gone from the given model."""
    host, method, hint = scene
    name = f"{SITES[0].ldm_path}.attn2.to_k.weight"
    before = host.read_weights(base, [name])[name]
    texts = conditions(host)
    plain = sample(base, *texts)
    weak = sample(host.install(base, method.module.patches(hint, 1e-6), method.managed), *texts)
    assert not close(weak, plain, 1e-2)
    assert torch.equal(sample(host.install(base, method.module.patches(hint, 0.0), method.managed), *texts), plain)
    assert torch.equal(host.read_weights(base, [name])[name], before)
    assert not base.patches
