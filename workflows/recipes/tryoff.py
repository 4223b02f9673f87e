"""IGR: the flat product picture of a garment, from a photo of a person who wears it."""

from __future__ import annotations

from ..graph import Graph, Node
from .common import HEIGHT, WIDTH, base, demo_method, sample

GARMENTS = {"upper": "shirt, jacket or other top", "lower": "trousers or skirt", "full": "dress or jumpsuit"}
WORN = {"upper": "person wearing upper garment", "lower": "person wearing lower garment", "full": "person wearing dress"}
GUIDANCE = (1.0, 1.5, 2.0, 2.5, 3.0)
METHOD_NOTE = (
    "**IGR.** No weights of IGR are public: these are small demo weights. Put **Load Fitting Method** here for a file of your own; "
    "**Method Model** then gives the denoiser that the file brings along. An IP-Adapter in models/ipadapter joins with **Load Garment Adapter**."
)
PERSON_NOTE = (
    "**Person.** Paint the garment (right click, Open in Mask Editor); the mask need not be exact. GarmNet looks at the whole person once, then leaves "
    "video memory; the cut-out garment goes to CLIP as tokens. Both are cached: another seed or guidance costs nothing here."
)
SIZE_NOTE = (
    "**Sample.** The paper restores 768 x 1024 with ddim, 25 steps, guidance 1.5. The demo weights know 96 x 128: "
    "set width and height here, and in GarmNet Extractor, to 768 and 1024 for real weights. The two sizes need not agree."
)


def _restore(g: Graph, category: str) -> tuple[Node, Node, Node, Node, Node]:
    """Everything up to the sampler: (stack, patched model, positive, negative, latent)."""
    stack = base(g)
    vision = g.node("vision", "FittingRoomDemoVision", group="Models", title="Image encoder (CLIP ViT-H for real files)", kind="clip")
    g.note("Method", METHOD_NOTE)
    method = demo_method(g, "igr", "IGR", stack["MODEL"])
    model = g.node("denoiser", "FittingRoomMethodModel", group="Method", method=method[0], model=stack["MODEL"])
    g.note("Person", PERSON_NOTE)
    person = g.picture("person_image", WORN[category], file="person.png", title="Person", group="Person", width=WIDTH, height=HEIGHT,
                       meaning=f"The person who wears the garment ({GARMENTS[category]}), with the garment as transparency.")
    seen = g.node("garmnet", "FittingRoomGarmNetExtractor", group="Person", method=method[0], vae=stack["VAE"], image=person[0], mask=person[1],
                  category=category, clip=stack["CLIP"], width=WIDTH, height=HEIGHT)
    tokens = g.node("tokens", "FittingRoomEncodeGarmentTokens", group="Person", method=method[0], clip_vision=vision[0], image=person[0], mask=person[1])
    fitted = g.node("restore", "FittingRoomApplyIGR", group="Restore", model=model[0], method=method[0], reference=seen[0], tokens=tokens[0], strength=1.0,
                    token_strength=1.0)
    yes = g.node("positive", "FittingRoomCategoryPrompt", group="Restore", clip=stack["CLIP"], category=category, method=method[0])
    no = g.node("negative", "CLIPTextEncode", group="Restore", title="Negative prompt (empty)", clip=stack["CLIP"], text="")
    g.note("Sample", SIZE_NOTE)
    latent = g.node("latent", "EmptyLatentImage", group="Sample", width=WIDTH, height=HEIGHT, batch_size=1)
    for node, prefix, where in ((latent, "", "of the restored picture"), (seen, "person_", "at which the person is looked at")):
        for side in ("width", "height"):
            g.param(f"{prefix}{side}", node, side, f"{side.capitalize()} {where}, in pixels.")
    g.param("strength", fitted, "strength", "How strongly GarmNet's features enter; 1 in the paper.")
    g.param("token_strength", fitted, "token_strength", "How strongly the cut-out's tokens enter; 1 in the paper.")
    return stack, fitted, yes, no, latent


def _one(category: str):
    name = f"try_off_{category}"

    def describe(info: dict) -> Graph:
        g = Graph(name, info, f"The flat product picture of a worn garment: {GARMENTS[category]}.")
        stack, fitted, yes, no, latent = _restore(g, category)
        sample(g, fitted[0], yes[0], no[0], latent[0], stack["VAE"], steps=25, cfg=1.5, prefix=f"fitting_room/{name}")
        return g

    return describe


def try_off_guidance(info: dict) -> Graph:
    """The paper's table 3: one garment at five guidance scales, from the same noise."""
    g = Graph("try_off_guidance", info, "One garment restored at guidance 1.0, 1.5, 2.0, 2.5 and 3.0 from the same noise (table 3 of the paper).")
    stack, fitted, yes, no, latent = _restore(g, "upper")
    for scale in GUIDANCE:
        label = f"guidance_{scale:.1f}".replace(".", "_")
        sample(g, fitted[0], yes[0], no[0], latent[0], stack["VAE"], steps=25, cfg=scale, name=label, prefix=f"fitting_room/try_off_{label}",
               group=f"Guidance {scale:.1f}")
    return g


WORKFLOWS = [*(_one(category) for category in GARMENTS), try_off_guidance]
