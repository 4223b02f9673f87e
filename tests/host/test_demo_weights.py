"""The bundled demo weights still do what they were trained for: every method beats its own untrained start by a wide margin.

Held-out samples of the drawn world, a fixed seed, few steps. The margins leave room for another processor's rounding and none for a broken
equation.
"""

from __future__ import annotations

from functools import cache

import pytest
import torch

from ..training.support import DRAWN

HELD_OUT = 510_000_000
"""Seeds that no training sees."""
COUNT, STEPS = 8, 12
CHANNELS = {"anydressing": 4, "igr": 4, "sift_vton": 9, "diffuse_to_choose": 9, "pm_jewelry": 9}
GAINS = {"anydressing": 0.9, "igr": 0.8, "sift_vton": 0.8, "diffuse_to_choose": 0.9, "pm_jewelry": 0.95}
"""Largest error inside the region, as a share of the untrained start's."""


@pytest.fixture(scope="module")
def task(comfyui, tmp_path_factory):
    """Tasks by (kind, trained): the method on the demo stack with encoded held-out samples."""
    from fitting_room import host
    from fitting_room.data.drawn import draw_folder
    from fitting_room.data.find import find_pairs
    from fitting_room.data.source import PairSource
    from fitting_room.models.registry import METHODS
    from fitting_room.training.config import TrainConfig
    from fitting_room.training.tasks import task_class

    folder = tmp_path_factory.mktemp("held_out")

    @cache
    def make(kind: str, trained: bool):
        model, clip, vae, known = host.demo_stack(CHANNELS[kind])
        method, bundled = host.demo_method(model, METHODS[kind])
        if not (known and bundled):
            pytest.skip(f"the demo weights of {kind} are not bundled yet: tools/train_demo.py makes them")
        if not trained:
            method = host.new_method(METHODS[kind], model, 0, host.DEMO_OPTIONS[kind])
        vision = host.demo_vision("dinov2" if kind == "diffuse_to_choose" else "clip")
        pairs = find_pairs(DRAWN[kind], draw_folder(folder / DRAWN[kind], COUNT, 128, 96, what=DRAWN[kind], seed=HELD_OUT))
        config = TrainConfig(width=96, height=128, batch=COUNT, validation_steps=STEPS, base="frozen")
        with host.learning():
            work = task_class(kind)(host.Studio(model, vae, clip, vision), method, config)
            source = PairSource(pairs, 128, 96)
            samples = [source.sample(i) for i in range(COUNT)]
            return work, samples, [work.encode(s) for s in samples]

    return make


@torch.no_grad()
def drawn(work, items) -> torch.Tensor:
    """Pictures (N,3,H,W) of all samples from the same noise, whatever the weights."""
    from fitting_room.training.preview import ddim

    out = [None] * len(items)
    order = {item.name: place for place, item in enumerate(items)}
    for batch in work.batches(items, list(range(len(items)))):
        places = [order[name] for name in batch.names]
        noise = torch.stack([torch.randn(batch.z0.shape[1:], generator=torch.Generator().manual_seed(p)) for p in places])
        for place, picture in zip(places, work.studio.pictures(ddim(work, batch, noise, STEPS, 2.0))):
            out[place] = picture
    return torch.stack(out)


def region(kind: str, sample, number: int) -> torch.Tensor:
    """(1,H,W): where the thing is that the method draws. A piece of jewelry is a small part of what is repainted, and the rest is skin, which
    the untrained start paints as well."""
    from fitting_room.data.synthetic import jewelry_sample

    if kind == "pm_jewelry":
        return torch.from_numpy(jewelry_sample(HELD_OUT + number, *sample.person.shape[-2:]).jewelry_mask)[None]
    return torch.ones_like(sample.person[:1]) if kind in ("igr", "anydressing") else sample.mask


@pytest.mark.parametrize("kind", list(GAINS))
def test_trained_weights_draw_closer_to_the_truth_than_untrained_ones(task, kind):
    from fitting_room import host

    errors = {}
    for trained in (True, False):
        with host.learning():
            work, samples, items = task(kind, trained)
            pictures = drawn(work, items)
        true = torch.stack([work.target(s) for s in samples])
        inside = torch.stack([region(kind, s, n) for n, s in enumerate(samples)])
        # mean colour of 8 x 8 cells: where a pattern sits to the pixel is not what a small net promises
        shrink = torch.nn.functional.avg_pool2d
        weight = shrink(inside, 8)
        errors[trained] = float(((shrink(pictures, 8) - shrink(true, 8)).abs() * weight).sum() / (3 * weight.sum()))
    assert errors[True] < GAINS[kind] * errors[False], f"{kind}: {errors[True]:.4f} against {errors[False]:.4f} untrained"
