"""What a training step asks of a forward (`models/parts/watch.py`): losses taken where queries and keys are, not maps carried out.

Each watch computes its term as soon as a place is seen and keeps one number per sample and place. After the forward,
`value()` is the term, (B,): 0 for samples that were not seen (condition dropped) or that a gate leaves out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from ...data.supervision import Supervision
from ...models.parts.attention import looked_at
from ...models.parts.sites import SITES
from ...models.parts.watch import SHADOW, Place
from ...preprocess.matches import Matches, cells
from . import attention, masks

Targets = Callable[[list[int], tuple[int, int], tuple[int, int]], tuple[Tensor, Tensor]]
"""(images, grid, key grid) -> target (R,2,h,w) and where (R,1,h,w), see `targets.py`."""


class PlaceWatch:
    """A term that is a sum or a mean over places.

    Args:
        count: B, samples in the batch.
        places: where to look.
        over_places: "sum" or "mean".
    """

    def __init__(self, count: int, places: Sequence[Place], over_places: str = "mean"):
        self.count, self.places, self.over_places = count, frozenset(places), over_places
        self.seen: dict[Place, Tensor] = {}  # by place: checkpointing looks twice

    def wants(self, place: Place) -> bool:
        """Whether this place is looked at."""
        return place in self.places

    def see(self, place: Place, *, images: list[int], **seen) -> None:
        """Take the term here."""
        value = self.term(images, **seen)  # (R,)
        self.seen[place] = value.new_zeros(self.count).index_add(0, torch.tensor(images, device=value.device), value)

    def term(self, images: list[int], **seen) -> Tensor:
        """The term of the rows at one place, (R,)."""
        raise NotImplementedError

    def value(self) -> Tensor:
        """The term, (B,); zeros where nothing was seen at all."""
        if not self.seen:
            return torch.zeros(self.count)
        values = torch.stack(list(self.seen.values()))
        return values.mean(0) if self.over_places == "mean" else values.sum(0)


class SiftWatch(PlaceWatch):
    """SIFT-VTON, equations 1 and 2.

    Args:
        supervision: settings.
        matches: of each sample, or None where it has none.
        timesteps: (B,).
    """

    def __init__(self, supervision: Supervision, matches: Sequence[Matches | None], timesteps: Tensor):
        super().__init__(len(matches), supervision.blocks, supervision.layers)
        self.supervision, self.matches = supervision, matches
        self.open = [m is not None and m.count > 0 and t < supervision.max_timestep for m, t in zip(matches, timesteps.tolist())]

    def wants(self, place: Place) -> bool:
        """Nowhere, when no sample has matches and a timestep below the gate."""
        return super().wants(place) and any(self.open)

    def term(self, images, *, q, k, heads, grid, key_grid) -> Tensor:
        """Cross-entropy at the matched queries, (R,)."""
        rows = [row for row, image in enumerate(images) if self.open[image]]
        found = cells([self.matches[images[row]] for row in rows], grid, key_grid)
        row_of = torch.tensor(rows, dtype=torch.long)[torch.from_numpy(found.sample).long()] if rows else torch.zeros(0, dtype=torch.long)
        entries = attention.Entries(row_of, *(torch.from_numpy(t) for t in (found.query, found.key, found.weight))).to(q.device)
        return attention.sift_cross_entropy(q, k, heads, entries, self.supervision.floor)

    def value(self) -> Tensor:
        """(B,); with `batch="sum"` multiplied by B, so that the loop's mean is a sum."""
        return super().value() * (self.count if self.supervision.batch == "sum" else 1)


class VariationWatch(PlaceWatch):
    """StableVITON's attention total variation.

    Args:
        mask: (B,1,H,W), 1 = garment on the person.
        blocks: the released code has it at output block 7 alone, for pictures of 512 x 384.
    """

    def __init__(self, mask: Tensor, blocks: Sequence[int] = (7,)):
        super().__init__(mask.shape[0], blocks, "sum")
        self.mask = mask

    def term(self, images, *, q, k, heads, grid, key_grid) -> Tensor:
        """Variation of the points looked at, (R,)."""
        looked = looked_at(q, k, heads, key_grid).transpose(1, 2).unflatten(2, grid)
        return attention.total_variation(looked, self.mask[images].to(q.device))


class TargetWatch(PlaceWatch):
    """PM-Jewelry, equation 2, mean over the blocks.

    Args:
        count: B. targets: where attention ought to look. blocks: output blocks.
    """

    def __init__(self, count: int, targets: Targets, blocks: Sequence[int] = (7,)):
        super().__init__(count, blocks)
        self.targets = targets

    def term(self, images, *, q, k, heads, grid, key_grid) -> Tensor:
        """Distance of the points looked at from their targets, (R,)."""
        looked = looked_at(q, k, heads, key_grid).transpose(1, 2).unflatten(2, grid)
        target, where = self.targets(images, grid, key_grid)
        return attention.target_distance(looked, target, where, key_grid)


class LocalizationWatch(PlaceWatch):
    """AnyDressing, equations 7 to 9, averaged over the layers once.

    Args:
        garments: (B,K,H,W), where each garment is in the person's picture.
        options: of `attention.localization`.
    """

    def __init__(self, garments: Tensor, sites: Sequence[Place] = SITES, **options):
        super().__init__(garments.shape[0], sites)
        self.garments, self.options = garments, options

    def term(self, images, *, shares, grid) -> Tensor:
        """(R,) at one layer."""
        return attention.localization(shares, self.garments[images].to(shares.device), grid, **self.options)


class ShadowWatch(PlaceWatch):
    """PM-Jewelry, equation 4, where the shadow module acts.

    Args:
        shadows: (B,1,H,W), 1 = shadow.
        dice_weight: see `masks.mask_loss`.
    """

    def __init__(self, shadows: Tensor, dice_weight: float = 1.0):
        super().__init__(shadows.shape[0], (SHADOW,), "sum")
        self.shadows, self.dice_weight = shadows, dice_weight

    def term(self, images, *, logits, acting) -> Tensor:
        """(R,); 0 for rows whose timestep is too high for the module to act."""
        loss = masks.mask_loss(logits, self.shadows[images].to(logits.device), self.dice_weight)
        return torch.where(acting.to(loss.device), loss, 0.0)
