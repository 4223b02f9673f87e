"""Nodes' inputs as ComfyUI describes them (/object_info), and the check of what a workflow gives them."""

from __future__ import annotations

from dataclasses import dataclass

WIDGETS = {"INT", "FLOAT", "STRING", "BOOLEAN", "COMBO"}


@dataclass(frozen=True)
class Output:
    """One output of a node, to be given as an input of another."""

    node: object
    slot: int
    type: str


def specs_of(entry: dict) -> dict:
    """Every input of a node as ComfyUI describes it, required ones first."""
    return {name: spec for part in ("required", "optional") for name, spec in entry["input"].get(part, {}).items()}


def kind_of(spec) -> str:
    """The type of an input; COMBO for a list of choices."""
    return "COMBO" if isinstance(spec[0], list) else spec[0]


def options_of(spec) -> dict:
    """Default, range, tooltip and the like."""
    return spec[1] if len(spec) > 1 else {}


def choices_of(spec) -> list:
    """The choices of a COMBO."""
    return spec[0] if isinstance(spec[0], list) else options_of(spec).get("options", [])


def input_specs(entry: dict) -> dict[str, tuple[str, dict]]:
    """(type, options) of every input of a node, as ComfyUI describes it; the options hold the choices of a COMBO."""
    return {name: (kind_of(spec), {**options_of(spec), **({"options": spec[0]} if isinstance(spec[0], list) else {})}) for name, spec in specs_of(entry).items()}


def field_spec(node, name: str) -> tuple:
    """(type, options) of a node's input as ComfyUI describes it.

    Raises:
        KeyError: the node has no such input.
    """
    spec = specs_of(node.entry)[name]
    return kind_of(spec), options_of(spec)


def complete(workflow: str, id: str, entry: dict, given: dict) -> dict:
    """Inputs with defaults filled in, checked against the node's schema; growing lists become numbered inputs.

    Raises:
        ValueError: an unknown input, one that is missing, a value outside its range, or a link of another type.
    """
    specs, required = specs_of(entry), set(entry["input"].get("required", {}))
    where = f"{workflow}: node {id} ({entry['name']})"
    if unknown := set(given) - set(specs):
        raise ValueError(f"{where} has no input {sorted(unknown)}; it takes {sorted(specs)}")
    out = {}
    for name, spec in specs.items():
        value = given.get(name, options_of(spec).get("default"))
        if name not in given and value is None and kind_of(spec) == "COMBO" and choices_of(spec):
            value = choices_of(spec)[0]
        if value is None:
            if name in required:
                raise ValueError(f"{where} needs the input {name}")
        elif kind_of(spec) == "COMFY_AUTOGROW_V3":
            template = options_of(spec)["template"]
            names = template.get("names") or [f"{template['prefix']}{i}" for i in range(template["max"])]
            for number, item in enumerate(value):
                out[f"{name}.{names[number]}"] = item
        else:
            _check(where, name, spec, value)
            out[name] = value
    return out


def _check(where: str, name: str, spec, value) -> None:
    kind, options = kind_of(spec), options_of(spec)
    if isinstance(value, Output):
        accepted = set(str(kind).split(","))
        if value.type != kind and not accepted & set(str(value.type).split(",")) and "*" not in (kind, value.type):
            raise ValueError(f"{where}: {name} takes {kind}, and {value.node.id} gives {value.type}")
    elif kind not in WIDGETS:
        raise ValueError(f"{where}: {name} is a socket of {kind} and got the value {value!r}")
    elif kind == "COMBO" and not options.get("image_upload") and value not in choices_of(spec):
        raise ValueError(f"{where}: {name} is {value!r}, not one of {choices_of(spec)}")
    elif kind in ("INT", "FLOAT") and not options.get("min", value) <= value <= options.get("max", value):
        raise ValueError(f"{where}: {name} is {value}, outside {options.get('min')}..{options.get('max')}")
