"""SIFT-VTON on StableVITON: put a given garment on a given person (arXiv 2605.01296, section 3).

Notation, with the sizes of a 512 x 384 picture. z_t: noised latent (B,4,64,48). E: VAE encoder times 0.18215.
x13 = [z_t 4, E(agnostic) 4, keep mask 1, E(DensePose picture) 4] (`parts/channels.TRY_ON`). c: garment as one token.

Garment encoder G: a copy of the U-Net's encoder, with the garment's latent joined after its first convolution:

    f_0 .. f_8 = G(x13, E(garment), t, c)

Denoiser: the U-Net on x13; before output block i = 3..11, on h and before the skip is joined (`parts/spatial`):

    h <- h + s zero(T(h, tokens(f_(11-i))))

c comes from CLIP ViT-L's pooled vector through Paint by
Example's mapper (`parts/tokens.ImageToken`). Guidance: eps = u + w (e - u), w = 1.5 in the paper; PLMS with 50 steps.

Training (section 3.2). p_ij: of the matches that leave the person's cell i, the share that ends in the garment's cell j
(`preprocess.matches.cells`); q_lhij: attention of T's cross-attention l, head h; M: the matched cells:

    L_lhi = - sum_j p_ij log q_lhij,  i in M                                             (1)
    L_SIFT = 1 / (L H |M|) sum_lhi L_lhi,  only where t < 500                             (2)
    L = w(t) || eps - eps^ ||^2 + lambda L_SIFT,  lambda = 0.0005, w of min-SNR            (3)

StableVITON's second stage adds the total variation of where T's queries look, 0.001, at output block 7 (weight "atv").

The unconditional branch u (`unconditional` in the configuration):
    "bare"     as SIFT-VTON samples: learned token, no garment encoder, no T; x13 stays.
    "garment"  as StableVITON does: only the token is replaced by the learned one.

Differs from the released code, or fills what the paper leaves open:
- The garment is encoded once per generation, its posterior's mode; released: on every call of the U-Net, sampled anew.
- f_9 .. f_11 and the middle block of G feed nothing: not built (`whole_encoder` builds and computes them, to compare).
- On a plain SD1.5 the channels behind z_t come in by an added convolution, zero until trained. A converted file brings the
  columns of its own first convolution; its decoder was trained with them, a plain SD1.5's was not.
- Grids follow the latent; released: 512 x 384 only.
- The garment is fitted into the picture's size on white, never stretched; 3:4 pictures as in VITON-HD fill it exactly.
- Strength s multiplies the zero convolution's output, 1 in the paper.
- (2) is summed over the middle block of each level (released) instead of averaged over all; `data.supervision` has all forms.
- Released: the logarithm has a floor of 1e-8, the term is summed over the batch, and the noise term is
  mean(mse) mean(w) (`noise_product`).
- With a garment encoder without T's supervision this file is StableVITON; both are one architecture.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor

from .method import FittingMethod, MethodConfig, ReadWeights, Trainable
from .parts.channels import LATENT_CHANNELS, TRY_ON, AddedChannels, full_stack, input_columns
from .parts.layers import Layers
from .parts.patches import Call, Memo, Patches
from .parts.sites import UNetShape
from .parts.spatial import READ_BLOCKS, ZERO_CROSS_BLOCKS, SpatialEncoder, ZeroCrossAttentions
from .parts.terms import Terms
from .parts.tokens import ImageToken
from .parts.watch import Watch
from .weights import WeightsError

EncodeGarment = Callable[[int, int], Tensor]
"""(latent height, latent width) -> scaled latents (R,4,h,w) of the garment at that size."""

UNCONDITIONAL = ("bare", "garment")


@dataclass(frozen=True)
class SiftVtonConfig(MethodConfig):
    """What the module is built with.

    Attributes:
        image_width: width of the image encoder, 1024 for CLIP ViT-L.
        unconditional: what the unconditional rows see besides the learned token: "bare" nothing, "garment" the garment.
        antialias: pictures were shrunk with a filter (SIFT-VTON) or without (StableVITON).
        whole_encoder: keep the encoder blocks that nothing reads (to compare with the released form).
    """

    unet: UNetShape = UNetShape(TRY_ON.total)
    image_width: int = 1024
    unconditional: str = "bare"
    antialias: bool = True
    whole_encoder: bool = False

    def __post_init__(self) -> None:
        TRY_ON.route(self.unet.in_channels)
        if self.unconditional not in UNCONDITIONAL:
            raise WeightsError(f"The option unconditional is {self.unconditional!r}; it must be one of {', '.join(UNCONDITIONAL)}.")
        if self.image_width < 1:
            raise WeightsError(f"The image encoder's width is {self.image_width}; it must be at least 1 (1024 for CLIP ViT-L).")

    @property
    def encoder_blocks(self) -> int:
        """How many input blocks the garment encoder has."""
        return 12 if self.whole_encoder else READ_BLOCKS


class SiftVton(FittingMethod):
    """The garment encoder, the nine zero cross-attentions, the garment's token, and the added input channels."""

    kind = "sift_vton"
    label = "SIFT-VTON"
    Config = SiftVtonConfig
    loss_weights = {"noise": 1.0, "sift": 0.0005, "atv": 0.0}
    loss_options = {"atv_blocks": (7,), "noise_product": False}
    trainable = {
        "paper": Trainable(("channels.", "encoder.", "warp."), "decoder"),  # SIFT-VTON's released settings
        "stableviton": Trainable(("channels.", "encoder.", "warp.", "token.proj_out.", "token.null")),
        "all": Trainable(),
    }

    def __init__(self, config: SiftVtonConfig, layers: Layers):
        super().__init__(config, layers)
        shape = config.unet
        self.channels = AddedChannels(TRY_ON, shape.model_channels, layers)
        self.encoder = SpatialEncoder(
            replace(shape, in_channels=TRY_ON.total), layers, config.encoder_blocks, config.whole_encoder, LATENT_CHANNELS
        )
        self.warp = ZeroCrossAttentions(shape, layers)
        self.token = ImageToken(config.image_width, shape.context_dim, layers)

    def check_channels(self, in_channels: int) -> None:
        """Refuse a MODEL whose input this file cannot serve.

        Raises:
            ValueError: other channels than 4, 9 and 13, or a file made for an inpainting base on a plain one.
        """
        made_for = self.config.unet.in_channels
        if TRY_ON.route(in_channels) == "added" and len(TRY_ON.missing(in_channels)) > len(TRY_ON.missing(made_for)) > 0:
            raise ValueError(
                f"This {self.label} file was made beside a MODEL of {made_for} input channels and lacks what one of {in_channels} needs; "
                f"load a MODEL of {made_for} or {TRY_ON.total} channels."
            )

    def features(self, call: Call, garment: Tensor) -> list[Tensor]:
        """f_0 .. f_8 for the rows that see the garment.

        Args:
            garment: (R,4,h,w) scaled latents, R = 1 or the latent batch.

        Raises:
            ValueError: the conditioning brings no channels, or the garment has another size than the picture.
        """
        x = full_stack(call, TRY_ON)
        if garment.shape[-2:] != x.shape[-2:]:
            raise ValueError(
                f"The garment's latent is {garment.shape[-1]} x {garment.shape[-2]} and the picture's is {x.shape[-1]} x {x.shape[-2]}; "
                "both must be of one size (an area conditioning cuts the picture but not the garment, so it cannot be used here)."
            )
        hint = call.per_image(garment.to(x), "The garment")
        return self.encoder(call.select(x), call.select(call.timesteps), call.select(call.context), hint)

    def warped(self, block: int, strength: float, h: Tensor, call: Call) -> Tensor:
        """h (R,C,h,w) before output block `block`, with the garment drawn in."""
        return self.warp.draw(block, h, call.scratch["features"], strength, call)

    def patches(
        self, garment: Tensor | EncodeGarment, strength: float = 1.0, unconditional: str | None = None, encode_every_call: bool = False
    ) -> Patches:
        """What the method asks of the denoiser.

        Args:
            garment: scaled latents (R,4,h,w), or how to make them when the size is known (once per generation).
            strength: s; 0 leaves the denoiser as it was.
            unconditional: "bare" or "garment"; None as the file says.
            encode_every_call: encode the garment in every call of the U-Net, as the released code does (to compare).

        Raises:
            ValueError: an unknown `unconditional`.
        """
        unconditional = self.config.unconditional if unconditional is None else unconditional
        if unconditional not in UNCONDITIONAL:
            raise ValueError(f"The unconditional branch is {unconditional!r}; it must be one of {', '.join(UNCONDITIONAL)}.")
        if strength == 0.0:
            return Patches()
        generation = object()  # two nodes with other garments must not share what is kept for the generation

        def start(memo: Memo, height: int, width: int) -> None:
            if callable(garment) and not encode_every_call:
                memo.once(generation, lambda: garment(height, width))

        def prepare(call: Call) -> None:
            latent, size = garment, tuple(call.x.shape[-2:])
            if callable(garment):
                latent = garment(*size) if encode_every_call or call.memo is None else call.memo.once(generation, lambda: garment(*size))
            call.scratch["features"] = self.features(call, latent)

        return Patches(
            start=start, prepare=prepare, entry=self.channels, all_rows=unconditional == "garment",
            decoder={block: partial(self.warped, block, strength) for block in ZERO_CROSS_BLOCKS},
        )

    def watches(self, terms: Terms) -> Watch | None:
        """Queries and keys of T's cross-attention, for (1)-(2) and for the total variation."""
        return terms.observe(sift=terms.sift, atv=lambda: terms.attention_variation("worn", terms.option("atv_blocks")))

    def losses(self, terms: Terms) -> dict[str, Tensor]:
        """The terms of (3), and StableVITON's."""
        product = terms.option("noise_product")
        return terms.ask(noise=lambda: terms.noise(product), sift=lambda: terms.seen("sift"), atv=lambda: terms.seen("atv"))

    @classmethod
    def initial_state(cls, config: SiftVtonConfig, read: ReadWeights, seed: int) -> dict[str, Tensor]:
        """A starting point that changes nothing: G copied from the base, zero convolutions and added columns 0."""
        generator, shape = torch.Generator().manual_seed(seed), config.unet
        base = read(SpatialEncoder.names(config.encoder_blocks, config.whole_encoder))
        first = "input_blocks.0.0"
        base[f"{first}.weight"], base[f"{first}.bias"] = input_columns(base[f"{first}.weight"], base[f"{first}.bias"], TRY_ON)
        state = {f"encoder.net.{k}": t for k, t in base.items()}
        state["encoder.hint.weight"] = torch.zeros(shape.model_channels, LATENT_CHANNELS, 3, 3)
        state["encoder.hint.bias"] = torch.zeros(shape.model_channels)
        state["channels.conv.weight"] = torch.zeros(shape.model_channels, TRY_ON.extra, 3, 3)
        state |= ZeroCrossAttentions.initial(shape, generator, "warp.")
        return state | {f"token.{k}": t for k, t in ImageToken.initial(config.image_width, shape.context_dim, generator).items()}
