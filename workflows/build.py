"""Write every bundled workflow: the canvas form, the API form, and the list of parameters a program sets.

    python3 tools/workflows.py          builds with the schemas of a real ComfyUI that has this pack loaded

`build(info)` returns the files as {path below workflows/: text}; a test builds again and compares bytes.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

from .graph import Graph

HERE = Path(__file__).resolve().parent
RECIPES = sorted(p.stem for p in (HERE / "recipes").glob("*.py") if p.stem != "__init__")


def recipes() -> list[Callable[[dict], Graph]]:
    """The functions that describe workflows, from every module in `recipes`."""
    found = []
    for name in RECIPES:
        module = import_module(f".recipes.{name}", __package__)
        found += module.WORKFLOWS
    return found


def build(info: dict) -> dict[str, str]:
    """All files, by path below `workflows/`.

    Args:
        info: what ComfyUI answers to /object_info.

    Raises:
        ValueError: a workflow names an unknown node or input, a value outside its range, or a wrong link.
    """
    files, params = {}, {}
    for describe in recipes():
        graph = describe(info)
        files[f"{graph.name}.json"] = _text(graph.canvas())
        files[f"api/{graph.name}.json"] = _text(graph.api())
        params[graph.name] = {"description": graph.description, "parameters": graph.params}
    files["api/params.json"] = _text(params)
    return files


def _text(value) -> str:
    return json.dumps(value, indent=1, ensure_ascii=True) + "\n"
