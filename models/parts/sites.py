"""Where a method may act inside the SD1.5 U-Net, by name.

The U-Net has twelve input blocks, one middle block and twelve output blocks. Sixteen of them hold one
transformer each: those are the *sites*. The twelve output blocks each read a hidden state `h` and a skip
connection: those are the *decoder inputs*. Widths are multiples of `model_channels` (320 in SD1.5) and are
derived from it, so that the same code runs on a narrow U-Net.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple


class Site(NamedTuple):
    """One transformer block, named as the host names it: `("input", 1)` ... `("output", 11)`."""

    stage: str
    block: int

    def __str__(self) -> str:
        return f"{self.stage}_{self.block}"

    @property
    def ldm_path(self) -> str:
        """Path of the transformer in LDM (and ComfyUI) names, without `attn1` or `attn2`."""
        head = "middle_block.1" if self.stage == "middle" else f"{self.stage}_blocks.{self.block}.1"
        return f"{head}.transformer_blocks.0"

    @property
    def diffusers_path(self) -> str:
        """Path of the same transformer in diffusers names."""
        if self.stage == "middle":
            head = "mid_block.attentions.0"
        elif self.stage == "input":
            head = f"down_blocks.{(self.block - 1) // 3}.attentions.{(self.block - 1) % 3}"
        else:
            head = f"up_blocks.{self.block // 3}.attentions.{self.block % 3}"
        return f"{head}.transformer_blocks.0"

    @property
    def multiple(self) -> int:
        """Width as a multiple of `model_channels`: 1, 2 or 4."""
        if self.stage == "middle":
            return 4
        return (1, 2, 4)[self.block // 3] if self.stage == "input" else (4, 4, 2, 1)[self.block // 3]

    @property
    def stride(self) -> int:
        """Latent pixels per token side: 1, 2, 4 or 8."""
        if self.stage == "middle":
            return 8
        return 2 ** (self.block // 3) if self.stage == "input" else 2 ** (3 - self.block // 3)


SITES: tuple[Site, ...] = (
    *(Site("input", i) for i in (1, 2, 4, 5, 7, 8)),
    Site("middle", 0),
    *(Site("output", i) for i in range(3, 12)),
)
"""The sixteen transformers in the order the U-Net visits them."""

DIFFUSERS_ORDER: tuple[Site, ...] = (*SITES[:6], *SITES[7:], SITES[6])
"""The order of diffusers' `attn_processors` (down, up, middle last), which index-named files follow."""

WHOLE_UNET = ("time_embed.", "input_blocks.", "middle_block.", "output_blocks.", "out.")
"""All that an SD1.5 U-Net has, by the beginnings of its LDM names."""

DECODER_H_MULTIPLES = (4,) * 7 + (2,) * 3 + (1,) * 2
"""Width of `h` before output block 0..11, in `model_channels`."""

DECODER_SKIP_MULTIPLES = (4,) * 5 + (2,) * 3 + (1,) * 4
"""Width of the skip that output block 0..11 receives, in `model_channels`; it comes from input block 11 - i."""


@dataclass(frozen=True)
class UNetShape:
    """What a method must know of a U-Net to be built for it.

    Attributes:
        in_channels: channels of the U-Net's input (4, or 9 for an inpainting checkpoint, or 11, 13, 17).
        model_channels: width of the first level, 320 in SD1.5.
        context_dim: width of the text tokens, 768 in SD1.5.
        heads: attention heads per transformer, 8 in SD1.5.
    """

    in_channels: int = 4
    model_channels: int = 320
    context_dim: int = 768
    heads: int = 8

    def channels(self, site: Site) -> int:
        """Width of a site's tokens."""
        return site.multiple * self.model_channels

    def decoder_h(self, block: int) -> int:
        """Width of `h` before output block `block`."""
        return DECODER_H_MULTIPLES[block] * self.model_channels

    def decoder_skip(self, block: int) -> int:
        """Width of the skip that output block `block` receives."""
        return DECODER_SKIP_MULTIPLES[block] * self.model_channels


def site_from_path(path: str) -> Site:
    """The site of a layer path in LDM or diffusers names (anything may follow the transformer's own path).

    Raises:
        ValueError: the path names no transformer of an SD1.5 U-Net.
    """
    for site in SITES:
        if path.startswith((site.ldm_path, site.diffusers_path)):
            return site
    raise ValueError(
        f"The layer '{path}' is none of the sixteen transformers of an SD1.5 U-Net; "
        f"expected a path such as '{SITES[0].ldm_path}' or '{SITES[0].diffusers_path}'."
    )
