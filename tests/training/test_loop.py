"""The loop's promises, on a task small enough to follow: a denoiser of 4 x 2 x 2 latents with a few weights."""

import json
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from fitting_room.data.supervision import Supervision
from fitting_room.training import checkpoint, loop
from fitting_room.training.cache import EncodedCache
from fitting_room.training.checkpoint import CheckpointError
from fitting_room.training.config import TrainConfig
from fitting_room.training.diffusion import Schedule, noise_loss
from fitting_room.training.loop import Hooks, Trainer, TrainingError
from fitting_room.training.outputs import Batch
from fitting_room.training.parallel import Alone
from fitting_room.training.tasks.base import Encoded, Task


class Small(Task):
    """eps = W z_t + b t / 1000 + c; the same batching, drawing and weighing as the real ones."""

    kind = "small"

    def __init__(self, config, weights=None):
        self.config, self.schedule = config, Schedule.linear()
        self.studio = SimpleNamespace(device=torch.device("cpu"), notes=[], make_room=lambda: None, pictures=lambda z: z[:, :3].sigmoid(), peak_memory=lambda: 0, encoders=lambda: "")
        torch.manual_seed(0)
        self.module = torch.nn.ModuleDict({"mix": torch.nn.Conv2d(4, 4, 1), "drop": torch.nn.Conv2d(4, 4, 1)})
        self.module.config, self.supervision = SimpleNamespace(to_dict=dict), None
        self.base = torch.nn.Linear(2, 2).requires_grad_(False)
        self.header = SimpleNamespace(method="small", base="none")
        self.weights = weights or {"noise": 1.0, "size": 0.01}
        self.encoded_count, self.poison = 0, None

    def network(self):
        return torch.nn.ModuleDict({"method": self.module})

    def result(self, weights):
        return {k: v.clone() for k, v in weights.items()}, {}

    def encode(self, sample):
        self.encoded_count += 1
        return Encoded(sample["name"], {"z0": sample["z0"]})

    def target(self, sample):
        return sample["z0"][:3].sigmoid()

    def predict(self, batch, z_t, t, kept, watch=None):
        return self.module["mix"](z_t) + torch.where(kept[:, None, None, None], self.module["drop"](batch.z0), 0.0)

    def terms(self, batch: Batch):
        z_t = self.schedule.add_noise(batch.z0, batch.noise, batch.t)
        eps = self.predict(batch, z_t, batch.t, batch.kept)
        term = noise_loss(eps, batch.noise, torch.ones(len(batch)))
        if self.poison in batch.names:
            term = torch.where(torch.tensor([n == self.poison for n in batch.names]), torch.nan, term)
        return {"noise": term, "size": eps.flatten(1).pow(2).mean(1)}


class Source:
    def __init__(self, count=5, mark="x"):
        self.count, self.mark = count, mark

    def __len__(self):
        return self.count

    def name(self, i):
        return f"sample{i}"

    def key(self, i):
        return f"{self.mark}{i}"

    def fingerprint(self):
        return f"{self.mark}{self.count}"

    def groups(self):
        return list(range(self.count))

    def size(self, i):
        return (64, 64) if i % 2 else (64, 48)

    def sample(self, i, generator):
        z0 = torch.randn(4, 2, 2, generator=torch.Generator().manual_seed(i))
        return {"name": self.name(i), "z0": z0 if generator is None else z0 + torch.rand((), generator=generator)}


CONFIG = TrainConfig(steps=12, batch=2, learning_rate=0.05, drop=0.2, ema=0.9, checkpoint_every=0, width=64, height=64)


def trainer(folder, config=CONFIG, source=None, cache=None, shared=None, **hooks):
    return Trainer(Small(config), source or Source(), config, folder, Hooks(**hooks), cache, shared or Alone())


def equal(a, b):
    assert a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


class Stop(Exception):
    pass


def stopping(at):
    """A stop hook that raises when it is asked for the n-th time."""
    asked = []

    def stop():
        asked.append(1)
        if len(asked) > at:
            raise Stop

    return stop


def test_it_learns_and_writes_everything_down(tmp_path):
    result = trainer(tmp_path / "run", replace(CONFIG, steps=60)).run()
    losses = result.history["loss"]
    assert sum(losses[-10:]) < 0.7 * sum(losses[:10]) and result.steps == 60
    assert losses == pytest.approx([n + 0.01 * s for n, s in zip(result.history["noise"], result.history["size"])])
    lines = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == list(range(1, 61)) and lines[5]["loss"] == losses[5]
    assert json.loads((tmp_path / "run" / "settings.json").read_text())["settings"]["learning_rate"] == 0.05


@pytest.mark.parametrize("change", [
    {}, {"accumulate": 2}, {"augment": {"shift": 0.1}, "cache": False}, {"schedule": "cosine", "warmup": 3}, {"ema": 0.0},
])
def test_a_resumed_run_is_the_same_run_bit_for_bit(tmp_path, change):
    config = replace(CONFIG, **change)
    whole = trainer(tmp_path / "whole", config).run()
    with pytest.raises(Stop):
        trainer(tmp_path / "parts", config, stop=stopping(5 * config.accumulate)).run()
    assert checkpoint.steps_in(tmp_path / "parts") == [5]
    with pytest.raises(Stop):
        trainer(tmp_path / "parts", config, stop=stopping(4 * config.accumulate)).run(resume=True)
    resumed = trainer(tmp_path / "parts", config).run(resume=True)
    assert resumed.history == whole.history and resumed.steps == 12
    equal(resumed.tensors, whole.tensors)
    one, other = (checkpoint.load(tmp_path / f) for f in ("whole", "parts"))
    equal(one.weights, other.weights)
    equal(one.ema, other.ema)
    for name in one.optimizer:
        equal(one.optimizer[name], other.optimizer[name])


def test_a_longer_run_goes_on_from_a_finished_one(tmp_path):
    trainer(tmp_path / "run").run()
    more = trainer(tmp_path / "run", replace(CONFIG, steps=20)).run(resume=True)
    equal(more.tensors, trainer(tmp_path / "whole", replace(CONFIG, steps=20)).run().tensors)
    again = trainer(tmp_path / "run", replace(CONFIG, steps=20)).run(resume=True)
    assert again.steps == 20 and "nothing was left to do" in again.notes[-1]


@pytest.mark.parametrize("other, words", [
    ({"source": Source(5, "y")}, "another data set"), ({"config": replace(CONFIG, learning_rate=0.1)}, "another settings"),
])
def test_another_run_is_not_continued(tmp_path, other, words):
    trainer(tmp_path / "run").run()
    with pytest.raises(CheckpointError, match=words):
        trainer(tmp_path / "run", **{"config": replace(CONFIG, steps=30), **other}).run(resume=True)


def test_accumulation_is_a_larger_batch(tmp_path):
    one = trainer(tmp_path / "a", replace(CONFIG, batch=4, ema=0.0)).run()
    two = trainer(tmp_path / "b", replace(CONFIG, batch=2, accumulate=2, ema=0.0)).run()
    assert one.history["loss"] == pytest.approx(two.history["loss"], rel=1e-5)
    for name in one.tensors:
        torch.testing.assert_close(one.tensors[name], two.tensors[name], rtol=1e-4, atol=1e-6)


def test_a_loss_that_is_no_number_names_its_sample_and_keeps_the_state(tmp_path):
    run = trainer(tmp_path / "run")
    run.task.poison = "sample3"
    with pytest.raises(TrainingError, match=r"noise with 'sample3'.*after step \d+ is kept"):
        run.run()
    step = run.done
    assert checkpoint.steps_in(tmp_path / "run") == ([step] if step else [])
    assert all(torch.isfinite(p).all() for p in run.parameters.values())


def test_fewer_pictures_than_the_batch_is_one_sentence(tmp_path):
    with pytest.raises(ValueError, match="The data set has 5 samples and the batch is 6"):
        trainer(tmp_path, replace(CONFIG, batch=6))


def test_a_disk_that_fills_up_stops_with_the_last_checkpoint(tmp_path, monkeypatch):
    run = trainer(tmp_path / "run", replace(CONFIG, checkpoint_every=4))
    save = checkpoint.save

    def full(folder, state, keep):
        if state.step > 4:
            raise CheckpointError(f"Step {state.step} could not be saved")
        return save(folder, state, keep)

    monkeypatch.setattr(loop.checkpoint, "save", full)
    with pytest.raises(CheckpointError, match="Step 8 could not be saved"):
        run.run()
    assert checkpoint.steps_in(tmp_path / "run") == [4]


def test_every_sample_is_encoded_once_and_found_again(tmp_path):
    first = trainer(tmp_path / "a", cache=tmp_path / "cache")
    first.run()
    second = trainer(tmp_path / "b", cache=tmp_path / "cache")
    result = second.run()
    assert first.task.encoded_count == 5 and second.task.encoded_count == 0
    equal(result.tensors, trainer(tmp_path / "c").run().tensors)  # from disk as from memory


def test_the_cache_keeps_versions_apart_and_ignores_what_is_damaged(tmp_path):
    config = replace(CONFIG, variants=2, augment={"shift": 0.1}, steps=10)
    run = trainer(tmp_path / "a", config, cache=tmp_path / "cache")
    run.run()
    assert run.task.encoded_count == 10  # five samples in two versions
    for path in (tmp_path / "cache").rglob("*.safetensors"):
        path.write_bytes(path.read_bytes()[:50])
    again = trainer(tmp_path / "b", config, cache=tmp_path / "cache")
    again.run()
    assert again.task.encoded_count == 10
    assert EncodedCache(tmp_path / "cache", "another task").get("x0 plain") is None


def test_pictures_are_drawn_from_the_same_noise_each_time(tmp_path):
    seen = []
    run = trainer(tmp_path / "run", replace(CONFIG, steps=4, validate_every=2, validation_steps=3), progress=lambda done, steps, loss, picture: seen.append((done, picture)))
    run.run()
    assert [p for d, p in seen if d in (2, 4) and p is not None] and (tmp_path / "run" / "validation-00000004.jpg").is_file()
    other = trainer(tmp_path / "other", replace(CONFIG, steps=4))
    equal(run.state().weights, other.run() and other.state().weights)  # looking changes nothing


def test_the_step_counts_processes_in(tmp_path):
    def share(rank, size):
        shared = Alone()
        shared.rank, shared.size = rank, size
        return trainer(tmp_path / "x", shared=shared).numbers(3)

    assert trainer(tmp_path / "x", replace(CONFIG, batch=4)).numbers(3) == [[12, 13, 14, 15]]
    assert share(0, 2) == [[12, 14]] and share(1, 2) == [[13, 15]]


def test_another_supervision_and_other_frozen_weights_are_another_run(tmp_path):
    trainer(tmp_path / "run").run()
    other = trainer(tmp_path / "run", replace(CONFIG, steps=20))
    other.task.supervision = Supervision(blocks=(4,))
    with pytest.raises(CheckpointError, match="another supervision of attention"):
        other.run(resume=True)
    other = trainer(tmp_path / "run", replace(CONFIG, steps=20))
    other.task.base.weight.data[0, 0] += 1
    with pytest.raises(CheckpointError, match="another frozen weights"):
        other.run(resume=True)


def test_lines_of_steps_that_come_again_are_taken_out_of_the_log(tmp_path):
    """Killed after step 5 with the last checkpoint at step 4, in the middle of a line."""
    with pytest.raises(Stop):
        trainer(tmp_path / "run", replace(CONFIG, checkpoint_every=4), stop=stopping(5)).run()
    checkpoint.path_of(tmp_path / "run", 5).unlink()
    log = tmp_path / "run" / "log.jsonl"
    log.write_text(log.read_text() + '{"step": 6, "lo')
    trainer(tmp_path / "run", replace(CONFIG, checkpoint_every=4)).run(resume=True)
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert [line["step"] for line in lines] == list(range(1, 13)) and all("gigabytes" in line for line in lines)


def test_a_loss_that_explodes_stops_the_run_and_spares_the_checkpoints(tmp_path):
    config = replace(CONFIG, steps=400, checkpoint_every=60, learning_rate=1e-3, ema=0.0, spike=5.0)
    run = trainer(tmp_path / "run", config)
    step = run._optimizer_step

    def shaken():
        if run.done == 200:
            run.task.module["mix"].weight.data *= 50
        step()

    run._optimizer_step = shaken
    with pytest.raises(TrainingError, match=r"The loss rose to .* times its lowest .*checkpoint of step \d+ is from before that.*spike = 0"):
        run.run()
    assert 200 < run.done < 240 and checkpoint.steps_in(tmp_path / "run")[-1] == 180  # the state that was stopped is not saved
    calm = trainer(tmp_path / "calm", replace(config, spike=0.0))
    step_of = calm._optimizer_step

    def shaken_too():
        if calm.done == 200:
            calm.task.module["mix"].weight.data *= 50
        step_of()

    calm._optimizer_step = shaken_too
    assert calm.run().steps == 400


def test_held_out_samples_are_never_trained_on_and_the_best_weights_are_kept(tmp_path):
    seen, kept = set(), []
    config = replace(CONFIG, steps=60, held_out=2, validate_every=10, validation_steps=2)
    run = trainer(tmp_path / "run", config)
    batches = run.task.batches
    run.task.batches = lambda items, numbers: (seen.update(i.name for i in items if torch.is_grad_enabled()), batches(items, numbers))[1]
    run.keep_best = lambda: kept.append(run.done)
    run.run()
    held = {run.source.name(i) for i in run.held}
    assert len(held) == 2 and len(seen) == 3 and not held & seen
    steps, losses = run.validation["step"], run.validation["loss"]
    assert steps == [10.0, 20.0, 30.0, 40.0, 50.0, 60.0] and losses[-1] < losses[0]
    assert kept == [int(s) for i, (s, l) in enumerate(zip(steps, losses)) if l < min(losses[:i], default=1e9)]
    assert checkpoint.load(tmp_path / "run").validation == run.validation


def test_the_validation_loss_is_the_weighted_terms_at_fixed_times(tmp_path):
    """Written out: five timesteps, two samples, noise of their own; asked twice it is the same number."""
    from fitting_room.training.draws import generator
    from fitting_room.training.validation import TIMES, validation_loss

    run = trainer(tmp_path / "run", replace(CONFIG, drop=1.0))
    items = [run.task.encode(run.source.sample(i, None)) for i in (0, 1)]
    expected = 0.0
    with torch.no_grad():
        for t in TIMES:
            for place, item in enumerate(items):
                z0, abar = item.tensors["z0"][None], run.task.schedule.abar[t].float()
                noise = torch.randn(4, 2, 2, generator=generator(0, "validation", place, t))[None]
                eps = run.task.module["mix"](abar.sqrt() * z0 + (1 - abar).sqrt() * noise) + run.task.module["drop"](z0)
                expected += float((eps - noise).pow(2).mean() + 0.01 * eps.pow(2).mean()) / 10
    assert validation_loss(run.task, items, run.config) == pytest.approx(expected, rel=1e-5) == pytest.approx(validation_loss(run.task, items, run.config))


def test_validation_does_not_change_the_run_and_a_resumed_one_validates_alike(tmp_path):
    config = replace(CONFIG, validate_every=3, validation_steps=2, held_out=1)
    whole = trainer(tmp_path / "whole", config)
    result = whole.run()
    plain = trainer(tmp_path / "plain", replace(config, validate_every=0)).run()
    equal(result.tensors, plain.tensors)
    with pytest.raises(Stop):
        trainer(tmp_path / "parts", replace(config, validation_steps=1), stop=stopping(20)).run()
    again = trainer(tmp_path / "parts", config)
    again.run(resume=True)
    assert again.validation["loss"] == whole.validation["loss"]


def test_without_validation_the_last_curve_is_the_one_that_is_kept(tmp_path):
    """It used to be the first, of one step."""
    result = trainer(tmp_path / "run", replace(CONFIG, steps=30)).run()
    width, dark = result.sheet.width, (0x1F, 0x4E, 0x8C)
    pixels = torch.frombuffer(bytearray(result.sheet.tobytes()), dtype=torch.uint8).view(result.sheet.height, width, 3)
    found = (pixels == torch.tensor(dark, dtype=torch.uint8)).all(-1)[80:].any(0).nonzero().flatten()
    assert int(found.max()) - int(found.min()) > 0.7 * width


def test_augmentation_that_cannot_act_is_said(tmp_path):
    assert not any("augment" in note for note in trainer(tmp_path / "a").notes)
    assert any("augment acts where" in note for note in trainer(tmp_path / "b", replace(CONFIG, augment={"shift": 0.1})).notes)
    assert not any("augment" in note for note in trainer(tmp_path / "c", replace(CONFIG, augment={"shift": 0.1}, variants=2)).notes)


def test_a_step_needs_a_sample_for_each_process(tmp_path):
    two = Alone()
    two.size = 2
    with pytest.raises(ValueError, match="has 3 samples .2 more are held out. and the batch is 2 in each of 2 processes"):
        trainer(tmp_path, replace(CONFIG, held_out=2), shared=two)


def test_full_memory_says_what_to_do():
    from fitting_room.training.run import enough_memory

    with pytest.raises(TrainingError, match="8 GB preset.*CUDA out of memory"), enough_memory():
        raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")


def test_gradients_come_in_one_order_whatever_the_samples_reach():
    """What ZeRO needs of its processes: one whose samples leave a part of the network out sends the same gradients in the same order."""
    from types import SimpleNamespace

    from fitting_room.training.step import Step

    class Parts(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.parts = torch.nn.ModuleList(torch.nn.Linear(3, 3) for _ in range(4))

        def terms(self, batch):
            x = torch.ones(1, 3)
            for number in batch.chosen:
                x = self.parts[number](x)
            return {"noise": x.square().mean(1)}

    orders = []
    for chosen in ((0, 1, 2, 3), (2, 0), (3,), ()):
        network, order = Parts(), []
        for name, parameter in network.named_parameters():
            parameter.register_post_accumulate_grad_hook(lambda p, name=name: order.append(name))
        step = Step(SimpleNamespace(network=lambda: network, terms=network.terms), in_order=True)
        sum(v.mean() for v in step([SimpleNamespace(chosen=chosen)]).values()).backward()
        orders.append(order)
    assert all(len(order) == 8 and order == orders[0] for order in orders)
