"""A data set as a node output: names of files now, pictures when they are asked for."""

from __future__ import annotations

import os

from ..data.drawn import draw_folder
from ..data.pairs import LAYOUTS, SPLITS, Pairs as DataSet, find_pairs
from ..host import data_path, io, progress, stop_if_interrupted, temp_folder, ui
from .sockets import Pairs


SYNTHETIC, DRAWN = "synthetic", 12


def drawn_pairs(count: int) -> DataSet:
    """A drawn data set in the host's temporary directory, made once per count."""
    bar = progress(count)

    def report(done, total):
        stop_if_interrupted()
        bar.update_absolute(done, total)

    return find_pairs("folder", draw_folder(temp_folder(f"drawn_{count}"), count, progress=report))


class DataSetPairs(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="FittingRoomPairs",
            display_name="Data Set Pairs",
            category="Fitting Room/Training",
            description="Lists the pairs of person and worn garment in a folder, with the masks, parse maps and keypoints beside them, and says what is missing. "
            "Only folders below ComfyUI's input folder, or below a registered fitting_room_data root, are read.",
            search_aliases=["dataset", "data set", "viton-hd", "dress code", "training data", "try-on", "folder"],
            inputs=[
                io.Combo.Input("layout", options=[*LAYOUTS, SYNTHETIC], default="folder", tooltip="viton-hd and dress-code as published; folder: subfolders person and garment (and mask, garment_mask, agnostic_mask, parse, keypoints), files of one pair sharing their name. synthetic: drawn people, to try things out; needs no folder."),
                io.String.Input("folder", default="", tooltip="The data set's folder, below ComfyUI's input folder or a fitting_room_data root of extra_model_paths.yaml. Empty is the input folder itself."),
                io.Combo.Input("split", options=list(SPLITS), default="train", tooltip="Which part of VITON-HD or Dress Code; a plain folder has none."),
                io.Int.Input("limit", default=0, min=0, max=10_000_000, optional=True, tooltip="Take the first so many pairs, to try things out. 0 takes all (of the drawn ones 12)."),
            ],
            outputs=[
                Pairs.Output(display_name="pairs", tooltip="The data set, for matching, curation, training and evaluation."),
                io.String.Output(display_name="report", tooltip="What was found, and what is wrong."),
            ],
        )

    @classmethod
    def validate_inputs(cls, layout=None, folder=None):
        try:
            return bool(folder is None or layout == SYNTHETIC or data_path(folder))
        except ValueError as error:
            return str(error)

    @classmethod
    def fingerprint_inputs(cls, layout=None, folder=None, split=None, limit=0):
        """Files that were added or taken away count as a change."""
        if layout == SYNTHETIC:
            return repr(limit)
        root, marks = data_path(folder or ""), []
        for base, folders, files in os.walk(root):
            depth = os.path.relpath(base, root).count(os.sep)
            folders[:] = sorted(folders) if depth < 2 else []
            lists = [name for name in files if name.endswith(".txt")]
            marks += [(base, os.stat(base).st_mtime_ns), *((name, os.stat(os.path.join(base, name)).st_mtime_ns) for name in sorted(lists))]
        return repr((layout, split, limit, marks))

    @classmethod
    def execute(cls, layout, folder, split, limit=0):
        pairs = drawn_pairs(limit or DRAWN) if layout == SYNTHETIC else find_pairs(layout, data_path(folder), split, limit)
        return io.NodeOutput(pairs, pairs.report(), ui=ui.PreviewText(pairs.report()))


NODES = [DataSetPairs]
