"""PM-Jewelry: earrings, a necklace, a ring or a bracelet on a given person, with the maps in between, with and without shadow."""

from __future__ import annotations

from ..graph import Graph, Node, Output
from .common import CFG, HEIGHT, INPAINTING, WIDTH, base, demo_method, prompts

PIECES = {
    "earrings": ("head for earrings", "earrings", "a person wearing gold hoop earrings"),
    "necklace": ("head for necklace", "necklace", "a person wearing a gold necklace"),
    "ring": ("hand for ring", "ring", "a hand wearing a gold ring"),
    "bracelet": ("hand for bracelet", "bracelet", "a hand wearing a gold bracelet"),
}
METHOD_NOTE = (
    "**PM-Jewelry.** No weights of PM-Jewelry are public: these are small demo weights. Train your own, then put "
    "**Load Fitting Method** here. A trained 11-channel checkpoint takes the maps natively; any other SD1.5 gets them added by the Jewelry Encoder."
)
PERSON_NOTE = (
    "**Person.** Paint where the piece goes (right click, Open in Mask Editor), or connect the mask of **Jewelry Placement**. Sides must be multiples of 8; "
    "the paper works at 384 x 512."
)
MAPS_NOTE = (
    "**Maps.** Depth and saliency of the same picture. Make the depth picture with any depth node of the host (Depth Anything, MoGe, Lotus), "
    "grey, and say in convention what its brightness means."
)
SHADOW_NOTE = (
    "**Shadow.** The Shadow Module predicts where the piece's shadow falls and adjusts the noise there below timestep 700. **Shadow Mask** looks at the "
    "finished picture once and shows where that is."
)
SAMPLE_NOTE = "**Sample.** PLMS with 50 steps as in the paper, which names no guidance; the small demo model wants a cfg of about 2. What lies outside the mask is put back, bit for bit."


def _given(g: Graph, piece: str) -> tuple[Node, Node, Node, Node, Node]:
    """Models, person, jewelry and maps: (stack, method, model with the jewelry, conditioning, person)."""
    scene, thing, words = PIECES[piece]
    stack = base(g, form=INPAINTING)
    g.note("Method", METHOD_NOTE)
    method = demo_method(g, "pm_jewelry", "PM-Jewelry", stack["MODEL"])
    g.note("Person", PERSON_NOTE)
    person = g.picture("person_image", scene, file="person.png", title="Person", group="Person", width=WIDTH, height=HEIGHT,
                       meaning="The person (head, neck, hand or wrist), with the region for the piece as transparency.")
    jewelry = g.picture("jewelry_image", thing, file="jewelry.png", title="Jewelry", group="Method", width=WIDTH, height=HEIGHT,
                        meaning="The piece on a plain background.")
    model = g.node("encoder", "FittingRoomJewelryEncoder", group="Method", model=stack["MODEL"], method=method[0], vae=stack["VAE"], jewelry=jewelry[0],
                   strength=1.0, start_percent=0.0, end_percent=1.0)
    g.param("strength", model, "strength", "How strongly the piece enters; 0 leaves the model as it was.")
    depth, saliency = _maps(g, scene, person)
    yes, no = prompts(g, stack["CLIP"], words, "blurry, deformed")
    given = g.node("given", "FittingRoomJewelryConditioning", group="Prompt", positive=yes[0], negative=no[0], vae=stack["VAE"], image=person[0],
                   mask=person[1], depth=depth, saliency=saliency)
    return stack, method, model, given, person


def _maps(g: Graph, scene: str, person: Node) -> tuple[Output, Output]:
    g.note("Maps", MAPS_NOTE)
    picture = g.picture("depth_image", scene, file="depth.png", title="Depth picture", group="Maps", width=WIDTH, height=HEIGHT, output=2,
                        meaning="The depth of the person's picture, grey, near = bright.")
    depth = g.node("depth", "FittingRoomDepth", group="Maps", image=person[0], source="picture", convention="near_bright", normalise=True, depth=picture[0])
    saliency = g.node("saliency", "FittingRoomSaliency", group="Maps", image=person[0], source="spectral_residual")
    return depth[0], saliency[0]


def _intermediate(g: Graph, name: str, person: Node) -> None:
    """Figure 5: depth, saliency, mask and masked picture beside the result."""
    nodes = {n.id: n for n in g.nodes}
    mask = g.node("mask_picture", "MaskToImage", group="Maps beside the result", mask=person[1])
    grey = g.node("grey", "EmptyImage", group="Maps beside the result", title="Grey", width=WIDTH, height=HEIGHT, batch_size=1, color=0x808080)
    masked = g.node("masked_picture", "ImageCompositeMasked", group="Maps beside the result", title="Masked picture", destination=person[0], source=grey[0], x=0, y=0,
                    resize_source=True, mask=person[1])
    shown = {"depth": nodes["depth"][0], "saliency": nodes["saliency"][0], "mask": mask[0], "masked": masked[0]}
    for what, image in shown.items():
        g.node(f"save_{what}", "SaveImage", group="Maps beside the result", title=f"Save {what}", images=image, filename_prefix=f"fitting_room/{name}_{what}")


def _plms(g: Graph, model: Node) -> Node:
    g.note("Sample", SAMPLE_NOTE)
    plms = g.node("plms", "FittingRoomPLMS", group="Sample", model=model[0], steps=50)
    g.param("steps", plms, "steps", "Sampling steps, 50 in the paper.")
    return plms


def _sample(g: Graph, stack: Node, model: Node, plms: Node, given: Node, person: Node, name: str, suffix: str = "") -> Node:
    """Sample, decode, put back what lies outside the mask, save; returns the sampler."""
    run = g.node(f"sampler{suffix}", "SamplerCustom", group="Sample", model=model[0], add_noise=True, noise_seed=1, cfg=CFG, positive=given[0],
                 negative=given[1], sampler=plms[0], sigmas=plms[1], latent_image=given[2])
    picture = g.node(f"decode{suffix}", "VAEDecode", group="Sample", samples=run[0], vae=stack["VAE"])
    back = g.node(f"composite{suffix}", "FittingRoomCompositeBack", group="Sample", source=person[0], result=picture[0], mask=person[1], feather=4)
    title = {"": "Result", "_shadow": "Result with shadow", "_bare": "Result without shadow"}[suffix]
    g.node(f"result{suffix}", "SaveImage", group="Sample", title=title, images=back[0], filename_prefix=f"fitting_room/{name}{suffix}")
    g.param(f"seed{suffix}", run, "noise_seed", "Another seed gives another picture.")
    g.param(f"cfg{suffix}", run, "cfg", "Guidance.")
    return run


def _shadowed(g: Graph, model: Node, method: Node) -> Node:
    g.note("Shadow", SHADOW_NOTE)
    shadow = g.node("shadow", "FittingRoomShadowModule", group="Shadow", model=model[0], method=method[0], strength=1.0, threshold=0.5, max_timestep=700)
    g.param("shadow_strength", shadow, "strength", "How strongly the shadow acts; 0 leaves it out.")
    return shadow


def _show_shadow(g: Graph, shadow: Node, given: Node, run: Node, name: str) -> None:
    seen = g.node("shadow_mask", "FittingRoomShadowMask", group="Shadow mask", model=shadow[0], positive=given[0], latent=run[0], timestep=300)
    picture = g.node("shadow_picture", "MaskToImage", group="Shadow mask", mask=seen[0])
    g.node("save_shadow", "SaveImage", group="Shadow mask", title="Save shadow mask", images=picture[0], filename_prefix=f"fitting_room/{name}_shadow_mask")


def _piece(piece: str):
    name = f"jewelry_{piece}"

    def describe(info: dict) -> Graph:
        g = Graph(name, info, f"A given piece of jewelry ({piece}) on a given person, with depth, saliency, mask and shadow mask saved beside the result.")
        stack, method, model, given, person = _given(g, piece)
        _intermediate(g, name, person)
        shadow = _shadowed(g, model, method)
        run = _sample(g, stack, shadow, _plms(g, shadow), given, person, name)
        _show_shadow(g, shadow, given, run, name)
        return g

    return describe


def jewelry_shadow(info: dict) -> Graph:
    """Figure 6: the same seed with and without the shadow module."""
    g = Graph("jewelry_shadow", info, "A necklace with and without the shadow module, same seed, and the shadow mask.")
    stack, method, model, given, person = _given(g, "necklace")
    shadow = _shadowed(g, model, method)
    plms = _plms(g, shadow)
    run = _sample(g, stack, shadow, plms, given, person, "jewelry", "_shadow")
    _sample(g, stack, model, plms, given, person, "jewelry", "_bare")
    _show_shadow(g, shadow, given, run, "jewelry")
    return g


WORKFLOWS = [*(_piece(piece) for piece in PIECES), jewelry_shadow]
