"""Checkpoints: whole or not there, and only of the same run."""

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import torch
from fitting_room.training import checkpoint
from fitting_room.training.checkpoint import CheckpointError, State, check_identity

ROOT = Path(__file__).resolve().parents[2]


def state(step, value=1.0, size=8):
    return State(
        step, {"a.b": torch.full((size,), value)}, {"a.b": torch.full((size,), value / 2)},
        {"a.b": {"step": torch.tensor(float(step)), "exp_avg": torch.full((size,), value / 4), "kind": 3}},
        {"loss": [0.1 + 1e-17, 0.3], "noise": [0.1, 0.2]}, {"method": "igr", "data set": "x"}, {"ema_updates": step, "scale": 0.0}, 12.5,
    )


def same(a, b):
    assert (a.step, a.history, a.identity, a.scalars, a.seconds) == (b.step, b.history, b.identity, b.scalars, b.seconds)
    for part in ("weights", "ema"):
        assert all(torch.equal(getattr(a, part)[k], getattr(b, part)[k]) for k in getattr(b, part))
    for name, entries in b.optimizer.items():
        for key, value in entries.items():
            found = a.optimizer[name][key]
            assert torch.equal(found, value) and found.dtype == value.dtype if isinstance(value, torch.Tensor) else found == value


def test_what_is_saved_comes_back_bit_for_bit(tmp_path):
    checkpoint.save(tmp_path, state(3))
    same(checkpoint.load(tmp_path), state(3))


def test_only_the_last_ones_stay(tmp_path):
    for step in (1, 2, 3, 4):
        checkpoint.save(tmp_path, state(step), keep=1)
    assert checkpoint.steps_in(tmp_path) == [3, 4]


def test_a_damaged_checkpoint_gives_way_to_an_older_one(tmp_path):
    checkpoint.save(tmp_path, state(1))
    path = checkpoint.save(tmp_path, state(2))
    path.write_bytes(path.read_bytes()[:-20])
    assert checkpoint.load(tmp_path).step == 1
    checkpoint.path_of(tmp_path, 1).write_bytes(b"x")
    with pytest.raises(CheckpointError, match="step 2.*step 1"):
        checkpoint.load(tmp_path)


def test_nothing_to_resume_is_one_sentence(tmp_path):
    with pytest.raises(CheckpointError, match="nothing to resume"):
        checkpoint.load(tmp_path)


@pytest.mark.parametrize("part", ["method", "method's options", "base model", "data set", "settings"])
def test_another_run_is_refused_by_what_differs(part):
    names = ("method", "method's options", "base model", "data set", "settings")
    wanted = dict.fromkeys(names, "same")
    check_identity(wanted, wanted, "mine")
    with pytest.raises(CheckpointError, match=f"another {part}: there other, here same"):
        check_identity({**wanted, part: "other"}, wanted, "mine")


def test_a_disk_that_fills_up_keeps_the_last_checkpoint(tmp_path, monkeypatch):
    checkpoint.save(tmp_path, state(1))
    full = OSError(28, "No space left on device")
    monkeypatch.setattr(os, "fsync", lambda fd: (_ for _ in ()).throw(full))
    with pytest.raises(CheckpointError, match="Step 2 could not be saved.*No space left.*last whole checkpoint is step 1"):
        checkpoint.save(tmp_path, state(2))
    monkeypatch.undo()
    same(checkpoint.load(tmp_path), state(1))
    assert [p.name for p in tmp_path.iterdir()] == ["step-00000001.safetensors"]


def test_a_file_limit_is_such_a_disk(tmp_path):
    """A real one: the process may not write files larger than 64 kB."""
    program = textwrap.dedent(f"""
        import resource, signal, sys
        sys.path.insert(0, {str(ROOT / "tests")!r}); import conftest
        import torch
        from pathlib import Path
        from fitting_room.training import checkpoint
        from fitting_room.tests.training.test_checkpoint import state
        folder = Path({str(tmp_path)!r})
        checkpoint.save(folder, state(1))
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (65536, 65536))
        try:
            checkpoint.save(folder, state(2, size=100000))
        except checkpoint.CheckpointError as error:
            print(error)
    """)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
    assert "last whole checkpoint is step 1" in done.stdout, done.stdout + done.stderr
    same(checkpoint.load(tmp_path), state(1))


@pytest.mark.skipif(sys.platform == "win32", reason="kills by signal")
def test_a_process_killed_while_it_writes_loses_nothing(tmp_path):
    """Writes checkpoint after checkpoint without end and is killed at five moments; what is found is always whole."""
    program = textwrap.dedent(f"""
        import sys
        sys.path.insert(0, {str(ROOT / "tests")!r}); import conftest
        from pathlib import Path
        from fitting_room.training import checkpoint
        from fitting_room.tests.training.test_checkpoint import state
        folder, step = Path({str(tmp_path)!r}), (checkpoint.steps_in(Path({str(tmp_path)!r})) or [0])[-1]
        while True:
            step += 1
            checkpoint.save(folder, state(step, float(step), 400000), keep=1)
            print(step, flush=True)
    """)
    for round in range(5):
        process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
        told = 0
        for _ in range(round + 1):
            told = int(process.stdout.readline())
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        process.stdout.close()
        found = checkpoint.load(tmp_path)
        assert found.step >= told
        same(found, state(found.step, float(found.step), 400000))
