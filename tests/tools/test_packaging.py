"""What the registry, the Manager and pip read agrees with itself."""

import ast
import re
import shutil
import subprocess

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


@pytest.fixture(scope="module")
def published():
    """The files of the registry's archive: what git tracks, or would, without what .comfyignore names (comfy-cli reads it as git does)."""
    if not shutil.which("git") or subprocess.run(["git", "-C", str(ROOT), "rev-parse"], capture_output=True).returncode:
        pytest.skip("this is no git checkout")

    def listed(*more):
        return set(subprocess.run(["git", "-C", str(ROOT), "ls-files", "-z", *more], capture_output=True, text=True, check=True).stdout.split("\0")) - {""}

    ignored = listed("-ci", "--exclude-from=.comfyignore") | listed("-oi", "--exclude-from=.comfyignore")
    return {name for name in listed("-co", "--exclude-standard") - ignored if (ROOT / name).is_file()}


def test_the_archive_holds_what_a_user_runs_and_nothing_else(published):
    tops = {name.partition("/")[0] for name in published}
    assert {"__init__.py", "nodes", "host", "models", "preprocess", "data", "training", "web", "workflows", "pyproject.toml", "LICENSE", "README.md"} <= tops
    assert not tops & {"tests", "tools", "benchmarks", "docs", ".ci", ".github", "output", "artifacts"}
    on_disk = {path.relative_to(ROOT).as_posix() for path in (ROOT / "web").rglob("*") if path.is_file()}
    assert on_disk <= published, "help pages and scripts of the frontend"
    assert {path.relative_to(ROOT).as_posix() for path in (ROOT / "workflows" / "api").glob("*.json")} <= published


def test_the_archive_is_small(published):
    weights = sum((ROOT / name).stat().st_size for name in published if name.startswith("models/demo/"))
    assert sum((ROOT / name).stat().st_size for name in published) - weights < 6e6


def test_what_is_published_imports_only_what_is_published(published):
    """Nothing that a user runs needs a module that the archive leaves out."""
    left_out = {"tests", "tools", "benchmarks", "training.stack", "workflows"}
    for name in sorted(name for name in published if name.endswith(".py")):
        package = name.split("/")[:-1]
        for node in ast.walk(ast.parse((ROOT / name).read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.level:
                target = [*package[:len(package) - node.level + 1], *(node.module or "").split(".")]
                for full in [".".join(filter(None, [*target, *more])) for more in ([], *([alias.name] for alias in node.names))]:
                    assert not any(full == out or full.startswith(out + ".") for out in left_out), f"{name} imports {full}"


def test_the_archive_passes_the_syntax_level_of_comfy_test(published):
    """What that level refuses in any .py file: networks that do not go through the host's casting layers, hard devices."""
    layers = ("Linear", "Conv1d", "Conv2d", "Conv3d", "ConvTranspose1d", "ConvTranspose2d", "LayerNorm", "GroupNorm", "Embedding")
    refused = [f"nn.{layer}(" for layer in layers] + [".cuda(", '.to("cuda', '.to(torch.device("cuda', "torch.autocast(", "torch.cuda.amp.autocast", "torch.amp.autocast"]
    for name in sorted(name for name in published if name.endswith(".py")):
        lines = [line for line in (ROOT / name).read_text(encoding="utf-8").splitlines() if not line.lstrip().startswith("#")]
        assert not [(name, text) for text in refused if any(text in line for line in lines)]


def test_what_is_published_reaches_no_network_starts_no_process_and_unpickles_nothing(published):
    refused = {"subprocess", "urllib", "requests", "http", "socket", "pickle", "ctypes", "runpy", "pty", "tarfile", "zipfile", "webbrowser"}
    for name in sorted(name for name in published if name.endswith(".py")):
        for node in ast.walk(ast.parse((ROOT / name).read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not refused & {full.partition(".")[0] for full in names}, name


def test_every_file_is_ascii_where_comfy_test_wants_it():
    bad = [str(path.relative_to(ROOT)) for path in ROOT.rglob("*.py") if ".git" not in path.parts and not path.read_bytes().isascii()]
    assert bad == []
