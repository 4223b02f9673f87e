"""The real frontend in headless Chromium: a page on a running ComfyUI, and what tests ask of it.

`Page` keeps every use of the frontend's internals (its stores, its test ids) in one place; they belong to frontend 1.47 and change
with it. What the page asks of the outside world is refused by the browser and counted as a problem.
"""

import json
import re
import urllib.parse

PACK = "fitting-room"
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync", "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1"]
SETTINGS = {  # the server keeps them, so every page sets all of them
    "Comfy.TutorialCompleted": False, "Comfy.VueNodes.Enabled": False, "Comfy.Locale": "en", "Comfy.ColorPalette": "dark",
    "Comfy.RightSidePanel.ShowErrorsTab": True, "Comfy.RightSidePanel.IsOpen": False, "Comfy.Minimap.Visible": False,
    "Comfy.Graph.CanvasInfo": False, "Comfy.Graph.CanvasMenu": True, "Comfy.NodeBadge.NodeSourceBadgeMode": "Hide built-in",
}
HOST_NOISE = re.compile(r"user\.css|/api/userdata|ComfyApp graph accessed before initialization")  # there without any pack
STORE = "(id => document.getElementById('vue-app').__vue_app__.config.globalProperties.$pinia._s.get(id))"
# a template that is opened twice has a number behind its name
OPEN = "n => window.app?.extensionManager?.workflow?.activeWorkflow?.filename?.replace(/ \\(\\d+\\)$/, '') === n && !app.configuringGraph"
PATIENCE = 300_000  # milliseconds: much for an idle machine, little for one that is busy with something else
READY = "() => window.app?.extensionManager?.workflow?.activeWorkflow && !app.configuringGraph && !document.querySelector('#splash-loader') && !location.search"
HOOK = """() => { window.__ev = []; if (window.__hooked) return; window.__hooked = true;
  for (const k of ['execution_start', 'execution_cached', 'executing', 'progress', 'executed', 'execution_success', 'execution_error', 'execution_interrupted'])
    app.api.addEventListener(k, e => window.__ev.push([k, JSON.parse(JSON.stringify(e.detail ?? null))])) }"""
ENDED = "id => window.__ev.some(e => /^execution_(success|error|interrupted)$/.test(e[0]) && e[1].prompt_id === id)"
FIT = """pad => {
  const c = app.canvas, b = [...c.graph._nodes, ...c.graph._groups].map(x => x.boundingRect);
  c.deselectAll();
  const x0 = Math.min(...b.map(r => r[0])), x1 = Math.max(...b.map(r => r[0] + r[2]));
  const y0 = Math.min(...b.map(r => r[1])), y1 = Math.max(...b.map(r => r[1] + r[3]));
  const r = c.canvas.getBoundingClientRect(), s = Math.min(r.width / (x1 - x0 + 2 * pad), r.height / (y1 - y0 + 2 * pad), 1.5);
  c.ds.scale = s; c.ds.offset[0] = r.width / s / 2 - (x0 + x1) / 2; c.ds.offset[1] = r.height / s / 2 - (y0 + y1) / 2;
  c.setDirty(true, true) }"""
CLEAN = ".no-drag.fixed.top-0.right-0, .p-toast { display: none !important }"


class Page:
    """A fresh browser profile on a running server. `problems()` lists errors that are not the host's own."""

    def __init__(self, server, context, **settings):
        self.url, self.page, self._log = server.url, context.pages[0], []
        packages = server.client.get("/system_stats")["system"].get("comfy_package_versions", [])
        version = next((p["installed"] for p in packages if p["name"] == "comfyui-frontend-package"), None)  # the defaults of a new user
        installed = {"Comfy.InstalledVersion": version} if version else {}
        server.client.post("/api/settings", {**installed, **SETTINGS, **settings})
        self.page.on("console", lambda m: self._log.append(f"{m.text} {m.location.get('url', '')}") if m.type == "error" else None)
        self.page.on("pageerror", lambda e: self._log.append(f"pageerror {e}"))
        self.page.on("request", lambda r: None if r.url.startswith((self.url, "data:", "blob:")) else self._log.append(f"asks for {r.url}"))

    def problems(self) -> list:
        """Errors of the console and of the page since the last call, without the host's own."""
        found, self._log[:] = [text for text in self._log if not HOST_NOISE.search(text)], []
        return found

    def js(self, expression, argument=None):
        """Evaluate and return plain JSON; without the detour Playwright turns undefined into null, and an exported graph is corrupt."""
        out = self.page.evaluate("async a => { const f = (" + expression + "); return JSON.stringify(await (typeof f === 'function' ? f(a) : f)) }", argument)
        return None if out is None else json.loads(out)

    # ---- opening ----

    def open(self, name, pack=PACK):
        """A template by the address that the template browser uses; a new page."""
        self.page.goto(f"{self.url}/?template={name}&source={pack}")
        self.page.wait_for_function(OPEN, arg=name, timeout=PATIENCE)
        self.page.wait_for_function(READY, timeout=PATIENCE)
        self.page.wait_for_timeout(500)

    def browse(self):
        """Open the template browser at this pack's entry."""
        self.js("() => { app.extensionManager.command.execute('Comfy.BrowseTemplates') }")
        self.page.get_by_test_id("template-workflows-content").wait_for(timeout=PATIENCE)
        self.page.locator("nav, aside").get_by_text(PACK, exact=True).click()

    def choose(self, name):
        """Click a template in the open template browser, and wait for its graph."""
        self.page.get_by_test_id(f"template-workflow-{name}").click()
        self.page.wait_for_function(OPEN, arg=name, timeout=PATIENCE)
        self.page.wait_for_timeout(200)

    def load(self, workflow, name="test"):
        """A graph as JSON; `name` is the tab's title."""
        self.js("async ([w, n]) => { await app.loadGraphData(w, true, true, n) }", [workflow, name])
        self.page.wait_for_timeout(500)

    # ---- the graph ----

    def missing(self) -> list:
        """What the frontend misses: node types, model files, pictures."""
        nodes = [n["type"] for n in (self.js(STORE + "('missingNodesError')?.missingNodesError") or {}).get("nodeTypes", [])]
        models = [m["name"] for m in self.js(STORE + "('missingModel')?.missingModelCandidates") or []]
        return nodes + models + [m["name"] for m in self.js(STORE + "('missingMedia')?.missingMediaCandidates") or []]

    def nodes(self) -> list:
        """Every node of the open graph: id, type, title, rectangle on the canvas (title bar included), and links that lead nowhere."""
        return self.js("""() => app.graph._nodes.map(n => ({ id: String(n.id), type: n.type, title: n.title, box: [...n.boundingRect], least: [...n.computeSize()],
          broken: (n.inputs ?? []).filter(i => i.link != null && !(app.graph.getLink?.(i.link) ?? app.graph.links[i.link])).map(i => i.name) }))""")

    def node_id(self, type_, number=0) -> str:
        """The id of the n-th node of a type."""
        return [n["id"] for n in self.nodes() if n["type"] == type_][number]

    def set(self, node, name, value):
        """Set a field of a node as a user does."""
        self.js("([n, k, v]) => { const w = app.graph.getNodeById(n).widgets.find(w => w.name === k); w.value = v; w.callback?.(v) }", [node, name, value])

    # ---- running ----

    def run(self, wait=True, timeout=PATIENCE) -> dict:
        """Press Run: the server's answer, the events and the error of the run."""
        self.js(HOOK)
        with self.page.expect_response(lambda r: r.url.endswith("/api/prompt") and r.request.method == "POST") as reply:
            self.page.get_by_test_id("queue-button").click()
        out = {"status": reply.value.status, "reply": reply.value.json(), "events": [], "error": None}
        if out["status"] == 200 and wait:
            self.page.wait_for_function(ENDED, arg=out["reply"]["prompt_id"], timeout=timeout)
            self.page.wait_for_timeout(500)
            out["events"], out["error"] = self.js("window.__ev"), self.js("app.extensionManager.lastExecutionError")
        return out

    def images(self, node) -> list:
        """The result pictures of a node, as bytes."""
        self.page.wait_for_function("n => app.nodeOutputs[n]?.images?.length", arg=str(node))
        keys = ("filename", "subfolder", "type")
        found = self.js("n => app.nodeOutputs[n].images", str(node))
        return [self.page.request.get(f"{self.url}/api/view?" + urllib.parse.urlencode({k: i[k] for k in keys})).body() for i in found]

    # ---- looking ----

    def glance(self, path):
        """A picture of the whole graph, menus and all: quick."""
        self.js(FIT, 40)
        self.page.wait_for_timeout(300)
        self.page.screenshot(path=path)

    def shot(self, path, pad=40):
        """A picture of the whole graph without any menu."""
        self.js("() => { app.extensionManager.focusMode = true }")
        self.page.wait_for_timeout(400)
        self.js(FIT, pad)
        self.page.wait_for_timeout(600)
        self.page.screenshot(path=path, style=CLEAN)
        self.js("() => { app.extensionManager.focusMode = false }")
