"""PM-Jewelry: earrings, necklaces, rings and bracelets on a given person (NeurIPS 2024 workshop AFM).

Notation. z_t: noised latent, (B,4,h,w). I_h: head picture without the region, as a latent (4). M_j: mask of the region.
D_j, S_h: depth and saliency in the head picture's coordinates. j: the jewelry picture's latent, (R,4,h',w'), R is 1 or the
size of the latent batch.

Section 3, eq. 1: the denoiser sees zeta = [z_t; I_h; M_j; D_j; S_h] (`parts/channels.py` states order, scale and
polarity) and, as in StableVITON, a spatial encoder's features of the jewelry through nine zero cross-attentions before
output blocks 3-11, everywhere but at the lowest level (`parts/spatial.py`, appendix B.1):

    L_PMJ = E || eps - eps_theta(zeta, t, I_h, M_j, D_j, S_h) ||^2                                    (1)

A shadow module changes the predicted noise in a predicted mask (eq. 5, `parts/shadow.py`).

Training. F_ij: where query ij of the zero cross-attention looks; G_ij: where it should; M: the shadow's mask:

    L_ATV = sum_ij | F_ij - G_ij |_1                                                      (2)
    L_mask = BCE(M~, M) + Dice(M~, M)                                                     (4)
    L_shadow = E || W_fs (eps - eps^) ||^2,  then  L_mask + lambda L_shadow                  (6), (7)
    L = L_PMJ + 0.001 L_ATV + lambda_shadow (7) + lambda_depth L_depth + lambda_perception L_perception    (8)

Differs from the paper, or fills what it leaves open (no code and no weights were published):
- Depth and saliency enter as one channel each: 11 channels. With `maps="encoded"` both go through the VAE, as
  StableVITON does with its DensePose picture: 17 channels.
- All maps are in the head picture's coordinates. Two subscripts of eq. 1 and figure 5 speak of the jewelry's own depth and
  saliency; those can be placed into the maps before they come here.
- `encoder_input="reference"`: the encoder sees the clean jewelry latent at t = 0, and the prompt; so its features are
  computed once per generation and prompt. `"stack"` is StableVITON's way: the encoder sees zeta, the jewelry joins after
  its first convolution through a zero convolution, and it runs at every step.
- Unconditional rows see no jewelry, so guidance strengthens it. The shadow module acts on all rows, before guidance, as
  SGDiffusion samples: eq. 5 is part of the predictor, and acting on one half only would amplify s and b by the guidance.
- (2) starts in the second stage: weight "atv", 0 until then, 0.001 in it. G comes from the two masks, from a known augmentation
  or from matches (`training/losses/targets.py`); `atv_mode="variation"` is StableVITON's own, which has no target.
- (8)'s other weights are not given: 1 for both parts of (7) as in SGDiffusion, 0.1 for depth, 1e-3 for perception. L_depth is
  not defined (`training/losses/depth.py`); L_perception is L_adv, a cosine that must be maximised, inside the grown mask.
- W_fs is SGDiffusion's: 10 on the squared error where the shadow's mask, grown by six cells, is; `shadow_weights="vgg"` scales
  it by what VGG's features say of piece and shadow, one reading of "weights extracted from VGG".
- The decoder's inputs D_j and M_j do not reach the shadow's scale and bias; they see the picture, the mask, and shadows
  that the picture has already.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from .method import FittingMethod, MethodConfig, ReadWeights, Trainable
from .parts.channels import JEWELRY, JEWELRY_ENCODED, LATENT_CHANNELS, AddedChannels, Layout, full_stack, input_columns
from .parts.layers import Layers
from .parts.patches import Call, Memo, Patches
from .parts.shadow import Shadow
from .parts.shadow_nets import ShadowModule
from .parts.shadow_nets import initial_state as shadow_state
from .parts.sites import UNetShape
from .parts.spatial import READ_BLOCKS, ZERO_CROSS_BLOCKS, SpatialEncoder, ZeroCrossAttentions
from .parts.terms import Terms
from .parts.watch import Watch
from .weights import WeightsError

LAYOUTS: dict[str, Layout] = {"grey": JEWELRY, "encoded": JEWELRY_ENCODED}


@dataclass(frozen=True)
class PMJewelryConfig(MethodConfig):
    """What the module is built with.

    Attributes:
        maps: "grey", depth and saliency as one channel each (11 input channels); "encoded", four each (17).
        encoder_input: "reference" (cached) or "stack" (released form, every step).
        encoder, shadow: which of the two parts there are (table 3's ablation; a file may hold only one).
    """

    unet: UNetShape = UNetShape()
    maps: str = "grey"
    encoder_input: str = "reference"
    encoder: bool = True
    shadow: bool = True

    def __post_init__(self) -> None:
        for name, known in (("maps", tuple(LAYOUTS)), ("encoder_input", ("reference", "stack"))):
            if getattr(self, name) not in known:
                raise WeightsError(f"The option {name} is {getattr(self, name)!r}; it must be one of {', '.join(known)}.")
        if not (self.encoder or self.shadow):
            raise WeightsError("The options leave out both the encoder and the shadow module; keep at least one of them.")

    @property
    def layout(self) -> Layout:
        """The channels behind z_t."""
        return LAYOUTS[self.maps]

    @property
    def encoder_shape(self) -> UNetShape:
        """The spatial encoder's own shape."""
        channels = LATENT_CHANNELS if self.encoder_input == "reference" else self.layout.total
        return UNetShape(channels, self.unet.model_channels, self.unet.context_dim, self.unet.heads)


class PMJewelry(FittingMethod):
    """Extra input channels, jewelry encoder with nine zero cross-attentions, shadow module.

    Keys: `channels.conv`, `encoder.net.` and LDM names, `encoder.hint`, `warp.{0..8}.`, and SGDiffusion's `mask_predictor`,
    `scale_encoder` and `predict_scale_bias`.
    """

    kind = "pm_jewelry"
    label = "PM-Jewelry"
    Config = PMJewelryConfig
    loss_weights = {"noise": 1.0, "atv": 0.0, "shadow_mask": 1.0, "shadow_noise": 1.0, "depth": 0.1, "perception": 1e-3}
    loss_options = {
        "atv_mode": "target", "atv_blocks": (7,), "atv_fit": "box", "dice_weight": 1.0, "shadow_weights": "mask",
        "picture_max_timestep": 400.0, "depth_inside": 0.0,
    }
    loss_networks = {"depth": ("depth",), "perception": ("vgg19",)}
    trainable = {"paper": Trainable(), "encoder": Trainable(("channels.", "encoder.", "warp.")), "shadow": Trainable(("shadow.",))}

    def __init__(self, config: PMJewelryConfig, layers: Layers):
        super().__init__(config, layers)
        self.channels = self.encoder = self.warp = self.shadow = None
        if config.encoder:
            self.channels = AddedChannels(config.layout, config.unet.model_channels, layers)
            hint = LATENT_CHANNELS if config.encoder_input == "stack" else 0
            self.encoder = SpatialEncoder(config.encoder_shape, layers, blocks=READ_BLOCKS, middle=False, hint_channels=hint)
            self.warp = ZeroCrossAttentions(config.unet, layers)
        if config.shadow:
            self.shadow = ShadowModule(config.unet, layers)

    # ---- jewelry encoder and zero cross-attention ---------------------------------------------------------------------

    def reference_features(self, latent: Tensor, context: Tensor) -> list[Tensor]:
        """Features of input blocks 0-8 for clean jewelry latents (R,4,h',w') and prompts (R,T,context_dim), at t = 0."""
        return self.encoder(latent, latent.new_zeros(latent.shape[0]), context)

    def cached_features(self, generation: object, latent: Tensor, call: Call) -> list[Tensor]:
        """`reference_features` of the conditional rows, computed once per generation for each piece and prompt."""
        context, aligned = call.select(call.context), call.per_image(latent, "The jewelry")
        if torch.is_grad_enabled():
            return self.reference_features(aligned, context)
        rows = []
        for image, z, text in zip(call.images, aligned, context):
            key = (generation, image if latent.shape[0] > 1 else 0)
            rows.append(call.recall(key, text, lambda z=z, text=text: self.reference_features(z[None], text[None])))
        if all(row is rows[0] for row in rows):
            return [f.expand(len(rows), -1, -1, -1) for f in rows[0]]
        return [torch.cat(parts) for parts in zip(*rows)]

    def stack_features(self, latent: Tensor, call: Call) -> list[Tensor]:
        """The released form: features of zeta with the jewelry latent (R,4,h,w) joined after the first convolution.

        Raises:
            ValueError: the jewelry's latent is not of the size that is sampled.
        """
        x = call.select(full_stack(call, self.config.layout))
        if latent.shape[-2:] != x.shape[-2:]:
            sizes = [f"{8 * t.shape[-1]} x {8 * t.shape[-2]}" for t in (latent, x)]
            raise ValueError(
                f"The jewelry was encoded at {sizes[0]} and {sizes[1]} is sampled; this file's encoder reads both together, "
                "so sample the whole picture, without a conditioning area."
            )
        return self.encoder(x, call.select(call.timesteps), call.select(call.context), call.per_image(latent, "The jewelry"))

    def patches(self, jewelry: Tensor | Callable[[int, int], Tensor], strength: float = 1.0) -> Patches:
        """What the zero cross-attentions (appendix B.1) and the extra input channels of a 4- or 9-channel U-Net ask.

        Args:
            jewelry: the scaled latent (R,4,h',w') of the piece on a plain background, R = 1 or the size of the latent batch; or a
                function (latent height, latent width) -> that latent, called once when the size that is sampled is known.
            strength: of the zero cross-attentions, 1 in the paper; at 0 nothing is done.

        Raises:
            ValueError: the file has no encoder.
        """
        self._require(self.encoder, "jewelry encoder", "Shadow Module")
        if strength == 0.0:
            return Patches()
        generation = object()  # two nodes with other pieces must not share what is kept for the generation
        compute = partial(self.cached_features, generation) if self.config.encoder_input == "reference" else self.stack_features

        def start(memo: Memo, height: int, width: int) -> None:
            if callable(jewelry):
                memo.once(generation, lambda: jewelry(height, width))

        def prepare(call: Call) -> None:
            latent = jewelry
            if callable(jewelry):
                size = call.x.shape[-2:]
                latent = jewelry(*size) if call.memo is None else call.memo.once(generation, lambda: jewelry(*size))
            call.scratch[generation] = compute(latent.to(call.x), call)

        def warp(block: int, h: Tensor, call: Call) -> Tensor:
            return self.warp.draw(block, h, call.scratch[generation], strength, call)

        return Patches(start=start, prepare=prepare, entry=self.channels, decoder={block: partial(warp, block) for block in ZERO_CROSS_BLOCKS})

    def shadow_at_work(self, strength: float = 1.0, threshold: float = 0.5, max_timestep: float = 700.0, soft: bool = False) -> Shadow:
        """The shadow module with its settings (`Shadow`).

        Raises:
            ValueError: the file has no shadow module.
        """
        return Shadow(self._require(self.shadow, "shadow module", "Jewelry Encoder"), strength, threshold, max_timestep, soft)

    @staticmethod
    def _require(part: nn.Module | None, name: str, other: str) -> nn.Module:
        if part is None:
            raise ValueError(f"This PM-Jewelry file was made without the {name}; use it with the {other}, or load a file that has one.")
        return part

    # ---- training -----------------------------------------------------------------------------------------------------

    def watches(self, terms: Terms) -> Watch | None:
        """Queries and keys for (2), the mask's logits for (4)."""
        blocks, fit, mode = (terms.option(f"atv_{name}") for name in ("blocks", "fit", "mode"))

        def atv() -> Watch:
            if mode == "variation":
                return terms.attention_variation("mask", blocks)
            return terms.attention_target("mask", "item_mask", blocks, fit)

        return terms.observe(atv=atv, shadow_mask=lambda: terms.shadow_mask("shadow", terms.option("dice_weight")))

    def losses(self, terms: Terms) -> dict[str, Tensor]:
        """The terms of (8)."""
        gate, inside = terms.option("picture_max_timestep"), terms.option("depth_inside")
        return terms.ask(
            noise=terms.noise, atv=lambda: terms.seen("atv"), shadow_mask=lambda: terms.seen("shadow_mask"),
            shadow_noise=lambda: terms.shadow_noise("shadow", "mask", terms.option("shadow_weights")),
            depth=lambda: terms.pictured("depth", gate, lambda p: p.depth_consistency("mask", inside)),
            perception=lambda: terms.pictured("perception", gate, lambda p: p.cosine_perception("mask")),
        )

    # ---- files --------------------------------------------------------------------------------------------------------

    @classmethod
    def initial_state(cls, config: PMJewelryConfig, read: ReadWeights, seed: int) -> dict[str, Tensor]:
        """The starting point: the encoder is the base's, zero convolutions and added channels are 0, s = 1 and b = 0."""
        generator, state = torch.Generator().manual_seed(seed), {}
        c, layout = config.unet.model_channels, config.layout
        if config.encoder:
            state["channels.conv.weight"] = torch.zeros(c, layout.extra, 3, 3)
            base = read(SpatialEncoder.names(READ_BLOCKS, middle=False))
            first, bias = base["input_blocks.0.0.weight"], base["input_blocks.0.0.bias"]
            if config.encoder_input == "stack":
                first, bias = input_columns(first, bias, layout)
                state |= {"encoder.hint.weight": torch.zeros(c, LATENT_CHANNELS, 3, 3), "encoder.hint.bias": torch.zeros(c)}
            base |= {"input_blocks.0.0.weight": first[:, : config.encoder_shape.in_channels].clone(), "input_blocks.0.0.bias": bias}
            state |= {f"encoder.net.{k}": t for k, t in base.items()}
            state |= ZeroCrossAttentions.initial(config.unet, generator, "warp.")
        if config.shadow:
            shapes = ShadowModule(config.unet, Layers(device="meta")).state_dict()
            state |= shadow_state(shapes, generator)
        return state

    @classmethod
    def to_module(cls, name: str) -> str:
        """SGDiffusion's names lie under `shadow.` in the module."""
        return f"shadow.{name}" if name.startswith(("mask_predictor.", "scale_encoder.", "predict_scale_bias.")) else name

    @classmethod
    def to_file(cls, name: str) -> str:
        """The inverse of `to_module`."""
        return name.removeprefix("shadow.")
