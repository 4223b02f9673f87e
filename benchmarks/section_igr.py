"""IGR's part of `tryoff_insert.py`: GarmNet once and shared keys, beside GarmNet in every step and all queries of equation 4.

The literal form lays the reference beside the picture, takes queries, keys and values of both and keeps the picture's half. Rows without
a reference are laid beside themselves, which changes nothing in their softmax, so both forms paint the same picture.
"""

from __future__ import annotations

import statistics
import time

SIZE, STEPS, TARGET = (1024, 768), 25, 1.10 * 219
FORMS = {
    "plain SD1.5": "no garment at all",
    "IGR": "GarmNet once, its K and V once, queries of the picture only, unconditional rows without a reference",
    "IGR without tokens": "the same without the IP-Adapter",
    "IGR, K and V every step": "the reference projected again in every step",
    "IGR, both halves": "unconditional rows pay for a reference too",
    "literal": "GarmNet in every step, queries of reference and picture, both halves",
}


# ---- FLOPs, on the meta device ---------------------------------------------------------------------------------------


def flops() -> dict:
    """TFLOP of a whole picture at 1024 x 768 (25 steps with guidance) for every form, and what the features weigh."""
    import torch
    from fitting_room.host import blocks
    from fitting_room.host.models import PlainOps
    from fitting_room.models.igr import IGR, IGRConfig
    from fitting_room.models.parts.layers import Layers
    from fitting_room.models.parts.sites import SITES, UNetShape

    layers = Layers(PlainOps, torch.float32, "meta")
    unet, garmnet, module = blocks.unet(UNetShape(), layers), blocks.unet(UNetShape(5), layers), IGR(IGRConfig(), layers)
    h, w = (side // 8 for side in SIZE)
    seen = torch.empty(1, 5, h, w, device="meta")
    features = {s: torch.empty(1, h // s.stride * (w // s.stride), UNetShape().channels(s), device="meta") for s in SITES}
    once, whole = count(lambda: capture(garmnet, seen)), count(lambda: forward(garmnet, seen))
    out = {}
    for name in FORMS:
        first, later = steps(unet, module, features, name)
        passes = {"plain SD1.5": 0.0, "literal": STEPS * whole}.get(name, once)
        out[name] = {"step": later, "garmnet": passes, "picture": first + (STEPS - 1) * later + passes}
    return {
        "size": SIZE, "steps": STEPS, "forms": out, "target_tflop": TARGET,
        "features_mb_fp16": sum(2 * f.numel() for f in features.values()) / 1e6,
        "garmnet_gb_fp16": sum(2 * p.numel() for p in garmnet.parameters()) / 1e9,
    }


def steps(unet, module, features, name: str) -> tuple[float, float]:
    """TFLOP of the first guided step of a generation and of a later one."""
    import torch
    from fitting_room.host.denoiser import KEY, PATCHES, ROWS, WRAPPERS, _Install
    from fitting_room.models.parts.patches import Memo
    from fitting_room.models.parts.tokens import ImageTokens

    patches = form_patches(module, features, ImageTokens(*torch.empty(2, 1, 16, 768, device="meta")), name)
    options: dict = {}
    if patches is not None:
        installs = [_Install(p, float("inf"), float("-inf"), null) for p, null in ((patches, False), (patches.null, True)) if p is not None]
        options = {"patches": {k: [v] for k, v in PATCHES.items()}, "wrappers": {WRAPPERS.DIFFUSION_MODEL: {KEY: installs}}}
        options[f"{KEY}_memo"] = None if name == "IGR, K and V every step" else Memo()
    if name == "literal":
        before, after = literal(lambda site, rows: features[site].expand(rows, -1, -1))
        lists = options["patches"]
        options["patches"] = {**lists, "attn1_patch": [before, *lists["attn1_patch"]], "attn1_output_patch": [after, *lists["attn1_output_patch"]]}
    x = torch.empty(2, 4, *(side // 8 for side in SIZE), device="meta")
    marks = torch.tensor([[-1], [1]])
    call = lambda: forward(unet, x, options, **{ROWS: marks})  # noqa: E731
    return count(call), count(call)


def form_patches(module, features, tokens, name: str):
    """What a form asks of the denoiser; the literal form's self-attention comes from `literal` instead."""
    from dataclasses import replace

    from fitting_room.models.parts.reference import Reference

    if name == "plain SD1.5":
        return None
    references = [] if name == "literal" else [Reference("igr", "upper", features, SIZE)]
    patches = module.patches(references, None if name == "IGR without tokens" else tokens)
    return replace(patches, all_rows=True) if name == "IGR, both halves" else patches


def literal(reference):
    """Equation 4 through the host's patch lists: [reference, own] for queries, keys and values, the latter half kept.

    reference: (site, rows) -> (rows,N,C), the same number of tokens as the picture's.
    """
    import torch
    from fitting_room.host.denoiser import SITE_OF

    def before(n, context, value, options):
        both = torch.cat((reference(SITE_OF[options["block"]], n.shape[0]).to(n), n), 1)
        return both, both, both

    def after(n, options):
        return n[:, n.shape[1] // 2 :]

    return before, after


def capture(unet, seen) -> None:
    """GarmNet's pass as `host.capture` makes it: it ends at the last site's norm."""
    import contextlib

    from fitting_room.host.reference import _Done, _Pass
    from fitting_room.models.parts.sites import SITES

    with contextlib.suppress(_Done):
        forward(unet, seen, _Pass(SITES, lambda n: n, None, cross_attention=True).options())


def forward(unet, x, options=None, **marks):
    """One forward of a U-Net on the meta device."""
    import torch

    rows = x.shape[0]
    return unet(x, torch.empty(rows, device="meta"), context=torch.empty(rows, 77, 768, device="meta"), transformer_options=dict(options or {}), **marks)


def count(call) -> float:
    """TFLOP that `call` takes."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        call()
    return counter.get_total_flops() / 1e12


# ---- seconds ---------------------------------------------------------------------------------------------------------


def times(options, device: str) -> dict:
    """Median seconds per step of three forms in interleaved rounds, their difference as pictures, and what is in memory."""
    import torch
    from fitting_room import host
    from fitting_room.host.demo import demo_unet
    from fitting_room.models.igr import IGR
    from fitting_room.models.parts.reference import Reference
    from fitting_room.models.parts.sites import UNetShape
    from fitting_room.models.parts.tokens import ImageTokens

    g, h, w = torch.Generator().manual_seed(0), options.height // 8, options.width // 8
    with torch.inference_mode():
        model = demo_unet(UNetShape())
        method = host.new_method(IGR, model, 0, {})
        garmnet, text = method.unets["garmnet"], torch.randn(1, 77, 768, generator=g)
        seen = IGR.garmnet_input(torch.randn(1, 4, h, w, generator=g), torch.ones(1, 1, 8 * h, 8 * w))
        once, features = look(host, garmnet, seen, text, device)
        memory = {"before_sampling": loaded(garmnet)}
        tokens = ImageTokens(*torch.randn(2, 1, 16, 768, generator=g))
        ours = host.install(model, method.module.patches([Reference("igr", "upper", features, SIZE)], tokens), method.managed)
        pictures = {"IGR": sampled(ours, text, (h, w), 1, device)[1]}
        memory["after_sampling"] = loaded(garmnet)
        forms = {"plain SD1.5": model, "IGR": ours, "literal": literal_model(host, model, method, tokens, seen, text)}
        seconds: dict[str, list[float]] = {name: [] for name in forms}
        for _ in range(options.rounds):
            for name, form in forms.items():
                taken, pictures[name] = sampled(form, text, (h, w), options.steps, device)
                seconds[name] += taken
    step = {name: statistics.median(taken) for name, taken in seconds.items()}
    return {
        "size": [options.height, options.width], "steps": options.steps, "rounds": options.rounds, "garmnet_s": once,
        "forms": {name: {"step_s": s, "step_ratio": s / step["plain SD1.5"]} for name, s in step.items()},
        "difference": float((pictures["IGR"] - pictures["literal"]).abs().max() / pictures["literal"].abs().max()),
        "features_mb": sum(f.numel() * f.element_size() for f in features.values()) / 1e6, "garmnet_in_memory": memory,
    }


def look(host, garmnet, seen, text, device: str) -> tuple[float, dict]:
    """(seconds of GarmNet's pass when its weights are loaded, features); the second pass is timed."""
    start = 0.0
    for _ in range(2):
        start = time.perf_counter()
        features = host.capture(garmnet, seen, text, cross_attention=True)
        sync(device)
    taken = time.perf_counter() - start
    host.release(garmnet)
    return taken, features


def loaded(patcher) -> bool:
    """Whether the host holds a model on its device."""
    import comfy.model_management as management

    return any(m.model is not None and m.model.is_clone(patcher) for m in management.current_loaded_models)


def literal_model(host, model, method, tokens, seen, text):
    """The literal form on a real model: GarmNet in every step, rows without a reference laid beside themselves."""
    import torch
    from fitting_room.host.denoiser import SITE_OF, WRAPPERS

    out, garmnet, features = host.install(model, method.module.patches(tokens=tokens), method.managed), method.unets["garmnet"], {}
    out.set_additional_models("literal_garmnet", [garmnet])

    def keep(n, context, value, options):
        features[SITE_OF[options["block"]]] = n
        return n, context, value

    def every_step(executor, x, *args, **kwargs):
        own = {"patches": {"attn1_patch": [keep]}, "cond_or_uncond": [0], "sigmas": torch.zeros(1)}
        garmnet.model.diffusion_model(seen.to(x), torch.zeros(1, device=x.device), context=text.to(x), transformer_options=own)
        return executor(x, *args, **kwargs)

    def before(n, context, value, options):
        rows, own = n.shape[0] // len(options["cond_or_uncond"]), n.clone()
        for number, kind in enumerate(options["cond_or_uncond"]):
            if kind == 0:
                own[number * rows : (number + 1) * rows] = features[SITE_OF[options["block"]]]
        both = torch.cat((own, n), 1)
        return both, both, both

    out.add_wrapper_with_key(WRAPPERS.DIFFUSION_MODEL, "literal", every_step)
    out.set_model_patch(before, "attn1_patch")
    out.set_model_patch(lambda n, options: n[:, n.shape[1] // 2 :], "attn1_output_patch")
    return out


def sampled(model, text, size, steps_: int, device: str) -> tuple[list[float], object]:
    """(seconds of every step but the first, which fills the cache; final latent)."""
    import comfy.sample
    import torch

    latent, stamps = torch.zeros(1, 4, *size), []

    def stamp(step, *_):
        sync(device)
        stamps.append(time.perf_counter())

    noise, positive, negative = comfy.sample.prepare_noise(latent, 0), [[text, {}]], [[torch.zeros_like(text), {}]]
    out = comfy.sample.sample(
        model, noise, steps_ + 1, 1.5, "ddim", "normal", positive, negative, latent, callback=stamp, disable_pbar=True, seed=0
    )
    return [b - a for a, b in zip(stamps, stamps[1:])], out


def sync(device: str) -> None:
    """Wait for the accelerator."""
    import torch

    if device == "cuda":
        torch.cuda.synchronize()


# ---- report ----------------------------------------------------------------------------------------------------------


def table(result: dict) -> str:
    """The table of README."""
    counted, timed = result["flops"], result.get("time")
    plain = counted["forms"]["plain SD1.5"]["picture"]
    rows = ["| form | TFLOP, picture 1024 x 768, 25 steps | beside plain | time, step |", "|---|---|---|---|"]
    for name, f in counted["forms"].items():
        step = timed["forms"].get(name) if timed else None
        rows.append(f"| {name} | {f['picture']:.1f} | {f['picture'] / plain:.2f} | {step['step_ratio']:.2f} |" if step else
                    f"| {name} | {f['picture']:.1f} | {f['picture'] / plain:.2f} | - |")
    rows.append(f"\nTarget: at most {counted['target_tflop']:.0f} TFLOP. Features {counted['features_mb_fp16']:.1f} MB in fp16; GarmNet {counted['garmnet_gb_fp16']:.2f} GB.")
    if timed:
        rows.append(f"Same picture as the literal form within {timed['difference']:.1e}; GarmNet {timed['garmnet_s']:.2f} s once; in memory {timed['garmnet_in_memory']}.")
    return "\n".join(rows)
