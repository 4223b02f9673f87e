"""AnyDressing: dress a new person in several given garments (arXiv 2412.04146).

Notation. z: latents at a site after norm1, (B,N,C). F_i: tokens of garment i at the same site, (R,M_i,C). d = C / heads.
R is 1, or the size of the latent batch. lambda: strength.

GarmentsNet (section 3.2): one SD1.5 U-Net, run once at t = 0 on the clean garment latents, without cross-attention.
Each garment slot has a LoRA of its own on the self-attentions:

    dW_i = {dW_q^i, dW_k^i, dW_v^i}                                                     (3)
    F_new^i = softmax(Q_i K_i^T / sqrt(d)) V_i,   Q_i = F_i (W_q + dW_q^i), ...          (4)
    F = concat(F^1 ... F^n)                                                             (5)

DressingNet (section 3.3): the frozen denoiser with a second attention beside every self-attention:

    Z_new = softmax(Q K^T / sqrt(d)) V + lambda softmax(Q K'^T / sqrt(d)) V'            (6)
    K' = F W'_k,  V' = F W'_v;   W'_k, W'_v start as W_k, W_v

One joint softmax runs over all garments' tokens. Guidance (16): eps = w eps(z, text, garments) + (1 - w) eps(z), so
unconditional rows see no garment.

Training (sections 4.2.2, 4.3, 4.4). M_k: where garment k is in the person's picture; A_k: share of a query's attention on it:

    P = softmax(Q K'^T / sqrt(d)),  A_k = sum_{j in garment k} P_j                          (7), (8)
    L_loc = 1/N sum_k || A_k - M_k ||                                                   (9)
    z_0^ = (z_t - sqrt(1 - a_t) eps) / sqrt(a_t),  I^ = D(z_0^)                           (10)
    L_texture = L_perc + L_hf for t <= 350, else 0                                      (11)
    L_perc = 1/N sum_k DISTS(I^ M_k, I M_k),  L_hf = 1/N sum_k || I^ M_k P - I M_k P ||     (12), (13)
    L = L_LDM + 0.01 mean_layers L_loc + 0.001 L_texture                                 (14), (15)

Differs from the paper, or fills what it leaves open:
- F_i is the input of self-attention after norm1: the symbol F_i is the same in (3)-(4) and (6), and W'_k = W_k only
  makes sense there.
- LoRA on q, k and v as in (3) (figure 2 draws two tags); one on the output projection is accepted if a file has it.
- Alpha / rank is the LoRA's scale, 1 without an alpha; the paper names neither. We start at rank 64.
- A garment's own strength multiplies its V' rows; 0 takes the garment out of the softmax altogether.
- Garments may have any size; each is a block of keys, the order does not matter.
- (7) sums to 1 over the garments, so (9) cannot clear the background, and with one garment it says nothing
  (`training/losses/attention.py`). `sink` adds a key of zeros that a query may look at instead.
- (9) and (13) as means of squares, so that no weight depends on the size; (12) as published, on whole masked pictures.
- (11) is 0 above t = 350 and the mean runs over all samples, as the expectation does.
- The LoRA of the last site (output 11) influences nothing, because the pass ends at that site's norm1.
- `cross_attention="image_tokens"` keeps the cross-attention of the garment net on projected image tokens: IMAGDressing's
  weights, whose injection equals (6), were trained so.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from .method import FittingMethod, MethodConfig, ReadWeights, Trainable, check_slot
from .parts.layers import Layers
from .parts.lora import Lora
from .parts.patches import Call, Memory, Patches
from .parts.reference import Reference
from .parts.sites import SITES, Site, UNetShape, site_from_path
from .parts.terms import Terms
from .parts.tokens import Resampler, ResamplerConfig
from .parts.watch import Watch
from .weights import WeightsError

PROJECTIONS = ("to_q", "to_k", "to_v")


@dataclass(frozen=True)
class AnyDressingConfig(MethodConfig):
    """What the module is built with.

    Attributes:
        slots: garment slots, each with a LoRA of its own; () when the file brings a whole garment U-Net.
        rank: LoRA rank (not in the paper).
        lora_out: a LoRA on the output projection too.
        sink: a key of zeros with a value of zeros beside the garments' in (6), so that a query may look at no garment (see
            the note on (9)); it acts at inference too, as it was trained.
        start: how an untrained module begins; "copy" is W' = W (the paper's), "zero" is W'_v = 0 (changes nothing).
        cross_attention: "none" as in the paper, or "image_tokens" (IMAGDressing).
        resampler: shape of the image-token projector when `cross_attention` is "image_tokens".
    """

    unet: UNetShape = UNetShape()
    slots: tuple[str, ...] = ("upper", "lower", "hat")
    rank: int = 64
    lora_out: bool = False
    sink: bool = False
    start: str = "copy"
    cross_attention: str = "none"
    resampler: ResamplerConfig | None = None

    def __post_init__(self) -> None:
        for slot in self.slots:
            check_slot(slot)
        if self.rank < 1:
            raise WeightsError(f"The LoRA rank is {self.rank}; it must be at least 1.")
        for name, known in (("start", ("copy", "zero")), ("cross_attention", ("none", "image_tokens"))):
            if getattr(self, name) not in known:
                raise WeightsError(f"The option {name} is {getattr(self, name)!r}; it must be one of {', '.join(known)}.")
        if isinstance(self.resampler, Mapping):
            object.__setattr__(self, "resampler", ResamplerConfig(**self.resampler))


class DressingAttention(nn.Module):
    """W'_k and W'_v of one site, eq. 6."""

    def __init__(self, channels: int, layers: Layers):
        super().__init__()
        self.to_k = layers.linear(channels, channels, bias=False)
        self.to_v = layers.linear(channels, channels, bias=False)


class AnyDressing(FittingMethod):
    """The LoRAs of GarmentsNet (`gfe`) and the second attention of DressingNet (`da`)."""

    kind = "anydressing"
    label = "AnyDressing"
    Config = AnyDressingConfig
    unets = {"garment_unet?": 4}
    loss_weights = {"noise": 1.0, "localization": 0.01, "texture": 0.001}
    loss_options = {
        "localization_background": "all", "localization_norm": "mse", "localization_per_head": False,
        "texture_max_timestep": 350.0, "texture_crop": False, "texture_by_area": False,
    }
    loss_networks = {"texture": ("dists",)}
    trainable = {"paper": Trainable(("da.", "gfe.")), "attention": Trainable(("da.",)), "whole": Trainable(("da.", "gfe.", "garment_unet."))}

    def __init__(self, config: AnyDressingConfig, layers: Layers):
        super().__init__(config, layers)
        width = {s: config.unet.channels(s) for s in SITES}
        names = PROJECTIONS + (("to_out",) if config.lora_out else ())
        self.gfe = nn.ModuleDict({
            slot: nn.ModuleDict({
                str(s): nn.ModuleDict({n: Lora(width[s], width[s], config.rank, layers) for n in names}) for s in SITES
            })
            for slot in config.slots
        })
        self.da = nn.ModuleDict({str(s): DressingAttention(width[s], layers) for s in SITES})
        self.resampler = Resampler(config.resampler or ResamplerConfig(), layers) if config.cross_attention == "image_tokens" else None

    # ---- GarmentsNet -------------------------------------------------------------------------------------------------

    def check_slot(self, slot: str) -> None:
        """Refuse a slot this file has no LoRA for; a file with a whole garment U-Net takes any name.

        Raises:
            WeightsError: names the slots the file has.
        """
        if self.config.slots and slot not in self.config.slots:
            raise WeightsError(f"This file has no garment slot {slot!r}; it has {', '.join(self.config.slots)}.")

    def garment_lora(self, slots: Sequence[str]):
        """The LoRA terms of a reference pass whose batch rows are the given slots.

        Returns:
            (site, projection, x (len(slots),M,C)) -> the terms to add to the projection's output, or None where there
            are none. Rows of one slot go through its LoRA together.
        """
        for slot in slots:
            self.check_slot(slot)
        if not self.config.slots:
            return None
        rows = {slot: [i for i, s in enumerate(slots) if s == slot] for slot in dict.fromkeys(slots)}

        def delta(site: Site, projection: str, x: Tensor) -> Tensor | None:
            if projection not in self.gfe[slots[0]][str(site)]:
                return None
            if len(rows) == 1:
                return self.gfe[slots[0]][str(site)][projection](x)
            out = torch.empty_like(x)
            for slot, mine in rows.items():
                out[mine] = self.gfe[slot][str(site)][projection](x[mine])
            return out

        return delta

    # ---- DressingNet -------------------------------------------------------------------------------------------------

    def memory(self, site: Site, garments: Sequence[Reference], like: Tensor) -> tuple[Tensor, Tensor]:
        """K' and V' of eq. 6 for all garments together, (R,M,C) each; V' rows carry the garments' own strengths."""
        rows = max(g.features[site].shape[0] for g in garments)
        layer, keys, values = self.da[str(site)], [], []
        for garment in garments:
            f = garment.features[site].to(device=like.device, dtype=like.dtype)  # (R_i,M_i,C)
            k, v = layer.to_k(f), layer.to_v(f)
            keys.append(k.expand(rows, -1, -1))
            values.append((v if garment.strength == 1.0 else v * garment.strength).expand(rows, -1, -1))
        if self.config.sink:
            zero = torch.zeros_like(keys[0][:, :1])
            keys, values = [*keys, zero], [*values, zero]
        return torch.cat(keys, 1), torch.cat(values, 1)

    def labels(self, site: Site, garments: Sequence[Reference]) -> Tensor:
        """Which garment each key of `memory` belongs to, (M,N) one-hot; the sink belongs to none. (8) is the attention's mean of these."""
        counts = [g.features[site].shape[1] for g in garments]
        owner = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
        labels = torch.nn.functional.one_hot(owner, len(counts)).float()
        return torch.cat((labels, torch.zeros(1, len(counts)))) if self.config.sink else labels

    def patches(self, garments: Sequence[Reference], strength: float = 0.7) -> Patches:
        """What eq. 6 asks of the denoiser.

        Args:
            garments: any number, any order, any sizes; strengths of 0 leave a garment out.
            strength: lambda, 0.7 in the paper.

        Raises:
            ValueError: a garment captured from a U-Net of another width, or batches that do not broadcast.
        """
        self._check_garments(garments)
        worn = [g for g in garments if g.strength != 0.0]
        if not worn or strength == 0.0:
            return Patches()

        generation = object()  # two nodes with other garments must not share what is kept for the generation

        def memory(site: Site, call: Call) -> Memory:
            keys, values = call.once((generation, site), lambda: self.memory(site, worn, call.x))
            if call.probe is None or not call.probe.wants(site):
                return Memory(keys, values, strength)
            grid = tuple(-(-side // site.stride) for side in call.x.shape[-2:])
            seen = lambda shares: call.probe.see(site, images=call.images, shares=shares, grid=grid)
            return Memory(keys, values, strength, self.labels(site, worn).to(keys.device), seen)

        return Patches(added_self={s: partial(memory, s) for s in SITES})

    def _check_garments(self, garments: Sequence[Reference]) -> None:
        for garment in garments:
            for site in SITES:
                if site not in garment.features or garment.features[site].shape[-1] != self.config.unet.channels(site):
                    raise ValueError(
                        f"The garment in slot '{garment.slot}' was encoded by a U-Net of another width than this AnyDressing file; "
                        "encode it again with a model of the same family as the one that is sampled."
                    )
        rows = {g.features[SITES[0]].shape[0] for g in garments} - {1}
        if len(rows) > 1:
            raise ValueError(
                f"The garments come in batches of {sorted(rows)} pictures, which do not broadcast; "
                "give one picture per garment, or the same number for every garment."
            )

    # ---- training ----------------------------------------------------------------------------------------------------

    def watches(self, terms: Terms) -> Watch | None:
        """The shares A_k of (8), at all sixteen sites."""
        options = {name: terms.option(f"localization_{name}") for name in ("background", "norm", "per_head")}
        return terms.observe(localization=lambda: terms.localization("worn", **options))

    def losses(self, terms: Terms) -> dict[str, Tensor]:
        """The terms of (15)."""
        crop, by_area = terms.option("texture_crop"), terms.option("texture_by_area")

        def texture() -> Tensor:
            return terms.pictured("texture", terms.option("texture_max_timestep"), lambda p: p.dists("worn", crop) + p.high_frequency("worn", by_area))

        return terms.ask(noise=terms.noise, localization=lambda: terms.seen("localization"), texture=texture)

    # ---- files -------------------------------------------------------------------------------------------------------

    @classmethod
    def initial_state(cls, config: AnyDressingConfig, read: ReadWeights, seed: int) -> dict[str, Tensor]:
        """The paper's starting point: LoRA 0 (down random, up zero), W'_k = W_k, W'_v = W_v of the base.

        With `start="zero"` W'_v is 0 instead, so that the untrained module changes nothing, bit for bit.
        """
        generator = torch.Generator().manual_seed(seed)
        base = read([f"{s.ldm_path}.attn1.{n}.weight" for s in SITES for n in ("to_k", "to_v")])
        state = {}
        for site in SITES:
            layer = f"{site.ldm_path}.attn1"
            state[f"da.{layer}.to_k.weight"] = base[f"{layer}.to_k.weight"].clone()
            value = base[f"{layer}.to_v.weight"]
            state[f"da.{layer}.to_v.weight"] = torch.zeros_like(value) if config.start == "zero" else value.clone()
            channels = config.unet.channels(site)
            for slot in config.slots:
                for name in PROJECTIONS + (("to_out",) if config.lora_out else ()):
                    lora = Lora.initial(channels, channels, config.rank, generator)
                    state |= {f"gfe.{slot}.{layer}.{name}.{k}": t for k, t in lora.items()}
        return state

    def take(self, tensors: Mapping[str, Tensor], name: str, **options) -> None:
        """As the base; a LoRA without `alpha` has the scale 1."""
        alphas = {
            f"{k.removesuffix('.lora_up.weight')}.alpha": torch.tensor(float(t.shape[1]))
            for k, t in tensors.items() if k.endswith(".lora_up.weight")
        }
        super().take({**alphas, **tensors}, name, **options)

    @classmethod
    def to_module(cls, name: str) -> str:
        """`da.<layer>.to_k.weight` -> `da.<site>.to_k.weight`; the layer may be in LDM or diffusers names."""
        match = re.fullmatch(r"(da|gfe\.[^.]+)\.(.+\.attn1)\.((?:to_q|to_k|to_v|to_out)\..+)", name)
        if not match:
            return name
        return f"{match[1]}.{site_from_path(match[2])}.{match[3]}"

    @classmethod
    def to_file(cls, name: str) -> str:
        """The inverse of `to_module`, in LDM names."""
        match = re.fullmatch(r"(da|gfe\.[^.]+)\.(input|middle|output)_(\d+)\.(.+)", name)
        if not match:
            return name
        return f"{match[1]}.{Site(match[2], int(match[3])).ldm_path}.attn1.{match[4]}"
