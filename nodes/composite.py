"""Putting a result back into its picture so that the rest stays exactly as it was; working on a crop at full resolution."""

from __future__ import annotations

from ..host import io, ui
from ..preprocess.composite import composite_back, crop_region, stitch
from .sockets import Crop

MAPS = "Fitting Room/Masks and maps"
ALIASES = ["inpaint", "paste back", "blend", "stitch", "crop and stitch"]


def _feather():
    return io.Int.Input("feather", default=0, min=0, max=256, tooltip="Width in pixels of a soft edge inside the mask. 0 = hard edge. Pixels outside the mask are never touched.")


class CompositeBack(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="FittingRoomCompositeBack",
            display_name="Composite Back",
            category=MAPS,
            description="Takes the result inside the mask and the source everywhere else. Outside the mask the source comes back bit for bit; a VAE alone would change every pixel.",
            search_aliases=ALIASES,
            inputs=[
                io.Image.Input("source", tooltip="The picture that was worked on."),
                io.Image.Input("result", tooltip="What was generated. Sides that were cut to multiples of 8 are aligned again; another size of the same proportions is resized."),
                io.Mask.Input("mask", tooltip="What was repainted (1 = repaint)."),
                _feather(),
            ],
            outputs=[io.Image.Output(display_name="image", tooltip="The finished picture, as large as the source.")],
        )

    @classmethod
    def execute(cls, source, result, mask, feather):
        return io.NodeOutput(composite_back(source, result, mask, feather))


class CropRegion(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="FittingRoomCropRegion",
            display_name="Crop Region",
            category=MAPS,
            description="Cuts the surroundings of a mask out of a picture and brings them to a working size, so that a small product is painted at full resolution. Stitch Region puts it back.",
            search_aliases=ALIASES + ["zoom", "small product", "detailer"],
            inputs=[
                io.Image.Input("image", tooltip="The picture. Any size."),
                io.Mask.Input("mask", tooltip="The region to repaint (1 = repaint)."),
                io.Float.Input("context", default=1.5, min=1.0, max=8.0, step=0.1, tooltip="How much of the surroundings comes along: 1.5 = half again as wide and high as the mask."),
                io.Int.Input("size", default=512, min=64, max=2048, step=64, tooltip="Longer side of the crop after resizing, in pixels; 512 is what Diffuse to Choose was trained at."),
                io.Int.Input("multiple", default=64, min=8, max=128, step=8, advanced=True, tooltip="Both sides of the crop become multiples of this."),
            ],
            outputs=[
                io.Image.Output(display_name="image", tooltip="The crop."),
                io.Mask.Output(display_name="mask", tooltip="The mask, cropped alike."),
                Crop.Output(display_name="crop", tooltip="Where the crop came from, for Stitch Region."),
            ],
        )

    @classmethod
    def validate_inputs(cls, size=None, multiple=None):
        if size is not None and multiple is not None and size % multiple:
            return f"size is {size}, which is no multiple of {multiple}; choose {max(multiple, size // multiple * multiple)}."
        return True

    @classmethod
    def execute(cls, image, mask, context, size, multiple):
        picture, region, crop = crop_region(image, mask, context, size, multiple)
        return io.NodeOutput(picture, region[:, 0], crop, ui=ui.PreviewImage(picture, cls=cls))


class StitchRegion(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="FittingRoomStitchRegion",
            display_name="Stitch Region",
            category=MAPS,
            description="Puts a painted crop back where it came from, inside the mask only. Outside the mask the source comes back bit for bit.",
            search_aliases=ALIASES,
            inputs=[
                io.Image.Input("source", tooltip="The whole picture the crop was cut from."),
                io.Image.Input("result", tooltip="The painted crop."),
                Crop.Input("crop", tooltip="From Crop Region."),
                io.Mask.Input("mask", tooltip="The mask of the whole picture (1 = repaint)."),
                _feather(),
            ],
            outputs=[io.Image.Output(display_name="image", tooltip="The finished picture, as large as the source.")],
        )

    @classmethod
    def execute(cls, source, result, crop, mask, feather):
        return io.NodeOutput(stitch(source, result, crop, mask, feather))


NODES = [CompositeBack, CropRegion, StitchRegion]
