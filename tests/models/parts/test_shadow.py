"""The shadow module against a slow, literal version of SGDiffusion's layout and of PM-Jewelry's equation 5."""

import numpy as np
import pytest
import torch
from fitting_room.models.parts import shadow, shadow_nets
from fitting_room.models.parts.layers import Layers
from fitting_room.models.parts.sites import UNetShape
from torch.nn.functional import conv2d, conv_transpose2d

NARROW = UNetShape(model_channels=32, context_dim=64)
MULTIPLES = (4, 4, 4, 4, 4, 4, 2, 2, 2, 1, 1, 1)
LEVELS = (3, 3, 2, 2, 2, 1, 1, 1, 0, 0, 0, 0)


def decoder_sizes(h, w):
    """Sizes of the twelve decoder outputs: each of three downsamplings halves and rounds up, upsampling follows the skips."""
    sizes = [(h, w)]
    for _ in range(3):
        sizes.append(tuple((s + 1) // 2 for s in sizes[-1]))
    return [sizes[level] for level in LEVELS]


def features(h, w, rows=1, width=32, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(rows, m * width, *size, generator=generator) for m, size in zip(MULTIPLES, decoder_sizes(h, w))]


def module(shape=NARROW, seed=0):
    made = shadow_nets.ShadowModule(shape, Layers())
    made.load_state_dict(shadow_nets.initial_state(made.state_dict(), torch.Generator().manual_seed(seed)))
    return made


def corners_aligned(x, size):
    """Bilinear resizing by hand: output pixel i reads input position i * (in - 1) / (out - 1)."""
    out = x.detach().double().numpy()
    for axis, n in ((2, size[0]), (3, size[1])):
        m = out.shape[axis]
        place = np.arange(n) * (m - 1) / max(n - 1, 1)
        low = np.minimum(np.floor(place).astype(int), m - 1)
        high, part = np.minimum(low + 1, m - 1), place - low
        part = part.reshape([-1 if a == axis else 1 for a in range(4)])
        out = np.take(out, low, axis) * (1 - part) + np.take(out, high, axis) * part
    return torch.from_numpy(out)


def slow_mask(state, feats, mask):
    """The mask predictor as SGDiffusion lays it out, by released names, in float64."""
    state = {k: v.double() for k, v in state.items()}

    def conv(name, x, padding=0):
        return conv2d(x, state[f"{name}.weight"], state[f"{name}.bias"], padding=padding)

    def up(name, x, stride):
        return conv_transpose2d(x, state[f"{name}.weight"], state[f"{name}.bias"], stride=stride, padding=1)

    names = ["conv_8"] * 2 + ["conv_16"] * 3 + ["conv_32_1280"] + ["conv_32_640"] * 2
    size = feats[11].shape[2:]
    parts = [corners_aligned(conv(n, f.double()), size) for n, f in zip(names, feats)]
    x = torch.cat([*parts, *(f.double() for f in feats[8:]), corners_aligned(mask, size)], 1)
    x = conv("conv_combined", x, 1).clamp_min(0)
    x = up("deconv1", x, 2).clamp_min(0)
    x = up("deconv2", x, 2).clamp_min(0)
    x = up("deconv3", x, 1).clamp_min(0)
    return 1 / (1 + torch.exp(-up("deconv4", x, 2)))


def test_names_shapes_and_numbers_are_those_of_sgdiffusion():
    full = shadow_nets.ShadowModule(UNetShape(), Layers(device="meta"))
    shapes = {k: tuple(v.shape) for k, v in full.mask_predictor.state_dict().items()}
    assert shapes == {
        "conv_8.weight": (320, 1280, 1, 1), "conv_8.bias": (320,), "conv_16.weight": (320, 1280, 1, 1), "conv_16.bias": (320,),
        "conv_32_1280.weight": (320, 1280, 1, 1), "conv_32_1280.bias": (320,),
        "conv_32_640.weight": (320, 640, 1, 1), "conv_32_640.bias": (320,),
        "conv_combined.weight": (320, 4161, 3, 3), "conv_combined.bias": (320,),
        "deconv1.weight": (320, 320, 4, 4), "deconv1.bias": (320,), "deconv2.weight": (320, 320, 4, 4), "deconv2.bias": (320,),
        "deconv3.weight": (320, 320, 3, 3), "deconv3.bias": (320,), "deconv4.weight": (320, 1, 4, 4), "deconv4.bias": (1,),
    }
    assert sum(p.numel() for p in full.mask_predictor.parameters()) == 17_623_361
    assert {k: tuple(v.shape) for k, v in full.predict_scale_bias.state_dict().items()} == {
        "conv1.weight": (256, 512, 3, 3), "conv1.bias": (256,), "conv2.weight": (128, 256, 3, 3), "conv2.bias": (128,),
        "fc.weight": (8, 128), "fc.bias": (8,),
    }
    assert sum(p.numel() for p in full.predict_scale_bias.parameters()) == 1_475_976
    assert full.scale_encoder.bg_encoder_64[0].weight.shape == (64, 5, 7, 7)
    assert full.scale_encoder.bg_encoder_512[1].conv2.weight.shape == (512, 512, 3, 3)


@pytest.mark.parametrize("height, width", [(64, 64), (96, 72), (64, 48), (63, 47), (9, 13)])
def test_mask_of_every_latent_size(height, width):
    """512x512, 768x576, 512x384 pictures, and odd multiples of 8."""
    made, feats = module(), features(height, width)
    mask = torch.rand(1, 1, height * 8, width * 8, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        soft = made.mask_predictor(feats, mask)
        hard = shadow.hard_mask(soft, (height, width))
    assert soft.shape == (1, 1, 8 * height, 8 * width)
    assert hard.shape == (1, 1, height, width) and set(hard.unique().tolist()) <= {0.0, 1.0}
    if height * width < 1000:  # the slow one in float64
        expected = slow_mask(made.mask_predictor.state_dict(), feats, mask)
        assert (soft - expected).abs().max() < 1e-5
        assert torch.equal(hard.bool(), corners_aligned(soft, (height, width)) > 0.5)


def test_full_width_at_64x64_keeps_sgdiffusions_shapes():
    full = shadow_nets.ShadowModule(UNetShape(), Layers(device="meta"))
    feats = [torch.empty(1, m * 320, *s, device="meta") for m, s in zip(MULTIPLES, decoder_sizes(64, 64))]
    assert full.mask_predictor(feats, torch.empty(1, 1, 512, 512, device="meta")).shape == (1, 1, 512, 512)
    picture = torch.empty(2, 5, 512, 512, device="meta")
    assert full.scale_encoder(picture).shape == (2, 512, 32, 32)
    delta, bias = full.scale_bias(picture)
    assert delta.shape == bias.shape == (2, 4, 1, 1)


def test_every_feature_and_the_object_mask_are_read():
    made, feats, mask = module(), features(8, 8), torch.zeros(1, 1, 64, 64)
    with torch.no_grad():
        before = made.mask_predictor.logits(feats, mask)
        for i in range(12):
            other = [f + 1 if i == j else f for j, f in enumerate(feats)]
            assert not torch.equal(made.mask_predictor.logits(other, mask), before), i
        assert not torch.equal(made.mask_predictor.logits(feats, mask + 1), before)


def test_equation_5_number_by_number():
    generator = torch.Generator().manual_seed(3)
    eps = torch.randn(2, 4, 3, 2, generator=generator)
    mask = torch.rand(2, 1, 3, 2, generator=generator)
    s, b = 1 + torch.randn(2, 4, 1, 1, generator=generator), torch.randn(2, 4, 1, 1, generator=generator)
    for given in (mask, mask.round()):
        out = shadow.adjust(eps, given, s - 1, b)
        for r in range(2):
            for c in range(4):
                for y in range(3):
                    for x in range(2):
                        e, m = float(eps[r, c, y, x]), float(given[r, 0, y, x])
                        expected = (float(s[r, c]) * e + float(b[r, c])) * m + e * (1 - m)
                        assert abs(float(out[r, c, y, x]) - expected) < 1e-5


def test_the_identity_is_exact_for_a_soft_mask_too():
    eps, mask, zero = torch.randn(1, 4, 5, 5), torch.rand(1, 1, 5, 5), torch.zeros(1, 4, 1, 1)
    assert torch.equal(shadow.adjust(eps, mask, zero, zero), eps)


def test_untrained_scale_is_one_and_bias_zero():
    delta, bias = module().scale_bias(torch.rand(2, 5, 64, 48))
    assert not delta.any() and not bias.any()


def sgdiffusion_state(shapes, generator):
    """A state with SGDiffusion's names: each convolution of ours without its bias, and a batch normalisation after it."""
    state = {}
    for name in (k.removesuffix(".weight") for k in shapes if k.endswith(".weight")):
        conv, norm = name, name.replace("conv", "bn")
        if name.endswith("downsample"):
            conv, norm = f"{name}.0", f"{name}.1"
        elif name == "bg_encoder_64.0":
            norm = "bg_encoder_64.1"
        channels = shapes[f"{name}.weight"].shape[0]
        state[f"{conv}.weight"] = torch.randn(shapes[f"{name}.weight"].shape, generator=generator) * 0.1
        for key in ("weight", "bias", "running_mean", "running_var"):
            state[f"{norm}.{key}"] = torch.rand(channels, generator=generator) + 0.5
        state[f"{norm}.num_batches_tracked"] = torch.tensor(7)
    return state


def test_the_folded_encoder_is_sgdiffusions_resnet_in_evaluation_mode():
    made = module().scale_encoder
    generator = torch.Generator().manual_seed(5)
    state = sgdiffusion_state(made.state_dict(), generator)
    made.load_state_dict(shadow_nets.fold_norms(state))
    x = torch.rand(1, 5, 32, 48, generator=generator)

    def norm(x, name):
        layer = torch.nn.BatchNorm2d(x.shape[1]).eval()
        layer.load_state_dict({k.removeprefix(f"{name}."): v for k, v in state.items() if k.startswith(f"{name}.")})
        return layer(x)

    def block(x, name, stride):
        y = norm(conv2d(x, state[f"{name}.conv1.weight"], stride=stride, padding=1), f"{name}.bn1").relu()
        y = norm(conv2d(y, state[f"{name}.conv2.weight"], padding=1), f"{name}.bn2")
        if f"{name}.downsample.0.weight" in state:
            x = norm(conv2d(x, state[f"{name}.downsample.0.weight"], stride=stride), f"{name}.downsample.1")
        return (x + y).relu()

    with torch.no_grad():
        y = norm(conv2d(x, state["bg_encoder_64.0.weight"], stride=2, padding=3), "bg_encoder_64.1").relu()
        y = torch.nn.functional.max_pool2d(y, 3, 2, 1)
        for name, stride in (("bg_encoder_64_2.1", 1), ("bg_encoder_128", 2), ("bg_encoder_256", 2), ("bg_encoder_512", 1)):
            y = block(block(y, f"{name}.0", stride), f"{name}.1", 1)
        out = made(x)
    assert out.shape == (1, 64, 2, 3)
    assert torch.allclose(out, y, rtol=1e-4, atol=1e-4 * float(y.abs().max()))


def test_a_row_does_not_see_its_neighbours():
    made, pictures = module(), torch.rand(2, 5, 64, 64)
    with torch.no_grad():
        made.predict_scale_bias.fc.weight.normal_(generator=torch.Generator().manual_seed(0))
        made.train()
        both = torch.cat(made.scale_bias(pictures), 1)
        each = torch.cat([torch.cat(made.scale_bias(p[None]), 1) for p in pictures])
    assert torch.allclose(both, each, atol=1e-5)


def test_pack_is_lossless():
    rgb, mask, shadows = torch.rand(2, 3, 24, 16), torch.rand(2, 1, 24, 16), torch.rand(2, 1, 24, 16)
    packed = shadow.pack_picture(rgb, mask, shadows)
    assert packed.shape == (2, 320, 3, 2)
    assert torch.equal(shadow.unpack_picture(packed), torch.cat((rgb, mask, shadows), 1))
    assert not shadow.unpack_picture(shadow.pack_picture(rgb, mask))[:, 4].any()


def test_initial_state_depends_on_the_generator_only():
    names = shadow_nets.ShadowModule(NARROW, Layers(device="meta")).state_dict()
    torch.manual_seed(1)
    one = shadow_nets.initial_state(names, torch.Generator().manual_seed(7))
    torch.manual_seed(2)
    two = shadow_nets.initial_state(names, torch.Generator().manual_seed(7))
    assert one.keys() == names.keys() and all(torch.equal(one[k], two[k]) for k in one)
    assert all(one[k].shape == names[k].shape for k in one)
