"""For the programs in this folder: run inside the environment, and import the pack whatever its folder is called."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def enter(script: str, *arguments: str):
    """The environment this process runs in, or None after running `script` again inside it (then exit with the code given).

    Returns:
        (setup, None) when this process already runs inside the environment, (None, exit code) otherwise.
    """
    if __package__:
        from . import setup
    else:
        import setup

    inside = [os.environ.get(name) for name in ("FITTING_ROOM_COMFYUI", "FITTING_ROOM_BASE")]
    if all(inside):
        return setup.Setup(sys.executable, *inside), None
    return None, setup.run_inside(setup.ensure(), script, *arguments)


def load() -> None:
    """Make `fitting_room.<module>` importable from this folder without running its __init__."""
    if "fitting_room" not in sys.modules:
        module = importlib.util.module_from_spec(importlib.machinery.ModuleSpec("fitting_room", None, is_package=True))
        module.__path__ = [str(ROOT)]
        sys.modules["fitting_room"] = module


def load_host(comfyui: str | Path, *flags: str) -> None:
    """Make the host importable in this process, with its command-line flags (for benchmarks and training)."""
    sys.path.insert(0, str(comfyui))
    before, sys.argv = sys.argv, [sys.argv[0], *flags]
    try:
        import comfy.options

        comfy.options.enable_args_parsing()
        import comfy.cli_args  # noqa: F401
    finally:
        sys.argv = before
