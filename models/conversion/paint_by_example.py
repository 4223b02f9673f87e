"""Paint by Example's checkpoint, 1404 keys: the token becomes a method, the denoiser with the VAE a checkpoint of 9 channels.

    cond_stage_model.{mapper.resblocks, final_ln}.*  -> token.*;  proj_out, learnable_vector -> token.proj_out, token.null
    model.diffusion_model.*, first_stage_model.*     -> for Load Checkpoint; its channels are z 4, masked 4, mask 1 (1 = keep)
    cond_stage_model.transformer.*                   -> for Load CLIP Vision
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from torch import Tensor

from ..paint_by_example import PaintByExample, PaintByExampleConfig
from ..parts.channels import PAINT_BY_EXAMPLE
from ..weights import Header, WeightsError
from . import stableviton
from .layout import SCHEDULE, SCHEDULE_REASON, Companion, Sorter

LICENSE = "CreativeML Open RAIL-M"
MARKS = ("learnable_vector", "proj_out.weight", "cond_stage_model.mapper.resblocks.0.ln_1.weight")


def recognises(keys: Iterable[str]) -> bool:
    """Whether these are the keys of Paint by Example's checkpoint (and not of what was built on it)."""
    keys = set(keys)
    return set(MARKS) <= keys and not stableviton.recognises(keys)


def convert(tensors: Mapping[str, Tensor], digest: str) -> tuple[Header, dict[str, Tensor], tuple[str, ...], tuple[Companion, ...]]:
    """Our header and tensors, a report that accounts for every key, and the parts the host loads itself.

    Raises:
        WeightsError: the layout is not the published one; says what is missing.
    """
    sorter = Sorter(tensors, "Paint by Example")
    shape, kept = sorter.shape(), sorter.token()
    if shape.in_channels != PAINT_BY_EXAMPLE.total:
        raise WeightsError(f"The Paint by Example file's denoiser takes {shape.in_channels} channels, and 9 are expected; it is of another layout.")
    sorter.expect(kept, {"token.": 65})
    sorter.drop("schedule", SCHEDULE_REASON, names=SCHEDULE)
    companions = sorter.companions("Paint by Example", "9 input channels: z, masked, keep mask")
    header = Header(
        method=PaintByExample.kind, config=PaintByExampleConfig(unet=shape, image_width=kept["token.proj_out.weight"].shape[1]).to_dict(),
        base="the denoiser of Paint by Example", trained="released by its authors", data="Open Images",
        source=f"Paint by Example, converted; sha256 {digest}", license=LICENSE,
    )
    head = "Paint by Example -> its token. In Inpaint Conditioning choose the layout paint_by_example; its authors use guidance 5."
    return header, kept, sorter.report(head, kept, companions, LICENSE), companions
