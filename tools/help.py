"""Write what the nodes' help pages say of connections, inputs and outputs, from the live schemas: `python3 tools/help.py`.

A page in web/docs is written by hand down to MARK; what follows, and the drawing in web/docs/img/<node>.svg, is written here, so
that ranges and defaults are those of the node. A test builds both again and compares.
"""

from __future__ import annotations

import sys
from pathlib import Path

if __package__:
    from . import pack
else:
    import pack

MARK = "<!-- From here on written by tools/help.py, from the node itself. -->"


def pages(info: dict, folder: Path) -> dict[str, str]:
    """{path below web/docs: text} of every page and drawing, with the hand-written part of the pages in `folder` kept."""
    from fitting_room.workflows.build import recipes
    from fitting_room.workflows.schematic import drawing, neighbours, tables

    graphs, out = [describe(info) for describe in recipes()], {}
    for name in sorted(n for n in info if n.startswith("FittingRoom")):
        by_hand = (folder / f"{name}.md").read_text(encoding="utf-8").partition(MARK)[0].rstrip()
        out[f"{name}.md"] = f"{by_hand}\n\n{MARK}\n\n{tables(info[name])}"
        out[f"img/{name}.svg"] = drawing(info[name], *neighbours(name, graphs))
    return out


def main() -> int:
    """Read the schemas from a running host and write the files."""
    made, code = pack.enter(__file__)
    if made is None:
        return code
    pack.load()
    from fitting_room.tools.server import Server

    folder = pack.ROOT / "web" / "docs"
    (folder / "img").mkdir(exist_ok=True)
    with Server(made.python, made.comfyui, made.base_directory) as server:
        files = pages(server.client.object_info(), folder)
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8")
    sys.stderr.write(f"{len(files)} files written to web/docs\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
