"""A node's page in part: a drawing of what is connected to it, and tables of its inputs and outputs, from the live schemas.

The drawing shows the node as one of the bundled workflows uses it; for nodes that no workflow uses, NEIGHBOURS says what goes where.
"""

from __future__ import annotations

from html import escape

from .graph import Graph, Node
from .schema import WIDGETS, Output, input_specs

WIDTH, ROW, TITLE_ROW, PAD, NAME = 380, 22, 30, 10, 118  # narrow: the frontend shows it in a side panel
COLOURS = {"IMAGE": "#64b5f6", "MASK": "#81c784", "MODEL": "#b39ddb", "CLIP": "#ffd500", "VAE": "#ff6e6e", "CONDITIONING": "#ffa931", "LATENT": "#ff9cf9",
           "CLIP_VISION": "#a8dadc", "STRING": "#9e9e9e"}
OURS = "#e0a458"
FILES = {"file", "sam_model", "depthfm_file"}  # whose choices are what lies on a machine's disk
# what stands in the place of a demo node when the weights are real
REAL = {"FittingRoomDemoModel": "Load Checkpoint", "FittingRoomDemoMethod": "Load Fitting Method", "FittingRoomDemoVision": "Load CLIP Vision",
        "FittingRoomDemoControlNet": "Load ControlNet Model", "FittingRoomDemoLora": "Load LoRA", "FittingRoomWidenModel": "Load Checkpoint"}
# for nodes that no workflow uses: (input, what feeds it) and (output, what takes it)
NEIGHBOURS = {
    "FittingRoomLoadMethod": ([], [("method", "the nodes of that method"), ("about", "Preview as Text")]),
    "FittingRoomConvertWeights": ([], [("path", "Preview as Text"), ("report", "Preview as Text")]),
    "FittingRoomSaveMethod": ([("method", "a training node")], [("path", "Preview as Text")]),
    "FittingRoomGarmentStrength": ([("garment", "GFE LoRA Encoder")], [("garment", "Apply AnyDressing")]),
    "FittingRoomLoadGarmentAdapter": ([("method", "Load Fitting Method (IGR)")], [("method", "Encode Garment Tokens, Apply IGR"), ("about", "Preview as Text")]),
    "FittingRoomSegment": ([("image", "Load Image"), ("bounding_box", "Largest Rectangle in Mask")], [("mask", "Agnostic Mask, Composite Back"), ("masks", "Mask Preview"), ("scores", "Preview as Text")]),
    "FittingRoomStitchRegion": ([("source", "Load Image"), ("result", "VAE Decode"), ("crop", "Crop Region"), ("mask", "Load Image")], [("image", "Save Image")]),
}


def neighbours(node: str, graphs: list[Graph]) -> tuple[list, list]:
    """([(input, title of what feeds it)], [(output, title of what takes it)]) of a node type, from the workflow that connects most of it."""
    best: tuple[list, list] = ([], [])
    for graph in graphs:
        for n in graph.nodes:
            if n.type != node and n.canvas_type != node:
                continue
            fed = [(k.split(".")[0], _called(v.node)) for k, v in n.inputs.items() if isinstance(v, Output)]
            names = (n.canvas_entry or n.entry)["output_name"]
            slot = lambda v, n=n: n.canvas_slots.get(v.slot, v.slot) if n.canvas_type else v.slot
            taken = [(names[slot(v)], _called(other)) for other in graph.nodes for v in other.inputs.values() if isinstance(v, Output) and v.node is n]
            if len(set(fed)) + len(set(taken)) > len(best[0]) + len(best[1]):
                best = list(dict.fromkeys(fed)), list(dict.fromkeys(taken))
    return best if any(best) else NEIGHBOURS.get(node, ([], []))


def _called(node: Node) -> str:
    """What a node is called where another one's page names it: a picture by its role, a demo node by what stands there in earnest."""
    return node.title if node.canvas_type else REAL.get(node.type) or node.entry.get("display_name") or node.type


def drawing(entry: dict, fed: list, taken: list) -> str:
    """An SVG of a node: its inputs with what feeds them, its outputs with what takes them.

    Args:
        entry: the node as ComfyUI describes it. fed, taken: (socket, title of the other node), from `neighbours`.
    """
    sockets = [(name, kind) for name, (kind, options) in input_specs(entry).items() if name in dict(fed) or kind not in WIDGETS or options.get("forceInput")]
    rows = [(name, kind, fed, "start") for name, kind in sorted(sockets, key=lambda s: s[0] not in dict(fed))]  # what is connected first
    rows += [(name, kind, taken, "end") for name, kind in zip(entry["output_name"], entry["output"])]
    height = PAD + TITLE_ROW + ROW * len(rows) + 2 * PAD
    out = [f'<rect x="{PAD}" y="{PAD}" width="{WIDTH - 2 * PAD}" height="{TITLE_ROW + ROW * len(rows)}" rx="8" fill="#353535" stroke="#666"/>',
           _text(WIDTH / 2, PAD + 20, entry["display_name"] or entry["name"], "middle", "#fff", WIDTH - 4 * PAD, bold=True)]
    for i, (name, kind, others, side) in enumerate(rows):
        y, titles = PAD + TITLE_ROW + ROW * (i + 0.5) - 2, ", ".join(title for socket, title in others if socket == name)
        at = lambda x, side=side: x if side == "start" else WIDTH - x
        out += [f'<circle cx="{at(PAD)}" cy="{y:g}" r="5" fill="{_colour(kind) if titles else "#353535"}" stroke="{_colour(kind)}"/>',
                _text(at(2 * PAD + 2), y + 4, name, side, "#eee" if titles else "#999", NAME)]
        if titles:  # the arrow points from what gives to what takes
            out += [f'<text x="{at(2 * PAD + NAME + 12)}" y="{y + 4:g}" text-anchor="middle" fill="{_colour(kind)}" font-size="14">&#8592;</text>',
                    _text(at(2 * PAD + NAME + 24), y + 4, titles, side, "#bcd", WIDTH - 4 * PAD - NAME - 24)]
    return (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" font-family="Helvetica, Arial, sans-serif">'
            f'<rect width="{WIDTH}" height="{height}" rx="10" fill="#1f1f1f"/>' + "".join(out) + "</svg>\n")


def _colour(kind: str) -> str:
    return OURS if kind.startswith(("FITTING", "JEWELRY")) else COLOURS.get(kind.split(",")[0], "#bbb")


def _text(x: float, y: float, text: str, anchor: str, fill: str, room: float, bold: bool = False) -> str:
    size = 15 if bold else 13
    most = int(room / (size * (0.58 if bold else 0.52)))
    text = text if len(text) <= most else text[: most - 1].rstrip(" (,") + "..."
    weight = ' font-weight="bold"' if bold else ""
    return f'<text x="{x:g}" y="{y:g}" text-anchor="{anchor}" fill="{fill}" font-size="{size}"{weight}>{escape(text)}</text>'


# ---- tables --------------------------------------------------------------------------------------------------------------


def tables(entry: dict) -> str:
    """Markdown: every input with type, range, default and meaning, and every output."""
    required = set(entry["input"].get("required", {}))
    rows = ["| input | takes | what it does |", "|---|---|---|"]
    for name, (kind, options) in input_specs(entry).items():
        rows.append(f"| `{name}`{'' if name in required else ' (optional)'} | {takes(name, kind, options)} | {_cell(options.get('tooltip', ''))} |")
    parts = ["## All inputs", "", "\n".join(rows)] if len(rows) > 2 else ["## All inputs", "", "None."]
    tips = entry.get("output_tooltips") or [""] * len(entry["output"])
    outputs = [f"| `{name}` | {kind} | {_cell(tip or '')} |" for name, kind, tip in zip(entry["output_name"], entry["output"], tips)]
    return "\n".join([*parts, "", "## Outputs", "", "\n".join(["| output | type | what it is |", "|---|---|---|", *outputs]), ""])


def takes(name: str, kind: str, options: dict) -> str:
    """What may be put into an input, in short: a type of socket, a range with its default, or the choices."""
    if kind == "COMFY_AUTOGROW_V3":
        inner = options["template"]["input"]
        return f"a growing list of {next(iter({**inner.get('required', {}), **inner.get('optional', {})}.values()))[0]}"
    default = options.get("default")
    if kind in ("INT", "FLOAT"):
        return f"{_number(options['min'])} to {_number(options['max'])}; {_number(default)}" if "min" in options else f"{default}"
    if kind == "BOOLEAN":
        return f"yes or no; {'yes' if default else 'no'}"
    if kind == "COMBO":
        if name in FILES:
            return "a file"
        known = [f"{c}" for c in options.get("options", [])]
        shown = ", ".join(known[:8]) + (", ..." if len(known) > 8 else "")
        return _cell(f"{shown}; {default}" if default is not None else shown)
    if kind == "STRING":
        return "text" + (f"; {_cell(str(default))}" if default else "")
    return kind


def _number(value: float) -> str:
    return f"{value:,}" if float(value).is_integer() and abs(value) < 1e15 and isinstance(value, int) else f"{value:g}"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ").replace("<", "&lt;")
