"""Import the pack as the host does: from its folder, whatever the folder is called; offer the host and a running server.

`fitting_room` is registered as a namespace whose path is the repository, so that
`fitting_room.models`, `fitting_room.preprocess` ... import without the host, and `fitting_room.host`
and `fitting_room.nodes` import when a host is at hand (the `comfyui` fixture).

Three tiers, told apart by the fixtures a test asks for and run in this order: *pure* (none), *host* (`comfyui`: the real
ComfyUI inside this process) and *server* (`server`: a real ComfyUI process). Without a host the last two are skipped.
"""

import importlib.machinery
import importlib.util
import os
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
TIERS = ("pure", "host", "server")
# `python -m pytest` puts the repository on sys.path; ComfyUI does not, and `import models` must fail here as it would there.
sys.path[:] = [entry for entry in sys.path if entry and Path(entry).resolve() != ROOT]


def _namespace(name: str, folder: Path) -> None:
    spec = importlib.machinery.ModuleSpec(name, None, is_package=True)
    module = importlib.util.module_from_spec(spec)
    module.__path__ = [str(folder)]
    sys.modules[name] = module


if "fitting_room" not in sys.modules:
    _namespace("fitting_room", ROOT)


def _named_host() -> Path:
    named = os.environ.get("FITTING_ROOM_COMFYUI") or os.environ.get("COMFYUI_PATH")
    if not named:
        pytest.skip("no ComfyUI at hand: run python3 tools/test.py, or set COMFYUI_PATH")
    if not (Path(named) / "main.py").is_file():
        pytest.fail(f"{named} is not the folder of a ComfyUI", pytrace=False)
    return Path(named).resolve()


@pytest.fixture(scope="session")
def comfyui(tmp_path_factory) -> Path:
    """The host's folder, with its modules importable in this process (on the CPU, or on an accelerator with FITTING_ROOM_GPU=1)."""
    folder = _named_host()
    base = os.environ.get("FITTING_ROOM_BASE") or tmp_path_factory.mktemp("base")
    arguments = ["--base-directory", str(base), "--temp-directory", str(tmp_path_factory.mktemp("host")), "--use-pytorch-cross-attention"]
    if os.environ.get("FITTING_ROOM_GPU") != "1":
        arguments.append("--cpu")
    sys.path.insert(0, str(folder))
    before, sys.argv = sys.argv, [sys.argv[0], *arguments]  # the host reads its options when comfy.cli_args is first imported
    try:
        import comfy.options
        comfy.options.enable_args_parsing()
        import comfy.cli_args  # noqa: F401
    finally:
        sys.argv = before
    return folder


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    """A running ComfyUI with this pack loaded; `server.client` talks to it."""
    from fitting_room.tools.server import Server

    folder = _named_host()
    base = os.environ.get("FITTING_ROOM_BASE")
    if not base:
        pytest.skip("no base directory at hand: run python3 tools/test.py")
    output = tmp_path_factory.mktemp("output")
    with Server(sys.executable, folder, base, output_directory=output) as running:
        yield running


def pytest_collection_modifyitems(items) -> None:
    """Mark each test with its tier and run cheap tiers first."""
    def tier(item) -> int:
        names = getattr(item, "fixturenames", ())
        if "server" in names or item.get_closest_marker("server"):
            return 2
        return 1 if "comfyui" in names or item.get_closest_marker("host") else 0

    for item in items:
        level = tier(item)
        item.user_properties.append(("tier", TIERS[level]))
        if level:
            item.add_marker(TIERS[level])
    items.sort(key=tier)  # stable: the order within a tier stays


def pytest_runtest_setup(item) -> None:
    """Skip what needs an accelerator where there is none."""
    if item.get_closest_marker("gpu"):
        import torch
        if not torch.cuda.is_available():
            pytest.skip("needs an accelerator")


def pytest_terminal_summary(terminalreporter) -> None:
    """One line for the three tiers."""
    counts = {tier: {} for tier in TIERS}
    for outcome in ("passed", "failed", "error", "skipped", "xfailed", "xpassed"):
        for report in terminalreporter.stats.get(outcome, ()):
            tier = dict(getattr(report, "user_properties", ())).get("tier")
            if tier:
                counts[tier][outcome] = counts[tier].get(outcome, 0) + 1
    told = [f"{tier}: " + ", ".join(f"{number} {outcome}" for outcome, number in found.items()) for tier, found in counts.items() if found]
    if told:
        terminalreporter.write_sep("=", " | ".join(told))
