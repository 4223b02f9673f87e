"""Measuring: a folder of results, two weights files side by side, one method with its parts switched off."""

from __future__ import annotations

from ..graph import Graph, Node, Output
from .common import HEIGHT, WIDTH, base, demo_method, sample

METRICS = "psnr, ssim, clip_vision_similarity"
EXTRA_NOTE = (
    "**Measure.** Needs the extra `eval` (the message gives the command for your Python). LPIPS, DISTS, FID, KID and CLIP scores look through networks of "
    "yours in models/metrics; what is missing is said by name, and nothing is downloaded."
)
FOLDER_NOTE = (
    "**Folders.** This demo writes drawn garments and what the autoencoder alone makes of them, so that it runs at once: no method can be better than that. "
    "For your own results leave out everything but **Evaluate Folder**, and write your two folders into it (below ComfyUI's input or output folder)."
)
TRUTH_NOTE = "**Truth.** The garment's own flat picture, brought to the size of the results: what an ideal restoration would give."
WEIGHTS_NOTE = (
    "**Weights.** The small demo weights and the method as it starts, untrained, stand for two files: put **Load Fitting Method** in the place of each. "
    "Everything else, the noise included, is the same, so what differs comes from the weights."
)
SWEEP_NOTE = (
    "**Sweep.** One method, one noise, its two paths switched on and off: strength 0 takes GarmNet out, token_strength 0 the cut-out's tokens. "
    "Table 2 of the paper trains each row anew; here the same weights run with parts of them silent. `tools/ablation.py` does the former."
)


def _scaled(g: Graph, id: str, image: Output, title: str, group: str) -> Node:
    return g.node(id, "ImageScale", group=group, title=title, image=image, upscale_method="lanczos", width=WIDTH, height=HEIGHT, crop="center")


def _sized(g: Graph, **nodes: Node) -> None:
    for name, node in nodes.items():
        for side in ("width", "height"):
            g.param(f"{name}_{side}", node, side, f"{side.capitalize()} of the {name}, in pixels; the same everywhere.")


def evaluate_folder(info: dict) -> Graph:
    """Folders of truths and results, measured by a paper's protocol."""
    g = Graph("evaluate_folder", info, "Measure a folder of results against a folder of true pictures: metrics, and every file that took no part.")
    stack = base(g)
    vision = g.node("vision", "FittingRoomDemoVision", group="Models", title="Your CLIP vision model", kind="clip")
    g.note("Folders", FOLDER_NOTE)
    scaled = []
    for number, kind in enumerate(("upper garment", "dress"), 1):
        picture = g.picture(f"garment_{number}", kind, file=f"garment_{number}.png", title=f"Garment {number}", group="Folders", meaning="A true picture.", seed=number, width=WIDTH, height=HEIGHT)
        scaled.append(_scaled(g, f"scaled_{number}", picture[0], f"Garment {number} in the results' size", "Folders"))
    true = g.node("true", "ImageBatch", group="Folders", image1=scaled[0][0], image2=scaled[1][0])
    latent = g.node("encode", "VAEEncode", group="Folders", pixels=true[0], vae=stack["VAE"])
    made = g.node("decode", "VAEDecode", group="Folders", samples=latent[0], vae=stack["VAE"])
    names = "garment_1\ngarment_2"
    folders = {
        part: g.node(f"save_{part}", "FittingRoomSaveResults", group="Folders", images=images[0], folder=f"fitting_room/evaluate_folder/{part}", names=names)
        for part, images in (("real", true), ("generated", made))
    }
    g.note("Measure", EXTRA_NOTE)
    found = g.node("evaluate", "FittingRoomEvaluate", group="Measure", real=folders["real"][0], generated=folders["generated"][0], protocol="igr", metrics=f"{METRICS}, clip_vision_kernel",
                   width=WIDTH, height=HEIGHT, clip_vision=vision[0], filename_prefix="fitting_room/evaluate_folder")
    for name, meaning in (("protocol", "Whose evaluation: igr, anydressing, diffuse_to_choose, pm_jewelry or sift_vton."), ("metrics", "Which metrics; empty takes the paper's.")):
        g.param(name, found, name, meaning)
    _sized(g, results=found, garment_1=scaled[0], garment_2=scaled[1])
    g.node("table", "PreviewAny", group="Measure", title="Table", source=found[0])
    g.node("result", "SaveImage", group="Measure", title="Results", images=made[0], filename_prefix="fitting_room/evaluate_folder_results")
    return g


def _scene(g: Graph) -> tuple[Node, Node, Node, Node, Node, Node]:
    """(stack, vision, person, true garment, negative prompt, latent) of a restoration."""
    stack = base(g)
    vision = g.node("vision", "FittingRoomDemoVision", group="Models", title="Image encoder", kind="clip")
    person = g.picture("person_image", "person wearing upper garment", file="person.png", title="Person", group="Pictures",
                       meaning="The person who wears the garment, with the garment as transparency.", width=WIDTH, height=HEIGHT)
    garment = g.picture("garment_image", "upper garment", file="garment.png", title="The garment itself", group="Pictures", meaning="The flat picture of the same garment: the truth.",
                        width=WIDTH, height=HEIGHT)
    g.note("Pictures", TRUTH_NOTE)
    true = _scaled(g, "true", garment[0], "Truth in the results' size", "Pictures")
    no = g.node("negative", "CLIPTextEncode", group="Pictures", title="Negative prompt (empty)", clip=stack["CLIP"], text="")
    latent = g.node("latent", "EmptyLatentImage", group="Pictures", width=WIDTH, height=HEIGHT, batch_size=1)
    _sized(g, truth=true, result=latent)
    return stack, vision, person, true, no, latent


def _untrained(g: Graph, id: str, title: str, stack: Node, group: str) -> Node:
    return g.node(id, "FittingRoomNewMethod", group=group, title=title, model=stack["MODEL"], method="igr", seed=0, options='{"clip_width": 64}')


def _read(g: Graph, method: Node, stack: Node, vision: Node, person: Node, group: str, suffix: str = "") -> tuple[Node, Node, Node]:
    """(reference, tokens, prompt) of a method."""
    seen = g.node(f"garmnet{suffix}", "FittingRoomGarmNetExtractor", group=group, method=method[0], vae=stack["VAE"], image=person[0], mask=person[1], category="upper",
                  clip=stack["CLIP"], width=WIDTH, height=HEIGHT)
    tokens = g.node(f"tokens{suffix}", "FittingRoomEncodeGarmentTokens", group=group, method=method[0], clip_vision=vision[0], image=person[0], mask=person[1])
    prompt = g.node(f"positive{suffix}", "FittingRoomCategoryPrompt", group=group, clip=stack["CLIP"], category="upper", method=method[0])
    _sized(g, **{f"person{suffix}": seen})
    return seen, tokens, prompt


def _measure(g: Graph, label: str, title: str, true: Node, picture: Node, vision: Node) -> None:
    found = g.node(f"compare_{label}", "FittingRoomCompare", group="Measure", title=f"{title}: how near the truth", real=true[0], generated=picture[0], metrics=METRICS, clip_vision=vision[0])
    g.param(f"metrics_{label}", found, "metrics", "Which metrics, separated by commas.")
    g.node(f"table_{label}", "PreviewAny", group="Measure", title=title, source=found[0])


def _side_by_side(g: Graph, pictures: list[Node], prefix: str) -> None:
    together = pictures[0]
    for number, picture in enumerate(pictures[1:], 1):
        together = g.node(f"beside_{number}", "ImageBatch", group="Measure", title="Side by side", image1=together[0], image2=picture[0])
    g.node("sheet", "SaveImage", group="Measure", title="Truth first, then the results", images=together[0], filename_prefix=f"fitting_room/{prefix}")


def compare_weights(info: dict) -> Graph:
    """Two weights files on the same input and noise."""
    g = Graph("compare_weights", info, "Two weights files of a method on the same picture and the same noise, side by side and measured against the truth.")
    stack, vision, person, true, no, latent = _scene(g)
    g.note("Weights", WEIGHTS_NOTE)
    results = []
    for label in "AB":
        low, group = label.lower(), f"With {label}"
        if label == "A":
            method = demo_method(g, "igr", "Weights A", stack["MODEL"], f"method_{low}", "Weights")
        else:
            method = _untrained(g, f"method_{low}", "Weights B (untrained start)", stack, "Weights")
        model = g.node(f"denoiser_{low}", "FittingRoomMethodModel", group="Weights", method=method[0], model=stack["MODEL"])
        seen, tokens, prompt = _read(g, method, stack, vision, person, group, f"_{low}")
        fitted = g.node(f"restore_{low}", "FittingRoomApplyIGR", group=group, model=model[0], method=method[0], reference=seen[0], tokens=tokens[0], strength=1.0, token_strength=1.0)
        results.append(sample(g, fitted[0], prompt[0], no[0], latent[0], stack["VAE"], steps=25, cfg=1.5, name=low, prefix=f"fitting_room/compare_weights_{low}", group=group))
    g.note("Measure", EXTRA_NOTE)
    for label, picture in zip("AB", results):
        _measure(g, label.lower(), f"Weights {label}", true, picture, vision)
    _side_by_side(g, [true, *results], "compare_weights")
    return g


SWEEP = (("whole", "Whole method", 1.0, 1.0), ("no_garmnet", "Without GarmNet", 0.0, 1.0), ("no_tokens", "Without the cut-out's tokens", 1.0, 0.0), ("neither", "Neither", 0.0, 0.0))


def ablation_sweep(info: dict) -> Graph:
    """IGR with its two paths on and off, from the same noise."""
    g = Graph("ablation_sweep", info, "A method with each of its parts switched off in turn, from the same noise, side by side and measured against the truth.")
    stack, vision, person, true, no, latent = _scene(g)
    g.note("Method", SWEEP_NOTE)
    method = demo_method(g, "igr", "IGR", stack["MODEL"])
    model = g.node("denoiser", "FittingRoomMethodModel", group="Method", method=method[0], model=stack["MODEL"])
    seen, tokens, prompt = _read(g, method, stack, vision, person, "Method")
    results = []
    for label, title, strength, token_strength in SWEEP:
        fitted = g.node(f"restore_{label}", "FittingRoomApplyIGR", group=title, title=title, model=model[0], method=method[0], reference=seen[0], tokens=tokens[0], strength=strength,
                        token_strength=token_strength)
        results.append(sample(g, fitted[0], prompt[0], no[0], latent[0], stack["VAE"], steps=25, cfg=1.5, name=label, prefix=f"fitting_room/ablation_{label}", group=title))
    g.note("Measure", EXTRA_NOTE)
    for (label, title, *_), picture in zip(SWEEP, results):
        _measure(g, label, title, true, picture, vision)
    _side_by_side(g, [true, *results], "ablation_sweep")
    return g


WORKFLOWS = [evaluate_folder, compare_weights, ablation_sweep]
