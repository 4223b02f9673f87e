"""AnyDressing as nodes: encode each garment once, then apply all of them to a model."""

from __future__ import annotations

from ..host import capture, check_fits, encode_latent, install, io, latent_size
from ..models.parts.reference import Reference as Captured
from ..models.parts.reference import check_method
from ..models.weights import WeightsError
from ..preprocess.letterbox import cut_out, flatten_alpha, letterbox
from .sockets import Method, Reference, check_range, check_sides, percent_inputs

MAX_GARMENTS = 16


def require(method, kind: str | tuple[str, ...], label: str):
    """The method, if it is of the wanted kind (or of one of them).

    Raises:
        WeightsError: says what came.
    """
    if method.module.kind not in ((kind,) if isinstance(kind, str) else kind):
        raise WeightsError(f"This is a method of {method.module.label}, and {label} is needed here; load a file of {label}.")
    return method


def slots_of(text: str, pictures: int) -> list[str]:
    """Slot names from "upper" or "upper, lower"; several slots name the pictures of a batch one by one.

    Raises:
        ValueError: several slots, and another number of pictures.
    """
    slots = [s.strip().lower() for s in text.split(",") if s.strip()]
    if not slots:
        raise ValueError("The slot is empty; write what the picture shows, such as upper, lower or hat.")
    if len(slots) > 1 and len(slots) != pictures:
        raise ValueError(f"There are {len(slots)} slots ({', '.join(slots)}) for {pictures} pictures; give one slot, or one per picture.")
    return slots


def encode(method, model, vae, image, slots, clip_vision=None) -> list[Captured]:
    """Capture garments in one pass: one `Reference` per slot, or one for the whole batch if there is one slot."""
    rows = slots if len(slots) > 1 else slots * image.shape[0]
    lora = method.module.garment_lora(rows)
    base = method.unets.get("garment_unet", model)
    tokens = None
    if method.module.config.cross_attention == "image_tokens":
        if clip_vision is None:
            raise ValueError("This file's garment net looks at image tokens; connect a CLIP vision model (ViT-H) to clip_vision.")
        tokens = image_tokens(method, clip_vision, image)
    features = capture(base, encode_latent(vae, image), tokens, lora=lora, cross_attention=tokens is not None, also_load=method.managed)
    size = tuple(image.shape[1:3])
    if len(slots) == 1:
        return [Captured("anydressing", slots[0], features, size)]
    return [Captured("anydressing", s, {k: f[i : i + 1] for k, f in features.items()}, size) for i, s in enumerate(slots)]


def image_tokens(method, clip_vision, image):
    """The garment as tokens: hidden states of the image encoder before its last layer, through the file's resampler."""
    from ..host import run_module

    hidden = clip_vision.encode_image(image, crop=False)["penultimate_hidden_states"]
    return run_module(method.patcher, method.module.resampler, hidden)


class EncodeGarment(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="FittingRoomEncodeGarment",
            display_name="GFE LoRA Encoder (Encode Garment)",
            category="Fitting Room/AnyDressing",
            description="Looks at one garment with AnyDressing's garment net (one pass, cross-attention removed, the slot's own LoRA) and keeps its features. "
            "The result is cached: changing the prompt or the seed does not encode again.",
            search_aliases=["anydressing", "try-on", "virtual dressing", "garment encoder", "GFE", "reference unet"],
            inputs=[
                Method.Input("method", tooltip="An AnyDressing method, loaded or new."),
                io.Model.Input("model", tooltip="The SD1.5 model in which the garment is looked at. Best the plain base the method was trained on, without style LoRAs."),
                io.Vae.Input("vae", tooltip="The VAE of an SD1.5 model."),
                io.Image.Input("image", tooltip="The garment on a plain background. Any size; it is fitted into width x height on white, never stretched. A batch is one garment per picture of the latent batch."),
                io.String.Input("slot", default="upper", tooltip="What the garment is: upper, lower, hat, or another slot of the file. Several, separated by commas, name the pictures of a batch one by one and are encoded in one pass."),
                io.Int.Input("width", default=576, min=64, max=2048, step=8, tooltip="Width in pixels at which the garment is looked at. Need not be the picture's size; half the area costs half the time in each step."),
                io.Int.Input("height", default=768, min=64, max=2048, step=8, tooltip="Height in pixels at which the garment is looked at."),
                io.Mask.Input("mask", optional=True, tooltip="Where the garment is (1 = garment); the rest becomes white. Without it the whole picture is used."),
                io.ClipVision.Input("clip_vision", optional=True, tooltip="Only for converted IMAGDressing files: the CLIP ViT-H vision model."),
            ],
            outputs=[Reference.Output(display_name="garment", tooltip="The garment's features, for Apply AnyDressing.")],
        )

    @classmethod
    def validate_inputs(cls, width=None, height=None):
        return check_sides(width, height)

    @classmethod
    def execute(cls, method, model, vae, image, slot, width, height, mask=None, clip_vision=None):
        require(method, "anydressing", "AnyDressing")
        check_fits(model, method)
        latent_size(width, height)
        image = flatten_alpha(image)
        slots = slots_of(slot, image.shape[0])
        picture = letterbox(image if mask is None else cut_out(image, mask), height, width)
        return io.NodeOutput(encode(method, model, vae, picture, slots, clip_vision))


class GarmentStrength(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="FittingRoomGarmentStrength",
            display_name="Garment Strength",
            category="Fitting Room/AnyDressing",
            description="Gives one garment its own strength, without encoding it again. 0 leaves the garment out.",
            search_aliases=["anydressing", "garment weight"],
            inputs=[
                Reference.Input("garment", tooltip="An encoded garment."),
                io.Float.Input("strength", default=1.0, min=0.0, max=4.0, step=0.05, tooltip="Multiplies this garment's part; 1 changes nothing, 0 leaves it out."),
            ],
            outputs=[Reference.Output(display_name="garment", tooltip="The garment with its strength.")],
        )

    @classmethod
    def execute(cls, garment, strength):
        return io.NodeOutput([g.with_strength(strength) for g in garment])


class ApplyAnyDressing(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        garment = Reference.Input("garment", tooltip="An encoded garment.")
        return io.Schema(
            node_id="FittingRoomApplyAnyDressing",
            display_name="Apply AnyDressing",
            category="Fitting Room/AnyDressing",
            description="Dresses whoever the prompt describes in the given garments: a second attention beside every self-attention looks at all garments together. "
            "The result is an ordinary MODEL for any sampler; LoRAs, ControlNets and IP-Adapters go before or after it. Only conditional rows pay for it.",
            search_aliases=["anydressing", "try-on", "vton", "virtual dressing", "wear", "outfit", "multi garment"],
            inputs=[
                io.Model.Input("model", tooltip="The SD1.5 model to dress with; it may carry LoRAs and other patches."),
                Method.Input("method", tooltip="The AnyDressing method the garments were encoded with."),
                io.Autogrow.Input(
                    "garments", template=io.Autogrow.TemplatePrefix(garment, prefix="garment", min=1, max=MAX_GARMENTS),
                    tooltip="Any number of encoded garments, in any order, of any sizes.",
                ),
                io.Float.Input("strength", default=0.7, min=0.0, max=2.0, step=0.05, tooltip="How strongly the garments enter (lambda in the paper, 0.7). 0 leaves the model exactly as it was."),
                *percent_inputs(),
            ],
            outputs=[io.Model.Output(display_name="model", tooltip="The dressed model.")],
        )

    @classmethod
    def validate_inputs(cls, garments=None, start_percent=None, end_percent=None):
        return check_range(start_percent, end_percent)

    @classmethod
    def execute(cls, model, method, garments, strength, start_percent, end_percent):
        require(method, "anydressing", "AnyDressing")
        check_fits(model, method)
        worn = [g for name in sorted(garments, key=lambda n: int(n.removeprefix("garment"))) if garments[name] is not None for g in garments[name]]
        if not worn:
            raise ValueError("No garment is connected to Apply AnyDressing; connect at least one GFE LoRA Encoder.")
        patches = method.module.patches(check_method(worn, "anydressing", "AnyDressing"), strength)
        return io.NodeOutput(install(model, patches, method.managed, start_percent, end_percent))


NODES = [EncodeGarment, GarmentStrength, ApplyAnyDressing]
