"""The bundled workflows as a program sees them: named, with parameters that have names, types and defaults.

    workflow = load("dress_one_garment")                     # or the path of your own API-format JSON
    filled = workflow.fill({"upper_image": "shirt.png", "seed": "3"})
    prompt = filled.upload(client)                           # what /prompt takes

A value may also name any input of any node: {"sampler.scheduler": "normal"}. A picture is a path (relative to `folder`), bytes,
or "server:NAME" for a file that lies in the server's input folder already. Standard library only.
"""

import copy
import difflib
import json
import math
from dataclasses import dataclass
from pathlib import Path

API = Path(__file__).resolve().parents[1] / "workflows" / "api"
ON_SERVER = "server:"
WORDS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


class InputError(ValueError):
    """A value that cannot be used: the message says what came, what was expected and what to do."""


@dataclass(frozen=True)
class Filled:
    """A prompt with its values set. pictures: {(node id, input): path or bytes}, still to be uploaded."""

    name: str
    prompt: dict
    pictures: dict

    def upload(self, client) -> dict:
        """Send the pictures to a server and return the prompt that names them there."""
        prompt = copy.deepcopy(self.prompt)
        for (node, key), picture in self.pictures.items():
            prompt[node]["inputs"][key] = client.upload_once(picture)
        return prompt


@dataclass(frozen=True)
class Workflow:
    """A workflow: its prompt, and its parameters {name: {node, input, type, default, meaning}}."""

    name: str
    description: str
    prompt: dict
    params: dict

    def fill(self, values: dict, folder: Path | str = ".") -> Filled:
        """Set parameters, each checked and converted to its type. Raises InputError; every picture it names exists."""
        prompt, pictures = copy.deepcopy(self.prompt), {}
        for name, value in values.items():
            node, key, kind = self._place(name)
            if kind != "IMAGE FILE":
                prompt[node]["inputs"][key] = _converted(self.name, name, kind, value, prompt[node]["inputs"].get(key))
            elif isinstance(value, str) and value.startswith(ON_SERVER):
                prompt[node]["inputs"][key] = value.removeprefix(ON_SERVER)
            else:
                pictures[node, key] = _picture(self.name, name, value, Path(folder))
        missing = [name for name, param in self.params.items() if param["type"] == "IMAGE FILE" and name not in values]
        if missing:
            raise InputError(f"{self.name} needs a picture for {', '.join(missing)}: a path, or {ON_SERVER}NAME for one in the server's input folder")
        return Filled(self.name, prompt, pictures)

    def _place(self, name: str) -> tuple[str, str, str]:
        if name in self.params:
            param = self.params[name]
            return param["node"], param["input"], param["type"]
        node, _, key = name.partition(".")
        if key in self.prompt.get(node, {}).get("inputs", {}):
            return node, key, "IMAGE FILE" if self.prompt[node]["class_type"] == "LoadImage" and key == "image" else "ANY"
        raise InputError(f"{self.name} has no parameter {name!r}{_near(name, self.params)}; it has {', '.join(self.params) or 'none'}, "
                         "and NODE.INPUT sets any other input")


def names() -> list[str]:
    """The bundled workflows."""
    return sorted(path.stem for path in API.glob("*.json") if path.stem != "params")


def load(workflow: str) -> Workflow:
    """A bundled workflow by name, or any API-format JSON by its path. Raises InputError."""
    known = names()
    if workflow in known:
        about = json.loads((API / "params.json").read_text(encoding="utf-8"))[workflow]
        prompt = json.loads((API / f"{workflow}.json").read_text(encoding="utf-8"))
        return Workflow(workflow, about["description"], prompt, about["parameters"])
    path = Path(workflow)
    if not path.is_file():
        raise InputError(f"there is no workflow {workflow!r}{_near(workflow, known)}; `list` shows the bundled ones, and a path names a file")
    try:
        prompt = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{workflow} is no JSON ({error})") from None
    if isinstance(prompt, dict) and "nodes" in prompt:
        raise InputError(f"{workflow} is a workflow of the canvas, and a program needs its API form; in ComfyUI choose File > Export (API)")
    if not isinstance(prompt, dict) or not prompt or not all(isinstance(n, dict) and "class_type" in n and "inputs" in n for n in prompt.values()):
        raise InputError(f"{workflow} is no API-format workflow: every node needs class_type and inputs")
    return Workflow(path.stem, "", prompt, {})


def name_results(stem: str, files: list, texts: dict) -> dict:
    """Names for what `Client.results` gives: stem.png where there is one file, stem.NODE.png, stem.NODE.2.png where there are several."""
    named, counts = {}, {}
    for file in files:
        node = file["node"]
        counts[node] = counts.get(node, 0) + 1
        middle = "" if len(files) == 1 else f".{node}" if counts[node] == 1 else f".{node}.{counts[node]}"
        named[f"{stem}{middle}{Path(file['filename']).suffix}"] = file
    return named | {f"{stem}.{node}.txt": text for node, text in texts.items()}


def _near(name: str, known) -> str:
    found = difflib.get_close_matches(name, known, 1, 0.5)
    return f" (did you mean {found[0]}?)" if found else ""


def _picture(workflow: str, name: str, value, folder: Path):
    if isinstance(value, (bytes, bytearray, memoryview)):
        return bytes(value)
    if not isinstance(value, (str, Path)) or not str(value):
        raise InputError(f"{workflow}: {name} is {value!r}, and a picture is wanted: a path, bytes, or {ON_SERVER}NAME")
    path = folder / value
    if not path.is_file():
        raise InputError(f"{workflow}: {name} names {path}, and there is no such file")
    return path


def _converted(workflow: str, name: str, kind: str, value, before):
    """The value as JSON of the input's type; text is read, other types are checked."""
    if kind == "ANY":  # no schema at hand: the value that stands there says what is wanted
        if isinstance(before, list):
            raise InputError(f"{workflow}: {name} is a link from node {before[0]}, and links cannot be set")
        kind = {bool: "BOOLEAN", int: "NUMBER", float: "FLOAT"}.get(type(before), "STRING")
    if kind == "NUMBER":  # JSON writes a whole number of a FLOAT input without its point
        kind = "INT" if str(value).strip().lstrip("+-").isdigit() else "FLOAT"
    try:
        if kind == "BOOLEAN":
            return value if isinstance(value, bool) else WORDS[str(value).strip().lower()]
        if isinstance(value, bool) or value is None:
            raise ValueError
        if kind == "INT":
            number = int(value) if isinstance(value, (int, str)) else float(value)
            if number != int(number):
                raise ValueError
            return int(number)
        if kind == "FLOAT":
            if not math.isfinite(float(value)):
                raise ValueError
            return float(value)
        return json.dumps(value) if isinstance(value, (dict, list)) else str(value)
    except (ValueError, KeyError, TypeError, OverflowError):
        raise InputError(f"{workflow}: {name} is {value!r}, and {kind} is wanted (now {before!r})") from None
