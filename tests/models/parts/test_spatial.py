"""The spatial encoder and the zero cross-attentions: against the U-Net itself and against an obvious attention."""

import pytest
import torch

from fitting_room.models.parts.sites import UNetShape
from fitting_room.models.parts.spatial import READ_BLOCKS, SpatialEncoder, ZeroCrossAttention, ZeroCrossAttentions

SHAPE = UNetShape(13, 32, 64, 8)


def layers():
    from fitting_room import host

    return host.layers(dtype=torch.float32, device="cpu")


def demo_unet():
    from fitting_room.host import demo

    return demo.demo_unet(SHAPE)


def encoder_of(unet, blocks, middle, hint_channels=0):
    encoder = SpatialEncoder(SHAPE, layers(), blocks, middle, hint_channels)
    state = {k: unet.state_dict()[k] for k in unet.state_dict() if k.startswith(tuple(SpatialEncoder.names(blocks, middle)))}
    state = {f"net.{k}": t for k, t in state.items()}
    if hint_channels:
        state |= {"hint.weight": torch.zeros(32, hint_channels, 3, 3), "hint.bias": torch.zeros(32)}
    encoder.load_state_dict(state)
    return encoder


@pytest.mark.parametrize("tokens", [1, 7])
def test_a_copy_gives_the_skips_of_the_unet(comfyui, tokens):
    """A copy's twelve blocks and middle give what the U-Net's own decoder receives, also where one token is shortcut."""
    unet, seen = demo_unet().model.diffusion_model, []
    x, t, context = torch.randn(2, 13, 16, 16), torch.tensor([3.0, 801.0]), torch.randn(2, tokens, 64)
    options = {"patches": {"output_block_patch": [lambda h, skip, o: (seen.append((h, skip)), (h, skip))[1]]}}
    with torch.inference_mode():
        unet(x, t, context=context, transformer_options=options)
        features = encoder_of(unet, 12, True)(x, t, context)
    assert len(features) == 13
    for i, (_, skip) in enumerate(seen):
        torch.testing.assert_close(features[11 - i], skip, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(features[12], seen[0][0], atol=1e-5, rtol=1e-5)


def test_what_nobody_reads_is_not_there(comfyui):
    encoder = SpatialEncoder(SHAPE, layers(), READ_BLOCKS, False, 4)
    names = {n.split(".")[2] for n in encoder.state_dict() if n.startswith("net.input_blocks")}
    assert names == {str(i) for i in range(9)}
    assert not any("middle_block" in n or "output_blocks" in n or ".out." in n for n in encoder.state_dict())


def test_full_size_counts(comfyui):
    """174 of the 349 million parameters of the released encoder are never read (StableVITON at full width)."""
    from fitting_room import host

    meta = host.layers(training=True, device="meta")
    full, count = UNetShape(13), lambda m: sum(p.numel() for p in m.parameters())
    whole, needed = SpatialEncoder(full, meta, 12, True, 4), SpatialEncoder(full, meta, 9, False, 4)
    assert round(count(whole) / 1e6, 1) == 348.8
    assert round((count(whole) - count(needed)) / 1e6, 1) == 174.1
    blocks = ZeroCrossAttentions(full, meta)
    assert round(sum(count(b.block) for b in blocks) / 1e6, 1) == 171.8 and round(sum(count(b.zero) for b in blocks) / 1e6, 1) == 8.0


def test_the_hint_joins_after_the_first_block(comfyui):
    unet = demo_unet().model.diffusion_model
    encoder, hint = encoder_of(unet, 1, False, 4), torch.randn(1, 4, 8, 8)
    encoder.hint.weight.data.normal_()
    x, t, context = torch.randn(1, 13, 8, 8), torch.tensor([5.0]), torch.randn(1, 1, 64)
    with torch.inference_mode():
        [got] = encoder(x, t, context, hint)
        expected = unet.input_blocks[0][0](x) + torch.nn.functional.conv2d(hint, encoder.hint.weight, encoder.hint.bias, padding=1)
    torch.testing.assert_close(got, expected, atol=1e-6, rtol=1e-6)


def initial_block(zero):
    block = ZeroCrossAttention(32, 64, 8, layers())
    state = ZeroCrossAttention.initial(32, 64, torch.Generator().manual_seed(0))
    block.load_state_dict(state)
    if not zero:
        torch.nn.init.normal_(block.zero.weight, std=0.2)
    return block


def test_untrained_is_the_identity_bit_for_bit(comfyui):
    h = torch.randn(2, 32, 4, 3)
    with torch.inference_mode():
        assert torch.equal(initial_block(zero=True)(h, torch.randn(2, 64, 4, 3)), h)
        assert torch.equal(initial_block(zero=False)(h, torch.randn(2, 64, 4, 3), strength=0.0), h)


def by_hand(s, h, feature, heads):
    """The block of specification 1.2 with explicit softmax, from its state dict."""
    import torch.nn.functional as F

    def linear(x, name):
        return F.linear(x, s[f"{name}.weight"], s.get(f"{name}.bias"))

    def norm(x, name):
        return F.layer_norm(x, x.shape[-1:], s[f"{name}.weight"], s[f"{name}.bias"])

    def attention(q, context, name):
        q, k, v = linear(q, f"{name}.to_q"), linear(context, f"{name}.to_k"), linear(context, f"{name}.to_v")
        out, d = torch.zeros_like(q), q.shape[-1] // heads
        for i in range(heads):
            mine = slice(i * d, (i + 1) * d)
            out[..., mine] = ((q[..., mine] @ k[..., mine].mT) / d**0.5).softmax(-1) @ v[..., mine]
        return linear(out, f"{name}.to_out.0")

    t, tokens = "block.transformer_blocks.0", feature.flatten(2).mT
    x = F.group_norm(h, 32, s["block.norm.weight"], s["block.norm.bias"], 1e-6)
    x = F.conv2d(x, s["block.proj_in.weight"], s["block.proj_in.bias"]).flatten(2).mT
    n = norm(x, f"{t}.norm1")
    x = x + attention(n, n, f"{t}.attn1")
    x = x + attention(norm(x, f"{t}.norm2"), tokens, f"{t}.attn2")
    a, gate = linear(norm(x, f"{t}.norm3"), f"{t}.ff.net.0.proj").chunk(2, -1)
    x = x + linear(a * F.gelu(gate), f"{t}.ff.net.2")
    x = F.conv2d(x.mT.unflatten(2, h.shape[-2:]), s["block.proj_out.weight"], s["block.proj_out.bias"]) + h
    return h + F.conv2d(x, s["zero.weight"], s["zero.bias"])


def test_against_the_equation(comfyui):
    block, h, feature = initial_block(zero=False), torch.randn(2, 32, 4, 3), torch.randn(2, 64, 6, 5)
    with torch.inference_mode():
        torch.testing.assert_close(block(h, feature), by_hand(block.state_dict(), h, feature, 8), atol=1e-4, rtol=1e-4)


def test_watching_changes_nothing_and_sees_the_cross_attention(comfyui):
    block, h, feature, seen = initial_block(zero=False), torch.randn(2, 32, 4, 3), torch.randn(2, 64, 6, 5), []
    with torch.inference_mode():
        plain = block(h, feature)
        assert torch.equal(block(h, feature, observe=lambda q, k, heads: seen.append((q.shape, k.shape, heads))), plain)
    assert seen == [((2, 12, 32), (2, 30, 32), 8)]


def test_the_module_list_fits_the_unet(comfyui):
    generator = torch.Generator().manual_seed(0)
    blocks = ZeroCrossAttentions(SHAPE, layers())
    blocks.load_state_dict(ZeroCrossAttentions.initial(SHAPE, generator, ""))
    widths = [(b.zero.in_channels, b.block.transformer_blocks[0].attn2.to_k.in_features) for b in blocks]
    # the released widths at a tenth
    assert widths == [(128, 128), (128, 128), (128, 64), (128, 64), (64, 64), (64, 32), (64, 32), (32, 32), (32, 32)]
