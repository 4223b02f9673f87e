"""Write the names and tooltips of the nodes for ComfyUI's translations: `python3 tools/locales.py`.

    python3 tools/locales.py                     locales/en from the live schemas; the other languages follow it
    python3 tools/locales.py --missing zh        print, as JSON, the English texts that have no translation yet
    python3 tools/locales.py --take zh FILE      take translations from a JSON file {English text: translation}

A translation belongs to an English text. Where the English text has changed since, the translation is dropped and the frontend
shows the English one, until somebody translates again. Languages other than English are drafts (locales/README.md).
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

if __package__:
    from . import pack
else:
    import pack

LANGUAGES = ("zh", "ja")
FILE = "nodeDefs.json"


def english(info: dict) -> dict:
    """{node: {display_name, description, inputs: {name: {name, tooltip}}, outputs: {number: {name, tooltip}}}} of this pack's nodes."""
    out = {}
    for node in sorted(n for n in info if n.startswith("FittingRoom")):
        entry = info[node]
        specs = {name: spec[1] for part in ("required", "optional") for name, spec in entry["input"].get(part, {}).items()}
        tips = entry.get("output_tooltips") or [None] * len(entry["output_name"])
        out[node] = {
            "display_name": entry["display_name"], "description": entry["description"],
            "inputs": {name: {"name": options.get("display_name") or name, "tooltip": options.get("tooltip", "")} for name, options in specs.items()},
            "outputs": {str(i): {"name": name, "tooltip": tip or ""} for i, (name, tip) in enumerate(zip(entry["output_name"], tips))},
        }
    return out


def texts(tree: dict) -> list[str]:
    """Every text of a tree, once, in order."""
    found = [text for value in tree.values() for text in (texts(value) if isinstance(value, dict) else [value])]
    return list(dict.fromkeys(text for text in found if text))


def known(before: dict, translated: dict) -> dict[str, str]:
    """{English text: translation}, from an English tree and the translation of the same tree."""
    out: dict[str, str] = {}
    for key, value in translated.items():
        if isinstance(value, dict):
            out |= known(before.get(key, {}), value)
        elif before.get(key):
            out[before[key]] = value
    return out


def translate(tree: dict, table: dict[str, str]) -> dict:
    """The same tree with what the table knows; what it does not know is left out."""
    out = {}
    for key, value in tree.items():
        found = translate(value, table) if isinstance(value, dict) else table.get(value)
        if found:
            out[key] = found
    return out


def read(path: Path) -> dict:
    """A JSON file, or {} where there is none."""
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def files(info: dict, folder: Path, more: dict[str, dict[str, str]] | None = None) -> dict[str, dict]:
    """{path below locales: content}, with the translations in `folder` kept as far as their English text is still there.

    more: {language: {English text: translation}}, taken before what is in the folder.
    """
    before, new = read(folder / "en" / FILE), english(info)
    out = {f"en/{FILE}": new}
    for language in LANGUAGES:
        table = known(before, read(folder / language / FILE)) | (more or {}).get(language, {})
        out[f"{language}/{FILE}"] = translate(new, table)
    return out


def main() -> int:
    """The command line; see the head of this file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--missing", choices=LANGUAGES)
    parser.add_argument("--take", nargs=2, metavar=("LANGUAGE", "FILE"))
    options = parser.parse_args()
    made, code = pack.enter(__file__, *sys.argv[1:])
    if made is None:
        return code
    pack.load()
    from fitting_room.tools.server import Server

    folder = pack.ROOT / "locales"
    more = {options.take[0]: read(Path(options.take[1]))} if options.take else {}
    with Server(made.python, made.comfyui, made.base_directory) as server:
        found = files(server.client.object_info(), folder, more)
    wanted = texts(found[f"en/{FILE}"])
    if options.missing:
        have = known(found[f"en/{FILE}"], found[f"{options.missing}/{FILE}"])
        print(json.dumps({text: "" for text in wanted if text not in have}, indent=0, ensure_ascii=False))
        return 0
    for name, content in found.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    for language in LANGUAGES:
        have = known(found[f"en/{FILE}"], found[f"{language}/{FILE}"])
        sys.stderr.write(f"{language}: {sum(text in have for text in wanted)} of {len(wanted)} texts\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
