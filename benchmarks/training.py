"""What a training step costs: per method, with and without its extra terms, cached or encoded anew, and how much memory.

    python3 benchmarks/training.py [--rounds 3] [--steps 4] [--only speed|kept|cache|memory]

speed   whole optimizer steps of every method on the small demo stack at 128 x 96, batch 2: the paper's terms (those whose networks need no
        download) and each term alone beside the plain noise loss, in interleaved rounds of one process, and the most memory of the process. On a
        machine with a GPU this is what a narrow network costs there.
kept    the same steps counted instead of timed: MiB that autograd holds at most in one forward and backward (terms that look through VGG or depth
        networks with random weights of the right shape, their timestep gates open).
cache   SIFT-VTON at 512 x 384 in FLOPs, full width on the meta device: a step from kept latents, and one that encodes its four pictures first.
memory  AnyDressing at 768 x 576, batch 1, two garments, bf16, full width on the meta device: weights, gradients, optimizer, and what autograd keeps
        with and without gradient checkpointing (attention as flash kernels keep it). Without the decoder of the texture loss.
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "benchmarks"))
from start import arguments, start  # noqa: E402

RESULT = ROOT / "benchmarks" / "results" / "training.json"
GB = 2**30


def main() -> int:
    """Measure, print, write the result."""
    parser = arguments(__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--only", choices=("speed", "kept", "cache", "memory"), help="one part; the others keep their last result")
    options, device = start(__file__, parser)
    import machine

    before = json.loads(RESULT.read_text()) if RESULT.is_file() else {}
    parts = {"speed": lambda: speed(options.rounds, options.steps), "kept": kept, "cache": cache, "memory": memory}
    result = {k: (make() if options.only in (None, k) else before.get(k)) for k, make in parts.items()}
    result["machine"] = machine.describe(device)
    RESULT.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(result, indent=1))
    return 0


# ---- speed -----------------------------------------------------------------------------------------------------------------


def speed(rounds: int, steps: int) -> dict:
    """Per method: seconds per step (medians) with the paper's terms and with the noise loss alone, and the median over rounds of their ratio."""
    import torch
    from fitting_room.host import learning
    from fitting_room.tests.training.support import KINDS, scene
    from fitting_room.training.config import TrainConfig
    from fitting_room.training.run import prepare

    out, clock = {}, time.perf_counter if torch.cuda.is_available() else time.process_time  # a processor is shared with other programs
    for kind in KINDS:
        with tempfile.TemporaryDirectory() as folder, torch.inference_mode(), learning():
            made, config = scene(kind, Path(folder), 4, 128), TrainConfig(steps=10**6, batch=2, learning_rate=1e-4, width=96, height=128, checkpoint_every=0)
            found = forms(made.method.module, config)
            runs = {name: prepare(made.studio(), made.method, made.pairs, c, Path(folder) / name, Path(folder) / "cache") for name, c in found.items()}
            times = {name: [] for name in runs}
            for run in runs.values():
                run._optimizer_step()  # encodes, and warms up
            names = list(runs)
            for turn in range(rounds):
                for name in names[turn % len(names) :] + names[: turn % len(names)]:  # no form always follows the same one
                    begin = clock()
                    for _ in range(steps):
                        runs[name]._optimizer_step()
                    times[name].append((clock() - begin) / steps)
            medians = {name: statistics.median(t) for name, t in times.items()}
            extra = {name: statistics.median(a / b for a, b in zip(times[name], times["noise"])) - 1 for name in names}
            terms = [k for k in runs["paper"].journal.history if k not in ("loss", "noise")]
            out[kind] = {
                "terms": terms, "seconds_paper": medians["paper"], "seconds_noise": medians["noise"], "samples_per_second": 2 / medians["paper"],
                "extra": extra["paper"], "extra_of_each_term": {k: v for k, v in extra.items() if k not in ("paper", "noise")},
                "process_gib": runs["paper"].task.studio.peak_memory() / GB,
            }
    return out


def forms(module, config, networks: bool = False) -> dict:
    """Settings by name: the paper's terms, the noise alone, and the noise with each further term alone (weight 1 where the paper has it off)."""
    weights = module.loss_weights
    others = [k for k in weights if k != "noise" and (networks or k not in module.loss_networks)]
    alone = lambda kept: {k: (weights[k] or 1.0) if k == kept else 0.0 for k in weights if k != "noise"}
    return {"paper": config, "noise": replace(config, losses=alone(None)), **{k: replace(config, losses=alone(k)) for k in others}}


# ---- kept ------------------------------------------------------------------------------------------------------------------


def kept() -> dict:
    """Per method: MiB that autograd holds at most in one step with the noise alone, and what each term adds."""
    import torch
    from fitting_room.host import learning
    from fitting_room.models.parts.dists import Dists
    from fitting_room.models.parts.layers import Layers
    from fitting_room.tests.training.scene import random_networks
    from fitting_room.tests.training.support import KINDS, scene
    from fitting_room.training.config import TrainConfig
    from fitting_room.training.run import prepare

    networks, out = random_networks(), {}
    networks.put("dists", Dists(Layers()))
    for kind in KINDS:
        with tempfile.TemporaryDirectory() as folder, torch.inference_mode(), learning():
            made, config = scene(kind, Path(folder), 2, 128), TrainConfig(batch=2, width=96, height=128, drop=0.0)
            held = {}
            for name, form in forms(made.method.module, config, networks=True).items():
                if name != "paper":
                    run = prepare(made.studio(), made.method, made.pairs, form, Path(folder) / name, Path(folder) / "cache", networks=networks)
                    held[name] = _kept(lambda run=run: _low_step(run))[0] / 2**20
            out[kind] = {"noise_mib": round(held["noise"], 2), "added_mib": {k: round(v - held["noise"], 2) for k, v in held.items() if k != "noise"}}
    return out


def _low_step(run) -> dict:
    """Forward and backward of two samples at a timestep at which every gate is open."""
    import torch

    for batch in run.task.batches([run.encoded(n) for n in (0, 1)], [0, 1]):
        terms = run.task.terms(replace(batch, t=torch.full_like(batch.t, 100)))
        sum(run.task.weights[k] * v.mean() for k, v in terms.items()).backward()
    return {}


# ---- cache -----------------------------------------------------------------------------------------------------------------


def cache() -> dict:
    """FLOPs of SIFT-VTON's step at 512 x 384 from kept latents, and of encoding its four pictures."""
    import comfy.ldm.models.autoencoder
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    config = {"double_z": True, "z_channels": 4, "resolution": 256, "in_channels": 3, "out_ch": 3, "ch": 128, "ch_mult": [1, 2, 4, 4], "num_res_blocks": 2,
              "attn_resolutions": [], "dropout": 0.0}
    with torch.device("meta"):
        vae = comfy.ldm.models.autoencoder.AutoencoderKL(ddconfig=config, embed_dim=4)
        with FlopCounterMode(display=False) as counter:
            vae.encode(torch.zeros(4, 3, 512, 384))
    encoding = counter.get_total_flops()
    with FlopCounterMode(display=False) as counter:
        _step("sift_vton", 64, 48)
    step = counter.get_total_flops()
    return {"step_tflop": step / 1e12, "encoding_tflop": encoding / 1e12, "samples_per_second_ratio": (step + encoding) / step}


def _step(kind: str, h: int, w: int, checkpointing: bool = False, dtype=None) -> dict:
    """One forward and backward of a method at full width on the meta device; returns the networks."""
    import torch
    from fitting_room import host
    from fitting_room.host import blocks, layers
    from fitting_room.host.training import Studio
    from fitting_room.models.anydressing import AnyDressing, AnyDressingConfig
    from fitting_room.models.parts.reference import Reference
    from fitting_room.models.parts.sites import UNetShape
    from fitting_room.models.sift_vton import SiftVton, SiftVtonConfig

    studio = Studio.__new__(Studio)
    studio.precision, studio.device, studio.checkpointing = "fp32", torch.device("meta"), checkpointing
    shape = UNetShape(13 if kind == "sift_vton" else 4)
    studio.shape = shape
    meta = replace(layers(training=True), device="meta", dtype=dtype)
    with host.learning():
        unet = studio._prepared(blocks.unet(shape, meta))
        cls, config = (SiftVton, SiftVtonConfig(shape)) if kind == "sift_vton" else (AnyDressing, AnyDressingConfig(shape, slots=("upper", "lower")))
        module = studio._prepared(cls(config, meta)).requires_grad_(True)
        make = lambda *s: torch.zeros(*s, device="meta", dtype=dtype)
        x, t = make(1, shape.in_channels, h, w), torch.zeros(1, device="meta")
        if kind == "sift_vton":
            for name, parameter in unet.named_parameters():
                parameter.requires_grad_(name.startswith(("output_blocks.", "out.")))
            out = _forward(studio, unet, x, t, make(1, 1, 768), module.patches(make(1, 4, h, w)))
        else:
            features = studio.features(unet, make(2, 4, h, w), lora=module.garment_lora(["upper", "lower"]))
            worn = [Reference(kind, s, {k: f[i : i + 1] for k, f in features.items()}, (0, 0)) for i, s in enumerate(("upper", "lower"))]
            out = _forward(studio, unet, x, t, make(1, 77, 768), module.patches(worn, 1.0))
        out.float().mean().backward()
    return {"unet": unet, "module": module}


def _forward(studio, unet, x, t, context, patches):
    """`Studio.run` without its row marks, which need numbers."""
    from fitting_room.host import training as side
    from fitting_room.host.denoiser import KEY, PATCHES, WRAPPERS, _Install

    install = _Install(patches, float("inf"), float("-inf"), False)
    options = {
        "patches": {name: [p] for name, p in PATCHES.items()}, "wrappers": {WRAPPERS.DIFFUSION_MODEL: {KEY: [install]}},
        "optimized_attention_override": side._plain_attention, f"{KEY}_memo": side._Forgetful(),
    }
    return unet(x, t, context=context, transformer_options=options)


# ---- memory ----------------------------------------------------------------------------------------------------------------


def memory() -> dict:
    """Gigabytes of AnyDressing's step at 768 x 576, counted."""
    import torch
    from fitting_room.host import training as side

    class Flash(torch.autograd.Function):
        """Attention that keeps q, k, v and its result for the backward pass, as fused kernels do."""

        @staticmethod
        def forward(ctx, q, k, v):
            out = torch.empty_like(q)
            ctx.save_for_backward(q, k, v, out)
            return out

        @staticmethod
        def backward(ctx, grad):
            return tuple(torch.empty_like(t) for t in ctx.saved_tensors[:3])

    plain, side._plain_attention = side._plain_attention, lambda func, q, k, v, heads, *a, **more: Flash.apply(q, k, v)
    own = torch.nn.functional.scaled_dot_product_attention
    torch.nn.functional.scaled_dot_product_attention = lambda q, k, v, *a, **more: Flash.apply(q, k, v)
    try:
        kept = {name: _kept(lambda c=c: _step("anydressing", 96, 72, c, torch.bfloat16)) for name, c in (("plain", False), ("checkpointed", True))}
        again = _kept(lambda: _block(2, 96, 72))[0]  # what one block holds while it is computed again: the largest, both garments in it
        kept["checkpointed"] = (kept["checkpointed"][0] + again, kept["checkpointed"][1])
    finally:
        side._plain_attention, torch.nn.functional.scaled_dot_product_attention = plain, own
    made = kept["plain"][1]
    learn = sum(p.numel() for p in made["module"].parameters())
    fixed = {
        "base_bf16": 2 * sum(p.numel() for p in made["unet"].parameters()), "weights_fp32": 4 * learn, "gradients_fp32": 4 * learn,
        "adamw_fp32": 8 * learn,
    }
    out = {k: v / GB for k, v in fixed.items()} | {f"activations_{name}": size / GB for name, (size, _) in kept.items()}
    out |= {f"total_{name}": sum(fixed.values()) / GB + size / GB for name, (size, _) in kept.items()}
    return {"learning_million": learn / 1e6, **{k: round(v, 3) for k, v in out.items()}}


def _block(rows: int, h: int, w: int) -> dict:
    """The widest transformer block's forward, with gradient to its input."""
    import torch
    from fitting_room import host
    from fitting_room.host import blocks, layers

    with host.learning():
        block = blocks.spatial_transformer(320, 8, 768, replace(layers(training=True), device="meta", dtype=torch.bfloat16))
        x = torch.zeros(rows, 320, h, w, device="meta", dtype=torch.bfloat16, requires_grad=True)
        block(x, torch.zeros(rows, 77, 768, device="meta", dtype=torch.bfloat16)).sum().backward()
    return {}


def _kept(run) -> tuple[int, dict]:
    """The most bytes that autograd holds at once in a forward and backward (each tensor once), weights left out."""
    import torch

    held: dict[int, int] = {}
    most = [0]

    class Hold:
        def __init__(self, tensor):
            self.tensor = tensor
            if not isinstance(tensor, torch.nn.Parameter):
                key = tensor.untyped_storage()._cdata
                held[key] = held.get(key, 0) + 1
                sizes[key] = tensor.untyped_storage().nbytes()
                most[0] = max(most[0], sum(sizes[k] for k in held))

        def __del__(self):
            if not isinstance(self.tensor, torch.nn.Parameter):
                key = self.tensor.untyped_storage()._cdata
                held[key] -= 1
                if not held[key]:
                    del held[key]

    sizes: dict[int, int] = {}
    with torch.autograd.graph.saved_tensors_hooks(Hold, lambda h: h.tensor):
        made = run()
    return most[0], made


if __name__ == "__main__":
    sys.exit(main())
