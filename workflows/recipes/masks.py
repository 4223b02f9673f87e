"""Masks, maps, matches and taste: what to look at before and between generations."""

from __future__ import annotations

from ..graph import Graph, Node
from .common import CFG, base

WIDTH, HEIGHT = 384, 512
NECK = "0.372,0.535; 0.625,0.535"   # both sides of the drawn head's neck, as shares of the picture
STYLES = ("modern", "traditional", "minimalistic")
POINTS_NOTE = (
    "**Place it.** Click both sides of the neck in the node's picture (right click removes), or type shares of the picture as here. A pose or a face mesh of "
    "the host's nodes finds the place by itself: connect it and empty points. For your own photo set mm_per_px: 63 divided by the pixels between the pupils."
)


def _look(g: Graph, id: str, mask, group: str, title: str) -> Node:
    """A mask on the canvas."""
    return g.node(id, "MaskPreview", group=group, title=title, mask=mask)


def _save(g: Graph, id: str, image, group: str, title: str, name: str) -> Node:
    return g.node(id, "SaveImage", group=group, title=title, images=image, filename_prefix=f"fitting_room/{name}")


def match_viewer(info: dict) -> Graph:
    """Person and garment side by side with a line per match."""
    g = Graph("match_viewer", info, "Which point of a worn garment shows which point of its product photo: SIFT matches, drawn, with what every filter removed.")
    g.note("Pictures", "**Pictures.** The garment as it is worn and as it is sold. The masks (1 = garment) keep the search on it: paint them, or leave them unconnected.")
    person = g.picture("person_image", "person wearing upper garment", file="person.png", title="Person", group="Pictures", meaning="The person, with the worn garment as transparency.", seed=23)
    garment = g.picture("garment_image", "upper garment", file="garment.png", title="Garment", group="Pictures", meaning="The garment's product photo, with the garment as transparency.", seed=23)
    g.note("Matches", "**Matches.** Lines that run side by side are right; one that crosses its neighbours is wrong: lower ratio. Plain fabric has no matches, and that is no error. "
           "Drawn clothes have few; a photo of a printed shirt has hundreds.")
    found = g.node("matches", "FittingRoomSiftMatches", group="Matches", garment=garment[0], person=person[0], garment_mask=garment[1], person_mask=person[1])
    _save(g, "result", found["drawn"], "Matches", "Matches drawn", "match_viewer")
    for name, meaning in (("ratio", "Lower is stricter."), ("max_angle", "Degrees a detail may be turned."), ("max_scale", "How many times larger or smaller a detail may be.")):
        g.param(name, found, name, meaning)
    return g


def mask_studio(info: dict) -> Graph:
    """Every mask and weightless map of one photo, in one graph."""
    g = Graph("mask_studio", info, "Every mask and weightless map of a photo in one graph: three agnostic styles, augmented masks, the largest rectangle, edges and saliency.")
    g.note("Photo", "**Photo.** Paint the garment that is worn (right click, Open in Mask Editor), or connect a mask of SAM3 or Segment, a parse map, or pose keypoints to the mask nodes: "
           "together they know more. With a pose, sleeves can become longer than the old ones.")
    photo = g.picture("person_image", "person wearing upper garment", file="person.png", title="Photo", group="Photo", meaning="The person, with the worn garment as transparency.", seed=4)
    g.note("Agnostic", "**Agnostic masks.** parse follows the body and gives the best result where the new garment is like the old one; boxes leave no hint of the old shape. "
           "grow must hide the old outline.")
    for style, title in (("parse", "Follows the body"), ("box", "Boxes"), ("bounding_box", "One box")):
        made = g.node(f"agnostic_{style}", "FittingRoomAgnosticMask", group="Agnostic", title=title, image=photo[0], mask=photo[1], category="upper", grow=8, style=style)
        _save(g, f"result_{style}", made["agnostic"], "Agnostic", title, f"agnostic_{style}")
        g.param(f"grow_{style}", made, "grow", "How far the mask reaches beyond the garment, in pixels.")
    g.note("Variations", "**Variations.** What Diffuse to Choose trains on and inserts into: the mask or its box by chance, and the largest box that fits inside.")
    mixed = g.node("augmented", "FittingRoomMaskAugment", group="Variations", mask=photo[1], mode="mixed", seed=0)
    _look(g, "show_augmented", mixed[0], "Variations", "Augmented")
    inside = g.node("rectangle", "FittingRoomLargestRectangle", group="Variations", mask=photo[1])
    _look(g, "show_rectangle", inside["MASK"], "Variations", "Largest rectangle inside")
    g.note("Maps", "**Maps** that need no weights. For depth connect a picture of Depth Anything 3, MoGe or Lotus to **Depth Preprocessor**.")
    edges = g.node("edges", "FittingRoomRGBCanny", group="Maps", image=photo[0])
    _save(g, "result_edges", edges[0], "Maps", "Edges", "edges")
    eye = g.node("saliency", "FittingRoomSaliency", group="Maps", image=photo[0], source="spectral_residual")
    _save(g, "result_saliency", eye[0], "Maps", "Saliency", "saliency")
    return g


def _placed(g: Graph) -> tuple[Node, Node]:
    head = g.picture("person_image", "head for necklace", file="head.png", title="Person", group="Place", meaning="The person without the necklace, head and shoulders.", seed=7)
    g.note("Place", POINTS_NOTE)
    piece = g.node("placement", "FittingRoomJewelryPlacement", group="Place", image=head[0], type="necklace", points=NECK, length_mm=450.0, mm_per_px=0.92)
    for name, meaning in (("points", "Both sides of the neck, in pixels or in shares of the picture."), ("length_mm", "The necklace's whole length."), ("mm_per_px", "Millimetres per pixel.")):
        g.param(name, piece, name, meaning)
    return head, piece


def _repaint(g: Graph, stack, head, mask, positive, negative, name: str, group: str, seed: int = 1) -> Node:
    """Sample inside a mask only, put the rest back bit for bit, save."""
    latent = g.node(f"latent_{name}", "VAEEncode", group=group, pixels=head, vae=stack["VAE"])
    masked = g.node(f"masked_{name}", "SetLatentNoiseMask", group=group, samples=latent[0], mask=mask)
    run = g.node(f"sampler_{name}", "KSampler", group=group, model=stack["MODEL"], positive=positive, negative=negative, latent_image=masked[0], seed=seed, steps=20, cfg=CFG,
                 sampler_name="ddim", scheduler="ddim_uniform", denoise=1.0)
    picture = g.node(f"decode_{name}", "VAEDecode", group=group, samples=run[0], vae=stack["VAE"])
    back = g.node(f"composite_{name}", "FittingRoomCompositeBack", group=group, source=head, result=picture[0], mask=mask, feather=4)
    _save(g, f"result_{name}", back[0], group, name.capitalize(), name)
    g.param(f"seed_{name}", run, "seed", "Another seed gives another picture.")
    g.param(f"steps_{name}", run, "steps", "Sampling steps.")
    return back


def necklace_feedback(info: dict) -> Graph:
    """A necklace, then "longer": the old one disappears with the new one's region."""
    g = Graph("necklace_length_feedback", info, "A necklace hung at its real length, then feedback: longer. What is painted again covers the old and the new place, everything else stays bit for bit.")
    stack = base(g)
    head, piece = _placed(g)
    g.note("Feedback", "**Feedback.** A step of length is 10 mm, so 10 steps make a princess (450 mm) a matinee (550 mm). Chain more nodes; undo takes the last word back.")
    words = g.node("feedback", "FittingRoomApplyFeedback", group="Feedback", state=piece["state"], action="longer", step=10.0, image=head[0])
    region = g.node("region", "FittingRoomRerenderRegion", group="Feedback", old_mask=piece["mask"], new_mask=words["mask"], grow=8)
    _look(g, "show_region", region[0], "Feedback", "Painted again")
    g.param("action", words, "action", "What to change: longer, shorter, bigger, left ...")
    g.param("step", words, "step", "How much; 1 is 10 mm of length.")
    yes = g.node("style", "FittingRoomStylePreference", group="Words", clip=stack["CLIP"], type="necklace", material="gold", modern=0.0, traditional=0.0, minimalistic=1.0)
    no = g.node("negative", "CLIPTextEncode", group="Words", title="Negative prompt", clip=stack["CLIP"], text="blurry, deformed")
    first = _repaint(g, stack, head[0], piece["mask"], yes[0], no[0], "before", "Paint the first")
    _repaint(g, stack, first[0], region[0], yes[0], no[0], "after", "Paint the longer one")
    return g


def style_sweep(info: dict) -> Graph:
    """One necklace in three styles, and a profile that learns from the choice."""
    g = Graph("style_sweep", info, "The same necklace in three styles from the same seed; say which you like, and a profile learns it.")
    stack = base(g)
    head, piece = _placed(g)
    no = g.node("negative", "CLIPTextEncode", group="Styles", title="Negative prompt", clip=stack["CLIP"], text="blurry, deformed")
    styles = []
    for name in STYLES:
        weights = {other: float(other == name) for other in STYLES}
        style = g.node(f"style_{name}", "FittingRoomStylePreference", group="Styles", title=f"Style: {name}", clip=stack["CLIP"], type="necklace", material="gold", **weights)
        g.param(f"material_{name}", style, "material", "Material and stone.")
        styles.append(style)
    for name, style in zip(STYLES, styles):
        _repaint(g, stack, head[0], piece["mask"], style[0], no[0], name, f"Paint {name}")
    g.note("Choose", "**Choose.** Look at the three pictures, set chosen to 1, 2 or 3 and run again: only this node runs. The profile is kept under its name in the user directory; "
           "write the name into a Style Preference with equal sliders to use it.")
    learn = g.node("learn", "FittingRoomPreferenceUpdate", group="Choose", profile="my taste", styles=[style["styles"] for style in styles], chosen=0, rate=1.0)
    g.param("chosen", learn, "chosen", "Which you like: 1 modern, 2 traditional, 3 minimalistic; 0 none yet.")
    g.param("profile", learn, "profile", "The profile's name.")
    return g


def curate_folder(info: dict) -> Graph:
    """Rank a data set and keep its best share; match what is kept."""
    g = Graph("curate_folder", info, "Rank the pairs of a data set as IGR section 3.2 did by hand, keep the best share, and find the matches of what is kept.")
    g.note("Data set", "**Data set.** Drawn people, to try it. For your own: layout folder (or viton-hd, dress-code) and its place below ComfyUI's input folder.")
    pairs = g.node("pairs", "FittingRoomPairs", group="Data set", layout="synthetic", folder="", split="train", limit=12)
    g.note("Curate", "**Curate.** The thresholds are not calibrated: look at the sheet, then trust the ranking. Green is kept, amber kept with a doubt, red rejected.")
    kept = g.node("curate", "FittingRoomCurate", group="Curate", pairs=pairs[0], rules="", share=0.5, category="upper")
    _save(g, "result", kept["sheet"], "Curate", "Kept and rejected", "curate_folder")
    g.note("Matches", "**Matches** of the kept pairs, one JSON each below the output directory. Stop and start as you like: it goes on where it ended.")
    cached = g.node("matches", "FittingRoomSiftFolder", group="Matches", pairs=kept["kept"], folder="fitting_room/matches")
    for title, node, output in (("What was found", pairs, "report"), ("What was kept", kept, "report"), ("What was matched", cached, "report")):
        g.node(f"show_{node.id}", "PreviewAny", group=node.group, title=title, source=node[output])
    for name, meaning in (("layout", "folder, viton-hd, dress-code or synthetic."), ("folder", "Below ComfyUI's input folder."), ("split", "train or test."), ("limit", "The first so many; 0 = all.")):
        g.param(name, pairs, name, meaning)
    g.param("share", kept, "share", "The share to keep; IGR kept 0.2.")
    g.param("category", kept, "category", "upper, lower or full.")
    return g


WORKFLOWS = [match_viewer, mask_studio, necklace_feedback, style_sweep, curate_folder]
