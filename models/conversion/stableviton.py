"""StableVITON and SIFT-VTON checkpoints: one layout, 1957 keys; SIFT-VTON adds the buffer `explicit_ratio`.

    model.diffusion_model.warp_flow_blks.{0..8}.*       -> warp.{n}.block.*     transformer before output block n + 3
    model.diffusion_model.warp_zero_convs.{0..8}.*      -> warp.{n}.zero.*
    control_model.{time_embed, input_blocks.0..8}.*     -> encoder.net.*
    control_model.cond_first_block.0.*                  -> encoder.hint.*
    cond_stage_model.{mapper.resblocks, final_ln}.*     -> token.*;  proj_out, learnable_vector -> token.proj_out, token.null
    model.diffusion_model.input_blocks.0.0.weight       -> channels.conv.weight, its columns 4..12 (for a plain SD1.5)
    model.diffusion_model.* (the U-Net), first_stage_model.*    -> a checkpoint of 13 channels for Load Checkpoint
    cond_stage_model.transformer.*                      -> an image encoder for Load CLIP Vision

Left out: control_model.input_blocks.9-11 and middle_block (174 million numbers that nothing reads), lastzc, the schedule.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from torch import Tensor

from ..parts.channels import TRY_ON
from ..parts.spatial import READ_BLOCKS
from ..sift_vton import SiftVton, SiftVtonConfig
from ..weights import Header, WeightsError
from .layout import SCHEDULE, SCHEDULE_REASON, UNET, Companion, Sorter, columns_behind_latent

LICENSE = "CC BY-NC-SA 4.0"
MARKS = ("model.diffusion_model.warp_flow_blks.0.proj_in.weight", "control_model.cond_first_block.0.weight")
SIFT_MARK = "model.diffusion_model.explicit_ratio"


def recognises(keys: Iterable[str]) -> bool:
    """Whether these are the keys of a StableVITON or SIFT-VTON checkpoint."""
    return set(MARKS) <= set(keys)


def recognises_sift(keys: Iterable[str]) -> bool:
    """Whether these are the keys of a SIFT-VTON checkpoint."""
    return {*MARKS, SIFT_MARK} <= set(keys)


def convert(tensors: Mapping[str, Tensor], digest: str) -> tuple[Header, dict[str, Tensor], tuple[str, ...], tuple[Companion, ...]]:
    """Our header and tensors, a report that accounts for every key, and the parts the host loads itself.

    Raises:
        WeightsError: the layout is not the published one; says what is missing.
    """
    sift = SIFT_MARK in tensors
    name = "SIFT-VTON" if sift else "StableVITON"
    sorter = Sorter(tensors, name)
    shape = sorter.shape()
    if shape.in_channels != TRY_ON.total:
        raise WeightsError(f"The {name} file's denoiser takes {shape.in_channels} channels, and {TRY_ON.total} are expected; it is of another layout.")
    kept = {"channels.conv.weight": columns_behind_latent(sorter.left[f"{UNET}input_blocks.0.0.weight"])}
    for number in range(9):
        kept |= sorter.take(f"{UNET}warp_flow_blks.{number}.", f"warp.{number}.block.")
        kept |= sorter.take(f"{UNET}warp_zero_convs.{number}.", f"warp.{number}.zero.")
    kept |= sorter.take("control_model.cond_first_block.0.", "encoder.hint.")
    for part in ("time_embed", *(f"input_blocks.{i}" for i in range(READ_BLOCKS))):
        kept |= sorter.take(f"control_model.{part}.", f"encoder.net.{part}.")
    kept |= sorter.token()
    sorter.expect(kept, {"warp.": 252, "encoder.": 232, "token.": 65})
    unread = tuple(f"control_model.{p}." for p in ("input_blocks.9", "input_blocks.10", "input_blocks.11", "middle_block"))
    sorter.drop("the garment encoder's last blocks", "no part of the method reads what they compute", unread)
    sorter.drop("lastzc", "unused by its own code", ("lastzc.",))
    sorter.drop("explicit_ratio", "a training buffer; its presence says SIFT-VTON", names={SIFT_MARK})
    sorter.drop("schedule", SCHEDULE_REASON, names=SCHEDULE)
    companions = sorter.companions(name, f"{TRY_ON.total} input channels")
    config = SiftVtonConfig(
        unet=shape, image_width=kept["token.proj_out.weight"].shape[1], unconditional="bare" if sift else "garment", antialias=sift,
    )
    header = Header(
        method=SiftVton.kind, config=config.to_dict(), base=f"the denoiser of {name}", trained=f"released by the authors of {name}",
        data="VITON-HD", source=f"{name}, converted; sha256 {digest}", license=LICENSE,
    )
    guidance = "guidance 1.5, the unconditional branch without the garment" if sift else "no guidance (cfg 1)"
    head = f"{name} -> {SiftVton.kind}. Its authors sample with PLMS, 50 steps, {guidance}, pictures of 384 x 512 (width x height)."
    return header, kept, sorter.report(head, kept, companions, LICENSE), companions
