"""Describe a workflow once, in Python; write it for the canvas (UI format) and for the queue (API format).

    g = Graph("dress_one_garment", info, "One garment, one prompt.")
    demo = g.node("base", "FittingRoomDemoModel", group="Models")
    text = g.node("prompt", "CLIPTextEncode", group="Prompt", clip=demo["CLIP"], text="a person")
    g.param("prompt", text, "text", "Who wears it, and where.")
    g.api(), g.canvas()

`info` is what a running ComfyUI answers to /object_info. Every input is checked against it when a node is added, so a
workflow that names a wrong input, a value outside its range or a socket of another type is never written.
"""

from __future__ import annotations

from dataclasses import dataclass, field

WIDGETS = {"INT", "FLOAT", "STRING", "BOOLEAN", "COMBO"}
COLUMN, GAP, GROUP_PAD, HEADER = 400, 40, 30, 80
PICTURES = {"LoadImage", "SaveImage", "PreviewImage", "FittingRoomDemoPicture", "MaskPreview"}
# nodes of ours that show a picture under themselves
PREVIEWS = {f"FittingRoom{name}" for name in (
    "AgnosticMask", "MaskAugment", "RerenderRegion", "Depth", "Saliency", "Segment", "SiftMatches", "JewelryPlacement", "ApplyFeedback", "Curate")}
HIGH_WIDGETS = {"FITTING_ROOM_POINTS": 280}
COLOURS = ("#3f789e", "#8a6d3b", "#5b7f3a", "#7a4e8a", "#3a7f7a", "#88523f")


@dataclass(frozen=True)
class Output:
    """One output of a node, to be given as an input of another."""

    node: "Node"
    slot: int
    type: str


@dataclass
class Node:
    """A node of a workflow. `node["MODEL"]` is its first output of that name or type, `node[0]` its first output."""

    id: str
    type: str
    title: str
    group: str
    inputs: dict
    entry: dict
    canvas_type: str | None = None
    canvas_inputs: dict = field(default_factory=dict)
    canvas_entry: dict | None = None
    canvas_slots: dict[int, int] = field(default_factory=dict)

    def __getitem__(self, key) -> Output:
        types, names = self.entry["output"], self.entry["output_name"]
        if isinstance(key, int):
            return Output(self, key, types[key])
        for slot, (name, kind) in enumerate(zip(names, types)):
            if key in (name, kind):
                return Output(self, slot, kind)
        raise KeyError(f"{self.type} has no output {key!r}; it has {list(zip(names, types))}")


class Graph:
    """A workflow under construction."""

    def __init__(self, name: str, info: dict, description: str):
        self.name, self.info, self.description = name, info, description
        self.nodes: list[Node] = []
        self.notes: list[tuple[str, str]] = []
        self.params: dict[str, dict] = {}

    def node(self, id: str, type: str, /, *, title: str = "", group: str = "", **inputs) -> Node:
        """Add a node. An input is a value, an `Output` (a link), or a list of outputs for a growing list."""
        if type not in self.info:
            raise ValueError(f"{self.name}: there is no node type {type}; is the pack that brings it loaded?")
        if any(n.id == id for n in self.nodes):
            raise ValueError(f"{self.name}: two nodes have the id {id}")
        entry = self.info[type]
        node = Node(id, type, title or entry.get("display_name") or type, group or "Workflow", _complete(self.name, id, entry, inputs), entry)
        self.nodes.append(node)
        return node

    def picture(self, id: str, kind: str, *, file: str, title: str, group: str, meaning: str, width: int = 384, height: int = 512, seed: int = 1,
                output: int = 0) -> Node:
        """A picture of the user's: a drawn one on the canvas, so that the template runs at once; a file for programs.

        `output` is the drawn picture's output that stands for the file's image (0 image, 2 depth, 3 pose ...).
        """
        node = self.node(id, "LoadImage", title=title, group=group, image=file)
        entry = self.info["FittingRoomDemoPicture"]
        node.canvas_type, node.canvas_entry, node.canvas_slots = "FittingRoomDemoPicture", entry, {0: output}
        node.canvas_inputs = _complete(self.name, id, entry, {"kind": kind, "width": width, "height": height, "seed": seed})
        self.param(id, node, "image", meaning)
        return node

    def param(self, name: str, node: Node, input: str, meaning: str) -> None:
        """Declare what a program sets: listed in workflows/api/params.json."""
        spec = _specs(node.entry)[input]
        self.params[name] = {
            "node": node.id, "input": input, "type": "IMAGE FILE" if node.type == "LoadImage" else _kind(spec),
            "default": node.inputs[input], "meaning": meaning,
        }

    def note(self, group: str, text: str) -> None:
        """A note (Markdown) shown on the canvas above a group."""
        self.notes.append((group, text))

    # ---- API format ----------------------------------------------------------------------------------------------------

    def api(self) -> dict:
        """The prompt a program posts: {id: {class_type, inputs, _meta}}."""
        return {
            n.id: {
                "class_type": n.type,
                "inputs": {k: [v.node.id, v.slot] if isinstance(v, Output) else v for k, v in n.inputs.items()},
                "_meta": {"title": n.title},
            }
            for n in self.nodes
        }

    # ---- canvas format -------------------------------------------------------------------------------------------------

    def canvas(self) -> dict:
        """The workflow as the frontend saves it (version 0.4)."""
        numbers = {n.id: i + 1 for i, n in enumerate(self.nodes)}
        places, groups = _layout(self.nodes, dict(self.notes))
        links, nodes = [], []
        for node in self.nodes:
            nodes.append(_canvas_node(node, numbers, places[node.id], links))
        for index, (group, text) in enumerate(self.notes):
            nodes.append(_canvas_note(len(nodes) + 1, text, groups[group]["note"]))
        by_number = {n["id"]: n for n in nodes}
        for link in links:
            out = by_number[link[1]]["outputs"][link[2]]
            out["links"] = [*(out["links"] or []), link[0]]
        boxes = [
            {"id": i + 1, "title": name, "bounding": g["box"], "color": COLOURS[i % len(COLOURS)], "font_size": 24, "flags": {}}
            for i, (name, g) in enumerate(groups.items())
        ]
        return {
            "last_node_id": len(nodes), "last_link_id": len(links), "nodes": nodes, "links": links, "groups": boxes,
            "config": {}, "extra": {"fitting_room": {"workflow": self.name, "description": self.description}}, "version": 0.4,
        }


# ---- inputs ------------------------------------------------------------------------------------------------------------


def _specs(entry: dict) -> dict:
    return {name: spec for part in ("required", "optional") for name, spec in entry["input"].get(part, {}).items()}


def _kind(spec) -> str:
    return "COMBO" if isinstance(spec[0], list) else spec[0]


def _options(spec) -> dict:
    return spec[1] if len(spec) > 1 else {}


def _choices(spec) -> list:
    return spec[0] if isinstance(spec[0], list) else _options(spec).get("options", [])


def _complete(workflow: str, id: str, entry: dict, given: dict) -> dict:
    """Inputs with defaults filled in, checked against the node's schema; growing lists become numbered inputs."""
    specs, required = _specs(entry), set(entry["input"].get("required", {}))
    where = f"{workflow}: node {id} ({entry['name']})"
    if unknown := set(given) - set(specs):
        raise ValueError(f"{where} has no input {sorted(unknown)}; it takes {sorted(specs)}")
    out = {}
    for name, spec in specs.items():
        value = given.get(name, _options(spec).get("default"))
        if name not in given and value is None and _kind(spec) == "COMBO" and _choices(spec):
            value = _choices(spec)[0]
        if value is None:
            if name in required:
                raise ValueError(f"{where} needs the input {name}")
        elif _kind(spec) == "COMFY_AUTOGROW_V3":
            template = _options(spec)["template"]
            names = template.get("names") or [f"{template['prefix']}{i}" for i in range(template["max"])]
            for number, item in enumerate(value):
                out[f"{name}.{names[number]}"] = item
        else:
            _check(where, name, spec, value)
            out[name] = value
    return out


def _check(where: str, name: str, spec, value) -> None:
    kind, options = _kind(spec), _options(spec)
    if isinstance(value, Output):
        accepted = set(str(kind).split(","))
        if value.type != kind and not accepted & set(str(value.type).split(",")) and "*" not in (kind, value.type):
            raise ValueError(f"{where}: {name} takes {kind}, and {value.node.id} gives {value.type}")
    elif kind not in WIDGETS:
        raise ValueError(f"{where}: {name} is a socket of {kind} and got the value {value!r}")
    elif kind == "COMBO" and not options.get("image_upload") and value not in _choices(spec):
        raise ValueError(f"{where}: {name} is {value!r}, not one of {_choices(spec)}")
    elif kind in ("INT", "FLOAT") and not options.get("min", value) <= value <= options.get("max", value):
        raise ValueError(f"{where}: {name} is {value}, outside {options.get('min')}..{options.get('max')}")


# ---- the canvas --------------------------------------------------------------------------------------------------------


def _canvas_node(node: Node, numbers: dict, place: dict, links: list) -> dict:
    entry, kind = node.canvas_entry or node.entry, node.canvas_type or node.type
    values, slots, widgets = node.canvas_inputs if node.canvas_type else node.inputs, [], []
    for name, spec in _canvas_inputs(entry, values):
        value, type_ = values.get(name), _kind(spec)
        is_widget = type_ in WIDGETS and not _options(spec).get("forceInput")
        if isinstance(value, Output) or not is_widget:
            slot = {"name": name, "type": type_, "link": None}
            if "." in name:
                slot["label"] = name.split(".")[-1]
            if is_widget:
                slot["widget"] = {"name": name}
            if isinstance(value, Output):
                source = value.node.canvas_slots.get(value.slot, value.slot)
                links.append([len(links) + 1, numbers[value.node.id], source, numbers[node.id], len(slots), value.type])
                slot["link"] = len(links)
            slots.append(slot)
        if is_widget:
            widgets.append(_options(spec).get("default") if isinstance(value, Output) else value)
            if _options(spec).get("control_after_generate"):
                widgets.append("fixed")
            if _options(spec).get("image_upload"):
                widgets.append("image")
    outputs = [{"name": n, "type": t, "links": None} for n, t in zip(entry["output_name"], entry["output"])]
    pack = "fitting-room" if kind.startswith("FittingRoom") else "comfy-core"
    return {
        "id": numbers[node.id], "type": kind, "title": node.title, "pos": place["pos"], "size": place["size"], "flags": {},
        "order": numbers[node.id] - 1, "mode": 0, "inputs": slots, "outputs": outputs,
        "properties": {"cnr_id": pack, "Node name for S&R": kind}, "widgets_values": widgets,
    }


def _canvas_inputs(entry: dict, values: dict):
    """The node's inputs in schema order, growing lists expanded with one free place."""
    for name, spec in _specs(entry).items():
        if _kind(spec) != "COMFY_AUTOGROW_V3":
            yield name, spec
            continue
        template = _options(spec)["template"]
        inner = next(iter({**template["input"].get("required", {}), **template["input"].get("optional", {})}.values()))
        used = [k for k in values if k.startswith(f"{name}.")]
        free = (template.get("names") or [f"{template['prefix']}{i}" for i in range(template["max"])])[len(used) : len(used) + 1]
        for full in [*used, *(f"{name}.{n}" for n in free)]:
            yield full, inner


def _canvas_note(number: int, text: str, place: dict) -> dict:
    return {
        "id": number, "type": "MarkdownNote", "title": "Note", "pos": place["pos"], "size": place["size"], "flags": {}, "order": number - 1,
        "mode": 0, "inputs": [], "outputs": [], "properties": {}, "widgets_values": [text], "color": "#222", "bgcolor": "#000",
    }


def _height(node: Node) -> int:
    entry, kind = node.canvas_entry or node.entry, node.canvas_type or node.type
    specs = [spec for _, spec in _canvas_inputs(entry, node.canvas_inputs if node.canvas_type else node.inputs)]
    widgets = [s for s in specs if _kind(s) in WIDGETS and not _options(s).get("forceInput")]
    sockets = max(len(specs) - len(widgets), len(entry["output"]))
    below = 330 if kind in PICTURES else 240 if kind in PREVIEWS else 110 if kind == "PreviewAny" else 0
    return 44 + 24 * sockets + sum(map(_row_height, widgets)) + below


def _row_height(spec) -> int:
    options = _options(spec)
    if high := HIGH_WIDGETS.get(options.get("widgetType"), 110 if options.get("multiline") else 0):
        return high
    return 32 if options.get("control_after_generate") is None else 58


def _layout(nodes: list[Node], notes: dict[str, str]) -> tuple[dict, dict]:
    """Groups from left to right in the order of their first node; inside a group, columns by depth."""
    places, groups, x = {}, {}, 0
    for name in dict.fromkeys(n.group for n in nodes):
        members = [n for n in nodes if n.group == name]
        depth: dict[str, int] = {}
        for n in members:  # nodes are added in order, so what feeds a node has its depth already
            inside = [v.node for v in n.inputs.values() if isinstance(v, Output) and v.node.group == name]
            depth[n.id] = 1 + max((depth[p.id] for p in inside), default=-1)
        columns = [[n for n in members if depth[n.id] == d] for d in range(max(depth.values()) + 1)]
        top = HEADER + (_note_height(notes[name]) + GAP if name in notes else 0)
        bottom = top
        for number, column in enumerate(columns):
            y = top
            for n in column:
                h = _height(n)
                places[n.id] = {"pos": [x + GROUP_PAD + number * (COLUMN + GAP), y], "size": [COLUMN, h]}
                y += h + GAP + 20
            bottom = max(bottom, y)
        width = len(columns) * (COLUMN + GAP) - GAP + 2 * GROUP_PAD
        groups[name] = {"box": [x, 0, width, bottom], "note": {"pos": [x + GROUP_PAD, HEADER - 10], "size": [width - 2 * GROUP_PAD, _note_height(notes.get(name, ""))]}}
        x += width + GAP
    return places, groups


def _note_height(text: str) -> int:
    return 60 + 26 * sum(1 + len(line) // 52 for line in text.splitlines())
