"""Metrics against slow literal versions and known values, with networks of random weights: nothing is ever fetched."""

import math
import re

import numpy as np
import pytest
import torch

from fitting_room.evaluation.distances import frechet, kernel, moments
from fitting_room.evaluation.looks import WEIGHTS, AestheticHead, Clip, Looks, centre_square, clean, inception_network, lpips_network, package
from fitting_room.evaluation.metrics import FEWEST_FID, METRICS, MetricError, attention_concentration, check_metrics, clip_i_star, distribution, likeness, paired

GENERATOR = torch.Generator().manual_seed(5)


def pictures(count=2, height=40, width=32):
    return torch.rand(count, 3, height, width, generator=GENERATOR)


# ---- pictures beside pictures ----------------------------------------------------------------------------------------------


def test_psnr_is_the_mean_squared_error_in_decibels():
    pytest.importorskip("torchmetrics")
    a = pictures()
    assert paired("psnr", (a + 0.1).clamp(max=2), a, Looks()).tolist() == pytest.approx([20, 20], abs=1e-3)
    assert math.isinf(float(paired("psnr", a, a, Looks())[0]))


def literal_ssim(a, b):
    """Every window by itself: Gaussian of 11 x 11, sigma 1.5, population moments, mean over places and channels; borders are mirrored."""
    x = np.arange(11) - 5
    window = np.exp(-(x**2) / (2 * 1.5**2))
    window = np.outer(window, window) / np.outer(window, window).sum()
    c1, c2, found = 0.01**2, 0.03**2, []
    for channel in range(3):
        p, q = (np.pad(t[channel].double().numpy(), 5, mode="reflect") for t in (a, b))
        for row in range(p.shape[0] - 10):
            for column in range(p.shape[1] - 10):
                u, v = p[row : row + 11, column : column + 11], q[row : row + 11, column : column + 11]
                mu, mv = (window * u).sum(), (window * v).sum()
                su, sv, suv = (window * u * u).sum() - mu**2, (window * v * v).sum() - mv**2, (window * u * v).sum() - mu * mv
                found.append((2 * mu * mv + c1) * (2 * suv + c2) / ((mu**2 + mv**2 + c1) * (su + sv + c2)))
    return float(np.mean(found))


def test_ssim_is_that_of_its_paper():
    pytest.importorskip("torchmetrics")
    a = pictures(1, 24, 20)
    b = (0.7 * a + 0.3 * pictures(1, 24, 20)).clamp(0, 1)
    assert float(paired("ssim", a, a, Looks())[0]) == pytest.approx(1)
    inner = float(paired("ssim", b, a, Looks())[0])
    assert inner == pytest.approx(literal_ssim(b[0], a[0]), abs=1e-5)
    assert inner < 1 and float(paired("ssim", 1 - a, a, Looks())[0]) < 0


def test_ms_ssim_wants_large_pictures():
    pytest.importorskip("torchmetrics")
    a = pictures(1, 176, 180)
    assert float(paired("ms_ssim", a, a, Looks())[0]) == pytest.approx(1)
    with pytest.raises(MetricError, match="MS-SSIM needs sides of at least 176 pixels, and the pictures are 2 of 32 x 40"):
        paired("ms_ssim", pictures(), pictures(), Looks())


def test_pairs_must_fit():
    with pytest.raises(MetricError, match="2 of 32 x 40 and the true pictures 1 of 32 x 40"):
        paired("ssim", pictures(), pictures(1), Looks())


# ---- networks from files ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """models/metrics with networks of random weights under the names of the real ones."""
    import torchvision

    where = tmp_path_factory.mktemp("metrics")
    torch.manual_seed(0)
    torch.save(torchvision.models.alexnet(weights=None).state_dict(), where / "alexnet-owt-7be5be79.pth")
    return where


def test_lpips_takes_its_backbone_from_the_users_file(folder):
    pytest.importorskip("torchmetrics")
    looks, a = Looks([folder]), pictures(2, 64, 64)
    near, far = (a + 0.02).clamp(0, 1), pictures(2, 64, 64)
    found = [paired("lpips", p, a, looks) for p in (a, near, far)]
    assert found[0].abs().max() < 1e-6 and (found[1] < found[2]).all() and found[2].shape == (2,)
    state = torch.load(folder / "alexnet-owt-7be5be79.pth", weights_only=True)
    network = looks.lpips("alex")
    assert torch.equal(network.net.slice1[0].weight, state["features.0.weight"]) and torch.equal(network.net.slice5[0].weight, state["features.10.weight"])
    assert network.lin0.model[1].weight.abs().sum() > 0  # the weights of people's judgement, from the wheel


def test_lpips_is_the_weighted_distance_of_normalised_features(folder):
    """Zhang et al. 2018, equation 1, written out."""
    pytest.importorskip("torchmetrics")
    looks = Looks([folder])
    network, (a, b) = looks.lpips("alex"), pictures(2, 64, 64)[:, None]
    shift, scale = (torch.tensor(v)[None, :, None, None] for v in ((-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)))
    features = [network.net((p * 2 - 1 - shift) / scale) for p in (a, b)]
    total = 0.0
    for layer, (x, y) in enumerate(zip(*features)):
        x, y = (f / (f.pow(2).sum(1, keepdim=True) + 1e-8).sqrt() for f in (x, y))
        weight = getattr(network, f"lin{layer}").model[1].weight  # (1,C,1,1)
        total += float(((x - y) ** 2 * weight).sum(1).mean())
    assert float(paired("lpips", a, b, looks)[0]) == pytest.approx(total, rel=1e-4)


def test_what_is_missing_is_said_by_name(folder, tmp_path):
    looks = Looks([tmp_path])
    for name, words in (
        ("lpips", "AlexNet's ImageNet weights, and there is no alexnet\\* in models/metrics; put torchvision's alexnet"), ("dists", "VGG-16's"), ("fid", "FID's Inception network"),
        ("clip_i", "CLIP ViT-B/32"), ("clip_as", "CLIP ViT-L/14"), ("clip_vision_distance", "none is connected; load one with Load CLIP Vision"),
    ):
        assert re.search(words, looks.lacks(METRICS[name].needs)), name
    with pytest.raises(MetricError, match="FID's Inception network"):
        looks.embedder("fid")
    other = tmp_path / "alexnet.pth"
    torch.save({"features.0.weight": torch.zeros(3)}, other)
    if package_there("torchmetrics"):
        with pytest.raises(MetricError, match="lacks features.0.weight"):
            lpips_network("alex", other)
    if package_there("torch_fidelity"):
        with pytest.raises(MetricError, match="is not FID's Inception network"):
            inception_network(other)


def package_there(name):
    try:
        return package(name) is not None
    except MetricError:
        return False


def test_an_absent_package_names_the_extra(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "torchmetrics", None)
    with pytest.raises(MetricError, match="torchmetrics is not installed; it belongs to the extra `eval` of Fitting Room: .* -m pip install torchmetrics"):
        paired("ssim", pictures(), pictures(), Looks())
    assert "extra `eval`" in Looks().lacks((), METRICS["ssim"].packages)


def test_every_metric_says_what_it_needs():
    from fitting_room.evaluation.looks import EMBEDDERS

    for name, metric in METRICS.items():
        assert metric.name == name and metric.about.endswith(".") and metric.kind in ("pair", "likeness", "set", "text", "single", "parts", "attention")
        assert all(n in WEIGHTS or n == "vision" for n in metric.needs)
        if metric.kind in ("likeness", "set", "text", "single", "parts"):
            assert EMBEDDERS[name].split()[0] in metric.needs
    with pytest.raises(MetricError, match="The metric fidd is not known; known are psnr"):
        check_metrics(["ssim", "fidd"])
    assert check_metrics(["ssim", "psnr", "ssim"]) == ["ssim", "psnr"]


def test_a_pickle_that_wants_to_run_code_is_refused(tmp_path):
    pytest.importorskip("torch_fidelity")
    import pickle

    from fitting_room.models.weights import WeightsError

    class Evil:
        def __reduce__(self):
            return (print, ("run",))

    path = tmp_path / "weights-inception.pth"
    path.write_bytes(pickle.dumps(Evil()))
    with pytest.raises(WeightsError, match="pickle"):
        inception_network(path)


# ---- sets of features ------------------------------------------------------------------------------------------------------


def test_frechet_of_two_normal_distributions_is_the_closed_form():
    """One dimension: (m - n)^2 + (s - t)^2; and diagonal covariances add up over dimensions."""
    points = torch.tensor([-1.0, 1.0]).double()
    a = points[:, None] * 3 + 1       # mean 1, variance 18 with n - 1
    b = points[:, None] * 5 - 2       # mean -2, variance 50
    assert frechet(a, b) == pytest.approx(9 + (18**0.5 - 50**0.5) ** 2)
    grid = torch.cartesian_prod(points, points)
    a, b = grid * torch.tensor([1.0, 2.0]) + torch.tensor([0.0, 1.0]), grid * torch.tensor([4.0, 3.0])
    unit = float(moments(grid)[1][0, 0])
    assert frechet(a, b) == pytest.approx(1 + unit * ((1 - 4) ** 2 + (2 - 3) ** 2))
    assert frechet(a, a) == pytest.approx(0, abs=1e-9)


def test_frechet_agrees_with_the_root_of_the_product():
    """Heusel et al. as written: the trace of the matrix root of S_a S_b, by its eigenvalues; and torch-fidelity's, where it is there."""
    generator = torch.Generator().manual_seed(1)
    a, b = torch.randn(60, 7, generator=generator).double(), (torch.randn(80, 7, generator=generator) @ torch.randn(7, 7, generator=generator)).double() + 0.3
    (ma, sa), (mb, sb) = moments(a), moments(b)
    root = torch.linalg.eigvals(sa @ sb).real.clamp_min(0).sqrt().sum()
    literal = float(((ma - mb) ** 2).sum() + sa.trace() + sb.trace() - 2 * root)
    assert frechet(a, b) == pytest.approx(literal, rel=1e-9)
    if package_there("torch_fidelity"):
        from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric

        theirs = fid_statistics_to_metric(*(fid_features_to_statistics(f) for f in (a, b)), verbose=False)
        assert frechet(a, b) == pytest.approx(theirs["frechet_inception_distance"], rel=1e-5)


def literal_mmd(x, y):
    """Binkowski et al. 2018, equation 4 with (x.y/D + 1)^3, every pair by itself."""
    k = lambda p, q: (float(p @ q) / len(p) + 1) ** 3  # noqa: E731
    n = len(x)
    xx = sum(k(x[i], x[j]) for i in range(n) for j in range(n) if i != j)
    yy = sum(k(y[i], y[j]) for i in range(n) for j in range(n) if i != j)
    xy = sum(k(x[i], y[j]) for i in range(n) for j in range(n))
    return (xx + yy) / (n * (n - 1)) - 2 * xy / n**2


def test_the_kernel_distance_is_the_unbiased_mmd():
    generator = torch.Generator().manual_seed(2)
    x, y = torch.randn(9, 4, generator=generator).double(), torch.randn(9, 4, generator=generator).double() + 0.5
    value, spread = kernel(x, y)
    assert value == pytest.approx(literal_mmd(x, y), rel=1e-9) and spread == 0  # both smaller than a subset: one subset, the whole
    more, spread = kernel(x, y, subsets=400, size=6)
    assert more == pytest.approx(value, abs=0.2 * abs(value) + 0.05) and spread > 0
    same = torch.randn(400, 4, generator=generator).double()
    assert abs(kernel(same[:200], same[200:], subsets=20, size=100)[0]) < abs(value)
    if package_there("torch_fidelity"):
        from torch_fidelity.metric_kid import kid_features_to_metric

        theirs = kid_features_to_metric(x, y, kid_subsets=1, kid_subset_size=9, verbose=False)["kernel_inception_distance_mean"]
        assert value == pytest.approx(theirs, rel=1e-6)


def test_fid_of_few_pictures_is_refused_and_the_users_model_has_its_own_name():
    few, more = torch.randn(20, 4), torch.randn(20, 4) + 1
    with pytest.raises(MetricError, match=f"give at least {FEWEST_FID} of either, or use KID"):
        distribution("fid", few, more)
    with pytest.raises(MetricError, match="1 results and 20 true pictures"):
        distribution("kid", few[:1], more)
    found = distribution("clip_vision_distance", few, more)
    assert found.value == pytest.approx(frechet(few.double(), more.double())) and "20 pictures for 4 features" in found.note
    assert METRICS["clip_vision_distance"].label == "CLIP vision distance" and "FID" not in METRICS["clip_vision_kernel"].label
    assert distribution("kid", few, more).value == pytest.approx(1000 * kernel(few, more)[0])


# ---- CLIP ------------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def clip_folder(tmp_path_factory):
    """A small CLIP with random weights and a tokenizer of single letters, as transformers saves them."""
    import json

    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    side = {"hidden_size": 16, "intermediate_size": 32, "num_attention_heads": 2, "num_hidden_layers": 2, "projection_dim": 8}
    config = transformers.CLIPConfig(text_config={**side, "vocab_size": 60, "eos_token_id": 1, "bos_token_id": 0}, vision_config={**side, "image_size": 32, "patch_size": 8}, projection_dim=8)
    where = tmp_path_factory.mktemp("models") / "clip-vit-base-patch32"
    transformers.CLIPModel(config).save_pretrained(where)
    letters = "abcdefghijklmnopqrstuvwxyz"
    vocabulary = {"<|startoftext|>": 0, "<|endoftext|>": 1, **{c: i + 2 for i, c in enumerate(letters)}, **{f"{c}</w>": i + 30 for i, c in enumerate(letters)}}
    (where / "vocab.json").write_text(json.dumps(vocabulary))
    (where / "merges.txt").write_text("#version: 0.2\n")
    (where / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "CLIPTokenizer", "model_max_length": 77}))
    return where.parent


def test_clip_scores_are_cosines_of_its_embeddings(clip_folder):
    looks, made = Looks([clip_folder]), pictures(3, 48, 36)
    embed = looks.embedder("clip_i")
    a = embed(made)
    assert a.shape == (3, 8) and torch.allclose(embed([made[1]]), a[1:2], atol=1e-5)
    model = looks.clip("clip_b32").model
    assert torch.allclose(likeness(a, a), torch.ones(3), atol=1e-5)
    text = looks.text(["a red shirt", "blue"])
    tokens = looks.clip("clip_b32").tokenizer(["blue"], return_tensors="pt")
    literal = model.text_projection(model.text_model(**{k: v for k, v in tokens.items() if k != "token_type_ids"}).pooler_output)
    assert text.shape == (2, 8) and torch.allclose(text[1:], literal, atol=1e-5)
    with pytest.raises(MetricError, match="does not load as a CLIP"):
        Clip.load(clip_folder)


def test_clip_fid_stretches_and_clip_i_takes_the_middle(clip_folder):
    """A picture that is red above, green in the middle, blue below: the square sees only green, the stretched one all three."""
    tall = torch.zeros(3, 96, 32)
    tall[0, :32], tall[1, 32:64], tall[2, 64:] = 1, 1, 1
    square, whole = centre_square(tall, 32), clean(tall, (32, 32))
    assert square.shape == whole.shape == (3, 32, 32)
    assert square[1].mean() > 0.97 and square[[0, 2]].mean() < 0.03
    assert whole.mean((1, 2)).tolist() == pytest.approx([1 / 3] * 3, abs=0.02)
    looks = Looks([clip_folder])
    assert not torch.allclose(looks.embedder("clip_fid")([tall]), looks.embedder("clip_i")([tall]), atol=1e-3)


def test_clean_is_pillows_bicubic_on_floats():
    from PIL import Image

    picture = pictures(1, 20, 30)[0]
    literal = np.asarray(Image.fromarray(picture[1].numpy() * 255, "F").resize((9, 7), Image.Resampling.BICUBIC)).clip(0, 255) / 255
    assert np.allclose(clean(picture, (9, 7))[1].numpy(), literal, atol=1e-6)


def test_clip_i_star_takes_each_garment_with_its_own_region():
    """Embedding = mean colour: red above, green below, garments red and green. Own regions agree exactly, swapped ones not at all."""
    result = torch.zeros(3, 40, 20)
    result[0, :20], result[1, 20:] = 1, 1
    red, green = (torch.zeros(3, 8, 8) for _ in range(2))
    red[0], green[1] = 1, 1
    above, below = torch.zeros(40, 20), torch.zeros(40, 20)
    above[2:18], below[22:38] = 1, 1
    embed = lambda batch: torch.stack([p.mean((1, 2)) for p in batch])  # noqa: E731
    garments = {"upper": red, "lower": green}
    assert clip_i_star(result, garments, {"upper": above, "lower": below}, embed) == pytest.approx(1)
    assert clip_i_star(result, garments, {"upper": below, "lower": above}, embed) == pytest.approx(0, abs=1e-6)
    assert clip_i_star(result, {"upper": red}, {"upper": above * 0}, embed) is None
    with pytest.raises(MetricError, match="lower has none"):
        clip_i_star(result, garments, {"upper": above}, embed)


def test_the_aesthetic_head_is_five_layers_on_the_unit_embedding(tmp_path):
    torch.manual_seed(0)
    head, x = AestheticHead(), torch.randn(3, 768)
    y = x / x.norm(dim=1, keepdim=True)
    for number in (0, 2, 4, 6, 7):
        y = torch.nn.functional.linear(y, head.layers[number].weight, head.layers[number].bias)
    assert torch.allclose(head(x), y[:, 0], atol=1e-6) and torch.allclose(head(x * 7), head(x), atol=1e-6)
    torch.save(head.state_dict(), tmp_path / "sac+logos+ava1-l14-linearMSE.pth")
    assert torch.allclose(Looks([tmp_path]).aesthetic()(x), head(x), atol=1e-6)
    with pytest.raises(MetricError, match="is not the aesthetic head"):
        AestheticHead().take({"a": torch.zeros(1)}, "other.pth")


def test_attention_concentration_is_the_share_near_the_true_place():
    maps = torch.zeros(2, 4, 4)
    maps[0, 1, 2] = 1           # cell (1, 2) of 4 x 4 over 32 x 32: centre (19.5, 11.5)
    maps[1] = 1 / 16
    found = attention_concentration(maps, torch.tensor([[19.5, 11.5], [19.5, 11.5]]), 4.0, (32, 32))
    assert found.value == pytest.approx((1 + 1 / 16) / 2) and found.count == 2 and "0.0625" in found.note
