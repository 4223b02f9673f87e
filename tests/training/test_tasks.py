"""Every method really learns, through the host's U-Net and its own patches, and its file works in the inference nodes."""

from dataclasses import replace

import pytest
import torch
from fitting_room.training.config import TrainConfig

from .support import KINDS, scene

pytestmark = pytest.mark.usefixtures("comfyui")
CONFIG = TrainConfig(
    steps=60, batch=2, learning_rate=2e-3, weight_decay=0.0, warmup=5, beta2=0.99, width=64, height=64, checkpoint_every=0, drop=0.0, options={}
)


@pytest.fixture(scope="module", params=KINDS)
def made(request, comfyui, tmp_path_factory):
    return scene(request.param, tmp_path_factory.mktemp(request.param))


def overfit(made, folder, config):
    """A run that sees the very same two samples, timesteps and noise in every step."""
    from fitting_room.host import learning
    from fitting_room.training.run import prepare

    with torch.inference_mode(), learning():
        run = prepare(made.studio(), made.method, made.pairs, config, folder)
        run.numbers = lambda step: [[0, 1]]
        return run, run.run()


def test_two_samples_are_learned_at_least_threefold(made, tmp_path):
    rate = {"anydressing": 5e-3}.get(made.kind, 2e-3)
    options = {"anydressing": {"garment_drop": 0.0}}.get(made.kind, {})
    run, result = overfit(made, tmp_path / "run", replace(CONFIG, learning_rate=rate, options=options))
    losses = result.history["loss"]
    assert min(losses[-5:]) < losses[0] / 3, losses
    wrote = {k: v for k, v in result.tensors.items() if v.is_floating_point()}
    assert all(torch.isfinite(v).all() for v in wrote.values())
    _the_file_beats_the_untrained_method(made, run, result)


def _the_file_beats_the_untrained_method(made, run, result):
    """Build the method from its file's tensors as a loader would, and predict with it: the error must be the trained one."""
    from fitting_room import host
    from fitting_room.training.run import prepare

    with torch.inference_mode():
        trained = host.build_method(type(made.method.module), replace(made.method.header, trained="60 steps"), result.tensors, "trained")
    with host.learning(), torch.no_grad():
        errors = []
        for method in (made.method, trained):
            task = prepare(made.studio(), method, made.pairs, run.config, run.folder).task
            batches = task.batches([run.encoded(n) for n in (0, 1)], [0, 1])
            errors.append(sum(float(task.terms(b)["noise"].sum()) for b in batches) / 2)
    assert errors[1] < errors[0] / 2, errors
    assert errors[1] == pytest.approx(result.history["noise"][-1], rel=0.5)


def test_a_resumed_run_is_the_same_run(made, tmp_path):
    """Three steps in one go, and two and one; bit for bit, with the real networks."""
    from fitting_room.host import learning
    from fitting_room.training.run import train

    config = replace(CONFIG, steps=3, batch=1, drop=0.3, ema=0.9, augment={"flip": 0.5}, variants=2)
    with torch.inference_mode(), learning():
        def run(folder, steps, resume=False):
            return train(made.studio(), made.method, made.pairs, replace(config, steps=steps), tmp_path / folder, tmp_path / "cache", resume=resume)

        whole = run("whole", 3)
        run("parts", 2)
        parts = run("parts", 3, resume=True)
    assert parts.result.history == whole.result.history
    assert all(torch.equal(parts.tensors[k], v) for k, v in whole.tensors.items())


def test_gradient_checkpointing_changes_nothing(made, tmp_path):
    from fitting_room.host import learning
    from fitting_room.training.run import prepare

    gradients = []
    with torch.inference_mode(), learning():
        for checkpointing in (False, True):
            run = prepare(made.studio(checkpointing=checkpointing), made.method, made.pairs, replace(CONFIG, batch=1), tmp_path / "run")
            terms = run.step_module(run.task.batches([run.encoded(0)], [0]))
            sum(run.task.weights[k] * v.mean() for k, v in terms.items()).backward()
            gradients.append({k: p.grad for k, p in run.parameters.items() if p.grad is not None})
    assert gradients[0].keys() == gradients[1].keys()
    scale = max(float(g.abs().max()) for g in gradients[0].values())
    assert all(torch.allclose(gradients[1][k], g, atol=1e-5 * scale, rtol=1e-3) for k, g in gradients[0].items())


def test_the_base_that_was_given_is_left_alone(made, tmp_path):
    from fitting_room.host import fingerprint, learning
    from fitting_room.training.run import train

    before = {k: v.clone() for k, v in made.model.model.state_dict().items()}, {k: v.clone() for k, v in made.method.module.state_dict().items()}
    with torch.inference_mode(), learning():
        train(made.studio(), made.method, made.pairs, replace(CONFIG, steps=1, batch=1, base="full"), tmp_path / "run")
    assert fingerprint(made.model) == made.method.header.base
    assert all(torch.equal(made.model.model.state_dict()[k], v) for k, v in before[0].items())
    assert all(torch.equal(made.method.module.state_dict()[k], v) for k, v in before[1].items())


def test_a_share_of_timesteps_is_drawn_where_layout_is_decided(made, tmp_path):
    from fitting_room.host import learning
    from fitting_room.training.run import prepare

    with torch.inference_mode(), learning():
        run = prepare(made.studio(), made.method, made.pairs, replace(CONFIG, noisy=1.0), tmp_path / "run")
        numbers = list(range(200))
        items = [run.encoded(0)] * len(numbers)
        task = run.task
        drawn = torch.cat([b.t for b in task.batches(items, numbers)])
        assert 400 <= int(drawn.min()) < 430 and 970 < int(drawn.max()) < 1000
        task.config = replace(CONFIG, noisy=0.0)
        plain = torch.cat([b.t for b in task.batches(items, numbers)])
        assert int(plain.min()) < 30 and 970 < int(plain.max()) < 1000


def test_a_long_caption_meets_a_repeated_empty_prompt():
    from fitting_room.training.tasks.base import Task

    tokens, empty = torch.rand(2, 6, 4), torch.rand(2, 4)
    text = Task.dropped_text(None, tokens, torch.tensor([True, False]), empty)
    assert torch.equal(text[0], tokens[0]) and torch.equal(text[1], torch.cat((empty, empty, empty)))
