"""Write the bundled workflows and blueprints again: `python3 tools/workflows.py` (starts a ComfyUI to read the node schemas, then stops it)."""

from __future__ import annotations

import sys

if __package__:
    from . import pack
else:
    import pack


def main() -> int:
    """Build with the schemas of a running host and write the files."""
    made, code = pack.enter(__file__)
    if made is None:
        return code
    pack.load()
    from fitting_room.tools.server import Server
    from fitting_room.workflows.build import build, written

    with Server(made.python, made.comfyui, made.base_directory) as server:
        files = build(server.client.object_info())
    for name in written(pack.ROOT) - set(files):
        (pack.ROOT / name).unlink()
    for name, text in files.items():
        path = pack.ROOT / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    sys.stderr.write(f"{len(files)} files written to workflows/ and subgraphs/\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
