"""PM-Jewelry against a literal version of its equations, which shares no code with the production path."""

import copy

import pytest
import torch
from fitting_room.models.parts.channels import JEWELRY, STACK
from fitting_room.models.parts.layers import Layers
from fitting_room.models.parts.patches import Call, Patches
from fitting_room.models.parts.shadow import PICTURE, Shadow, pack_picture
from fitting_room.models.parts.shadow_nets import ShadowModule, initial_state
from fitting_room.models.parts.sites import UNetShape
from fitting_room.models.parts.watch import SHADOW
from fitting_room.models.pm_jewelry import PMJewelry, PMJewelryConfig
from fitting_room.models.weights import WeightsError

from ..support import close, randomise
from .literal_pm_jewelry import HEADS, denoise, encoder_features, scale_and_bias
from .parts.test_shadow import corners_aligned, slow_mask

# ---- the host's U-Net ------------------------------------------------------------------------------------------------------


def pictures(h, w, rows=1):
    generator = torch.Generator().manual_seed(2)
    rgb = torch.rand(rows, 3, 8 * h, 8 * w, generator=generator)
    mask = torch.zeros(rows, 1, 8 * h, 8 * w)
    mask[..., 2 * h : 5 * h, 3 * w : 6 * w] = 1
    stack = torch.randn(rows, JEWELRY.extra, h, w, generator=generator)
    return rgb, mask, stack


@pytest.fixture(scope="module")
def bases(comfyui):
    from fitting_room.host.demo import demo_unet

    return {n: demo_unet(UNetShape(n, 32, 64, HEADS)) for n in (4, 9, 11)}


def new(base, **options):
    from fitting_room import host

    return randomise(host.new_method(PMJewelry, base, 0, options))


class ShadowWatch:
    """Keeps what the shadow module shows."""

    def wants(self, place):
        return place == SHADOW

    def see(self, place, **seen):
        self.seen = seen


def run(base, patches, x, t, context, watch=None, **extras):
    """One forward of a model's U-Net with patches, outside sampling: all rows are conditional."""
    from fitting_room import host

    with torch.no_grad():
        for value in patches:
            base = host.install(base, value)
        unet, options = host.trainable_unet(base)
        options, extras = host.watched(options, watch), {f"fitting_room_extra_{k}": v for k, v in extras.items()}
        return unet(x, t, context=context, transformer_options=options, **extras)


def inputs(channels, h=16, w=12, rows=1):
    generator = torch.Generator().manual_seed(4)
    x, context = torch.randn(rows, channels, h, w, generator=generator), torch.randn(rows, 77, 64, generator=generator)
    return x, torch.full((rows,), 400.0), context


@pytest.mark.parametrize("jewelry_size", [(16, 12), (10, 9)])
def test_reference_mode_equals_the_equations(bases, jewelry_size):
    method, (x, t, context) = new(bases[11], shadow=False), inputs(11)
    latent = torch.randn(1, 4, *jewelry_size, generator=torch.Generator().manual_seed(8))
    out = run(bases[11], [method.module.patches(latent, 0.7)], x, t, context)
    unet, state = bases[11].model.diffusion_model, method.module.file_state()
    with torch.no_grad():
        features = encoder_features(unet, state, latent, torch.zeros(1), context)
        expected, _ = denoise(unet, state, features, 0.7, x, t, context, [0])
        plain = unet(x, t, context=context)
    assert close(out, expected) and not close(out, plain, 1e-2)


def test_stack_mode_equals_the_equations(bases):
    method, (x, t, context) = new(bases[11], shadow=False, encoder_input="stack"), inputs(11)
    latent = torch.randn(1, 4, 16, 12, generator=torch.Generator().manual_seed(8))
    out = run(bases[11], [method.module.patches(latent)], x, t, context)
    unet, state = bases[11].model.diffusion_model, method.module.file_state()
    with torch.no_grad():
        features = encoder_features(unet, state, x, t, context, hint=latent)
        expected, _ = denoise(unet, state, features, 1.0, x, t, context, [0])
    assert close(out, expected)


@pytest.mark.parametrize("h, w", [(16, 12), (15, 11)])
def test_equation_5_on_the_host(bases, h, w):
    """Features of all twelve output blocks -> mask -> hard threshold -> s * eps + b inside, eps outside."""
    method, (x, t, context) = new(bases[11], encoder=False), inputs(11, h, w)
    rgb, mask, _ = pictures(h, w)
    out = run(bases[11], [method.module.shadow_at_work().patches()], x, t, context, **{PICTURE: pack_picture(rgb, mask)})
    unet, state = bases[11].model.diffusion_model, method.module.file_state()
    with torch.no_grad():
        eps, features = denoise(unet, {}, {}, 0.0, x, t, context, [])
        predictor = {k.removeprefix("mask_predictor."): v for k, v in state.items() if k.startswith("mask_predictor.")}
        inside = corners_aligned(slow_mask(predictor, features, mask), (h, w)) > 0.5
        s, b = scale_and_bias(state, torch.cat((rgb, mask, torch.zeros_like(mask)), 1))
    assert 0 < inside.float().mean() < 1
    expected = eps.clone()
    for c in range(4):
        for i in range(h):
            for j in range(w):
                if inside[0, 0, i, j]:
                    expected[0, c, i, j] = s[0, c] * eps[0, c, i, j] + b[0, c]
    assert close(out, expected) and not close(out, eps, 1e-2)


def test_added_channels_equal_a_native_checkpoint(bases):
    """A 4-channel U-Net plus our convolution is the 11-channel U-Net whose first convolution has the same columns."""
    method, (x, t, context) = new(bases[4], shadow=False), inputs(4)
    _, _, stack = pictures(16, 12)
    out = run(bases[4], [Patches(entry=method.module.channels)], x, t, context, **{STACK: stack})
    unet = copy.deepcopy(bases[4].model.diffusion_model)
    first = unet.input_blocks[0][0]
    with torch.no_grad():
        columns = torch.cat((first.weight, method.module.channels.conv.weight), 1)
        assert columns.shape[1] == 11
        unet.input_blocks[0][0] = torch.nn.Conv2d(11, columns.shape[0], 3, padding=1)
        unet.input_blocks[0][0].weight.copy_(columns)
        unet.input_blocks[0][0].bias.copy_(first.bias)
        expected = unet(torch.cat((x, stack), 1), t, context=context)
    assert close(out, expected)
    with torch.no_grad():
        assert not close(out, bases[4].model.diffusion_model(x, t, context=context), 1e-2)


# ---- the shadow's gate, rows, sizes and hooks --------------------------------------------------------------------------------


def test_the_gate_on_t_is_strict_and_per_row(bases):
    method, (x, _, context) = new(bases[11], encoder=False), inputs(11, rows=3)
    rgb, mask, _ = pictures(16, 12, rows=3)
    t, shadow = torch.tensor([700.0, 699.0, 0.0]), method.module.shadow_at_work()
    out = run(bases[11], [shadow.patches()], x, t, context, **{PICTURE: pack_picture(rgb, mask)})
    plain = run(bases[11], [], x, t, context)
    assert torch.equal(out[0], plain[0])
    assert not close(out[1], plain[1], 1e-3) and not close(out[2], plain[2], 1e-3)
    late = run(bases[11], [shadow.patches()], x, torch.full((3,), 900.0), context, **{PICTURE: pack_picture(rgb, mask)})
    assert torch.equal(late, run(bases[11], [], x, torch.full((3,), 900.0), context))


def test_rows_do_not_leak(bases):
    method, (x, t, context) = new(bases[11]), inputs(11, rows=2)
    rgb, mask, _ = pictures(16, 12, rows=2)
    latent = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(1))
    def patches(z):
        return [method.module.patches(z), method.module.shadow_at_work().patches()]

    both = run(bases[11], patches(latent), x, t, context, **{PICTURE: pack_picture(rgb, mask)})
    for r in range(2):
        row = slice(r, r + 1)
        alone = run(bases[11], patches(latent[row]), x[row], t[row], context[row], **{PICTURE: pack_picture(rgb[row], mask[row])})
        assert close(both[row], alone)


@pytest.mark.parametrize("h, w", [(64, 64), (96, 72), (64, 48), (63, 47)])
def test_every_latent_size_on_the_host(bases, h, w):
    method, (x, t, context) = new(bases[11], encoder=False), inputs(11, h, w)
    rgb, mask, _ = pictures(h, w)
    watch, shadow = ShadowWatch(), Shadow(method.module.shadow)
    out = run(bases[11], [shadow.patches()], x, t, context, watch, **{PICTURE: pack_picture(rgb, mask)})
    assert torch.isfinite(out).all() and out.shape == (1, 4, h, w)
    assert watch.seen["logits"].shape == (1, 1, 8 * h, 8 * w) and watch.seen["acting"].tolist() == [True]


def test_the_features_hook_is_gone_after_an_exception(bases):
    from fitting_room import host

    def explode(*_):
        raise RuntimeError("from the method")

    def explode_inside(h, skip, options):
        raise RuntimeError("from another node")

    inside = bases[11].clone()
    inside.set_model_output_block_patch(explode_inside)
    x, t, context = inputs(11)
    for base in (host.install(bases[11], Patches(noise=explode, wants_features=True)),
                 host.install(inside, Patches(noise=lambda eps, *_: eps, wants_features=True))):
        unet, options = host.trainable_unet(base)
        with pytest.raises(RuntimeError), torch.no_grad():
            unet(x, t, context=context, transformer_options=options)
        assert not unet.out._forward_pre_hooks


# ---- what is kept, what is not there -------------------------------------------------------------------------------------------


def test_the_encoders_last_blocks_are_not_there():
    module = PMJewelry(PMJewelryConfig(), Layers(blocks=MetaBlocks(), device="meta"))
    assert module.config.encoder_shape.in_channels == 4
    names = PMJewelry(PMJewelryConfig(encoder_input="stack"), Layers(blocks=MetaBlocks(), device="meta")).config.encoder_shape
    assert names.in_channels == 11


class MetaBlocks:
    """Stands for the host's blocks where only the shapes asked for matter."""

    @staticmethod
    def encoder(shape, layers, blocks, middle):
        assert (blocks, middle) == (9, False)
        return torch.nn.Identity()

    @staticmethod
    def spatial_transformer(channels, heads, context_dim, layers):
        return torch.nn.Identity()


def test_no_key_of_unread_blocks(bases):
    names = new(bases[4]).module.file_state()
    assert not [k for k in names if k.startswith(("encoder.net.middle_block", *(f"encoder.net.input_blocks.{i}." for i in (9, 10, 11))))]
    assert {k.split(".")[0] for k in names} == {"channels", "encoder", "warp", "mask_predictor", "scale_encoder", "predict_scale_bias"}


def counted_call(module, context, memo, timestep=400.0):
    x = torch.zeros(len(context), 11, 8, 8)
    rows = list(range(len(context)))
    return Call(x=x, timesteps=torch.full((len(context),), timestep), context=context, rows=rows, images=[0] * len(context),
                sigma=1.0, extras={}, attend=None, unet=None, memo=memo)


@pytest.mark.parametrize("prompts, expected", [((1.0, 1.0), 1), ((1.0, 2.0), 2)])
def test_the_encoder_runs_once_per_generation_and_prompt(bases, prompts, expected):
    from fitting_room.models.parts.patches import Memo

    module, calls, memo = new(bases[11], shadow=False).module, [], Memo()
    module.encoder.register_forward_hook(lambda *_: calls.append(1))
    latent = torch.randn(1, 4, 8, 8)
    context = torch.stack([torch.full((77, 64), p) for p in prompts])
    with torch.no_grad():
        for _ in range(3):  # three steps
            rows = module.cached_features("generation", latent, counted_call(module, context, memo))
            assert len(rows) == 9 and all(len(f) == 2 for f in rows)
    assert len(calls) == expected


def test_a_batch_of_pieces_meets_its_own_picture(bases):
    from fitting_room.models.parts.patches import Memo

    module = new(bases[11], shadow=False).module
    latent, context = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(0)), torch.ones(2, 77, 64)
    call = counted_call(module, context, Memo())
    call.images = [1, 0]
    with torch.no_grad():
        swapped = module.cached_features("generation", latent, call)
        for row, image in ((0, 1), (1, 0)):
            alone = module.reference_features(latent[image : image + 1], context[:1])
            assert all(close(f[row : row + 1], a) for f, a in zip(swapped, alone))


def test_scale_and_bias_are_computed_once_per_picture():
    from fitting_room.models.parts.patches import Memo

    module, calls = ShadowModule(UNetShape(4, 32, 64, 8), Layers()), []
    module.load_state_dict(initial_state(module.state_dict(), torch.Generator().manual_seed(0)))
    module.scale_encoder.register_forward_hook(lambda *_: calls.append(1))
    picture, memo = torch.rand(2, 5, 64, 64), Memo()
    picture[1] = picture[0]
    with torch.no_grad():
        for _ in range(2):
            Shadow(module)._scale_bias("generation", picture, counted_call(module, torch.zeros(2, 77, 64), memo))
    assert len(calls) == 1


# ---- training's side -----------------------------------------------------------------------------------------------------------


def test_gradient_reaches_the_mask_predictor_through_the_soft_mask_and_through_the_watched_one(bases):
    module = new(bases[11], encoder=False).module
    trainable = ShadowModule(module.config.unet, Layers())
    trainable.load_state_dict({k: v.clone() for k, v in module.shadow.state_dict().items()})
    rgb, mask, _ = pictures(8, 8)
    call = counted_call(module, torch.zeros(1, 77, 64), None)
    call.extras = {PICTURE: pack_picture(rgb, mask)}
    features = [torch.randn(1, m * 32, s, s) for m, s in zip((4, 4, 4, 4, 4, 4, 2, 2, 2, 1, 1, 1), (1, 1, 2, 2, 2, 4, 4, 4, 8, 8, 8, 8))]
    eps, call.probe = torch.randn(1, 4, 8, 8), ShadowWatch()
    for shadow, loss in (
        (Shadow(trainable, soft=True), lambda out: (out**2).mean()),
        (Shadow(trainable), lambda out: call.probe.seen["logits"].mean()),
    ):
        trainable.zero_grad()
        loss(shadow.change("generation", eps, features, call)).backward()
        assert all(p.grad is not None and p.grad.any() for p in trainable.mask_predictor.parameters())


def test_gradient_reaches_the_added_channels(bases):
    from fitting_room import host

    method = new(bases[4], shadow=False)
    trainable = PMJewelry(method.module.config, host.layers(training=True, dtype=torch.float32))
    trainable.load_state_dict({k: v.clone() for k, v in method.module.state_dict().items()})
    x, t, context = inputs(4)
    with torch.enable_grad():
        unet, options = host.trainable_unet(host.install(bases[4], Patches(entry=trainable.channels)))
        stack = pictures(16, 12)[2]
        (unet(x, t, context=context, transformer_options=options, **{f"fitting_room_extra_{STACK}": stack}) ** 2).mean().backward()
    assert trainable.channels.conv.weight.grad.any()


# ---- starting weights and files --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("channels", [4, 9, 11])
@pytest.mark.parametrize("mode", ["reference", "stack"])
def test_the_encoder_starts_as_the_bases_encoder(bases, channels, mode):
    from fitting_room import host

    state = host.new_method(PMJewelry, bases[channels], 0, {"encoder_input": mode, "shadow": False}).module.file_state()
    base = bases[channels].model.diffusion_model.state_dict()
    assert torch.equal(state["encoder.net.input_blocks.8.1.proj_in.weight"], base["input_blocks.8.1.proj_in.weight"])
    first = state["encoder.net.input_blocks.0.0.weight"]
    assert first.shape[1] == (4 if mode == "reference" else 11)
    assert torch.equal(first[:, :4], base["input_blocks.0.0.weight"][:, :4])
    assert not state["channels.conv.weight"].any() and not any(state[f"warp.{i}.zero.weight"].any() for i in range(9))


def test_names_go_to_the_file_and_back():
    for name in ("shadow.mask_predictor.conv_8.weight", "warp.3.zero.bias", "encoder.net.time_embed.0.weight", "channels.conv.weight"):
        assert PMJewelry.to_module(PMJewelry.to_file(name)) == name
    assert PMJewelry.to_file("shadow.predict_scale_bias.fc.weight") == "predict_scale_bias.fc.weight"


@pytest.mark.parametrize("options, word", [
    ({"maps": "rgb"}, "maps"), ({"encoder_input": "both"}, "encoder_input"), ({"encoder": False, "shadow": False}, "at least one"),
])
def test_wrong_options_are_refused(options, word):
    with pytest.raises(WeightsError, match=word):
        PMJewelryConfig(**options)


def test_parts_that_a_file_does_not_have_are_named(bases):
    with pytest.raises(ValueError, match="without the jewelry encoder"):
        new(bases[4], encoder=False).module.patches(torch.zeros(1, 4, 8, 8))
    with pytest.raises(ValueError, match="without the shadow module"):
        new(bases[4], shadow=False).module.shadow_at_work()


def test_a_conditioning_without_the_pictures_is_refused(bases):
    method, (x, t, context) = new(bases[11], encoder=False), inputs(11)
    with pytest.raises(ValueError, match="Jewelry Conditioning"):
        run(bases[11], [method.module.shadow_at_work().patches()], x, t, context)


def test_stack_mode_refuses_a_jewelry_latent_of_another_size(bases):
    method, (x, t, context) = new(bases[11], shadow=False, encoder_input="stack"), inputs(11)
    with pytest.raises(ValueError, match="encoded at 64 x 64 and 96 x 128 is sampled"):
        run(bases[11], [method.module.patches(torch.zeros(1, 4, 8, 8))], x, t, context)
