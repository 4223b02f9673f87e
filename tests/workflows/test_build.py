"""The bundled workflows are what `workflows/build.py` writes today, and each of them runs."""

import io
import json
from pathlib import Path

import pytest

from ..support import needs_the_newest_host

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "workflows"
TITLE = 30  # the height of a node's title bar, which lies above its position
API = sorted(p for p in (FOLDER / "api").glob("*.json") if p.stem != "params")
pytestmark = pytest.mark.server


@pytest.fixture(scope="module")
def info(server):
    return server.client.object_info()


def test_building_again_gives_the_same_bytes(server, info):
    from fitting_room.workflows.build import build, written

    needs_the_newest_host(server)
    files = build(info)
    assert written(ROOT) == set(files), "run python3 tools/workflows.py"
    changed = [name for name, text in files.items() if (ROOT / name).read_text(encoding="utf-8") != text]
    assert not changed, f"{changed} differ from what is built; run python3 tools/workflows.py"


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.json")), ids=lambda p: p.stem)
def test_canvas_links_are_whole(path, info):
    graph = json.loads(path.read_text())
    nodes = {n["id"]: n for n in graph["nodes"]}
    for number, source, out, target, into, kind in graph["links"]:
        assert number in nodes[source]["outputs"][out]["links"]
        assert nodes[target]["inputs"][into]["link"] == number
        assert nodes[source]["outputs"][out]["type"] == kind
    assert {n["type"] for n in graph["nodes"]} - {"MarkdownNote"} <= set(info)
    assert not overlaps([g["bounding"] for g in graph["groups"]]), "groups overlap"
    assert not overlaps([[n["pos"][0], n["pos"][1] - TITLE, n["size"][0], n["size"][1] + TITLE] for n in graph["nodes"]]), "nodes overlap"


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.json")), ids=lambda p: p.stem)
def test_canvas_reads_from_left_to_right(path):
    """A link never goes back to the left, and every node stands inside its group."""
    graph = json.loads(path.read_text())
    nodes = {n["id"]: n for n in graph["nodes"]}
    back = [(nodes[a]["title"], nodes[b]["title"]) for _, a, _, b, _, _ in graph["links"] if nodes[a]["pos"][0] > nodes[b]["pos"][0]]
    assert not back
    inside = lambda n, g: g[0] <= n["pos"][0] and g[1] <= n["pos"][1] - TITLE and n["pos"][0] + n["size"][0] <= g[0] + g[2] and n["pos"][1] + n["size"][1] <= g[1] + g[3]
    loose = [n["title"] for n in graph["nodes"] if sum(inside(n, g["bounding"]) for g in graph["groups"]) != 1]
    assert loose == ["About this workflow"]


def overlaps(rectangles):
    """Pairs of rectangles (x, y, width, height) that share more than an edge."""
    meet = lambda a, b: a[0] < b[0] + b[2] and b[0] < a[0] + a[2] and a[1] < b[1] + b[3] and b[1] < a[1] + a[3]
    return [(a, b) for i, a in enumerate(rectangles) for b in rectangles[i + 1 :] if meet(a, b)]


def test_a_blueprint_with_an_unnamed_link_is_refused(info):
    from dataclasses import replace

    from fitting_room.workflows.blueprints import BLUEPRINTS

    first = BLUEPRINTS[0]
    with pytest.raises(ValueError, match="vae comes from base, outside of the box"):
        replace(first, sockets={k: v for k, v in first.sockets.items() if k != "vae"}).canvas(info)


@pytest.mark.parametrize("path", sorted((FOLDER / "tests").glob("*.json")), ids=lambda p: p.stem)
def test_small_workflows_count_as_comfy_test_counts(path, info):
    """Values are taken in the order of the schema without the choices; each must be of its type and within its range."""
    kinds = {"INT": (int,), "FLOAT": (int, float), "STRING": (str,), "BOOLEAN": (bool,)}
    for node in json.loads(path.read_text())["nodes"]:
        inputs = info[node["type"]]["input"]
        specs = [s for part in ("required", "optional") for s in inputs.get(part, {}).values() if s[0] in kinds or isinstance(s[0], list)]
        for (kind, *options), value in zip(specs, node["widgets_values"]):
            limits = options[0] if options else {}
            if isinstance(kind, list):
                assert value in kind
            else:
                assert isinstance(value, kinds[kind]), f"{node['type']}: {value!r} stands where {kind} is read"
                assert limits.get("min", value) <= value <= limits.get("max", value)


def test_comfy_test_is_told_of_the_small_workflows_alone():
    tomllib = pytest.importorskip("tomllib")  # Python 3.11 and newer
    run = tomllib.loads((ROOT / "comfy-test.toml").read_text())["test"]["workflows"]["run"]
    assert sorted(run) == sorted(p.name for p in (FOLDER / "tests").glob("*.json"))
    assert not {p.name for p in FOLDER.glob("*.json")} & set(run)  # comfy-test would take the template of that name


@pytest.mark.parametrize("name", ["sampling", "controlnet", "masks"])
def test_small_workflows_run(name, info, server):
    from fitting_room.workflows.small import small

    history = server.client.run(next(g for g in small(info) if g.name == name).api())
    assert history["status"]["status_str"] == "success" and server.client.images(history)


@pytest.mark.parametrize("path", API, ids=lambda p: p.stem)
def test_every_workflow_runs_over_http(path, server):
    """Small and with few steps: pictures are uploaded, parameters set as a program sets them, the result read from history."""
    prompt = json.loads(path.read_text())
    params = json.loads((FOLDER / "api" / "params.json").read_text())[path.stem]["parameters"]
    for name, param in params.items():
        inputs = prompt[param["node"]]["inputs"]
        if param["type"] == "IMAGE FILE":
            inputs[param["input"]] = server.client.upload(picture(name), f"test_{name}.png")
        elif param["input"] == "steps":
            inputs["steps"] = min(inputs["steps"], 2)
    shrink(prompt)
    history = server.client.run(prompt)
    assert history["status"]["status_str"] == "success"
    from PIL import Image

    images = server.client.images(history)
    texts = [t for o in history["outputs"].values() for t in o.get("text", ())]
    assert images or texts
    for image in images:
        assert Image.open(io.BytesIO(server.client.download(image))).getextrema()


def shrink(prompt):
    """Sizes as small as the networks take, so that the whole list runs in a minute on a CPU."""
    for node in prompt.values():
        inputs = node["inputs"]
        for side in ("width", "height", "size"):
            if isinstance(inputs.get(side), int) and inputs[side] % 64 == 0:
                inputs[side] = max(128, inputs[side] // 4 // 64 * 64)


def picture(name):
    """A picture with a transparent region, 192 x 256: gradients in colour, or in grey where it stands for a depth map."""
    import numpy
    from PIL import Image

    y, x = numpy.mgrid[0:256, 0:192]
    alpha = numpy.where((abs(x - 96) < 50) & (abs(y - 140) < 70), 0, 255)
    colours = [x, y, (x + y) // 2] if "depth" not in name else [y] * 3
    rgba = numpy.stack([*colours, alpha], -1).astype("uint8")
    data = io.BytesIO()
    Image.fromarray(rgba).save(data, "PNG")
    return data.getvalue()


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.json")), ids=lambda p: p.stem)
def test_workflows_open_readable_at_their_upper_left_corner(path):
    graph = json.loads(path.read_text())
    view = graph["extra"]["ds"]
    assert 0.6 < view["scale"] <= 1  # the frontend leaves out texts below 0.6
    corner = [min(n["pos"][i] for n in graph["nodes"]) - (TITLE if i else 0) for i in (0, 1)]
    x, y = ((c + o) * view["scale"] for c, o in zip(corner, view["offset"]))
    assert 60 < x < 200 and 60 < y < 200  # right of the side bar, below the menu
