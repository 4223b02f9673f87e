"""Diffuse to Choose's part of `tryoff_insert.py`: the hint encoder in every step beside the encoder once, and the variants of table 1.

100 % is the same 9-channel U-Net with 77 text tokens and no hint; both halves of the guidance run, as in sampling.
"""

from __future__ import annotations

import contextlib
import statistics
import time
from dataclasses import replace

SIZES, STEPS = ((512, 512), (768, 576)), 40
PER_STEP_TARGET, FIXED_TARGET = 1.40, 1.04  # of a step, and of a whole picture
FORMS = {
    "plain, 77 tokens": None,
    "plain, 257 tokens": None,
    "per_step": {},
    "per_step, FiLM per channel": {"film_mode": "channel"},
    "per_step, addition": {"integration": "add"},
    "per_step, cross-attention": {"integration": "cross_attention"},
    "per_step, conditional half only": {"rows": "conditional"},
    "fixed": {"timestep_mode": "fixed"},
    "fixed, encoder every step": {"timestep_mode": "fixed"},
}
TIMED = ("plain, 77 tokens", "plain, 257 tokens", "per_step", "fixed", "fixed, encoder every step")


# ---- FLOPs, on the meta device ---------------------------------------------------------------------------------------


def flops() -> dict:
    """TFLOP of a guided step and of a whole picture of 40 steps for every form, with ratios to plain sampling."""
    import torch
    from fitting_room.host import blocks
    from fitting_room.host.models import PlainOps
    from fitting_room.models.parts.layers import Layers
    from fitting_room.models.parts.sites import UNetShape

    layers = Layers(PlainOps, torch.float32, "meta", blocks)
    unet, out = blocks.unet(UNetShape(9), layers), {}
    for size in SIZES:
        forms = {name: dict(zip(("step", "picture"), steps(unet, layers, name, size))) for name in FORMS}
        for entry in forms.values():
            entry |= {f"{k}_ratio": entry[k] / forms["plain, 77 tokens"][k] for k in ("step", "picture")}
        out[f"{size[1]}x{size[0]}"] = forms
    return {"steps": STEPS, "sizes": out, "per_step_target": PER_STEP_TARGET, "fixed_target": FIXED_TARGET}


def steps(unet, layers, name: str, size: tuple[int, int]) -> tuple[float, float]:
    """TFLOP of a later guided step, and of all of them with whatever the first one does once."""
    import torch
    from fitting_room.host.denoiser import KEY, PATCHES, ROWS, WRAPPERS, _Install
    from fitting_room.models.parts.patches import Memo

    h, w = (side // 8 for side in size)
    options, patches = {}, form_patches(layers, name, torch.empty(1, 3, *size, device="meta"))
    if patches is not None:
        installs = [_Install(patches, float("inf"), float("-inf"))]
        options = {"patches": {k: [v] for k, v in PATCHES.items()}, "wrappers": {WRAPPERS.DIFFUSION_MODEL: {KEY: installs}}, f"{KEY}_memo": Memo()}
    x, t = torch.empty(2, 9, h, w, device="meta"), torch.empty(2, device="meta")
    context = torch.empty(2, 77 if "77" in name else 257, 768, device="meta")
    call = lambda: unet(x, t, context=context, transformer_options=dict(options), **{ROWS: torch.tensor([[-1], [1]])})  # noqa: E731
    with equal_on_meta():
        first, later = count(call), count(call)
    return later, first + (STEPS - 1) * later


def form_patches(layers, name: str, hint):
    """What a form asks of the denoiser, or None for plain sampling."""
    from fitting_room.models.diffuse_to_choose import DiffuseToChoose, DiffuseToChooseConfig

    if FORMS[name] is None:
        return None
    module = DiffuseToChoose(DiffuseToChooseConfig(main_unet="frozen", **FORMS[name]), layers)
    return every_step(module.patches(hint), "every step" in name)


def every_step(patches, wanted: bool):
    """The literal form of the fixed mode: nothing is kept from step to step."""
    if wanted:
        patches.prepare.__self__.lasts = 1
    return patches


@contextlib.contextmanager
def equal_on_meta():
    """Tensors without values cannot be compared; the same call has the same inputs."""
    from fitting_room.models.parts import kept

    before, kept._same = kept._same, lambda a, b: all(x.shape == y.shape for x, y in zip(a, b))
    try:
        yield
    finally:
        kept._same = before


def count(call) -> float:
    """TFLOP that `call` takes."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        call()
    return counter.get_total_flops() / 1e12


# ---- seconds ---------------------------------------------------------------------------------------------------------


def times(options, device: str) -> dict:
    """Median seconds per guided step for the main forms in interleaved rounds, and of the largest rectangle of a 1024 x 1024 mask.

    On a CPU the process's own seconds are counted, which other programs on a shared machine change little.
    """
    import torch
    from fitting_room import host
    from fitting_room.host.demo import demo_unet
    from fitting_room.models.diffuse_to_choose import DiffuseToChoose
    from fitting_room.models.parts.sites import UNetShape

    with torch.inference_mode():
        model = demo_unet(UNetShape(9))
        method = host.new_method(DiffuseToChoose, model, 0, {"main_unet": "frozen"})
        seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in TIMED}
        for _ in range(2):
            for name in TIMED:
                seconds[name].append(one_run(model, method, name, options, device))
    out = {name: {"first_s": statistics.median(s[0] for s in runs), "step_s": statistics.median(s[1] for s in runs)} for name, runs in seconds.items()}
    plain = out["plain, 77 tokens"]
    for entry in out.values():
        entry["step_ratio"] = entry["step_s"] / plain["step_s"]
        entry["picture_ratio_40_steps"] = (entry["first_s"] + 39 * entry["step_s"]) / (plain["first_s"] + 39 * plain["step_s"])
    clock = "wall" if device == "cuda" else "process"
    return {"size": [options.height, options.width], "steps": options.steps, "clock": clock, "forms": out, "largest_rectangle_s": rectangle_seconds()}


def one_run(model, method, name: str, options, device: str) -> tuple[float, float]:
    """Seconds of the first step, and of a later one, in one sampling run."""
    import comfy.sample
    import torch
    from fitting_room import host

    module, patched = method.module, model
    if FORMS[name] is not None:
        before, module.config = module.config, replace(module.config, **FORMS[name])
        patches = every_step(module.patches(torch.rand(1, 3, options.height, options.width)), "every step" in name)
        patched = host.install(model, patches, method.managed)
    text = lambda: [[torch.randn(1, 77 if "77" in name else 257, 768), {}]]  # noqa: E731
    latent, stamps = torch.zeros(1, 4, options.height // 8, options.width // 8), []

    def stamp(*_):
        if device == "cuda":
            torch.cuda.synchronize()
        stamps.append(time.perf_counter() if device == "cuda" else time.process_time())

    noise, end = comfy.sample.prepare_noise(latent, 0), options.steps + 1
    stamp()
    comfy.sample.sample(patched, noise, end, 5.0, "ddim", "normal", text(), text(), latent, callback=stamp, disable_pbar=True, seed=0)
    if FORMS[name] is not None:
        module.config = before
    return stamps[1] - stamps[0], (stamps[-1] - stamps[1]) / options.steps


def rectangle_seconds() -> dict:
    """Seconds of the largest rectangle of 1024 x 1024 masks: an ellipse, noise, and everything."""
    import numpy
    from fitting_room.preprocess.hint import largest_rectangle

    y, x = numpy.mgrid[0:1024, 0:1024]
    masks = {
        "ellipse": ((x - 512) / 400) ** 2 + ((y - 512) / 300) ** 2 < 1, "noise": numpy.random.default_rng(0).random((1024, 1024)) < 0.7,
        "everything": numpy.ones((1024, 1024), bool),
    }
    out = {}
    for name, mask in masks.items():
        start = time.perf_counter()
        largest_rectangle(mask)
        out[name] = time.perf_counter() - start
    return out


# ---- report ----------------------------------------------------------------------------------------------------------


def table(result: dict) -> str:
    """The table of the report."""
    sizes, timed = result["flops"]["sizes"], result.get("time", {}).get("forms", {})
    heads = [f"FLOPs {what}, {size}" for size in sizes for what in ("step", "40 steps")] + ["time, step", "time, 40 steps"]
    rows = ["| form | " + " | ".join(heads) + " |", "|" + "---|" * (len(heads) + 1)]
    for name in FORMS:
        cells = [f"{sizes[size][name][k]:.3f}" for size in sizes for k in ("step_ratio", "picture_ratio")]
        t = timed.get(name)
        cells += [f"{t['step_ratio']:.2f}", f"{t['picture_ratio_40_steps']:.2f}"] if t else ["-", "-"]
        rows.append(f"| {name} | {' | '.join(cells)} |")
    for name, seconds in result.get("time", {}).get("largest_rectangle_s", {}).items():
        rows.append(f"\nLargest rectangle, 1024x1024, {name}: {seconds:.3f} s")
    return "\n".join(rows)
