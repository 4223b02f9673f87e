"""Help pages, tooltips and translations as the frontend shows them."""

import json
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


PLACE = """([type, name]) => { const c = app.canvas, n = app.graph._nodes.find(n => n.type === type), w = n.widgets.find(w => w.name === name);
  const r = c.canvas.getBoundingClientRect(), s = c.ds.scale, o = c.ds.offset;
  return [r.left + (n.pos[0] + n.size[0] / 2 + o[0]) * s, r.top + (n.pos[1] + w.last_y + 10 + o[1]) * s] }"""


def show_help(page, node):
    page.js("n => { app.canvas.selectNode(app.graph.getNodeById(n)) }", node)
    page.page.get_by_test_id("info-button").click()
    content = page.page.locator(".node-help-content")
    content.wait_for()
    return content


def test_help_page_with_its_pictures(open_page, pictures):
    with open_page() as page:
        page.open("mask_studio")
        content = show_help(page, page.node_id("FittingRoomAgnosticMask"))
        content.get_by_role("heading", name="Agnostic Mask").wait_for()
        page.page.wait_for_function(
            "() => { const i = [...document.querySelectorAll('.node-help-content img')]; return i.length >= 2 && i.every(x => x.complete && x.naturalWidth) }")
        page.page.screenshot(path=pictures / "help.png")
        assert "Common mistakes" in content.inner_text() and "written by tools" not in content.inner_text()


@pytest.mark.parametrize("language", ["en", "zh", "ja"])
def test_tooltips_with_brackets_survive_the_translations(open_page, language):
    """The frontend's translations give braces a meaning; a tooltip that shows JSON must come through whole."""
    words = json.loads((ROOT / "locales" / language / "nodeDefs.json").read_text(encoding="utf-8"))["FittingRoomTrainAnyDressing"]
    with open_page(**{"Comfy.Locale": language}) as page:
        page.open("train_anydressing")
        page.js("() => { app.canvas.ds.scale = 1; const n = app.graph._nodes.find(n => n.type === 'FittingRoomTrainAnyDressing'); "
                "app.canvas.ds.offset[0] = 500 - n.pos[0]; app.canvas.ds.offset[1] = -n.pos[1] - 300; app.canvas.setDirty(true, true) }")
        page.page.wait_for_timeout(1000)
        x, y = page.js(PLACE, ["FittingRoomTrainAnyDressing", "augment"])
        page.page.mouse.move(x - 6, y)
        page.page.mouse.move(x, y)
        tooltip = page.page.locator(".node-tooltip")
        tooltip.wait_for()
        assert tooltip.inner_text().strip() == words["inputs"]["augment"]["tooltip"] and '{"flip": 0.5' in tooltip.inner_text()
        assert page.problems() == []


def test_names_in_chinese_and_japanese(open_page, pictures):
    for language in ("zh", "ja"):
        words = json.loads((ROOT / "locales" / language / "nodeDefs.json").read_text(encoding="utf-8"))["FittingRoomApplyAnyDressing"]
        with open_page(**{"Comfy.Locale": language}) as page:
            page.open("dress_one_garment")
            page.js("() => { const n = LiteGraph.createNode('FittingRoomApplyAnyDressing'); app.graph.add(n) }")
            made = page.js("() => { const n = app.graph._nodes.at(-1); return { title: n.title, labels: Object.fromEntries(n.widgets.map(w => [w.name, w.label])) } }")
            assert made["title"] == words["display_name"]
            assert made["labels"]["strength"] == words["inputs"]["strength"]["name"]
            page.page.screenshot(path=pictures / f"names_{language}.png")
            assert page.problems() == []
