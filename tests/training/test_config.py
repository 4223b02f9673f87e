"""Settings and recipes."""

from pathlib import Path

import pytest
from fitting_room.models.registry import METHODS
from fitting_room.training.config import TrainConfig, read_recipe
from fitting_room.training.ema import Ema
from fitting_room.training.optim import learning_rate, make_optimizer
from fitting_room.training.tasks import task_class
import torch

RECIPES = sorted((Path(__file__).resolve().parents[2] / "training" / "recipes").glob("*.toml"))


@pytest.mark.parametrize("path", RECIPES, ids=lambda p: p.stem)
def test_every_recipe_is_one(path):
    recipe = read_recipe(path)
    cls = METHODS[recipe.method]
    known = cls.Config.from_dict(dict(recipe.method_options))
    assert known and recipe.stages
    for _, config, _ in recipe.stages:
        assert set(config.losses) <= set(cls.loss_weights) and config.trainable in cls.trainable
        assert set(config.options) <= {*cls.loss_options, *task_class(recipe.method).options}


def test_the_recipes_say_what_the_papers_say():
    by_name = {p.stem: read_recipe(p) for p in RECIPES}
    first = by_name["anydressing"].stages[0][1]
    assert (first.steps, first.batch, first.learning_rate, first.width, first.height) == (100_000, 4, 5e-5, 576, 768)
    assert [s.steps for _, s, _ in by_name["pm_jewelry"].stages] == [400_000, 40_000]
    assert by_name["pm_jewelry"].stages[1][1].losses == {"atv": 0.001}
    sift = by_name["sift_vton"].stages[0][1]
    assert sift.batch * sift.accumulate == 16 and sift.min_snr == 5.0 and sift.warmup == 100


@pytest.mark.parametrize("values, words", [
    ({"learning_rat": 1}, "learning_rat"), ({"schedule": "stairs"}, "constant, cosine"), ({"batch": 0}, "at least 1"),
    ({"width": 100}, "multiples of 8"), ({"drop": 1.5}, "between 0 and 1"), ({"base": "some"}, "frozen"), ({"spike": 0.5}, "above 1"),
    ({"batch": "two"}, "batch is 'two'; it must be a whole number"), ({"batch": 1.5}, "a whole number"), ({"batch": True}, "a whole number"),
    ({"drop": "much"}, "drop is 'much'; it must be a number"), ({"cache": 1}, "true or false"), ({"losses": 1.0}, "a table"),
])
def test_wrong_settings_get_one_sentence(values, words):
    with pytest.raises(ValueError, match=words):
        TrainConfig.from_dict(values)


def test_numbers_may_be_written_either_way():
    config = TrainConfig.from_dict({"steps": 1e3, "learning_rate": 1})
    assert config.steps == 1000 and isinstance(config.steps, int) and isinstance(config.learning_rate, float)


def test_a_broken_recipe_says_where(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text("method = ")
    with pytest.raises(ValueError, match="mine.toml.*is not TOML"):
        read_recipe(path)
    path.write_text('method = "igr"\n[data]\n[trian]\n')
    with pytest.raises(ValueError, match="trian"):
        read_recipe(path)
    with pytest.raises(ValueError, match="gone.toml"):
        read_recipe(tmp_path / "gone.toml")


def test_the_low_memory_preset_keeps_the_step():
    config = TrainConfig(batch=4, accumulate=2).low_memory()
    assert config.batch * config.accumulate == 8 and config.checkpointing and config.precision == "bf16" and config.optimizer == "adamw8bit"


def test_which_settings_make_another_run():
    config = TrainConfig(steps=10)
    assert config.fingerprint() == TrainConfig(steps=99, validate_every=5, cache=False, best=False, spike=0.0).fingerprint()
    assert config.fingerprint() == "d6873153621cac7c", "runs of earlier versions could not be continued any more"
    assert len({config.fingerprint(), TrainConfig(steps=10, held_out=3).fingerprint(), TrainConfig(steps=10, buckets=True).fingerprint()}) == 3
    assert config.fingerprint() != TrainConfig(steps=10, learning_rate=2e-5).fingerprint()
    assert TrainConfig(steps=10, schedule="cosine").fingerprint() != TrainConfig(steps=99, schedule="cosine").fingerprint()


def test_the_learning_rate_rises_and_falls():
    config = TrainConfig(steps=12, warmup=4, learning_rate=1.0, schedule="cosine")
    rates = [learning_rate(config, s) for s in range(12)]
    assert rates[:4] == [0.25, 0.5, 0.75, 1.0] and rates[4] == 1.0 and rates[8] == pytest.approx(0.5) and rates[11] < 0.1
    line = TrainConfig(steps=10, learning_rate=1.0, schedule="linear")
    assert learning_rate(line, 5) == pytest.approx(0.5) and learning_rate(TrainConfig(learning_rate=3.0), 999) == 3.0


def test_an_optimizer_that_is_missing_is_said():
    optimizer, note = make_optimizer([torch.nn.Parameter(torch.zeros(2))], TrainConfig(optimizer="adamw8bit"))
    assert type(optimizer) is torch.optim.AdamW and "32 bits" in note


def test_the_running_mean_follows_its_formula():
    weight = torch.nn.Parameter(torch.zeros(1))
    ema = Ema({"w": weight}, 0.9)
    weight.data += 1.0
    ema.update({"w": weight})
    assert float(ema.mean["w"]) == pytest.approx(0.9)      # d = min(0.9, 1/10): mean = 0.1 * 0 + 0.9 * 1
    ema.update({"w": weight})
    assert float(ema.mean["w"]) == pytest.approx(0.9 * 2 / 11 + 9 / 11)
    ema.swap({"w": weight})
    assert float(weight.detach()) == pytest.approx(0.9 * 2 / 11 + 9 / 11) and float(ema.mean["w"]) == 1.0
    off = Ema({"w": weight}, 0.0)
    off.update({"w": weight})
    assert off.weights({"w": weight})["w"] is not None and not off.mean
