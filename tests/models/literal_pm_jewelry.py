"""PM-Jewelry's equations written out layer by layer, by the names of the weights files; nothing of the pack is used."""

import copy
import math

import torch
from torch.nn.functional import conv2d, gelu, group_norm, layer_norm

HEADS = 8
SKIPS = (4,) * 5 + (2,) * 3 + (1,) * 4  # width of the skip at output block 0..11, in model channels


def linear(x, state, name):
    bias = state.get(f"{name}.bias")
    return x @ state[f"{name}.weight"].T + (0 if bias is None else bias)


def attention(q, k, v):
    d, out = q.shape[-1] // HEADS, []
    for h in range(HEADS):
        part = slice(h * d, (h + 1) * d)
        out.append((q[..., part] @ k[..., part].transpose(1, 2) / math.sqrt(d)).softmax(-1) @ v[..., part])
    return torch.cat(out, -1)


def zero_cross_attention(state, number, h, feature, strength):
    """h + s * zero(transformer(h, tokens of the feature map)), layer by layer."""
    name = f"warp.{number}.block"
    inner = f"{name}.transformer_blocks.0"

    def norm(x, which):
        return layer_norm(x, x.shape[-1:], state[f"{inner}.{which}.weight"], state[f"{inner}.{which}.bias"])

    def attend(which, x, source):
        q, k, v = (linear(y, state, f"{inner}.{which}.{p}") for y, p in ((x, "to_q"), (source, "to_k"), (source, "to_v")))
        return linear(attention(q, k, v), state, f"{inner}.{which}.to_out.0")

    x = group_norm(h, 32, state[f"{name}.norm.weight"], state[f"{name}.norm.bias"], 1e-6)
    x = conv2d(x, state[f"{name}.proj_in.weight"], state[f"{name}.proj_in.bias"])
    x = x.flatten(2).transpose(1, 2)
    tokens = feature.flatten(2).transpose(1, 2)
    x = x + attend("attn1", norm(x, "norm1"), norm(x, "norm1"))
    x = x + attend("attn2", norm(x, "norm2"), tokens)
    value, gate = linear(norm(x, "norm3"), state, f"{inner}.ff.net.0.proj").chunk(2, -1)
    x = x + linear(value * gelu(gate), state, f"{inner}.ff.net.2")
    x = x.transpose(1, 2).reshape(h.shape)
    x = h + conv2d(x, state[f"{name}.proj_out.weight"], state[f"{name}.proj_out.bias"])
    return h + strength * conv2d(x, state[f"warp.{number}.zero.weight"], state[f"warp.{number}.zero.bias"])


def encoder_features(unet, state, x, t, context, hint=None):
    """The encoder as a whole U-Net whose encoder has the method's weights; outputs of input blocks 0-8."""
    net, features = copy.deepcopy(unet), {}
    weights = {k.removeprefix("encoder.net."): v for k, v in state.items() if k.startswith("encoder.net.")}
    first = weights["input_blocks.0.0.weight"]
    net.input_blocks[0][0] = torch.nn.Conv2d(first.shape[1], first.shape[0], 3, padding=1)
    missing, surplus = net.load_state_dict(weights, strict=False)
    assert not surplus
    added = None if hint is None else conv2d(hint, state["encoder.hint.weight"], state["encoder.hint.bias"], padding=1)
    if added is not None:
        net.input_blocks[0][0].register_forward_hook(lambda _, __, out: out + added)
    for j in range(9):
        net.input_blocks[j][-1].register_forward_hook(lambda _, __, out, j=j: features.update({j: out.detach()}))
    net(x, t, context=context)
    return features


def denoise(unet, state, features, strength, x, t, context, conditional):
    """The U-Net with a zero cross-attention on h before output blocks 3-11; also the outputs of its twelve output blocks."""
    net, outputs = copy.deepcopy(unet), {}
    for i in range(3, 12):
        width = net.output_blocks[i][0].in_layers[0].num_channels - SKIPS[i] * net.model_channels

        def before(_, args, i=i, width=width):
            joined = args[0].clone()
            h = joined[:, :width]
            for row in conditional:
                h[row : row + 1] = zero_cross_attention(state, i - 3, h[row : row + 1].clone(), features[11 - i], strength)
            return (joined, *args[1:])

        net.output_blocks[i][0].register_forward_pre_hook(before)
    for i in range(12):
        net.output_blocks[i][-1].register_forward_hook(lambda _, __, out, i=i: outputs.update({i: out.detach()}))
    return net(x, t, context=context), [outputs[i] for i in range(12)]


def scale_and_bias(state, picture):
    """ResNet-18 with folded norms, two convolutions, the average and a linear layer, by released names."""

    def conv(x, name, stride=1):
        weight = state[f"{name}.weight"]
        return conv2d(x, weight, state[f"{name}.bias"], stride=stride, padding=weight.shape[-1] // 2)

    x = conv(picture, "scale_encoder.bg_encoder_64.0", 2).clamp_min(0)
    x = torch.nn.functional.max_pool2d(x, 3, 2, 1)
    for name, stride in (("bg_encoder_64_2.1", 1), ("bg_encoder_128", 2), ("bg_encoder_256", 2), ("bg_encoder_512", 1)):
        for part, step in ((f"scale_encoder.{name}.0", stride), (f"scale_encoder.{name}.1", 1)):
            y = conv(conv(x, f"{part}.conv1", step).clamp_min(0), f"{part}.conv2")
            x = (y + (conv(x, f"{part}.downsample", step) if f"{part}.downsample.weight" in state else x)).clamp_min(0)
    x = conv(conv(x, "predict_scale_bias.conv1"), "predict_scale_bias.conv2").mean((2, 3))
    numbers = linear(x, state, "predict_scale_bias.fc")
    return 1 + numbers[:, :4], numbers[:, 4:]
