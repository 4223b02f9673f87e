"""Ablations on the drawn world: one thing of a method is changed at a time, everything trained anew from several seeds, measured on held-out samples.

An `Ablation` is a list of `Variant`s of one method with one budget; `run` trains and measures them and keeps one row per variant and seed, so that
a stopped sweep goes on where it was. Training is the project's own (`training.loop.Trainer`), and sampling is DDIM through the same patches.
What these numbers can tell is which variant is better in this small world, with this budget; never a paper's numbers.
"""

from __future__ import annotations

import json
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cache
from hashlib import blake2b
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from ..models.method import FittingMethod
from ..models.registry import METHODS
from ..models.weights import Header, write_bytes
from ..training.config import Recipe, TrainConfig, read_recipe
from ..training.draws import generator
from ..training.loop import Hooks, Trainer
from ..training.networks import Networks
from ..training.parallel import Alone
from ..training.preview import ddim
from ..training.tasks import task_class
from .measures import MEASURES, Results
from .statistics import mean_and_spread
from .world import DRAWN, HELD_OUT, DrawnSource

TRAIN_SEED = 0
"""Training samples are the world's from here on, the same for all seeds; a run's seed is that of weights, order, timesteps and noise."""

RECIPES = Path(__file__).resolve().parents[1] / "training" / "recipes"

OWN = ("trained", "untrained", "bundled")
"""Of `Variant.weights`: what a variant starts from by itself, and not by another variant or the truth."""

CALM = {"garment_drop": 0.0, "box_masks": 0.0, "hint_drop": 0.0}
"""Options of batches that draw something anew, as they are when results are measured."""


@dataclass(frozen=True)
class Budget:
    """What every variant gets: training steps and batch, training samples, held-out samples, sampling steps, picture size."""

    steps: int = 900
    batch: int = 8
    samples: int = 3000
    held_out: int = 64
    sampling_steps: int = 20
    height: int = 128
    width: int = 96


@dataclass(frozen=True)
class Variant:
    """One row of an ablation.

    Attributes:
        name: for people. options: of the method, over the ablation's.
        train: settings of `TrainConfig` over the ablation's; `losses` and `options` are merged.
        stages: further stages, settings over those of the first; each trains on from the weights before for `share` of the steps, on `data`.
        freeze: beginnings of names of the method's parameters that do not learn.
        data: options of the training source, over the ablation's. vision: another demo image encoder.
        guidance: of sampling; None is the ablation's.
        weights: "trained", "untrained" (the method as it starts), "bundled" (the demo weights in models/demo), "truth" (no method: true pictures
            through the autoencoder), or the name of a variant whose trained weights this one samples with.
        needs: networks of `training.networks` that its losses look through; without them the variant is left out, and said.
    """

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)
    train: Mapping[str, Any] = field(default_factory=dict)
    stages: tuple[Mapping[str, Any], ...] = ()
    freeze: tuple[str, ...] = ()
    data: Mapping[str, Any] = field(default_factory=dict)
    vision: str = ""
    guidance: float | None = None
    weights: str = "trained"
    needs: tuple[str, ...] = ()


@dataclass(frozen=True)
class Ablation:
    """One table.

    Attributes:
        name, title: for programs, for people. method: kind. paper: which table or figure it is after, and what that says.
        measures: of `measures.MEASURES`. main: the value that decides (of `measures.LABELS`).
        options, train, data: of all variants, over those of the method's demo recipe (`training/recipes/demo_*.toml`). held: options of the held-out source, over `data`. guidance: of sampling. variants: the rows.
        limits: what this small world cannot tell.
    """

    name: str
    title: str
    method: str
    paper: str
    measures: tuple[str, ...]
    main: str
    variants: tuple[Variant, ...]
    options: Mapping[str, Any] = field(default_factory=dict)
    train: Mapping[str, Any] = field(default_factory=dict)
    data: Mapping[str, Any] = field(default_factory=dict)
    held: Mapping[str, Any] = field(default_factory=dict)
    guidance: float = 2.0
    limits: str = ""

    @property
    def recipe(self) -> Recipe:
        """How the method's demo weights are trained: model, settings, size of its parts."""
        return _recipe(self.method)

    def variant(self, name: str) -> Variant:
        """By name.

        Raises:
            ValueError: there is none.
        """
        found = next((v for v in self.variants if v.name == name), None)
        if found is None:
            raise ValueError(f"The ablation '{self.name}' has no variant '{name}'; it has {', '.join(v.name for v in self.variants)}.")
        return found


@cache
def _recipe(method: str) -> Recipe:
    return read_recipe(RECIPES / f"demo_{method}.toml")


class Bench(Protocol):
    """The host's side (`host.Bench`): where models come from."""

    networks: Networks

    def start(self, method: type[FittingMethod], channels: int, vision: str, options: Mapping[str, Any] | None, seed: int) -> tuple[Any, Any]:
        """(studio, method) on the demo stack: untrained with these options, or with its bundled demo weights for None."""

    def bundled(self, kind: str) -> str:
        """A hash of a method's bundled demo weights, "" where there are none."""

    def trained(self, method: type[FittingMethod], header: Header, tensors: Mapping[str, Tensor], name: str) -> Any:
        """A method with these weights."""

    def learning(self):
        """The context in which everything runs."""

    def machine(self) -> dict[str, str]:
        """What it ran on."""


# ---- one row ---------------------------------------------------------------------------------------------------------------


def settings(ablation: Ablation, variant: Variant, budget: Budget, seed: int, stage: int = 0) -> TrainConfig:
    """The settings of a variant's stage (0 is the first)."""
    values: dict[str, Any] = {
        **ablation.recipe.stages[0][1].to_dict(), "steps": budget.steps, "batch": budget.batch, "schedule": "cosine", "warmup": max(1, budget.steps // 20), "width": budget.width,
        "height": budget.height, "seed": seed, "validate_every": 0, "checkpoint_every": 0, "log_every": 10, "keep": 0,
    }
    for more in (ablation.train, variant.train, *variant.stages[:stage]):
        more = dict(more)
        share, _ = more.pop("share", None), more.pop("data", None)
        for name in ("losses", "options"):
            values[name] = {**values.get(name, {}), **more.pop(name, {})}
        values |= more
        values |= {"steps": max(1, round(budget.steps * share))} if share else {}
    return TrainConfig.from_dict(values, f"the ablation '{ablation.name}'")


def training_source(ablation: Ablation, variant: Variant, budget: Budget, stage: int = 0) -> DrawnSource:
    """What a stage learns from."""
    options, length = {**ablation.data, **variant.data}, budget.samples
    for more in variant.stages[:stage]:
        options |= more.get("data", {})
        length = max(budget.batch, round(length * options.pop("share", 1.0)))
    return DrawnSource(DRAWN[ablation.method], budget.height, budget.width, TRAIN_SEED, length, **options)


def held_out_source(ablation: Ablation, budget: Budget) -> DrawnSource:
    """What is measured on: the same for every variant."""
    return DrawnSource(DRAWN[ablation.method], budget.height, budget.width, HELD_OUT, budget.held_out, **{**ablation.data, **ablation.held})


def train(bench: Bench, ablation: Ablation, variant: Variant, budget: Budget, seed: int, folder: Path, hooks: Hooks, cache: Path | None):
    """(studio, task with its trained weights in it, notes) of a variant."""
    kind = METHODS[ablation.method]
    model = ablation.recipe.model
    options = None if variant.weights == "bundled" else {**model.get("demo_options", {}), **ablation.options, **variant.options}
    studio, method = bench.start(kind, int(model.get("in_channels", 4)), variant.vision or model.get("demo_vision", "clip"), options, seed)
    notes = []
    for stage in range(len(variant.stages) + 1):
        config = settings(ablation, variant, budget, seed, stage)
        task = task_class(ablation.method)(studio, method, config, None, bench.networks)
        for name, parameter in task.module.named_parameters():
            if name.startswith(variant.freeze):
                parameter.requires_grad_(False)
        if variant.weights != "trained":
            return studio, task, [method.header.trained]
        trainer = Trainer(task, training_source(ablation, variant, budget, stage), config, folder / f"stage{stage}", hooks, cache, Alone())
        result = trainer.run()
        notes += [f"stage {stage + 1}: {result.steps} steps, loss {result.history['loss'][-1]:.4g}", *trainer.notes]
        if stage < len(variant.stages):
            header = replace(method.header, trained=f"{result.steps} steps", data="drawn world")
            method = bench.trained(kind, header, result.tensors, variant.name)
        else:
            trainer.ema.swap(trainer.parameters)
    return studio, task, notes


@torch.no_grad()
def sample(task, held_out: DrawnSource, budget: Budget, guidance: float, stop: Callable[[], None]) -> tuple[Tensor, tuple]:
    """(pictures (N,3,H,W) in the order of the samples, their batches): DDIM, the same noise for every variant and seed of training."""
    task.setting = {**task.setting, **{k: v for k, v in CALM.items() if k in task.setting}}
    encoded = [task.encode(held_out.sample(i)) for i in range(len(held_out))]
    made: dict[int, Tensor] = {}
    batches = []
    for start in range(0, len(encoded), budget.batch):
        numbers = list(range(start, min(start + budget.batch, len(encoded))))
        for batch in task.batches([encoded[n] for n in numbers], numbers):
            stop()
            noise = torch.stack([torch.randn(z.shape, generator=generator(0, "held-out", n)) for z, n in zip(batch.z0, batch.numbers)])
            pictures = task.studio.pictures(ddim(task, batch, noise.to(batch.z0), budget.sampling_steps, guidance, stop))
            made |= dict(zip(batch.numbers, pictures))
            batches.append(batch)
    return torch.stack([made[n] for n in range(len(encoded))]), tuple(batches)


def pasted(task, held_out: DrawnSource, pictures: Tensor) -> Tensor:
    """Results with everything outside the repainted region as it was, for methods that fill a hole (Composite Back)."""
    if task.kind in ("anydressing", "igr"):
        return pictures
    samples = [held_out.sample(i) for i in range(len(held_out))]
    masks = torch.stack([s.mask for s in samples])
    return pictures * masks + torch.stack([s.person for s in samples]) * (1 - masks)


def measured(ablation: Ablation, task, held_out: DrawnSource, pictures: Tensor, batches: tuple) -> dict[str, list[float | None]]:
    """Every value of every held-out sample; values a sample does not have are None."""
    true = torch.stack([task.target(held_out.sample(i)) for i in range(len(held_out))])
    order = [n for batch in batches for n in batch.numbers]
    out: dict[str, list[float | None]] = {}
    for name in ablation.measures:
        inside = name in ("attention", "shadow")  # values come batch by batch
        if inside and not batches:
            continue
        results = Results(held_out, order if inside else list(range(len(held_out))), pictures[order] if inside else pictures, true[order] if inside else true, task, batches)
        for label, values in MEASURES[name](results).items():
            out[label] = [v for _, v in sorted(zip(order, values))] if inside else values
    return out


# ---- a sweep ---------------------------------------------------------------------------------------------------------------


def run(
    bench: Bench, ablation: Ablation, budget: Budget, seeds: Sequence[int], output: Path, variants: Sequence[str] = (), hooks: Hooks | None = None,
    cache: Path | None = None, say: Callable[[str], None] = lambda _: None,
) -> Path:
    """Train and measure every variant with every seed; returns the JSON file, <output>/<ablation>.json.

    A file of the same budget that is there already keeps its rows, so a stopped sweep goes on; another budget's is refused.

    Raises:
        ValueError: an unknown variant, or rows of another budget.
    """
    chosen = [ablation.variant(n) for n in variants] if variants else list(ablation.variants)
    path, hooks = output / f"{ablation.name}.json", hooks or Hooks()
    table = _rows_there(path, ablation, budget, bench)
    cache = None if cache is None else cache / f"{ablation.name}-{blake2b(table['identity']['base'].encode(), digest_size=6).hexdigest()}"  # encoders are the stack's
    done = {(r["variant"], r["seed"]) for r in table["rows"]}
    for seed in seeds:
        for leader in chosen:
            group = [v for v in chosen if (v is leader or v.weights == leader.name) and (v.name, seed) not in done]
            if leader.weights not in (*OWN, "truth") and leader.weights in {v.name for v in chosen} or not group:
                continue
            if missing := [n for n in leader.needs if bench.networks.missing(n)]:
                table["left_out"][leader.name] = f"it looks through {', '.join(missing)}, whose weights are not in models/metrics."
                continue
            say(f"{ablation.name}, seed {seed}: {leader.name}")
            for row, pictures in _group(bench, ablation, leader, group, budget, seed, hooks, cache):
                table["rows"].append(row)
                done.add((row["variant"], seed))
                write_bytes(path, (json.dumps(table, indent=1) + "\n").encode())
                if seed == seeds[0]:
                    _keep_pictures(pictures, output / "pictures" / f"{ablation.name}-{_plain(row['variant'])}.png")
                say("  " + row["variant"] + ": " + ", ".join(f"{k} {v:.3g}" for k, v in row["means"].items() if v is not None))
    write_bytes(path, (json.dumps(table, indent=1) + "\n").encode())
    return path


def _rows_there(path: Path, ablation: Ablation, budget: Budget, bench: Bench) -> dict:
    identity = {"ablation": ablation.name, "budget": asdict(budget), "train": settings(ablation, ablation.variants[-1], budget, 0).fingerprint(), "base": bench.machine().get("stack", "")}
    if any(v.weights == "bundled" for v in ablation.variants):
        identity["bundled"] = bench.bundled(ablation.method)
    if path.is_file():
        table = json.loads(path.read_text(encoding="utf-8"))
        if table["identity"] != identity:
            raise ValueError(f"'{path.name}' holds rows of another budget, or of other demo weights; move it away, or give another --output.")
        return table
    return {"identity": identity, "title": ablation.title, "paper": ablation.paper, "machine": bench.machine(), "left_out": {}, "rows": []}


def _group(bench: Bench, ablation: Ablation, leader: Variant, group: list[Variant], budget: Budget, seed: int, hooks: Hooks, cache: Path | None):
    """Rows of variants that share the leader's weights, with their pictures."""
    scratch = Path(tempfile.mkdtemp(prefix="fitting-room-ablation-"))
    try:
        with bench.learning():
            started = time.monotonic()
            basis = leader if leader.weights in OWN else replace(leader, weights="untrained") if leader.weights == "truth" else ablation.variant(leader.weights)
            studio, task, notes = train(bench, ablation, basis, budget, seed, scratch, hooks, cache)
            trained = time.monotonic() - started
            for variant in group:
                started = time.monotonic()
                held_out = held_out_source(ablation, budget)
                if variant.weights == "truth":
                    true = torch.stack([task.target(held_out.sample(i)) for i in range(len(held_out))])
                    pictures, batches = studio.pictures(torch.cat([studio.latent(t[None]) for t in true])), ()
                else:
                    guidance = ablation.guidance if variant.guidance is None else variant.guidance
                    pictures, batches = sample(task, held_out, budget, guidance, hooks.stop)
                    pictures = pasted(task, held_out, pictures)
                values = measured(ablation, task, held_out, pictures, batches)
                row = {
                    "variant": variant.name, "seed": seed, "means": {k: _mean(v) for k, v in values.items()}, "counts": {k: sum(x is not None for x in v) for k, v in values.items()},
                    "values": {k: [None if x is None else round(x, 5) for x in v] for k, v in values.items()}, "notes": notes,
                    "seconds": {"training": round(trained, 1), "sampling and measuring": round(time.monotonic() - started, 1)},
                }
                yield row, pictures
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _mean(values: list[float | None]) -> float | None:
    kept = [v for v in values if v is not None]
    return mean_and_spread(kept)[0] if kept else None


def _plain(name: str) -> str:
    return "".join(c if c.isalnum() else "-" for c in name.lower()).strip("-")


def _keep_pictures(pictures: Tensor, path: Path, most: int = 16) -> None:
    """The first results of a variant in a row of eight each, as a PNG."""
    from io import BytesIO

    from PIL import Image

    shown = pictures[:most]
    rows = [torch.cat(list(shown[i : i + 8]) + [torch.ones_like(shown[0])] * (8 - len(shown[i : i + 8])), 2) for i in range(0, len(shown), 8)]
    data = BytesIO()
    Image.fromarray((torch.cat(rows, 1).clamp(0, 1) * 255).round().byte().movedim(0, -1).numpy()).save(data, "PNG")
    write_bytes(path, data.getvalue())
