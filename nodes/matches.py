"""SIFT matches as nodes: of a batch of pairs, and of a whole data set with a cache."""

from __future__ import annotations

import numpy as np
import torch

from ..data.pairs import match_files
from ..host import io, output_folder, progress, stop_if_interrupted, ui
from ..preprocess.garment_parts import part_masks
from ..preprocess.letterbox import repeat_batch
from ..preprocess.match_cache import cache_matches
from ..preprocess.match_drawing import draw_matches
from ..preprocess.sift import MatchOptions, match_batch
from .sockets import Matches, Pairs

ALIASES = ["sift", "keypoints", "correspondence", "feature matching", "try-on", "vton", "sift-vton"]


def filter_inputs() -> list:
    """The filters' thresholds, the same for one pair and for a data set."""
    return [
        io.Float.Input("ratio", default=0.8, min=0.3, max=1.0, step=0.01, tooltip="A match counts only if its distance is below this share of the second best one's. Lower is stricter."),
        io.Float.Input("max_angle", default=45.0, min=1.0, max=180.0, step=1.0, tooltip="How far a detail may be turned between garment and person, in degrees. 180 switches the filter off."),
        io.Float.Input("max_scale", default=2.25, min=1.0, max=20.0, step=0.05, tooltip="How many times larger or smaller a detail may be on the person than on the garment (2.25 allows 0.44 to 2.25)."),
    ]


def more_filter_inputs() -> list:
    """What is rarely changed."""
    return [
        io.Boolean.Input("colour", default=True, optional=True, advanced=True, tooltip="Drop matches whose colours differ too much."),
        io.Float.Input("ransac_px", default=12.0, min=0.5, max=100.0, step=0.5, optional=True, advanced=True, tooltip="With 15 matches or more: how far one may lie from the common perspective, in pixels of a 512x384 picture."),
        io.Int.Input("working_pixels", default=512 * 384, min=0, max=4096 * 4096, step=1024, optional=True, advanced=True, tooltip="Both pictures are brought to about this area for the search, 512 x 384 as in the paper. 0 takes them as they come: slower, more matches."),
        io.Int.Input("seed", default=0, min=0, max=0xFFFFFFFFFFFF, control_after_generate=io.ControlAfterGenerate.fixed, optional=True, advanced=True, tooltip="Of the random search for the common perspective. The same seed gives the same matches."),
    ]


def options(ratio, max_angle, max_scale, colour, ransac_px, working_pixels) -> MatchOptions:
    """The thresholds as the matching takes them."""
    return MatchOptions(ratio=ratio, max_angle=max_angle, max_scale=max_scale, colour=colour, ransac_px=ransac_px, working_pixels=working_pixels or None)


def region_masks(person, person_mask, garment_mask, densepose, garment_parse):
    """One mask or one dict of part masks per picture, for the person and for the garment."""
    if densepose is None and garment_parse is None:
        return person_mask, garment_mask
    if densepose is None or garment_parse is None:
        raise ValueError("Matching per part needs a DensePose picture and a garment parsing, and one is missing; connect both or none.")
    rows = max(len(densepose), len(garment_parse), 1 if person_mask is None else len(person_mask))
    dense, parse = (_levels(repeat_batch(p, rows, name)) for p, name in ((densepose, "densepose"), (garment_parse, "garment_parse")))
    repaint = torch.ones(1, *person.shape[1:3]) if person_mask is None else person_mask
    sides = [part_masks(d, r, p) for d, r, p in zip(dense, repeat_batch(repaint, rows, "person_mask").cpu().numpy(), parse)]
    return [side[0] for side in sides], [side[1] for side in sides]


def _levels(picture) -> np.ndarray:
    return (picture[..., :3] * 255).round().to(torch.uint8).cpu().numpy()


class SiftMatches(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="FittingRoomSiftMatches",
            display_name="SIFT Matches",
            category="Fitting Room/SIFT-VTON",
            description="Finds which point of a worn garment shows which point of its product photo: SIFT, then the paper's filters in order (ratio, angle, scale, "
            "colour, duplicates, RANSAC or three rules for small sets). The drawing says what every filter removed. A plain garment has no matches, which is no error.",
            search_aliases=ALIASES,
            inputs=[
                io.Image.Input("garment", tooltip="The garment's product photo. A batch is one garment per person, or one for all."),
                io.Image.Input("person", tooltip="The person who wears it. A batch is one pair per picture."),
                io.Mask.Input("garment_mask", optional=True, tooltip="Where the garment is in its photo (1 = look here)."),
                io.Mask.Input("person_mask", optional=True, tooltip="Where the garment is on the person (1 = look here); an agnostic mask does."),
                *filter_inputs(),
                io.Image.Input("densepose", optional=True, tooltip="DensePose picture of the person (loss-free PNG). With garment_parse, torso and arms are matched apart, as in the paper's released code."),
                io.Image.Input("garment_parse", optional=True, tooltip="Garment parsing in GP-VTON's layout (loss-free PNG); needs densepose."),
                *more_filter_inputs(),
                io.Int.Input("drawing_width", default=1024, min=256, max=4096, step=8, optional=True, advanced=True, tooltip="Width of the drawing in pixels."),
            ],
            outputs=[
                Matches.Output(display_name="matches", tooltip="The matches in pixels of both pictures, one set per pair."),
                io.Image.Output(display_name="drawn", tooltip="Person and garment side by side, a coloured line per match, and what each filter removed."),
                io.Int.Output(display_name="count", tooltip="How many matches there are, over the whole batch."),
            ],
        )

    @classmethod
    def execute(cls, garment, person, ratio, max_angle, max_scale, garment_mask=None, person_mask=None, densepose=None, garment_parse=None,
                colour=True, ransac_px=12.0, working_pixels=512 * 384, seed=0, drawing_width=1024):
        wanted = options(ratio, max_angle, max_scale, colour, ransac_px, working_pixels)
        masks = region_masks(person, person_mask, garment_mask, densepose, garment_parse)
        found = match_batch(person, garment, *masks, options=wanted, seed=seed, progress=_report(progress(max(len(person), len(garment)))))
        sides = [repeat_batch(p, len(found), n) for p, n in ((person, "person"), (garment, "garment"))]
        drawn = np.stack([draw_matches(p, g, m, drawing_width) for p, g, m in zip(*sides, found)])
        picture = torch.from_numpy(drawn).float() / 255
        return io.NodeOutput(found, picture, sum(m.count for m in found), ui=ui.PreviewImage(picture, cls=cls))


def _report(bar):
    """A progress function that also notices cancel."""
    def report(done, total, *_):
        stop_if_interrupted()
        bar.update_absolute(done, total)
    return report


class SiftFolder(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="FittingRoomSiftFolder",
            display_name="SIFT Matches of a Data Set",
            category="Fitting Room/SIFT-VTON",
            description="Matches every pair of a data set and keeps one JSON per pair in the published layout, so that training reads them. "
            "Stop it whenever you like: the next run goes on where it ended, and only pairs whose settings changed are matched again.",
            search_aliases=[*ALIASES, "cache", "batch", "dataset", "precompute"],
            inputs=[
                Pairs.Input("pairs", tooltip="The data set, from Data Set Pairs."),
                io.String.Input("folder", default="fitting_room/matches", tooltip="Where the JSON files go, below the output directory."),
                *filter_inputs(),
                *more_filter_inputs(),
                io.Boolean.Input("overwrite", default=False, optional=True, advanced=True, tooltip="Match every pair again, whatever is on file."),
            ],
            outputs=[
                io.String.Output(display_name="folder", tooltip="The folder with the JSON files."),
                io.String.Output(display_name="report", tooltip="How many pairs have matches, what could not be read, and filters that never removed anything."),
            ],
            is_output_node=True,
            not_idempotent=True,
        )

    @classmethod
    def validate_inputs(cls, folder=None):
        try:
            return bool(folder is None or output_folder(folder))
        except ValueError as error:
            return str(error)

    @classmethod
    def execute(cls, pairs, folder, ratio, max_angle, max_scale, colour=True, ransac_px=12.0, working_pixels=512 * 384, seed=0, overwrite=False):
        target, wanted = output_folder(folder), options(ratio, max_angle, max_scale, colour, ransac_px, working_pixels)
        report = cache_matches([match_files(s) for s in pairs], target, wanted, seed, _report(progress(len(pairs))), _stopped, overwrite=overwrite)
        text = "\n".join(report.lines())
        return io.NodeOutput(str(target), text, ui=ui.PreviewText(text))


def _stopped() -> bool:
    stop_if_interrupted()
    return False


NODES = [SiftMatches, SiftFolder]
