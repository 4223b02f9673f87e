"""Carry `Patches` out on a ComfyUI model.

How it works. `install` clones the MODEL and adds composable things only: our functions at the end of the host's patch
lists, one DIFFUSION_MODEL wrapper per install, one OUTER_SAMPLE wrapper per model. Nothing is written into a module,
a class or a global; what belongs to one forward travels in that forward's private `transformer_options` under `KEY`.

Attention. The paper's terms (an added or a joined attention) belong between the projections and `to_out`. The host has
no composable list there, so the wrapper puts one function into the forward's own options as
`optimized_attention_override` and calls whatever was there before. Because it is set anew in each forward, inside the
wrapper, no other node's choice is lost, and it costs neither a second `to_q` nor a second `to_out`: at 768x576 the
exact lower bound of +11.7 % per garment, where a purely additive route needs +13.1 %. Where another node replaces
the whole attention (IPAdapter_plus, PAG, SAG), the override is not reached; then the output patch adds the same term
through the block's own `to_q` and `to_out` (without its bias), which is algebraically equal.

Rows. Which rows are conditional is not `cond_or_uncond == 0` (SAG, PerpNeg and DualCFG number otherwise). When sampling
starts, every conditioning gets an integer tensor in its `model_conds`: the row's place in the latent batch plus one,
positive for "positive" conditionings and negated for all others. The host repeats and stacks it with the rows. A forward
without it (training, another pack's own call) has conditional rows only.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import comfy.conds
import comfy.model_management
import comfy.patcher_extension
import torch
from comfy.ldm.modules.attention import optimized_attention
from torch import Tensor

from ..models.parts.attention import attend_labelled
from ..models.parts.patches import Call, Memo, Memory, Patches
from ..models.parts.sites import SITES, Site
from ..models.parts.watch import Watch
from .channels import EXTRA, carry, check_input
from .joined import asked_for, attend_joined, count_tiles, gather, join_after_projection, tiled

KEY = "fitting_room"
ROWS = "fitting_room_rows"
PROBE = f"{KEY}_probe"
WRAPPERS = comfy.patcher_extension.WrappersMP
SITE_OF = {(s.stage, s.block): s for s in SITES}


class Forward:
    """What our installs share during one forward of the U-Net."""

    def __init__(self, unet, options: dict):
        self.unet = unet
        self.options = options  # as they were before us
        self.override = options.get("optimized_attention_override")  # another node's attention kernel, or None
        self.calls: list[tuple[Patches, Call]] = []
        self.waiting: tuple[str, Site, Tensor] | None = None  # attention announced, kernel not reached yet
        self.features: list[Tensor] = []

    def attend(self, q: Tensor, k: Tensor, v: Tensor, heads: int) -> Tensor:
        """Attention with the kernel that the user chose."""
        return optimized_attention(q, k, v, heads, transformer_options=self.options)

    def wants(self, which: str, site: Site) -> bool:
        """Whether a method acts on this attention."""
        if which == "attn1":
            return any(site in p.added_self or site in p.joined_self for p, _ in self.calls)
        return any(site in p.added_cross for p, _ in self.calls)


def layer(unet, site: Site):
    """The transformer block of a site in the host's U-Net."""
    block = unet.middle_block if site.stage == "middle" else getattr(unet, f"{site.stage}_blocks")[site.block]
    return block[1].transformer_blocks[0]


# ---- the patches, installed once per model ---------------------------------------------------------------------------


class _Patch:
    """A patch as a callable object: the host finds `models()` on it and stores what `to()` returns."""

    def __init__(self, act):
        self.act = act

    def __call__(self, *args):
        return self.act(*args)

    def models(self):
        return []

    def to(self, _device_or_dtype):
        return self


def _announce(which: str):
    def act(n, context, value, options):
        forward, site = options.get(KEY), SITE_OF.get(options.get("block"))
        if forward is not None and site is not None and forward.wants(which, site):
            forward.waiting = (which, site, n)
        return n, context, value

    return act


def _finish(which: str):
    def act(n, options):
        forward = options.get(KEY)
        if forward is None or forward.waiting is None or forward.waiting[0] != which:
            return n
        (_, site, source), forward.waiting = forward.waiting, None
        return _add_after_projection(forward, which, site, source, n)

    return act


def _entry(h, options):
    forward = options.get(KEY)
    if forward is None or options["block"] != ("input", 0):
        return h
    for patches, call in forward.calls:
        if patches.entry is not None and (added := patches.entry(call)) is not None:
            h = h + added.to(h.dtype)
    return h


def _decoder(h, skip, options):
    # Before output block 0, h is what the middle block gave, control included: so one list serves the middle too, and
    # ComfyUI 0.18.2, which has no list of its own for it, serves as well as 0.30.0.
    forward, block = options.get(KEY), options["block"][1]
    if forward is None:
        return h, skip
    if block > 0 and any(p.wants_features for p, _ in forward.calls):
        forward.features.append(h)
    for patches, call in forward.calls:
        if not call.rows:
            continue
        if block == 0 and patches.middle is not None:
            h = call.merge(h, patches.middle(call.select(h), call))
        if block in patches.decoder:
            h = call.merge(h, patches.decoder[block](call.select(h), call))
        if block in patches.skip:
            skip = call.merge(skip, patches.skip[block](call.select(skip), call))
    return h, skip


PATCHES = {
    "attn1_patch": _Patch(_announce("attn1")),
    "attn1_output_patch": _Patch(_finish("attn1")),
    "attn2_patch": _Patch(_announce("attn2")),
    "attn2_output_patch": _Patch(_finish("attn2")),
    "input_block_patch": _Patch(_entry),
    "output_block_patch": _Patch(_decoder),
}


# ---- attention -------------------------------------------------------------------------------------------------------


def _rows_of(call: Call, stacked: int) -> tuple[list[int], int]:
    """The rows that a method acts on among `stacked` rows, which may be tiles (HyperTile), and the tiles per row."""
    tiles = count_tiles(call, stacked)
    return tiled(call.rows, tiles), tiles


def _term(attend, call: Call, memory: Memory, q: Tensor, tiles: int, heads: int) -> Tensor:
    """scale * attend(q, keys, values) for the conditional rows' queries q (rows * tiles, N, C)."""
    if memory.labels is not None:
        return _labelled_term(heads, call, memory, q, tiles)
    if memory.keys.shape[0] == 1:  # the same keys for all rows: queries are independent, so lay the rows end to end
        out = attend(q.reshape(1, -1, q.shape[-1]), memory.keys, memory.values).reshape(q.shape)
    else:
        k, v = (call.per_image(t, "A reference").repeat_interleave(tiles, 0) for t in (memory.keys, memory.values))
        out = attend(q, k, v)
    return out if memory.scale == 1.0 else out * memory.scale


def _labelled_term(heads: int, call: Call, memory: Memory, q: Tensor, tiles: int) -> Tensor:
    """`_term`, which also tells the memory's watch where the queries look; by torch's own kernel, which has a gradient."""
    if tiles != 1:
        raise ValueError("Another node cuts the attention into tiles, so it cannot be supervised; take that node out for training.")
    k, v = (call.per_image(t, "A reference") for t in (memory.keys, memory.values))
    out, means = attend_labelled(q, k.to(q.dtype), v.to(q.dtype), memory.labels, heads)
    memory.seen(means)
    return out if memory.scale == 1.0 else out * memory.scale


def _add_rows(tensor: Tensor, rows: list[int], added: Tensor) -> Tensor:
    if len(rows) == tensor.shape[0]:
        return tensor + added
    if not torch.is_grad_enabled() and rows == list(range(rows[0], rows[0] + len(rows))):
        tensor[rows[0] : rows[0] + len(rows)] += added  # the kernel's fresh output: nobody else holds it
        return tensor
    return tensor.index_add(0, torch.tensor(rows, device=tensor.device), added.to(tensor.dtype))


def _override(func, q, k, v, heads, *args, **kwargs):
    """Stands where the host calls its attention kernel; see the module's docstring."""
    forward = kwargs["transformer_options"][KEY]
    waiting, forward.waiting = forward.waiting, None

    def kernel(q, k, v):
        if forward.override is not None:
            return forward.override(func, q, k, v, heads, *args, **kwargs)
        return func(q, k, v, heads, *args, **kwargs)

    if waiting is None:
        return kernel(q, k, v)
    which, site, _ = waiting
    asked = asked_for(forward.calls, site) if which == "attn1" else []
    out = attend_joined(kernel, layer(forward.unet, site).attn1, asked, site, q, k, v) if asked else kernel(q, k, v)
    for memory, call in _memories(forward, which, site):
        rows, tiles = _rows_of(call, q.shape[0])
        out = _add_rows(out, rows, _term(kernel, call, memory, gather(q, rows), tiles, heads))
    return out


def _memories(forward: Forward, which: str, site: Site):
    for patches, call in forward.calls:
        wanted = patches.added_self if which == "attn1" else patches.added_cross
        if call.rows and site in wanted and (memory := wanted[site](call)) is not None:
            yield memory, call


def _add_after_projection(forward: Forward, which: str, site: Site, source: Tensor, n: Tensor) -> Tensor:
    """The additive form: another node computed this attention itself, so add W_out scale attend(W_q source, K', V')."""
    attention = getattr(layer(forward.unet, site), which)

    def kernel(q, k, v):
        return forward.attend(q, k, v, attention.heads)

    if which == "attn1" and (asked := asked_for(forward.calls, site)):
        n = join_after_projection(kernel, attention, asked, site, source, n)
    for memory, call in _memories(forward, which, site):
        if source.shape[:2] != n.shape[:2]:
            raise ValueError(
                f"At {site} one node replaces the attention and another one cuts it into tiles, so the garment cannot be added; "
                "remove one of the two."
            )
        rows, tiles = _rows_of(call, n.shape[0])
        term = _term(kernel, call, memory, attention.to_q(gather(source, rows)), tiles, attention.heads)
        projection = attention.to_out[0]
        added = projection(term) - projection(torch.zeros_like(term[:1, :1]))  # W_out alone; the bias is in n already
        n = _add_rows(n, rows, added)
    return n


# ---- the wrappers ----------------------------------------------------------------------------------------------------


class _Install:
    """One method on one model: makes the `Call` of each forward while the step lies in its range of noise levels."""

    def __init__(self, patches: Patches, sigma_start: float, sigma_end: float, null: bool = False):
        self.patches, self.sigma_start, self.sigma_end, self.null = patches, sigma_start, sigma_end, null

    def __call__(self, executor, x, timesteps=None, context=None, y=None, control=None, transformer_options=None, **kwargs):
        options = {} if transformer_options is None else transformer_options
        check_input(executor.class_obj, x)
        sigma, patches = _sigma(options), self.patches
        if sigma is not None and not self.sigma_end <= sigma <= self.sigma_start:
            if patches.entry is None:
                return executor(x, timesteps, context, y, control, options, **kwargs)
            patches = Patches(entry=patches.entry)  # added input channels belong to the model, not to the method's range of steps
        unet, forward = executor.class_obj, options.get(KEY)
        if forward is None:
            forward = Forward(unet, options)
            options = {**options, KEY: forward, "optimized_attention_override": _override}
        call = _call(forward, x, timesteps, context, sigma, options, kwargs, self)
        if call.rows and patches.prepare is not None:
            patches.prepare(call)
        forward.calls.append((patches, call))
        try:
            return self._run(executor, forward, x, timesteps, context, y, control, options, kwargs)
        finally:
            if not torch.is_grad_enabled():  # a checkpointed block runs again in the backward pass and must find them
                forward.calls.pop()

    def _run(self, executor, forward, x, timesteps, context, y, control, options, kwargs):
        (patches, call), last = forward.calls[-1], []
        if patches.noise is None or not call.rows:
            return executor(x, timesteps, context, y, control, options, **kwargs)
        hook = forward.unet.out.register_forward_pre_hook(lambda _, args: last.append(args[0])) if patches.wants_features else None
        try:
            eps = executor(x, timesteps, context, y, control, options, **kwargs)
        finally:
            if hook is not None:
                hook.remove()
        features = [call.select(h) for h in [*forward.features, *last]] if patches.wants_features else None
        return call.merge(eps, patches.noise(call.select(eps), features, call))


def _sigma(options) -> float | None:
    sigmas = options.get("sigmas")
    return None if sigmas is None else float(sigmas.flatten()[0])


def _call(forward: Forward, x, timesteps, context, sigma, options, kwargs, install: _Install) -> Call:
    marks = kwargs.get(ROWS)
    numbers = list(range(1, x.shape[0] + 1)) if marks is None else [int(n) for n in marks.flatten().tolist()]
    rows = [row for row, number in enumerate(numbers) if install.patches.all_rows or (number < 0 if install.null else number > 0)]
    extras = {k.removeprefix(EXTRA): v for k, v in kwargs.items() if k.startswith(EXTRA)}
    return Call(
        x=x, timesteps=timesteps, context=context, rows=rows, images=[abs(numbers[r]) - 1 for r in rows], sigma=sigma,
        extras=extras, attend=forward.attend, unet=forward.unet, memo=options.get(f"{KEY}_memo"), probe=options.get(PROBE),
        pictures=max(abs(n) for n in numbers),
    )


def _begin(executor, noise, *args, **kwargs):
    """OUTER_SAMPLE: number the conditional rows, move extra channels to their place, and open the memo of this generation."""
    guider = executor.class_obj
    in_channels = guider.model_patcher.get_model_object("diffusion_model").in_channels
    images = torch.arange(1, noise.shape[0] + 1).unsqueeze(1)
    for name, conditionings in guider.conds.items():
        marks = comfy.conds.CONDRegular(images if name == "positive" else -images)
        for conditioning in conditionings:
            conditioning["model_conds"] = {**conditioning.get("model_conds", {}), ROWS: marks}
            carry(conditioning, in_channels)
    options = guider.model_options.setdefault("transformer_options", {})
    hooked = any("hooks" in c for conditionings in guider.conds.values() for c in conditionings)
    options[f"{KEY}_memo"] = memo = Memo(weights_change=hooked)
    try:
        for one in guider.model_patcher.get_wrappers(WRAPPERS.DIFFUSION_MODEL, KEY):
            if one.patches.start is not None:
                one.patches.start(memo, *noise.shape[-2:])
        return executor(noise, *args, **kwargs)
    finally:
        options.pop(f"{KEY}_memo", None)


def watched(options: dict, watch: Watch | None) -> dict:
    """A copy of a forward's `transformer_options` that carries a watch to the methods installed (`models/parts/watch.py`)."""
    return {**options, PROBE: watch}


def install(
    model, patches: Patches, managed: Sequence = (), start_percent: float = 0.0, end_percent: float = 1.0, channels: bool = False
):
    """A clone of a MODEL that carries `patches`; the given model stays as it was.

    Args:
        model: ModelPatcher of an SD1.5 U-Net.
        patches: what the method asks.
        managed: patchers of the method's own modules, loaded and offloaded together with the U-Net.
        start_percent, end_percent: share of the schedule in which the method acts.
        channels: the method's conditioning brings extra channels, which must find their place even where the method
            asks for nothing (strength 0).

    Raises:
        ValueError: the range is empty, backwards or outside 0..1.
    """
    if not 0.0 <= start_percent <= end_percent <= 1.0:
        raise ValueError(f"The range {start_percent}..{end_percent} is not inside 0..1 with the start before the end; correct start_percent and end_percent.")
    out = model.clone()
    if patches == Patches() and not channels:
        return out
    installed = out.model_options["transformer_options"].get("patches", {})
    for name, patch in PATCHES.items():
        if patch not in installed.get(name, ()):
            out.set_model_patch(patch, name)
    sampling = model.get_model_object("model_sampling")
    start, end = (float(sampling.percent_to_sigma(p)) for p in (start_percent, end_percent))
    end = end if end_percent < 1.0 else -math.inf
    for part, null in ((patches, False), (patches.null, True)):
        if part is not None:
            out.add_wrapper_with_key(WRAPPERS.DIFFUSION_MODEL, KEY, _Install(part, start, end, null))
    if _begin not in out.get_wrappers(WRAPPERS.OUTER_SAMPLE, KEY):
        out.add_wrapper_with_key(WRAPPERS.OUTER_SAMPLE, KEY, _begin)
    if patches.weights:
        out.add_patches({f"diffusion_model.{name}": ("diff", (tensor,)) for name, tensor in patches.weights.items()})
    if managed:
        key = f"{KEY}_{sum(k.startswith(KEY) for k in out.additional_models)}"
        out.set_additional_models(key, list(managed))
    return out
