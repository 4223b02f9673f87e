"""How good results are: two batches side by side, or two folders by a paper's protocol."""

from __future__ import annotations

import os
from io import BytesIO
from pathlib import Path

from PIL import Image

from ..evaluation.looks import Looks
from ..evaluation.measure import compare, evaluate
from ..evaluation.metrics import METRICS, check_metrics
from ..evaluation.protocol import PROTOCOLS
from ..host import (
    io,
    metrics_folders,
    output_folder,
    output_path,
    progress,
    readable_folder,
    stop_if_interrupted,
    ui,
    vision_embedder,
)
from ..models.weights import write_bytes
from .sockets import check_sides

ALIASES = ["metrics", "evaluation", "benchmark", "quality", "compare images"]
PER_PICTURE = [n for n, m in METRICS.items() if m.kind != "attention"]
WHERE = "Their networks are files of yours in models/metrics; nothing is downloaded, and what is missing is said by name."


def metric_names(text: str | None) -> list[str]:
    """Metrics from a text field, separated by commas; empty text is none.

    Raises:
        ValueError: one that is not known.
    """
    names = [n.strip() for n in (text or "").replace("\n", ",").split(",") if n.strip()]
    return check_metrics(names) if names else []


def looks(clip_vision) -> Looks:
    """Networks from models/metrics, and the CLIP vision model that is connected."""
    return Looks(metrics_folders(), vision=None if clip_vision is None else vision_embedder(clip_vision))


def write_results(images, folder, names: list[str], prompts: list[str]) -> None:
    """Pictures as PNG files under these names, each with its prompt as a text beside it where there are prompts.

    Raises:
        ValueError: another number of names or prompts than of pictures, or names that are none.
    """
    for what, given in (("names", names), ("prompts", prompts)):
        if given and len(given) not in ((len(images),) if what == "names" else (1, len(images))):
            raise ValueError(f"{len(images)} pictures and {len(given)} {what} came; give one per picture, a line each, or none.")
    names = names or [f"{i + 1:04}" for i in range(len(images))]
    if bad := [n for n in names if n != Path(n).name or n.startswith(".") or names.count(n) > 1]:
        raise ValueError(f"'{bad[0]}' cannot name a picture; give every picture a plain name of its own, without slashes.")
    for number, (name, image) in enumerate(zip(names, images)):
        data = BytesIO()
        Image.fromarray((image[..., :3].clamp(0, 1) * 255).round().byte().cpu().numpy()).save(data, "PNG")
        write_bytes(folder / f"{name}.png", data.getvalue())
        if prompts:
            write_bytes(folder / f"{name}.txt", prompts[number % len(prompts)].encode())


class SaveResults(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="FittingRoomSaveResults",
            display_name="Save Results",
            category="Fitting Room/Evaluation",
            description="Writes pictures under names you choose into a folder below the output directory, and hands the folder on, so that Evaluate Folder can match results and true pictures by name. "
            "A file of the same name is replaced.",
            search_aliases=["save images to folder", "save with name", "results", "evaluation"],
            inputs=[
                io.Image.Input("images", tooltip="The pictures."),
                io.String.Input("folder", default="fitting_room/results", tooltip="Folder below the output directory; made where it does not exist."),
                io.String.Input("names", default="", multiline=True, optional=True, tooltip="One name per picture, a line each, without suffix. Empty: 0001, 0002 ..."),
                io.String.Input("prompts", default="", multiline=True, optional=True, tooltip="The prompts the pictures were made from, a line each or one for all, written beside them for CLIP-T."),
            ],
            outputs=[io.String.Output(display_name="folder", tooltip="The folder, for Evaluate Folder.")],
            is_output_node=True,
        )

    @classmethod
    def validate_inputs(cls, folder=None):
        try:
            return bool(folder is None or output_folder(folder))
        except ValueError as error:
            return str(error)

    @classmethod
    def execute(cls, images, folder, names="", prompts=""):
        write_results(images, output_folder(folder), *([t.strip() for t in text.splitlines() if t.strip()] for text in (names, prompts)))
        return io.NodeOutput(folder, ui=ui.PreviewText(f"{len(images)} pictures in {folder}"))


class Compare(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="FittingRoomCompare",
            display_name="Compare Pictures",
            category="Fitting Room/Evaluation",
            description=f"Measures results against true pictures: {', '.join(m.label for n, m in METRICS.items() if n in PER_PICTURE)}. {WHERE} Needs the extra `eval`.",
            search_aliases=[*ALIASES, "ssim", "psnr", "lpips", "dists", "fid", "kid", "clip score"],
            inputs=[
                io.Image.Input("real", tooltip="The true pictures: one per result, or one for all."),
                io.Image.Input("generated", tooltip="The results, of the same size as the true pictures."),
                io.String.Input("metrics", default="psnr, ssim", tooltip=f"Which metrics, separated by commas: {', '.join(PER_PICTURE)}."),
                io.ClipVision.Input("clip_vision", optional=True, tooltip="Your CLIP vision model, for the clip_vision metrics: a distance of its own, never called FID."),
                io.String.Input("prompts", default="", multiline=True, optional=True, tooltip="For clip_t: the prompt of every result, one per line, or one for all."),
            ],
            outputs=[
                io.String.Output(display_name="table", tooltip="The metrics as a table, with what could not be computed and why."),
                io.String.Output(display_name="numbers", tooltip="The same as JSON, with the values of every picture."),
            ],
            is_output_node=True,
        )

    @classmethod
    def validate_inputs(cls, metrics=None):
        try:
            return bool(metrics is None or check_metrics(metric_names(metrics)))
        except ValueError as error:
            return str(error)

    @classmethod
    def execute(cls, real, generated, metrics, clip_vision=None, prompts=""):
        texts = [line.strip() for line in prompts.splitlines() if line.strip()]
        found = compare(generated, real, metric_names(metrics), looks(clip_vision), texts)
        return io.NodeOutput(found.table(), found.to_json(), ui=ui.PreviewText(found.table()))


class Evaluate(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="FittingRoomEvaluate",
            display_name="Evaluate Folder",
            category="Fitting Room/Evaluation",
            description=f"Measures a folder of results against a folder of true pictures as a paper does: its size, its tests, its metrics. Files are matched by name, and every one that takes "
            f"no part (unmatched, unreadable, of another size) is listed. {WHERE} Needs the extra `eval`.",
            search_aliases=[*ALIASES, "fid", "kid", "test set", "protocol", "viton-hd", "paper table"],
            inputs=[
                io.String.Input("real", default="", tooltip="The folder of true pictures, below ComfyUI's input or output folder or a fitting_room_data root."),
                io.String.Input("generated", default="", tooltip="The folder of results, named like their truths (a counter that Save Image adds does not matter); or with one subfolder per seed."),
                io.Combo.Input("protocol", options=list(PROTOCOLS), default="igr", tooltip="Whose evaluation: the method's paper."),
                io.Combo.Input("test", options=["first", *dict.fromkeys(s.name for p in PROTOCOLS.values() for s in p.settings)], default="first", optional=True, tooltip="Which of the paper's tests: paired (each result has its truth), unpaired (two sets as wholes), multiple (several garments per result). first: the paper's first."),
                io.String.Input("metrics", default="", optional=True, tooltip=f"In place of the paper's metrics, separated by commas: {', '.join(PER_PICTURE)}."),
                io.Int.Input("width", default=0, min=0, max=4096, step=8, optional=True, tooltip="Compare at this width instead of the paper's; the results must have it. 0: the paper's."),
                io.Int.Input("height", default=0, min=0, max=4096, step=8, optional=True, tooltip="Compare at this height instead of the paper's; the results must have it. 0: the paper's."),
                io.ClipVision.Input("clip_vision", optional=True, tooltip="Your CLIP vision model, for the clip_vision metrics."),
                io.String.Input("filename_prefix", default="fitting_room/evaluation", optional=True, tooltip="Name of the JSON file below the output directory; a number is appended."),
            ],
            outputs=[
                io.String.Output(display_name="table", tooltip="The metrics as a table, and every file that took no part."),
                io.String.Output(display_name="file", tooltip="The JSON file with everything, the values of every picture included."),
            ],
            is_output_node=True,
        )

    @classmethod
    def validate_inputs(cls, real=None, generated=None, protocol=None, test=None, metrics=None, width=None, height=None):
        try:
            metric_names(metrics)
            for folder in (real, generated):
                if folder is not None:
                    readable_folder(folder)
            if protocol is not None and test not in (None, "first"):
                PROTOCOLS[protocol].setting(test)
        except ValueError as error:
            return str(error)
        if bool(width) != bool(height):
            return f"width is {width or 0} and height {height or 0}; give both, or leave both at 0 for the paper's size."
        return check_sides(width or None, height or None)

    @classmethod
    def fingerprint_inputs(cls, **inputs):
        """Files that were added, changed or taken away count as a change."""
        marks = []
        for name in (inputs.get("real"), inputs.get("generated")):
            for base, _, files in os.walk(readable_folder(name)) if name is not None else ():
                marks += [(base, f, os.stat(os.path.join(base, f)).st_mtime_ns) for f in sorted(files)]
        return repr((sorted((k, v) for k, v in inputs.items() if isinstance(v, (str, int))), sorted(marks)))

    @classmethod
    def execute(cls, real, generated, protocol, test="first", metrics="", width=0, height=0, clip_vision=None, filename_prefix="fitting_room/evaluation"):
        bar = progress(1)

        def tell(done, total):
            stop_if_interrupted()
            bar.update_absolute(done, total)

        size = (width, height) if width and height else "protocol"
        chosen = PROTOCOLS[protocol], looks(clip_vision), "" if test == "first" else test, metric_names(metrics), size
        found = evaluate(readable_folder(real), readable_folder(generated), *chosen, tell)
        path = write_bytes(output_path(filename_prefix, ".json"), found.to_json().encode())
        return io.NodeOutput(found.table(), str(path), ui=ui.PreviewText(found.table()))


NODES = [Compare, Evaluate, SaveResults]
