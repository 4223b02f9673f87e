"""Segment anything as a node: points and a box in, three masks with scores out."""

from __future__ import annotations

import os

import torch

from ..host import io, load_whole, manage_whole, progress, sam_files, sam_path, stop_if_interrupted
from ..models.weights import read_foreign
from ..preprocess import segment
from ..preprocess.letterbox import flatten_alpha
from ..preprocess.overlay import beside, overlay, with_points
from ..preprocess.points import parse_box, parse_points
from .sockets import plain_picture, points_input, seen

WORKING_MEMORY = 6 << 30  # bytes beside the weights: the largest encoder's attention on a 1024 x 1024 picture
CHOICES = ("best", "1", "2", "3")


def load_sam(name: str):
    """A managed segment-anything module from models/sams.

    Raises:
        ValueError: another file; names it.
    """
    path = sam_path(name)
    try:
        return manage_whole(segment.build(read_foreign(path)))
    except ValueError as error:
        raise ValueError(f"'{os.path.basename(path)}': {error}") from error


def choose(masks: torch.Tensor, scores: torch.Tensor, choice: str) -> torch.Tensor:
    """One of three masks (B,3,H,W): (B,1,H,W)."""
    return segment.best(masks, scores) if choice == "best" else masks[:, int(choice) - 1 : int(choice)]


class Segment(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="FittingRoomSegment",
            display_name="Segment (points, box)",
            category="Fitting Room/Masks and maps",
            description="Segment anything: click what you want, get three proposals (usually a detail, a part, the whole) with the model's own scores. "
            "Needs the segment-anything package and a vit_b, vit_l or vit_h file in models/sams.",
            search_aliases=["sam", "segment anything", "mask from points", "click to mask", "cutout", "jewelry mask"],
            inputs=[
                io.Image.Input("image", tooltip="The picture. A batch is segmented with the same points and box."),
                io.Combo.Input("sam_model", options=sam_files(), tooltip="A segment-anything file in models/sams; the content decides whether it is vit_b, vit_l or vit_h."),
                points_input("Click the picture: a click is on the object, shift-click is off it, right-click removes the nearest. Or type pixels: 120,80; 300,90,0 (a third number 0 = off the object)."),
                io.String.Input("box", default="", tooltip="A box around the object as x0,y0,x1,y1 in pixels; empty for none."),
                io.Combo.Input("choice", options=list(CHOICES), default="best", optional=True, tooltip="Which proposal goes out as mask: the best scored, or one of the three shown from left to right."),
                io.BoundingBox.Input("bounding_box", optional=True, socketless=False, force_input=True, tooltip="A box from another node, used where box is empty."),
            ],
            outputs=[
                io.Mask.Output(display_name="mask", tooltip="The chosen mask, one per picture."),
                io.Mask.Output(display_name="masks", tooltip="All three, picture after picture."),
                io.String.Output(display_name="scores", tooltip="The model's own estimate for each of the three, per picture."),
            ],
            is_output_node=True,
        )

    @classmethod
    def validate_inputs(cls, sam_model=None, points="", box=""):
        if sam_model is not None and sam_model not in sam_files():
            return f"The file '{sam_model}' is not in models/sams; put a segment-anything vit_b, vit_l or vit_h file there and refresh the page."
        return True

    @classmethod
    def execute(cls, image, sam_model, points, box, choice="best", bounding_box=None):
        image, (height, width) = flatten_alpha(image), image.shape[1:3]
        spots, frame = parse_points(points, width, height), parse_box(box, width, height) or host_box(bounding_box)
        patcher, bar = load_sam(sam_model), progress(len(image))

        def report(done, total):
            stop_if_interrupted()
            bar.update_absolute(done, total)

        masks, scores = segment.predict(load_whole(patcher, WORKING_MEMORY), image, spots, box=frame, progress=report)
        text = "\n".join(", ".join(f"{float(s):.3f}" for s in row) for row in scores)
        drawn = beside([with_points(overlay(image, masks[:, i : i + 1]), spots) for i in range(3)])
        return io.NodeOutput(choose(masks, scores, choice)[:, 0], masks.flatten(0, 1), text, ui=seen(drawn, cls, text, fitting_room_picture=plain_picture(image, cls)))


def host_box(box) -> tuple[float, float, float, float] | None:
    """The host's BOUNDING_BOX (one, or the first of a list) as x0, y0, x1, y1."""
    while isinstance(box, (list, tuple)):
        if not box:
            return None
        box = box[0]
    return None if box is None else (box["x"], box["y"], box["x"] + box["width"], box["y"] + box["height"])


NODES = [Segment]
