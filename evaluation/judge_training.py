"""How the judge learns: crops of drawn garments, made worse the way an autoencoder and a denoiser make them worse."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from ..data.synthetic import World
from ..data.synthetic.textures import PATTERNS
from .judge import COLOUR_NAMES, HEIGHT, MARGIN, VIEWS, Judge, box_of, sample_boxes

WIDTH = 96
SMALLEST = 60  # pixels of a garment that must be visible for it to be judged
TRAIN_SEED, HELD_OUT_SEED = 50_000_000, 60_000_000


@dataclass
class Crops:
    """Drawn garments: pictures (P,3,128,96) uint8; per garment its picture's number, box as a share (N,4), view, pattern and colour numbers."""

    pictures: Tensor
    place: Tensor
    boxes: Tensor
    views: Tensor
    patterns: Tensor
    colours: Tensor

    def __len__(self) -> int:
        return len(self.place)

    def planes(self, rows: Tensor) -> Tensor:
        """The pictures (n,3,128,96) in 0..1 of some garments."""
        return self.pictures[self.place[rows]].float() / 255


def draw_crops(count: int, seed: int, progress: Callable[[int, int], None] = lambda *_: None, flats: int = 1) -> Crops:
    """Garments of `count` drawn persons: worn, once in the box of what is seen of it and once in that of its agnostic mask (which tells less),
    and lying flat from every `flats`-th of them."""
    world, pictures, rows = World("person", (HEIGHT, WIDTH), seed, count), [], []
    for number in range(count):
        sample = world[number]
        pictures.append(_bytes(sample.image))
        person = len(pictures) - 1
        for slot, worn in sample.garments.items():
            if slot not in VIEWS:
                continue
            labels = (PATTERNS.index(worn.garment.pattern), COLOUR_NAMES.index(worn.garment.base))
            if worn.mask.sum() >= SMALLEST:
                rows += [(person, box_of(mask), VIEWS.index(slot), *labels) for mask in (worn.mask, worn.agnostic_mask)]
            if number % flats == 0:
                pictures.append(_bytes(worn.picture))
                rows.append((len(pictures) - 1, box_of(worn.picture_mask), VIEWS.index("flat"), *labels))
        progress(number + 1, count)
    place, boxes, views, patterns, colours = zip(*rows)
    share = torch.tensor([WIDTH, HEIGHT, WIDTH, HEIGHT], dtype=torch.float32)
    return Crops(torch.stack(pictures), torch.tensor(place), torch.stack([torch.from_numpy(b) for b in boxes]) / share, *(torch.tensor(v) for v in (views, patterns, colours)))


def _bytes(picture) -> Tensor:
    return (torch.from_numpy(picture).movedim(-1, 0) * 255).round().to(torch.uint8)


def worsened(planes: Tensor, generator: torch.Generator) -> Tensor:
    """Pictures (n,3,H,W) as coarse networks give them back: blurred or coarser, noisy, a little off in light and colour; a third stays as it is."""
    count = len(planes)

    def draw(*shape):
        return torch.rand(*shape, generator=generator)

    spoiled = planes
    if draw(()) < 0.5:
        factor = 1 + float(draw(())) * 1.4
        small = F.interpolate(spoiled, scale_factor=1 / factor, mode="bilinear", antialias=True)
        spoiled = F.interpolate(small, planes.shape[-2:], mode="bicubic" if draw(()) < 0.5 else "bilinear")
    else:
        spoiled = blurred(spoiled, 0.3 + 1.0 * float(draw(())))
    cells = F.interpolate(torch.randn(count, 3, 6, 6, generator=generator), planes.shape[-2:], mode="bilinear")
    spoiled = spoiled + 0.035 * draw(count, 1, 1, 1) * cells + 0.06 * draw(count, 1, 1, 1) * torch.randn(planes.shape, generator=generator)
    light, tint = 1 + 0.12 * (draw(count, 1, 1, 1) - 0.5), 0.05 * (draw(count, 3, 1, 1) - 0.5)
    spoiled = ((spoiled - 0.5) * (1 + 0.2 * (draw(count, 1, 1, 1) - 0.5)) + 0.5) * light + tint
    return torch.where(draw(count, 1, 1, 1) < 0.67, spoiled, planes).clamp(0, 1)


def blurred(planes: Tensor, sigma: float) -> Tensor:
    """A Gaussian blur of pictures (n,C,H,W); the border is repeated."""
    reach = max(1, math.ceil(2.5 * sigma))
    kernel = torch.exp(-0.5 * (torch.arange(-reach, reach + 1) / sigma) ** 2)
    kernel, channels = (kernel / kernel.sum()).to(planes), planes.shape[1]
    for shape, pad in (((1, -1), (reach, reach, 0, 0)), ((-1, 1), (0, 0, reach, reach))):
        planes = F.conv2d(F.pad(planes, pad, mode="replicate"), kernel.view(1, 1, *shape).expand(channels, -1, -1, -1), groups=channels)
    return planes


def batch_of(crops: Crops, rows: Tensor, generator: torch.Generator) -> Tensor:
    """Crops (n,4,48,48) for training: boxes a little off, worsened, mirrored."""
    boxes = crops.boxes[rows]
    sides = (boxes[:, 2:] - boxes[:, :2]).repeat(1, 2)
    boxes = boxes + sides * 0.05 * torch.randn(boxes.shape, generator=generator).clamp(-2, 2)
    made = sample_boxes(crops.planes(rows), boxes, MARGIN * (1 + 0.1 * (torch.rand(len(rows), generator=generator) - 0.5)))
    made[:, :3] = worsened((made[:, :3] + 1) / 2, generator) * 2 - 1
    return torch.where(torch.rand(len(rows), 1, 1, 1, generator=generator) < 0.5, made.flip(-1), made)


def fit(crops: Crops, steps: int, batch: int = 64, rate: float = 4e-3, seed: int = 0, say: Callable[[str], None] = lambda _: None) -> Judge:
    """Train a judge: AdamW, one cycle of the learning rate, cross-entropy of pattern and colour."""
    torch.manual_seed(seed)
    judge, generator = Judge().train(), torch.Generator().manual_seed(seed)
    optimizer = torch.optim.AdamW(judge.parameters(), lr=rate, weight_decay=0.02)
    cycle = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=steps, pct_start=0.15)
    order, mean = torch.randperm(len(crops), generator=generator), 0.0
    for step in range(steps):
        if len(order) < batch:
            order = torch.cat([order, torch.randperm(len(crops), generator=generator)])
        rows, order = order[:batch], order[batch:]
        pattern, colour = judge.scores(batch_of(crops, rows, generator), crops.views[rows])
        loss = F.cross_entropy(pattern, crops.patterns[rows], label_smoothing=0.03) + F.cross_entropy(colour, crops.colours[rows], label_smoothing=0.03)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        cycle.step()
        value = float(loss.detach())
        mean = value if step == 0 else 0.98 * mean + 0.02 * value
        if step % 100 == 99:
            say(f"step {step + 1} of {steps}, loss {mean:.3f}")
    return judge.eval()


@torch.no_grad()
def accuracy(judge: Judge, crops: Crops, blur: float = 0.0) -> dict[str, dict[str, float]]:
    """Shares of right answers per view and over all: {"upper": {"count", "pattern", "colour"}, ..., "all": ...}."""
    right = []
    for rows in torch.arange(len(crops)).split(128):
        planes = crops.planes(rows)
        planes = blurred(planes, blur) if blur else planes
        pattern, colour = judge.eval().scores(sample_boxes(planes, crops.boxes[rows]), crops.views[rows])
        right.append(torch.stack([pattern.argmax(1) == crops.patterns[rows], colour.argmax(1) == crops.colours[rows]], 1))
    right, out = torch.cat(right).float(), {}
    for name in (*VIEWS, "all"):
        chosen = right if name == "all" else right[crops.views == VIEWS.index(name)]
        if len(chosen):
            out[name] = {"count": len(chosen), "pattern": float(chosen[:, 0].mean()), "colour": float(chosen[:, 1].mean())}
    return out
