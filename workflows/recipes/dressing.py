"""AnyDressing: a prompt and one, two or three garments."""

from __future__ import annotations

from ..graph import Graph
from .common import CFG, HEIGHT, WIDTH, base, demo_method, prompts, sample, sample_note

SLOTS = {"upper": "upper garment", "lower": "lower garment", "hat": "hat"}
PAPER = "30 steps of DDIM with cfg 6"
SIZE_NOTE = (
    "**Garments.** One node per garment; each is looked at once and cached, so a new prompt or seed costs nothing here. "
    "Order and size do not matter. The paper works at 576 x 768; the small demo model at 96 x 128."
)


def _garments(g: Graph, stack, method, slots) -> list:
    g.note("Garments", SIZE_NOTE)
    out = []
    for slot in slots:
        picture = g.picture(f"{slot}_image", SLOTS[slot], file=f"{slot}.png", title=f"{slot.capitalize()} garment", group="Garments",
                            meaning=f"The {slot} garment on a plain background.", width=WIDTH, height=HEIGHT)
        encoded = g.node(f"encode_{slot}", "FittingRoomEncodeGarment", group="Garments", title=f"Encode {slot} garment", method=method["method"],
                         model=stack["MODEL"], vae=stack["VAE"], image=picture[0], slot=slot, width=WIDTH, height=HEIGHT)
        out.append(encoded["garment"])
    return out


def _dress(g: Graph, slots, prompt: str, patch=lambda g, stack: stack["MODEL"]) -> tuple:
    stack = base(g)
    method = demo_method(g, "anydressing", "AnyDressing", stack["MODEL"], group="Models")
    garments = _garments(g, stack, method, slots)
    yes, no = prompts(g, stack["CLIP"], prompt, "blurry, deformed")
    dressed = g.node("dress", "FittingRoomApplyAnyDressing", group="Dress", model=patch(g, stack), method=method["method"], garments=garments, strength=0.7)
    g.param("strength", dressed, "strength", "How strongly the garments enter; 0.7 in the paper.")
    return stack, dressed, yes, no


def _whole(name: str, slots, prompt: str, description: str):
    def describe(info: dict) -> Graph:
        g = Graph(name, info, description)
        stack, dressed, yes, no = _dress(g, slots, prompt)
        latent = g.node("latent", "EmptyLatentImage", group="Sample", width=WIDTH, height=HEIGHT, batch_size=1)
        sample(g, dressed["MODEL"], yes[0], no[0], latent[0], stack["VAE"], steps=30, cfg=CFG, paper=PAPER, prefix=f"fitting_room/{name}")
        return g

    return describe


def dress_with_controlnet(info: dict) -> Graph:
    """Two garments, and a pose from a ControlNet."""
    g = Graph("dress_with_controlnet", info, "Two garments on a person whose pose comes from a ControlNet.")
    stack, dressed, yes, no = _dress(g, ("upper", "lower"), "a person in a top and trousers in a park")
    g.note("Pose", "**Pose.** Any SD1.5 ControlNet works beside AnyDressing. The small demo ControlNet is untrained and goes only with the demo model; put **Load ControlNet Model** in its place.")
    pose = g.picture("pose_image", "pose", file="pose.png", title="Pose picture", group="Pose", meaning="What the ControlNet reads: a pose, edges or depth.",
                     width=WIDTH, height=HEIGHT)
    net = g.node("controlnet", "FittingRoomDemoControlNet", group="Pose", model=stack["MODEL"])
    applied = g.node("apply_controlnet", "ControlNetApplyAdvanced", group="Pose", positive=yes[0], negative=no[0], control_net=net[0], image=pose[0],
                     strength=0.8, start_percent=0.0, end_percent=1.0)
    latent = g.node("latent", "EmptyLatentImage", group="Sample", width=WIDTH, height=HEIGHT, batch_size=1)
    sample(g, dressed["MODEL"], applied[0], applied[1], latent[0], stack["VAE"], steps=30, cfg=CFG, paper=PAPER, prefix="fitting_room/dress_with_controlnet")
    return g


def dress_with_style_lora(info: dict) -> Graph:
    """Two garments, and a style LoRA on the model that is sampled (not on the one that looks at the garments)."""
    g = Graph("dress_with_style_lora", info, "Two garments in the style of a LoRA.")

    def styled(g: Graph, stack):
        g.note("Style", "**Style.** The LoRA goes on the model that is sampled, not on the one that looks at the garments. The demo LoRA is random; put **Load LoRA (Model only)** in its place.")
        lora = g.node("style", "FittingRoomDemoLora", group="Style", model=stack["MODEL"], strength=0.8)
        g.param("style_strength", lora, "strength", "How strongly the style enters.")
        return lora["MODEL"]

    stack, dressed, yes, no = _dress(g, ("upper", "lower"), "a person in a top and trousers in a studio", styled)
    latent = g.node("latent", "EmptyLatentImage", group="Sample", width=WIDTH, height=HEIGHT, batch_size=1)
    sample(g, dressed["MODEL"], yes[0], no[0], latent[0], stack["VAE"], steps=30, cfg=CFG, paper=PAPER, prefix="fitting_room/dress_with_style_lora")
    return g


def dress_given_person(info: dict) -> Graph:
    """Inpainting: the person is given, the garments replace what the mask covers."""
    g = Graph("dress_given_person", info, "Dress a given person: everything outside the mask stays as it is, bit for bit.")
    stack, dressed, yes, no = _dress(g, ("upper",), "a person in a top and blue trousers in a park")
    g.note("Person", "**Person.** Paint what may change (right click, Open in Mask Editor). What lies outside is put back at the end, bit for bit.")
    person = g.picture("person_image", "person", file="person.png", title="Person", group="Person", width=WIDTH, height=HEIGHT,
                       meaning="The person, with the region to repaint as transparency.")
    latent = g.node("encode_person", "VAEEncode", group="Person", pixels=person[0], vae=stack["VAE"])
    masked = g.node("masked", "SetLatentNoiseMask", group="Person", samples=latent[0], mask=person[1])
    g.note("Sample", sample_note(PAPER))
    run = g.node("sampler", "KSampler", group="Sample", model=dressed["MODEL"], positive=yes[0], negative=no[0], latent_image=masked[0], seed=1, steps=30, cfg=CFG,
                 sampler_name="ddim", scheduler="ddim_uniform", denoise=1.0)
    picture = g.node("decode", "VAEDecode", group="Sample", samples=run[0], vae=stack["VAE"])
    back = g.node("composite", "FittingRoomCompositeBack", group="Sample", source=person[0], result=picture[0], mask=person[1], feather=0)
    g.node("result", "SaveImage", group="Sample", title="Result", images=back[0], filename_prefix="fitting_room/dress_given_person")
    for param, meaning in (("seed", "Another seed gives another picture."), ("steps", "Sampling steps."), ("cfg", "Guidance.")):
        g.param(param, run, param, meaning)
    return g


WORKFLOWS = [
    _whole("dress_one_garment", ("upper",), "a person in a top and blue trousers in a park", "A new person, from a prompt, who wears one given garment."),
    _whole("dress_two_garments", ("upper", "lower"), "a person in a top and clothes in a street", "A new person, from a prompt, who wears two given garments."),
    _whole("dress_three_garments", ("upper", "lower", "hat"), "a person in a top, clothes and a hat at the beach", "A new person, from a prompt, who wears three given garments."),
    dress_with_controlnet,
    dress_with_style_lora,
    dress_given_person,
]
