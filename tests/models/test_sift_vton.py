"""SIFT-VTON against a slow version that works on a released checkpoint's own names, and what the node and the papers promise."""

import pytest
import torch
import torch.nn.functional as F
from fitting_room.models.conversion import stableviton
from fitting_room.models.parts.channels import JEWELRY, TRY_ON
from fitting_room.models.parts.sites import UNetShape

from .. import released
from ..support import close, prompts, randomise, sample

pytestmark = pytest.mark.usefixtures("comfyui")
SHAPE = UNetShape(13, 32, 64, 8)
H, W = 16, 12


@pytest.fixture(scope="module")
def checkpoint(comfyui):
    return released.filled(released.stableviton_shapes(SHAPE, sift=True, width=64, vae=32, vision_layers=2))


@pytest.fixture(scope="module")
def method(checkpoint):
    return build(checkpoint)


def build(checkpoint, **changes):
    from fitting_room import host
    from fitting_room.models.sift_vton import SiftVton
    from fitting_room.models.weights import Header

    header, kept, *_ = stableviton.convert(checkpoint, "")
    if changes:
        header = Header(method=header.method, config={**header.config, **changes})
    return host.build_method(SiftVton, header, kept, "released")


@pytest.fixture(scope="module")
def native(checkpoint):
    from fitting_room.host.models import build_unet

    prefix = "model.diffusion_model."
    names = released.unet_shapes(SHAPE)
    return build_unet(SHAPE, {k: checkpoint[prefix + k] for k in names}, "the released denoiser")


@pytest.fixture(scope="module")
def texts(comfyui):
    from fitting_room.host.demo import demo_clip

    return prompts(demo_clip())


def stack(rows=1, seed=5):
    generator = torch.Generator().manual_seed(seed)
    masked, pose = (torch.randn(rows, 4, H, W, generator=generator) for _ in range(2))
    mask = torch.zeros(rows, 1, H, W)
    mask[..., 4:12, 3:9] = 1
    return TRY_ON.stack(masked=masked, mask=mask, pose=pose)


def garment(rows=1, seed=3):
    return torch.randn(rows, 4, H, W, generator=torch.Generator().manual_seed(seed))


def with_stack(texts, rows=1):
    from fitting_room import host

    return tuple(host.with_channels(c, TRY_ON, stack(rows)) for c in texts)


def installed(model, method, cloth=None, **options):
    from fitting_room import host

    patches = method.module.patches(garment() if cloth is None else cloth, **options)
    return host.install(model, patches, method.managed, channels=True)


def predict(model, x, t, context):
    """One forward of the host's U-Net outside sampling: every row is conditional."""
    from fitting_room import host

    unet, options = host.trainable_unet(model)
    with torch.no_grad():
        return unet(x, t, context=context, transformer_options=options)


# ---- the slow version: explicit softmax, the released names, the host's U-Net only for its own layers -------------------


def spatial_block(s, name, h, feature, heads):
    """One `warp_flow_blks` block on h with tokens of the garment's map."""
    def linear(x, layer):
        return F.linear(x, s[f"{layer}.weight"], s.get(f"{layer}.bias"))

    def norm(x, layer):
        return F.layer_norm(x, x.shape[-1:], s[f"{layer}.weight"], s[f"{layer}.bias"])

    def attention(x, context, layer):
        q, k, v = linear(x, f"{layer}.to_q"), linear(context, f"{layer}.to_k"), linear(context, f"{layer}.to_v")
        d, parts = q.shape[-1] // heads, []
        for i in range(heads):
            a = torch.softmax(q[..., i * d : (i + 1) * d] @ k[..., i * d : (i + 1) * d].mT / d**0.5, -1)
            parts.append(a @ v[..., i * d : (i + 1) * d])
        return linear(torch.cat(parts, -1), f"{layer}.to_out.0")

    inner, tokens = f"{name}.transformer_blocks.0", feature.flatten(2).mT
    x = F.group_norm(h, 32, s[f"{name}.norm.weight"], s[f"{name}.norm.bias"], 1e-6)
    x = F.conv2d(x, s[f"{name}.proj_in.weight"], s[f"{name}.proj_in.bias"]).flatten(2).mT
    x = x + attention(norm(x, f"{inner}.norm1"), norm(x, f"{inner}.norm1"), f"{inner}.attn1")
    x = x + attention(norm(x, f"{inner}.norm2"), tokens, f"{inner}.attn2")
    value, gate = linear(norm(x, f"{inner}.norm3"), f"{inner}.ff.net.0.proj").chunk(2, -1)
    x = x + linear(value * F.gelu(gate), f"{inner}.ff.net.2")
    return F.conv2d(x.mT.unflatten(2, h.shape[-2:]), s[f"{name}.proj_out.weight"], s[f"{name}.proj_out.bias"]) + h


def slow(checkpoint, unet, x, t, context, cloth):
    """The released forward: the whole copied encoder with the cloth after its first block, then the decoder with nine blocks."""
    from fitting_room import host

    s = checkpoint
    encoder = host.build_unet(SHAPE, {
        **{k: s[f"model.diffusion_model.{k}"] for k in released.unet_shapes(SHAPE)},
        **{k.removeprefix("control_model."): v for k, v in s.items() if k.startswith("control_model.") and "cond_first" not in k},
    }, "the encoder").model.diffusion_model
    hint = F.conv2d(cloth, s["control_model.cond_first_block.0.weight"], s["control_model.cond_first_block.0.bias"], padding=1)
    features = []

    def join(h, options):
        return h + hint if options["block"] == ("input", 0) else h

    def keep(h, skip, options):
        features.insert(0, skip)
        return h, skip

    def warp(h, skip, options):
        i = options["block"][1]
        if i >= 3:
            out = spatial_block(s, f"model.diffusion_model.warp_flow_blks.{i - 3}", h, features[11 - i], SHAPE.heads)
            zero = f"model.diffusion_model.warp_zero_convs.{i - 3}"
            h = F.conv2d(out, s[f"{zero}.weight"], s[f"{zero}.bias"]) + h
        return h, skip

    with torch.no_grad():
        encoder(x, t, context=context, transformer_options={"patches": {"input_block_patch": [join], "output_block_patch": [keep]}})
        return unet.model.diffusion_model(x, t, context=context, transformer_options={"patches": {"output_block_patch": [warp]}})


@pytest.mark.parametrize("tokens", [1, 7])
def test_agrees_with_the_released_forward(checkpoint, method, native, tokens):
    """A converted checkpoint inside the host's U-Net gives what the released network computes, also with its single token."""
    x, t, context = torch.randn(2, 13, H, W), torch.tensor([7.0, 640.0]), torch.randn(2, tokens, 64)
    cloth = garment(2)
    expected = slow(checkpoint, native, x, t, context, cloth)
    assert close(predict(installed(native, method, cloth), x, t, context), expected, 1e-5)
    plain = predict(native, x, t, context)
    assert not close(plain, expected, 1e-2)


def test_agrees_with_the_released_token(checkpoint, method):
    """The mapper with its attention written out: one token, one head, q and k each scaled by d^-1/4."""
    pooled, s = torch.randn(3, 64), checkpoint
    x = pooled[:, None]
    for n in range(5):
        p = f"cond_stage_model.mapper.resblocks.{n}"
        y = F.layer_norm(x, (64,), s[f"{p}.ln_1.weight"], s[f"{p}.ln_1.bias"])
        q, k, v = F.linear(y, s[f"{p}.attn.c_qkv.weight"], s[f"{p}.attn.c_qkv.bias"]).chunk(3, -1)
        y = torch.softmax((q * 64**-0.25) @ (k * 64**-0.25).mT, -1) @ v
        x = x + F.linear(y, s[f"{p}.attn.c_proj.weight"], s[f"{p}.attn.c_proj.bias"])
        y = F.layer_norm(x, (64,), s[f"{p}.ln_2.weight"], s[f"{p}.ln_2.bias"])
        y = F.gelu(F.linear(y, s[f"{p}.mlp.c_fc.weight"], s[f"{p}.mlp.c_fc.bias"]))
        x = x + F.linear(y, s[f"{p}.mlp.c_proj.weight"], s[f"{p}.mlp.c_proj.bias"])
    x = F.layer_norm(x, (64,), s["cond_stage_model.final_ln.weight"], s["cond_stage_model.final_ln.bias"])
    with torch.no_grad():
        token = method.module.token(pooled)
    torch.testing.assert_close(token, F.linear(x, s["proj_out.weight"], s["proj_out.bias"]), atol=1e-5, rtol=1e-5)


def test_the_unread_blocks_change_nothing(checkpoint, native):
    """The released encoder with its last blocks and middle, computed and thrown away, and ours without them: the same numbers."""
    from fitting_room.host import build_method
    from fitting_room.models.sift_vton import SiftVton
    from fitting_room.models.weights import Header

    header, kept, *_ = stableviton.convert(checkpoint, "")
    unread = ("control_model.input_blocks.9", "control_model.input_blocks.10", "control_model.input_blocks.11", "control_model.middle_block")
    whole = kept | {f"encoder.net.{k.removeprefix('control_model.')}": v for k, v in checkpoint.items() if k.startswith(unread)}
    config = {**header.config, "whole_encoder": True}
    released_form = build_method(SiftVton, Header(method=header.method, config=config), whole, "whole")
    x, t, context = torch.randn(1, 13, H, W), torch.tensor([300.0]), torch.randn(1, 1, 64)
    assert torch.equal(predict(installed(native, released_form), x, t, context), predict(installed(native, build(checkpoint)), x, t, context))


# ---- rows, and what happens once ---------------------------------------------------------------------------------------


def rows_seen(monkeypatch, method):
    seen, forward = [], type(method.module.encoder).forward

    def counted(self, x, *args):
        seen.append(x.shape[0])
        return forward(self, x, *args)

    monkeypatch.setattr(type(method.module.encoder), "forward", counted)
    return seen


def test_unconditional_rows_pay_nothing_as_sift_vton_samples(native, method, texts, monkeypatch):
    seen, (positive, negative) = rows_seen(monkeypatch, method), with_stack(texts)
    sample(installed(native, method), positive, negative, batch=2, steps=2)
    assert set(seen) == {2}
    seen.clear()
    sample(installed(native, method, unconditional="garment"), positive, negative, batch=2, steps=2)
    assert set(seen) == {4}


def test_stableviton_shows_the_garment_to_both(native, method, texts):
    """guided = u + s (c - u): at s = 0 only the unconditional branch is left."""
    positive, negative = with_stack(texts)
    plain = sample(native, positive, negative, cfg=0.0)
    assert close(sample(installed(native, method), positive, negative, cfg=0.0), plain, 1e-5)
    both = sample(installed(native, method, unconditional="garment"), positive, negative, cfg=0.0)
    as_positive = sample(installed(native, method), negative, positive, cfg=1.0)
    assert close(both, as_positive, 1e-5) and not close(both, plain, 1e-2)


def test_the_garment_is_encoded_once_per_generation(native, method, texts):
    calls = []

    def encode(height, width):
        calls.append((height, width))
        return garment()

    positive, negative = with_stack(texts)
    once = sample(installed(native, method, encode), positive, negative, steps=4)
    assert calls == [(H, W)]
    released_form = sample(installed(native, method, encode, encode_every_call=True), positive, negative, steps=4)
    assert len(calls) == 1 + 4 and torch.equal(once, released_form)


# ---- the added route -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=[4, 9])
def base(request, comfyui):
    from fitting_room.host.demo import demo_unet

    return demo_unet(UNetShape(request.param, 32, 64, 8))


def test_a_new_method_leaves_a_plain_unet_as_it_was(base, texts):
    """Untrained, and at strength 0: what the 4-channel U-Net gives without anything, bit for bit."""
    from fitting_room import host
    from fitting_room.models.parts.patches import Patches
    from fitting_room.models.sift_vton import SiftVton

    given = with_stack(texts)
    plain = sample(base, *texts) if base.model.diffusion_model.in_channels == 4 else sample(host.install(base, Patches(), channels=True), *given)
    untrained = host.new_method(SiftVton, base, 0, {"image_width": 64})
    assert torch.equal(sample(installed(base, untrained), *given), plain)
    trained = randomise(untrained)
    assert not close(sample(installed(base, trained), *given), plain, 1e-2)
    assert torch.equal(sample(installed(base, trained, strength=0.0), *given), plain)


def test_gradient_reaches_the_added_columns(base):
    from fitting_room import host
    from fitting_room.models.sift_vton import SiftVton

    with torch.inference_mode(False), torch.enable_grad():
        loaded = host.new_method(SiftVton, base, 0, {"image_width": 64})
        module = SiftVton(loaded.module.config, host.layers(training=True, dtype=torch.float32))
        module.load_state_dict({k: v.clone() for k, v in loaded.module.state_dict().items()})
        loaded.module = module
        unet, options = host.trainable_unet(installed(base, loaded))
        x = torch.randn(1, unet.in_channels, H, W)
        eps = unet(x, torch.tensor([300.0]), context=torch.randn(1, 7, 64), transformer_options=options, fitting_room_extra_stack=stack())
        (eps**2).mean().backward()
    gradient = module.channels.conv.weight.grad.abs().amax((0, 2, 3))
    assert gradient[5:].min() > 0  # the pose
    assert (gradient[:5].max() > 0) == (unet.in_channels == 4)  # an inpainting U-Net has columns of its own for mask and masked


def test_a_checkpoint_on_the_added_route_equals_the_native_one(checkpoint, method, native, texts):
    """The 4-channel part of the released denoiser, its other columns added: the same picture as the 13-channel one."""
    from fitting_room.host.models import build_unet

    state = native.model.diffusion_model.state_dict()
    narrow = build_unet(UNetShape(4, 32, 64, 8), {**state, "input_blocks.0.0.weight": state["input_blocks.0.0.weight"][:, :4].clone()}, "narrow")
    given = with_stack(texts)
    assert close(sample(installed(narrow, method), *given), sample(installed(native, method), *given), 1e-5)


# ---- what goes wrong gets a sentence -------------------------------------------------------------------------------------


def test_no_channels(base, texts):
    from fitting_room import host
    from fitting_room.models.sift_vton import SiftVton

    with pytest.raises(ValueError, match="SIFT-VTON needs 9 extra channels.*none came"):
        sample(installed(base, host.new_method(SiftVton, base, 0, {"image_width": 64})), *texts)


def test_channels_of_another_method(base, texts):
    from fitting_room import host
    from fitting_room.models.sift_vton import SiftVton

    other = torch.zeros(1, JEWELRY.extra, H, W)
    given = tuple(host.with_channels(c, JEWELRY, other) for c in texts)
    with pytest.raises(ValueError, match="SIFT-VTON needs 9 extra channels.*7 came"):
        sample(installed(base, host.new_method(SiftVton, base, 0, {"image_width": 64})), *given)


def test_a_garment_of_another_size(native, method):
    with pytest.raises(ValueError, match="garment's latent is 5 x 6"):
        predict(installed(native, method, torch.zeros(1, 4, 6, 5)), torch.randn(1, 13, H, W), torch.tensor([3.0]), torch.randn(1, 1, 64))


def test_channels_that_do_not_fit_the_model(method, comfyui):
    from fitting_room.models.sift_vton import SiftVtonConfig

    with pytest.raises(ValueError, match="takes 11 input channels"):
        method.module.check_channels(11)
    for channels in (4, 9, 13):
        method.module.check_channels(channels)
    inpainting = type("M", (type(method.module),), {"__init__": lambda self: torch.nn.Module.__init__(self)})()
    inpainting.config = SiftVtonConfig(unet=UNetShape(9, 32, 64, 8))
    inpainting.check_channels(9)
    with pytest.raises(ValueError, match="made beside a MODEL of 9 input channels"):
        inpainting.check_channels(4)


def test_unknown_options_are_refused(method):
    from fitting_room.models.sift_vton import SiftVtonConfig

    with pytest.raises(ValueError, match="must be one of bare, garment"):
        SiftVtonConfig(unconditional="all")
    with pytest.raises(ValueError, match="must be one of bare, garment"):
        method.module.patches(garment(), unconditional="all")
