"""What the registry, the Manager and pip read agrees with itself."""

import re

import pytest
from fitting_room.tools import setup

tomllib = pytest.importorskip("tomllib")  # Python 3.11 and newer
ROOT = setup.ROOT


@pytest.fixture(scope="module")
def pyproject():
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def test_requirements_are_the_dependencies_and_pin_nothing(pyproject):
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").split()
    assert lines == pyproject["project"]["dependencies"]
    assert all(re.fullmatch(r"[a-z0-9-]+", line) for line in lines)


def test_nothing_that_the_host_brings_is_required(pyproject):
    host = {"torch", "torchvision", "torchaudio", "numpy", "pillow", "scipy", "safetensors", "transformers", "kornia", "tqdm", "einops"}
    lines = sum(pyproject["project"]["optional-dependencies"].values(), pyproject["project"]["dependencies"])
    named = [re.split(r"[<>=\[ ]", line.lower())[0] for line in lines]
    assert not host & set(named)


def test_registry_metadata_is_complete(pyproject):
    project, comfy = pyproject["project"], pyproject["tool"]["comfy"]
    assert re.fullmatch(r"[a-z]+(-[a-z]+)*", project["name"]) and "comfyui" not in project["name"]
    assert project["name"] == setup.PACK == comfy["PublisherId"]
    assert re.fullmatch(r"\d+\.\d+\.\d+", project["version"])
    assert (ROOT / project["license"]["file"]).is_file() and (ROOT / project["readme"]).is_file()
    assert {"Repository", "Documentation", "Bug Tracker"} <= set(project["urls"])
    allowed = r"Operating System :: .+|Environment :: (GPU :: (NVIDIA CUDA|AMD ROCm|Intel Arc|Apple Metal)|NPU :: Huawei Ascend)"
    assert all(re.fullmatch(allowed, line) for line in project["classifiers"])  # one bad entry voids all of them
    assert comfy["DisplayName"] == "Fitting Room" and "web" not in comfy
    assert comfy["requires-comfyui"] == ">=" + ".".join(map(str, setup.OLDEST_HOST))
    assert (ROOT / "docs" / comfy["Icon"].rpartition("/")[2]).is_file()


def test_what_reaches_the_network_or_starts_processes_is_not_published():
    ignored = (ROOT / ".comfyignore").read_text(encoding="utf-8").split()
    assert {"tests/", "tools/", "benchmarks/", "docs/", ".ci/", ".github/"} <= set(ignored)


def test_every_file_is_ascii_where_comfy_test_wants_it():
    bad = [str(path.relative_to(ROOT)) for path in ROOT.rglob("*.py") if ".git" not in path.parts and not path.read_bytes().isascii()]
    assert bad == []
