"""The chain no paper has: the garment that A wears, taken off, put on B, and a necklace to go with it."""

from __future__ import annotations

from ..graph import Graph, Node, Output
from .common import HEIGHT, INPAINTING, WIDTH, base, demo_method

NOTE = (
    "**From one person to another.** IGR restores the flat picture of what A wears; SIFT-VTON puts it on B; PM-Jewelry adds a necklace. "
    "Every step's picture is saved, so a step that goes wrong is seen where it happens. All three have small demo weights here."
)
PICTURES = (
    "**Pictures.** A: paint the garment (right click, Open in Mask Editor). B: paint where it shall go; the DensePose picture is B's own."
)
NECKLACE = (
    "**Necklace.** Two points, as shares of the picture: where the chain meets the neck on both sides. The length is that of the necklace as sold; "
    "mm_per_px is 63 divided by the pixels between the pupils, or comes from a pose or face node."
)


def _method(g: Graph, model: Output, kind: str, title: str) -> Node:
    return demo_method(g, kind, title, model, kind, "Models")


def _ddim(g: Graph, name: str, group: str, model: Output, positive: Output, negative: Output, latent: Output, vae: Output, steps: int, cfg: float) -> Node:
    run = g.node(f"sample_{name}", "KSampler", group=group, model=model, positive=positive, negative=negative, latent_image=latent, seed=1, steps=steps,
                 cfg=cfg, sampler_name="ddim", scheduler="ddim_uniform", denoise=1.0)
    g.param(f"{name}_steps", run, "steps", f"Sampling steps of the {name} step.")
    return g.node(f"decode_{name}", "VAEDecode", group=group, samples=run[0], vae=vae)


def _save(g: Graph, name: str, group: str, title: str, image: Output) -> None:
    g.node(f"result_{name}", "SaveImage", group=group, title=title, images=image, filename_prefix=f"fitting_room/outfit_transfer_{name}")


def _plms(g: Graph, name: str, group: str, model: Output, positive: Output, negative: Output, latent: Output, vae: Output, cfg: float) -> Node:
    plms = g.node(f"plms_{name}", "FittingRoomPLMS", group=group, model=model, steps=50)
    run = g.node(f"sample_{name}", "SamplerCustom", group=group, model=model, add_noise=True, noise_seed=1, cfg=cfg, positive=positive, negative=negative,
                 sampler=plms[0], sigmas=plms[1], latent_image=latent)
    g.param(f"{name}_steps", plms, "steps", f"Sampling steps of the {name} step.")
    return g.node(f"decode_{name}", "VAEDecode", group=group, samples=run[0], vae=vae)


def _take_off(g: Graph, stack: Node, vision: Node, wearer: Node) -> Node:
    """Person A -> the flat picture of the garment."""
    group, method = "1. Take off (IGR)", _method(g, stack["MODEL"], "igr", "IGR")
    seen = g.node("garmnet", "FittingRoomGarmNetExtractor", group=group, method=method[0], vae=stack["VAE"], image=wearer[0], mask=wearer[1], category="upper",
                  clip=stack["CLIP"], width=WIDTH, height=HEIGHT)
    tokens = g.node("garment_tokens", "FittingRoomEncodeGarmentTokens", group=group, method=method[0], clip_vision=vision[0], image=wearer[0], mask=wearer[1])
    model = g.node("restore", "FittingRoomApplyIGR", group=group, model=stack["MODEL"], method=method[0], reference=seen[0], tokens=tokens[0], strength=1.0,
                   token_strength=1.0)
    yes = g.node("category", "FittingRoomCategoryPrompt", group=group, clip=stack["CLIP"], category="upper", method=method[0])
    no = g.node("empty", "CLIPTextEncode", group=group, title="Negative prompt (empty)", clip=stack["CLIP"], text="")
    latent = g.node("latent", "EmptyLatentImage", group=group, width=WIDTH, height=HEIGHT, batch_size=1)
    garment = _ddim(g, "take_off", group, model[0], yes[0], no[0], latent[0], stack["VAE"], 25, 1.5)
    _save(g, "garment", group, "The garment of A", garment[0])
    return garment


def _put_on(g: Graph, wide: Node, vision: Node, person: Node, pose: Node, garment: Node) -> Node:
    """The flat picture, on person B."""
    group, method = "2. Put on (SIFT-VTON)", _method(g, wide["MODEL"], "sift_vton", "SIFT-VTON")
    token = g.node("token", "FittingRoomEncodeGarmentToken", group=group, method=method[0], clip_vision=vision[0], image=garment[0])
    given = g.node("given", "FittingRoomTryOnConditioning", group=group, positive=token[0], negative=token[1], vae=wide["VAE"], person=person[0],
                   mask=person[1], pose=pose[0])
    own = g.node("put_on_model", "FittingRoomMethodModel", group=group, title="Its own denoiser, if it brings one", method=method[0], model=wide["MODEL"])
    model = g.node("fitted", "FittingRoomApplySiftVton", group=group, model=own[0], method=method[0], vae=wide["VAE"], garment=garment[0], strength=1.0)
    picture = _plms(g, "put_on", group, model[0], given[0], given[1], given[2], wide["VAE"], 1.5)
    back = g.node("dressed", "FittingRoomCompositeBack", group=group, source=person[0], result=picture[0], mask=person[1], feather=4)
    _save(g, "dressed", group, "B in A's garment", back[0])
    return back


def _adorn(g: Graph, wide: Node, dressed: Node, depth_picture: Node, jewelry: Node) -> None:
    """A necklace on top, with its shadow."""
    group, method = "3. Adorn (PM-Jewelry): where", _method(g, wide["MODEL"], "pm_jewelry", "PM-Jewelry")
    g.note(group, NECKLACE)
    place = g.node("place", "FittingRoomJewelryPlacement", group=group, image=dressed[0], type="necklace", points="0.42, 0.27; 0.58, 0.27", length_mm=450.0,
                   mm_per_px=10.4)
    depth = g.node("depth", "FittingRoomDepth", group=group, image=dressed[0], source="picture", convention="near_bright", normalise=True,
                   depth=depth_picture[0])
    saliency = g.node("saliency", "FittingRoomSaliency", group=group, image=dressed[0], source="spectral_residual")
    group = "3. Adorn: paint"
    yes = g.node("jewelry_prompt", "CLIPTextEncode", group=group, title="Prompt", clip=wide["CLIP"], text="a person wearing a gold necklace")
    no = g.node("jewelry_negative", "CLIPTextEncode", group=group, title="Negative prompt", clip=wide["CLIP"], text="blurry")
    given = g.node("jewelry_given", "FittingRoomJewelryConditioning", group=group, positive=yes[0], negative=no[0], vae=wide["VAE"], image=dressed[0],
                   mask=place[0], depth=depth[0], saliency=saliency[0])
    encoded = g.node("jewelry_encoder", "FittingRoomJewelryEncoder", group=group, model=wide["MODEL"], method=method[0], vae=wide["VAE"], jewelry=jewelry[0],
                     strength=1.0)
    shadowed = g.node("shadow", "FittingRoomShadowModule", group=group, model=encoded[0], method=method[0], strength=1.0)
    picture = _plms(g, "adorn", group, shadowed[0], given[0], given[1], given[2], wide["VAE"], 5.0)
    back = g.node("adorned", "FittingRoomCompositeBack", group=group, source=dressed[0], result=picture[0], mask=place[0], feather=0)
    _save(g, "adorned", group, "Result", back[0])
    g.param("points", place, "points", "Where the chain meets the neck: two points, pixels or shares of the picture.")
    g.param("length_mm", place, "length_mm", "Length of the necklace as sold, in millimetres.")


def outfit_transfer(info: dict) -> Graph:
    """Photo of A -> IGR -> product picture -> SIFT-VTON on B -> PM-Jewelry."""
    g = Graph("outfit_transfer", info, "What A wears, on B: the garment is taken off (IGR), put on (SIFT-VTON), and a necklace goes with it (PM-Jewelry).")
    stack = base(g)
    wide = g.node("wide", "FittingRoomDemoModel", group="Models", title="Inpainting model", form=INPAINTING)
    vision = g.node("vision", "FittingRoomDemoVision", group="Models", title="Image encoder (real files name theirs)", kind="clip")
    g.note("Pictures", f"{NOTE}\n\n{PICTURES}")
    wearer = g.picture("wearer_image", "person wearing upper garment", file="wearer.png", title="Person A (wears the garment)", group="Pictures", width=WIDTH, height=HEIGHT, seed=3,
                       meaning="Person A, with the garment as transparency.")
    person = g.picture("person_image", "person", file="person.png", title="Person B (gets it)", group="Pictures", width=WIDTH, height=HEIGHT, seed=1,
                       meaning="Person B, with the region for the garment as transparency.")
    pose = g.picture("pose_image", "densepose", file="densepose.png", title="DensePose picture of B", group="Pictures", width=WIDTH, height=HEIGHT, seed=1,
                     meaning="The DensePose picture of person B, of the same size.")
    depth = g.picture("depth_image", "person", file="depth.png", title="Depth picture of B", group="Pictures", width=WIDTH, height=HEIGHT, seed=1, output=2,
                      meaning="The depth of person B, grey, near = bright.")
    jewelry = g.picture("jewelry_image", "necklace", file="necklace.png", title="Necklace", group="Pictures", width=WIDTH, height=HEIGHT, seed=1, meaning="The necklace on a plain background.")
    garment = _take_off(g, stack, vision, wearer)
    dressed = _put_on(g, wide, vision, person, pose, garment)
    _adorn(g, wide, dressed, depth, jewelry)
    return g


WORKFLOWS = [outfit_transfer]
