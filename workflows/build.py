"""Write every bundled workflow: the canvas form, the API form, the list of parameters a program sets; and the blueprints.

    python3 tools/workflows.py          builds with the schemas of a real ComfyUI that has this pack loaded

`build(info)` returns the files as {path below the pack: text}; a test builds again and compares bytes.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

from .blueprints import BLUEPRINTS
from .graph import Graph
from .small import small

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
    """All files, by path below the pack's folder.

    Args:
        info: what ComfyUI answers to /object_info.

    Raises:
        ValueError: a workflow names an unknown node or input, a value outside its range, or a wrong link.
    """
    files, params = {}, {}
    for describe in recipes():
        graph = describe(info)
        files[f"workflows/{graph.name}.json"] = _text(graph.canvas())
        files[f"workflows/api/{graph.name}.json"] = _text(graph.api())
        params[graph.name] = {"description": graph.description, "parameters": graph.params}
    files["workflows/api/params.json"] = _text(params)
    for graph in small(info):
        files[f"workflows/tests/{graph.name}.json"] = _text(graph.canvas(notes=False))
    for blueprint in BLUEPRINTS:
        files[f"subgraphs/{blueprint.name}.json"] = _text(blueprint.canvas(info))
    return files


def written(pack: Path) -> set[str]:
    """The files of this kind that lie in the pack's folder, by path below it."""
    folders = ("workflows", "workflows/api", "workflows/tests", "subgraphs")
    return {f"{folder}/{p.name}" for folder in folders for p in (pack / folder).glob("*.json")}


def _text(value) -> str:
    return json.dumps(value, indent=1, ensure_ascii=True) + "\n"
