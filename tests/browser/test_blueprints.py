"""Subgraph blueprints: the server lists them, the node library offers them, they stand in a graph with their inputs, and one runs."""

import io
import json
from pathlib import Path

import pytest

from .harness import STORE

ROOT = Path(__file__).resolve().parents[2]
NAMES = sorted(p.stem for p in (ROOT / "subgraphs").glob("*.json"))
BOX = """() => { const n = app.graph._nodes.find(n => n.isSubgraphNode?.()); return { title: n.title, inputs: n.inputs.map(i => i.name),
  widgets: Object.fromEntries((n.widgets ?? []).map(w => [w.label ?? w.name, w.value])), outputs: n.outputs.map(o => [o.name, o.type]),
  inside: n.subgraph.nodes.map(m => m.type), loose: n.subgraph.nodes.flatMap(m => m.inputs.filter(i => i.link != null && !n.subgraph.getLink(i.link)).map(i => i.name)) } }"""


def wanted(name):
    """(sockets, fields) that the file names."""
    made = json.loads((ROOT / "subgraphs" / f"{name}.json").read_text())["nodes"][0]["inputs"]
    return [i["name"] for i in made if "widget" not in i], [i["name"] for i in made if "widget" in i]


def test_the_server_lists_them(server):
    listed = server.client.get("/global_subgraphs")
    ours = {entry["name"]: key for key, entry in listed.items() if entry["info"]["node_pack"] == "custom_nodes.fitting-room"}
    assert sorted(ours) == NAMES == ["Add jewelry", "Dress", "Insert product", "Try off", "Try on"]
    for name, key in ours.items():
        assert json.loads(server.client.get(f"/global_subgraphs/{key}")["data"])["definitions"]["subgraphs"][0]["name"] == name


@pytest.mark.parametrize("vue", [False, True], ids=["classic", "nodes2"])
def test_each_stands_in_a_graph_with_its_inputs(open_page, pictures, vue):
    with open_page(**{"Comfy.VueNodes.Enabled": vue}) as page:
        page.open("match_viewer")
        known = page.js(STORE + "('subgraph').subgraphBlueprints.map(b => [b.display_name, b.category])")
        assert {(name, "Subgraph Blueprints/Fitting Room") for name in NAMES} <= {tuple(k) for k in known}
        for name in NAMES:
            page.load(json.loads((ROOT / "subgraphs" / f"{name}.json").read_text()), name)
            box = page.js(BOX)
            sockets, fields = wanted(name)
            assert box["title"] == name and box["inputs"][: len(sockets)] == sockets and set(fields) <= set(box["widgets"]), box
            assert box["outputs"] == [["image", "IMAGE"]] and box["loose"] == [] and page.missing() == []
            page.glance(pictures / f"blueprint_{name.replace(' ', '_')}{'_nodes2' if vue else ''}.png")
        assert page.problems() == []


def test_one_from_the_node_library_runs(open_page, pictures):
    from PIL import Image

    with open_page() as page:
        page.open("match_viewer")
        page.js("() => { app.graph.clear() }")
        page.page.locator(".node-library-tab-button").click()
        side = page.page.locator(".comfy-vue-side-bar-container")
        side.locator("input").first.fill("Insert product")
        side.get_by_text("Insert product").first.click()
        page.page.mouse.move(900, 500)
        page.page.wait_for_timeout(300)
        page.page.mouse.click(900, 500)  # the new node follows the cursor until it is put down
        page.page.wait_for_function("() => app.graph._nodes.some(n => n.isSubgraphNode?.())")
        out = page.js("""() => { const box = app.graph._nodes.find(n => n.isSubgraphNode?.()), at = (n) => box.inputs.findIndex(i => i.name === n);
          const add = (t, set = {}) => { const n = LiteGraph.createNode(t); app.graph.add(n);
            for (const [k, v] of Object.entries(set)) { const w = n.widgets.find(w => w.name === k); w.value = v; w.callback?.(v) } return n };
          const stack = add('FittingRoomDemoModel', { form: 'inpainting' }), method = add('FittingRoomDemoMethod', { method: 'diffuse_to_choose' });
          stack.connect(0, method, 0); stack.connect(0, box, at('model')); stack.connect(2, box, at('vae')); method.connect(0, box, at('method'));
          add('FittingRoomDemoVision', { kind: 'dinov2' }).connect(0, box, at('clip_vision'));
          const size = { width: 96, height: 128 }, room = add('FittingRoomDemoPicture', { kind: 'room', ...size });
          room.connect(0, box, at('picture')); room.connect(1, box, at('mask'));
          add('FittingRoomDemoPicture', { kind: 'armchair', ...size }).connect(0, box, at('product'));
          box.widgets.find(w => w.name === 'steps').value = 2;
          const shown = add('PreviewImage'); box.connect(0, shown, 0); return String(shown.id) }""")
        done = page.run()
        assert done["status"] == 200 and done["error"] is None, done
        assert Image.open(io.BytesIO(page.images(out)[0])).size == (96, 128)
        page.page.screenshot(path=pictures / "blueprint_run.png")
