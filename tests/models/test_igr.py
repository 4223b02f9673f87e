"""IGR against a literal version of its equations in float64, which shares no code with the production path."""

import copy
import math

import pytest
import torch
from fitting_room.models.igr import IGR, INDEX_OF, PROMPTS, IGRConfig
from fitting_room.models.parts.layers import Layers
from fitting_room.models.parts.reference import Reference
from fitting_room.models.parts.sites import SITES, Site, UNetShape
from fitting_room.models.parts.tokens import ImageTokens
from fitting_room.models.weights import WeightsError

from ..support import randomise

NARROW = UNetShape(4, 32, 64, 8)
LATENT = (16, 12)


def block(unet, site):
    path = site.ldm_path.split(".")
    for name in path:
        unet = unet[int(name)] if name.isdigit() else getattr(unet, name)
    return unet


def attention(q, k, v, heads):
    """Head by head, as on paper: Attn of [33]."""
    d, out = q.shape[-1] // heads, []
    for h in range(heads):
        part = slice(h * d, (h + 1) * d)
        out.append((q[..., part] @ k[..., part].transpose(-1, -2) / math.sqrt(d)).softmax(-1) @ v[..., part])
    return torch.cat(out, -1)


def side_by_side(attn, f_hl, f_g, size):
    """Eq. 4 to the letter: F_con in c x h x 2w, Q, K and V all from it, the latter half of the width kept."""
    (h, w), rows = size, f_g.shape[0]
    picture = [f.transpose(1, 2).reshape(rows, -1, h, w) for f in (f_hl.expand(rows, -1, -1), f_g)]
    f_con = torch.cat(picture, dim=3).flatten(2).transpose(1, 2)  # (B, h * 2w, c)
    out = attention(attn.to_q(f_con), attn.to_k(f_con), attn.to_v(f_con), attn.heads)
    return attn.to_out(out.reshape(rows, h, 2 * w, -1)[:, :, w:].reshape(rows, h * w, -1))


def with_tokens(attn, f_ref, f_g):
    """Eq. 4 for a reference of any size: queries of the picture, keys and values of both."""
    con = torch.cat((f_ref.expand(f_g.shape[0], -1, -1), f_g), 1)
    return attn.to_out(attention(attn.to_q(f_g), attn.to_k(con), attn.to_v(con), attn.heads))


def literal_unet(unet, self_attention=None, cross_attention=None):
    """A float64 copy whose attentions are written out, row by row.

    self_attention: (site, attn, row, x (1,N,C), size) -> (1,N,C) or None for the plain one; cross_attention: (site, attn,
    row, q (1,N,C)) -> a term beside the text's, before the output projection, or None.
    """
    net = copy.deepcopy(unet).double()
    net.dtype = torch.float64
    for site in SITES:
        attn1, attn2 = block(net, site).attn1, block(net, site).attn2
        size = tuple(-(-side // site.stride) for side in LATENT)

        def first(x, context=None, value=None, mask=None, transformer_options=None, site=site, attn=attn1, size=size):
            rows = []
            for row in range(x.shape[0]):
                one = x[row : row + 1]
                out = self_attention(site, attn, row, one, size) if self_attention else None
                rows.append(attn.to_out(attention(attn.to_q(one), attn.to_k(one), attn.to_v(one), attn.heads)) if out is None else out)
            return torch.cat(rows)

        def second(x, context=None, value=None, mask=None, transformer_options=None, site=site, attn=attn2):
            rows = []
            for row in range(x.shape[0]):
                q, c = attn.to_q(x[row : row + 1]), context[row : row + 1]
                out = attention(q, attn.to_k(c), attn.to_v(c), attn.heads)
                term = cross_attention(site, attn, row, q) if cross_attention else None
                rows.append(attn.to_out(out if term is None else out + term))
            return torch.cat(rows)

        attn1.forward, attn2.forward = first, second
    return net


class Setting:
    """A narrow base, an IGR whose every weight counts, captured features and tokens, and one noisy input."""

    def __init__(self, host, demo_unet):
        self.host, self.model = host, demo_unet()
        self.method = randomise(host.new_method(IGR, self.model, 0, {"clip_width": 48}), scale=0.5)
        self.state = self.method.module.file_state()
        g = torch.Generator().manual_seed(4)
        self.same = {s: torch.randn(1, math.prod(-(-side // s.stride) for side in LATENT), NARROW.channels(s), generator=g) for s in SITES}
        self.other = {s: torch.randn(1, 7, NARROW.channels(s), generator=g) for s in SITES}
        self.tokens = ImageTokens(torch.randn(1, 16, 64, generator=g), torch.randn(1, 16, 64, generator=g))
        self.x, self.context = torch.randn(2, 4, *LATENT, generator=g), torch.randn(2, 77, 64, generator=g)
        self.t = torch.tensor([500.0, 500.0])

    def run(self, patches, marks=((-1,), (1,))):
        """One forward of the host's U-Net; by default the unconditional row first, as the host stacks them."""
        unet, options = self.host.trainable_unet(self.host.install(self.model, patches, self.method.managed))
        return unet(self.x, self.t, context=self.context, transformer_options=options, fitting_room_rows=torch.tensor(marks))

    def literal(self, self_attention=None, cross_attention=None):
        unet = literal_unet(self.model.model.diffusion_model, self_attention, cross_attention)
        return unet(self.x.double(), self.t.double(), context=self.context.double()).float()

    def image_term(self, tokens, scale=1.0):
        """Eq. 3's second term with the file's own tensors, by their official numbers."""
        def term(site, attn, row, q):
            k, v = (tokens.double() @ self.state[f"ip_adapter.{NUMBERS[site]}.{n}.weight"].double().T for n in ("to_k_ip", "to_v_ip"))
            return scale * attention(q, k, v, attn.heads)

        return term


NUMBERS = dict(zip(
    [Site("input", i) for i in (1, 2, 4, 5, 7, 8)] + [Site("output", i) for i in range(3, 12)] + [Site("middle", 0)], range(1, 32, 2)
))
"""The table of the released files: 1, 3 are the first two; 31 is the middle block."""


@pytest.fixture(scope="module")
def setting(comfyui):
    from fitting_room import host
    from fitting_room.host.demo import demo_unet

    return Setting(host, demo_unet)


def agree(found, expected, tolerance=1e-4):
    torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance * float(expected.abs().max()))


# ---- the equations -------------------------------------------------------------------------------------------------------


@torch.no_grad()
def test_a_step_equals_equation_four_with_the_latter_half_of_the_width_kept(setting):
    s = setting
    found = s.run(s.method.module.patches([Reference("igr", "upper", s.same, (128, 96))]))
    expected = s.literal(lambda site, attn, row, x, size: side_by_side(attn, s.same[site].double(), x, size) if row == 1 else None)
    agree(found, expected)
    plain = s.literal()
    agree(found[0], plain[0])
    assert (found[1] - plain[1]).abs().max() > 0.05 * plain.abs().max()


@torch.no_grad()
def test_a_reference_of_another_size_shares_the_same_softmax(setting):
    s = setting
    found = s.run(s.method.module.patches([Reference("igr", "upper", s.other, (64, 64))]))
    agree(found, s.literal(lambda site, attn, row, x, size: with_tokens(attn, s.other[site].double(), x) if row == 1 else None))


@torch.no_grad()
def test_the_kept_half_is_of_the_width_and_not_of_the_flat_tokens(setting):
    """Width halves interleave row by row: keeping the last half of the flattened tokens would be another picture."""
    s, site = setting, SITES[0]
    attn = copy.deepcopy(block(s.model.model.diffusion_model, site).attn1).double()
    x, f, (h, w) = torch.randn(1, 192, 32, dtype=torch.float64), s.same[site].double(), LATENT
    kept = side_by_side(attn, f, x, (h, w))
    pictures = torch.cat([t.transpose(1, 2).reshape(1, -1, h, w) for t in (f, x)], dim=3)
    flat = pictures.flatten(2).transpose(1, 2)
    wrong = attn.to_out(attention(attn.to_q(flat), attn.to_k(flat), attn.to_v(flat), attn.heads))[:, h * w :]
    torch.testing.assert_close(kept, with_tokens(attn, f, x), rtol=1e-12, atol=1e-12)
    assert (kept - wrong).abs().max() > 0.1


@torch.no_grad()
def test_a_step_equals_equation_three_at_all_sixteen_sites(setting):
    s = setting
    found = s.run(s.method.module.patches(tokens=s.tokens, token_strength=0.7), marks=((1,), (2,)))
    agree(found, s.literal(cross_attention=s.image_term(s.tokens.tokens, 0.7)))


@torch.no_grad()
def test_both_paths_together_and_the_null_of_the_unconditional_row(setting):
    s = setting
    conditional, null = s.image_term(s.tokens.tokens), s.image_term(s.tokens.null)
    found = s.run(s.method.module.patches([Reference("igr", "upper", s.other, (64, 64))], s.tokens))
    agree(found, s.literal(
        lambda site, attn, row, x, size: with_tokens(attn, s.other[site].double(), x) if row == 1 else None,
        lambda site, attn, row, q: (conditional if row == 1 else null)(site, attn, row, q),
    ))


@torch.no_grad()
@pytest.mark.parametrize("tokens, reference", [("none", "none"), ("null", "none"), ("none", "zero"), ("null", "zero")])
def test_the_unconditional_row_follows_what_the_file_was_trained_with(setting, tokens, reference):
    s = setting
    module = IGR(IGRConfig(NARROW, clip_width=48, uncond_tokens=tokens, uncond_reference=reference), Layers())
    module.load_state_dict(s.method.module.state_dict())
    found = s.run(module.patches([Reference("igr", "upper", s.other, (64, 64))], s.tokens))[0]
    null = s.image_term(s.tokens.null) if tokens == "null" else None
    zeros = (lambda site, attn, row, x, size: with_tokens(attn, torch.zeros_like(s.other[site]).double(), x)) if reference == "zero" else None
    agree(found, s.literal(zeros, null)[0])


@torch.no_grad()
def test_two_references_lie_side_by_side_in_one_softmax(setting):
    s = setting
    found = s.run(s.method.module.patches([Reference("igr", k, f, (64, 64)) for k, f in (("upper", s.other), ("lower", s.same))]))
    both = {site: torch.cat((s.other[site], s.same[site]), 1).double() for site in SITES}
    agree(found[1], s.literal(lambda site, attn, row, x, size: with_tokens(attn, both[site], x) if row == 1 else None)[1])


@torch.no_grad()
def test_half_strength_is_halfway_between_without_and_with(setting):
    s = setting
    found = s.run(s.method.module.patches([Reference("igr", "upper", s.other, (64, 64))], strength=0.5))

    def halfway(site, attn, row, x, size):
        own = attn.to_out(attention(attn.to_q(x), attn.to_k(x), attn.to_v(x), attn.heads))
        return (own + with_tokens(attn, s.other[site].double(), x)) / 2 if row == 1 else None

    agree(found, s.literal(halfway))


# ---- GarmNet -------------------------------------------------------------------------------------------------------------


@torch.no_grad()
def test_capture_equals_a_literal_garmnet_at_time_zero_with_its_prompt(setting):
    s, g = setting, torch.Generator().manual_seed(6)
    garmnet, features = s.method.unets["garmnet"], {}
    latent, mask, text = torch.randn(1, 4, 12, 8, generator=g), torch.zeros(1, 1, 96, 64), torch.randn(1, 77, 64, generator=g)
    mask[..., 40:, 8:32] = 1.0
    weight = garmnet.model.diffusion_model.input_blocks[0][0].weight
    weight.data[:, 4:] = torch.randn(weight.shape[0], 1, 3, 3, generator=g)  # as training would leave it: the mask counts
    seen = IGR.garmnet_input(latent, mask)
    assert seen.shape == (1, 5, 12, 8) and seen[0, 4, 5, 1] == 1 and seen[0, 4, 4, 1] == 0 and seen[0, 4, 5, 4] == 0
    net = literal_unet(garmnet.model.diffusion_model)
    for site in SITES:
        block(net, site).norm1.register_forward_hook(lambda _, __, out, site=site: features.update({site: out.float()}))
    net(seen.double(), torch.zeros(1, dtype=torch.float64), context=text.double())
    found = s.host.capture(garmnet, seen, text, cross_attention=True)
    assert list(found) == list(SITES)
    for site in SITES:
        agree(found[site], features[site])
    weight.data[:, 4:] = 0


@torch.no_grad()
def test_an_untrained_garmnet_is_the_base_and_does_not_see_the_mask(setting):
    s = setting
    latent, text = torch.randn(1, 4, 12, 8), torch.randn(1, 77, 64)
    base = s.host.capture(s.model, latent, text, cross_attention=True)
    for value in (0.0, 1.0):
        found = s.host.capture(s.method.unets["garmnet"], IGR.garmnet_input(latent, torch.full((1, 1, 96, 64), value)), text, cross_attention=True)
        assert all(torch.equal(found[site], base[site]) for site in SITES)


def test_features_of_a_full_picture_stay_below_72_megabytes_in_half_precision():
    wide = UNetShape()
    tokens = {site: math.prod(side // 8 // site.stride for side in (1024, 768)) for site in SITES}
    assert sum(2 * n * wide.channels(site) for site, n in tokens.items()) / 1e6 == pytest.approx(69.3, abs=0.1)


# ---- untrained, files, configuration ---------------------------------------------------------------------------------------


@torch.no_grad()
def test_an_untrained_token_path_that_starts_at_zero_changes_nothing(setting):
    s = setting
    method = s.host.new_method(IGR, s.model, 0, {"clip_width": 48, "start": "zero"})
    plain = s.run(s.method.module.patches())
    assert torch.equal(s.run(method.module.patches(tokens=s.tokens)), plain)
    assert not torch.equal(s.run(s.host.new_method(IGR, s.model, 0, {"clip_width": 48}).module.patches(tokens=s.tokens)), plain)


@pytest.mark.parametrize("options, tensors, parameters", [
    (("base", 1024), 36, 22_319_616), (("plus", 1280), 83, 49_087_488), (("full-face", 1280), 38, 21_794_304),
])
def test_full_width_has_the_tensors_and_parameters_of_the_released_adapters(options, tensors, parameters):
    adapter, width = options
    state = IGR(IGRConfig(adapter=adapter), Layers(device="meta")).state_dict()
    assert IGRConfig(adapter=adapter).clip_width == width
    assert (len(state), sum(t.numel() for t in state.values())) == (tensors, parameters)


def test_numbers_follow_diffusers_order_with_the_middle_last():
    assert INDEX_OF == NUMBERS
    state = IGR(IGRConfig(), Layers(device="meta")).state_dict()
    widths = {n: state[f"ip_adapter.{n}.to_k_ip.weight"].shape[0] for n in (1, 5, 9, 13, 19, 25, 31)}
    assert widths == {1: 320, 5: 640, 9: 1280, 13: 1280, 19: 640, 25: 320, 31: 1280}


def test_a_file_without_its_garmnet_is_refused_unless_it_says_so(setting):
    from fitting_room.models.weights import Header

    s = setting
    own = {k: v.clone() for k, v in s.state.items()}
    whole, alone = (IGRConfig(NARROW, clip_width=48, garmnet=g) for g in (True, False))
    with pytest.raises(WeightsError, match="lacks the weights of garmnet"):
        s.host.build_method(IGR, Header("igr", whole.to_dict()), own, "half.safetensors")
    assert s.host.build_method(IGR, Header("igr", alone.to_dict()), own, "adapter.safetensors").unets == {}


def test_a_file_may_bring_its_denoiser(setting):
    from fitting_room.host import file_tensors

    s = setting
    tensors = file_tensors(s.method)
    tensors |= {k.replace("garmnet.", "denoiser."): t for k, t in tensors.items() if k.startswith("garmnet.")}
    tensors["denoiser.input_blocks.0.0.weight"] = tensors["denoiser.input_blocks.0.0.weight"][:, :4]
    method = s.host.build_method(IGR, s.method.header, tensors, "trained.safetensors")
    assert {k: u.model.diffusion_model.in_channels for k, u in method.unets.items()} == {"garmnet": 5, "denoiser": 4}


@pytest.mark.parametrize("options, words", [
    ({"adapter": "faceid"}, "plus, base, full-face, none"), ({"garmnet_timestep": "current"}, "zero"), ({"tap": "before"}, "norm1"),
    ({"uncond_tokens": "zeros"}, "null, none"), ({"crop_fill": "red"}, "grey, black, white"), ({"prompts": ("a", "b")}, "three texts"),
    ({"crop_margin": -1.0}, "from 0 to 1"),
])
def test_a_wrong_configuration_is_refused(options, words):
    with pytest.raises(WeightsError, match=words):
        IGRConfig(NARROW, **options)


def test_category_prompts_are_the_files_own():
    assert [IGRConfig().prompt(c) for c in ("upper", "lower", "full")] == list(PROMPTS)
    assert IGRConfig(prompts=("oben", "unten", "ganz")).prompt("lower") == "unten"
    with pytest.raises(ValueError, match="upper, lower, full"):
        IGRConfig().prompt("hat")
    again = IGRConfig.from_dict(IGRConfig(prompts=("oben", "unten", "ganz")).to_dict())
    assert again == IGRConfig(prompts=("oben", "unten", "ganz"))


def test_bad_features_and_tokens_get_one_sentence(setting):
    s = setting
    module = s.method.module
    wide = {site: torch.randn(1, 4, 2 * NARROW.channels(site)) for site in SITES}
    batch = {site: f.expand(2, -1, -1) for site, f in s.same.items()}
    triple = {site: f.expand(3, -1, -1) for site, f in s.same.items()}
    for references, tokens, words in [
        ([wide], None, "another width"), ([batch, triple], None, "do not broadcast"), ([], ImageTokens(torch.zeros(1, 4, 768), torch.zeros(1, 4, 768)), "768 wide"),
    ]:
        with pytest.raises(ValueError, match=words):
            module.patches([Reference("igr", "upper", f, (0, 0)) for f in references], tokens)
    with pytest.raises(ValueError, match="different strengths"):
        module.patches([Reference("igr", "upper", s.same, (0, 0), strength) for strength in (1.0, 0.5)])
    with pytest.raises(ValueError, match="no low-level path"):
        IGR(IGRConfig(NARROW, "none"), Layers()).patches(tokens=s.tokens)
