"""Released weights of other projects, made ours once."""

from __future__ import annotations

from ..host import io, models_folder, source_files, source_path, ui
from ..models.conversion import FAMILIES, convert, plain_name

CHOICES = ["auto", *FAMILIES]


def convert_file(file: str, family: str, filename: str) -> tuple[str, str]:
    """Convert a file of the host's folders; returns the path of the method's file and the report."""
    converted = convert(source_path(file), family)
    path, companions = converted.write(models_folder, filename)
    written = [f"Wrote {p.parent.name}/{p.name}" for p in (path, *companions)]
    return str(path), "\n".join([*converted.report, *written, "", converted.header.describe()])


class ConvertWeights(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="FittingRoomConvertWeights",
            display_name="Convert Weights",
            category="Fitting Room/Methods",
            description="Turns released weights (StableVITON, SIFT-VTON, Paint by Example, IMAGDressing, IP-Adapter) into files of this pack, once. "
            "The method goes to models/fitting_room for Load Fitting Method; a denoiser with its VAE goes to models/checkpoints, an image "
            "encoder to models/clip_vision. Every key is accounted for in the report, with the licence. Pickles are read as plain weights only.",
            search_aliases=["stableviton", "sift-vton", "import", "checkpoint converter", "ckpt", "try-on weights"],
            inputs=[
                io.Combo.Input(
                    "file", options=source_files(),
                    tooltip="A file in models/fitting_room, checkpoints, ipadapter or diffusion_models. Refresh the page after putting one there.",
                ),
                io.Combo.Input("family", options=CHOICES, default="auto", tooltip="Whose layout it is; auto tells it from the file's keys."),
                io.String.Input("filename", default="converted", tooltip="Name of the new files, without suffix. Nothing is overwritten."),
            ],
            outputs=[
                io.String.Output(display_name="path", tooltip="The method's file, for Load Fitting Method."),
                io.String.Output(display_name="report", tooltip="What became of every key, what the authors sample with, and the licence."),
            ],
            is_output_node=True,
        )

    @classmethod
    def validate_inputs(cls, file=None, filename=None):
        try:
            if file is not None:
                source_path(file)
            if filename is not None:
                plain_name(filename)
        except ValueError as error:
            return str(error)
        return True

    @classmethod
    def execute(cls, file, family, filename):
        path, report = convert_file(file, family, filename)
        return io.NodeOutput(path, report, ui=ui.PreviewText(report))


NODES = [ConvertWeights]
