"""AnyDressing's nodes, called as the host calls them; what bad input gets."""

import pytest
import torch

from ..support import close, prompts, sample

pytestmark = pytest.mark.usefixtures("comfyui")


@pytest.fixture(scope="module")
def bench(comfyui):
    from fitting_room.host import demo
    from fitting_room.nodes import anydressing, load

    with torch.inference_mode():
        model, clip, vae = demo.demo_unet(), demo.demo_clip(), demo.demo_vae()
        method = load.NewMethod.execute(model, "anydressing", 0, '{"rank": 4}')[0]
    return anydressing, model, vae, method, prompts(clip)


@pytest.fixture(autouse=True)
def inference():
    with torch.inference_mode():
        yield


def garment(seed=0, size=(80, 60), batch=1):
    return torch.rand(batch, *size, 3, generator=torch.Generator().manual_seed(seed))


def encode(bench, image, slot="upper", width=64, height=96, **options):
    nodes, model, vae, method, _ = bench
    return nodes.EncodeGarment.execute(method, model, vae, image, slot, width, height, **options)[0]


def dress(bench, references, strength=0.7):
    nodes, model, _, method, _ = bench
    growing = {f"garment{i}": r for i, r in enumerate(references)}
    return nodes.ApplyAnyDressing.execute(model, method, growing, strength, 0.0, 1.0)[0]


def test_any_number_of_garments_of_any_size_in_any_order(bench):
    texts = bench[-1]
    upper, lower, hat = encode(bench, garment(0)), encode(bench, garment(1, (60, 90)), "lower", 96, 64), encode(bench, garment(2), "hat")
    three = sample(dress(bench, [upper, lower, hat]), *texts)
    assert close(sample(dress(bench, [hat, upper, lower]), *texts), three)
    assert not close(sample(dress(bench, [upper, lower]), *texts), three, 1e-3)


def test_one_pass_for_two_slots_equals_two_nodes(bench):
    texts, batch = bench[-1], torch.cat([garment(0), garment(1)])
    together = encode(bench, batch, "upper, lower")
    assert [g.slot for g in together] == ["upper", "lower"]
    apart = [encode(bench, batch[:1], "upper"), encode(bench, batch[1:], "lower")]
    assert close(sample(dress(bench, [together]), *texts), sample(dress(bench, apart), *texts))


def test_a_batch_of_garments_is_one_per_picture(bench):
    texts, batch = bench[-1], torch.cat([garment(0), garment(1)])
    both = sample(dress(bench, [encode(bench, batch)]), *texts, batch=2)
    first = sample(dress(bench, [encode(bench, batch[:1])]), *texts, batch=2)
    assert close(both[:1], first[:1]) and not close(both[1:], first[1:], 1e-3)
    with pytest.raises(ValueError, match="has 2 pictures but the latent batch has 3"):
        sample(dress(bench, [encode(bench, batch)]), *texts, batch=3)


def test_a_garment_of_strength_zero_is_as_if_it_were_not_there(bench):
    nodes, texts = bench[0], bench[-1]
    upper, lower = encode(bench, garment(0)), encode(bench, garment(1), "lower")
    without = nodes.GarmentStrength.execute(lower, 0.0)[0]
    assert torch.equal(sample(dress(bench, [upper, without]), *texts), sample(dress(bench, [upper]), *texts))
    assert torch.equal(sample(dress(bench, [without]), *texts), sample(bench[1], *texts))


def test_a_mask_takes_the_background_away_and_may_have_another_size(bench):
    image, mask = garment(0), torch.zeros(1, 40, 30)
    mask[:, 10:30, 8:22] = 1
    cut = encode(bench, image, mask=mask)[0].features
    other = image.clone()
    other[:, :15] = 0.123  # outside the mask
    again = encode(bench, other, mask=mask)[0].features
    assert all(torch.equal(cut[s], again[s]) for s in cut)


def test_transparent_and_grey_pictures_are_taken(bench):
    rgba = torch.cat([garment(0), torch.ones(1, 80, 60, 1)], -1)
    assert torch.equal(*(encode(bench, i)[0].features[next(iter(encode(bench, i)[0].features))] for i in (rgba, garment(0))))
    encode(bench, garment(0)[..., :1])


@pytest.mark.parametrize("call, words", [
    (lambda b: encode(b, garment(), mask=torch.zeros(1, 80, 60)), "mask 1 of 1 is empty"),
    (lambda b: encode(b, garment(), "shoes"), "no garment slot 'shoes'; it has upper, lower, hat"),
    (lambda b: encode(b, garment(), " , "), "slot is empty"),
    (lambda b: encode(b, garment(), "upper, lower"), "2 slots .* for 1 pictures"),
    (lambda b: encode(b, garment(), width=60), "multiples of 8"),
    (lambda b: encode(b, garment() * float("nan")), "NaN"),
    (lambda b: encode(b, garment(batch=2), mask=torch.ones(3, 80, 60)), "3 masks for 2 pictures"),
    (lambda b: dress(b, []), "No garment is connected"),
    (lambda b: dress(b, [encode(b, garment(batch=2)), encode(b, garment(batch=3), "lower")]), "do not broadcast"),
])
def test_bad_input_gets_one_sentence(bench, call, words):
    with pytest.raises(ValueError, match=words) as caught:
        call(bench)
    assert "\n" not in str(caught.value)


def test_another_methods_reference_and_method_are_refused(bench):
    from dataclasses import replace

    foreign = [replace(encode(bench, garment())[0], method="igr")]
    with pytest.raises(ValueError, match="captured by igr"):
        dress(bench, [foreign])


def test_a_model_of_another_width_is_refused(bench):
    from fitting_room.host.demo import DEMO_SHAPE, demo_unet
    from fitting_room.host.models import build_unet  # noqa: F401

    nodes, _, vae, method, _ = bench
    from dataclasses import replace

    wide = demo_unet(replace(DEMO_SHAPE, context_dim=96))
    with pytest.raises(ValueError, match="token width 64, and the MODEL has 96"):
        nodes.EncodeGarment.execute(method, wide, vae, garment(), "upper", 64, 64)


@pytest.mark.parametrize("text, words", [('{"rank": 4', "not JSON"), ("[1]", "JSON list"), ('{"rnk": 4}', "'rnk'.*rank")])
def test_wrong_options_are_answered(bench, text, words):
    from fitting_room.nodes.load import NewMethod

    with pytest.raises(ValueError, match=words):
        NewMethod.execute(bench[1], "anydressing", 0, text)


def test_validation_catches_what_can_be_seen_before_running(bench):
    from fitting_room.nodes.load import LoadMethod, NewMethod

    nodes = bench[0]
    assert "multiple of 8" in nodes.EncodeGarment.validate_inputs(width=100, height=96)
    assert nodes.EncodeGarment.validate_inputs(width=96, height=None) is True
    assert "start must not lie after" in nodes.ApplyAnyDressing.validate_inputs(start_percent=0.8, end_percent=0.2)
    assert "models/fitting_room" in LoadMethod.validate_inputs("gone.safetensors")
    assert "not JSON" in NewMethod.validate_inputs("{")
