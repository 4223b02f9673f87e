"""The main job with one command: `python3 tools/demo.py` leaves pictures in output/.

Builds the environment where it is missing, starts ComfyUI headless on the loopback interface, uploads a real photograph and drawn
garments, queues bundled workflows through HTTP and websocket, writes every result and one contact sheet, and stops the server.

    --only NAME [NAME ...]   some of the jobs          --steps N   fewer or more sampling steps          --output FOLDER
    --strips FOLDER          also a strip per job, what was given and what was made
"""

from __future__ import annotations

import argparse
import io
import json
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

if __package__:
    from . import pack
else:
    import pack


WIDTH, HEIGHT = 96, 128
"""What the demo weights were trained at."""


@dataclass
class Job:
    """One bundled workflow: what is uploaded, what is set, and what the picture shows."""

    name: str
    workflow: str
    method: str
    shows: str
    pictures: dict[str, str]
    values: dict = field(default_factory=dict)


JOBS = [
    Job("dressed", "dress_two_garments", "anydressing", "AnyDressing: a new person, from a prompt, in the two given garments",
        {"upper_image": "upper garment", "lower_image": "lower garment"}),
    Job("photograph", "dress_given_person", "anydressing", "AnyDressing: a photograph, repainted inside the mask only (the demo weights know drawings, not photographs)",
        {"upper_image": "upper garment", "person_image": "astronaut"}),
    Job("restored", "try_off_upper", "igr", "IGR: the flat picture of the garment that the person wears", {"person_image": "person wearing upper garment"}),
    Job("tried on", "try_on_any_sd15", "sift_vton", "SIFT-VTON: the given person in the given garment, with a DensePose picture of the person",
        {"person_image": "person", "garment_image": "upper garment", "pose_image": "densepose"}),
    Job("inserted", "insert_furniture", "diffuse_to_choose", "Diffuse to Choose: a product in a room; outside the mask the picture as it was",
        {"source_image": "room", "product_image": "armchair"}),
    Job("adorned", "jewelry_necklace", "pm_jewelry", "PM-Jewelry: a necklace on a person, with its shadow",
        {"person_image": "head for necklace", "jewelry_image": "necklace", "depth_image": "depth of head for necklace"}),
]


def main() -> int:
    """Run the jobs and write the sheet."""
    arguments = sys.argv[1:]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=[j.name for j in JOBS])
    parser.add_argument("--steps", type=int, default=25, help="sampling steps; the papers take 25 to 50")
    parser.add_argument("--output", default=str(pack.ROOT / "output"))
    parser.add_argument("--strips", help="a folder for one strip per job")
    options = parser.parse_args(arguments)
    made, code = pack.enter(__file__, *arguments)
    if made is None:
        return code
    pack.load()
    from fitting_room.tools.server import Server

    jobs = [j for j in JOBS if not options.only or j.name in options.only]
    output, start = Path(options.output), time.monotonic()
    output.mkdir(parents=True, exist_ok=True)
    say("starting ComfyUI without a window")
    with Server(made.python, made.comfyui, made.base_directory) as server:
        given = upload(server.client, sorted({p for j in jobs for p in j.pictures.values()}))
        trained = stack_is_trained()
        rows = [run(server.client, job, given, options.steps, output) for job in jobs]
    sheet = contact_sheet(rows, trained)
    sheet.save(output / "contact_sheet.png")
    if options.strips:
        (folder := Path(options.strips)).mkdir(parents=True, exist_ok=True)
        for job, given, result in rows:
            strip(given, result).save(folder / f"{job.name.replace(' ', '_')}.jpg", quality=88, optimize=True)
    say(f"{len(rows)} pictures and contact_sheet.png are in {output} ({time.monotonic() - start:.0f} s)")
    say(weights_sentence(trained))
    return 0


def say(text: str) -> None:
    """A line for the person at the terminal."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def stack_is_trained() -> bool:
    """Whether trained demo weights are bundled."""
    return (pack.ROOT / "models" / "demo" / "stack.safetensors").is_file()


def method_is_trained(method: str) -> bool:
    """Whether demo weights of a method are bundled."""
    return (pack.ROOT / "models" / "demo" / "methods" / f"demo_{method}.safetensors").is_file()


def weights_sentence(trained: bool) -> str:
    """What the pictures can and cannot show."""
    without = [m for m in dict.fromkeys(j.method for j in JOBS) if not method_is_trained(m)]
    if trained and without:
        return f"The small demo model was trained on drawn pictures, briefly; these methods have no demo weights yet and start UNTRAINED, so that their pictures show the wiring alone: {', '.join(without)}."
    if trained:
        return "The pictures come from small demo weights, trained briefly on drawn pictures: a garment's colour comes through in fewer than half of them, patterns come out as patches. They show that everything works together, and nothing about quality at full size."
    return "The demo weights are UNTRAINED (random, from a seed): the results are patterns of noise. They show that every step runs, and nothing about quality."


# ---- pictures --------------------------------------------------------------------------------------------------------


def upload(client, kinds: list[str]) -> dict:
    """Make the pictures, upload them, and return {kind: (file name on the server, picture)}."""
    out = {}
    for kind in kinds:
        picture = photograph() if kind == "astronaut" else drawn(kind)
        data = io.BytesIO()
        picture.save(data, "PNG")
        out[kind] = (client.upload(data.getvalue(), f"fitting_room_demo_{kind.replace(' ', '_')}.png"), picture)
        say(f"uploaded {kind}")
    return out


def photograph(size: tuple[int, int] = (WIDTH, HEIGHT)):
    """The photograph of an astronaut that scikit-image carries, 3 : 4, the suit transparent (= to be repainted)."""
    import numpy
    from PIL import Image, ImageDraw
    from skimage import data

    picture = Image.fromarray(data.astronaut()).crop((40, 0, 424, 512))
    mask = Image.new("L", picture.size, 255)
    ImageDraw.Draw(mask).polygon([(24, 290), (95, 235), (150, 215), (250, 215), (335, 262), (384, 512), (0, 512)], fill=0)
    return Image.fromarray(numpy.dstack([numpy.asarray(p if p.size == size else p.resize(size, Image.Resampling.LANCZOS)) for p in (picture, mask)]))


def drawn(kind: str, seed: int = 7, height: int = HEIGHT, width: int = WIDTH):
    """A drawn picture of the demo world; its region to repaint is transparent. "depth of ..." is its depth."""
    import numpy
    from fitting_room.data.synthetic import draw_picture
    from PIL import Image

    drawing = draw_picture(kind.removeprefix("depth of "), seed, height, width)
    if kind.startswith("depth of "):
        return Image.fromarray((drawing.depth * 255).round().astype("uint8")).convert("RGB")
    rgba = numpy.dstack([drawing.image, 1 - drawing.mask]) if scene(kind) else drawing.image
    return Image.fromarray((rgba * 255).round().astype("uint8"))


def scene(kind: str) -> bool:
    """Whether a part of this picture is to be repainted; all other kinds ("table lamp") are things on a plain ground."""
    return kind in ("room", "table") or kind.startswith(("person", "head for", "hand for"))


# ---- running ---------------------------------------------------------------------------------------------------------


def run(client, job: Job, given: dict, steps: int, output: Path) -> tuple:
    """Queue one workflow with its parameters, wait with a progress bar, and save what it made."""
    from PIL import Image

    folder = pack.ROOT / "workflows" / "api"
    prompt = json.loads((folder / f"{job.workflow}.json").read_text())
    params = json.loads((folder / "params.json").read_text())[job.workflow]["parameters"]
    values = {"steps": steps, **job.values, **{p: given[kind][0] for p, kind in job.pictures.items()}}
    for name, value in values.items():
        prompt[params[name]["node"]]["inputs"][params[name]["input"]] = value
    history = client.run(prompt, progress=lambda node, step, total: bar(job.name, prompt, node, step, total))
    sys.stderr.write("\n")
    image = next(i for i in client.images(history) if i["node"] == "result")
    picture = Image.open(io.BytesIO(client.download(image))).convert("RGB")
    picture.save(output / f"{job.name.replace(' ', '_')}.png")
    return job, [given[k][1] for k in job.pictures.values()], picture


def bar(name: str, prompt: dict, node: str, step: int, total: int) -> None:
    """One line that fills."""
    title = prompt.get(str(node), {}).get("_meta", {}).get("title", "")
    full = 24 * step // max(total, 1)
    sys.stderr.write(f"\r{name:12} [{'#' * full}{'.' * (24 - full)}] {step}/{total} {title:32.32}")
    sys.stderr.flush()


def contact_sheet(rows: list, trained: bool):
    """One line per job: what went in, what came out, what it shows."""
    from PIL import Image, ImageDraw, ImageFont

    cell, gap, text = 256, 16, 44
    columns = max(len(given) for _, given, _ in rows) + 1
    width = columns * (cell + gap) + gap
    sheet = Image.new("RGB", (max(width, 900), len(rows) * (cell + text + gap) + gap + 40), (250, 250, 248))
    draw, font, small = ImageDraw.Draw(sheet), ImageFont.load_default(18), ImageFont.load_default(14)
    y = gap
    for job, given, result in rows:
        draw.text((gap, y), job.shows + ("" if trained and method_is_trained(job.method) else " [UNTRAINED]"), fill=(30, 30, 30), font=font)
        for i, picture in enumerate([*given, result]):
            last = i == len(given)
            x = gap + (columns - 1 if last else i) * (cell + gap)
            place(sheet, picture, x, y + 28, cell, outline=(200, 60, 40) if last else (200, 200, 200))
        y += cell + text + gap
    draw.text((gap, y), "Red frame: result. " + ("Small demo weights." if trained else "UNTRAINED demo weights: the results are noise by design."), fill=(120, 40, 30), font=small)
    return sheet


def strip(given: list, result):
    """What was given, side by side, and behind an arrow what was made of it."""
    from PIL import Image, ImageDraw

    cell, gap, arrow = 192, 8, 36
    sheet = Image.new("RGB", ((len(given) + 1) * (cell + gap) + arrow + gap, cell + 2 * gap), (250, 250, 248))
    for i, picture in enumerate([*given, result]):
        last = i == len(given)
        place(sheet, picture, gap + i * (cell + gap) + (arrow if last else 0), gap, cell, (200, 60, 40) if last else (200, 200, 200))
    x, y = gap + len(given) * (cell + gap), gap + cell // 2
    ImageDraw.Draw(sheet).polygon([(x, y - 4), (x + 14, y - 4), (x + 14, y - 12), (x + 28, y), (x + 14, y + 12), (x + 14, y + 4), (x, y + 4)], fill=(120, 120, 120))
    return sheet


def place(sheet, picture, x: int, y: int, cell: int, outline) -> None:
    """A picture inside a square, transparency as a checkerboard."""
    from PIL import Image, ImageDraw

    scale = (cell - 4) / max(picture.size)
    picture = picture.resize((round(picture.width * scale), round(picture.height * scale)), Image.Resampling.BICUBIC)
    left, top = x + (cell - picture.width) // 2, y + (cell - picture.height) // 2
    if picture.mode == "RGBA":
        board = Image.new("RGB", picture.size, (255, 255, 255))
        for i in range(0, picture.width, 16):
            for j in range(0, picture.height, 16):
                if (i + j) // 16 % 2:
                    board.paste((214, 214, 214), (i, j, i + 16, j + 16))
        board.paste(picture, mask=picture.getchannel("A"))
        picture = board
    sheet.paste(picture, (left, top))
    ImageDraw.Draw(sheet).rectangle((left - 2, top - 2, left + picture.width + 1, top + picture.height + 1), outline=outline, width=2)


if __name__ == "__main__":
    sys.exit(main())
