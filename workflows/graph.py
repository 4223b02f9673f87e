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

from .layout import arrange, view
from .schema import WIDGETS, Output, complete, kind_of, options_of, specs_of
from .sizes import size

PAGES = "https://github.com/fitting-room/fitting-room/tree/main/web/docs"
PAPERS = {  # what the notes link to, by the last part of a node's category
    "AnyDressing": "2412.04146", "IGR": "2412.11513", "Diffuse to Choose": "2401.13795", "SIFT-VTON": "2605.01296",
}
COLOURS = ("#3f789e", "#8a6d3b", "#5b7f3a", "#7a4e8a", "#3a7f7a", "#88523f")


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

    def __getitem__(self, key: int | str) -> Output:
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
        self.title = name.replace("_", " ").capitalize()
        self.nodes: list[Node] = []
        self.notes: dict[str, str] = {}
        self.params: dict[str, dict] = {}

    def node(self, id: str, type: str, /, *, title: str = "", group: str = "", **inputs) -> Node:
        """Add a node. An input is a value, an `Output` (a link), or a list of outputs for a growing list."""
        if type not in self.info:
            raise ValueError(f"{self.name}: there is no node type {type}; is the pack that brings it loaded?")
        if any(n.id == id for n in self.nodes):
            raise ValueError(f"{self.name}: two nodes have the id {id}")
        entry = self.info[type]
        node = Node(id, type, title or entry.get("display_name") or type, group or "Workflow", complete(self.name, id, entry, inputs), entry)
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
        node.canvas_inputs = complete(self.name, id, entry, {"kind": kind, "width": width, "height": height, "seed": seed})
        self.param(id, node, "image", meaning)
        return node

    def param(self, name: str, node: Node, input: str, meaning: str) -> None:
        """Declare what a program sets: listed in workflows/api/params.json."""
        spec = specs_of(node.entry)[input]
        self.params[name] = {
            "node": node.id, "input": input, "type": "IMAGE FILE" if node.type == "LoadImage" else kind_of(spec),
            "default": node.inputs[input], "meaning": meaning,
        }

    def note(self, group: str, text: str) -> None:
        """A note (Markdown) shown on the canvas at the head of a group; several for one group become one."""
        before = self.notes.get(group, "")
        if text not in before:
            self.notes[group] = f"{before}\n\n{text}".strip()

    def about(self) -> str:
        """The note at the start: what the workflow does, how to use it, and where help is."""
        kinds = dict.fromkeys((n.canvas_entry or n.entry)["category"].split("/")[-1] for n in self.nodes)
        papers = [f"[{kind}](https://arxiv.org/abs/{PAPERS[kind]})" for kind in kinds if kind in PAPERS]
        read = f"Papers: {', '.join(papers)}. " if papers else ""
        return (f"## {self.title}\n{self.description}\n\nPress **Run**: it works at once, with drawn pictures. Then put **Load Image** with your own in place of **Demo Picture**. "
                f"Help: select a node and press **(i)**. {read}[Pages of all nodes]({PAGES}).")

    # ---- API format ----------------------------------------------------------------------------------------------------

    def api(self, drawn: bool = False) -> dict:
        """The prompt a program posts: {id: {class_type, inputs, _meta}}; `drawn` with the canvas' drawn pictures in place of files."""
        out = {}
        for n in self.nodes:
            kind, inputs = (n.canvas_type, n.canvas_inputs) if drawn and n.canvas_type else (n.type, n.inputs)
            slot = lambda v: v.node.canvas_slots.get(v.slot, v.slot) if drawn else v.slot
            values = {k: [v.node.id, slot(v)] if isinstance(v, Output) else v for k, v in inputs.items()}
            out[n.id] = {"class_type": kind, "inputs": values, "_meta": {"title": n.title}}
        return out

    # ---- canvas format -------------------------------------------------------------------------------------------------

    def canvas(self, notes: bool = True) -> dict:
        """The workflow as the frontend saves it (version 0.4), with its notes or without."""
        numbers = {n.id: i + 1 for i, n in enumerate(self.nodes)}
        layout, links = self.layout(self.nodes, self.about() if notes else "", notes), []
        origin = lambda v: (numbers[v.node.id], v.node.canvas_slots.get(v.slot, v.slot))
        nodes = [canvas_node(node, numbers[node.id], layout.nodes[node.id], links, origin) for node in self.nodes]
        if notes:
            nodes.append(_canvas_note(len(nodes) + 1, "About this workflow", self.about(), layout.about))
        for group, text in self.notes.items() if notes else ():
            nodes.append(_canvas_note(len(nodes) + 1, "Note", text, layout.notes[group]))
        return {
            "last_node_id": len(nodes), "last_link_id": len(links), "nodes": join(nodes, links), "links": links, "groups": boxes(layout.groups),
            "config": {}, "extra": {"ds": view(layout), "fitting_room": {"workflow": self.name, "description": self.description}}, "version": 0.4,
        }

    def layout(self, nodes: list[Node], about: str = "", notes: bool = True):
        """Places of these nodes, their groups and notes (`layout.Layout`)."""
        names = {n.id for n in nodes}
        groups: dict[str, list[str]] = {}
        for n in nodes:
            groups.setdefault(n.group, []).append(n.id)
        feeds = {n.id: [v.node.id for v in n.inputs.values() if isinstance(v, Output) and v.node.id in names] for n in nodes}
        return arrange(groups, {n.id: _size(n) for n in nodes}, feeds, self.notes if notes else {}, about)


# ---- the canvas --------------------------------------------------------------------------------------------------------


def canvas_node(node: Node, number: int, place, links: list, origin) -> dict:
    """A node as the frontend saves it; the links that come into it are added to `links`.

    `origin` tells for an `Output` the number of the node and the slot that a link comes from.
    """
    entry, kind = node.canvas_entry or node.entry, node.canvas_type or node.type
    values, slots, widgets = node.canvas_inputs if node.canvas_type else node.inputs, [], []
    for name, spec in _canvas_inputs(entry, values):
        value, type_ = values.get(name), kind_of(spec)
        is_widget = type_ in WIDGETS and not options_of(spec).get("forceInput")
        if isinstance(value, Output) or not is_widget:
            slot = {"name": name, "type": type_, "link": None}
            if "." in name:
                slot["label"] = name.split(".")[-1]
            if is_widget:
                slot["widget"] = {"name": name}
            if isinstance(value, Output):
                links.append([len(links) + 1, *origin(value), number, len(slots), value.type])
                slot["link"] = len(links)
            slots.append(slot)
        if is_widget:
            widgets.append(options_of(spec).get("default") if isinstance(value, Output) else value)
            if _has_control(name, spec):
                widgets.append("fixed")
            if options_of(spec).get("image_upload"):
                widgets.append("image")
    outputs = [{"name": n, "type": t, "links": None} for n, t in zip(entry["output_name"], entry["output"])]
    pack = "fitting-room" if kind.startswith("FittingRoom") else "comfy-core"
    return {
        "id": number, "type": kind, "title": node.title, **place.fields(), "flags": {},
        "order": number - 1, "mode": 0, "inputs": slots, "outputs": outputs,
        "properties": {"cnr_id": pack, "Node name for S&R": kind}, "widgets_values": widgets,
    }


def join(nodes: list[dict], links: list[list]) -> list[dict]:
    """The nodes, with every link named at the output it comes from."""
    by_number = {n["id"]: n for n in nodes}
    for link in links:
        if link[1] in by_number:
            out = by_number[link[1]]["outputs"][link[2]]
            out["links"] = [*(out["links"] or []), link[0]]
    return nodes


def boxes(groups: dict) -> list[dict]:
    """Groups as the frontend saves them."""
    return [
        {"id": i + 1, "title": name, "bounding": [p.x, p.y, p.width, p.height], "color": COLOURS[i % len(COLOURS)], "font_size": 24, "flags": {}}
        for i, (name, p) in enumerate(groups.items())
    ]


def _canvas_inputs(entry: dict, values: dict):
    """The node's inputs in schema order, growing lists expanded with one free place."""
    for name, spec in specs_of(entry).items():
        if kind_of(spec) != "COMFY_AUTOGROW_V3":
            yield name, spec
            continue
        template = options_of(spec)["template"]
        inner = next(iter({**template["input"].get("required", {}), **template["input"].get("optional", {})}.values()))
        used = [k for k in values if k.startswith(f"{name}.")]
        free = (template.get("names") or [f"{template['prefix']}{i}" for i in range(template["max"])])[len(used) : len(used) + 1]
        for full in [*used, *(f"{name}.{n}" for n in free)]:
            yield full, inner


def _has_control(name: str, spec) -> bool:
    """Whether the frontend puts "control after generate" under a field: where it is asked for, and under every seed."""
    return bool(options_of(spec).get("control_after_generate", name in ("seed", "noise_seed") and kind_of(spec) == "INT"))


def _canvas_note(number: int, title: str, text: str, place) -> dict:
    return {
        "id": number, "type": "MarkdownNote", "title": title, **place.fields(), "flags": {}, "order": number - 1,
        "mode": 0, "inputs": [], "outputs": [], "properties": {}, "widgets_values": [text], "color": "#222", "bgcolor": "#000",
    }


def _size(node: Node) -> tuple[float, float]:
    entry, kind = node.canvas_entry or node.entry, node.canvas_type or node.type
    specs = list(_canvas_inputs(entry, node.canvas_inputs if node.canvas_type else node.inputs))
    widgets = [{**options_of(s), "text": kind_of(s) == "STRING", "control_after_generate": _has_control(name, s)} for name, s in specs if kind_of(s) in WIDGETS and not options_of(s).get("forceInput")]
    return size(kind, node.title, max(len(specs) - len(widgets), len(entry["output"])), widgets)
