"""What dressing costs: seconds and FLOPs per step and per 30-step run with 0 to 3 garments, as ratios to plain sampling.

    python3 benchmarks/dressing.py [--steps 2] [--width 576] [--height 768] [--rounds 2] [--flops-only]

Full-width SD1.5 with random weights. FLOPs (2 per multiply-add) are counted by torch on the meta device, so they do not depend on the
machine; times are medians of interleaved rounds in one process. Beside our form stand three slower ones, switched on in the same
code path and only here: K' and V' projected in every step; both halves of the guidance paying; the garment pass in every step.
"""

from __future__ import annotations

import contextlib
import json
import statistics
import sys
import time
from dataclasses import replace
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "benchmarks"))
from start import arguments, start  # noqa: E402

RESULT = ROOT / "benchmarks" / "results" / "dressing.json"
FORMS = {
    "plain": (0, None), "1 garment": (1, None), "2 garments": (2, None), "3 garments": (3, None),
    "1 garment, K'V' every step": (1, "project"), "1 garment, both halves": (1, "all_rows"), "1 garment, garment pass every step": (1, "capture"),
    "2 garments, K'V' every step": (2, "project"), "2 garments, both halves": (2, "all_rows"), "2 garments, garment pass every step": (2, "capture"),
}
LOWER_BOUND = 0.11661  # added FLOPs per CFG step and garment of the exact method at 768 x 576: the two attention products alone


def main() -> int:
    """Measure, print a table, write the result."""
    parser = arguments(__doc__)
    parser.add_argument("--steps", type=int, default=2, help="sampling steps that are timed")
    parser.add_argument("--rounds", type=int, default=2, help="interleaved repetitions; the median counts")
    parser.add_argument("--width", type=int, default=576)
    parser.add_argument("--height", type=int, default=768)
    parser.add_argument("--flops-only", action="store_true")
    options, device = start(__file__, parser)
    result = {"size": [options.height, options.width], "flops": flops(options.height // 8, options.width // 8)}
    if not options.flops_only:
        result["time"] = times(options, device)
    write(result, device)
    print(table(result))
    return 0


# ---- FLOPs, on the meta device ---------------------------------------------------------------------------------------


def flops(h: int, w: int) -> dict:
    """Counted GFLOP of one guided step and of a 30-step run for every form, with ratios to plain sampling."""
    import torch
    from fitting_room.host import blocks
    from fitting_room.host.models import PlainOps
    from fitting_room.models.anydressing import AnyDressing, AnyDressingConfig
    from fitting_room.models.parts.layers import Layers
    from fitting_room.models.parts.sites import SITES, UNetShape

    layers = Layers(PlainOps, torch.float32, "meta")
    unet = blocks.unet(UNetShape(), layers)
    module = AnyDressing(AnyDressingConfig(slots=("upper", "lower", "hat")), layers)
    features = {s: torch.empty(1, -(-h // s.stride) * -(-w // s.stride), UNetShape().channels(s), device="meta") for s in SITES}
    reference_pass = count(lambda: run_capture(unet, module, torch.empty(1, 4, h, w, device="meta")))
    out = {}
    for name, (garments, slower) in FORMS.items():
        first, later = step_flops(unet, module, features, garments, slower, h, w)
        passes = (30 if slower == "capture" else 1) if garments else 0
        later_step = later + (garments * reference_pass if slower == "capture" else 0)
        out[name] = {"step": later_step, "run": first + 29 * later + passes * garments * reference_pass}
    for name, entry in out.items():
        entry["step_ratio"], entry["run_ratio"] = (entry[k] / out["plain"][k] for k in ("step", "run"))
    garment = sum(2 * f.numel() * 2 for f in features.values())
    return {"forms": out, "garment_pass": reference_pass, "cache_mib_per_garment_fp16": garment / 2**20,
            "added_over_lower_bound": {n: (out[n]["step_ratio"] - 1) / (LOWER_BOUND * FORMS[n][0]) for n in out if FORMS[n][0]}}


def step_flops(unet, module, features, garments: int, slower: str | None, h: int, w: int) -> tuple[float, float]:
    """GFLOP of the first guided step of a generation, and of a later one."""
    import torch
    from fitting_room.host.denoiser import KEY, PATCHES, ROWS, WRAPPERS, _Install
    from fitting_room.models.parts.patches import Memo
    from fitting_room.models.parts.reference import Reference

    patches = module.patches([Reference("anydressing", "upper", features, (0, 0))] * garments, 0.7) if garments else None
    options = {}
    if patches is not None:
        patches = replace(patches, all_rows=slower == "all_rows")
        options = {
            "patches": {k: [v] for k, v in PATCHES.items()}, f"{KEY}_memo": None if slower == "project" else Memo(),
            "wrappers": {WRAPPERS.DIFFUSION_MODEL: {KEY: [_Install(patches, float("inf"), float("-inf"))]}},
        }
    x, context = torch.empty(2, 4, h, w, device="meta"), torch.empty(2, 77, 768, device="meta")
    marks, t = torch.tensor([[-1], [1]]), torch.empty(2, device="meta")
    call = lambda: unet(x, t, context=context, transformer_options=dict(options), **{ROWS: marks})  # noqa: E731
    return count(call), count(call)


def run_capture(unet, module, latent) -> None:
    """The garment pass: the same patches as in `host.capture`, on the meta device."""
    import torch
    from fitting_room.host.reference import _Done, _Pass
    from fitting_room.models.parts.sites import SITES

    run = _Pass(SITES, lambda n: n, module.garment_lora(["upper"]), cross_attention=False)
    with contextlib.suppress(_Done):
        unet(latent, torch.empty(1, device="meta"), context=torch.empty(1, 1, 768, device="meta"), transformer_options=run.options())


def count(call) -> float:
    """GFLOP that `call` takes."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        call()
    return counter.get_total_flops() / 1e9


# ---- seconds ---------------------------------------------------------------------------------------------------------


def times(options, device: str) -> dict:
    """Median seconds per step for every form, the garment pass once, and ratios to plain sampling in the same rounds."""
    import torch
    from fitting_room import host
    from fitting_room.host.demo import demo_unet
    from fitting_room.models.anydressing import AnyDressing
    from fitting_room.models.parts.reference import Reference
    from fitting_room.models.parts.sites import UNetShape

    h, w = options.height // 8, options.width // 8
    with torch.inference_mode():
        model = demo_unet(UNetShape())
        method = host.new_method(AnyDressing, model, 0, {"rank": 64, "slots": ["upper", "lower", "hat"]})
        latent = torch.randn(1, 4, h, w)
        encode = lambda: host.capture(model, latent, lora=method.module.garment_lora(["upper"]), also_load=method.managed)  # noqa: E731
        encode()
        start = time.perf_counter()
        features = encode()
        sync(device)
        garment_pass = time.perf_counter() - start
        garment = Reference("anydressing", "upper", features, (options.height, options.width))
        seconds: dict[str, list[float]] = {name: [] for name in FORMS}
        for _ in range(options.rounds):
            for name, (count_, slower) in FORMS.items():
                seconds[name].append(one_run(model, method, garment, count_, slower, encode, options.steps, (h, w), device))
    out = {name: {"step_s": statistics.median(s)} for name, s in seconds.items()}
    plain = out["plain"]["step_s"]
    for entry in out.values():
        entry["step_ratio"] = entry["step_s"] / plain
    for name, (count_, slower) in FORMS.items():
        extra = 0 if slower == "capture" or not count_ else count_ * garment_pass
        out[name]["run_ratio_30_steps"] = (30 * out[name]["step_s"] + extra) / (30 * plain)
    return {"forms": out, "garment_pass_s": garment_pass, "steps": options.steps, "rounds": options.rounds}


def one_run(model, method, garment, garments: int, slower: str | None, encode, steps: int, size, device: str) -> float:
    """Seconds per step of one sampling run, the first step (which fills the cache) left out where there is more than one."""
    import comfy.sample
    import torch
    from fitting_room import host
    from fitting_room.host import denoiser

    patched = model
    if garments:
        patches = replace(method.module.patches([garment] * garments, 0.7), all_rows=slower == "all_rows")
        patched = host.install(model, patches, method.managed)
    positive = [[torch.randn(1, 77, 768), {}]]
    negative = [[torch.randn(1, 77, 768), {}]]
    latent, stamps = torch.zeros(1, 4, *size), []

    def stamp(step, *_):
        sync(device)
        stamps.append(time.perf_counter())
        if slower == "capture":
            sampling = model.model.current_patcher  # a pass of its own ends with the host forgetting which patcher samples
            for _ in range(garments):
                encode()
            model.model.current_patcher = sampling

    with forgetting(denoiser) if slower == "project" else contextlib.nullcontext():
        noise = comfy.sample.prepare_noise(latent, 0)
        comfy.sample.sample(patched, noise, steps + 1, 6.0, "ddim", "normal", positive, negative, latent, callback=stamp, disable_pbar=True, seed=0)
    return (stamps[-1] - stamps[0]) / steps


@contextlib.contextmanager
def forgetting(denoiser):
    """A memo that keeps nothing: what a form without the cache costs."""

    class Forgetful(denoiser.Memo):
        def once(self, key, compute):
            return compute()

    before, denoiser.Memo = denoiser.Memo, Forgetful
    try:
        yield
    finally:
        denoiser.Memo = before


def sync(device: str) -> None:
    """Wait for the accelerator."""
    import torch

    if device == "cuda":
        torch.cuda.synchronize()


# ---- report ----------------------------------------------------------------------------------------------------------


def write(result: dict, device: str) -> None:
    """Keep one result per kind of device and size (height x width); a FLOP count alone leaves the times of earlier runs."""
    sys.path.insert(0, str(ROOT / "benchmarks"))
    from machine import describe

    known = json.loads(RESULT.read_text()) if RESULT.is_file() else {}
    size = "x".join(map(str, result["size"]))
    known.setdefault("flops", {})[size] = result["flops"]
    if "time" in result:
        known.setdefault(device, {})[size] = {"machine": describe(device), **result["time"]}
    RESULT.parent.mkdir(parents=True, exist_ok=True)
    RESULT.write_text(json.dumps(known, indent=1) + "\n")


def table(result: dict) -> str:
    """The table of README."""
    rows = ["| form | FLOPs, step | FLOPs, 30-step run | time, step | time, 30-step run |", "|---|---|---|---|---|"]
    timed = result.get("time", {}).get("forms", {})
    for name, f in result["flops"]["forms"].items():
        t = timed.get(name)
        cells = [f"{f['step_ratio']:.3f}", f"{f['run_ratio']:.3f}"] + ([f"{t['step_ratio']:.2f}", f"{t['run_ratio_30_steps']:.2f}"] if t else ["-", "-"])
        rows.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(rows)


if __name__ == "__main__":
    sys.exit(main())
