"""A small real training per method: the demo stack, two drawn samples at 64 x 64, the method's own task."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import torch

DRAWN = {"anydressing": "dressing", "igr": "dressing", "sift_vton": "dressing", "diffuse_to_choose": "product", "pm_jewelry": "jewelry"}
OPTIONS = {
    "anydressing": {"rank": 4, "slots": ["upper", "lower", "full", "hat"]}, "igr": {"clip_width": 64, "tokens": 4},
    "diffuse_to_choose": {"image_width": 64}, "sift_vton": {"image_width": 64}, "pm_jewelry": {},
}
KINDS = tuple(DRAWN)


class Scene(NamedTuple):
    """What a training starts from."""

    kind: str
    model: object
    vae: object
    clip: object
    vision: object
    method: object
    pairs: object

    def studio(self, **options):
        from fitting_room.host import Studio

        return Studio(self.model, self.vae, self.clip, self.vision, **options)


def scene(kind: str, folder: Path, count: int = 2, side: int = 64) -> Scene:
    """Everything as loader nodes make it: inside inference mode."""
    from fitting_room import host
    from fitting_room.data.drawn import draw_folder
    from fitting_room.data.find import find_pairs
    from fitting_room.models.registry import METHODS

    with torch.inference_mode():
        model, clip, vae, _ = host.demo_stack()
        if kind == "diffuse_to_choose":
            model = host.widen(model)
        method = host.new_method(METHODS[kind], model, 0, OPTIONS[kind])
        vision = host.demo_vision("dinov2" if kind == "diffuse_to_choose" else "clip")
        pairs = find_pairs(DRAWN[kind], draw_folder(folder / DRAWN[kind], count, side, side, what=DRAWN[kind]))
    return Scene(kind, model, vae, clip, vision, method, pairs)
