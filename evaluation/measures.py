"""What is measured of results on the drawn world, where every sample's whole truth is known.

A measure takes `Results` and gives per name one value per sample, None where a sample has no such value. `LABELS` says what the names are.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from ..models.parts.probe import Probe, concentration
from ..models.parts.watch import SHADOW
from ..training.draws import generator
from .judge import VIEWS, Judge, box_of
from .world import DrawnSource

Values = dict[str, list[float | None]]
PRINTED = ("letter print", "logo", "star print", "heart print")
ATTENTION_STEPS = (50, 150, 250, 350, 450)
"""Timesteps at which attention is looked at: below SIFT-VTON's 500."""
NEAR = 8.0
"""Radius, in pixels, within which attention counts as at its true place: one latent cell."""
SHADOW_STEP = 300


class Label(NamedTuple):
    """What a value is: for people, whether larger is better, and whether it is a share (shown in per cent)."""

    text: str
    higher: bool
    share: bool = False


LABELS = {
    "pattern": Label("pattern right", True, True),
    "colour": Label("base colour right", True, True),
    "confused": Label("garments confused", False, True),
    "psnr": Label("PSNR in the region, dB", True),
    "ssim": Label("SSIM in the region", True),
    "colour_error": Label("mean colour off, of 255", False),
    "detail": Label("correlation of edges", True),
    "legible": Label("legibility of prints (correlation)", True),
    "attention": Label("attention at the true place", True, True),
    "attention_times": Label("times an even spread", True),
    "shadow_iou": Label("IoU of the shadow mask", True, True),
}


@dataclass
class Results:
    """Results of one run.

    Attributes:
        source: the samples, with their truth. numbers: which of them.
        pictures: (N,3,H,W) results. true: (N,3,H,W) what each should be.
        task, batches: the method in training's form, and the encoded samples as batches, to look into forwards; None where there is no method.
    """

    source: DrawnSource
    numbers: list[int]
    pictures: Tensor
    true: Tensor
    task: Any = None
    batches: tuple = ()

    def garments(self):
        """Per sample (slot of the first garment, the worn garment, all garments by slot)."""
        for number in self.numbers:
            drawn, slot = self.source.truth(number), self.source.slot(number)
            yield slot, drawn.garments[slot], {s: g for s, g in drawn.garments.items() if s in VIEWS}


@cache
def judge() -> Judge:
    """The bundled judge, read once."""
    return Judge.load()


# ---- garments, as the judge sees them --------------------------------------------------------------------------------------


def flat_garment(results: Results) -> Values:
    """Pattern and base colour of garments lying flat (try-off)."""
    worn = [w for _, w, _ in results.garments()]
    return _right(results, [box_of(w.picture_mask) for w in worn], ["flat"] * len(worn), [w.garment for w in worn])


def worn_garment(results: Results) -> Values:
    """Pattern and base colour of the garment that was put on, looked for where it may be."""
    found = list(results.garments())
    return _right(results, [box_of(w.agnostic_mask) for _, w, _ in found], [s for s, _, _ in found], [w.garment for _, w, _ in found])


def _right(results: Results, boxes: list, views: list[str], garments: list) -> Values:
    verdict = judge()(results.pictures.movedim(1, -1), torch.from_numpy(np.stack(boxes)), views)
    pattern, colour = verdict.right(garments)
    return {"pattern": pattern.astype(float).tolist(), "colour": colour.astype(float).tolist()}


@cache
def usual_boxes(height: int, width: int, count: int = 24) -> dict[str, np.ndarray]:
    """Where a garment of a slot usually is: the median box of some persons. For pictures from nothing, whose persons stand as they like."""
    boxes: dict[str, list] = {}
    for outfit, slots in (("separates", ("upper", "lower")), ("dress", ("dress",))):
        source = DrawnSource("person", height, width, 900_000_000, count, outfit=outfit, hat=False)
        for number in range(count):
            for slot in slots:
                boxes.setdefault(slot, []).append(box_of(source.truth(number).garments[slot].mask))
    return {slot: np.median(np.stack(found), 0).astype(np.float32) for slot, found in boxes.items()}


def every_garment(results: Results) -> Values:
    """All garments of persons drawn from nothing: shares right of each, and whether one was taken for another.

    A garment counts as confused where its judged colour is another worn garment's and not its own, or, with equal colours, its judged pattern is.
    Shown per sample: the mean over its garments.
    """
    boxes, out = usual_boxes(*results.pictures.shape[-2:]), {"pattern": [], "colour": [], "confused": []}
    for picture, number, (_, _, garments) in zip(results.pictures, results.numbers, results.garments()):
        slots, hat = list(garments), results.source.truth(number).garments.get("hat") if results.source.hats else None
        verdict = judge()(picture.movedim(0, -1)[None], torch.from_numpy(np.stack([boxes[s] for s in slots])), slots)
        mine = [garments[s].garment for s in slots]
        worn = mine + ([hat.garment] if hat is not None else [])
        pattern, colour = verdict.right(mine)
        out["pattern"].append(float(pattern.mean()))
        out["colour"].append(float(colour.mean()))
        out["confused"].append(None if len(worn) < 2 else float(np.mean([_taken_for(verdict, i, worn) for i in range(len(mine))])))
    return out


def _taken_for(verdict, place: int, garments: list) -> bool:
    own, others = garments[place], [g for i, g in enumerate(garments) if i != place]
    if any(g.base == own.base for g in others):
        return verdict.patterns[place] != own.pattern and any(verdict.patterns[place] == g.pattern for g in others)
    return verdict.colours[place] != own.base and any(verdict.colours[place] == g.base for g in others)


# ---- pixels ----------------------------------------------------------------------------------------------------------------


def _region(results: Results, place: int) -> np.ndarray:
    """Where a result should equal its truth: the garment, the product, the piece; bool (H,W)."""
    drawn = results.source.truth(results.numbers[place])
    kind = results.source.world.kind
    if kind == "insertion":
        return drawn.product_mask > 0.5
    if kind == "jewelry":
        return (drawn.jewelry_mask > 0.5) | (drawn.shadow_mask > 0.5)
    worn = drawn.garments[results.source.slot(results.numbers[place])]
    return (worn.picture_mask if results.task is not None and results.task.kind == "igr" else worn.mask) > 0.5


def pixels(results: Results) -> Values:
    """PSNR, mean colour and edges inside the thing."""
    out: Values = {"psnr": [], "colour_error": [], "detail": []}
    for place, (made, true) in enumerate(zip(results.pictures, results.true)):
        inside = torch.from_numpy(_region(results, place))
        a, b = made[:, inside], true[:, inside]
        out["psnr"].append(float(-10 * torch.log10((a - b).pow(2).mean().clamp_min(1e-8))))
        out["colour_error"].append(float((a.mean(1) - b.mean(1)).norm() * 255))
        out["detail"].append(correlation(*(edges(p)[:, inside] for p in (made, true))))
    return out


def edges(picture: Tensor) -> Tensor:
    """Differences to the right and downward neighbour, (6,H,W) of (3,H,W)."""
    right, down = picture.roll(-1, 2) - picture, picture.roll(-1, 1) - picture
    right[..., -1], down[:, -1] = 0, 0
    return torch.cat((right, down))


def correlation(a: Tensor, b: Tensor) -> float | None:
    """Pearson's, over all values; None where either is constant."""
    a, b = a.flatten().double() - a.double().mean(), b.flatten().double() - b.double().mean()
    size = a.norm() * b.norm()
    return float(a @ b / size) if size > 1e-9 else None


def prints(results: Results) -> Values:
    """How legible a print is: correlation of result and truth in brightness inside the print (its box on the person), garments with a print only."""
    out: list[float | None] = []
    for made, true, (_, worn, _) in zip(results.pictures, results.true, results.garments()):
        out.append(legibility(made, true, worn) if worn.garment.pattern in PRINTED else None)
    return {"legible": out}


def legibility(made: Tensor, true: Tensor, worn) -> float | None:
    """The correlation inside the box of the pixels that carry the second colour; None where the print is hidden."""
    from ..data.synthetic.palette import COLOURS

    near = np.abs(worn.unlit - COLOURS[worn.garment.second]).sum(-1) < np.abs(worn.unlit - COLOURS[worn.garment.base]).sum(-1)
    near &= (worn.mask > 0.5) & (worn.parts == 5)
    if near.sum() < 12:
        return None
    x0, y0, x1, y1 = (int(v) for v in box_of(near))
    inside = torch.from_numpy(worn.mask > 0.5)[y0:y1, x0:x1]
    return correlation(*(p.mean(0)[y0:y1, x0:x1][inside] for p in (made, true)))


# ---- inside the forward ----------------------------------------------------------------------------------------------------


@torch.no_grad()
def attention(results: Results) -> Values:
    """SIFT-VTON's figure 4 in numbers: attention of true matches near their true place, and how many times an even spread that is."""
    share, times = [], []
    size = tuple(results.pictures.shape[-2:])
    for batch in results.batches:
        matches, valid = batch.get("matches"), batch.get("matches_valid")
        probes = []
        for image in range(len(batch)):
            points = matches[image][valid[image] > 0][:64].cpu()
            probes.append((Probe((points[:, 0] + 0.5) / torch.tensor([size[1], size[0]]), image=image), points[:, 1]) if len(points) else None)
        for t in ATTENTION_STEPS:
            times_ = torch.full((len(batch),), t, device=batch.z0.device)
            noise = torch.stack([torch.randn(z.shape, generator=generator(0, "attention", n)) for z, n in zip(batch.z0, batch.numbers)]).to(batch.z0)
            z_t = results.task.schedule.add_noise(batch.z0, noise, times_)
            results.task.predict(batch, z_t, times_, torch.ones(len(batch), dtype=torch.bool, device=z_t.device), _All([p[0] for p in probes if p]))
        for probe in probes:
            if probe is None or not probe[0].maps:
                share.append(None), times.append(None)
                continue
            near, even = concentration(probe[0].average(), probe[1], NEAR, size)
            share.append(float(near.mean()))
            times.append(float(near.mean() / even.mean().clamp_min(1e-9)))
    return {"attention": share, "attention_times": times}


class _All:
    """Several probes, of several images, as one watch."""

    def __init__(self, probes: list[Probe]):
        self.probes = probes

    def wants(self, place) -> bool:
        return any(p.wants(place) for p in self.probes)

    def see(self, place, *, images: list[int], **seen) -> None:
        for probe in self.probes:
            if probe.image in images and "key_grid" in seen:
                probe.see(place, images=images, **seen)


@torch.no_grad()
def shadow(results: Results) -> Values:
    """IoU of the predicted shadow mask with the true one, at one timestep, inside the repainted region."""
    out: list[float | None] = []
    for batch in results.batches:
        look = _Logits()
        t = torch.full((len(batch),), SHADOW_STEP, device=batch.z0.device)
        noise = torch.stack([torch.randn(z.shape, generator=generator(0, "shadow", n)) for z, n in zip(batch.z0, batch.numbers)]).to(batch.z0)
        results.task.predict(batch, results.task.schedule.add_noise(batch.z0, noise, t), t, torch.ones(len(batch), dtype=torch.bool, device=t.device), look)
        true, inside = batch.get("shadow"), batch.get("mask")
        for place in range(len(batch)):
            if place not in look.logits or true is None:
                out.append(None)
                continue
            mask = interpolate(look.logits[place][None], true.shape[-2:], mode="bilinear")[0] > 0
            out.append(iou(mask & (inside[place] > 0.5), (true[place] > 0.5) & (inside[place] > 0.5)))
    return {"shadow_iou": out}


class _Logits:
    """Keeps the shadow mask's logits of each image."""

    def __init__(self):
        self.logits: dict[int, Tensor] = {}

    def wants(self, place) -> bool:
        return place == SHADOW

    def see(self, place, *, images: list[int], logits: Tensor, acting: Tensor) -> None:
        self.logits |= {image: row for image, row in zip(images, logits.cpu())}


def iou(a: Tensor, b: Tensor) -> float | None:
    """Intersection over union of two masks; None where the second is empty."""
    a, b = a.cpu(), b.cpu()
    return float((a & b).sum() / (a | b).sum()) if bool(b.any()) else None


MEASURES: dict[str, Callable[[Results], Values]] = {
    "flat_garment": flat_garment, "worn_garment": worn_garment, "every_garment": every_garment, "pixels": pixels, "prints": prints, "attention": attention, "shadow": shadow,
}
