"""What try-on costs: FLOPs and seconds per guided picture, beside the released form, in the same code path with the same weights.

    python3 benchmarks/tryon.py [--steps 2] [--width 384] [--height 512] [--rounds 1] [--flops-only]

Full-width SD1.5 of thirteen channels with random weights and Stable Diffusion's VAE. FLOPs (2 per multiply-add) are counted by torch on
the meta device for a whole picture of 384 x 512 (PLMS, 50 steps, 51 evaluations; two pictures encoded before, one decoded after), so they do not
depend on the machine. Seconds are processor seconds on a CPU (all threads together, so that other work on the machine counts less) and
seconds by the clock on a GPU. The forms differ in three switches: the garment encoded once or in every call of the U-Net, the garment encoder
with or without the blocks that nothing reads, and unconditional rows with or without the garment. In every form the encoder's
cross-attention over its single token is shortcut, so the released form is counted a little too cheap.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "benchmarks"))
from start import arguments, start  # noqa: E402

RESULT = ROOT / "benchmarks" / "results" / "tryon.json"
STEPS, EVALUATIONS, GUIDANCE = 50, 51, 1.5
FORMS = {  # name: (garment in every call, whole encoder, unconditional rows see the garment, guided)
    "ours, guided": (False, False, False, True),
    "released, guided": (True, True, True, True),
    "SIFT-VTON's own code, guided": (True, True, False, True),
    "ours, garment in both halves": (False, False, True, True),
    "ours, no guidance": (False, False, False, False),
    "released, no guidance": (True, True, False, False),
}
BASELINE = {"ours, guided": "released, guided", "ours, no guidance": "released, no guidance"}
TIMED = [name for pair in BASELINE.items() for name in pair]


def main() -> int:
    """Measure, print a table, write the result."""
    parser = arguments(__doc__)
    parser.add_argument("--steps", type=int, default=2, help="evaluations that are timed")
    parser.add_argument("--rounds", type=int, default=1, help="interleaved repetitions; the median counts")
    parser.add_argument("--width", type=int, default=384)
    parser.add_argument("--height", type=int, default=512)
    parser.add_argument("--channels", type=int, default=320, help="width of the U-Net that is timed (320 = full)")
    parser.add_argument("--flops-only", action="store_true")
    options, device = start(__file__, parser)
    result = {"flops": {"size": [512, 384], **flops(64, 48)}}
    if not options.flops_only:
        result["time"] = {"size": [options.height, options.width], "model_channels": options.channels, **times(options, device)}
    write(result, device)
    print(table(result))
    return 0


# ---- FLOPs, on the meta device ---------------------------------------------------------------------------------------


def flops(h: int, w: int) -> dict:
    """Counted GFLOP per evaluation and per picture for every form, and what a picture costs beside the released form."""
    import torch
    from fitting_room.host import blocks
    from fitting_room.host.models import PlainOps
    from fitting_room.models.parts.layers import Layers
    from fitting_room.models.parts.sites import UNetShape
    from fitting_room.models.sift_vton import SiftVton, SiftVtonConfig

    layers = Layers(PlainOps, torch.float32, "meta", blocks)
    unet = blocks.unet(UNetShape(13), layers)
    modules = {whole: SiftVton(SiftVtonConfig(whole_encoder=whole), layers) for whole in (False, True)}
    vae = {"encode": count(lambda: vae_call("encode", h, w)), "decode": count(lambda: vae_call("decode", h, w))}
    around, out = 2 * vae["encode"] + vae["decode"], {}
    for name, (each, whole, both, guided) in FORMS.items():
        call = evaluation(unet, modules[whole], both, guided, h, w) + (vae["encode"] if each else 0)
        out[name] = {"evaluation": call, "picture": EVALUATIONS * call + around + (0 if each else vae["encode"])}
    out["U-Net alone, guided"] = {"evaluation": count(lambda: run(unet, {}, 2, h, w))}
    dead = sum(p.numel() for p in modules[True].parameters()) - sum(p.numel() for p in modules[False].parameters())
    gains = {name: out[other]["picture"] / out[name]["picture"] for name, other in BASELINE.items()}
    return {"forms": out, "vae": vae, "speedup": gains, "parameters_not_built": dead}


def evaluation(unet, module, both: bool, guided: bool, h: int, w: int) -> float:
    """GFLOP of one evaluation of the denoiser with the method, the garment's latent given."""
    import torch
    from fitting_room.host.denoiser import KEY, PATCHES, WRAPPERS, _Install

    patches = module.patches(torch.empty(1, 4, h, w, device="meta"), unconditional="garment" if both else "bare")
    options = {
        "patches": {k: [v] for k, v in PATCHES.items()},
        "wrappers": {WRAPPERS.DIFFUSION_MODEL: {KEY: [_Install(patches, float("inf"), float("-inf"))]}},
    }
    return count(lambda: run(unet, options, 2 if guided else 1, h, w))


def run(unet, options: dict, rows: int, h: int, w: int) -> None:
    """One forward on the meta device: the unconditional row first where there are two."""
    import torch
    from fitting_room.host.denoiser import ROWS

    x, context = torch.empty(rows, 13, h, w, device="meta"), torch.empty(rows, 1, 768, device="meta")
    marks = torch.tensor([[-1], [1]] if rows == 2 else [[1]])
    unet(x, torch.empty(rows, device="meta"), context=context, transformer_options=dict(options), **{ROWS: marks})


def vae_call(which: str, h: int, w: int) -> None:
    """Stable Diffusion's VAE once, on the meta device."""
    import torch

    model = vae_model()
    if which == "encode":
        model.quant_conv(model.encoder(torch.empty(1, 3, 8 * h, 8 * w, device="meta")))
    else:
        model.decoder(model.post_quant_conv(torch.empty(1, 4, h, w, device="meta")))


VAE = {
    "double_z": True, "z_channels": 4, "resolution": 256, "in_channels": 3, "out_ch": 3, "ch": 128, "ch_mult": [1, 2, 4, 4],
    "num_res_blocks": 2, "attn_resolutions": [], "dropout": 0.0,
}


def vae_model():
    """The VAE on the meta device."""
    import comfy.ldm.models.autoencoder
    import torch

    with torch.device("meta"):
        return comfy.ldm.models.autoencoder.AutoencoderKL(ddconfig=VAE, embed_dim=4)


def count(call) -> float:
    """GFLOP that `call` takes."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        call()
    return counter.get_total_flops() / 1e9


# ---- seconds ---------------------------------------------------------------------------------------------------------


def times(options, device: str) -> dict:
    """Median seconds per evaluation of the forms, through the host's sampler, and the picture they add up to (without other VAE work)."""
    import comfy.sd
    import torch
    from fitting_room import host
    from fitting_room.host.demo import demo_unet, random_state
    from fitting_room.models.parts.sites import UNetShape
    from fitting_room.models.sift_vton import SiftVton

    with torch.inference_mode():
        model = demo_unet(UNetShape(13, options.channels))
        model.cached_patcher_init = None  # it would hold the weights a second time
        released = host.new_method(SiftVton, model, 0, {"whole_encoder": True})
        released.patcher.cached_patcher_init = None
        modules = {True: released.module, False: without_unread_blocks(released.module)}
        vae = comfy.sd.VAE(sd=random_state(vae_model().state_dict(), 0), config={"params": {"ddconfig": VAE, "embed_dim": 4}})
        garment = torch.rand(1, options.height, options.width, 3)
        encode = lambda height, width: host.encode_latent(vae, garment)  # noqa: E731
        start = now(device)
        encode(0, 0)
        encoding = now(device) - start
        seconds: dict[str, list[float]] = {name: [] for name in TIMED}
        for _ in range(options.rounds):
            for name in TIMED:
                seconds[name].append(one_run(model, modules, released, name, encode, options, device))
    out = {name: {"evaluation_s": statistics.median(s)} for name, s in seconds.items()}
    for name, entry in out.items():
        entry["picture_s"] = EVALUATIONS * entry["evaluation_s"] + (0 if FORMS[name][0] else encoding)
    gains = {name: out[other]["picture_s"] / out[name]["picture_s"] for name, other in BASELINE.items()}
    clock = "processor seconds" if device != "cuda" else "seconds"
    return {"clock": clock, "forms": out, "garment_encoding_s": encoding, "speedup": gains, "steps": options.steps, "rounds": options.rounds}


def now(device: str) -> float:
    """Processor seconds of this process on a CPU; the clock, with the GPU's work done, on a GPU."""
    import torch

    if device != "cuda":
        return time.process_time()
    torch.cuda.synchronize()
    return time.perf_counter()


def without_unread_blocks(whole):
    """The same weights, shared, without the encoder blocks that nothing reads."""
    from dataclasses import replace

    import torch
    from fitting_room import host
    from fitting_room.models.sift_vton import SiftVton

    module = SiftVton(replace(whole.config, whole_encoder=False), host.layers(dtype=torch.float32, device="meta"))
    module.channels, module.warp, module.token, module.encoder.hint = whole.channels, whole.warp, whole.token, whole.encoder.hint
    net, source = module.encoder.net, whole.encoder.net
    net.time_embed, net.input_blocks = source.time_embed, source.input_blocks[: len(net.input_blocks)]
    return module.eval()


def one_run(model, modules, released, name: str, encode, options, device: str) -> float:
    """Seconds per evaluation, the first (which may load and, in our form, encode) left out."""
    import comfy.sample
    import torch
    from fitting_room import host
    from fitting_room.models.parts.channels import TRY_ON

    each, whole, both, guided = FORMS[name]
    patches = modules[whole].patches(encode, unconditional="garment" if both else "bare", encode_every_call=each)
    fitted = host.install(model, patches, released.managed, channels=True)
    h, w = options.height // 8, options.width // 8
    token = [[torch.randn(1, 1, 768), {}]]
    given = host.with_channels(token, TRY_ON, torch.randn(1, TRY_ON.extra, h, w))
    latent, stamps = torch.zeros(1, 4, h, w), []

    def stamp(*_):
        stamps.append(now(device))

    comfy.sample.sample(
        fitted, torch.randn(1, 4, h, w), options.steps + 1, GUIDANCE if guided else 1.0, "euler", "normal", given, given, latent, callback=stamp,
        disable_pbar=True, seed=0,
    )
    return (stamps[-1] - stamps[0]) / options.steps


# ---- report ----------------------------------------------------------------------------------------------------------


def write(result: dict, device: str) -> None:
    """Keep one result per kind of device; a FLOP count alone leaves the times of earlier runs."""
    from machine import describe

    known = json.loads(RESULT.read_text()) if RESULT.is_file() else {}
    known["flops"] = result["flops"]
    if "time" in result:
        known[device] = {"machine": describe(device), **result["time"]}
    RESULT.parent.mkdir(parents=True, exist_ok=True)
    RESULT.write_text(json.dumps(known, indent=1) + "\n")


def table(result: dict) -> str:
    """The table of README."""
    rows = ["| form | GFLOP, evaluation | TFLOP, picture | seconds, evaluation | seconds, 50-step picture |", "|---|---|---|---|---|"]
    timed = result.get("time", {}).get("forms", {})
    for name, f in result["flops"]["forms"].items():
        t = timed.get(name)
        picture = f"{f['picture'] / 1000:.1f}" if "picture" in f else "-"
        rows.append(f"| {name} | {f['evaluation']:.0f} | {picture} | " + (f"{t['evaluation_s']:.2f} | {t['picture_s']:.0f} |" if t else "- | - |"))
    for what, gains in (("FLOPs", result["flops"]["speedup"]), ("time", result.get("time", {}).get("speedup", {}))):
        rows += [f"{what}: '{BASELINE[name]}' costs {gain:.2f} times '{name}'." for name, gain in gains.items()]
    return "\n".join(rows)


if __name__ == "__main__":
    sys.exit(main())
