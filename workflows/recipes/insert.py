"""Diffuse to Choose: any product into any picture, and the comparisons of the paper's tables."""

from __future__ import annotations

import json

from ..graph import Graph, Node, Output
from .common import CFG, HEIGHT, INPAINTING, WIDTH, base, demo_method, sample_note

ENCODER = {"image_width": 64}  # of the demo image encoder
METHOD_NOTE = (
    "**Method.** Small demo weights of Diffuse to Choose. No weights are published; train your own at 512 x 512, then put **Load Fitting Method** here, **Load Checkpoint** with an SD1.5 inpainting model "
    "in place of the demo model, and **Load CLIP Vision** with DINOv2 giant in place of the demo image encoder."
)
PICTURE_NOTE = (
    "**Picture and mask.** Right click, Open in Mask Editor: paint where the product goes. The mask's shape steers the result: longer "
    "sleeves, tucked in or out. Everything outside comes back bit for bit."
)


def _method(g: Graph, stack: Node, id: str = "method", group: str = "Method", title: str = "", **options) -> Node:
    if not options:
        return demo_method(g, "diffuse_to_choose", "Diffuse to Choose", stack["MODEL"], id, group)
    return g.node(id, "FittingRoomNewMethod", group=group, title=title, model=stack["MODEL"], method="diffuse_to_choose", seed=0,
                  options=json.dumps({**ENCODER, **options}))


def _models(g: Graph) -> tuple[Node, Node]:
    stack = base(g, form=INPAINTING)
    vision = g.node("vision", "FittingRoomDemoVision", group="Models", title="Image encoder", kind="dinov2")
    return stack, vision


def _source(g: Graph, kind: str, title: str = "Picture", group: str = "Picture", id: str = "source_image", seed: int = 1) -> Node:
    g.note(group, PICTURE_NOTE)
    return g.picture(id, kind, file=f"{id.removesuffix('_image')}.png", title=title, group=group, width=WIDTH, height=HEIGHT, seed=seed,
                     meaning="The picture the product goes into, with the region to repaint as transparency.")


def _product(g: Graph, kind: str, id: str = "product", group: str = "Product", title: str = "Product", seed: int = 5) -> Node:
    return g.picture(f"{id}_image", kind, file=f"{id}.png", title=title, group=group, width=WIDTH, height=HEIGHT, seed=seed,
                     meaning="The product on a plain background.")


def _tokens(g: Graph, method: Node, vision: Node, product: Node, suffix: str = "", group: str = "Product") -> Node:
    return g.node(f"tokens{suffix}", "FittingRoomEncodeProduct", group=group, method=method["method"], clip_vision=vision[0], image=product[0])


def _hint(g: Graph, product: Node, mask: Output, suffix: str = "", group: str = "Product", source: str = "rgb") -> Node:
    return g.node(f"hint{suffix}", "FittingRoomPlaceHint", group=group, image=product[0], mask=mask, fit="stretch", source=source)


def _condition(g: Graph, stack: Node, tokens: Node, image: Output, mask: Output, suffix: str = "", group: str = "Insert", layout: str = "inpainting") -> Node:
    return g.node(f"inpaint{suffix}", "FittingRoomInpaintConditioning", group=group, positive=tokens["positive"], negative=tokens["negative"],
                  vae=stack["VAE"], image=image, mask=mask, layout=layout)


def _fitted(g: Graph, stack: Node, method: Node, hint: Node, suffix: str = "", group: str = "Insert") -> Output:
    node = g.node(f"film{suffix}", "FittingRoomFiLMHintEncoder", group=group, model=stack["MODEL"], method=method["method"], hint=hint["hint"], strength=1.0)
    g.param(f"strength{suffix}", node, "strength", "How strongly the hint enters; 1 as trained.")
    return node["MODEL"]


def _decode(g: Graph, stack: Node, model: Output, condition: Node, suffix: str = "", group: str = "Insert") -> Node:
    """The paper's sampling (section 4.1, 5.2): DDIM, 40 steps; its guidance is 5, and less for the small demo weights."""
    g.note(group, sample_note("40 steps of DDIM with cfg 5"))
    run = g.node(f"sampler{suffix}", "KSampler", group=group, model=model, positive=condition["positive"], negative=condition["negative"],
                 latent_image=condition["LATENT"], seed=1, steps=40, cfg=CFG, sampler_name="ddim", scheduler="ddim_uniform", denoise=1.0)
    for param, meaning in (("seed", "Another seed gives another picture."), ("steps", "Sampling steps; 40 in the paper."), ("cfg", "Guidance; 5 in the paper.")):
        g.param(f"{param}{suffix}", run, param, meaning)
    return g.node(f"decode{suffix}", "VAEDecode", group=group, samples=run["LATENT"], vae=stack["VAE"])


def _back(g: Graph, image: Output, result: Output, mask: Output, suffix: str = "", group: str = "Insert") -> Output:
    """The rest of the picture comes back bit for bit; without this, the VAE drifts from step to step."""
    return g.node(f"composite{suffix}", "FittingRoomCompositeBack", group=group, source=image, result=result, mask=mask, feather=0)["image"]


def _save(g: Graph, image: Output, suffix: str = "", group: str = "Insert", title: str = "Result") -> None:
    g.node(f"result{suffix}", "SaveImage", group=group, title=title, images=image, filename_prefix=f"fitting_room/{g.name}{suffix}")


def _insert(g: Graph, stack: Node, method: Node, vision: Node, product: Node, image: Output, mask: Output, suffix: str = "", group: str = "Insert",
            product_group: str = "Product", source: str = "rgb", tokens: Node | None = None) -> Output:
    """One product into one picture; the picture with everything outside the mask as it was."""
    hint = _hint(g, product, mask, suffix, product_group, source)
    tokens = tokens or _tokens(g, method, vision, product, suffix, product_group)
    condition = _condition(g, stack, tokens, image, mask, suffix, group)
    result = _decode(g, stack, _fitted(g, stack, method, hint, suffix, group), condition, suffix, group)
    return _back(g, image, result[0], mask, suffix, group)


def _single(name: str, source: str, product: str, description: str):
    def describe(info: dict) -> Graph:
        g = Graph(name, info, description)
        stack, vision = _models(g)
        method = _method(g, stack)
        picture = _source(g, source)
        g.note("Method", METHOD_NOTE)
        _save(g, _insert(g, stack, method, vision, _product(g, product), picture[0], picture[1]))
        return g

    return describe


def insert_accessory(info: dict) -> Graph:
    """A small product: the surroundings of the mask are worked on at full resolution and stitched back."""
    g = Graph("insert_accessory", info, "A small product, painted at full resolution in a crop and stitched back.")
    stack, vision = _models(g)
    method = _method(g, stack)
    picture = _source(g, "person for bag")
    crop = g.node("crop", "FittingRoomCropRegion", group="Picture", image=picture[0], mask=picture[1], context=1.8, size=128)
    g.param("crop_size", crop, "size", "Longer side of the crop in pixels; 512 for weights trained as in the paper.")
    g.param("crop_context", crop, "context", "How much of the surroundings comes along.")
    g.note("Method", METHOD_NOTE)
    product = _product(g, "bag")
    hint, tokens = _hint(g, product, crop["MASK"]), _tokens(g, method, vision, product)
    condition = _condition(g, stack, tokens, crop["IMAGE"], crop["MASK"])
    result = _decode(g, stack, _fitted(g, stack, method, hint), condition)
    whole = g.node("stitch", "FittingRoomStitchRegion", group="Insert", source=picture[0], result=result[0], crop=crop["crop"], mask=picture[1], feather=0)
    _save(g, whole["image"])
    return g


def insert_mask_styles(info: dict) -> Graph:
    """The same garment through three masks: as painted, wider, and boxed (figure 12)."""
    g = Graph("insert_mask_styles", info, "One garment through three mask shapes: the shape decides length, sleeves and fit.")
    stack, vision = _models(g)
    method = _method(g, stack)
    picture = _source(g, "person")
    wide = g.node("wider", "GrowMask", group="Picture", title="Wider mask", mask=picture[1], expand=6, tapered_corners=True)
    box = g.node("boxed", "FittingRoomLargestRectangle", group="Picture", title="Box in the mask", mask=picture[1])
    g.param("wider", wide, "expand", "By how many pixels the second mask is wider.")
    g.note("Method", METHOD_NOTE)
    product = _product(g, "upper garment")
    tokens = _tokens(g, method, vision, product)
    for suffix, title, mask in (("_painted", "As painted", picture[1]), ("_wider", "Wider", wide[0]), ("_boxed", "Boxed", box["MASK"])):
        out = _insert(g, stack, method, vision, product, picture[0], mask, suffix, title, source="rgb", tokens=tokens)
        _save(g, out, suffix, title, title)
    return g


def _steps(name: str, source: str, things: tuple[tuple[str, str, str, int], ...], description: str):
    """One product after another (figures 13 and 14): each result is the next picture.

    things: name, kind of the drawn product, kind and seed of the drawn picture whose mask says where it goes.
    """

    def describe(info: dict) -> Graph:
        g = Graph(name, info, description)
        stack, vision = _models(g)
        method = _method(g, stack)
        g.note("Method", f"{METHOD_NOTE}\n\nEach step's result is the next step's picture; the unmasked pixels are put back each time, or the VAE's errors would pile up.")
        picture = _source(g, source)
        image, mask, last = picture[0], picture[1], len(things)
        for number, (thing, kind, where, seed) in enumerate(things, 1):
            group = f"{number}. {thing.capitalize()}"
            if number > 1:
                mask = g.picture(f"{thing}_mask", where, file=f"{thing}_mask.png", title=f"Where the {thing} goes", group=group, width=WIDTH, height=HEIGHT,
                                 seed=seed, meaning=f"A picture of the same size whose transparency is where the {thing} goes.")[1]
            product = _product(g, kind, thing, group, thing.capitalize())
            image = _insert(g, stack, method, vision, product, image, mask, f"_{thing}", group, group)
            _save(g, image, f"_{thing}", group, "Result" if number == last else f"After the {thing}")
        return g

    return describe


def insert_hint_variants(info: dict) -> Graph:
    """The product itself, its edges, and its edges per channel as hint, side by side (figure 16)."""
    g = Graph("insert_hint_variants", info, "Three hints side by side: the product, its Canny edges, its edges per colour channel.")
    stack, vision = _models(g)
    method = _method(g, stack)
    picture = _source(g, "person")
    g.note("Method", METHOD_NOTE + "\n\nA file is trained with one kind of hint; to compare the kinds fairly, load one file for each.")
    product = _product(g, "upper garment")
    tokens = _tokens(g, method, vision, product)
    for source, title in (("rgb", "The product"), ("canny", "Canny edges"), ("canny_rgb", "Edges per channel")):
        out = _insert(g, stack, method, vision, product, picture[0], picture[1], f"_{source}", title, title, source, tokens)
        _save(g, out, f"_{source}", title, title)
    return g


def insert_integrations(info: dict) -> Graph:
    """Direct addition, cross-attention and FiLM, side by side (table 1)."""
    g = Graph("insert_integrations", info, "Three ways the hint can enter, side by side: addition, cross-attention, FiLM.")
    stack, vision = _models(g)
    g.note("Addition", METHOD_NOTE + "\n\nThe three methods have the same tokens and the same replica of the encoder; only the way into the decoder differs.")
    picture = _source(g, "person")
    product = _product(g, "upper garment")
    hint = _hint(g, product, picture[1])
    for kind, title in (("add", "Addition"), ("cross_attention", "Cross-attention"), ("film", "FiLM")):
        method = _method(g, stack, f"method_{kind}", title, f"{title} (untrained start)", integration=kind)
        tokens = _tokens(g, method, vision, product, f"_{kind}", title)
        condition = _condition(g, stack, tokens, picture[0], picture[1], f"_{kind}", title)
        result = _decode(g, stack, _fitted(g, stack, method, hint, f"_{kind}", title), condition, f"_{kind}", title)
        _save(g, _back(g, picture[0], result[0], picture[1], f"_{kind}", title), f"_{kind}", title, title)
    return g


def insert_paint_by_example(info: dict) -> Graph:
    """Paint by Example against Diffuse to Choose: the same picture, mask and product (table 2, figure 9)."""
    g = Graph("insert_paint_by_example", info, "Paint by Example beside Diffuse to Choose: one class token against 257 tokens and a hint.")
    stack, vision = _models(g)
    method = _method(g, stack)
    picture = _source(g, "person")
    g.note("Method", METHOD_NOTE)
    product = _product(g, "upper garment")
    out = _insert(g, stack, method, vision, product, picture[0], picture[1], "_dtc", "Diffuse to Choose")
    _save(g, out, "_dtc", "Diffuse to Choose", "Diffuse to Choose")
    title = "Paint by Example"
    g.note(title, "**Paint by Example.** Put **Load Checkpoint** with its checkpoint in place of the widened demo model (use its MODEL and VAE), **Load Fitting Method** with the "
           "file that **Convert Weights** makes of it in place of the untrained tokens, and **Load CLIP Vision** with CLIP ViT-L/14. Its channels have another order and polarity: keep the layout.")
    plain = g.node("pbe_base", "FittingRoomDemoModel", group=title, title="4-channel model")
    wide = g.node("pbe_model", "FittingRoomWidenModel", group=title, title="9-channel model", model=plain["MODEL"], channels=9)
    eye = g.node("pbe_vision", "FittingRoomDemoVision", group=title, title="CLIP ViT-L", kind="clip")
    pbe = g.node("pbe_method", "FittingRoomNewMethod", group=title, title="Paint by Example's token (untrained start)", model=stack["MODEL"],
                 method="paint_by_example", seed=0, options=json.dumps(ENCODER))
    tokens = _tokens(g, pbe, eye, product, "_pbe", title)
    condition = _condition(g, stack, tokens, picture[0], picture[1], "_pbe", title, layout="paint_by_example")
    result = _decode(g, stack, wide["MODEL"], condition, "_pbe", title)
    _save(g, _back(g, picture[0], result[0], picture[1], "_pbe", title), "_pbe", title, title)
    return g


WORKFLOWS = [
    _single("insert_garment", "person", "upper garment", "A garment into a photo of a person."),
    _single("insert_furniture", "room", "armchair", "A piece of furniture into a room."),
    insert_accessory,
    insert_mask_styles,
    _steps("insert_room_step_by_step", "room", (("sofa", "sofa", "room", 1), ("lamp", "lamp", "room", 2), ("plant", "plant", "room", 3)),
           "Furnish an empty room, one product after the other."),
    _steps("insert_outfit_step_by_step", "person",
           (("top", "upper garment", "person", 1), ("trousers", "lower garment", "person for lower garment", 1), ("bag", "bag", "person for bag", 1)),
           "Try a combination of products on one person, one after the other."),
    insert_hint_variants,
    insert_integrations,
    insert_paint_by_example,
]
