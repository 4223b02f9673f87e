"""The command line trains, resumes, and shares a step among processes."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).resolve().parents[2]
SMALL = ["--limit", "4", "--set", "width=64", "--set", "height=64", "--set", "validate_every=0", "--set", "checkpoint_every=0", "--set", "learning_rate=0.01"]
pytestmark = pytest.mark.host


def command(comfyui, base, output, *more, launcher=()):
    """(command, environment) of one run of tools/train.py on the demo recipe."""
    environment = {**os.environ, "FITTING_ROOM_COMFYUI": str(comfyui), "FITTING_ROOM_BASE": str(base), "OMP_NUM_THREADS": "1"}
    recipe = str(ROOT / "training" / "recipes" / "demo.toml")
    return [sys.executable, *launcher, str(ROOT / "tools" / "train.py"), recipe, "--cpu", "--output", str(output), *SMALL, *more], environment


def train(comfyui, base, output, *more, launcher=(), **options):
    """One run; returns its exit code and what it printed."""
    words, environment = command(comfyui, base, output, *more, launcher=launcher)
    done = subprocess.run(words, capture_output=True, text=True, timeout=600, env=environment, **options)
    return done.returncode, done.stdout + done.stderr


def state(output):
    from fitting_room.training import checkpoint

    return checkpoint.load(output / "demo-1-stage1")


@pytest.mark.skipif(sys.platform == "win32", reason="kills by signal")
def test_a_run_that_was_killed_goes_on_as_if_nothing_had_happened(comfyui, tmp_path):
    """SIGKILL in the middle of a run that saves after every step; resumed, it is the uninterrupted run bit for bit."""
    words, environment = command(comfyui, tmp_path, tmp_path / "parts", "--steps", "100000", "--set", "batch=1", "--set", "checkpoint_every=1")
    process = subprocess.Popen(words, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        while not (tmp_path / "parts" / "demo-1-stage1" / "step-00000002.safetensors").is_file():
            assert process.poll() is None
            time.sleep(0.01)
    finally:
        process.kill()
        process.wait()
    stopped = state(tmp_path / "parts").step
    assert stopped >= 2
    end = str(stopped + 1)
    code, said = train(comfyui, tmp_path, tmp_path / "parts", "--steps", end, "--set", "batch=1", "--resume")
    assert code == 0 and f"{end} of {end} steps on 4 samples" in said and "4 pairs in dressing_4_64x64" in said, said
    assert train(comfyui, tmp_path, tmp_path / "whole", "--steps", end, "--set", "batch=1")[0] == 0
    parts, whole = state(tmp_path / "parts"), state(tmp_path / "whole")
    assert parts.history == whole.history and all(torch.equal(parts.weights[k], v) for k, v in whole.weights.items())
    assert list((tmp_path / "whole" / "demo-1-stage1").glob(f"anydressing-*-{end}.safetensors"))


def test_what_is_wrong_is_one_sentence(comfyui, tmp_path):
    for more, words in ((["--set", "batch=9"], "The data set has 4 samples and the batch is 9"), (["--set", "stpes=3"], "stpes"), (["--layout", "folder"], "give --data")):
        code, said = train(comfyui, tmp_path, tmp_path / "x", "--steps", "1", *more)
        assert code == 1 and words in said and "Traceback" not in said, said


@pytest.mark.skipif(sys.platform == "win32", reason="limits by resource")
def test_a_disk_that_is_full_stops_with_a_sentence(comfyui, tmp_path):
    """No file may grow beyond 300 kB: encodings and checkpoints do not fit."""
    import resource

    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))

    code, said = train(comfyui, tmp_path, tmp_path / "x", "--steps", "1", "--set", "batch=1", preexec_fn=limit)
    assert code == 1 and "Step 1 could not be saved" in said and "there is no earlier checkpoint" in said and "Traceback" not in said, said
    assert not list((tmp_path / "x").rglob("*.part"))


def test_two_processes_are_one_with_the_double_batch(comfyui, tmp_path):
    """Gloo on the processor: the same two steps of two forwards, shared by two processes with a batch of one, and alone with a batch of two."""
    common = ["--steps", "2", "--set", "ema=0.5", "--set", "accumulate=2"]
    code, said = train(comfyui, tmp_path, tmp_path / "one", *common, "--set", "batch=2")
    assert code == 0, said
    launcher = ["-m", "torch.distributed.run", "--nproc_per_node", "2", "--master_port", str(_free_port())]
    code, said = train(comfyui, tmp_path, tmp_path / "two", *common, "--set", "batch=1", launcher=launcher)
    assert code == 0 and "batch 1 x 2 x 2" in said, said
    one, two = state(tmp_path / "one"), state(tmp_path / "two")
    assert one.history["loss"] == pytest.approx(two.history["loss"], rel=1e-5)
    for name, entries in one.optimizer.items():  # Adam's first mean is 0.1 of the first gradient and 0.9 of it plus 0.1 of the second
        a, b = entries["exp_avg"], two.optimizer[name]["exp_avg"]
        assert torch.allclose(a, b, rtol=1e-3, atol=1e-3 * float(a.abs().max()) + 1e-9), name


ON_THE_PROCESSOR = """
import runpy, sys
import accelerate, torch.distributed
from accelerate.state import AcceleratorState, PartialState

made = accelerate.Accelerator

def on_the_processor(cpu=None, **settings):  # accelerate brings DeepSpeed up on accelerators alone, and counts one process elsewhere
    accelerator = made(cpu=False, **settings)
    for state in (PartialState._shared_state, AcceleratorState._shared_state):
        state.update(num_processes=torch.distributed.get_world_size(), process_index=torch.distributed.get_rank(), local_process_index=torch.distributed.get_rank())
    print(accelerator.distributed_type, flush=True)
    return accelerator

accelerate.Accelerator = on_the_processor
del sys.argv[0]
sys.path.insert(0, sys.argv.pop(0))
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def test_zero_two_takes_the_steps_of_two_plain_processes(comfyui, tmp_path, monkeypatch):
    """DeepSpeed's stage 2 on two processes of the processor: the losses of DDP, whose second step depends on the first one's gradients."""
    pytest.importorskip("deepspeed", reason="needs deepspeed (pip install deepspeed), and a C++ compiler")
    common = ["--steps", "3", "--set", "accumulate=2", "--set", "batch=1"]
    launcher = lambda: ["-m", "torch.distributed.run", "--nproc_per_node", "2", "--master_port", str(_free_port())]
    code, said = train(comfyui, tmp_path, tmp_path / "plain", *common, launcher=launcher())
    assert code == 0, said
    (wrapper := tmp_path / "on_the_processor.py").write_text(ON_THE_PROCESSOR)
    for name, value in (("DS_ACCELERATOR", "cpu"), ("ACCELERATE_USE_DEEPSPEED", "true"), ("ACCELERATE_DEEPSPEED_ZERO_STAGE", "2")):
        monkeypatch.setenv(name, value)
    code, said = train(comfyui, tmp_path, tmp_path / "zero", *common, launcher=[*launcher(), str(wrapper), str(ROOT / "tools")])
    assert code == 0 and "DEEPSPEED" in said and "DeepSpeed keeps the optimizer's state in parts" in said, said
    plain, zero = (state(tmp_path / name).history["loss"] for name in ("plain", "zero"))
    assert zero == pytest.approx(plain, rel=1e-3) and len(set(plain)) == 3


def _free_port():
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
