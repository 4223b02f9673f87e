"""Depth and saliency, in one convention whoever made them, with placed jewelry composited in."""

from __future__ import annotations

import torch
from torch.nn.functional import interpolate

from ..host import decode_depth, depth_files, depth_path, io, load_depthfm, progress, stop_if_interrupted, ui
from ..preprocess import depth as depths
from ..preprocess import jewelry, jewelry_draw
from ..preprocess import saliency as saliencies
from ..preprocess.letterbox import flatten_alpha
from .sockets import JewelryState, seen

MAPS = "Fitting Room/Masks and maps"
NO_FILE = "none"


def placed(state: str, height: int, width: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Corners (1,N,4,2) and mask (1,1,H,W) of a piece placed on a picture of this size.

    Raises:
        ValueError: the piece was placed on a picture of another size.
    """
    piece = jewelry.from_json(state)
    if (piece.height, piece.width) != (height, width):
        raise ValueError(f"The jewelry was placed on a {piece.width}x{piece.height} picture and this one is {width}x{height}; place it on this picture.")
    drawn = jewelry_draw.draw(piece)
    return torch.from_numpy(drawn.corners).float()[None], drawn.mask


def fit(picture: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """A map (B,1,h,w) at the picture's size."""
    return picture if picture.shape[-2:] == (height, width) else interpolate(picture, (height, width), mode="bilinear", antialias=True)


def run_depthfm(image: torch.Tensor, vae, file: str, steps: int, seed: int, resolution: int) -> torch.Tensor:
    """Near-bright depth (B,1,H,W) of pictures (B,H,W,3), looked at with sides that are multiples of 64.

    Raises:
        ValueError: no file or no VAE.
    """
    if file == NO_FILE or vae is None:
        raise ValueError("DepthFM needs its checkpoint in depthfm_file and an SD1.5 VAE in vae; choose and connect them, or set source to picture.")
    height, width = image.shape[1:3]
    scale = min(1.0, resolution / max(height, width))
    size = [max(64, round(side * scale / 64) * 64) for side in (height, width)]
    small = interpolate(image.movedim(-1, 1), size, mode="bicubic", antialias=True).clamp(0, 1).movedim(1, -1)
    bar = progress(steps * len(image))

    def report(done, total):
        stop_if_interrupted()
        bar.update_absolute(done, total)

    return fit(depths.from_depthfm(decode_depth(load_depthfm(depth_path(file)), vae, small, steps, seed, report)), height, width)


class Depth(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        conventions = list(depths.CONVENTIONS)
        return io.Schema(
            node_id="FittingRoomDepth",
            display_name="Depth Preprocessor",
            category=MAPS,
            description="Brings a depth picture into one form: near is bright, the range stretched so that single outliers do not flatten it. "
            "Takes the pictures of the host's Depth Anything 3, MoGe and Lotus nodes, or runs a DepthFM checkpoint. Can set a placed piece of jewelry on the skin.",
            search_aliases=["depth map", "depthfm", "depth anything", "moge", "invert depth", "normalize depth", "jewelry", "jewellery"],
            inputs=[
                io.Image.Input("image", tooltip="The photo. With source picture and nothing in depth, it is taken as the depth picture itself."),
                io.Combo.Input("source", options=["picture", "depthfm"], default="picture", tooltip="picture: a depth picture made by another node. depthfm: run a DepthFM checkpoint on the photo."),
                io.Combo.Input("convention", options=conventions, default="near_bright", tooltip="What the incoming depth picture means. Depth Anything 3, MoGe and MiDaS show near as bright, DepthFM's own pictures show far as bright."),
                io.Boolean.Input("normalise", default=True, tooltip="Stretch between the darkest and brightest hundredth. A flat picture becomes middle grey."),
                io.Image.Input("depth", optional=True, tooltip="The host's depth picture (grey) of the photo; resized to it."),
                io.Vae.Input("vae", optional=True, tooltip="An SD1.5 VAE, for DepthFM."),
                io.Combo.Input("depthfm_file", options=[NO_FILE, *depth_files()], default=NO_FILE, optional=True, tooltip="A DepthFM checkpoint in models/checkpoints or models/diffusion_models (3.5 GB; MIT licence)."),
                io.Int.Input("steps", default=4, min=1, max=50, optional=True, advanced=True, tooltip="DepthFM's steps; 4 in the paper, 1 is a quick look."),
                io.Int.Input("seed", default=0, min=0, max=0xFFFFFFFFFFFF, control_after_generate=io.ControlAfterGenerate.fixed, optional=True, advanced=True, tooltip="Of DepthFM's starting noise."),
                io.Int.Input("resolution", default=768, min=64, max=2048, step=64, optional=True, advanced=True, tooltip="Longest side at which DepthFM looks at the photo."),
                io.Combo.Input("output", options=conventions, default="near_bright", optional=True, tooltip="What the outgoing picture shall mean. Everything in this pack expects near_bright."),
                JewelryState.Input("state", optional=True, tooltip="A piece placed on this photo; needs jewelry."),
                io.Image.Input("jewelry", optional=True, tooltip="Depth picture of the jewelry itself, in the same convention: set on the skin where state says."),
            ],
            outputs=[io.Image.Output(display_name="depth", tooltip="Grey depth picture, as large as the photo.")],
        )

    @classmethod
    def validate_inputs(cls, source=None, depthfm_file=NO_FILE):
        if source == "depthfm" and depthfm_file == NO_FILE:
            return "No DepthFM checkpoint is chosen; choose one in depthfm_file, or set source to picture and connect a depth picture."
        if depthfm_file not in (None, NO_FILE) and depthfm_file not in depth_files():
            return f"The file '{depthfm_file}' is not in models/checkpoints or models/diffusion_models; put a DepthFM checkpoint there and refresh the page."
        return True

    @classmethod
    def execute(cls, image, source, convention, normalise, depth=None, vae=None, depthfm_file=NO_FILE, steps=4, seed=0, resolution=768,
                output="near_bright", state=None, jewelry=None):
        image, (height, width) = flatten_alpha(image), image.shape[1:3]
        if source == "depthfm":
            found = run_depthfm(image, vae, depthfm_file, steps, seed, resolution)
        else:
            found = fit(depths.depth_map(flatten_alpha(image if depth is None else depth), convention, normalise), height, width)
        if state is not None and jewelry is not None:
            found = depths.with_jewelry(found, depths.depth_map(flatten_alpha(jewelry), convention), *placed(state, height, width))
        picture = depths.depth_picture(found, output)
        flat = "The depth is flat: the picture says nothing about near and far." if bool(depths.is_flat(found).any()) else ""
        return io.NodeOutput(picture, ui=seen(picture, cls, flat))


class Saliency(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="FittingRoomSaliency",
            display_name="Saliency Preprocessor",
            category=MAPS,
            description="Where a picture draws the eye: without weights (spectral residual, agreeing with OpenCV's; or plain contrast), or the map of a background model such as the host's BiRefNet. "
            "Can composite a placed piece of jewelry in.",
            search_aliases=["saliency map", "spectral residual", "attention map", "salient object", "jewelry", "jewellery"],
            inputs=[
                io.Image.Input("image", tooltip="The photo."),
                io.Combo.Input("source", options=[*saliencies.METHODS, "picture"], default="spectral_residual", tooltip="spectral_residual and luma_contrast need no weights. picture: use what is connected to map or map_mask."),
                io.Image.Input("map", optional=True, tooltip="A background model's picture of the photo (bright = foreground)."),
                io.Mask.Input("map_mask", optional=True, tooltip="A background model's soft mask of the photo, for example from Remove Background."),
                JewelryState.Input("state", optional=True, tooltip="A piece placed on this photo; needs jewelry."),
                io.Image.Input("jewelry", optional=True, tooltip="Product picture of the jewelry: its own saliency is set where state says."),
            ],
            outputs=[
                io.Image.Output(display_name="saliency", tooltip="Grey picture, bright where the eye goes."),
                io.Mask.Output(display_name="mask", tooltip="The same as a soft mask."),
            ],
        )

    @classmethod
    def execute(cls, image, source, map=None, map_mask=None, state=None, jewelry=None):
        image, (height, width) = flatten_alpha(image), image.shape[1:3]
        given = flatten_alpha(map) if map is not None else map_mask
        if source == "picture" and given is None:
            raise ValueError("The source is picture, but neither map nor map_mask is connected; connect a background model's map, or choose spectral_residual.")
        found = saliencies.from_map(given, height, width) if source == "picture" else saliencies.saliency(image, source)
        if state is not None and jewelry is not None:
            own = saliencies.saliency(flatten_alpha(jewelry), source if source != "picture" else "luma_contrast")
            found = saliencies.with_jewelry(found, own, *placed(state, height, width))
        picture = found.movedim(1, -1).expand(-1, -1, -1, 3)
        return io.NodeOutput(picture, found[:, 0], ui=ui.PreviewImage(picture, cls=cls))


NODES = [Depth, Saliency]
