"""IGR: restore the flat product picture of a garment from a photo of a person who wears it (arXiv 2412.11513).

Notation. p: the person's picture (3,H,W); m: the mask of the garment on the person (1,H,W). F_g: tokens of the denoiser
at a site after norm1, (B,N,C); F_hl: tokens of GarmNet at the same site, (R,M,C). F_ll: image tokens (R,T,D) of the
garment cut out. c: tokens of the category's prompt. R is 1, or the size of the latent batch.

Low level (section 3.2): an IP-Adapter on all sixteen cross-attentions, of the garment cut out at CLIP's resolution:

    p_g = Resize(Crop(p m)),  F_ll = projection(CLIP(p_g))
    Attn(Q_g, K_c, V_c) + Attn(Q_g, K_ll, V_ll)                                          (3)

High level: GarmNet, an SD1.5 U-Net on [latent of p, m at latent size] (5 channels), and at every self-attention of the
denoiser, laid side by side,

    F_con = Concat(F_hl, F_g) in c x h x 2w,  Attn(Q_con, K_con, V_con), the latter half kept   (4)

Guidance: eps = s eps(z, c, F_hl, F_ll) + (1 - s) eps(z)                                 (2)

Differs from the paper, or fills what it leaves open:
- (4) is computed as Attn(Q_g, K_con, V_con): SD1.5's attention has no positions and queries do not see one another, so
  the kept half is the same, for references of any size. "The latter half" is the half of w, not of the flat tokens.
- GarmNet runs at t = 0, once, with the prompt of the category as its text, as the nets it follows do; the configuration
  says what a file was trained with, because the features depend on both.
- F_hl is the input of self-attention after norm1, at all sixteen sites; to_k and to_v are the denoiser's own.
- The adapter is IP-Adapter base, plus or full-face; the paper names none. Ours is plus (16 tokens).
- Guidance drops text, reference and image tokens together; the dropped image tokens are those of IP-Adapter's own null
  (`uncond_tokens="null"`), the dropped reference is an attention to the picture alone (`uncond_reference="none"`).
- strength s of the reference is own + s (joint - own), so that 0 is the model as it was and 1 is (4).
- Eq. 4 brings no layer that could start at zero: an untrained IGR lets the reference through from the first step. With
  `start="zero"` its low-level path changes nothing, bit for bit.
- The wording of the three prompts is ours; a file carries its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from .method import FittingMethod, MethodConfig, ReadWeights, Trainable
from .parts.layers import Layers
from .parts.patches import Call, Joined, Memory, Patches
from .parts.reference import Reference
from .parts.sites import DIFFUSERS_ORDER, SITES, WHOLE_UNET, Site, UNetShape
from .parts.tokens import HiddenProjection, ImageProjection, ImageTokens, Resampler, ResamplerConfig, starting_weight
from .weights import WeightsError

CATEGORIES = ("upper", "lower", "full")
PROMPTS = ("a photo of an upper body garment", "a photo of a lower body garment", "a photo of a full body garment")
ADAPTERS = {"plus": (1280, 16), "base": (1024, 4), "full-face": (1280, 257), "none": (0, 0)}
"""Layout -> (width of the image encoder's output, tokens) of the released files for SD1.5."""

ENCODERS = {
    (True, 1024): "CLIP ViT-H (CLIP-ViT-H-14-laion2B-s32B-b79K)",
    (False, 1280): "CLIP ViT-H (CLIP-ViT-H-14-laion2B-s32B-b79K)",
    (True, 1280): "CLIP ViT-bigG (CLIP-ViT-bigG-14-laion2B-39B-b160k)",
    (False, 1664): "CLIP ViT-bigG (CLIP-ViT-bigG-14-laion2B-39B-b160k)",
}
"""(embedding?, width) -> which image encoder gives that."""

INDEX_OF = {site: 2 * i + 1 for i, site in enumerate(DIFFUSERS_ORDER)}
"""Site -> number of its cross-attention in IP-Adapter files: odd numbers in diffusers' order, the middle one last (31)."""

CHOICES = {
    "adapter": tuple(ADAPTERS),
    "garmnet_timestep": ("zero",),
    "garmnet_text": ("category", "empty", "none"),
    "tap": ("norm1",),
    "uncond_tokens": ("null", "none"),
    "uncond_reference": ("none", "zero"),
    "crop_fill": ("grey", "black", "white"),
    "start": ("copy", "zero"),
}


@dataclass(frozen=True)
class IGRConfig(MethodConfig):
    """What the module is built with, and what a file was trained with.

    Attributes:
        adapter: layout of the low-level path: plus, base, full-face or none.
        clip_width: width of the image encoder's output; 0 is the layout's own (1280 for plus, 1024 for base).
        tokens: image tokens; 0 is the layout's own.
        garmnet: the file carries a GarmNet (a converted IP-Adapter has the low-level path only).
        garmnet_timestep: the step GarmNet sees: zero.
        garmnet_text: the text GarmNet sees: the category's prompt, the empty prompt, or none (no cross-attention).
        tap: where features are taken: norm1, after the norm before self-attention.
        uncond_tokens: unconditional rows get IP-Adapter's null tokens, or no added attention.
        uncond_reference: unconditional rows attend to themselves only, or share their softmax with zero tokens.
        prompts: texts of upper, lower and full body.
        crop_fill: what replaces the picture outside the mask.
        crop_margin: room around the garment, as a share of the long side of its box.
        start: how an untrained low-level path begins: to_k and to_v of the text ("copy", IP-Adapter's own), or a V of zero.
    """

    unet: UNetShape = UNetShape()
    adapter: str = "plus"
    clip_width: int = 0
    tokens: int = 0
    garmnet: bool = True
    garmnet_timestep: str = "zero"
    garmnet_text: str = "category"
    tap: str = "norm1"
    uncond_tokens: str = "null"
    uncond_reference: str = "none"
    prompts: tuple[str, str, str] = PROMPTS
    crop_fill: str = "grey"
    crop_margin: float = 0.04
    start: str = "copy"

    def __post_init__(self) -> None:
        for name, known in CHOICES.items():
            if getattr(self, name) not in known:
                raise WeightsError(f"The option {name} is {getattr(self, name)!r}; this version of IGR knows {', '.join(known)}.")
        if len(self.prompts) != 3 or not all(isinstance(p, str) for p in self.prompts):
            raise WeightsError(f"The option prompts is {self.prompts!r}; IGR needs three texts: upper, lower and full body.")
        if not 0 <= self.crop_margin <= 1:
            raise WeightsError(f"The option crop_margin is {self.crop_margin}; it is a share of the garment's box, from 0 to 1.")
        width, tokens = ADAPTERS[self.adapter]
        object.__setattr__(self, "clip_width", self.clip_width or width)
        object.__setattr__(self, "tokens", self.tokens or tokens)

    def prompt(self, category: str) -> str:
        """The category's prompt.

        Raises:
            ValueError: an unknown category.
        """
        if category not in CATEGORIES:
            raise ValueError(f"The category is {category!r}; choose {', '.join(CATEGORIES)}.")
        return self.prompts[CATEGORIES.index(category)]

    def check_encoder(self, width: int) -> None:
        """Refuse an image encoder of another width than this file was trained with.

        Raises:
            ValueError: names the width and the encoder that is needed.
        """
        if width != self.clip_width:
            known = ENCODERS.get((self.adapter == "base", self.clip_width), "the image encoder it was trained with")
            raise ValueError(
                f"This CLIP vision model gives states {width} wide, and the {self.adapter} adapter of this file needs "
                f"{self.clip_width}; load {known}."
            )

    def projector(self, layers: Layers) -> nn.Module:
        """The layer that makes image tokens, in the layout's own key names."""
        outputs = self.unet.context_dim
        if self.adapter == "base":
            return ImageProjection(self.clip_width, outputs, self.tokens, layers)
        if self.adapter == "full-face":
            return HiddenProjection(self.clip_width, outputs, layers)
        return Resampler(ResamplerConfig(self.clip_width, outputs, outputs, self.tokens, heads=max(1, outputs // 64)), layers)


class CrossAttention(nn.Module):
    """K_ll and V_ll of one site, eq. 3."""

    def __init__(self, channels: int, context_dim: int, layers: Layers):
        super().__init__()
        self.to_k_ip = layers.linear(context_dim, channels, bias=False)
        self.to_v_ip = layers.linear(context_dim, channels, bias=False)


class IGR(FittingMethod):
    """The low-level path (`image_proj`, `ip_adapter`, in IP-Adapter's key names); GarmNet and a trained denoiser beside it."""

    kind = "igr"
    label = "IGR"
    Config = IGRConfig
    unets = {"garmnet?": 5, "denoiser?": 4}
    trainable = {"paper": Trainable(base="full"), "adapters": Trainable(), "low_level": Trainable(("image_proj.", "ip_adapter."))}

    def __init__(self, config: IGRConfig, layers: Layers):
        super().__init__(config, layers)
        if config.adapter == "none":
            return
        self.image_proj = config.projector(layers)
        width, context = config.unet.channels, config.unet.context_dim
        self.ip_adapter = nn.ModuleDict({str(i): CrossAttention(width(site), context, layers) for site, i in INDEX_OF.items()})

    @property
    def reads(self) -> str:
        """Which output of the image encoder the projector takes: "embedding" (B,width) or "hidden" (B,M,width)."""
        return "embedding" if self.config.adapter == "base" else "hidden"

    # ---- GarmNet -----------------------------------------------------------------------------------------------------

    @staticmethod
    def garmnet_input(latent: Tensor, mask: Tensor) -> Tensor:
        """[latent, mask]: what GarmNet sees.

        Args:
            latent: (B,4,h,w), scaled, clean.
            mask: (B or 1,1,H,W), 1 = garment; taken to latent size by nearest neighbour and cut at one half.

        Returns:
            (B,5,h,w).
        """
        small = nn.functional.interpolate((mask > 0.5).to(latent), latent.shape[-2:], mode="nearest")
        return torch.cat((latent, small.expand(latent.shape[0], -1, -1, -1)), 1)

    # ---- GarmDenoiser ------------------------------------------------------------------------------------------------

    def memory(self, site: Site, tokens: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
        """K_ll and V_ll of eq. 3, (R,T,C) each."""
        layer, tokens = self.ip_adapter[str(INDEX_OF[site])], tokens.to(device=like.device, dtype=like.dtype)
        return layer.to_k_ip(tokens), layer.to_v_ip(tokens)

    def patches(
        self, references: Sequence[Reference] = (), tokens: ImageTokens | None = None, strength: float = 1.0, token_strength: float = 1.0
    ) -> Patches:
        """What eq. 3 and eq. 4 ask of the denoiser.

        Args:
            references: garments captured by GarmNet, any number, of any sizes; all share one softmax with the picture.
            tokens: image tokens, or None for the high-level path alone.
            strength: of the references; 1 is eq. 4, 0 leaves them out.
            token_strength: of the image tokens; 1 is eq. 3, 0 leaves them out.

        Raises:
            ValueError: features or tokens of another width than this file's.
        """
        self._check(references, tokens)
        seen = [r for r in references if r.strength * strength != 0.0]
        tokens = None if token_strength == 0.0 else tokens
        high = {site: partial(self._joined, site, seen, strength) for site in SITES} if seen else {}
        low = self._added(tokens.tokens, token_strength) if tokens is not None else {}
        null = self._null(seen, tokens, strength, token_strength)
        return Patches(joined_self=high, added_cross=low, null=null) if high or low else Patches()

    @staticmethod
    def _joined(site: Site, seen: Sequence[Reference], strength: float, call: Call) -> Joined:
        rows = max(r.features[site].shape[0] for r in seen)
        return Joined(torch.cat([r.features[site].expand(rows, -1, -1) for r in seen], 1), seen[0].strength * strength)

    def _added(self, tokens: Tensor, scale: float):
        generation = object()  # two nodes with other tokens must not share what is kept for the generation

        def memory(site: Site, call: Call) -> Memory:
            return Memory(*call.once((generation, site), lambda: self.memory(site, tokens, call.x)), scale)

        return {site: partial(memory, site) for site in SITES}

    def _null(self, seen, tokens: ImageTokens | None, strength: float, token_strength: float) -> Patches | None:
        """What unconditional rows get: the null of the image tokens and of the reference, as this file was trained."""
        low = self._added(tokens.null, token_strength) if tokens is not None and self.config.uncond_tokens == "null" else {}
        high = {}
        if seen and self.config.uncond_reference == "zero":
            for site in SITES:
                count = sum(r.features[site].shape[1] for r in seen)
                zeros = torch.zeros(1, count, self.config.unet.channels(site))
                high[site] = partial(lambda joined, call: joined, Joined(zeros, strength))
        return Patches(joined_self=high, added_cross=low) if high or low else None

    def _check(self, references: Sequence[Reference], tokens: ImageTokens | None) -> None:
        unet = self.config.unet
        for reference in references:
            if any(s not in reference.features or reference.features[s].shape[-1] != unet.channels(s) for s in SITES):
                raise ValueError(
                    "The garment was looked at by a GarmNet of another width than this IGR file; use the same method for both nodes."
                )
        rows = {r.features[SITES[0]].shape[0] for r in references} - {1}
        if len(rows) > 1:
            raise ValueError(
                f"The garments come in batches of {sorted(rows)} pictures, which do not broadcast; give one, or the same number for each."
            )
        scales = {r.strength for r in references}
        if len(scales) > 1:
            raise ValueError(
                f"The garments have different strengths {sorted(scales)}, which one softmax cannot hold; use Apply IGR once per garment."
            )
        if tokens is None:
            return
        if self.config.adapter == "none":
            raise ValueError("This IGR file has no low-level path, so it cannot use garment tokens; disconnect them.")
        if tokens.tokens.shape[-1] != unet.context_dim:
            raise ValueError(
                f"The garment tokens are {tokens.tokens.shape[-1]} wide and this IGR file needs {unet.context_dim}; "
                "encode them with the same method."
            )

    # ---- files and training ------------------------------------------------------------------------------------------

    @classmethod
    def required_unets(cls, config: IGRConfig) -> set[str]:
        """GarmNet, unless the file says that it is a low-level path alone."""
        return {"garmnet"} if config.garmnet else set()

    @classmethod
    def initial_state(cls, config: IGRConfig, read: ReadWeights, seed: int) -> dict[str, Tensor]:
        """GarmNet as a copy of the base whose fifth input channel weighs 0; K_ll, V_ll of the base's text K, V."""
        state = {}
        if config.garmnet:
            state = {f"garmnet.{k}": t for k, t in read(list(WHOLE_UNET)).items()}
            entry = state["garmnet.input_blocks.0.0.weight"][:, :4]
            state["garmnet.input_blocks.0.0.weight"] = torch.cat((entry, torch.zeros_like(entry[:, :1])), 1)
        if config.adapter == "none":
            return state
        generator = torch.Generator().manual_seed(seed)
        own = cls(config, Layers(dtype=torch.float32, device="meta")).state_dict()
        state |= {k: starting_weight(k, t, generator) for k, t in own.items() if k.startswith("image_proj.")}
        base = read([f"{s.ldm_path}.attn2.{n}.weight" for s in SITES for n in ("to_k", "to_v")])
        for site, index in INDEX_OF.items():
            key, value = (base[f"{site.ldm_path}.attn2.{n}.weight"] for n in ("to_k", "to_v"))
            state[f"ip_adapter.{index}.to_k_ip.weight"] = key.clone()
            state[f"ip_adapter.{index}.to_v_ip.weight"] = torch.zeros_like(value) if config.start == "zero" else value.clone()
        return state
