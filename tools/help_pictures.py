"""Make the example pictures of the help pages: `python3 tools/help_pictures.py [--only NODE ...]`.

Each is what the node itself shows, on the photograph that scikit-image carries or on drawn pictures, through a running ComfyUI;
written to web/docs/img/<node>.webp. Nodes whose picture needs trained weights show a job of tools/demo.py, with the bundled demo weights.
"""

from __future__ import annotations

import argparse
import io
import sys

if __package__:
    from . import pack
    from . import demo
    from .demo import say
else:
    import demo
    import pack
    from demo import say

HEIGHT, GAP, LARGEST = 220, 6, 60_000
PREFIX = "FittingRoom"
METHODS = {"ApplyAnyDressing": "dressed", "ApplyIGR": "restored", "ApplySiftVton": "tried on", "FiLMHintEncoder": "inserted", "JewelryEncoder": "adorned"}
"""Node -> the job of tools/demo.py that shows what its method does."""
STEPS = 30
"""Sampling steps of these jobs."""


class Examples:
    """The graphs of the example pictures, and which of their nodes' pictures are shown."""

    def __init__(self, info: dict, photo: str):
        self.info, self.photo, self.found = info, photo, {}

    def begin(self, name: str):
        """An empty graph for a node, and the list of ids whose pictures are shown from left to right."""
        from fitting_room.workflows.graph import Graph

        self.found[name] = (Graph(f"help_{name}", self.info, "A help page's picture."), [])
        return self.found[name]

    def drawn(self, g, id, kind, seed=7):
        """A drawn picture; of another size in each example, as what ComfyUI has in its cache shows no picture again."""
        width = 240 + 8 * len(self.found)
        return g.node(id, "FittingRoomDemoPicture", kind=kind, seed=seed, width=width, height=width // 6 * 8)


def save(g, id: str, image) -> None:
    """Show this image."""
    g.node(id, "SaveImage", images=image, filename_prefix="fitting_room/help")


def examples(info: dict, photo: str) -> dict:
    """{node: (graph, ids of the nodes whose pictures are shown, from left to right)}."""
    made = Examples(info, photo)
    masks_and_hints(made)
    maps_and_jewelry(made)
    return made.found


def masks_and_hints(made: Examples) -> None:
    """Masks, edges, crops and hints, on the photograph and on drawn people."""
    begin, drawn, photo = made.begin, made.drawn, made.photo

    g, shown = begin("AgnosticMask")
    person = g.node("photo", "LoadImage", image=photo)
    save(g, "given", person[0])
    for style in ("parse", "box", "bounding_box"):
        g.node(style, "FittingRoomAgnosticMask", image=person[0], mask=person[1], category="upper", grow=8, style=style)
    shown += ["given", "parse", "box", "bounding_box"]

    for name, more in (("RGBCanny", {"low": 30, "high": 140, "per_channel": True}), ("Saliency", {"source": "spectral_residual"})):
        g, shown = begin(name)
        person = g.node("photo", "LoadImage", image=photo)
        save(g, "given", person[0])
        seen = g.node("made", f"{PREFIX}{name}", image=person[0], **more)
        save(g, "result", seen[0])
        shown += ["given", "result"]

    g, shown = begin("CropRegion")
    scene = drawn(g, "scene", "person for bag")
    crop = g.node("crop", "FittingRoomCropRegion", image=scene[0], mask=scene[1], context=1.8, size=512, multiple=64)
    save(g, "whole", scene[0])
    save(g, "result", crop["IMAGE"])
    shown += ["whole", "result"]

    g, shown = begin("CompositeBack")
    person = g.node("photo", "LoadImage", image=photo)
    other = g.node("result_picture", "ImageInvert", image=person[0])
    back = g.node("back", "FittingRoomCompositeBack", source=person[0], result=other[0], mask=person[1], feather=12)
    for id, image in (("given", person[0]), ("other", other[0]), ("result", back[0])):
        save(g, id, image)
    shown += ["given", "other", "result"]

    for name in ("MaskAugment", "LargestRectangle"):
        g, shown = begin(name)
        scene = drawn(g, "scene", "person")
        first = g.node("mask", "MaskToImage", mask=scene[1])
        other = g.node("made", f"{PREFIX}{name}", mask=scene[1], **({"mode": "box", "seed": 0} if name == "MaskAugment" else {}))
        second = g.node("made_picture", "MaskToImage", mask=other["MASK"])
        for id, image in (("given", scene[0]), ("mask_picture", first[0]), ("result", second[0])):
            save(g, id, image)
        shown += ["given", "mask_picture", "result"]

    g, shown = begin("PlaceHint")
    scene, product = drawn(g, "scene", "person"), drawn(g, "product", "upper garment", 5)
    hint = g.node("hint", "FittingRoomPlaceHint", image=product[0], mask=scene[1], fit="stretch", source="rgb")
    for id, image in (("given", scene[0]), ("garment", product[0]), ("result", hint["preview"])):
        save(g, id, image)
    shown += ["given", "garment", "result"]


def maps_and_jewelry(made: Examples) -> None:
    """Depth, jewelry, matches, curation and what can be drawn."""
    begin, drawn, photo = made.begin, made.drawn, made.photo

    g, shown = begin("Depth")
    head = drawn(g, "head", "head for necklace")
    depth = g.node("made", "FittingRoomDepth", image=head[0], source="picture", convention="near_bright", normalise=True, depth=head["depth"])
    save(g, "given", head[0])
    save(g, "result", depth[0])
    shown += ["given", "result"]

    g, shown = begin("JewelryPlacement")
    head = drawn(g, "head", "head for necklace")
    piece = g.node("made", "FittingRoomJewelryPlacement", image=head[0], type="necklace", points="0.372,0.535; 0.625,0.535", length_mm=450.0, mm_per_px=1.47)
    shown += ["head", "made"]

    g, shown = begin("ApplyFeedback")
    head = drawn(g, "head", "head for necklace")
    piece = g.node("piece", "FittingRoomJewelryPlacement", image=head[0], type="necklace", points="0.372,0.535; 0.625,0.535", length_mm=450.0, mm_per_px=1.47)
    words = g.node("made", "FittingRoomApplyFeedback", state=piece["state"], action="longer", step=10.0, image=head[0])
    g.node("look", "MaskPreview", mask=words["mask"])
    shown += ["piece", "made"]

    g, shown = begin("RerenderRegion")
    head = drawn(g, "head", "head for necklace")
    piece = g.node("piece", "FittingRoomJewelryPlacement", image=head[0], type="necklace", points="0.372,0.535; 0.625,0.535", length_mm=450.0, mm_per_px=1.47)
    words = g.node("words", "FittingRoomApplyFeedback", state=piece["state"], action="longer", step=10.0, image=head[0])
    region = g.node("made", "FittingRoomRerenderRegion", old_mask=piece["mask"], new_mask=words["mask"], grow=8)
    g.node("look", "MaskPreview", mask=region[0])
    shown += ["piece", "words", "made"]

    g, shown = begin("SiftMatches")
    person = g.node("photo", "LoadImage", image=photo)
    patch = g.node("patch", "ImageCrop", image=person[0], width=320, height=300, x=40, y=200)
    large = g.node("large", "ImageScale", image=patch[0], upscale_method="lanczos", width=400, height=375, crop="disabled")
    found = g.node("made", "FittingRoomSiftMatches", garment=large[0], person=person[0])
    save(g, "result", found["drawn"])
    shown += ["result"]

    g, shown = begin("Curate")
    pairs = g.node("pairs", "FittingRoomPairs", layout="synthetic", folder="", split="train", limit=6)
    kept = g.node("made", "FittingRoomCurate", pairs=pairs[0], rules="", share=0.5, category="upper")
    save(g, "result", kept["sheet"])
    shown += ["result"]

    g, shown = begin("DemoPicture")
    for kind in ("person", "person wearing dress", "upper garment", "head for necklace", "necklace", "room", "armchair"):
        picture = drawn(g, kind.replace(" ", "_"), kind)
        save(g, f"saved_{kind.replace(' ', '_')}", picture[0])
        shown.append(f"saved_{kind.replace(' ', '_')}")


def row(pictures: list):
    """Pictures side by side at one height, on grey."""
    from PIL import Image

    scaled = [p.resize((max(1, round(p.width * HEIGHT / p.height)), HEIGHT), Image.Resampling.LANCZOS) for p in pictures]
    sheet = Image.new("RGB", (sum(p.width for p in scaled) + GAP * (len(scaled) - 1), HEIGHT), (90, 90, 90))
    x = 0
    for picture in scaled:
        sheet.paste(picture, (x, 0))
        x += picture.width + GAP
    return sheet


def photograph() -> bytes:
    """The photograph of an astronaut, 384 x 512, the suit transparent, as a PNG."""
    out = io.BytesIO()
    demo.photograph((384, 512)).save(out, "PNG")
    return out.getvalue()


def make(client, info: dict, only=()) -> dict[str, bytes]:
    """{file name: WebP} of the examples."""
    from PIL import Image

    photo, out = client.upload(photograph(), "fitting_room_help.png"), {}
    for name, (graph, shown) in examples(info, photo).items():
        if only and name not in only:
            continue
        history = client.run(graph.api())
        found = {image["node"]: image for image in reversed(client.images(history))}
        picture = row([Image.open(io.BytesIO(client.download(found[id]))).convert("RGB") for id in shown])
        data = io.BytesIO()
        picture.save(data, "WEBP", quality=80, method=6)
        if data.tell() > LARGEST:
            raise ValueError(f"the picture of {name} has {data.tell()} bytes; at most {LARGEST} are wanted")
        out[f"{PREFIX}{name}.webp"] = data.getvalue()
        say(f"{name}: {data.tell() // 1000} kB")
    return out


def methods(client, only) -> dict[str, bytes]:
    """{file: bytes} of what the methods make, with what they were given beside it."""
    import tempfile
    from pathlib import Path

    jobs = {node: job for node, name in METHODS.items() for job in demo.JOBS if job.name == name and (not only or node in only)}
    given, out = demo.upload(client, sorted({p for job in jobs.values() for p in job.pictures.values()})), {}
    with tempfile.TemporaryDirectory() as folder:
        for node, job in jobs.items():
            _, pictures, result = demo.run(client, job, given, STEPS, Path(folder))
            data = io.BytesIO()
            demo.strip(pictures, result).save(data, "WEBP", quality=88, method=6)
            out[f"{PREFIX}{node}.webp"] = data.getvalue()
    return out


def main() -> int:
    """Run the examples and write the pictures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", default=())
    options = parser.parse_args()
    made, code = pack.enter(__file__, *sys.argv[1:])
    if made is None:
        return code
    pack.load()
    from fitting_room.tools.server import Server

    folder = pack.ROOT / "web" / "docs" / "img"
    folder.mkdir(parents=True, exist_ok=True)
    with Server(made.python, made.comfyui, made.base_directory) as server:
        drawn = make(server.client, server.client.object_info(), options.only)
        for name, data in {**drawn, **methods(server.client, options.only)}.items():
            (folder / name).write_bytes(data)
    return 0


if __name__ == "__main__":
    sys.exit(main())
