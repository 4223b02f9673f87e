"""What supervising attention costs, beside the literal form that builds whole attention maps, and as a share of a training step.

    python3 benchmarks/supervision.py [--rounds 3] [--matches 130] [--only block|step]

One 64 x 48 cross-attention of SD1.5 (3072 queries, 3072 keys, 320 channels, 8 heads), batch 1, fp32, with SIFT supervision, total variation,
and localization of two garments; each form forward and backward from queries and keys, in interleaved rounds of one process, with values
and gradients compared. "Kept" is what autograd keeps for the backward pass; "peak" is the most memory in use above the inputs, each form
in a process of its own (on a GPU the allocator's). Shares of a training step are in FLOPs, forward and backward, so that they do not depend
on the machine: SIFT at its three blocks and total variation at its one beside SIFT-VTON's step at 512 x 384, localization at its sixteen
sites beside AnyDressing's step with two garments at 768 x 576; both networks at full width on the meta device, without the VAE. Last, whole
steps of SIFT-VTON are timed with and without the terms (half width on a CPU, full on a GPU).
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tools"))
import pack  # noqa: E402

RESULT = ROOT / "benchmarks" / "results" / "supervision.json"
GRID, CHANNELS, HEADS = (64, 48), 320, 8
PLACES = {"sift": (((16, 12), 1280), ((32, 24), 640), (GRID, CHANNELS)), "variation": (((32, 24), 640),)}
"""Grids and widths at which a term acts in SIFT-VTON at 512 x 384."""

TERMS = ("sift", "variation", "localization")
FORMS = ("literal", "ours")


def main() -> int:
    """Measure, print a table, write the result."""
    arguments = sys.argv[1:]
    made, code = pack.enter(__file__, *arguments)
    if made is None:
        return code
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--matches", type=int, default=130, help="matched cells of one picture")
    parser.add_argument("--only", choices=("block", "step"), help="one part; the other keeps its last result")
    parser.add_argument("--peak", nargs=2, metavar=("TERM", "FORM"), help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    pack.load()
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    if options.peak:
        print(json.dumps(peak(*options.peak, options.matches, device)))
        return 0
    pack.load_host(made.comfyui, *(() if device == "cuda" else ("--cpu",)), "--use-pytorch-cross-attention")
    result = {}
    if options.only != "step":
        result |= {"block": block(options.rounds, options.matches, device), "share_of_step": shares(options.matches)}
    if options.only != "block":
        result["step"] = step_times(options.rounds, options.matches, device)
    print(table(write(result, device)))
    return 0


# ---- one block -------------------------------------------------------------------------------------------------------


def inputs(term: str, matches: int, device: str, grid=GRID, channels: int = CHANNELS):
    """Queries, keys, values and what the term compares with."""
    import numpy as np
    import torch
    from fitting_room.preprocess.matches import Matches

    generator = torch.Generator().manual_seed(0)
    cells, garments = grid[0] * grid[1], 2 if term == "localization" else 1
    q, k, v = (torch.randn(1, n, channels, generator=generator).to(device) for n in (cells, garments * cells, garments * cells))
    rng = np.random.default_rng(0)
    queries = rng.permutation(GRID[0] * GRID[1])[:matches]  # one match per cell of the finest grid, in pixels of 512 x 384
    points = np.stack([np.stack([c % GRID[1] * 8, c // GRID[1] * 8], 1) for c in (queries, rng.integers(0, GRID[0] * GRID[1], matches))], 1)
    size = (8 * GRID[0], 8 * GRID[1])
    found = Matches(points.astype(np.float32), np.ones(matches, bool), size, size)
    mask = torch.zeros(1, garments, *size, device=device)
    mask[:, 0, 100:300, 80:300] = 1
    return q.requires_grad_(True), k.requires_grad_(True), v, found, mask


def full_map(q, k):
    """softmax(q k^T / sqrt(d)) of all queries, (B,heads,N,M)."""
    q, k = (t.unflatten(-1, (HEADS, -1)).transpose(1, 2) for t in (q, k))
    return (q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5).softmax(-1)


def literal(term: str, q, k, v, matches, mask):
    """The term on the whole map, as released code has it (SIFT, total variation) or as the equations are written."""
    import torch
    from fitting_room.preprocess.matches import cells
    from fitting_room.training.losses.attention import total_variation

    a = full_map(q, k)
    if term == "sift":
        found = cells(matches, GRID)
        p = torch.zeros(q.shape[1], k.shape[1])  # the dense reference map that travels to the device
        p[torch.from_numpy(found.query), torch.from_numpy(found.key)] = torch.from_numpy(found.weight)
        p = p.to(q.device)
        return (-p * (a + 1e-8).log()).sum((1, 2, 3)) / (HEADS * (p.sum(1) > 0).sum())
    if term == "variation":
        y, x = (t.flatten().to(q) for t in torch.meshgrid(torch.arange(GRID[0]), torch.arange(GRID[1]), indexing="ij"))
        mean = a.mean(1)
        return total_variation(torch.stack((mean @ y, mean @ x), 1).unflatten(2, GRID), mask[:, :1])
    per_garment = a.mean(1).unflatten(-1, (2, -1)).sum(-1)
    target = torch.nn.functional.interpolate(mask, GRID, mode="area").flatten(2).transpose(1, 2)
    return ((per_garment - target) ** 2).mean((1, 2))


def ours(term: str, q, k, v, matches, mask, grid=GRID):
    """The same term without a map."""
    import torch
    from fitting_room.models.parts.attention import attend_labelled, looked_at
    from fitting_room.preprocess.matches import cells
    from fitting_room.training.losses.attention import Entries, localization, sift_cross_entropy, total_variation

    if term == "sift":
        found = cells(matches, grid)
        entries = Entries(*(torch.from_numpy(t) for t in (found.sample, found.query, found.key, found.weight))).to(q.device)
        return sift_cross_entropy(q, k, HEADS, entries, 1e-8)
    if term == "variation":
        return total_variation(looked_at(q, k, HEADS, grid).transpose(1, 2).unflatten(2, grid), mask[:, :1])
    owner = torch.nn.functional.one_hot(torch.arange(k.shape[1]) // (k.shape[1] // 2), 2).float().to(q.device)
    return localization(attend_labelled(q, k, v, owner, HEADS)[1], mask, grid)


def run(term: str, form: str, given):
    """One forward and backward: (value, gradients)."""
    import torch

    value = (literal if form == "literal" else ours)(term, *given)
    return value, torch.autograd.grad(value.sum(), given[:2])


def block(rounds: int, matches: int, device: str) -> dict:
    """Both forms of every term: seconds, memory, FLOPs, and how far they are apart."""
    out = {}
    for term in TERMS:
        given, seconds, found = inputs(term, matches, device), {f: [] for f in FORMS}, {}
        for number in range(rounds + 1):
            for form in FORMS:
                seconds[form].append(timed(lambda form=form: found.__setitem__(form, run(term, form, given)), device))
        entry = {form: {"seconds": statistics.median(s[1:]), **in_own_process(term, form, matches)} for form, s in seconds.items()}
        for form in FORMS:
            entry[form]["kept_mib"] = kept(term, form, given) / 2**20
        values, gradients = zip(*(found[f] for f in FORMS))
        entry["value_difference"] = float(((values[0] - values[1]).abs() / values[0].abs()).max().detach())
        entry["gradient_difference"] = max(float((a - b).abs().max() / a.abs().max()) for a, b in zip(*gradients))
        entry["time_ratio"] = entry["ours"]["seconds"] / entry["literal"]["seconds"]
        out[term] = entry
    return out


def timed(call, device: str) -> float:
    """Seconds of one call: of the processor's own time on a CPU, which other programs on the machine do not stretch."""
    import torch

    if device == "cpu":
        start = time.process_time()
        call()
        return time.process_time() - start
    start = time.perf_counter()
    call()
    torch.cuda.synchronize()
    return time.perf_counter() - start


def kept(term: str, form: str, given) -> int:
    """Bytes that autograd keeps between forward and backward, the inputs left out."""
    import torch

    known = {t.untyped_storage().data_ptr() for t in given if isinstance(t, torch.Tensor)}
    sizes: dict[int, int] = {}

    def pack_(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in known:
            sizes[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack_, lambda t: t):
        value = (literal if form == "literal" else ours)(term, *given)
        total = sum(sizes.values())  # while all of them are alive, so that no address counts for two
        del value
    return total


def gflop(call) -> float:
    """FLOPs of a call, 2 per multiply-add; attention by its two products, whichever kernel runs them."""
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.utils.flop_counter import FlopCounterMode

    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        call()
    return counter.get_total_flops() / 1e9


def in_own_process(term: str, form: str, matches: int) -> dict:
    """Peak memory of one form, in MiB."""
    command = [sys.executable, str(Path(__file__).resolve()), "--peak", term, form, "--matches", str(matches)]
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()[-1])


def peak(term: str, form: str, matches: int, device: str) -> dict:
    """The most memory in use above what the inputs and a first small run took; None where the system does not tell."""
    import torch

    given = inputs(term, matches, device)
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        run(term, form, given)
        return {"peak_mib": (torch.cuda.max_memory_allocated() - before) / 2**20}
    small = [t[:, :64] for t in given[:2]]
    torch.autograd.grad((small[0] @ small[1].transpose(1, 2)).softmax(-1).sum(), small)  # loads the libraries
    try:
        Path("/proc/self/clear_refs").write_text("5")  # forget the peak so far
        before = resident("VmRSS")
        run(term, form, given)
        return {"peak_mib": resident("VmHWM") - before}
    except OSError:
        return {"peak_mib": None}


def resident(name: str) -> float:
    """Memory of this process now (VmRSS), or its peak (VmHWM), in MiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name)) / 2**10


# ---- a whole step ----------------------------------------------------------------------------------------------------


def training(width: int, device: str, dtype=None):
    """SIFT-VTON and the U-Net it works in, as they are trained, and one sample at 512 x 384."""
    import torch
    from fitting_room.host import blocks
    from fitting_room.host.models import PlainOps
    from fitting_room.models.parts.layers import Layers
    from fitting_room.models.parts.sites import UNetShape
    from fitting_room.models.sift_vton import SiftVton, SiftVtonConfig

    torch.manual_seed(0)
    shape, layers = UNetShape(13, width, 768, 8), Layers(PlainOps, torch.float32, device, blocks)
    unet, module = blocks.unet(shape, layers), SiftVton(SiftVtonConfig(shape), layers)
    unet.requires_grad_(False)
    for name, parameter in unet.named_parameters():
        parameter.requires_grad_(name.startswith(("output_blocks.", "out.", "input_blocks.0.0.")))
    x, context = torch.randn(1, 13, *GRID, device=device), torch.randn(1, 1, 768, device=device)
    return unet, module, x, context, torch.randn(1, 4, *GRID, device=device)


def forward(unet, module, x, context, garment, watch=None):
    """One forward with the method's own patches, as the trainer runs it."""
    import torch
    from fitting_room.host import denoiser

    install = denoiser._Install(module.patches(garment), float("inf"), float("-inf"))
    options = {
        "patches": {name: [patch] for name, patch in denoiser.PATCHES.items()},
        "wrappers": {denoiser.WRAPPERS.DIFFUSION_MODEL: {denoiser.KEY: [install]}},
    }
    marks = {} if x.is_meta else {denoiser.ROWS: torch.ones(1, 1)}
    return unet(x, torch.full((1,), 400.0, device=x.device), context=context, transformer_options=denoiser.watched(options, watch), **marks)


def shares(matches: int) -> dict:
    """What each term adds to the FLOPs of its method's training step, batch 1."""
    import torch

    given = training(320, "meta")
    whole = gflop(lambda: (forward(*given) ** 2).mean().backward())
    out = {"sift_vton_step_gflop": whole}
    for term, places in PLACES.items():
        added = 0.0
        for grid, channels in places:
            one = inputs(term, matches, "cpu", grid, channels)
            added += gflop(lambda one=one, grid=grid: torch.autograd.grad(ours(term, *one, grid).sum(), one[:2]))
        out[term] = added / whole
    without, with_ = (dressing_gflop(watched) for watched in (False, True))
    return {**out, "anydressing_step_gflop": without, "localization": with_ / without - 1}


def dressing_gflop(watched: bool) -> float:
    """GFLOP of forward and backward of AnyDressing's denoiser with two garments at 768 x 576, with or without localization."""
    import torch
    from fitting_room.host import blocks, denoiser
    from fitting_room.host.models import PlainOps
    from fitting_room.models.anydressing import AnyDressing, AnyDressingConfig
    from fitting_room.models.parts.layers import Layers
    from fitting_room.models.parts.reference import Reference
    from fitting_room.models.parts.sites import SITES, UNetShape
    from fitting_room.models.parts.watch import Watches
    from fitting_room.training.losses.watches import LocalizationWatch

    h, w, layers = 96, 72, Layers(PlainOps, torch.float32, "meta", blocks)
    unet, module = blocks.unet(UNetShape(), layers).requires_grad_(False), AnyDressing(AnyDressingConfig(slots=("upper", "lower")), layers)
    features = {s: torch.empty(1, (h // s.stride) * (w // s.stride), UNetShape().channels(s), device="meta", requires_grad=True) for s in SITES}
    worn = [Reference("anydressing", slot, features, (0, 0)) for slot in ("upper", "lower")]
    watch = LocalizationWatch(torch.empty(1, 2, 8 * h, 8 * w, device="meta")) if watched else None
    options = {
        "patches": {name: [patch] for name, patch in denoiser.PATCHES.items()},
        "wrappers": {denoiser.WRAPPERS.DIFFUSION_MODEL: {denoiser.KEY: [denoiser._Install(module.patches(worn, 1.0), float("inf"), float("-inf"))]}},
    }

    def step() -> None:
        x, context = torch.empty(1, 4, h, w, device="meta"), torch.empty(1, 77, 768, device="meta")
        options_ = denoiser.watched(options, Watches([watch]) if watch else None)
        loss = (unet(x, torch.empty(1, device="meta"), context=context, transformer_options=options_) ** 2).mean()
        (loss + watch.value().mean() if watch else loss).backward()

    return gflop(step)


def step_times(rounds: int, matches: int, device: str) -> dict:
    """Median seconds of a whole step with the noise loss alone, with SIFT, and with SIFT and total variation."""
    import torch
    from fitting_room.data.supervision import Supervision
    from fitting_room.models.parts.watch import Watches
    from fitting_room.training.losses.watches import SiftWatch, VariationWatch

    width = 320 if device == "cuda" else 160
    given, (*_, found, mask) = training(width, device), inputs("sift", matches, device)
    watches = {
        "noise": lambda: [], "sift": lambda: [SiftWatch(Supervision(), [found], torch.tensor([400]))],
        "sift and variation": lambda: [SiftWatch(Supervision(), [found], torch.tensor([400])), VariationWatch(mask)],
    }

    def step(name: str) -> None:
        seen = watches[name]()
        eps = forward(*given, Watches(seen) if seen else None)
        loss = (eps**2).mean() + sum(0.001 * w.value().mean() for w in seen)
        loss.backward()
        for module in given[:2]:
            module.zero_grad(set_to_none=True)

    seconds = {name: [] for name in watches}
    for _ in range(rounds + 1):
        for name in watches:
            seconds[name].append(timed(lambda name=name: step(name), device))
    out = {name: {"seconds": statistics.median(s[1:])} for name, s in seconds.items()}
    for entry in out.values():
        entry["ratio"] = entry["seconds"] / out["noise"]["seconds"]
    return {"model_channels": width, **out}


# ---- report ----------------------------------------------------------------------------------------------------------


def write(result: dict, device: str) -> dict:
    """Keep one result per kind of device; a part that was not measured keeps its last one. Returns the whole."""
    sys.path.insert(0, str(ROOT / "benchmarks"))
    from machine import describe

    known = json.loads(RESULT.read_text()) if RESULT.is_file() else {}
    known[device] = {**known.get(device, {}), "machine": describe(device), "grid": GRID, **result}
    RESULT.parent.mkdir(parents=True, exist_ok=True)
    RESULT.write_text(json.dumps(known, indent=1) + "\n")
    return known[device]


def table(result: dict) -> str:
    """The table of README."""
    rows = ["| term | time, ours / literal | kept MiB, literal | ours | peak MiB, literal | ours | value apart | gradient apart | share of a step |", "|---|---|---|---|---|---|---|---|---|"]
    for term, e in result.get("block", {}).items():
        a, b = e["literal"], e["ours"]
        rows.append(
            f"| {term} | {e['time_ratio']:.3f} | {a['kept_mib']:.0f} | {b['kept_mib']:.1f} | {a['peak_mib']:.0f} | {b['peak_mib']:.0f} | {e['value_difference']:.1e} | "
            f"{e['gradient_difference']:.1e} | {result['share_of_step'][term]:.2%} |"
        )
    for name, entry in result.get("step", {}).items():
        if isinstance(entry, dict):
            rows.append(f"\nstep with {name}: {entry['ratio']:.3f} of the step with the noise loss alone")
    return "\n".join(rows)


if __name__ == "__main__":
    sys.exit(main())
