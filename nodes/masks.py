"""Masks for try-on and jewelry: what to repaint, varied for training, and joined with what was there before."""

from __future__ import annotations

from ..host import io, ui
from ..preprocess.arrays import as_mask
from ..preprocess.letterbox import flatten_alpha
from ..preprocess.masks import CATEGORIES, SLEEVES, STYLES, Wish, agnostic_image, agnostic_mask, augment, rerender_region
from ..preprocess.parts import SCHEMES, labels_from_picture
from ..preprocess.pose import find_people
from .sockets import PoseKeypoints, seen

MAPS = "Fitting Room/Masks and maps"


class AgnosticMask(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="FittingRoomAgnosticMask",
            display_name="Agnostic Mask",
            category=MAPS,
            description="The region to repaint so that nothing of the old garment shows through and nothing else is touched, from a parse map, a pose, a mask of the garment, "
            "or any of them together. Hands, hair and face are kept; shoes always are. Look at it before anything else: the mask decides most of a try-on.",
            search_aliases=["try-on mask", "vton", "clothing mask", "inpaint mask", "cloth agnostic", "segmentation", "openpose", "human parsing"],
            inputs=[
                io.Image.Input("image", tooltip="The person. A batch gets one mask per picture."),
                io.Image.Input("parts", optional=True, tooltip="Human-parsing map (label numbers or the published colours), as PNG and not resized."),
                PoseKeypoints.Input("pose", optional=True, tooltip="Pose keypoints, for example from the host's SDPose or an OpenPose node. With them sleeves may be longer than the old ones."),
                io.Mask.Input("mask", optional=True, tooltip="Mask of the garment that is worn now, for example from SAM3, Segment or painted by hand."),
                io.Combo.Input("category", options=list(CATEGORIES), default="upper", tooltip="What will be put on: upper, lower, or full (dress, overall)."),
                io.Int.Input("grow", default=8, min=0, max=256, tooltip="How far the mask reaches beyond the old garment, in pixels. Too small, and the old outline shines through."),
                io.Combo.Input("style", options=list(STYLES), default="parse", tooltip="parse: follows the body. box: a box per limb and trunk. bounding_box: one box. Boxes leave no hint of the old shape."),
                io.Combo.Input("sleeves", options=list(SLEEVES), default="long", optional=True, tooltip="How far the new garment's sleeves may reach. Long is the safe choice."),
                io.Boolean.Input("keep_hands", default=True, optional=True, tooltip="Never repaint hands."),
                io.Boolean.Input("keep_hair", default=True, optional=True, tooltip="Never repaint hair, also where it falls over the garment."),
                io.Boolean.Input("keep_face", default=True, optional=True, tooltip="Never repaint the face."),
                io.Mask.Input("protect", optional=True, tooltip="Whatever else must stay (1 = never repaint): a bag, a phone, a tattoo."),
                io.Combo.Input("labels", options=list(SCHEMES), default="lip", optional=True, advanced=True, tooltip="Label system of the parse map: lip (most parsers), cihp (VITON-HD), atr (Dress Code, SegFormer clothes)."),
                io.String.Input("pose_json", default="", multiline=True, optional=True, advanced=True, tooltip="OpenPose JSON typed or pasted, where no pose node is connected."),
            ],
            outputs=[
                io.Mask.Output(display_name="mask", tooltip="1 = repaint."),
                io.Image.Output(display_name="agnostic", tooltip="The person with the mask greyed out, bit-equal elsewhere."),
            ],
            is_output_node=True,
        )

    @classmethod
    def execute(cls, image, category, grow, style, parts=None, pose=None, mask=None, sleeves="long", keep_hands=True, keep_hair=True,
                keep_face=True, protect=None, labels="lip", pose_json=""):
        image, (height, width) = flatten_alpha(image), image.shape[1:3]
        kept = tuple(name for name, wanted in (("hands", keep_hands), ("hair", keep_hair), ("face", keep_face)) if wanted)
        found, note = agnostic_mask(
            height, width, Wish(category, sleeves, style, kept, grow), None if parts is None else labels_from_picture(flatten_alpha(parts), labels), labels,
            find_people(pose, pose_json, None, height, width) or None, None if mask is None else as_mask(mask), None if protect is None else as_mask(protect),
        )
        agnostic = agnostic_image(image, found)
        return io.NodeOutput(found[:, 0], agnostic, ui=seen(agnostic, cls, note))


class MaskAugment(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="FittingRoomMaskAugment",
            display_name="Mask Augment",
            category=MAPS,
            description="Gives a model all kinds of masks to learn from, as Diffuse to Choose does: the mask itself, its bounding box, or one of them by chance for every picture.",
            search_aliases=["mask augmentation", "bounding box mask", "diffuse to choose", "training mask"],
            inputs=[
                io.Mask.Input("mask", tooltip="The masks (1 = repaint)."),
                io.Combo.Input("mode", options=["fine", "box", "mixed"], default="mixed", tooltip="fine: as it is. box: the bounding box filled. mixed: one or the other, half and half."),
                io.Int.Input("seed", default=0, min=0, max=0xFFFFFFFFFFFF, control_after_generate=io.ControlAfterGenerate.fixed, tooltip="Decides, picture by picture, what mixed takes. The first pictures of a batch do not depend on its size."),
                io.Float.Input("box_share", default=0.5, min=0.0, max=1.0, step=0.05, optional=True, advanced=True, tooltip="How often mixed takes the box."),
            ],
            outputs=[io.Mask.Output(display_name="mask", tooltip="The varied masks.")],
        )

    @classmethod
    def execute(cls, mask, mode, seed, box_share=0.5):
        out = augment(as_mask(mask), mode, seed, box_share)[:, 0]
        return io.NodeOutput(out, ui=ui.PreviewMask(out, cls=cls))


class RerenderRegion(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="FittingRoomRerenderRegion",
            display_name="Re-render Region",
            category="Fitting Room/PM-Jewelry",
            description="The region to paint again after a piece of jewelry was changed: where it was and where it goes, grown. So a shortened necklace does not leave the longer one behind.",
            search_aliases=["jewelry", "jewellery", "necklace", "update mask", "union of masks", "inpaint again"],
            inputs=[
                io.Mask.Input("old_mask", tooltip="Where the piece was drawn."),
                io.Mask.Input("new_mask", tooltip="Where it goes now."),
                io.Int.Input("grow", default=8, min=0, max=256, tooltip="Pixels added around both, for shadow and soft edges."),
            ],
            outputs=[io.Mask.Output(display_name="mask", tooltip="1 = repaint. Composite Back keeps everything else bit for bit.")],
        )

    @classmethod
    def execute(cls, old_mask, new_mask, grow):
        out = rerender_region(as_mask(old_mask), as_mask(new_mask), grow)[:, 0]
        return io.NodeOutput(out, ui=ui.PreviewMask(out, cls=cls))


NODES = [AgnosticMask, MaskAugment, RerenderRegion]
