"""Getting a method: from a file, untrained for a model, and back into a file."""

from __future__ import annotations

import json
import os

from ..host import (
    LoadedMethod,
    build_method,
    file_tensors,
    io,
    method_files,
    method_path,
    new_method,
    output_path,
    ui,
)
from ..models import weights
from ..models.registry import METHODS, method_class
from .sockets import Method


def load(path: str) -> LoadedMethod:
    """A method from one of our files, whichever method it holds."""
    header, tensors = weights.read(path)
    name = os.path.basename(path)
    return build_method(method_class(header.method, name), header, tensors, name)


def parse_options(text: str | None) -> dict:
    """A JSON object from a text field; empty text is no options.

    Raises:
        ValueError: not a JSON object.
    """
    if not (text or "").strip():
        return {}
    try:
        options = json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f'The options are not JSON ({error.msg} at character {error.pos}); write an object such as {{"rank": 64}}, or leave the field empty.') from error
    if not isinstance(options, dict):
        raise ValueError(f'The options are a JSON {type(options).__name__}; write an object such as {{"rank": 64}}, or leave the field empty.')
    return options


class LoadMethod(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="FittingRoomLoadMethod",
            display_name="Load Fitting Method",
            category="Fitting Room/Methods",
            description="Loads the weights of a method (AnyDressing, IGR, Diffuse to Choose, SIFT-VTON, PM-Jewelry) from models/fitting_room. "
            "The file's header says which method it is, how it was trained and under which licence.",
            search_aliases=["try-on", "vton", "virtual dressing", "load garment model", "fitting room"],
            inputs=[io.Combo.Input("file", options=method_files(), tooltip="A .safetensors file in models/fitting_room. Files of other projects are converted first with Convert Weights.")],
            outputs=[
                Method.Output(display_name="method", tooltip="The method with its weights; connect it to the nodes of that method."),
                io.String.Output(display_name="about", tooltip="What the file says of itself: method, training, data, licence."),
            ],
        )

    @classmethod
    def validate_inputs(cls, file=None):
        if file is not None and file not in method_files():
            return f"The file '{file}' is not in models/fitting_room; put it there (Convert Weights writes there too) and refresh the page."
        return True

    @classmethod
    def fingerprint_inputs(cls, file=None):
        stat = os.stat(method_path(file)) if file else None
        return f"{stat.st_mtime_ns}-{stat.st_size}" if stat else ""

    @classmethod
    def execute(cls, file):
        method = load(method_path(file))
        about = method.header.describe()
        return io.NodeOutput(method, about, ui=ui.PreviewText(about))


class NewMethod(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="FittingRoomNewMethod",
            display_name="New Fitting Method (untrained)",
            category="Fitting Room/Methods",
            description="An untrained method at its paper's starting point, for training or for trying a workflow before any weights are at hand. "
            "AnyDressing (LoRA 0, W' = W) and IGR (GarmNet a copy of the base) let the garment through from the start; the other methods start as an exact no-op.",
            search_aliases=["train try-on", "init", "untrained", "training-free dressing"],
            inputs=[
                io.Model.Input("model", tooltip="An SD1.5 model: its width decides the method's, and what the paper copies from the base is copied from it."),
                io.Combo.Input("method", options=list(METHODS), tooltip="Which paper."),
                io.Int.Input("seed", default=0, min=0, max=0xFFFFFFFF, tooltip="Seed of the random starting weights (the layers that do not start at zero)."),
                io.String.Input(
                    "options", default="", multiline=True, optional=True, advanced=True,
                    tooltip='Configuration as a JSON object, for example {"rank": 64, "slots": ["upper", "lower"]}. Empty = the paper\'s. A wrong name is answered with the known ones.',
                ),
            ],
            outputs=[Method.Output(display_name="method", tooltip="The untrained method.")],
        )

    @classmethod
    def validate_inputs(cls, options=None):
        try:
            parse_options(options)
        except ValueError as error:
            return str(error)
        return True

    @classmethod
    def execute(cls, model, method, seed, options=""):
        return io.NodeOutput(new_method(METHODS[method], model, seed, parse_options(options)))


class SaveMethod(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="FittingRoomSaveMethod",
            display_name="Save Fitting Method",
            category="Fitting Room/Methods",
            description="Writes a method to a .safetensors file in the output directory, with a header that says what it is. The file is written whole or not at all. "
            "Move it to models/fitting_room to load it.",
            search_aliases=["export", "save try-on weights"],
            inputs=[
                Method.Input("method", tooltip="The method to write."),
                io.String.Input("filename_prefix", default="fitting_room/method", tooltip="Name of the file below the output directory; a number is appended, nothing is overwritten."),
            ],
            outputs=[io.String.Output(display_name="path", tooltip="The file that was written.")],
            is_output_node=True,
        )

    @classmethod
    def execute(cls, method, filename_prefix):
        path = weights.write(output_path(filename_prefix, ".safetensors"), file_tensors(method), method.header)
        return io.NodeOutput(str(path), ui=ui.PreviewText(f"{path.name}\n{method.header.describe()}"))


NODES = [LoadMethod, NewMethod, SaveMethod]
