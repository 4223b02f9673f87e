"""Help pages, tooltips and translations as the frontend shows them."""

import json
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


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


def test_tooltips_with_brackets_survive_the_translations(open_page):
    """The frontend's translations give braces a meaning; a tooltip that shows JSON must come through whole."""
    english = json.loads((ROOT / "locales" / "en" / "nodeDefs.json").read_text(encoding="utf-8"))["FittingRoomNewMethod"]
    with open_page() as page:
        page.open("dress_one_garment")
        node = page.node_id("FittingRoomNewMethod")
        shown = page.js("n => Object.fromEntries(app.graph.getNodeById(n).widgets.map(w => [w.name, w.tooltip]))", node)
        assert shown["options"] == english["inputs"]["options"]["tooltip"] and '{"rank": 64' in shown["options"]


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
