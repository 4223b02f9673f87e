"""Run, cancel, and what a user reads when something is wrong."""

import io
import time

from PIL import Image


def small(page, steps):
    """The open workflow at the smallest size, with another seed each time, so that nothing is cached."""
    for node in page.nodes():
        for name, value in {"width": 128, "height": 128, "steps": steps, "seed": int(time.time() * 10) % 2**31}.items():
            if name in page.js("n => (app.graph.getNodeById(n).widgets ?? []).map(w => w.name)", node["id"]):
                page.set(node["id"], name, value)


def test_run_shows_the_picture(open_page, pictures):
    with open_page() as page:
        page.open("dress_one_garment")
        small(page, 2)
        done = page.run()
        assert done["status"] == 200 and done["error"] is None
        assert sum(kind == "progress" for kind, _ in done["events"]) >= 2
        result = page.node_id("SaveImage")
        assert Image.open(io.BytesIO(page.images(result)[0])).size == (128, 128)
        page.page.wait_for_function("n => app.graph.getNodeById(n).imgs?.[0]?.naturalWidth === 128", arg=result)  # drawn in the node
        page.shot(pictures / "run.png")
        assert page.problems() == []


def test_a_node_says_what_it_did(open_page):
    with open_page() as page:
        page.open("curate_folder")
        page.set(page.node_id("FittingRoomPairs"), "limit", 2)
        assert page.run()["error"] is None
        said = page.js("() => [...document.querySelectorAll('[data-testid=fitting-room-text]')].map(a => a.value)")
        assert any("kept" in text or "pairs" in text.lower() for text in said), said
        saved = page.js("() => app.graph.serialize().nodes.find(n => n.type === 'FittingRoomPairs').widgets_values")
        assert not set(said) & {v for v in saved if isinstance(v, str)}  # shown, not saved


def test_cancel_stops_the_run(open_page):
    with open_page() as page:
        page.open("dress_one_garment")
        small(page, 400)
        page.run(wait=False)
        page.page.wait_for_function("() => app.progress?.value > 2")
        page.page.get_by_label("Cancel current run").first.click()
        page.page.wait_for_function("() => window.__ev.some(e => e[0] === 'execution_interrupted')")


def test_a_refused_input_is_named_with_our_sentence(open_page, pictures):
    with open_page() as page:
        page.open("dress_one_garment")
        dress = page.node_id("FittingRoomApplyAnyDressing")
        page.set(dress, "start_percent", 0.9)
        page.set(dress, "end_percent", 0.1)
        refused = page.run()
        assert refused["status"] == 400
        page.page.get_by_test_id("error-overlay-see-errors").click()
        page.page.locator("[aria-label^='Info for']").first.click()
        page.page.get_by_text("start_percent is 0.9 and end_percent is 0.1; the start must not lie after the end.", exact=False).first.wait_for()
        page.page.screenshot(path=pictures / "refused.png")


def test_a_failing_node_says_what_to_do(open_page, pictures):
    with open_page(**{"Comfy.RightSidePanel.ShowErrorsTab": False}) as page:
        page.open("match_viewer")
        page.js("""() => { app.graph.clear(); const add = (t) => { const n = LiteGraph.createNode(t); app.graph.add(n); return n };
          const picture = add('FittingRoomDemoPicture'), place = add('FittingRoomJewelryPlacement'); picture.connect(0, place, 0) }""")
        failed = page.run()
        dialog = page.page.get_by_test_id("error-dialog")
        dialog.wait_for()
        error = next(detail for kind, detail in failed["events"] if kind == "execution_error")
        sentence = error["exception_message"].strip()
        assert error["exception_type"] == "ValueError" and sentence.endswith(".") and sentence in dialog.inner_text()
        page.page.screenshot(path=pictures / "failed.png")
