"""The training nodes: settings, runs and their folders, and a run that is cancelled and goes on, over HTTP."""

import json
from pathlib import Path

import pytest
import torch

from ..training.support import scene

ROOT = Path(__file__).resolve().parents[2]
SMALL = {"width": 64, "height": 64, "validate_every": 0, "checkpoint_every": 0, "precision": "fp32"}


@pytest.fixture
def output(comfyui, tmp_path, monkeypatch):
    import folder_paths

    monkeypatch.setattr(folder_paths, "output_directory", str(tmp_path))
    monkeypatch.setattr(folder_paths, "user_directory", str(tmp_path / "user"))
    return tmp_path


def test_values_become_settings_over_the_papers(comfyui):
    from fitting_room.nodes.training import settings

    paper = settings("pm_jewelry", {"weight_noise": 1.0, "precision": "auto"})
    assert (paper.steps, paper.batch, paper.learning_rate, paper.precision) == (400_000, 24, 1e-4, "fp32") and paper.losses == {}
    mine = settings("sift_vton", {"steps": 5, "weight_sift": 0.1, "weight_decay": 0.0, "augment": '{"flip": 0.25}', "preset": "8 GB", "batch": 4})
    assert mine.losses == {"sift": 0.1} and mine.augment == {"flip": 0.25} and mine.weight_decay == 0.0
    assert (mine.batch, mine.accumulate, mine.checkpointing) == (1, 4, True)
    assert paper.variants == 8 and not paper.held_out and settings("igr", {"held_out": 3, "buckets": True, "best": False, "spike": 0.0}).held_out == 3
    with pytest.raises(ValueError, match="not JSON"):
        settings("igr", {"options": "{"})


def test_runs_get_numbers_and_are_found_again(output):
    from fitting_room.nodes.training import run_folder

    first, resumed = run_folder("mine", "igr", "")
    assert first.name == "mine_00001" and not resumed
    first.mkdir(parents=True)
    assert run_folder("mine", "igr", "")[0].name == "mine_00002"
    with pytest.raises(ValueError, match="no run of 'mine' with a checkpoint"):
        run_folder("mine", "igr", "latest")
    (first / "step-00000003.safetensors").touch()
    assert run_folder("mine", "igr", "latest") == (first, True) == run_folder("", "igr", "mine_00001")
    with pytest.raises(ValueError, match="runs that can be resumed are mine_00001"):
        run_folder("", "igr", "other")
    with pytest.raises(ValueError, match="below the output directory"):
        run_folder("", "igr", "../../../somewhere")


def test_a_node_trains_goes_on_and_says_what_it_would_take(output):
    from fitting_room.models.weights import read
    from fitting_room.nodes.training import TrainAnyDressing

    made = scene("anydressing", output / "data")
    inputs = {"model": made.model, "vae": made.vae, "clip": made.clip, "method": made.method, "pairs": made.pairs, "batch": 1, "learning_rate": 1e-3, "seed": 0, **SMALL}
    with torch.inference_mode():
        tried = TrainAnyDressing.execute(**inputs, steps=10, dry_run=True).result
        assert tried[0] is made.method and tried[2] == 0 and "10 steps about" in tried[3] and not (output / "fitting_room" / "training").exists()
        first = TrainAnyDressing.execute(**{**inputs, "validate_every": 1}, steps=1, validation=1, validation_steps=1).result
        again = TrainAnyDressing.execute(**inputs, steps=2, resume="latest").result
    method, loss, steps, report = again
    assert steps == 2 and len(loss["loss"]) == 2 and loss["loss"][0] == first[1]["loss"][0]
    assert method.header.trained == "2 steps, 2 samples" and "'texture' is left out" in report
    best = output / "fitting_room" / "training" / "anydressing_00001" / "best.safetensors"
    assert read(best, "anydressing")[0].trained == "1 steps, 1 samples" and "whose weights are in best.safetensors" in first[3]
    with pytest.raises(ValueError, match="another base model"), torch.inference_mode():
        from fitting_room.host.demo import demo_unet

        from fitting_room import host
        other = demo_unet(seed=5)
        TrainAnyDressing.execute(**{**inputs, "model": other, "method": host.new_method(type(made.method.module), other, 0, {"rank": 4, "slots": ["upper", "lower", "full", "hat"]})}, steps=3, resume="latest")


def test_a_method_of_another_paper_and_another_base_are_refused(output):
    from fitting_room.nodes.training import TrainIGR

    made = scene("anydressing", output / "data")
    with pytest.raises(ValueError, match="IGR is needed here"):
        TrainIGR.execute(model=made.model, vae=made.vae, clip=made.clip, method=made.method, pairs=made.pairs, steps=1)


def test_matches_are_only_read_where_data_may_lie(output):
    from fitting_room.host import readable_folder

    (output / "fitting_room" / "matches").mkdir(parents=True)
    assert readable_folder("fitting_room/matches") == output / "fitting_room" / "matches"
    with pytest.raises(ValueError, match="nothing else is read"):
        readable_folder("/etc")


def test_cancel_saves_and_resume_goes_on(server):
    """A real server: the run is interrupted while it trains, and the next prompt takes it up where it stood."""
    from fitting_room.tools.server import PromptInterrupted

    prompt = json.loads((ROOT / "workflows" / "api" / "train_anydressing.json").read_text())
    train = prompt["train"]["inputs"]
    train.update(SMALL, steps=5000, batch=1, run_name="cancelled")
    prompt["pairs"]["inputs"].update(limit=2, width=64, height=64)
    client, asked = server.client, []
    number = client.queue(prompt)

    def interrupt(node, step, steps):
        if node == "train" and 3 <= step < steps and not asked:
            asked.append(step)
            client.interrupt(number)

    with pytest.raises(PromptInterrupted):
        client.wait(number, interrupt, timeout=300)
    train.update(steps=asked[0] + 3, resume="latest")
    history = client.run(prompt, timeout=300)
    text = " ".join(t for o in history["outputs"].values() for t in o.get("text", ()))
    assert f"{asked[0] + 3} of {asked[0] + 3} steps" in text or "nothing was left to do" in text
