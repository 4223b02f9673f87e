"""Make the template browser's thumbnails: `python3 tools/thumbnails.py [--only NAME ...]`.

Runs each bundled workflow as it stands on the canvas (drawn pictures, the demo model) and writes workflows/<name>.jpg, a square
picture of what it made, with what went in beside it where there is room. It stops where no trained demo weights are bundled:
a thumbnail of noise would promise nothing. `--untrained` makes them all the same, into the folder that --output names.

    --steps N    fewer sampling steps than the workflow has      --output FOLDER    somewhere else than workflows/
"""

from __future__ import annotations

import argparse
import io
import sys
import time
from pathlib import Path

if __package__:
    from . import pack
    from .demo import bar, drawn, say, stack_is_trained
else:
    import pack
    from demo import bar, drawn, say, stack_is_trained

SIDE, LARGEST = 512, 60_000  # pixels, bytes
STRIP, GAP, GROUND = 120, 8, (32, 32, 34)
SHOWN = ("SaveImage", "PreviewImage", "LossGraphNode")


def main() -> int:
    """Run the workflows and write the thumbnails."""
    arguments = sys.argv[1:]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", metavar="NAME")
    parser.add_argument("--steps", type=int)
    parser.add_argument("--untrained", action="store_true")
    parser.add_argument("--output", default=str(pack.ROOT / "workflows"))
    options = parser.parse_args(arguments)
    made, code = pack.enter(__file__, *arguments)
    if made is None:
        return code
    output = Path(options.output).resolve()
    if not stack_is_trained() and (not options.untrained or output == pack.ROOT / "workflows"):
        say("no trained demo weights are bundled (models/demo/stack.safetensors), so every thumbnail would be noise; "
            "to try this program out, give --untrained and --output FOLDER")
        return 1
    pack.load()
    from fitting_room.tools.server import Server
    from fitting_room.workflows.build import recipes

    output.mkdir(parents=True, exist_ok=True)
    with Server(made.python, made.comfyui, made.base_directory) as server:
        info = server.client.object_info()
        graphs = [graph for graph in (describe(info) for describe in recipes()) if not options.only or graph.name in options.only]
        if unknown := set(options.only or ()) - {graph.name for graph in graphs}:
            say(f"there is no workflow named {', '.join(sorted(unknown))}")
            return 1
        for graph in graphs:
            start = time.monotonic()
            size = write(output / f"{graph.name}.jpg", thumbnail(graph, run(server.client, graph, options.steps)))
            say(f"{graph.name}.jpg: {size // 1000} kB ({time.monotonic() - start:.0f} s)")
    return 0


def run(client, graph, steps: int | None) -> list:
    """What a workflow shows at its end, as pictures: what it saves as results, or else what it previews."""
    from PIL import Image

    prompt = graph.api(drawn=True)
    for node in prompt.values() if steps else ():
        if isinstance(node["inputs"].get("steps"), int):
            node["inputs"]["steps"] = min(node["inputs"]["steps"], steps)
    history = client.run(prompt, progress=lambda node, step, total: bar(graph.name[:12], prompt, node, step, total))
    sys.stderr.write("\n")
    found = sorted((i for i in client.images(history) if i["node"] in prompt), key=lambda i: list(prompt).index(i["node"]))
    best = [i for i in found if i["node"].startswith("result")] or [i for i in found if prompt[i["node"]]["class_type"] in SHOWN] or found
    if not best:
        raise ValueError(f"{graph.name} shows no picture at its end")
    return [Image.open(io.BytesIO(client.download(i))).convert("RGB") for i in best]


def thumbnail(graph, results: list):
    """A square of the results; one alone leaves room for what went in."""
    from PIL import Image

    sheet = Image.new("RGB", (SIDE, SIDE), GROUND)
    if len(results) > 1:
        results = results[:4]
        columns = 2
        rows = (len(results) + 1) // 2
        cell = ((SIDE - GAP * (columns + 1)) // columns, (SIDE - GAP * (rows + 1)) // rows)
        for i, picture in enumerate(results):
            paste(sheet, picture, GAP + (i % columns) * (cell[0] + GAP), GAP + (i // columns) * (cell[1] + GAP), *cell)
        return sheet
    given = [drawn_input(node) for node in graph.nodes if node.canvas_type and not node.canvas_slots.get(0)]
    given = given[:3] if results[0].height > results[0].width else []
    room = SIDE - GAP * 2 - (STRIP + GAP if given else 0)
    paste(sheet, results[0], GAP + (STRIP + GAP if given else 0), GAP, room, SIDE - 2 * GAP)
    for i, picture in enumerate(given):
        high = (SIDE - 2 * GAP) // 3
        paste(sheet, picture, GAP, GAP + i * high, STRIP, high - GAP)
    return sheet


def drawn_input(node):
    """The drawn picture that a node of the canvas shows."""
    values = node.canvas_inputs
    finer = max(1, SIDE // max(values["height"], values["width"]))
    return drawn(values["kind"], values["seed"], finer * values["height"], finer * values["width"]).convert("RGB")


def paste(sheet, picture, x: int, y: int, width: int, height: int) -> None:
    """A picture inside a rectangle, in its own proportions, in the middle."""
    from PIL import Image

    share = min(width / picture.width, height / picture.height)
    picture = picture.resize((max(1, round(picture.width * share)), max(1, round(picture.height * share))), Image.Resampling.LANCZOS)
    sheet.paste(picture, (x + (width - picture.width) // 2, y + (height - picture.height) // 2))


def write(path: Path, picture) -> int:
    """A JPEG as good as fits into LARGEST bytes, written whole or not at all; returns its size."""
    for quality in (92, 88, 84, 80, 72, 64, 50, 35, 20, 10):
        data = io.BytesIO()
        picture.save(data, "JPEG", quality=quality, optimize=True)
        if data.tell() <= LARGEST:
            break
    part = path.with_suffix(".part")
    part.write_bytes(data.getvalue())
    part.replace(path)
    return data.tell()


if __name__ == "__main__":
    sys.exit(main())
