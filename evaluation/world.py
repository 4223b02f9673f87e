"""The drawn world as a training's samples, straight from its seeds: no files, and the whole truth of every sample at hand."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import grid_sample

from ..data.drawn import SLOTS
from ..data.sample import Item, Sample
from ..data.synthetic import World

DRAWN = {"anydressing": "person", "igr": "person", "sift_vton": "person", "diffuse_to_choose": "insertion", "pm_jewelry": "jewelry"}
"""Method -> kind of the drawn world it learns from."""

HELD_OUT = 700_000_000
"""Seeds from here on are for measuring, never for training."""


class DrawnSource:
    """Samples of the drawn world as `training.loop.Trainer` reads them (like `data.source.PairSource`).

    Args:
        kind: "person", "insertion" or "jewelry". height, width: of the pictures. seed, length: which samples.
        garment: of persons, which garment is the first item and whose region is repainted: "first" (dress or upper), "upper", "lower"
            or "random". hats: of persons, whether a hat is an item too. flaws: every so many persons are cut close, as in real data sets; 0 none.
        curated: leave those out that are cut (what IGR's authors did by hand). wordless: captions are empty.
        options: of the world's kind, such as outfit="separates".
    """

    def __init__(
        self, kind: str, height: int, width: int, seed: int, length: int, garment: str = "first", hats: bool = False, flaws: int = 0, curated: bool = False,
        wordless: bool = False, **options,
    ):
        self.length, self.garment, self.hats, self.flaws, self.curated, self.wordless = length, garment, hats, flaws, curated and flaws > 1, wordless
        self.world = World(kind, (height, width), seed, self._place(length - 1) + 1, **options)
        self.truth = lru_cache(maxsize=128)(lambda index: self.world[self._place(index)])

    def __len__(self) -> int:
        return self.length

    def _place(self, index: int) -> int:
        """Where in the world sample `index` is: flawed places are passed over where the set is curated."""
        return index // (self.flaws - 1) * self.flaws + index % (self.flaws - 1) if self.curated else index

    def _flawed(self, index: int) -> bool:
        return self.flaws > 0 and not self.curated and index % self.flaws == self.flaws - 1

    def slot(self, index: int) -> str:
        """The slot of a person's first item."""
        slots = [s for s in self.truth(index).garments if s != "hat"]
        if self.garment == "random":
            return slots[(self.world.seed + index) % len(slots)]
        return self.garment if self.garment in slots else slots[0]

    def sample(self, index: int, generator: torch.Generator | None = None) -> Sample:
        """One sample. Nothing is augmented: the world has as many samples as one likes."""
        made = getattr(self, f"_{self.world.kind}")(index, self.truth(index))
        return cut_close(made, self.truth(index).keypoints, index) if self._flawed(index) else made

    def name(self, index: int) -> str:
        """Of a sample."""
        return f"{self.world.kind}_{self.world.seed + self._place(index)}"

    def key(self, index: int) -> str:
        """What a kept encoding depends on."""
        return f"{self._what()} {self.world.seed + self._place(index)} {self._flawed(index)}"

    def fingerprint(self) -> str:
        """Which data set this is."""
        return f"{self._what()} {self.world.seed}+{len(self)} {self.flaws} {self.curated}"

    def _what(self) -> str:
        return f"drawn {self.world.kind} {self.world.size} {self.garment} {self.hats} {self.wordless} {sorted(self.world.options.items())}"

    def _person(self, index: int, drawn) -> Sample:
        first = self.slot(index)
        order = [first, *(s for s in drawn.garments if s != first and (s != "hat" or self.hats))]
        items = []
        for slot in order:
            worn = drawn.garments[slot]
            matches = torch.from_numpy(worn.correspondences(200, index)).float()
            items.append(Item(_picture(worn.picture), SLOTS.get(slot, slot), _mask(worn.picture_mask), _mask(worn.mask), matches))
        return self._of(index, drawn.image, items, drawn.garments[first].agnostic_mask, drawn, pose=_picture(drawn.densepose_picture), category=SLOTS.get(first, first), saliency=_mask(drawn.saliency))

    def _insertion(self, index: int, drawn) -> Sample:
        return self._of(index, drawn.image, [Item(_picture(drawn.picture), "product", _mask(drawn.picture_mask), _mask(drawn.product_mask))], drawn.mask, drawn)

    def _jewelry(self, index: int, drawn) -> Sample:
        item = Item(_picture(drawn.picture), "jewelry", _mask(drawn.picture_mask), _mask(drawn.jewelry_mask), torch.from_numpy(np.asarray(drawn.matches)).float())
        return self._of(index, drawn.image, [item], drawn.mask, drawn, shadow=_mask(drawn.shadow_mask), saliency=_mask(drawn.saliency))

    def _of(self, index: int, image, items: list[Item], mask, drawn, **more) -> Sample:
        picture = _picture(image)
        return Sample(self.name(index), picture, tuple(items), _mask(mask), depth=_mask(drawn.depth), valid=torch.ones(1, *picture.shape[1:]), caption="" if self.wordless else drawn.caption, **more)


def cut_close(sample: Sample, keypoints: np.ndarray, index: int) -> Sample:
    """A person cut to 45 % of the picture about one shoulder, as `data.drawn` cuts: the garment leaves the picture at the side or the bottom."""
    height, width = sample.size
    x, y = (float(v) for v in keypoints[2 if index % 2 else 5, :2])
    w, h = 0.45 * width, 0.45 * height
    left, top = min(max(x - w / 2, 0), width - w), min(max(y - 0.35 * h, 0), height - h)
    ys, xs = ((torch.arange(n) + 0.5) / n * side + start for n, side, start in ((height, h, top), (width, w, left)))
    grid = torch.stack([(xs * 2 / width - 1)[None].expand(height, -1), (ys * 2 / height - 1)[:, None].expand(-1, width)], -1)[None].float()

    def cut(plane: Tensor | None, mode: str = "bilinear") -> Tensor | None:
        return None if plane is None else grid_sample(plane[None], grid, mode, "border", align_corners=False)[0]

    items = tuple(replace(i, worn=cut(i.worn, "nearest"), matches=None) for i in sample.items)
    mask = cut(sample.mask, "nearest")
    return replace(sample, person=cut(sample.person), items=items, mask=mask, pose=cut(sample.pose), depth=cut(sample.depth), saliency=cut(sample.saliency))


def _picture(array: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array)).movedim(-1, 0).float()


def _mask(array: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array)).float()[None]
