"""SIFT-VTON and StableVITON: a given garment on a given person."""

from __future__ import annotations

from ..graph import Graph, Node
from .common import HEIGHT, INPAINTING, WIDTH, base, demo_method

METHOD_NOTE = (
    "**SIFT-VTON.** Small demo weights. The authors' weights (CC BY-NC-SA 4.0) come in with **Convert Weights**: "
    "then put **Load Fitting Method** here, **Load Checkpoint** with the converted -unet-vae file in place of the model, and "
    "**Load CLIP Vision** with the -clip-vision file."
)
WIDE_NOTE = (
    "**13 channels.** The authors' converted checkpoint takes the person's channels natively. The demo model has the 9 of an inpainting checkpoint; the others are "
    "added beside its input."
)
PERSON_NOTE = (
    "**Person.** Paint where the new garment goes (right click, Open in Mask Editor), or make the mask with **Agnostic Mask**. The DensePose "
    "picture must come from this person and have the same size; 384 x 512 is what the released weights were trained at."
)
SAMPLE_NOTE = "**Sample.** PLMS with 50 steps and cfg 1.5 is the paper's setting for SIFT-VTON; StableVITON's own is cfg 1. What lies outside the mask is put back."


def _dress(g: Graph, released: bool) -> tuple[Node, Node, Node, Node, Node]:
    """Everything up to the sampler: (stack, fitted model, conditioning and latent, person, garment)."""
    stack = base(g, form=INPAINTING)
    model = stack["MODEL"]
    if released:
        g.note("Models", WIDE_NOTE)
    vision = g.node("vision", "FittingRoomDemoVision", group="Models", title="Image encoder (CLIP ViT-L for real files)", kind="clip")
    g.note("Method", METHOD_NOTE)
    method = demo_method(g, "sift_vton", "SIFT-VTON", model)
    model = g.node("denoiser", "FittingRoomMethodModel", group="Method", title="Its own denoiser, if it brings one", method=method[0], model=model)[0]
    garment = g.picture("garment_image", "upper garment", file="garment.png", title="Garment", group="Method", width=WIDTH, height=HEIGHT,
                        meaning="The garment on a plain background; it is fitted into the picture's size, never stretched.")
    fitted = g.node("fitted", "FittingRoomApplySiftVton", group="Method", model=model, method=method[0], vae=stack["VAE"], garment=garment[0],
                    strength=1.0, start_percent=0.0, end_percent=1.0)
    token = g.node("token", "FittingRoomEncodeGarmentToken", group="Method", method=method[0], clip_vision=vision[0], image=garment[0])
    g.note("Person", PERSON_NOTE)
    person = g.picture("person_image", "person", file="person.png", title="Person", group="Person", width=WIDTH, height=HEIGHT,
                       meaning="The person to dress, with the region for the new garment as transparency; 384 x 512 for the released weights.")
    pose = g.picture("pose_image", "densepose", file="densepose.png", title="DensePose picture", group="Person", width=WIDTH, height=HEIGHT,
                     meaning="The DensePose picture of this person, of the same size.")
    given = g.node("given", "FittingRoomTryOnConditioning", group="Person", positive=token[0], negative=token[1], vae=stack["VAE"], person=person[0],
                   mask=person[1], pose=pose[0])
    g.param("strength", fitted, "strength", "How strongly the garment enters; 0 leaves the model as it was.")
    g.param("start", given, "start", "What the sampling starts from: agnostic (as SIFT-VTON), person (as StableVITON), noise.")
    return stack, fitted, given, person, garment


def _sample(g: Graph, stack: Node, fitted: Node, given: Node, person: Node, name: str) -> tuple[Node, Node]:
    """PLMS, decode, put back what lies outside the mask, save; (sampler node, picture node)."""
    g.note("Sample", SAMPLE_NOTE)
    plms = g.node("plms", "FittingRoomPLMS", group="Sample", model=fitted[0], steps=50)
    run = g.node("sampler", "SamplerCustom", group="Sample", model=fitted[0], add_noise=True, noise_seed=1, cfg=1.5, positive=given[0],
                 negative=given[1], sampler=plms[0], sigmas=plms[1], latent_image=given[2])
    picture = g.node("decode", "VAEDecode", group="Sample", samples=run[0], vae=stack["VAE"])
    back = g.node("composite", "FittingRoomCompositeBack", group="Sample", source=person[0], result=picture[0], mask=person[1], feather=4)
    g.node("result", "SaveImage", group="Sample", title="Result", images=back[0], filename_prefix=f"fitting_room/{name}")
    g.param("seed", run, "noise_seed", "Another seed gives another picture.")
    g.param("steps", plms, "steps", "Sampling steps, 50 in the paper.")
    g.param("cfg", run, "cfg", "Guidance, 1.5 in the paper; StableVITON samples with 1.")
    return run, picture


def try_on(info: dict) -> Graph:
    """The released setting: a 13-channel checkpoint, PLMS 50."""
    g = Graph("try_on", info, "A given person in a given garment, with StableVITON's or SIFT-VTON's own 13-channel checkpoint and PLMS.")
    stack, fitted, given, person, _ = _dress(g, released=True)
    _sample(g, stack, fitted, given, person, "try_on")
    return g


def try_on_any_sd15(info: dict) -> Graph:
    """Any SD1.5: the person's channels come in by an added convolution."""
    g = Graph("try_on_any_sd15", info, "A given person in a given garment from any 4- or 9-channel SD1.5, the person's channels added beside its input.")
    stack, fitted, given, person, _ = _dress(g, released=False)
    _sample(g, stack, fitted, given, person, "try_on_any_sd15")
    return g


def try_on_attention(info: dict) -> Graph:
    """Figure 4: where on the garment do points of the finished picture look?"""
    g = Graph("try_on_attention", info, "Try-on, then attention maps: where on the garment chosen or SIFT-matched points of the result look (figure 4).")
    stack, fitted, given, person, garment = _dress(g, released=True)
    run, picture = _sample(g, stack, fitted, given, person, "try_on_attention")
    g.note("Attention", "**Attention.** Points are pixels of the result. Where SIFT finds matches between result and garment, those are asked instead, and "
           "the table says how much of each point's attention lies near its match.")
    matches = g.node("matches", "FittingRoomSiftMatches", group="Attention", garment=garment[0], person=picture[0])
    maps = g.node("attention", "FittingRoomAttentionMap", group="Attention", model=fitted[0], positive=given[0], latent=run[0], garment=garment[0],
                  points="48,60; 42,72", matches=matches[0], person=picture[0], steps=5)
    g.node("maps", "SaveImage", group="Attention", title="Attention maps", images=maps[0], filename_prefix="fitting_room/try_on_attention_maps")
    g.node("table", "PreviewAny", group="Attention", title="How concentrated", source=maps[1])
    g.param("points", maps, "points", "Points to ask, in pixels of the result, such as '120,80; 300,90'.")
    g.param("radius", maps, "radius", "Radius in pixels within which attention counts as concentrated.")
    return g


WORKFLOWS = [try_on, try_on_any_sd15, try_on_attention]
