"""Who may import whom (DESIGN, "Arrows"), read from the source.

nodes -> host, models, preprocess, data, training, evaluation;  training, evaluation, data -> models, preprocess, torch;
models.<paper> -> models.parts -> torch;  host -> models' shared files;  nothing imports nodes;  imports are relative.
"""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
HOST = {"comfy", "comfy_api", "comfy_extras", "comfy_execution", "folder_paths", "node_helpers", "nodes", "execution", "server", "latent_preview"}
FOLDERS = ("host", "nodes", "models", "preprocess", "data", "training", "evaluation", "workflows")
PACK = {*FOLDERS, "tests", "tools", "benchmarks"}
MAY_IMPORT = {
    "nodes": {"nodes", "host", "models", "preprocess", "data", "training", "evaluation"},
    "host": {"host", "models"},
    "models": {"models"},
    "preprocess": {"preprocess"},
    "data": {"data", "models", "preprocess"},
    "training": {"training", "models", "preprocess", "data"},
    "evaluation": {"evaluation", "models", "preprocess", "data", "training"},
    "workflows": {"workflows"},
}
SHARED_MODELS = {"method", "weights", "parts", "conversion"}
SOURCES = [p for folder in FOLDERS for p in sorted((ROOT / folder).rglob("*.py"))]


def imports(path):
    """(level, dotted module, imported names) of every import in a file."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield 0, alias.name, []
        elif isinstance(node, ast.ImportFrom):
            yield node.level, node.module or "", [a.name for a in node.names]


def targets(path):
    """What a file's relative imports point at, as paths of names below the repository."""
    package = list(path.relative_to(ROOT).parts[:-1])
    for level, module, names in imports(path):
        if level:
            base = package[: len(package) - (level - 1)] + (module.split(".") if module else [])
            yield tuple(base) if module else tuple(base), names


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_follow_the_arrows(path):
    folder = path.relative_to(ROOT).parts[0]
    absolute = {module.split(".")[0] for level, module, _ in imports(path) if level == 0}
    if folder != "host":
        assert not absolute & HOST, f"imports {sorted(absolute & HOST)}; go through host/"
    assert not (absolute & PACK) - HOST, f"imports {sorted(absolute & PACK)} absolutely; use a relative import"
    for target, names in targets(path):
        tops = {target[0]} if target else {n for n in names if n in PACK}
        assert tops <= MAY_IMPORT[folder], f"{folder} must not import {sorted(tops)}"
        if folder == "host" and target[:1] == ("models",):
            parts = {target[1]} if len(target) > 1 else set(names)
            assert parts <= SHARED_MODELS, f"the host imports a paper: {sorted(parts)}"


@pytest.mark.parametrize("path", sorted((ROOT / "models" / "parts").glob("*.py")), ids=lambda p: p.name)
def test_parts_know_no_paper(path):
    for target, _ in targets(path):
        assert target[:2] == ("models", "parts"), f"{path.name} imports {'.'.join(target)}"


def test_sources_are_plain_ascii_and_short():
    """comfy-test refuses other characters; a file that grows past 500 lines becomes a package."""
    for path in [*SOURCES, ROOT / "__init__.py", *sorted((ROOT / "tools").rglob("*.py")), *sorted((ROOT / "tests").rglob("*.py"))]:
        text = path.read_text(encoding="utf-8")
        assert text.isascii(), f"{path.relative_to(ROOT)} holds a character outside ASCII"
        assert text.count("\n") <= 500, f"{path.relative_to(ROOT)} has {text.count(chr(10))} lines"


def test_importing_the_pack_imports_no_heavy_library():
    """The root's __init__ must not import torch, cv2 or the nodes: the host asks for them when it is ready."""
    tree = ast.parse((ROOT / "__init__.py").read_text())
    assert not [n for n in tree.body if isinstance(n, (ast.Import, ast.ImportFrom))]
    lazy = {"cv2", "diffusers", "segment_anything", "kornia", "scipy", "skimage", "matplotlib", "accelerate", "transformers"}
    for path in SOURCES:
        top = [n for n in ast.parse(path.read_text()).body if isinstance(n, (ast.Import, ast.ImportFrom))]
        names = {a.name.split(".")[0] for n in top if isinstance(n, ast.Import) for a in n.names}
        names |= {n.module.split(".")[0] for n in top if isinstance(n, ast.ImportFrom) and n.level == 0 and n.module}
        assert not names & lazy, f"{path.relative_to(ROOT)} imports {sorted(names & lazy)} at the top; import it inside the function that needs it"
