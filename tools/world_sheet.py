"""Write a contact sheet of the drawn world: python tools/world_sheet.py person --size 256x192 --seed 0 --output output/world.png"""

from __future__ import annotations

import argparse
import importlib
from pathlib import Path

import numpy as np
from PIL import Image

def world():
    """The package data.synthetic, imported whatever the repository's folder is called."""
    if __package__:
        from . import pack
    else:
        import pack
    pack.load()
    return importlib.import_module("fitting_room.data.synthetic")


def rows(kind: str, count: int, height: int, width: int, seed: int) -> list[list[np.ndarray]]:
    """One row per sample: everything a sample of the kind holds, as pictures."""
    synthetic = world()
    out = []
    for i in range(seed, seed + count):
        if kind == "person":
            s = synthetic.person_sample(i, height, width)
            worn = s.garments[s.slot]
            out.append([s.image, worn.picture, s.agnostic(), s.densepose_picture, s.skeleton_picture, s.parse_picture, s.depth, s.saliency, worn.unlit])
        elif kind == "jewelry":
            s = synthetic.jewelry_sample(i, height, width)
            out.append([s.image, s.picture, s.bare, s.unshadowed, synthetic.fill(s.bare, s.mask), s.jewelry_mask, s.shadow_mask, s.depth, s.saliency])
        elif kind == "insertion":
            s = synthetic.insertion_sample(i, height, width)
            out.append([s.image, s.picture, s.scene, synthetic.fill(s.scene, s.mask), s.product_mask, s.depth])
        else:
            picture = synthetic.draw_picture(kind, i, height, width)
            out.append([picture.image, picture.mask, picture.depth, picture.pose, picture.parse, picture.saliency])
    return out


def sheet(pictures: list[list[np.ndarray]], gap: int = 4) -> Image.Image:
    """Rows of pictures (H,W,3) or (H,W) in one, white between."""
    lines = []
    for row in pictures:
        full = [np.broadcast_to(p[..., None] if p.ndim == 2 else p, (*p.shape[:2], 3)) for p in row]
        lines.append(np.concatenate([np.pad(p, ((0, gap), (0, gap), (0, 0)), constant_values=1) for p in full], 1))
    return Image.fromarray((np.concatenate(lines).clip(0, 1) * 255 + 0.5).astype(np.uint8))


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kind", help="person, jewelry, insertion, or the name of one picture such as 'sofa'")
    parser.add_argument("--size", default="256x192", help="height x width in pixels")
    parser.add_argument("--count", type=int, default=4)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=Path("output/world.png"))
    options = parser.parse_args()
    height, width = (int(side) for side in options.size.split("x"))
    options.output.parent.mkdir(parents=True, exist_ok=True)
    sheet(rows(options.kind, options.count, height, width, options.seed)).save(options.output)
    print(options.output)


if __name__ == "__main__":
    main()
