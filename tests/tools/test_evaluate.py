"""The command lines of measuring: a folder by a paper's protocol, and the list of ablations."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.host


def tool(comfyui, base, name, *arguments):
    """One run of a program of ours inside the environment: (exit code, what it printed)."""
    environment = {**os.environ, "FITTING_ROOM_COMFYUI": str(comfyui), "FITTING_ROOM_BASE": str(base), "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, str(ROOT / "tools" / name), *map(str, arguments)], capture_output=True, text=True, timeout=300, env=environment)
    return done.returncode, done.stdout + done.stderr


def test_a_folder_is_measured_and_what_is_wrong_is_one_sentence(comfyui, tmp_path):
    pytest.importorskip("torchmetrics")
    for folder, offset in (("real", 0), ("made", 20)):
        (tmp_path / folder).mkdir()
        for number in range(2):
            Image.fromarray(np.full((32, 24, 3), 100 + 50 * number + offset, np.uint8)).save(tmp_path / folder / f"{number}.png")
    Image.new("RGB", (24, 32)).save(tmp_path / "made" / "stranger.png")
    out = tmp_path / "found.json"
    common = ["--real", tmp_path / "real", "--generated", tmp_path / "made", "--metrics", "psnr", "--output", out]
    code, said = tool(comfyui, tmp_path, "evaluate.py", "igr", *common, "--size", "own")
    assert code == 0 and "no truth (1): stranger.png" in said and "| PSNR | higher | 22.11 |" in said, said  # 20 * log10(255 / 20)
    assert json.loads(out.read_text())["results"]["psnr"]["count"] == 2
    for more, words in ((["igrr", *common], "There is no protocol 'igrr'; choose one of igr"), (["igr", *common, "--size", "24"], "write WIDTHxHEIGHT"), (["igr", *common[2:], "--real", tmp_path / "no"], "There is no folder")):
        code, said = tool(comfyui, tmp_path, "evaluate.py", *more)
        assert code == 1 and words in said and "Traceback" not in said, said


def test_ablations_are_listed_and_unknown_ones_refused(comfyui, tmp_path):
    code, said = tool(comfyui, tmp_path, "ablation.py", "list")
    assert code == 0 and "igr: IGR: with and without GarmNet" in said and "SIFT-VTON, weight 0.0005" in said
    for more, words in ((["nothing", "--cpu"], "There is no ablation 'nothing'; there are igr"), (["report", "--output", tmp_path], "There are no rows"), (["igr", "--cpu", "--set", "steps"], "is not NAME=VALUE")):
        code, said = tool(comfyui, tmp_path, "ablation.py", *more)
        assert code == 1 and words in said and "Traceback" not in said, said
