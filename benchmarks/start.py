"""How a benchmark begins: inside the environment, with its command line read, and the host loaded on the device there is."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tools"))
import pack  # noqa: E402

KERNEL = "--use-pytorch-cross-attention"
"""The same attention everywhere, so that ratios compare."""


def start(script: str, parser: argparse.ArgumentParser, given: Sequence[str] | None = None) -> tuple[argparse.Namespace, str]:
    """(what the command line says, "cuda" or "cpu"); runs the script again inside the environment, and ends, where this process is outside it."""
    given = list(sys.argv[1:] if given is None else given)
    options = parser.parse_args(given)
    made, code = pack.enter(script, *given)
    if made is None:
        sys.exit(code)
    pack.load()
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    pack.load_host(made.comfyui, *(() if device == "cuda" else ("--cpu",)), KERNEL)
    return options, device


def arguments(text: str) -> argparse.ArgumentParser:
    """A parser whose help is the script's own description."""
    return argparse.ArgumentParser(description=text, formatter_class=argparse.RawDescriptionHelpFormatter)
