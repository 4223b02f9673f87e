"""One-box forms of the workflows: subgraph blueprints, found in the node library and by search.

Each is cut out of the same recipe as its workflow: what comes from outside the cut becomes a socket, chosen fields become
fields of the box, and double-clicking the box shows the whole graph. The file's name is what the user reads.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from uuid import NAMESPACE_URL, uuid5

from .graph import Graph, Node, boxes, canvas_node, join
from .layout import TITLE
from .recipes import dressing, insert, jewelry, tryoff, tryon
from .schema import Output, field_spec

ENTRY, EXIT = -10, -20  # what the frontend calls a subgraph's own two ends
ROW, END_WIDTH, END_GAP = 20, 140, 120


@dataclass(frozen=True)
class Blueprint:
    """A box: which recipe it is cut from, what its sockets and fields are called.

    sockets: name of an input -> (node id, output) outside the box. fields: name of a field -> (node id, input)
    inside, one or several that share the value.
    result: (name, node id, output) of what comes out. without: ids of nodes inside that the box leaves out (previews).
    values: of fields, where a box for real weights wants others than the recipe for the demo weights.
    """

    name: str
    recipe: Callable[[dict], Graph]
    description: str
    aliases: tuple[str, ...]
    sockets: dict[str, tuple[str, int | str]]
    fields: dict[str, tuple]
    result: tuple[str, str, int | str]
    without: tuple[str, ...] = ()
    values: dict[str, int | str] = field(default_factory=dict)
    category: str = field(default="Fitting Room")

    def inside(self, graph: Graph) -> list[Node]:
        """The nodes of the box.

        Raises:
            ValueError: a link crosses the cut and no socket is named for it.
        """
        outside = {node for node, _ in self.sockets.values()} | set(self.without)
        nodes = [n for n in graph.nodes if n.id not in outside and n.type not in ("SaveImage", "PreviewImage")]
        named = {(n, _slot(graph, n, out)) for n, out in self.sockets.values()}
        for n in nodes:
            for name, value in n.inputs.items():
                if isinstance(value, Output) and value.node not in nodes and (value.node.id, value.slot) not in named:
                    raise ValueError(f"{self.name}: {n.id}.{name} comes from {value.node.id}, outside of the box; name a socket for it")
        return nodes

    def canvas(self, info: dict) -> dict:
        """The blueprint's file: a graph of one node, and the subgraph it stands for."""
        graph = self.recipe(info)
        inside = self.inside(graph)
        for name, value in self.values.items():
            for node, place in _places(self.fields[name]):
                next(n for n in inside if n.id == node).inputs[place] = value
        numbers = {n.id: i + 1 for i, n in enumerate(inside)}
        layout, links = graph.layout(inside, notes=False), []
        sources = {(n, _slot(graph, n, out)): i for i, (n, out) in enumerate(self.sockets.values())}
        origin = lambda v: (numbers[v.node.id], v.slot) if v.node.id in numbers else (ENTRY, sources[v.node.id, v.slot])
        nodes = [canvas_node(n, numbers[n.id], layout.nodes[n.id], links, origin) for n in inside]
        by_id = {n.id: (n, nodes[numbers[n.id] - 1]) for n in inside}
        for index, places in enumerate(map(_places, self.fields.values())):
            for node, name in places:
                _open_field(*by_id[node], name, numbers[node], len(self.sockets) + index, links)
        join(nodes, links)
        made, out = nodes[numbers[self.result[1]] - 1], _slot(graph, *self.result[1:])
        links.append([len(links) + 1, made["id"], out, EXIT, 0, made["outputs"][out]["type"]])
        made["outputs"][out]["links"] = [*(made["outputs"][out]["links"] or []), len(links)]
        return self._file(graph, by_id, nodes, links, layout)

    def _file(self, graph: Graph, by_id: dict, nodes: list[dict], links: list[list], layout) -> dict:
        key = lambda text: str(uuid5(NAMESPACE_URL, f"fitting-room/{self.name}/{text}"))
        nodes_of = {n.id: n for n in graph.nodes}
        kinds = [nodes_of[n][out].type for n, out in self.sockets.values()]
        first = [_places(places)[0] for places in self.fields.values()]
        kinds += [field_spec(by_id[n][0], name)[0] for n, name in first]
        names = [*self.sockets, *self.fields]
        right = max(p.x + p.width for p in layout.groups.values())
        ends = {"inputs": (-END_GAP - END_WIDTH, 0), "outputs": (right + END_GAP, 0)}
        at = lambda end, i: [ends[end][0] + (END_WIDTH - 20 if end == "inputs" else 20), ends[end][1] + ROW * (i + 1)]
        ids = lambda side, end, i: [link[0] for link in links if link[side] == end and link[side + 1] == i]
        inputs = [{"id": key(f"in/{n}"), "name": n, "type": k, "linkIds": ids(1, ENTRY, i), "label": n, "pos": at("inputs", i)}
                  for i, (n, k) in enumerate(zip(names, kinds))]
        name, kind = self.result[0], links[-1][5]
        outputs = [{"id": key(f"out/{name}"), "name": name, "type": kind, "linkIds": ids(3, EXIT, 0), "label": name, "pos": at("outputs", 0)}]
        subgraph = {
            "id": key("subgraph"), "version": 1,
            "state": {"lastGroupId": len(layout.groups), "lastNodeId": len(nodes), "lastLinkId": len(links), "lastRerouteId": 0},
            "revision": 0, "config": {}, "name": self.name,
            "inputNode": {"id": ENTRY, "bounding": [*ends["inputs"], END_WIDTH, ROW * (len(names) + 2)]},
            "outputNode": {"id": EXIT, "bounding": [*ends["outputs"], END_WIDTH, ROW * 3]},
            "inputs": inputs, "outputs": outputs, "widgets": [], "nodes": nodes, "groups": boxes(layout.groups),
            "links": [dict(zip(("id", "origin_id", "origin_slot", "target_id", "target_slot", "type"), link)) for link in links],
            "extra": {}, "category": self.category, "description": self.description,
        }
        sockets = [{"label": n, "name": n, "type": k, **({"widget": {"name": n}} if n in self.fields else {}), "link": None} for n, k in zip(names, kinds)]
        box = {
            "id": 1, "type": subgraph["id"], "title": self.name, "pos": [0, TITLE], "size": [340, 60 + 24 * len(names)], "flags": {}, "order": 0, "mode": 0,
            "inputs": sockets, "outputs": [{"label": name, "name": name, "type": kind, "links": None}],
            "properties": {"proxyWidgets": [[str(by_id[n][1]["id"]), w] for n, w in first]}, "widgets_values": [],
        }
        return {
            "revision": 0, "last_node_id": 1, "last_link_id": 0, "nodes": [box], "links": [], "groups": [], "version": 0.4,
            "definitions": {"subgraphs": [subgraph]}, "config": {},
            "extra": {"BlueprintDescription": self.description, "BlueprintSearchAliases": list(self.aliases)},
        }


def _places(field: tuple) -> list[tuple[str, str]]:
    return [field] if isinstance(field[0], str) else list(field)


def _slot(graph: Graph, node: str, out: int | str) -> int:
    return next(n for n in graph.nodes if n.id == node)[out].slot


def _open_field(node: Node, drawn: dict, name: str, number: int, index: int, links: list) -> None:
    """Make a field of an inner node a field of the box."""
    kind = field_spec(node, name)[0]
    links.append([len(links) + 1, ENTRY, index, number, len(drawn["inputs"]), kind])
    drawn["inputs"].append({"name": name, "type": kind, "widget": {"name": name}, "link": len(links)})


MODELS = {"model": ("base", "MODEL"), "clip": ("base", "CLIP"), "vae": ("base", "VAE")}
PLAIN = {k: MODELS[k] for k in ("model", "vae")}
SAMPLING = {"seed": ("sampler", "seed"), "steps": ("sampler", "steps"), "cfg": ("sampler", "cfg")}
PLMS = {"seed": ("sampler", "noise_seed"), "steps": ("plms", "steps"), "cfg": ("sampler", "cfg")}
PROMPTS = {"prompt": ("positive", "text"), "negative": ("negative", "text")}


def _recipe(module, name: str) -> Callable[[dict], Graph]:
    """A recipe whose function has no name of its own, by the workflow it makes."""
    return lambda info: next(g for g in (describe(info) for describe in module.WORKFLOWS) if g.name == name)


BLUEPRINTS = [
    Blueprint(
        "Try on", tryon.try_on_any_sd15, "A given garment on a given person (SIFT-VTON, StableVITON). Needs the person's mask and DensePose picture.",
        ("vton", "virtual try-on", "stableviton", "sift-vton", "clothes swap"),
        {**PLAIN, "clip_vision": ("vision", 0), "method": ("method", 0), "garment": ("garment_image", 0), "person": ("person_image", 0),
         "mask": ("person_image", 1), "densepose": ("pose_image", 0)},
        {"strength": ("fitted", "strength"), **PLMS, "feather": ("composite", "feather")}, ("image", "composite", 0),
    ),
    Blueprint(
        "Try off", _recipe(tryoff, "try_off_upper"), "The flat product picture of a garment, from a photo of a person who wears it (IGR).",
        ("tryoff", "igr", "garment restoration", "flat lay", "ghost mannequin"),
        {**MODELS, "clip_vision": ("vision", 0), "method": ("method", 0), "person": ("person_image", 0), "mask": ("person_image", 1)},
        {"strength": ("restore", "strength"), "width": (("latent", "width"), ("garmnet", "width")), "height": (("latent", "height"), ("garmnet", "height")), **SAMPLING},
        ("image", "decode", 0), values={"width": 768, "height": 1024},
    ),
    Blueprint(
        "Dress", _recipe(dressing, "dress_two_garments"), "A new person, from a prompt, in two given garments (AnyDressing).",
        ("anydressing", "virtual dressing", "outfit", "wear"),
        {**MODELS, "method": ("method", 0), "upper": ("upper_image", 0), "lower": ("lower_image", 0)},
        {**PROMPTS, "strength": ("dress", "strength"), **{side: tuple((n, side) for n in ("latent", "encode_upper", "encode_lower")) for side in ("width", "height")},
         **SAMPLING}, ("image", "decode", 0), values={"width": 576, "height": 768, "prompt": "a person in a park, full body photo"},
    ),
    Blueprint(
        "Insert product", _recipe(insert, "insert_garment"), "Any product into the masked part of any picture; the rest comes back bit for bit (Diffuse to Choose).",
        ("diffuse to choose", "product insertion", "virtual try-all", "insert object"),
        {**PLAIN, "clip_vision": ("vision", 0), "method": ("method", 0), "product": ("product_image", 0), "picture": ("source_image", 0),
         "mask": ("source_image", 1)},
        {"strength": ("film", "strength"), **SAMPLING}, ("image", "composite", 0),
    ),
    Blueprint(
        "Add jewelry", _recipe(jewelry, "jewelry_necklace"), "A given piece of jewelry on a given person, with its shadow (PM-Jewelry). Needs a depth picture of the person.",
        ("jewellery", "pm-jewelry", "necklace", "earrings", "ring", "bracelet"),
        {**MODELS, "method": ("method", 0), "jewelry": ("jewelry_image", 0), "person": ("person_image", 0), "mask": ("person_image", 1),
         "depth": ("depth_image", 0)},
        {**PROMPTS, "strength": ("encoder", "strength"), "shadow": ("shadow", "strength"), **PLMS}, ("image", "composite", 0),
        without=("mask_picture", "grey", "masked_picture", "shadow_mask", "shadow_picture"), values={"prompt": "a woman wearing a gold necklace, portrait photo"},
    ),
]
