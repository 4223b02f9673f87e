"""Drawn pictures with masks, so that every workflow runs before the user has loaded a file."""

from __future__ import annotations

import torch

from ..data.drawable import PICTURES, draw_picture
from ..host import io, ui


def picture_outputs(picture) -> list[torch.Tensor]:
    """IMAGE, MASK, depth, pose, parse and saliency pictures of one drawn picture, as the host wants them."""
    image = lambda array: torch.from_numpy(array.copy()).float()[None]
    grey = lambda array: image(array)[..., None].expand(-1, -1, -1, 3).contiguous()
    return [image(picture.image), image(picture.mask), grey(picture.depth), image(picture.pose), image(picture.parse), grey(picture.saliency)]


class DemoPicture(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="FittingRoomDemoPicture",
            display_name="Demo Picture (drawn)",
            category="Fitting Room/Demo",
            description="Draws a person, a garment, a piece of jewelry, a room or a product, with its mask, so that a workflow runs before any photo is loaded. "
            "Image and mask come in the order of Load Image: put that node in its place for your own picture. "
            "With the same seed things belong together: upper garment 7 is what person wearing upper garment 7 wears.",
            search_aliases=["example image", "test picture", "sample person", "placeholder", "try-on demo", "load image"],
            inputs=[
                io.Combo.Input(
                    "kind", options=list(PICTURES), default="person",
                    tooltip="'person' and '... for X': the mask is the region to repaint to put an upper garment, or X, there. 'person wearing X', 'wearing X': the mask is X itself. "
                    "A garment, a piece of jewelry or a product alone: the mask is the thing (1 = thing). room ... and table: the mask is the free spot. "
                    "pose and densepose: the skeleton for a pose ControlNet and the body parts for try-on, of the person with the same seed.",
                ),
                io.Int.Input(
                    "seed", default=0, min=0, max=0xFFFFFFFF, control_after_generate=io.ControlAfterGenerate.fixed,
                    tooltip="Which person, garment or thing. The same seed and size always give the same picture, bit for bit.",
                ),
                io.Int.Input("width", default=576, min=64, max=2048, step=8, tooltip="Width in pixels. The drawings are made for 3:4; other shapes show more or less around."),
                io.Int.Input("height", default=768, min=64, max=2048, step=8, tooltip="Height in pixels."),
            ],
            outputs=[
                io.Image.Output(display_name="image", tooltip="The drawn picture."),
                io.Mask.Output(display_name="mask", tooltip="1 = repaint, or 1 = the thing itself where the kind names only a thing or says 'wearing'."),
                io.Image.Output(display_name="depth", tooltip="How near everything is: near = bright."),
                io.Image.Output(display_name="pose", tooltip="The person's DensePose-like parts, as try-on models take them; black where there is none."),
                io.Image.Output(display_name="parse", tooltip="Human parsing in the colours of VITON-HD's parse maps; black where there is no person."),
                io.Image.Output(display_name="saliency", tooltip="Where the eye goes, bright = salient."),
                io.String.Output(display_name="caption", tooltip="The picture in words, for a prompt."),
            ],
        )

    @classmethod
    def execute(cls, kind, seed, width, height):
        picture = draw_picture(kind, seed, height, width)
        outputs = picture_outputs(picture)
        return io.NodeOutput(*outputs, picture.caption, ui=ui.PreviewImage(outputs[0], cls=cls))


NODES = [DemoPicture]
