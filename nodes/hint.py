"""Hints of Diffuse to Choose as nodes: the largest rectangle, the product pasted into it, and Canny edges."""

from __future__ import annotations

from ..host import io, ui
from ..preprocess.arrays import boxes_for_host
from ..preprocess.canny import canny
from ..preprocess.hint import FITS, SOURCES, largest_rectangles, over_masked, place_hint

HINTS = "Fitting Room/Diffuse to Choose"
MAPS = "Fitting Room/Masks and maps"


class LargestRectangle(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="FittingRoomLargestRectangle",
            display_name="Largest Rectangle in Mask",
            category=HINTS,
            description="Finds the largest upright rectangle inside a mask, where Diffuse to Choose pastes the product. Of several equally large ones the topmost, then leftmost is taken.",
            search_aliases=["diffuse to choose", "dtc", "bounding box", "inscribed rectangle", "product insertion"],
            inputs=[io.Mask.Input("mask", tooltip="The region to repaint (1 = repaint), of any shape. A batch gives one rectangle each.")],
            outputs=[
                io.BoundingBox.Output(display_name="rectangle", tooltip="x, y, width and height in pixels; for a batch, one list per mask."),
                io.Mask.Output(display_name="mask", tooltip="The rectangle as a mask."),
            ],
        )

    @classmethod
    def execute(cls, mask):
        boxes, filled = largest_rectangles(mask)
        return io.NodeOutput(boxes_for_host(boxes), filled[:, 0], ui=ui.PreviewMask(filled[:, 0], cls=cls))


class PlaceHint(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="FittingRoomPlaceHint",
            display_name="Place Hint",
            category=HINTS,
            description="Pastes the product into the largest rectangle of the mask, on black: the hint from which Diffuse to Choose takes the product's fine details.",
            search_aliases=["diffuse to choose", "dtc", "product insertion", "virtual try-all", "collage", "hint image"],
            inputs=[
                io.Image.Input("image", tooltip="The product, best on a plain background. Any size."),
                io.Mask.Input("mask", tooltip="Where the product goes (1 = repaint), as large as the picture it is painted on. Its shape steers the style: longer sleeves, tucked in or out."),
                io.Combo.Input("fit", options=list(FITS), default="stretch", tooltip="How the product fills the rectangle: stretch as in the paper, contain on black, or cover and crop. Keep what the weights were trained with."),
                io.Combo.Input("source", options=list(SOURCES), default="rgb", tooltip="What is pasted: the product itself (best in the paper), its Canny edges (30/140), or the edges of each colour channel."),
                io.Mask.Input("product_mask", optional=True, tooltip="Where the product is in its picture (1 = product); the rest becomes black."),
                io.Image.Input("hint_image", optional=True, tooltip="Another preprocessor's picture of the product, such as HED edges: it is pasted instead, and source is not used."),
                io.Image.Input("background", optional=True, tooltip="Only for weights with a latent hint: the picture the mask was painted on; the product is pasted into it instead of on black."),
            ],
            outputs=[
                io.Image.Output(display_name="hint", tooltip="The hint, as large as the mask; for the FiLM Hint Encoder."),
                io.BoundingBox.Output(display_name="rectangle", tooltip="Where the product went, in pixels."),
                io.Image.Output(display_name="preview", tooltip="The hint with mask and rectangle drawn, to look at."),
            ],
        )

    @classmethod
    def execute(cls, image, mask, fit, source, product_mask=None, hint_image=None, background=None):
        hint, boxes, preview = place_hint(image, mask, fit, source, product_mask, hint_image)
        if background is not None:
            hint = over_masked(hint, boxes, background, mask)
        return io.NodeOutput(hint, boxes_for_host(boxes), preview, ui=ui.PreviewImage(preview, cls=cls))


class RGBCanny(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="FittingRoomRGBCanny",
            display_name="RGB Canny",
            category=MAPS,
            description="Canny edges equal to OpenCV's, pixel for pixel; per colour channel the edges keep their colour. Thresholds are on the 8-bit gradient, as in OpenCV.",
            search_aliases=["canny", "edges", "colour edges", "opencv", "hint"],
            inputs=[
                io.Image.Input("image", tooltip="Any picture."),
                io.Int.Input("low", default=30, min=0, max=2040, tooltip="Edges weaker than this are dropped; 30 in Diffuse to Choose."),
                io.Int.Input("high", default=140, min=0, max=2040, tooltip="Edges stronger than this are kept for sure; 140 in Diffuse to Choose."),
                io.Boolean.Input("per_channel", default=True, tooltip="On: red, green and blue edges each in their channel. Off: white edges of the strongest channel."),
            ],
            outputs=[io.Image.Output(display_name="edges", tooltip="The edges on black, as large as the picture.")],
        )

    @classmethod
    def validate_inputs(cls, low=None, high=None):
        if low is not None and high is not None and low > high:
            return f"low is {low} and high is {high}; the low threshold must not exceed the high one."
        return True

    @classmethod
    def execute(cls, image, low, high, per_channel):
        edges = canny(image, low, high, "per_channel" if per_channel else "colour")
        return io.NodeOutput(edges, ui=ui.PreviewImage(edges, cls=cls))


NODES = [LargestRectangle, PlaceHint, RGBCanny]
