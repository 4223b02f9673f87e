"""StableVITON and SIFT-VTON as nodes: the person's channels, the garment's token, and the garment itself."""

from __future__ import annotations

import logging

import torch

from ..host import (
    channel_route,
    check_encoder,
    check_fits,
    encode_latent,
    encode_vision,
    install,
    io,
    latent_samples,
    latent_size,
    run_module,
    with_channels,
)
from ..models.parts.channels import TRY_ON
from ..models.weights import WeightsError
from ..preprocess.arrays import match_batch
from ..preprocess.letterbox import flatten_alpha, letterbox
from ..preprocess.masks import agnostic_image
from ..preprocess.try_on import check_pose, latent_mask, repaint_mask
from .anydressing import require
from .sockets import Method, check_range, percent_inputs

STARTS = {"agnostic": "noised agnostic", "person": "noised person", "noise": "pure noise"}
EDGES = ("filtered", "plain")
UNCONDITIONAL = {"as the file says": None, "token only": "garment", "nothing": "bare"}


def try_on_stack(vae, person, mask, pose, antialias):
    """The nine channels behind z_t and the agnostic's latent, scaled: (B,9,h,w), (B,4,h,w)."""
    size, pose = latent_size(person.shape[2], person.shape[1]), check_pose(pose, person)
    mask, note = repaint_mask(mask, *person.shape[1:3])
    if note:
        logging.info("Try-On Conditioning: %s", note)
    person, mask, pose = match_batch(person=person, mask=mask, pose=pose)
    masked = encode_latent(vae, agnostic_image(person, mask))
    return TRY_ON.stack(masked=masked, mask=latent_mask(mask, size, antialias), pose=encode_latent(vae, pose)), masked


class TryOnConditioning(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="FittingRoomTryOnConditioning",
            display_name="Try-On Conditioning",
            category="Fitting Room/SIFT-VTON",
            description="Shows a try-on model the person: everything outside the mask, the mask, and the pose. Connect both conditionings to the "
            "sampler. Works with StableVITON's own 13-channel checkpoint and, behind Apply SIFT-VTON, with any 4- or 9-channel SD1.5.",
            search_aliases=["stableviton", "sift-vton", "vton", "try-on", "agnostic", "densepose", "virtual try on"],
            inputs=[
                io.Conditioning.Input("positive", tooltip="From Garment Token."),
                io.Conditioning.Input("negative", tooltip="From Garment Token."),
                io.Vae.Input("vae", tooltip="The VAE that belongs to the model."),
                io.Image.Input("person", tooltip="The person to dress; sides multiples of 8, 384 x 512 in the papers."),
                io.Mask.Input("mask", tooltip="Where the new garment goes (white = repaint). Another size is resized to the person."),
                io.Image.Input("pose", tooltip="The DensePose picture of this person (colours of body parts), of the same size."),
                io.Combo.Input(
                    "start", options=list(STARTS), default="agnostic", optional=True, advanced=True,
                    tooltip="What the sampling starts from. agnostic: the person without the masked region, as SIFT-VTON does. "
                    "person: the whole person, as StableVITON's code does; the old garment can shine through. noise: nothing.",
                ),
                io.Combo.Input(
                    "mask_edges", options=list(EDGES), default="filtered", optional=True, advanced=True,
                    tooltip="How the mask is shrunk to the latent. filtered: as SIFT-VTON was trained. plain: as StableVITON was.",
                ),
            ],
            outputs=[
                io.Conditioning.Output(display_name="positive", tooltip="With the person's channels."),
                io.Conditioning.Output(display_name="negative", tooltip="With the same channels; the sampler needs both."),
                io.Latent.Output(display_name="latent", tooltip="What to start from."),
            ],
        )

    @classmethod
    def execute(cls, positive, negative, vae, person, mask, pose, start="agnostic", mask_edges="filtered"):
        person = flatten_alpha(person)
        stack, masked = try_on_stack(vae, person, mask, flatten_alpha(pose), mask_edges == "filtered")
        begin = {"agnostic": masked, "noise": torch.zeros_like(masked)}.get(start)
        latent = latent_samples(encode_latent(vae, person) if begin is None else begin)
        return io.NodeOutput(with_channels(positive, TRY_ON, stack), with_channels(negative, TRY_ON, stack), {"samples": latent})


def garment_token(method, clip_vision, image):
    """A picture as one token and the learned null, as CONDITIONING."""
    if not hasattr(method.module, "token"):
        raise WeightsError(f"A method of {method.module.label} has no token for a picture; load StableVITON, SIFT-VTON or Paint by Example.")
    config, module = method.module.config, method.module.token
    check_encoder(clip_vision, "clip_vision_model", config.image_width, f"this {method.module.label} file")
    token = run_module(method.patcher, module, encode_vision(clip_vision, flatten_alpha(image), antialias=config.antialias).pooled)
    return [[token, {}]], [[module.nulls(token), {}]]


class EncodeGarmentToken(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="FittingRoomEncodeGarmentToken",
            display_name="Garment Token",
            category="Fitting Room/SIFT-VTON",
            description="Makes one token of a garment picture, in place of a text prompt: CLIP ViT-L/14's pooled vector through the method's own "
            "mapper (Paint by Example's). The negative is the method's learned empty token.",
            search_aliases=["stableviton", "sift-vton", "paint by example", "image prompt", "garment clip", "encode garment"],
            inputs=[
                Method.Input("method", tooltip="A SIFT-VTON, StableVITON or Paint by Example method."),
                io.ClipVision.Input("clip_vision", tooltip="CLIP ViT-L/14, which Convert Weights writes beside the method."),
                io.Image.Input("image", tooltip="The whole garment picture with its background. It is stretched to a square, as in training."),
            ],
            outputs=[
                io.Conditioning.Output(display_name="positive", tooltip="The garment, in place of a prompt."),
                io.Conditioning.Output(display_name="negative", tooltip="The learned empty token."),
            ],
        )

    @classmethod
    def execute(cls, method, clip_vision, image):
        return io.NodeOutput(*garment_token(method, clip_vision, image))


def garment_encoder(vae, garment):
    """(latent height, latent width) -> scaled latents of the garment, fitted on white; for when the picture's size is known."""
    garment = flatten_alpha(garment)
    return lambda height, width: encode_latent(vae, letterbox(garment, height * 8, width * 8))


class ApplySiftVton(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="FittingRoomApplySiftVton",
            display_name="Apply SIFT-VTON",
            category="Fitting Room/SIFT-VTON",
            description="Puts the garment on the person that Try-On Conditioning shows: a garment encoder beside the U-Net, read by nine zero "
            "cross-attentions of its decoder. For StableVITON and SIFT-VTON files alike. The garment is encoded once per generation.",
            search_aliases=["stableviton", "sift-vton", "vton", "try-on", "virtual try on", "garment encoder", "clothes swap"],
            inputs=[
                io.Model.Input("model", tooltip="StableVITON's checkpoint (13 channels), or any 4- or 9-channel SD1.5."),
                Method.Input("method", tooltip="A SIFT-VTON or StableVITON method."),
                io.Vae.Input("vae", tooltip="The VAE that belongs to the model; it encodes the garment."),
                io.Image.Input("garment", tooltip="The garment on a plain background. It is fitted into the picture's size on white, never stretched."),
                io.Float.Input("strength", default=1.0, min=0.0, max=2.0, step=0.05, tooltip="How strongly the garment enters. 0 leaves the model as it was."),
                *percent_inputs(),
                io.Combo.Input(
                    "unconditional", options=list(UNCONDITIONAL), default="as the file says", optional=True, advanced=True,
                    tooltip="What guidance compares with. nothing: without the garment, as SIFT-VTON samples (faster). "
                    "token only: with the garment but without its token, as StableVITON was trained. Only matters with cfg above 1.",
                ),
            ],
            outputs=[io.Model.Output(display_name="model", tooltip="For any sampler; the papers use PLMS with 50 steps, cfg 1.5 (SIFT-VTON) or 1.")],
        )

    @classmethod
    def validate_inputs(cls, start_percent=None, end_percent=None):
        return check_range(start_percent, end_percent)

    @classmethod
    def execute(cls, model, method, vae, garment, strength, start_percent, end_percent, unconditional="as the file says"):
        module = require(method, "sift_vton", "SIFT-VTON").module
        channel_route(model, TRY_ON)
        module.check_channels(check_fits(model, method).in_channels)
        patches = module.patches(garment_encoder(vae, garment), strength, UNCONDITIONAL[unconditional])
        return io.NodeOutput(install(model, patches, method.managed, start_percent, end_percent, channels=True))


NODES = [TryOnConditioning, EncodeGarmentToken, ApplySiftVton]
