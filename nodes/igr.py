"""IGR as nodes: look at the person once, then restore the garment as a flat product picture."""

from __future__ import annotations

import logging
import os

from ..host import (
    LoadedMethod,
    adapter_files,
    adapter_path,
    build_method,
    capture,
    check_fits,
    encode_latent,
    encode_text,
    image_prompt,
    install,
    io,
    latent_size,
    release,
    run_module,
)
from ..models.conversion import ip_adapter
from ..models.igr import CATEGORIES, IGR, IGRConfig
from ..models.parts.reference import Reference as Captured
from ..models.parts.reference import check_method
from ..models.parts.tokens import ImageTokens
from ..models.weights import read_foreign, sha256
from ..preprocess.garment_crop import crop_garment, fit_person, worn_garment
from .anydressing import require
from .sockets import Method, Reference, Tokens, check_range, check_sides, percent_inputs

CATEGORY_TOOLTIP = "What is restored: upper (shirt, jacket), lower (trousers, skirt) or full (dress, jumpsuit). Chooses the prompt the method was trained with."
ALIASES = ["igr", "try-off", "tryoff", "garment restoration", "garment extraction", "ghost mannequin", "flat lay"]


def garmnet_of(method: LoadedMethod):
    """The GarmNet a method's file carries.

    Raises:
        ValueError: a file with the low-level path alone.
    """
    if "garmnet" not in method.unets:
        raise ValueError("This IGR method has no GarmNet (it comes from an IP-Adapter alone); load an IGR file, or give the adapter an IGR method to join.")
    return method.unets["garmnet"]


def garmnet_text(config: IGRConfig, clip, category: str):
    """The text GarmNet sees, (1,T,D), or None where it was trained without cross-attention.

    Raises:
        ValueError: the file's GarmNet reads a prompt and no text encoder is connected.
    """
    if config.garmnet_text == "none":
        return None
    if clip is None:
        raise ValueError("This file's GarmNet was trained with a prompt as its text; connect the checkpoint's CLIP to the GarmNet Extractor.")
    return encode_text(clip, config.prompt(category) if config.garmnet_text == "category" else "")[0][0]


def look(method: LoadedMethod, vae, image, mask, category: str, clip, width: int, height: int) -> Captured:
    """GarmNet's features of a person's picture, taken once at t = 0."""
    config, garmnet = method.module.config, garmnet_of(method)
    image, mask, note = worn_garment(image, mask)
    if note:
        logging.info("Fitting Room: %s", note)
    image, mask = fit_person(image, mask, height, width)
    text = garmnet_text(config, clip, category)
    seen = IGR.garmnet_input(encode_latent(vae, image), mask)
    return Captured("igr", category, capture(garmnet, seen, text, cross_attention=text is not None), (height, width))


def garment_tokens(method: LoadedMethod, clip_vision, image, mask) -> ImageTokens:
    """F_ll of the garment cut out, and its null.

    Raises:
        ValueError: an image encoder of another width than the file was trained with, or a file without a low-level path.
    """
    module, config = method.module, method.module.config
    if config.adapter == "none":
        raise ValueError("This IGR file has no low-level path, so it needs no garment tokens; leave Encode Garment Tokens out.")
    image, mask, _ = worn_garment(image, mask)
    crop = crop_garment(image, mask, clip_vision.image_size, config.crop_margin, config.crop_fill)
    states = [getattr(v, module.reads) for v in (image_prompt(clip_vision, crop), image_prompt(clip_vision, None))]
    config.check_encoder(states[0].shape[-1])
    if module.reads == "embedding":
        states[1] = states[1] * 0  # the official null of the base layout is the zero embedding, not the embedding of a picture
    return ImageTokens(*(run_module(method.patcher, module.image_proj, s) for s in states))


def join_adapter(tensors, source: str, method: LoadedMethod | None) -> LoadedMethod:
    """An IP-Adapter as IGR's low-level path, alone or in place of a method's own."""
    like = None if method is None else method.module.config
    header, own = ip_adapter.convert(tensors, source, like)
    return build_method(IGR, header, own, source, unets=None if method is None else method.unets)


class GarmNetExtractor(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="FittingRoomGarmNetExtractor",
            display_name="GarmNet Extractor",
            category="Fitting Room/IGR",
            description="Looks once at the person who wears the garment (GarmNet, at t = 0) and keeps the features that Apply IGR lets into the restored picture. "
            "The result is cached: another seed, guidance or step count does not look again.",
            search_aliases=[*ALIASES, "GarmNet", "reference unet"],
            inputs=[
                Method.Input("method", tooltip="An IGR method, loaded or new."),
                io.Vae.Input("vae", tooltip="The VAE of an SD1.5 model."),
                io.Image.Input("image", tooltip="The person who wears the garment. Any size; it is fitted into width x height on white, never stretched. A batch is one person per picture of the latent batch."),
                io.Mask.Input("mask", tooltip="Where the garment is on the person (1 = garment). It need not be exact: GarmNet also sees what lies around it."),
                io.Combo.Input("category", options=list(CATEGORIES), tooltip=CATEGORY_TOOLTIP),
                io.Int.Input("width", default=768, min=64, max=2048, step=8, tooltip="Width in pixels at which the person is looked at. 768 in the paper; need not be the size of the restored picture."),
                io.Int.Input("height", default=1024, min=64, max=2048, step=8, tooltip="Height in pixels at which the person is looked at. 1024 in the paper."),
                io.Clip.Input("clip", optional=True, tooltip="The checkpoint's text encoder: GarmNet reads the category's prompt. Needed unless the file was trained without text."),
                io.Boolean.Input("keep_loaded", default=False, optional=True, advanced=True, tooltip="Leave GarmNet in video memory afterwards. Faster for many persons in a row; costs 1.7 GB beside the sampled model."),
            ],
            outputs=[Reference.Output(display_name="reference", tooltip="The garment's features, for Apply IGR.")],
        )

    @classmethod
    def validate_inputs(cls, width=None, height=None):
        return check_sides(width, height)

    @classmethod
    def execute(cls, method, vae, image, mask, category, width, height, clip=None, keep_loaded=False):
        require(method, "igr", "IGR")
        latent_size(width, height)
        reference = look(method, vae, image, mask, category, clip, width, height)
        if not keep_loaded:
            release(garmnet_of(method))
        return io.NodeOutput([reference])


class EncodeGarmentTokens(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="FittingRoomEncodeGarmentTokens",
            display_name="Encode Garment Tokens",
            category="Fitting Room/IGR",
            description="Cuts the garment out of the person's picture (square, with a little room, on grey) and turns it into image tokens with the method's IP-Adapter: colour, cut and overall look.",
            search_aliases=[*ALIASES, "ip-adapter", "image prompt", "clip vision"],
            inputs=[
                Method.Input("method", tooltip="An IGR method, or an IP-Adapter loaded with Load Garment Adapter."),
                io.ClipVision.Input("clip_vision", tooltip="The image encoder the method was trained with: CLIP ViT-H (CLIP-ViT-H-14-laion2B-s32B-b79K) for released IP-Adapters of SD1.5."),
                io.Image.Input("image", tooltip="The person who wears the garment, the same picture as for the GarmNet Extractor. Full resolution helps: the cut-out is made before resizing."),
                io.Mask.Input("mask", tooltip="Where the garment is on the person (1 = garment)."),
            ],
            outputs=[Tokens.Output(display_name="tokens", tooltip="Image tokens, for Apply IGR.")],
        )

    @classmethod
    def execute(cls, method, clip_vision, image, mask):
        require(method, "igr", "IGR")
        return io.NodeOutput(garment_tokens(method, clip_vision, image, mask))


class ApplyIGR(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="FittingRoomApplyIGR",
            display_name="Apply IGR",
            category="Fitting Room/IGR",
            description="Restores the garment as a flat product picture: every self-attention also looks at GarmNet's features, every cross-attention at the garment's tokens. "
            "The result is an ordinary MODEL for any sampler; the paper samples 1024 x 768 with ddim, 25 steps, cfg 1.5. Unconditional rows see no garment.",
            search_aliases=ALIASES,
            inputs=[
                io.Model.Input("model", tooltip="The SD1.5 model to sample with: Method Model if the file brings its own trained denoiser. LoRAs, ControlNets and IP-Adapters go before or after."),
                Method.Input("method", tooltip="The IGR method the reference was made with."),
                Reference.Input("reference", tooltip="What the GarmNet Extractor saw."),
                io.Float.Input("strength", default=1.0, min=0.0, max=2.0, step=0.05, tooltip="Of the reference: 1 is the paper's joint attention, 0 leaves it out, between is a blend."),
                io.Float.Input("token_strength", default=1.0, min=0.0, max=2.0, step=0.05, tooltip="Of the garment tokens (IP-Adapter scale): 1 in the paper, 0 leaves them out."),
                *percent_inputs(),
                Tokens.Input("tokens", optional=True, tooltip="From Encode Garment Tokens. Without it only GarmNet's features are used."),
            ],
            outputs=[io.Model.Output(display_name="model", tooltip="The model that restores this garment.")],
        )

    @classmethod
    def validate_inputs(cls, start_percent=None, end_percent=None):
        return check_range(start_percent, end_percent)

    @classmethod
    def execute(cls, model, method, reference, strength, token_strength, start_percent, end_percent, tokens=None):
        require(method, "igr", "IGR")
        check_fits(model, method)
        patches = method.module.patches(check_method(reference, "igr", "IGR"), tokens, strength, token_strength)
        return io.NodeOutput(install(model, patches, method.managed, start_percent, end_percent))


class CategoryPrompt(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="FittingRoomCategoryPrompt",
            display_name="Category Prompt",
            category="Fitting Room/IGR",
            description="The prompt of a garment category in the words the method was trained with. The negative prompt of IGR is empty. Any other CONDITIONING works too.",
            search_aliases=[*ALIASES, "upper", "lower", "dress"],
            inputs=[
                io.Clip.Input("clip", tooltip="The text encoder of the sampled model."),
                io.Combo.Input("category", options=list(CATEGORIES), tooltip=CATEGORY_TOOLTIP),
                Method.Input("method", optional=True, tooltip="An IGR method, whose file may bring its own wording. Without it the default wording is used."),
            ],
            outputs=[io.Conditioning.Output(display_name="positive", tooltip="The category's prompt.")],
        )

    @classmethod
    def execute(cls, clip, category, method=None):
        config = IGRConfig() if method is None else require(method, "igr", "IGR").module.config
        return io.NodeOutput(encode_text(clip, config.prompt(category)))


class MethodModel(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="FittingRoomMethodModel",
            display_name="Method Model",
            category="Fitting Room/Methods",
            description="The trained denoiser that a method's file brings along, as an ordinary MODEL. A file without one passes the connected model on, so the same workflow serves both.",
            search_aliases=[*ALIASES, "denoiser", "unet", "checkpoint of the method"],
            inputs=[
                Method.Input("method", tooltip="A method, loaded or new."),
                io.Model.Input("model", optional=True, tooltip="What to use if the file holds no denoiser of its own: an SD1.5 model."),
            ],
            outputs=[io.Model.Output(display_name="model", tooltip="The method's own denoiser, or the connected model.")],
        )

    @classmethod
    def execute(cls, method, model=None):
        own = method.unets.get("denoiser", model)
        if own is None:
            raise ValueError("This method's file holds no denoiser of its own; connect an SD1.5 model to use instead.")
        return io.NodeOutput(own)


class LoadGarmentAdapter(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="FittingRoomLoadGarmentAdapter",
            display_name="Load Garment Adapter (IP-Adapter)",
            category="Fitting Room/IGR",
            description="An IP-Adapter from models/ipadapter as IGR's low-level path: base, plus and full-face files of SD1.5. With a method connected it takes the place of that method's own adapter, for instance to start a training.",
            search_aliases=[*ALIASES, "ipadapter", "ip-adapter", "load ipadapter"],
            inputs=[
                io.Combo.Input("file", options=adapter_files(), tooltip="A file in models/ipadapter, such as ip-adapter-plus_sd15.safetensors. FaceID and portrait files look at faces and are refused."),
                Method.Input("method", optional=True, tooltip="An IGR method whose GarmNet, prompts and denoiser go on being used. Without it the result has a low-level path only."),
            ],
            outputs=[
                Method.Output(display_name="method", tooltip="An IGR method with this adapter."),
                io.String.Output(display_name="about", tooltip="Layout, tokens and source."),
            ],
        )

    @classmethod
    def fingerprint_inputs(cls, file=None, method=None):
        stat = os.stat(adapter_path(file)) if file else None
        return f"{stat.st_mtime_ns}-{stat.st_size}" if stat else ""

    @classmethod
    def execute(cls, file, method=None):
        path = adapter_path(file)
        joined = join_adapter(read_foreign(path), f"{file}, sha256 {sha256(path)}", method and require(method, "igr", "IGR"))
        config = joined.module.config
        return io.NodeOutput(joined, f"IP-Adapter {config.adapter}, {config.tokens} tokens, image encoder {config.clip_width} wide\n{joined.header.describe()}")


NODES = [GarmNetExtractor, EncodeGarmentTokens, ApplyIGR, CategoryPrompt, LoadGarmentAdapter, MethodModel]
