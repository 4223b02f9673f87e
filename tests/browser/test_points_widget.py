"""The points widget in the real frontend, in both renderers: click, remove, undo, type, run, and what is sent to the server."""

import json

import pytest

BUILD = """() => { app.graph.clear();
  for (const type of ['FittingRoomDemoPicture', 'FittingRoomJewelryPlacement']) app.graph.add(LiteGraph.createNode(type));
  const [picture, place] = app.graph._nodes; place.pos = [420, 0]; place.size = [400, 900];
  const set = (n, k, v) => { const w = n.widgets.find((w) => w.name === k); w.value = v; w.callback?.(v) };
  for (const [k, v] of [['kind', 'head for necklace'], ['seed', SEED], ['width', 192], ['height', 256]]) set(picture, k, v);
  set(place, 'mm_per_px', 1.84); picture.connect(0, place, 0); app.canvas.ds.scale = 0.8; app.canvas.ds.offset[0] = 40; app.canvas.ds.offset[1] = 60; app.canvas.setDirty(true, true) }"""
PLACE = "app.graph._nodes.find((n) => n.type === 'FittingRoomJewelryPlacement')"


class Graph:
    """The graph of a drawn picture and a placement node."""

    def __init__(self, opened, seed):
        self.page = opened.page
        opened.open("match_viewer")
        self.page.evaluate(BUILD.replace("SEED", seed))  # another picture each time: nothing is cached
        self.canvas = self.page.get_by_test_id("points-points")
        self.canvas.wait_for()
        self.page.wait_for_timeout(1000)

    def value(self):
        return self.page.evaluate(f"() => {PLACE}.widgets.find((w) => w.name === 'points').value")

    def click(self, x, y, ratio, **more):
        """At shares of the picture, which lies letterboxed in the canvas."""
        box = self.canvas.bounding_box()
        width = min(box["width"], box["height"] * ratio)
        left, top = box["x"] + (box["width"] - width) / 2, box["y"] + (box["height"] - width / ratio) / 2
        self.page.mouse.click(left + x * width, top + y * width / ratio, **more)
        self.page.wait_for_timeout(400)

    def points(self):
        return [tuple(round(float(v), 2) for v in part.split(",")) for part in self.value().split(";")]


@pytest.fixture(params=[False, True], ids=["classic", "nodes2"])
def graph(request, open_page):
    with open_page((1600, 1000), **{"Comfy.VueNodes.Enabled": request.param}) as page:
        yield Graph(page, "8" if request.param else "7")


def test_click_undo_type_and_run(graph):
    graph.click(0.25, 0.5, 1)  # no picture yet: a square
    graph.click(0.75, 0.5, 1)
    graph.click(0.9, 0.9, 1)
    graph.click(0.88, 0.88, 1, button="right")
    assert graph.points() == [(0.25, 0.5), (0.75, 0.5)]
    graph.page.keyboard.press("Control+z")
    graph.page.wait_for_timeout(1000)
    assert len(graph.points()) == 3
    graph.page.keyboard.press("Control+y")
    graph.page.wait_for_timeout(1000)
    assert len(graph.points()) == 2
    sent = graph.page.evaluate("async () => JSON.stringify((await app.graphToPrompt()).output)")
    assert [n["inputs"]["points"] for n in json.loads(sent).values() if "points" in n["inputs"]] == [graph.value()]
    graph.page.get_by_test_id("queue-button").click()
    graph.page.wait_for_function(f"() => {PLACE}.fittingRoomPicture?.naturalWidth === 192", timeout=120_000)
    graph.page.wait_for_timeout(1500)
    graph.click(0.5, 0.25, 0.75)  # now on the picture, 3:4
    assert graph.points()[-1] == (0.5, 0.25)
    graph.page.keyboard.down("Shift")
    graph.click(0.25, 0.25, 0.75)  # off the object
    graph.page.keyboard.up("Shift")
    assert graph.points()[-1] == (0.25, 0.25, 0.0)
    field = graph.page.get_by_test_id("points-text-points")
    field.fill("40,60; 90,60")
    field.press("Enter")
    graph.page.wait_for_timeout(500)
    assert graph.value() == "40,60; 90,60"
