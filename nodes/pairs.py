"""A data set as a node output: names of files now, pictures when they are asked for."""

from __future__ import annotations

import os

from ..data.check import NEEDS, check
from ..data.drawn import LAYOUT, WHAT, draw_folder
from ..data.find import LAYOUTS, PAIRINGS, SPLITS, find_pairs
from ..data.pairs import Pairs as DataSet
from ..host import data_path, io, progress, stop_if_interrupted, temp_folder, ui
from ..models.registry import METHODS
from .sockets import Pairs

SYNTHETIC, DRAWN = "synthetic", 12
CHECKS = ("names only", *METHODS)


def counting(total: int):
    """A progress bar as a function (done, total), which also notices cancel."""
    bar = progress(total)

    def report(done, total):
        stop_if_interrupted()
        bar.update_absolute(done, total)

    return report


def drawn_pairs(count: int, what: str, width: int, height: int) -> DataSet:
    """A drawn data set in the host's temporary directory, made once per count, kind and size."""
    folder = draw_folder(temp_folder(f"drawn_{what}_{count}_{width}x{height}"), count, height, width, counting(count), what)
    return find_pairs(LAYOUT.get(what, what), folder)


def checked(pairs: DataSet, method: str, width: int, height: int) -> str:
    """The report on a data set, after reading all of it as a method's training would, if a method is named."""
    if method not in METHODS:
        return pairs.report()
    found = check(pairs, height, width, NEEDS[method], counting(len(pairs)))
    return "\n".join([pairs.report(), *found.lines()])


class DataSetPairs(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="FittingRoomPairs",
            display_name="Data Set Pairs",
            category="Fitting Room/Training",
            description="Lists the samples in a folder, person and worn garment or scene and product, with the masks, maps and texts beside them, and says what is missing. "
            "With a method named under check it reads every file as that method's training would. "
            "Only folders below ComfyUI's input folder, or below a registered fitting_room_data root, are read.",
            search_aliases=["dataset", "data set", "viton-hd", "dress code", "training data", "try-on", "folder", "synthetic"],
            inputs=[
                io.Combo.Input("layout", options=list(LAYOUTS), default="folder", tooltip="viton-hd and dress-code as published; folder: subfolders person and garment (and mask, garment_mask, agnostic_mask, parse, keypoints ...), files of one pair sharing their name; dressing: person and one folder per garment (upper, lower, hat); product: source, mask, product; jewelry: person, mask, jewelry. A pairs.csv may take the place of equal names. synthetic: drawn pictures, to try things out; needs no folder."),
                io.String.Input("folder", default="", tooltip="The data set's folder, below ComfyUI's input folder or a fitting_room_data root of extra_model_paths.yaml. Empty is the input folder itself."),
                io.Combo.Input("split", options=list(SPLITS), default="train", tooltip="Which part of VITON-HD or Dress Code; other layouts have none. val is SIFT-VTON's list, whose pictures lie in train."),
                io.Int.Input("limit", default=0, min=0, max=10_000_000, optional=True, tooltip="Take the first so many pairs, to try things out. 0 takes all (of the drawn ones 12)."),
                io.Combo.Input("pairing", options=list(PAIRINGS), default="paired", optional=True, tooltip="paired: the garment the person wears, as training needs it. unpaired: the other garment that the list names, for evaluation."),
                io.Combo.Input("drawn", options=list(WHAT), default="people", optional=True, tooltip="What synthetic draws: people with an upper garment (some cut close, for curation), people with all their garments (dressing, try-on, try-off), products in scenes, or jewelry."),
                io.Int.Input("width", default=384, min=64, max=2048, step=8, optional=True, tooltip="Width of drawn pictures, and the width at which files are checked."),
                io.Int.Input("height", default=512, min=64, max=2048, step=8, optional=True, tooltip="Height of drawn pictures, and the height at which files are checked."),
                io.Combo.Input("check", options=list(CHECKS), default=CHECKS[0], optional=True, tooltip="Read every file as this method's training would, and list by name what is wrong. Takes as long as reading the whole data set once."),
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
    def fingerprint_inputs(cls, layout=None, folder=None, split=None, limit=0, pairing=None, drawn=None, width=0, height=0, check=None):
        """Files that were added or taken away count as a change."""
        chosen = (layout, split, limit, pairing, drawn, width, height, check)
        if layout == SYNTHETIC:
            return repr(chosen)
        root, marks = data_path(folder or ""), []
        for base, folders, files in os.walk(root):
            depth = os.path.relpath(base, root).count(os.sep)
            folders[:] = sorted(folders) if depth < 2 else []
            lists = [name for name in files if name.endswith((".txt", ".csv", ".tsv", ".jsonl")) and depth == 0]
            marks += [(base, os.stat(base).st_mtime_ns), *((name, os.stat(os.path.join(base, name)).st_mtime_ns) for name in sorted(lists))]
        return repr((chosen, marks))

    @classmethod
    def execute(cls, layout, folder, split, limit=0, pairing="paired", drawn="people", width=384, height=512, check=CHECKS[0]):
        pairs = drawn_pairs(limit or DRAWN, drawn, width, height) if layout == SYNTHETIC else find_pairs(layout, data_path(folder), split, limit, pairing)
        report = checked(pairs, check, width, height)
        return io.NodeOutput(pairs, report, ui=ui.PreviewText(report))


NODES = [DataSetPairs]
