"""The terms of one training step: what papers ask for (`models/parts/terms.py`), answered with `losses/`.

    terms = Terms(batch, weights, options, networks)
    watch = method.watches(terms)                        # goes into the forward: host.watched(options, watch)
    terms.outputs = Outputs(...)                         # what the forward gave
    values = method.losses(terms)                        # name -> (B,); the loop weights them and takes the only mean

Every term is one number per sample, and 0 for a sample that it does not concern (its timestep is above the term's gate, its
condition is dropped, it has no matches). So the mean over the batch is the expectation that the papers write, and it does not
depend on how samples are grouped into batches, accumulation steps and processes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..data.supervision import Supervision
from ..models.parts.watch import Watch, Watches
from ..preprocess.matches import Matches
from .diffusion import noise_loss
from .losses import depth, pictures, targets
from .losses.masks import DILATION, dilate, shadow_weight, shadow_weight_from_features
from .losses.watches import LocalizationWatch, ShadowWatch, SiftWatch, TargetWatch, VariationWatch
from .networks import Networks
from .outputs import Batch, Outputs

CELL = 8
"""Pixels of the picture per latent cell."""


class Terms:
    """See the module's docstring.

    Args:
        batch: what goes into the forward.
        weights: of the terms; a term of weight 0, or without one, is not computed.
        options: of the terms, by name.
        networks: what losses look through.
        supervision: of SIFT matches.
        min_snr: gamma of the noise term's weight; 0 is 1 everywhere.
        region: (B,1,h,w) weights of the noise term per place, or None.
    """

    def __init__(
        self, batch: Batch, weights: Mapping[str, float], options: Mapping[str, Any] | None = None, networks: Networks | None = None,
        supervision: Supervision | None = None, min_snr: float = 0.0, region: Tensor | None = None,
    ):
        self.batch, self.weights, self.options = batch, weights, options or {}
        self.networks = networks or Networks()
        self.supervision = supervision or Supervision()
        self.min_snr, self.region = min_snr, region
        self.outputs: Outputs | None = None
        self._watches: dict[str, Watch] = {}
        self._decoded: dict[tuple[int, ...], Tensor] = {}

    # ---- before the forward ------------------------------------------------------------------------------------------------

    def wanted(self, term: str) -> bool:
        """Whether a term counts."""
        return self.weights.get(term, 0.0) != 0.0

    def option(self, name: str) -> Any:
        """See the protocol.

        Raises:
            KeyError: an option that neither the run nor the method knows.
        """
        return self.options[name]

    def need(self, name: str, term: str) -> Tensor:
        """A tensor of the samples.

        Raises:
            ValueError: they have none; names the first of them and the term that asks.
        """
        tensor = self.batch.get(name)
        if tensor is None:
            raise ValueError(f"The loss '{term}' needs '{name}' of every sample, and '{self.batch.names[0]}' has none; add it to the data set, or set the weight of '{term}' to 0.")
        return tensor

    def observe(self, **watches: Callable[[], Watch | None]) -> Watch | None:
        """See the protocol."""
        made = {name: make() for name, make in watches.items() if self.wanted(name)}
        self._watches = {name: watch for name, watch in made.items() if watch is not None}
        return Watches(self._watches.values()) if self._watches else None

    def sift(self) -> Watch | None:
        """See the protocol."""
        found = self.matches()
        watch = SiftWatch(self.supervision, found, self.batch.t)
        return watch if any(watch.open) else None

    def matches(self) -> list[Matches | None]:
        """The matches of each sample, in pixels of its picture."""
        points, valid = self.batch.get("matches"), self.batch.get("matches_valid")
        if points is None:
            return [None] * len(self.batch)
        size = tuple(CELL * side for side in self.batch.z0.shape[-2:])
        valid = torch.ones(points.shape[:2], dtype=torch.bool) if valid is None else valid.cpu().bool()
        return [Matches(p.numpy(), v.numpy(), size, size) for p, v in zip(points.detach().cpu().float(), valid)]

    def attention_variation(self, worn: str, blocks: Sequence[int]) -> Watch:
        """See the protocol; of several garments the first."""
        return VariationWatch(self.need(worn, "atv")[:, :1], blocks)

    def attention_target(self, mask: str, item_mask: str, blocks: Sequence[int], fit: str) -> Watch:
        """See the protocol. A known augmentation ("affine") comes before the masks' boxes, and matches where `fit` says so."""
        return TargetWatch(len(self.batch), self._targets(mask, item_mask, fit), blocks)

    def _targets(self, mask: str, item_mask: str, fit: str):
        region, affine = self.need(mask, "atv"), self.batch.get("affine")
        if fit == "matches":
            found = self.matches()
            return lambda images, grid, key_grid: targets.from_matches([found[i] for i in images], grid, key_grid, region.device)
        if affine is not None:
            return lambda images, grid, key_grid: targets.from_affine(affine[images], grid, key_grid, region[images])
        item = self.need(item_mask, "atv")
        return lambda images, grid, key_grid: targets.from_masks(region[images], item[images], grid, key_grid, fit)

    def localization(self, worn: str, **options) -> Watch | None:
        """See the protocol."""
        garments = self.batch.get(worn)
        return None if garments is None else LocalizationWatch(garments, **options)

    def shadow_mask(self, shadow: str, dice_weight: float) -> Watch | None:
        """See the protocol."""
        true = self.batch.get(shadow)
        return None if true is None else ShadowWatch(true, dice_weight)

    # ---- after it --------------------------------------------------------------------------------------------------------

    def ask(self, **terms: Callable[[], Tensor]) -> dict[str, Tensor]:
        """See the protocol."""
        return {name: compute().to(self.outputs.eps.device) for name, compute in terms.items() if self.wanted(name)}

    def seen(self, term: str) -> Tensor:
        """See the protocol."""
        return self._watches[term].value() if term in self._watches else self._zeros()

    def noise(self, product: bool = False) -> Tensor:
        """See the protocol."""
        out = self.outputs
        weight = out.schedule.min_snr(out.t, self.min_snr)
        return noise_loss(out.eps, out.noise, weight.mean().expand_as(weight) if product else weight, self.region)

    def shadow_noise(self, shadow: str, mask: str, weights: str) -> Tensor:
        """See the protocol.

        Raises:
            ValueError: unknown weights.
        """
        out, true = self.outputs, self.batch.get(shadow)
        if weights not in ("mask", "vgg"):
            raise ValueError(f"The weights of the shadow's noise are {weights!r}; choose mask or vgg.")
        if true is None:
            return self._zeros()
        true, size = true.to(out.eps.device).float(), tuple(out.eps.shape[-2:])
        region = shadow_weight(true, size) if weights == "mask" else self._region_by_vgg(true, mask, size)
        return noise_loss(out.eps, out.noise, torch.ones(len(self.batch)), region)

    @torch.no_grad()
    def _region_by_vgg(self, true: Tensor, mask: str, size: tuple[int, int]) -> Tensor:
        """W_fs from what grey in place of piece and shadow changes in VGG-19's relu2_2."""
        vgg, covered = self.networks.get("vgg19", "shadow_noise"), torch.maximum(true, self.need(mask, "shadow_noise").to(true))
        person = pictures.unit(as_picture(self.need("person", "shadow_noise").to(true.device)))
        features, without = (vgg(p, ("relu2_2",))[0] for p in (person, person * (1 - covered) + 0.5 * covered))
        return shadow_weight_from_features(features, without, true, size)

    def pictured(self, term: str, max_timestep: float, compute: Callable[[Shown], Tensor]) -> Tensor:
        """See the protocol."""
        out = self.outputs
        rows = (out.below(max_timestep) & out.kept).nonzero().flatten().tolist()
        if not rows:
            return self._zeros()
        values = compute(Shown(self, term, rows, self._decode(rows)))
        return values.new_zeros(len(self.batch)).index_add(0, torch.tensor(rows, device=values.device), values)

    def _decode(self, rows: list[int]) -> Tensor:
        """Pictures of these rows' predictions, decoded once for all terms that look at the same rows."""
        if tuple(rows) not in self._decoded:
            chosen = torch.zeros(len(self.batch), dtype=torch.bool)
            chosen[rows] = True
            self._decoded[tuple(rows)] = self.outputs.decode(self.outputs.clean(chosen))
        return self._decoded[tuple(rows)]

    def _zeros(self) -> Tensor:
        return torch.zeros(len(self.batch), device=self.batch.z0.device)


def as_picture(person: Tensor) -> Tensor:
    """Bytes 0..255 -> -1..1; what is a picture in -1..1 already stays."""
    return person.float() / 127.5 - 1 if person.dtype == torch.uint8 else person


@dataclass
class Shown:
    """Decoded predictions beside the truth: `models.parts.terms.Pictures`.

    Attributes:
        terms: the step. term: which term asks. rows: of the batch. generated: (R,3,H,W), -1..1, not clamped.
    """

    terms: Terms
    term: str
    rows: list[int]
    generated: Tensor

    @property
    def real(self) -> Tensor:
        """The truth, (R,3,H,W), -1..1."""
        return as_picture(self.terms.need("person", self.term)[self.rows].to(self.generated.device))

    def mask(self, name: str) -> Tensor:
        """A mask of these rows."""
        return self.terms.need(name, self.term)[self.rows].to(self.generated.device).float()

    def grown(self, name: str) -> Tensor:
        """A mask that reaches as far around itself as the shadow's weights do, (R,1,H,W)."""
        return dilate(self.mask(name)[:, :1], DILATION * CELL)

    def dists(self, masks: str, crop: bool = False) -> Tensor:
        """See the protocol."""
        return pictures.masked_dists(self.terms.networks.get("dists", self.term), self.generated, self.real, self.mask(masks), crop)

    def high_frequency(self, masks: str, by_area: bool = False) -> Tensor:
        """See the protocol."""
        return pictures.high_frequency(self.generated, self.real, self.mask(masks), pictures.edge_map(self.real), by_area)

    def perceptual(self, layers: str) -> Tensor:
        """See the protocol."""
        return pictures.perceptual(self.terms.networks.get("vgg19", self.term), self.generated, self.real, layers)

    def cosine_perception(self, mask: str) -> Tensor:
        """See the protocol."""
        return pictures.cosine_perception(self.terms.networks.get("vgg19", self.term), self.generated, self.real, self.grown(mask))

    def depth_consistency(self, mask: str, inside: float = 0.0) -> Tensor:
        """See the protocol."""
        network, weight = self.terms.networks.get("depth", self.term), 1 - (1 - inside) * self.grown(mask)
        with torch.no_grad():
            real = network(pictures.unit(self.real))
        return depth.depth_consistency(network(pictures.unit(self.generated)), real, weight)
