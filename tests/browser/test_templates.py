"""Every bundled workflow, opened as a user opens it: nothing missing, nothing overlapping, no error; a picture of each is kept."""

import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
NAMES = sorted(p.stem for p in (ROOT / "workflows").glob("*.json"))
THUMBNAIL = re.compile(r"/workflow_templates/\S+\.jpg")  # a template without one is no error of ours; the next test looks at those there are


def meeting(boxes):
    """Titles of nodes whose rectangles, as the frontend draws them, share more than a hair."""
    meet = lambda a, b: min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0]) > 1 and min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1]) > 1
    return [(a["title"], b["title"]) for i, a in enumerate(boxes) for b in boxes[i + 1 :] if meet(a["box"], b["box"])]


@pytest.fixture(scope="module")
def graphs(server):
    """Every workflow as it is described, by name."""
    from fitting_room.workflows.build import recipes

    info = server.client.object_info()
    return {graph.name: graph for graph in (describe(info) for describe in recipes())}


def sends(page, graph):
    """Where the prompt that the canvas would send differs from what the workflow describes."""
    numbers = {node.id: str(i + 1) for i, node in enumerate(graph.nodes)}
    link = lambda v: [numbers[v[0]], v[1]] if isinstance(v, list) else v
    wanted = {numbers[k]: (n["class_type"], {i: link(v) for i, v in n["inputs"].items()}) for k, n in graph.api(drawn=True).items()}
    sent = {k: (n["class_type"], n["inputs"]) for k, n in page.js("async () => (await app.graphToPrompt()).output").items()}
    return [f"the canvas sends {sent.get(k)} and not {v}" for k, v in wanted.items() if sent.get(k) != v]


def faults(page, graph):
    """What is wrong with the template that is open."""
    nodes, name = page.nodes(), graph.name
    wanted = json.loads((ROOT / "workflows" / f"{name}.json").read_text())["nodes"]
    found = [f"misses {m}" for m in page.missing()]
    found += [f"has {len(nodes)} nodes in place of {len(wanted)}"] if len(nodes) != len(wanted) else []
    found += [f"{n['title']}: the link to {b} leads nowhere" for n in nodes for b in n["broken"]]
    found += [f"{a} overlaps {b}" for a, b in meeting(nodes)]
    return found + sends(page, graph) + [p for p in page.problems() if not THUMBNAIL.search(p)]


def test_every_template_opens_from_the_template_browser(open_page, graphs, pictures):
    wrong = {}
    with open_page((1600, 900)) as page:
        page.open(NAMES[0])
        for name in NAMES:
            page.browse()
            page.choose(name)
            if name in ("outfit_transfer", "try_on"):
                page.page.screenshot(path=pictures / f"opened_{name}.png")
            if found := faults(page, graphs[name]):
                wrong[name] = found
            page.glance(pictures / f"template_{name}.png")
    assert not wrong


@pytest.mark.parametrize("name", ["jewelry_necklace", "outfit_transfer", "train_pm_jewelry"])
def test_large_templates_in_nodes_2(open_page, graphs, pictures, name):
    with open_page((1920, 1080), **{"Comfy.VueNodes.Enabled": True}) as page:
        page.open(name)
        page.page.wait_for_timeout(1500)
        found = faults(page, graphs[name])
        page.shot(pictures / f"nodes2_{name}.png")
    assert not found
