"""A node's page in part: a drawing of what is connected to it, and tables of its inputs and outputs, from the live schemas.

The drawing shows the node as one of the bundled workflows uses it; for nodes that no workflow uses, NEIGHBOURS says what goes where.
"""

from __future__ import annotations

from html import escape

from .graph import WIDGETS, Graph, Output, choices, input_specs

WIDTH, ROW, TITLE_ROW, PAD, SIDE, MIDDLE = 760, 22, 30, 8, 210, 240
COLOURS = {"IMAGE": "#64b5f6", "MASK": "#81c784", "MODEL": "#b39ddb", "CLIP": "#ffd500", "VAE": "#ff6e6e", "CONDITIONING": "#ffa931", "LATENT": "#ff9cf9",
           "CLIP_VISION": "#a8dadc", "STRING": "#9e9e9e"}
OURS = "#e0a458"
FILES = {"file", "sam_model", "depthfm_file"}  # whose choices are what lies on a machine's disk
# for nodes that no workflow uses: (input, what feeds it) and (output, what takes it)
NEIGHBOURS = {
    "FittingRoomLoadMethod": ([], [("method", "GFE LoRA Encoder, Apply ... of that method"), ("about", "Preview as Text")]),
    "FittingRoomConvertWeights": ([], [("path", "Preview as Text"), ("report", "Preview as Text")]),
    "FittingRoomSaveMethod": ([("method", "Train ..., New Fitting Method")], [("path", "Preview as Text")]),
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
            fed = [(k.split(".")[0], v.node.title) for k, v in n.inputs.items() if isinstance(v, Output)]
            names = (n.canvas_entry or n.entry)["output_name"]
            slot = lambda v, n=n: n.canvas_slots.get(v.slot, v.slot) if n.canvas_type else v.slot
            taken = [(names[slot(v)], other.title) for other in graph.nodes for v in other.inputs.values() if isinstance(v, Output) and v.node is n]
            if len(set(fed)) + len(set(taken)) > len(best[0]) + len(best[1]):
                best = list(dict.fromkeys(fed)), list(dict.fromkeys(taken))
    return best if any(best) else NEIGHBOURS.get(node, ([], []))


def drawing(entry: dict, fed: list, taken: list) -> str:
    """An SVG of a node between what feeds it and what takes its outputs.

    Args:
        entry: the node as ComfyUI describes it. fed, taken: (socket, title of the other node), from `neighbours`.
    """
    sockets = [(name, kind) for name, (kind, options) in input_specs(entry).items() if name in dict(fed) or kind not in WIDGETS or options.get("forceInput")]
    inputs = sorted(sockets, key=lambda s: s[0] not in dict(fed))  # what is connected first
    outputs = list(zip(entry["output_name"], entry["output"]))
    rows = max(len(inputs), len(outputs), 1)
    high = max(rows, len(fed), len(taken))
    height = PAD * 2 + TITLE_ROW + ROW * high + PAD
    x = (WIDTH - MIDDLE) / 2
    at = lambda i: PAD + TITLE_ROW + ROW * (i + 0.5)
    out = [f'<rect x="{x}" y="{PAD}" width="{MIDDLE}" height="{TITLE_ROW + ROW * rows + PAD}" rx="8" fill="#353535" stroke="#666"/>',
           _text(WIDTH / 2, PAD + 20, entry["display_name"] or entry["name"], "middle", "#fff", MIDDLE - 16, bold=True)]
    for i, (name, kind) in enumerate(inputs):
        used = name in dict(fed)
        out += [_dot(x, at(i), kind, used), _text(x + 12, at(i) + 4, name, "start", "#ddd" if used else "#888", 110)]
    for i, (name, kind) in enumerate(outputs):
        used = name in dict(taken)
        out += [_dot(x + MIDDLE, at(i), kind, used), _text(x + MIDDLE - 12, at(i) + 4, name, "end", "#ddd" if used else "#888", 110)]
    places = {"fed": {n: i for i, (n, _) in enumerate(inputs)}, "taken": {n: i for i, (n, _) in enumerate(outputs)}}
    kinds = {"fed": dict(inputs), "taken": dict(outputs)}
    for side, others in (("fed", fed), ("taken", taken)):
        for i, (socket, title) in enumerate(others):
            left = PAD if side == "fed" else WIDTH - PAD - SIDE
            ends = (left + SIDE, at(i), x, at(places[side][socket])) if side == "fed" else (x + MIDDLE, at(places[side][socket]), left, at(i))
            out += [_line(*ends, kinds[side][socket]),
                    f'<rect x="{left}" y="{at(i) - 9}" width="{SIDE}" height="18" rx="5" fill="#2a2a2a" stroke="#555"/>',
                    _text(left + SIDE / 2, at(i) + 4, title, "middle", "#ccc", SIDE - 12)]
    return (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:g}" width="{WIDTH}" height="{height:g}" font-family="Helvetica, Arial, sans-serif">'
            f'<rect width="{WIDTH}" height="{height:g}" rx="10" fill="#1f1f1f"/>' + "".join(out) + "</svg>\n")


def _colour(kind: str) -> str:
    return OURS if kind.startswith(("FITTING", "JEWELRY")) else COLOURS.get(kind.split(",")[0], "#bbb")


def _dot(x: float, y: float, kind: str, used: bool) -> str:
    return f'<circle cx="{x:g}" cy="{y:g}" r="5" fill="{_colour(kind) if used else "#353535"}" stroke="{_colour(kind)}"/>'


def _line(x0: float, y0: float, x1: float, y1: float, kind: str) -> str:
    bend = (x1 - x0) / 2
    return f'<path d="M{x0:g} {y0:g}C{x0 + bend:g} {y0:g} {x1 - bend:g} {y1:g} {x1:g} {y1:g}" fill="none" stroke="{_colour(kind)}" stroke-width="2"/>'


def _text(x: float, y: float, text: str, anchor: str, fill: str, room: float, bold: bool = False) -> str:
    size = 13 if bold else 12
    most = int(room / (size * (0.6 if bold else 0.54)))
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
        return f"{options.get('min'):g} to {options.get('max'):,g}; {default:g}" if "min" in options else f"{default}"
    if kind == "BOOLEAN":
        return f"yes or no; {'yes' if default else 'no'}"
    if kind == "COMBO":
        if name in FILES:
            return "a file"
        known = [f"{c}" for c in choices(options)]
        shown = ", ".join(known[:8]) + (", ..." if len(known) > 8 else "")
        return _cell(f"{shown}; {default}" if default is not None else shown)
    if kind == "STRING":
        return "text" + (f"; {_cell(str(default))}" if default else "")
    return kind


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ").replace("<", "&lt;")
