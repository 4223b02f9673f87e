"""The parts of the stack are, in the host, what was trained."""

import numpy as np
import pytest
import torch


def net(seed=0):
    from fitting_room.training.stack.autoencoder import Autoencoder

    torch.manual_seed(seed)
    made = Autoencoder()
    made.train()
    for _ in range(3):  # the norm's running statistics are not those of a fresh net
        made.encode(torch.rand(2, 3, 64, 64))
    return made.eval()


def test_padding_the_autoencoder_changes_nothing_in_the_host(comfyui):
    import comfy.sd
    from fitting_room.host import encode_latent

    narrow, picture = net(), torch.rand(1, 64, 48, 3)
    wide = comfy.sd.VAE(sd=narrow.export())
    with torch.no_grad():
        latent = narrow.encode(picture.movedim(-1, 1))
        drawn = narrow.decode(latent).clamp(0, 1).movedim(1, -1)
    assert torch.allclose(encode_latent(wide, picture), latent, atol=1e-4)
    assert torch.allclose(wide.decode(latent / 0.18215), drawn, atol=1e-4)


def test_an_autoencoder_is_taken_up_again_from_what_was_exported(comfyui):
    from fitting_room.training.stack.autoencoder import Autoencoder

    one, picture = net(), torch.rand(1, 3, 64, 48)
    other = Autoencoder().eval().take(one.export())
    with torch.no_grad():
        assert torch.allclose(other.encode(picture), one.encode(picture), atol=1e-4)
        assert torch.allclose(other.decode(one.encode(picture)), one.decode(one.encode(picture)), atol=1e-5)


def test_the_small_denoiser_can_say_a_mean(comfyui):
    """A narrow U-Net whose last norm took every channel's mean would give the same mean whatever it is shown."""
    from dataclasses import replace

    from fitting_room import host

    model = host.demo_unet(replace(host.DEMO_SHAPE, in_channels=4), 0)
    unet = host.Studio(model, None).base()
    assert unet.out[0].num_groups == model.model.diffusion_model.out[0].num_groups == 4
    x, tokens = torch.randn(1, 4, 16, 12), torch.zeros(1, 8, 64)
    with torch.inference_mode(False), torch.no_grad():
        brighter = unet(x + 1, torch.tensor([900.0]), tokens).mean((2, 3)) - unet(x, torch.tensor([900.0]), tokens).mean((2, 3))
        unet.out[0].num_groups = 32
        same = unet(x + 1, torch.tensor([900.0]), tokens).mean((2, 3)) - unet(x, torch.tensor([900.0]), tokens).mean((2, 3))
    assert brighter.abs().mean() > 3 * same.abs().mean()


def test_the_text_encoder_says_the_same_in_the_host(comfyui):
    from fitting_room.host import encode_text, token_ids
    from fitting_room.host.demo import _whole_table, demo_clip
    from fitting_room.training.stack.text import TOKENS, TextEncoder, used_tokens

    torch.manual_seed(0)
    texts = ["a person in a red shirt", ""]
    ids = torch.tensor(token_ids(texts, TOKENS))
    encoder = TextEncoder(used_tokens(ids)).eval()
    clip = demo_clip(state=_whole_table(encoder.export()))
    for text, row in zip(texts, encoder(encoder.index(ids))):
        assert torch.allclose(encode_text(clip, text)[0][0][0], row, atol=5e-3)  # the host keeps this encoder in fp16
    assert encode_text(clip, "words nobody taught it")[0][0].isfinite().all()


def test_what_was_trained_can_be_taken_up_again():
    from fitting_room.training.stack.text import TextEncoder, start_from

    torch.manual_seed(0)
    one, other, rows = TextEncoder(torch.arange(5)), TextEncoder(torch.arange(5)), torch.tensor([[0, 3, 4]])
    start_from(other, one.export())
    assert torch.equal(one(rows), other(rows))


def test_new_words_start_as_the_mean_of_the_known():
    from fitting_room.training.stack.text import TextEncoder, start_from

    torch.manual_seed(0)
    one, other = TextEncoder(torch.arange(5)), TextEncoder(torch.tensor([3, 4, 9]))
    start_from(other, one.export())
    assert torch.equal(other.table.weight[:2], one.table.weight[3:]) and other.used.tolist() == [3, 4, 9]
    assert torch.allclose(other.table.weight[2], one.table.weight.mean(0))


def test_later_words_do_not_change_earlier_tokens():
    from fitting_room.training.stack.text import TextEncoder

    torch.manual_seed(0)
    encoder = TextEncoder(torch.arange(9))
    short, long = encoder(torch.tensor([[1, 2, 3]])), encoder(torch.tensor([[1, 2, 3, 7, 8]]))
    assert torch.allclose(short, long[:, :3], atol=1e-6)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    from fitting_room.training.stack import pictures

    return pictures.draw(tmp_path_factory.mktemp("drawn"), {"person": 4, "jewelry": 2, "insertion": 2}, seed=5, say=lambda _: None)


def test_samples_are_those_of_the_world(drawn):
    from fitting_room.data.synthetic import World

    sample = World("person", (128, 96), 5, 4)[1]
    row = [i for i, k in enumerate(drawn.kind) if k == "person"][1]
    assert drawn.captions[row] == sample.caption
    assert np.array_equal(drawn.image[row], np.rint(sample.image.clip(0, 1) * 255).astype(np.uint8))
    worn = next(iter(sample.garments.values()))
    assert np.array_equal(drawn.mask[row, 0], worn.agnostic_mask > 0.5)
    assert (drawn.masked(np.array([row]), 0)[0][drawn.mask[row, 0]] == 128).all()
    assert drawn.words[row][0] == (worn.caption, sample.blind_caption())


def test_a_shard_that_is_there_is_not_drawn_again(drawn, tmp_path):
    from fitting_room.training.stack import pictures

    first = pictures.draw_shard(str(tmp_path), "jewelry", 0, 2)
    before = open(first, "rb").read()
    assert pictures.draw_shard(str(tmp_path), "jewelry", 0, 2) == first and open(first, "rb").read() == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["jewelry_128x96_000000000_2.npz"]


def test_every_sample_is_drawn_once():
    from fitting_room.training.stack import pictures

    seeds = [(kind, s) for kind, start, count in pictures.jobs({"person": 620, "jewelry": 250}, 7) for s in range(start, start + count)]
    assert sorted(seeds) == sorted([("person", 7 + i) for i in range(620)] + [("jewelry", 7 + i) for i in range(250)])


def test_the_autoencoder_learns(drawn):
    from fitting_room.training.stack import autoencoder

    before = autoencoder.psnr(net(), drawn.image, torch.device("cpu"))
    made, seen = autoencoder.fit(drawn, 0, 0, torch.device("cpu"), 4, say=lambda _: None, steps=60)
    assert seen > 0 and autoencoder.psnr(made, drawn.image, torch.device("cpu")) > before + 1
    latents = autoencoder.latents(made, drawn.image, torch.device("cpu"))
    assert latents.shape == (8, 4, 16, 12) and latents.isfinite().all()


def test_rows_without_a_hole_have_zeros_there():
    from fitting_room.training.stack.denoiser import Drawn, Draws

    torch.manual_seed(0)
    shape, text = (16, 12), torch.arange(6).view(6, 1)
    drawn = Drawn(
        torch.randn(6, 4, *shape), torch.randn(6, 2, 4, *shape), torch.randn(6, 2, 4, *shape), (torch.rand(6, 2, 1, *shape) > 0.5).half(), torch.tensor([2, 1, 2, 1, 1, 2]),
        torch.tensor([True, True, True, False, False, False]), text, torch.stack((text + 10, text + 20), 1), torch.stack((text + 30, text + 40), 1), torch.tensor([[99]]),
    )
    rows = Draws(drawn, 3).plain(400)
    whole = (rows.hole == 0).flatten(1).all(1)
    assert 0.5 < whole.float().mean() < 0.8 and (rows.weight[whole] == 1).all() and rows.garment is None
    inside = rows.hole[~whole, :1] > 0
    assert torch.allclose(rows.weight.mean((1, 2, 3)), torch.ones(len(rows.weight))), "a small hole counts as much as a whole picture"
    most = rows.weight[~whole].amax((1, 2, 3), keepdim=True).expand_as(inside)
    assert torch.allclose(rows.weight[~whole][inside], most[inside]) and torch.allclose(rows.weight[~whole][~inside], 0.1 * most[~inside])
    alone = (rows.text[:, 0] >= 10) & (rows.text[:, 0] < 30)
    for z0, said in zip(rows.z0[alone], rows.text[alone, 0].tolist()):  # things alone come with their own words
        assert torch.equal(z0, drawn.item[said % 10, said // 10 - 1])
    dressed = Draws(drawn, 4).dressed(200)
    assert set(dressed.text[dressed.kept, 0].tolist()) <= {0, 1, 2, *range(30, 33), *range(40, 43), 99}
    assert (dressed.text[~dressed.kept, 0] == 99).all()


def test_packed_weights_come_back_within_a_step(tmp_path):
    from fitting_room.models import weights

    torch.manual_seed(0)
    given = {"w": torch.randn(64, 32), "k": torch.randn(8, 16, 3, 3) * 5, "b": torch.randn(64), "zeros": torch.zeros(40, 40), "few": torch.randn(3, 4), "n": torch.arange(5)}
    packed = weights.packed(given)
    assert packed["w"].dtype is torch.int8 and packed["b"].dtype is torch.float16 and packed["n"].dtype is torch.int64
    back = weights.unpacked(packed)
    assert set(back) == set(given)
    for name in ("w", "k"):
        step = given[name].flatten(1).abs().amax(1) / 127
        assert ((back[name] - given[name]).flatten(1).abs().amax(1) <= 0.5001 * step).all()
    assert torch.equal(back["zeros"], given["zeros"]) and torch.equal(back["n"], given["n"])
    assert torch.allclose(back["few"], given["few"], atol=1e-2) and weights.unpacked({"x": given["w"]})["x"] is given["w"]
    header = weights.Header("anydressing")
    read = weights.read(weights.write(tmp_path / "f.safetensors", packed, header))[1]
    assert all(torch.equal(read[k], v) for k, v in back.items())
