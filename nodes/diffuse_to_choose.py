"""Diffuse to Choose as nodes: the product as tokens, the masked picture as conditioning, the hint as a patched model."""

from __future__ import annotations

import logging

from ..host import (
    LAYOUTS,
    check_encoder,
    check_fits,
    encode_latent,
    encode_vision,
    final_norm,
    inpaint_conditioning,
    install,
    io,
    run_module,
    widen,
)
from ..models.parts.tokens import nulls
from ..preprocess.arrays import as_image, as_mask, fit_mask, match_batch
from ..preprocess.hint import trim
from .anydressing import require
from .sockets import Method, check_range, percent_inputs

CATEGORY = "Fitting Room/Diffuse to Choose"
ALIASES = ["diffuse to choose", "dtc", "product insertion", "virtual try-all", "try-on", "insert object", "reference inpainting"]
KIND, LABEL = "diffuse_to_choose", "Diffuse to Choose"
SMALL = " (DINOv2 small and base do not fit: Diffuse to Choose works with giant, 1536 wide, or large, 1024)"


def product_tokens(method, clip_vision, image):
    """The product's tokens (B,T,context) and their null (1,T,context) by the file's image encoder and projector."""
    module = require(method, (KIND, "paint_by_example"), f"{LABEL} or Paint by Example").module
    if module.kind == KIND:
        encoder, width, projector = module.config.image_encoder, module.config.token_width, module.tokens
    else:
        encoder, width, projector = "class token", module.config.image_width, module.token
    dino = encoder.startswith("dino")
    check_encoder(clip_vision, "dinov2" if dino else "clip_vision_model", width, f"this {module.label} file", SMALL if dino else "")
    vision = encode_vision(clip_vision, as_image(image, "The product picture"), like_host=True)
    states = {"class token": lambda: vision.pooled, "clip_cls": lambda: vision.pooled[:, None], "clip_all": lambda: final_norm(clip_vision, vision.last)}
    tokens = run_module(method.patcher, projector, states.get(encoder, lambda: vision.last)())
    return tokens, nulls(projector, tokens)


def painted(image, mask):
    """A picture (B,H,W,3) and its mask (B,1,H,W), cut to multiples of 8 about the centre as the host's VAE cuts.

    Raises:
        ValueError: the mask covers nothing, or the batches do not fit.
    """
    image = as_image(image, "The picture")
    mask, note = fit_mask(as_mask(mask), *image.shape[1:3])
    if note:
        logging.info("Inpaint Conditioning: %s", note)
    image, mask = match_batch(image=trim(image), mask=trim(mask.movedim(1, -1)).movedim(-1, 1))
    if not bool((mask > 0.5).flatten(1).any(1).all()):
        raise ValueError("The mask covers nothing; paint the region where the product goes (1 = repaint), or check that it is not inverted.")
    return image, mask


class EncodeProduct(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="FittingRoomEncodeProduct",
            display_name="Encode Product",
            category=CATEGORY,
            description="Looks at the product with DINOv2 (or CLIP, as the file says) and makes the tokens that stand in place of a prompt, with an equally long null for guidance.",
            search_aliases=ALIASES + ["dinov2", "image prompt", "paint by example"],
            inputs=[
                Method.Input("method", tooltip="A Diffuse to Choose method, loaded or new, or Paint by Example's token. Its file says which image encoder it needs."),
                io.ClipVision.Input("clip_vision", tooltip="From Load CLIP Vision: DINOv2 giant (1536 wide) or large (1024), or CLIP ViT-L, as the file says. Small and base DINOv2 do not fit."),
                io.Image.Input("image", tooltip="The product, best on a plain background. It is stretched to 224 x 224, as in training. A batch is one product per picture of the latent batch."),
            ],
            outputs=[
                io.Conditioning.Output(display_name="positive", tooltip="The product's tokens (257 for DINOv2)."),
                io.Conditioning.Output(display_name="negative", tooltip="As many copies of the learned null, for guidance."),
            ],
        )

    @classmethod
    def execute(cls, method, clip_vision, image):
        tokens, null = product_tokens(method, clip_vision, image)
        return io.NodeOutput([[tokens, {}]], [[null, {}]])


class InpaintConditioning(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="FittingRoomInpaintConditioning",
            display_name="Inpaint Conditioning (Fitting Room)",
            category=CATEGORY,
            description="Gives the masked picture and the mask to the model, greyed out where it is repainted. Works with inpainting checkpoints, with 4-channel models, and with converted Paint by Example "
            "checkpoints, whose channels have another order and polarity.",
            search_aliases=ALIASES + ["inpaint model conditioning", "paint by example", "masked image"],
            inputs=[
                io.Conditioning.Input("positive", tooltip="From Encode Product."),
                io.Conditioning.Input("negative", tooltip="From Encode Product."),
                io.Vae.Input("vae", tooltip="The VAE of an SD1.5 model."),
                io.Image.Input("image", tooltip="The picture that the product goes into. Sides that are not multiples of 8 lose their rest, half on each side; Composite Back brings it back."),
                io.Mask.Input("mask", tooltip="What is repainted (1 = repaint), threshold 0.5. Another size than the picture's is resized."),
                io.Combo.Input(
                    "layout", options=list(LAYOUTS), default="inpainting", optional=True, advanced=True,
                    tooltip="Order and polarity of the model's extra channels. inpainting: mask (1 = repaint), masked picture, as SD1.5 inpainting checkpoints have. paint_by_example: masked picture, mask (1 = keep).",
                ),
                io.Boolean.Input("noise_mask", default=True, optional=True, advanced=True, tooltip="Also keep the sampler from changing the rest of the latent."),
            ],
            outputs=[
                io.Conditioning.Output(display_name="positive", tooltip="With the masked picture and the mask."),
                io.Conditioning.Output(display_name="negative", tooltip="With the masked picture and the mask."),
                io.Latent.Output(display_name="latent", tooltip="The picture's latent, to sample from."),
            ],
        )

    @classmethod
    def execute(cls, positive, negative, vae, image, mask, layout="inpainting", noise_mask=True):
        image, mask = painted(image, mask)
        return io.NodeOutput(*inpaint_conditioning(positive, negative, vae, image, mask, layout, noise_mask))


class FiLMHintEncoder(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="FittingRoomFiLMHintEncoder",
            display_name="FiLM Hint Encoder",
            category=CATEGORY,
            description="Runs the hint through a copy of the U-Net's encoder and modulates what the decoder sees with it (FiLM), so that the product keeps its details. "
            "The result is an ordinary MODEL for any sampler. Not for area conditioning or tiled sampling: the hint covers the whole picture.",
            search_aliases=ALIASES + ["film", "hint encoder", "feature modulation", "controlnet"],
            inputs=[
                io.Model.Input("model", tooltip="The SD1.5 model the file was made for: an inpainting checkpoint, or a 4-channel model where the file says so."),
                Method.Input("method", tooltip="A Diffuse to Choose method, loaded or new."),
                io.Image.Input("hint", tooltip="From Place Hint, as large as the picture. One, or one per picture of the latent batch."),
                io.Float.Input("strength", default=1.0, min=0.0, max=4.0, step=0.05, tooltip="How strongly the hint enters; 1 as trained. 0 leaves the model exactly as it was."),
                *percent_inputs(),
                io.Vae.Input("vae", optional=True, tooltip="Only for weights with a latent hint: encodes the hint, which Place Hint then pastes into the picture (its background input)."),
                io.Int.Input(
                    "refresh_every", default=1, min=1, max=50, optional=True, advanced=True,
                    tooltip="Run the hint encoder on every n-th step only and reuse what it said: faster, and an approximation. 1 = every step. Without effect on weights trained with a fixed timestep, which run it once anyway.",
                ),
            ],
            outputs=[io.Model.Output(display_name="model", tooltip="The model with the hint.")],
        )

    @classmethod
    def validate_inputs(cls, start_percent=None, end_percent=None):
        return check_range(start_percent, end_percent)

    @classmethod
    def execute(cls, model, method, hint, strength, start_percent, end_percent, vae=None, refresh_every=1):
        module = require(method, KIND, LABEL).module
        module.check_base(check_fits(model, method).in_channels)
        hint = trim(as_image(hint, "The hint"))
        if module.config.hint == "latent":
            if vae is None:
                raise ValueError("This file takes its hint as a latent; connect the VAE to the FiLM Hint Encoder, and the picture to the background of Place Hint.")
            tensor = encode_latent(vae, hint)
        else:
            tensor = hint.movedim(-1, 1)
        return io.NodeOutput(install(model, module.patches(tensor, strength, refresh_every), method.managed, start_percent, end_percent))


class WidenModel(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="FittingRoomWidenModel",
            display_name="Widen Model for Inpainting",
            category="Fitting Room/Methods",
            description="Gives a 4-channel SD1.5 model the extra input channels of an inpainting model. The new weights are zero, so that it paints as before until it is trained; "
            "a base to train on, and a way to try inpainting workflows on the demo model.",
            search_aliases=["9 channels", "inpainting model", "modify checkpoint", "paint by example"],
            inputs=[
                io.Model.Input("model", tooltip="An SD1.5 model."),
                io.Int.Input("channels", default=9, min=5, max=32, tooltip="Input channels of the result: 9 for inpainting."),
            ],
            outputs=[io.Model.Output(display_name="model", tooltip="The wider model.")],
        )

    @classmethod
    def execute(cls, model, channels):
        return io.NodeOutput(widen(model, channels))


NODES = [EncodeProduct, InpaintConditioning, FiLMHintEncoder, WidenModel]
