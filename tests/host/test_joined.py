"""Joined self-attention on the real host: rows, tiles, strengths, and nodes that tile, merge or replace the attention."""

import logging

import pytest
import torch
from fitting_room.models.parts.attention import attend
from fitting_room.models.parts.patches import Call, Joined, Memo, Patches
from fitting_room.models.parts.sites import SITES, Site, UNetShape

from ..support import close, prompts, sample

NARROW, SITE = UNetShape(4, 32, 64, 8), Site("input", 1)
pytestmark = pytest.mark.usefixtures("comfyui")


class Block(torch.nn.Module):
    """A self-attention's projections, as the host's layer has them."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.to_q, self.to_k, self.to_v = (torch.nn.Linear(32, 32, bias=False) for _ in range(3))
        self.to_out = torch.nn.Sequential(torch.nn.Linear(32, 32), torch.nn.Dropout(0.0))


def call(x, rows, images=None, memo=None):
    images = list(range(len(rows))) if images is None else images
    return Call(x, torch.zeros(len(x)), None, rows, images, None, {}, attend, None, memo)


def kernel(q, k, v):
    return attend(q, k, v, 8)


def joined(block, asked, x, tiles=1):
    from fitting_room.host.joined import attend_joined

    q, k, v = block.to_q(x), block.to_k(x), block.to_v(x)
    return attend_joined(kernel, block, asked, SITE, q.reshape(-1, q.shape[1] // tiles, 32), k, v).reshape(x.shape)


def one(tokens, scale=1.0):
    return Patches(joined_self={SITE: lambda call: Joined(tokens, scale)})


def expected(block, x, *references):
    con = torch.cat((*references, x), 1)
    return kernel(block.to_q(x), block.to_k(con), block.to_v(con))


@torch.no_grad()
def test_rows_that_see_other_references_are_kept_apart():
    """Row 0 sees nothing, row 1 sees A, row 2 sees A and B, row 3 sees B."""
    block, x = Block(), torch.randn(4, 6, 32)
    a, b = torch.randn(1, 3, 32), torch.randn(1, 5, 32)
    found = joined(block, [(one(a), call(x, [1, 2])), (one(b), call(x, [2, 3]))], x)
    for row, seen in enumerate(((), (a,), (a, b), (b,))):
        torch.testing.assert_close(found[row : row + 1], expected(block, x[row : row + 1], *seen), rtol=1e-5, atol=1e-6)


@torch.no_grad()
def test_a_reference_per_picture_follows_its_picture_in_any_row_order():
    block, x, a = Block(), torch.randn(4, 6, 32), torch.randn(2, 3, 32)
    found = joined(block, [(one(a), call(x, [0, 2], images=[1, 0]))], x)
    for row, seen in ((0, (a[1:],)), (1, ()), (2, (a[:1],)), (3, ())):
        torch.testing.assert_close(found[row : row + 1], expected(block, x[row : row + 1], *seen), rtol=1e-5, atol=1e-6)
    with pytest.raises(ValueError, match="3 pictures but the latent batch has 2"):
        joined(block, [(one(torch.randn(3, 3, 32)), call(x, [0, 2]))], x)


@torch.no_grad()
def test_tiles_see_the_whole_reference_and_their_own_keys_as_the_host_reads_them():
    block, x, a = Block(), torch.randn(2, 6, 32), torch.randn(1, 3, 32)
    found = joined(block, [(one(a), call(x, [1]))], x, tiles=2)
    tile = x.reshape(4, 3, 32)
    for number in range(4):
        part = expected(block, tile[number : number + 1], *((a,) if number >= 2 else ()))
        torch.testing.assert_close(found.reshape(4, 3, 32)[number : number + 1], part, rtol=1e-5, atol=1e-6)


@torch.no_grad()
@pytest.mark.parametrize("scale", [0.0, 0.25, 1.0, 2.0])
def test_scale_goes_from_without_to_with_in_a_straight_line(scale):
    block, x, a = Block(), torch.randn(1, 6, 32), torch.randn(1, 3, 32)
    without, whole = expected(block, x), expected(block, x, a)
    found = joined(block, [(one(a, scale), call(x, [0]))], x)
    torch.testing.assert_close(found, without + scale * (whole - without), rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_keys_are_made_once_per_generation_unless_the_weights_change():
    block, x, a, made = Block(), torch.randn(1, 6, 32), torch.randn(1, 3, 32), []
    patches = Patches(joined_self={SITE: lambda call: made.append(1) or Joined(a)})
    for memo, count in ((Memo(), 1), (Memo(weights_change=True), 3), (None, 3)):
        made.clear()
        for _ in range(3):
            joined(block, [(patches, call(x, [0], memo=memo))], x)
        assert len(made) == count


# ---- company: the same references inside the sampler -----------------------------------------------------------------------


@pytest.fixture(scope="module")
def stack(comfyui):
    from fitting_room.host import install
    from fitting_room.host.demo import demo_clip, demo_unet

    model, generator = demo_unet(), torch.Generator().manual_seed(5)
    tokens = {s: torch.randn(1, 9, NARROW.channels(s), generator=generator) for s in SITES}
    patches = Patches(joined_self={s: lambda call, s=s: Joined(tokens[s]) for s in SITES})
    texts = prompts(demo_clip())
    return model, lambda m: install(m, patches), lambda m: sample(m, *texts, steps=2)


def replaced(function, sites=SITES):
    def act(model):
        out = model.clone()
        for site in sites:
            out.set_model_attn1_replace(function, site.stage, site.block)
        return out

    return act


def plain(q, k, v, options):
    return attend(q, k, v, options["n_heads"])


def both_orders(stack, other):
    model, ours, run = stack
    return run(other(ours(model))), run(ours(other(model)))


def test_a_node_that_only_looks_on_leaves_the_reference_in(stack):
    """It computes the attention itself, as self-attention guidance does to read the weights."""
    model, ours, run = stack
    fitted = run(ours(model))
    assert not close(fitted, run(model), 1e-2)
    for found in both_orders(stack, replaced(plain)):
        assert close(found, fitted, 1e-4)


def test_a_node_that_changes_the_attention_on_purpose_keeps_its_result_and_the_log_says_so_once(stack, caplog):
    model, ours, run = stack
    halved = replaced(lambda q, k, v, options: plain(q, k, v, options) * 0.5, [Site("middle", 0)])
    caplog.set_level(logging.INFO)
    found = both_orders(stack, halved)
    assert close(*found, 1e-5) and not close(found[0], run(ours(model)), 1e-4)
    said = [r.getMessage() for r in caplog.records if "sees no reference" in r.getMessage()]
    assert len(said) == 2 and "middle_0" in said[0]  # two generations


def test_self_attention_guidance_of_scale_zero_changes_nothing(stack):
    from comfy_extras.nodes_sag import SelfAttentionGuidance

    model, ours, run = stack
    fitted = run(ours(model))
    for found in both_orders(stack, lambda m: SelfAttentionGuidance.execute(m, 0.0, 2.0)[0]):
        assert close(found, fitted, 1e-4)


@pytest.mark.parametrize("name", ["PAG", "SAG", "HyperTile", "ToMe", "HyperTile and ToMe"])
def test_the_order_beside_the_hosts_own_nodes_does_not_matter(stack, name):
    from comfy_extras import nodes_hypertile, nodes_pag, nodes_sag, nodes_tomesd

    def tome(m):
        cls = nodes_tomesd.TomePatchModel
        return (cls.execute(m, 0.3) if hasattr(cls, "execute") else cls().patch(m, 0.3))[0]

    def hypertile(m):  # tiles of 8 x 6 tokens: swap_size 1 leaves nothing to chance
        return nodes_hypertile.HyperTile.execute(m, 64, 1, 0, False)[0]

    others = {
        "PAG": lambda m: nodes_pag.PerturbedAttentionGuidance.execute(m, 3.0)[0], "ToMe": tome, "HyperTile": hypertile,
        "SAG": lambda m: nodes_sag.SelfAttentionGuidance.execute(m, 0.5, 2.0)[0], "HyperTile and ToMe": lambda m: tome(hypertile(m)),
    }
    model, ours, run = stack
    before, after = both_orders(stack, others[name])
    assert torch.isfinite(before).all() and close(before, after, 1e-3)
    assert not close(before, run(others[name](model)), 1e-2)
    assert not close(before, run(ours(model)), 1e-4)
