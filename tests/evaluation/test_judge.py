"""The judge of drawn garments: right on real crops, where it looks, what it refuses."""

import json

import numpy as np
import pytest
import torch

from fitting_room.data.synthetic import World
from fitting_room.evaluation.judge import COLOUR_NAMES, MARGIN, SIDE, VIEWS, WEIGHTS, Judge, box_of, crop
from fitting_room.evaluation.judge_training import HELD_OUT_SEED, SMALLEST, Crops, accuracy, blurred, draw_crops, fit, worsened


@pytest.fixture(scope="module")
def judge():
    return Judge.load()


@pytest.fixture(scope="module")
def drawn():
    return draw_crops(40, HELD_OUT_SEED + 1_000_000)


def test_it_is_right_on_garments_it_has_not_seen(judge, drawn):
    """Its header claims more on more garments; this is a smaller sample, so the bound is looser."""
    found = accuracy(judge, drawn)
    assert set(found) == {*VIEWS, "all"} and found["all"]["count"] > 150
    assert found["all"]["pattern"] >= 0.94 and found["all"]["colour"] >= 0.94
    soft = accuracy(judge, drawn, blur=1.0)["all"]
    assert soft["pattern"] >= 0.85 and soft["colour"] >= 0.9


def test_it_judges_pictures_of_any_size_by_box(judge):
    """The same garment at twice the size is the same garment, and another person's picture is another."""
    world, twice = World("person", (128, 96), HELD_OUT_SEED, 8, hat=False), World("person", (256, 192), HELD_OUT_SEED, 8, hat=False)
    for size, samples in ((1, world), (2, twice)):
        people = [samples[i] for i in range(8)]
        worn = [s.garments[s.slot] for s in people]
        images = torch.from_numpy(np.stack([s.image for s in people]))
        boxes = torch.from_numpy(np.stack([box_of(w.mask) for w in worn]))
        verdict = judge(images, boxes, [s.slot for s in people])
        pattern, colour = verdict.right([w.garment for w in worn])
        assert pattern.sum() >= 7 and colour.sum() >= 7, size
        assert torch.allclose(verdict.pattern_shares.sum(1), torch.ones(8)) and verdict.colour_shares.shape == (8, len(COLOUR_NAMES))
        wrong = judge(images.roll(1, 0), boxes.roll(1, 0), [people[i - 1].slot for i in range(8)]).right([w.garment for w in worn])
        assert wrong[0].sum() < 8 and wrong[1].sum() <= 4


def test_the_crop_is_a_square_about_the_box():
    """A picture whose red says the column and green the row: the crop's corners say where it was taken."""
    image = torch.zeros(1, 128, 96, 3)
    image[..., 0], image[..., 1] = torch.arange(96) / 96, torch.arange(128)[:, None] / 128
    made, views = crop(image, torch.tensor([[20.0, 40.0, 44.0, 80.0]]), "lower")
    assert made.shape == (1, 4, SIDE, SIDE) and views.tolist() == [2]
    half = 40 * MARGIN / 2 * (1 - 1 / SIDE)
    column, row = (made[0, 0] + 1) / 2 * 96, (made[0, 1] + 1) / 2 * 128
    assert column[0, 0] == pytest.approx(32 - half - 0.5, abs=0.01) and row[-1, 0] == pytest.approx(60 + half - 0.5, abs=0.01)
    inside = made[0, 3]
    assert inside[SIDE // 2].mean() == pytest.approx(24 / (40 * MARGIN), abs=1 / SIDE) and inside[:, SIDE // 2].mean() == pytest.approx(1 / MARGIN, abs=2 / SIDE)


def test_it_refuses_what_it_cannot_judge(judge):
    image, box = torch.zeros(1, 32, 24, 3), torch.tensor([[0.0, 0, 10, 10]])
    for images, boxes, view, words in (
        (image[..., :2], box, "upper", "give \\(N,H,W,3\\)"), (image, box + 20, "upper", "outside the picture of 24 x 32"), (image, box * 0, "upper", "or is empty"),
        (image, box, "hat", "The views hat"), (image.expand(3, -1, -1, -1), box, "upper", "3 pictures and 1 boxes"),
    ):
        with pytest.raises(ValueError, match=words):
            judge(images, boxes, view)
    with pytest.raises(ValueError, match="mask is empty"):
        box_of(np.zeros((4, 4)))
    with pytest.raises(ValueError, match="1 garments were judged and 2 true ones"):
        judge(image, box).right([None, None])


def test_its_file_says_what_it_is(judge, tmp_path):
    from safetensors import safe_open

    from fitting_room.models.weights import WeightsError, read_header

    assert WEIGHTS.stat().st_size < 1_000_000
    with safe_open(str(WEIGHTS), framework="pt") as file:
        header = file.metadata()
    assert {"fitting_room.judge.accuracy", "fitting_room.judge.data", "fitting_room.judge.trained", "fitting_room.license"} <= set(header)
    with pytest.raises(WeightsError, match="no method by itself"):
        read_header(WEIGHTS)
    again = Judge.load(judge.save(tmp_path / "again.safetensors", {"trained": "no"}))
    assert all(torch.equal(a, b) for a, b in zip(again.state_dict().values(), judge.state_dict().values()))
    with pytest.raises(WeightsError, match="cannot be read as the judge's weights"):
        Judge.load(tmp_path / "none.safetensors")
    from safetensors.torch import save_file

    save_file({"a": torch.zeros(1)}, str(tmp_path / "other.safetensors"), {"fitting_room.judge.patterns": json.dumps(["plain"])})
    with pytest.raises(WeightsError, match="does not know the patterns"):
        Judge.load(tmp_path / "other.safetensors")


def test_training_learns_and_is_repeatable(drawn):
    """Forty steps on a few garments with the answers in them: better than guessing, and twice the same."""
    rows = torch.arange(len(drawn))[drawn.views == VIEWS.index("flat")][:32]
    few = Crops(drawn.pictures, drawn.place[rows], drawn.boxes[rows], drawn.views[rows], drawn.patterns[rows], drawn.colours[rows])
    first, second = (fit(few, 40, batch=32) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first.state_dict().values(), second.state_dict().values()))
    assert accuracy(first, few)["all"]["colour"] > 0.4


def test_worsening_keeps_size_and_range():
    planes = torch.rand(6, 3, 32, 24)
    made = worsened(planes, torch.Generator().manual_seed(3))
    assert made.shape == planes.shape and made.min() >= 0 and made.max() <= 1 and not torch.equal(made, planes)
    flat = torch.full((1, 3, 16, 12), 0.4)
    assert torch.allclose(blurred(flat, 1.3), flat)
    assert blurred(planes, 1.0).std() < planes.std()


def test_garments_hardly_seen_are_left_out(drawn):
    worn = drawn.boxes[drawn.views != VIEWS.index("flat")]
    areas = (worn[:, 2] - worn[:, 0]) * 96 * (worn[:, 3] - worn[:, 1]) * 128
    assert areas.min() >= SMALLEST
