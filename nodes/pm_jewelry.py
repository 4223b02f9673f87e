"""PM-Jewelry as nodes: the conditioning, the jewelry encoder, the shadow module, and a look at its mask."""

from __future__ import annotations

import torch

from ..host import (
    attachment,
    channel_route,
    check_fits,
    check_predicts_noise,
    encode_latent,
    install,
    io,
    latent_samples,
    one_call,
    ui,
    with_attachment,
    with_channels,
    with_extras,
)
from ..models.parts.shadow import PICTURE, hard_mask, pack_picture
from ..models.pm_jewelry import LAYOUTS
from ..preprocess.arrays import as_mask, fit_mask
from ..preprocess.jewelry_maps import JewelryMaps, jewelry_maps, latent_grid, map_channel
from ..preprocess.letterbox import cut_out, flatten_alpha
from .anydressing import require
from .sift_vton import garment_encoder
from .sockets import Method, check_range, percent_inputs

CATEGORY = "Fitting Room/PM-Jewelry"
ALIASES = ["pm-jewelry", "jewellery", "jewelry try-on", "earrings", "necklace", "ring", "bracelet", "vton"]


def stack_of(vae, maps: JewelryMaps, name: str):
    """(latent of the masked picture (B,4,h,w), stack (B,extra,h,w)): eq. 1's channels behind z_t."""
    layout, masked = LAYOUTS[name], encode_latent(vae, maps.masked)
    if name == "encoded":
        grey = [encode_latent(vae, m.movedim(1, -1).expand(-1, -1, -1, 3)) for m in (maps.depth, maps.saliency)]
    else:
        grey = [map_channel(m) for m in (maps.depth, maps.saliency)]
    return masked, layout.stack(masked=masked, mask=latent_grid(maps.mask).to(masked), depth=grey[0], saliency=grey[1])


def start_latent(vae, maps: JewelryMaps, masked, start: str, keep_outside: bool) -> dict:
    """The LATENT to sample from: the masked picture, the picture, or nothing; with the mask where the outside is to be kept."""
    z = {"agnostic": masked, "noise": torch.zeros_like(masked)}.get(start)
    z = encode_latent(vae, maps.image) if z is None else z
    return {"samples": latent_samples(z), **({"noise_mask": maps.mask} if keep_outside else {})}


class JewelryConditioning(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="FittingRoomJewelryConditioning",
            display_name="Jewelry Conditioning",
            category=CATEGORY,
            description="Puts the head picture without the jewelry's region, the region, a depth and a saliency map beside the noise, for PM-Jewelry. Connect both outputs to the sampler. "
            "A PM-Jewelry checkpoint (11 or 17 input channels) takes them directly; for any other SD1.5 model the Jewelry Encoder adds them.",
            search_aliases=[*ALIASES, "inpaint conditioning", "depth", "saliency"],
            inputs=[
                io.Conditioning.Input("positive", tooltip="The prompt."),
                io.Conditioning.Input("negative", tooltip="What not to show. It gets the same pictures."),
                io.Vae.Input("vae", tooltip="The VAE of an SD1.5 model."),
                io.Image.Input("image", tooltip="The person: head, neck, hand or wrist. Sides must be multiples of 8; the paper works at 384 x 512."),
                io.Mask.Input("mask", tooltip="Where the jewelry goes (1 = repaint), for example from Jewelry Placement. It must cover something and leave something."),
                io.Image.Input("depth", tooltip="Depth of the same picture, near = bright, from Depth Preprocessor."),
                io.Image.Input("saliency", tooltip="Saliency of the same picture, from Saliency Preprocessor."),
                io.Combo.Input("maps", options=list(LAYOUTS), default="grey", optional=True, advanced=True, tooltip="grey: depth and saliency as one channel each (11 input channels). encoded: both through the VAE (17). It must be what the method file was made with."),
                io.Combo.Input("start", options=["agnostic", "person", "noise"], default="agnostic", optional=True, advanced=True, tooltip="What the sampling starts from. agnostic: the picture without the masked region. person: the whole picture, for a lower denoise; what is under the mask shimmers through. noise: nothing."),
                io.Boolean.Input("keep_outside", default=False, optional=True, advanced=True, tooltip="Let the sampler put everything outside the mask back at every step. Combine with start = person."),
                io.Mask.Input("shadows", optional=True, tooltip="Shadows that the picture has already (1 = shadow), a hint for the Shadow Module's strength. Without it: none."),
            ],
            outputs=[
                io.Conditioning.Output(display_name="positive", tooltip="The prompt with the pictures."),
                io.Conditioning.Output(display_name="negative", tooltip="The negative prompt with the pictures."),
                io.Latent.Output(display_name="latent", tooltip="The latent to start from."),
            ],
        )

    @classmethod
    def execute(cls, positive, negative, vae, image, mask, depth, saliency, maps="grey", start="agnostic", keep_outside=False, shadows=None):
        found = jewelry_maps(flatten_alpha(image), mask, flatten_alpha(depth), flatten_alpha(saliency))
        masked, stack = stack_of(vae, found, maps)
        if shadows is not None:
            shadows = fit_mask(as_mask(shadows, "the shadow mask"), *found.image.shape[1:3])[0].expand(len(found.image), -1, -1, -1)
        picture = pack_picture(found.image.movedim(-1, 1), found.mask, shadows)
        both = [with_extras(with_channels(c, LAYOUTS[maps], stack), **{PICTURE: picture}) for c in (positive, negative)]
        latent = start_latent(vae, found, masked, start, keep_outside)
        return io.NodeOutput(*both, latent, ui=ui.PreviewText(found.note) if found.note else None)


class JewelryEncoder(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="FittingRoomJewelryEncoder",
            display_name="Jewelry Encoder",
            category=CATEGORY,
            description="Lets the model look at a piece of jewelry: a spatial encoder reads it once, and nine zero cross-attentions pass it to the decoder. "
            "Untrained it changes nothing. The result is an ordinary MODEL for any sampler; only conditional rows pay for it.",
            search_aliases=[*ALIASES, "zero cross-attention", "stableviton"],
            inputs=[
                io.Model.Input("model", tooltip="An SD1.5 model of 4 or 9 input channels, or a PM-Jewelry checkpoint (11 or 17)."),
                Method.Input("method", tooltip="A PM-Jewelry method, loaded or new."),
                io.Vae.Input("vae", tooltip="The VAE of an SD1.5 model."),
                io.Image.Input("jewelry", tooltip="The piece on a plain background. Any size; it is fitted into the size that is sampled on white, never stretched. A batch is one piece per picture of the latent batch."),
                io.Float.Input("strength", default=1.0, min=0.0, max=4.0, step=0.05, tooltip="How strongly the piece enters; 1 as in the paper. 0 leaves the model exactly as it was."),
                *percent_inputs(),
                io.Mask.Input("jewelry_mask", optional=True, tooltip="Where the piece is (1 = jewelry); the rest becomes white. Without it the whole picture is used."),
            ],
            outputs=[io.Model.Output(display_name="model", tooltip="The model that sees the jewelry.")],
        )

    @classmethod
    def validate_inputs(cls, start_percent=None, end_percent=None):
        return check_range(start_percent, end_percent)

    @classmethod
    def execute(cls, model, method, vae, jewelry, strength, start_percent, end_percent, jewelry_mask=None):
        module = require(method, "pm_jewelry", "PM-Jewelry").module
        check_fits(model, method)
        channel_route(model, module.config.layout)
        jewelry = flatten_alpha(jewelry)
        jewelry = jewelry if jewelry_mask is None else cut_out(jewelry, jewelry_mask)
        patches = module.patches(garment_encoder(vae, jewelry), strength)
        return io.NodeOutput(install(model, patches, method.managed, start_percent, end_percent, channels=True))


class ShadowModule(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="FittingRoomShadowModule",
            display_name="Shadow Module",
            category=CATEGORY,
            description="Predicts where the jewelry's shadow falls from what the U-Net's decoder sees, and adjusts the predicted noise there (PM-Jewelry, equation 5). "
            "It needs the pictures that Jewelry Conditioning brings. Untrained it changes nothing.",
            search_aliases=[*ALIASES, "shadow", "sgdiffusion", "contact shadow"],
            inputs=[
                io.Model.Input("model", tooltip="The model to sample, with or without the Jewelry Encoder."),
                Method.Input("method", tooltip="A PM-Jewelry method, loaded or new."),
                io.Float.Input("strength", default=1.0, min=0.0, max=2.0, step=0.05, tooltip="How strongly the shadow's scale and bias act; 1 as in the paper. 0 leaves the model exactly as it was."),
                io.Float.Input("threshold", default=0.5, min=0.0, max=1.0, step=0.01, advanced=True, tooltip="The shadow is where the predicted mask is above this."),
                io.Int.Input("max_timestep", default=700, min=0, max=1000, advanced=True, tooltip="The module acts only at timesteps below this (999 = noise, 0 = clean); it was trained so."),
            ],
            outputs=[io.Model.Output(display_name="model", tooltip="The model with the shadow module; Shadow Mask looks into it.")],
        )

    @classmethod
    def execute(cls, model, method, strength, threshold, max_timestep):
        module = require(method, "pm_jewelry", "PM-Jewelry").module
        check_fits(model, method)
        check_predicts_noise(model, "the Shadow Module")
        shadow = module.shadow_at_work(strength, threshold, max_timestep)
        out = install(model, shadow.patches(), method.managed, channels=True)
        return io.NodeOutput(with_attachment(out, "shadow", (shadow, method.managed)))


class ShadowMask(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="FittingRoomShadowMask",
            display_name="Shadow Mask",
            category=CATEGORY,
            description="Shows where the Shadow Module sees a shadow: noises a picture to a timestep, lets the model look at it once and gives the mask. Use it on a finished picture or on the start latent.",
            search_aliases=[*ALIASES, "shadow", "preview shadow"],
            inputs=[
                io.Model.Input("model", tooltip="A model that went through Shadow Module."),
                io.Conditioning.Input("positive", tooltip="The positive output of Jewelry Conditioning."),
                io.Latent.Input("latent", tooltip="The picture to look at, as a latent."),
                io.Int.Input("timestep", default=300, min=0, max=999, tooltip="How much noise is added before the look: 0 = none, 999 = all. It must be below the module's max_timestep."),
                io.Combo.Input("view", options=["soft", "applied"], default="soft", optional=True, tooltip="soft: the predicted mask. applied: where the module really acts (above the threshold, in squares of 8 pixels)."),
                io.Int.Input("seed", default=0, min=0, max=0xFFFFFFFF, optional=True, advanced=True, tooltip="Seed of the added noise."),
            ],
            outputs=[io.Mask.Output(display_name="mask", tooltip="The shadow mask, one per picture of the latent.")],
        )

    @classmethod
    def execute(cls, model, positive, latent, timestep, view="soft", seed=0):
        shadow, managed = shadow_of(model, timestep)
        masks: dict[int, torch.Tensor] = {}
        one_call(install(model, shadow.probe(masks), managed, channels=True), positive, latent["samples"], timestep, seed)
        soft = torch.stack([masks[i] for i in sorted(masks)]).float().cpu()  # (B,1,H,W)
        if view == "applied":
            small = hard_mask(soft, (soft.shape[-2] // 8, soft.shape[-1] // 8), shadow.threshold)
            soft = torch.nn.functional.interpolate(small, scale_factor=8, mode="nearest")
        return io.NodeOutput(soft[:, 0], ui=ui.PreviewMask(soft[:, 0], cls=cls))


def shadow_of(model, timestep: int):
    """The shadow module that a MODEL carries, and its patchers.

    Raises:
        ValueError: it carries none, or none that acts at that timestep.
    """
    found = attachment(model, "shadow")
    if found is None:
        raise ValueError("This MODEL has no shadow module; connect the model that comes out of the node Shadow Module.")
    if timestep >= found[0].max_timestep:
        raise ValueError(f"The timestep is {timestep}, and the Shadow Module acts only below {found[0].max_timestep:g}; choose a smaller timestep.")
    return found


NODES = [JewelryConditioning, JewelryEncoder, ShadowModule, ShadowMask]
