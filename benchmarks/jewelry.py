"""What jewelry costs per step: the cached reference mode beside the released form, as ratios to plain sampling.

    python3 benchmarks/jewelry.py [--width 384] [--height 512] [--rounds 2] [--flops-only]

Full-width SD1.5 with random weights. FLOPs (2 per multiply-add) are counted by torch on the meta device, part by part, so they do not
depend on the machine; times are medians of rounds in one process, each beside plain sampling (on a CPU: CPU seconds of all threads,
of a step at which the shadow acts). The released form is StableVITON's way of running such a network with SGDiffusion's shadow: the
whole encoder (its last blocks, which nothing reads, too) at every step, and both halves of the guidance through encoder and zero
cross-attention. It is switched on here only, in the same code path.
"""

from __future__ import annotations

import gc
import json
import statistics
import sys
import time
from dataclasses import replace
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "benchmarks"))
from start import arguments, start  # noqa: E402

RESULT = ROOT / "benchmarks" / "results" / "jewelry.json"
FORMS = ("plain", "encoder, cached", "encoder and shadow, cached", "released form")
STEPS, ACTING = 50, 0.7  # the papers' steps, and the share of them at which the shadow acts (t < 700)
TARGET = 0.85


def main() -> int:
    """Measure, print a table, write the result."""
    parser = arguments(__doc__)
    parser.add_argument("--rounds", type=int, default=2, help="interleaved repetitions; the median counts")
    parser.add_argument("--width", type=int, default=384)
    parser.add_argument("--height", type=int, default=512)
    parser.add_argument("--channels", type=int, default=320, help="width of the U-Net that is timed; less where memory is short")
    parser.add_argument("--flops-only", action="store_true")
    options, device = start(__file__, parser)
    result = {"size": [options.height, options.width], "flops": flops(options.height // 8, options.width // 8)}
    if not options.flops_only:
        result["time"] = times(options.height // 8, options.width // 8, options.rounds, options.channels, device)
    write(result, device)
    print(table(result))
    return 0


# ---- FLOPs, on the meta device ---------------------------------------------------------------------------------------


def flops(h: int, w: int) -> dict:
    """Counted GFLOP of each part for one picture, and what they add to one row and to one guided step (two rows)."""
    part = parts(h, w)
    warp, shadow = part["zero cross-attentions"], ACTING * part["mask predictor"]
    once = (part["encoder, 9 blocks, reference"] + part["scale and bias"]) / STEPS
    released = part["encoder, whole, stack"] + warp + shadow
    unet = part["unet"]
    forms = {  # (one row that pays for everything, one guided step)
        "plain": (unet, 2 * unet),
        "encoder, cached": (unet + warp, 2 * unet + warp + part["encoder, 9 blocks, reference"] / STEPS),
        "encoder and shadow, cached": (unet + warp + shadow, 2 * unet + warp + 2 * shadow + once),
        "released form": (unet + released, 2 * (unet + released) + part["scale and bias"] / STEPS),
    }
    out = {name: {"row_added": row / unet - 1, "step_added": step / (2 * unet) - 1} for name, (row, step) in forms.items()}
    return {"parts_gflop": part, "forms": out, "target_row_added": TARGET}


def parts(h: int, w: int) -> dict[str, float]:
    """GFLOP of each part, one row."""
    import torch
    from fitting_room.host import blocks
    from fitting_room.host.models import PlainOps
    from fitting_room.models.parts.layers import Layers
    from fitting_room.models.parts.sites import UNetShape
    from fitting_room.models.parts.spatial import SpatialEncoder
    from fitting_room.models.pm_jewelry import PMJewelry, PMJewelryConfig

    layers = Layers(PlainOps, torch.float32, "meta", blocks)
    empty = lambda *shape: torch.empty(*shape, device="meta")  # noqa: E731
    shape = UNetShape(in_channels=11)
    unet, module = blocks.unet(shape, layers), PMJewelry(PMJewelryConfig(), layers)
    whole = SpatialEncoder(shape, layers, 12, True, 4)
    t, context, latent = empty(1), empty(1, 77, 768), empty(1, 4, h, w)
    with torch.no_grad():
        features = module.reference_features(latent, context)
    sizes = [(h, w)]
    for _ in range(3):
        sizes.append(tuple(-(-s // 2) for s in sizes[-1]))
    inputs = [empty(1, shape.decoder_h(i), *sizes[3 - i // 3]) for i in range(3, 12)]
    outputs = [empty(1, shape.decoder_h(i + 1) if i < 11 else 320, *sizes[3 - min((i + 1) // 3, 3)]) for i in range(12)]
    picture = empty(1, 5, 8 * h, 8 * w)
    return {
        "unet": count(lambda: unet(empty(1, 11, h, w), t, context=context)),
        "encoder, whole, stack": count(lambda: whole(empty(1, 11, h, w), t, context, latent)),
        "encoder, 9 blocks, reference": count(lambda: module.reference_features(latent, context)),
        "zero cross-attentions": count(lambda: [block(x, features[8 - i]) for i, (block, x) in enumerate(zip(module.warp, inputs))]),
        "mask predictor": count(lambda: module.shadow.soft_mask(outputs, picture)),
        "scale and bias": count(lambda: module.shadow.scale_bias(picture)),
    }


def count(call) -> float:
    """GFLOP that `call` takes."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        call()
    return counter.get_total_flops() / 1e9


# ---- seconds ---------------------------------------------------------------------------------------------------------


def times(h: int, w: int, rounds: int, channels: int, device: str) -> dict:
    """Median seconds of one guided step at which the shadow acts, and the ratio to plain sampling in the same rounds."""
    import torch
    from fitting_room.host.demo import demo_unet
    from fitting_room.models.parts.sites import UNetShape

    seconds: dict[str, list[float]] = {name: [] for name in FORMS}
    added: dict[str, list[float]] = {name: [] for name in FORMS[1:]}
    with torch.inference_mode():
        model = lean(demo_unet(UNetShape(in_channels=11, model_channels=channels)))
        both = conditionings(h, w)
        for name in FORMS[1:]:  # one form in memory at a time, plain sampling beside it in turn
            patched = form(model, name, h, w)
            for _ in range(rounds):
                plain, own = (one_step(m, *both, (h, w), device) for m in (model, patched))
                seconds["plain"].append(plain)
                seconds[name].append(own)
                added[name].append(own / plain - 1)
            del patched
            gc.collect()
    out = {name: {"step_s": statistics.median(s), "all_s": s, "step_added": statistics.median(added.get(name, [0.0]))} for name, s in seconds.items()}
    return {"forms": out, "rounds": rounds, "model_channels": channels}


def lean(patcher):
    """Without the second copy of the weights that the host would rebuild it from."""
    patcher.cached_patcher_init = None
    gc.collect()
    return patcher


def conditionings(h: int, w: int):
    """Positive and negative with a stack and a picture of random numbers."""
    import torch
    from fitting_room import host
    from fitting_room.models.parts.channels import JEWELRY
    from fitting_room.models.parts.shadow import PICTURE, pack_picture

    generator = torch.Generator().manual_seed(0)
    rand = lambda *shape: torch.rand(*shape, generator=generator)  # noqa: E731
    stack, picture = rand(1, JEWELRY.extra, h, w), pack_picture(rand(1, 3, 8 * h, 8 * w), rand(1, 1, 8 * h, 8 * w))
    return [host.with_extras(host.with_channels([[rand(1, 77, 768), {}]], JEWELRY, stack), **{PICTURE: picture}) for _ in range(2)]


def form(model, name: str, h: int, w: int):
    """The model in one of the forms."""
    import torch
    from fitting_room import host
    from fitting_room.models.parts.spatial import SpatialEncoder
    from fitting_room.models.pm_jewelry import PMJewelry

    if name == "plain":
        return model
    released = name == "released form"
    options = {"encoder_input": "stack" if released else "reference", "shadow": "shadow" in name or released}
    method = host.new_method(PMJewelry, model, 0, options)
    lean(method.patcher)
    if released:
        encoder = SpatialEncoder(method.module.config.encoder_shape, host.layers(dtype=torch.float32), 12, True, 4)
        for parameter in encoder.parameters():
            parameter.data.normal_(0, 0.02, generator=torch.Generator().manual_seed(0))
        method.module.encoder = encoder  # the patcher holds the method's module, so the host moves this part too
    patches = method.module.patches(torch.rand(1, 4, h, w, generator=torch.Generator().manual_seed(1)))
    out = host.install(model, replace(patches, all_rows=released), method.managed)
    return host.install(out, method.module.shadow_at_work().patches(), method.managed) if options["shadow"] else out


def one_step(model, positive, negative, size, device: str) -> float:
    """Seconds of the second of two steps (t = 999, then about 500): what is computed once was computed in the first."""
    import comfy.sample
    import torch

    latent, stamps = torch.zeros(1, 4, *size), []
    clock = time.perf_counter if device == "cuda" else time.process_time  # CPU seconds, which other programs hardly change

    def stamp(*_):
        if device == "cuda":
            torch.cuda.synchronize()
        stamps.append(clock())

    noise = comfy.sample.prepare_noise(latent, 0)
    comfy.sample.sample(model, noise, 3, 5.0, "ddim", "normal", positive, negative, latent, callback=stamp, disable_pbar=True, seed=0)
    return stamps[2] - stamps[1]


# ---- report ----------------------------------------------------------------------------------------------------------


def write(result: dict, device: str) -> None:
    """Keep one result per kind of device; a FLOP count alone leaves the times of earlier runs."""
    sys.path.insert(0, str(ROOT / "benchmarks"))
    from machine import describe

    known = json.loads(RESULT.read_text()) if RESULT.is_file() else {}
    known["flops"] = {"size": result["size"], **result["flops"]}
    if "time" in result:
        known[device] = {"machine": describe(device), "size": result["size"], **result["time"]}
    RESULT.parent.mkdir(parents=True, exist_ok=True)
    RESULT.write_text(json.dumps(known, indent=1) + "\n")


def table(result: dict) -> str:
    """Added cost in per cent of plain sampling."""
    rows = ["| form | one row that pays for all, FLOPs | guided step, FLOPs | guided step with shadow, time |", "|---|---|---|---|"]
    timed = result.get("time", {}).get("forms", {})
    for name, f in result["flops"]["forms"].items():
        seconds = f"+{timed[name]['step_added']:.0%} ({timed[name]['step_s']:.2f} s)" if name in timed else "-"
        rows.append(f"| {name} | +{f['row_added']:.1%} | +{f['step_added']:.1%} | {seconds} |")
    return "\n".join(rows)


if __name__ == "__main__":
    sys.exit(main())
