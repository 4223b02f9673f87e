"""IMAGDressing: its checkpoint runs as AnyDressing with one slot-less garment and a garment U-Net of its own.

Its injection equals AnyDressing's equation (6): `to_k_ref` and `to_v_ref` beside each self-attention, started from to_k and
to_v. Layout of the file (a torch pickle, possibly below "module"):

    ref_unet.*                                      the garment U-Net in diffusers names, cross-attention included
    adapter_modules.{i}.to_k_ref.weight, to_v_ref   i = place in diffusers' attn_processors: down, up, middle last; even = attn1
    proj.*                                          the resampler that makes 16 tokens of the CLIP picture
    unet.*                                          the frozen denoiser it was trained beside: the user's own MODEL takes its place
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from torch import Tensor

from ..anydressing import AnyDressingConfig
from ..parts.names import ldm_name
from ..parts.sites import DIFFUSERS_ORDER, SITES, UNetShape
from ..parts.tokens import ResamplerConfig
from ..weights import Header, WeightsError

LICENSE = "not stated by its authors; trained on IGPair, whose data is non-commercial (NC)"
HEAD_WIDTH = 64  # of the resampler's attention; the file does not say


def recognises(keys: Iterable[str]) -> bool:
    """Whether these are the keys of an IMAGDressing checkpoint."""
    keys = [k.removeprefix("module.") for k in keys]
    return any(k.startswith("ref_unet.") for k in keys) and any(k.endswith(".to_k_ref.weight") for k in keys)


def convert(tensors: Mapping[str, Tensor], digest: str) -> tuple[Header, dict[str, Tensor], list[str]]:
    """Our tensors and header, and a report that accounts for every key.

    Raises:
        WeightsError: the layout is not the published one; says what is missing.
    """
    source = {k.removeprefix("module."): v for k, v in tensors.items()}
    out, dropped = {}, {}
    for site in SITES:
        number = 2 * DIFFUSERS_ORDER.index(site)
        for ours, theirs in (("to_k", "to_k_ref"), ("to_v", "to_v_ref")):
            key = f"adapter_modules.{number}.{theirs}.weight"
            if key not in source:
                raise WeightsError(f"The IMAGDressing file lacks {key} (the attention of {site}); it is not the published layout or is incomplete.")
            out[f"da.{site.ldm_path}.attn1.{ours}.weight"] = source.pop(key)
    for key in list(source):
        head, _, rest = key.partition(".")
        if head == "ref_unet" and (name := ldm_name(rest)) is not None:
            out[f"garment_unet.{name}"] = source.pop(key)
        elif head == "proj":
            out[f"resampler.{rest}"] = source.pop(key)
        else:
            dropped[head] = dropped.get(head, 0) + 1
    header = Header(
        method="anydressing", config=_config(out).to_dict(), trained="IMAGDressing checkpoint", data="IGPair", license=LICENSE,
        source=f"IMAGDressing, converted; sha256 {digest}",
    )
    reasons = {"unet": "the frozen denoiser it was trained beside; your MODEL takes its place", "adapter_modules": "attn2 has no weights of its own"}
    report = [
        f"IMAGDressing -> AnyDressing: {len(out)} tensors kept (32 attention matrices, the garment U-Net, the resampler).",
        *(f"Dropped {n} tensors of '{head}': {reasons.get(head, 'not used at inference')}." for head, n in sorted(dropped.items())),
        "Encode garments with a CLIP ViT-H vision model; its authors use strength 1.0.", f"Licence: {LICENSE}.",
    ]
    return header, out, report


def _config(out: Mapping[str, Tensor]) -> AnyDressingConfig:
    """Read the shapes off the tensors."""
    try:
        first, cross = out["garment_unet.input_blocks.0.0.weight"], out["garment_unet.input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight"]
        latents, proj_in, proj_out = out["resampler.latents"], out["resampler.proj_in.weight"], out["resampler.proj_out.weight"]
        queries, inner = out["resampler.layers.0.0.to_q.weight"], out["resampler.layers.0.1.1.weight"]
    except KeyError as error:
        raise WeightsError(f"The IMAGDressing file lacks {error.args[0]}; it is not the published layout or is incomplete.") from error
    resampler = ResamplerConfig(
        inputs=proj_in.shape[1], width=latents.shape[2], outputs=proj_out.shape[0], tokens=latents.shape[1],
        depth=len({k.split(".")[2] for k in out if k.startswith("resampler.layers.")}), heads=queries.shape[0] // HEAD_WIDTH,
        head_width=HEAD_WIDTH, ff=inner.shape[0] // latents.shape[2],
    )
    shape = UNetShape(first.shape[1], first.shape[0], cross.shape[1], 8)
    return AnyDressingConfig(unet=shape, slots=(), cross_attention="image_tokens", resampler=resampler)


