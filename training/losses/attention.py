"""Losses on attention, from queries and keys, without ever building a map.

Notation. q: queries (R,N,C), N row-major over a grid (h,w). k: keys (R,M,C) over a grid (h',w'). H heads of width d. A map has
N x M entries per head; at 64 x 48 that is 9.4 million, and it is never made here:

- cross-entropy needs log-softmax at the matched queries alone: R x H x (matched rows) x M numbers;
- coordinates looked at, and shares of attention per garment, are attention with other values (`models/parts/attention.py`).

Every loss gives one number per row, float32.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from torch import Tensor
from torch.nn.functional import interpolate


@dataclass(frozen=True)
class Entries:
    """Reference attention p_ij as entries (E,), sorted by row and query; weights of one query sum to 1.

    Attributes:
        row: which of the R rows. query, key: cell numbers. weight: p_ij, float32.
    """

    row: Tensor
    query: Tensor
    key: Tensor
    weight: Tensor

    def __len__(self) -> int:
        return len(self.row)

    def to(self, device) -> Entries:
        """On a device."""
        return Entries(*(getattr(self, f.name).to(device) for f in fields(self)))


def sift_cross_entropy(q: Tensor, k: Tensor, heads: int, entries: Entries, floor: float = 0.0) -> Tensor:
    """SIFT-VTON's equation 1, and the means over heads and matched queries of equation 2, at one layer:

        L = 1 / (H |M|) sum_h sum_{i in M} - sum_j p_ij log q_hij,    q_h = softmax(Q_h K_h^T / sqrt(d))

    Args:
        q, k, heads: as above. Rows and queries without an entry cost nothing.
        entries: p; M are its queries.
        floor: added to q_hij inside the logarithm. 0 is the equation; the released code has 1e-8, where the gradient of a
            match that gets no attention dies.

    Returns:
        (R,); 0 for rows without entries.
    """
    out = q.new_zeros(q.shape[0], dtype=torch.float32)
    if not len(entries):
        return out
    rows, row_of = torch.unique(entries.row, return_inverse=True)  # only rows with entries take part
    cells, cell_of = torch.unique(entries.row * q.shape[1] + entries.query, return_inverse=True)
    owner = torch.searchsorted(rows, cells // q.shape[1])
    counts = torch.bincount(owner, minlength=len(rows))
    slot = torch.arange(len(cells), device=q.device) - (counts.cumsum(0) - counts)[owner]  # place among the row's queries
    picked = q.new_zeros(len(rows), int(counts.max()), q.shape[-1]).index_put((owner, slot), q[cells // q.shape[1], cells % q.shape[1]])
    a, b = (t.unflatten(-1, (heads, -1)).transpose(1, 2) for t in (picked, k[rows]))  # (rows,H,slots,d), (rows,H,M,d)
    log = (a @ b.transpose(-1, -2) * a.shape[-1] ** -0.5).float().log_softmax(-1)
    log = log[row_of, :, slot[cell_of], entries.key]  # (E,H)
    log = log if floor == 0.0 else (log.exp() + floor).log()
    total = -(entries.weight[:, None] * log).sum(1) / heads
    return out.index_add(0, entries.row, total / counts[row_of])


def total_variation(looked: Tensor, mask: Tensor) -> Tensor:
    """StableVITON's attention total variation: how much the point looked at changes from query to query inside the garment.

        L = sum_v |F(below) - F|_1 / n_v + sum_h |F(right) - F|_1 / n_h

    over the n_v vertical and n_h horizontal pairs of neighbours that both lie in the mask.

    Args:
        looked: F, (R,2,h,w): row and column looked at, in cells of the keys' grid.
        mask: (R,1,H,W), 1 = garment on the person; sampled at the grid by nearest neighbour, as released.

    Returns:
        (R,); 0 where there is no pair (released: NaN).
    """
    inside = interpolate((mask > 0.5).float(), looked.shape[-2:], mode="nearest")
    out = looked.new_zeros(looked.shape[0], dtype=torch.float32)
    for axis in (2, 3):
        both = inside.narrow(axis, 1, inside.shape[axis] - 1) * inside.narrow(axis, 0, inside.shape[axis] - 1)
        change = looked.float().diff(dim=axis).abs() * both
        out = out + change.flatten(1).sum(1) / both.flatten(1).sum(1).clamp_min(1)
    return out


def target_distance(looked: Tensor, target: Tensor, where: Tensor, key_grid: tuple[int, int]) -> Tensor:
    """PM-Jewelry's equation 2, towards target coordinates, free of resolution:

        L = 1 / (n D) sum_{ij in where} |F_ij - G_ij|_1,   n cells in `where`, D the diagonal of the keys' grid

    Args:
        looked: F, (R,2,h,w), row and column in cells of the keys' grid. target: G, the same.
        where: (R,1,h,w) weights >= 0; 0 where there is no target. n is their sum.
        key_grid: (height, width) of the keys.

    Returns:
        (R,); 0 where nothing has a target.
    """
    diagonal = (key_grid[0] ** 2 + key_grid[1] ** 2) ** 0.5
    where = where.to(device=looked.device, dtype=torch.float32)
    distance = (looked.float() - torch.where(where > 0, target.to(looked.device).float(), 0.0)).abs() * where
    return distance.flatten(1).sum(1) / (where.flatten(1).sum(1).clamp_min(1e-12) * diagonal)


def localization(
    shares: Tensor, masks: Tensor, grid: tuple[int, int], background: str = "all", norm: str = "mse", per_head: bool = False
) -> Tensor:
    """AnyDressing's equation 9 at one layer, with A_k of (7)-(8) as `shares`:

        L = 1/N sum_k || A_k - M_k ||,   || X || as the mean of X^2 over positions ("mse"), or as written ("frobenius")

    A floor: the softmax of (7) runs over all garments' keys, so sum_k A_k = 1 everywhere. With one garment A_1 = 1, there
    is no gradient, and the loss is 0 here. With N >= 2 the background cannot reach M = 0: its best is A_k = 1/N, which leaves
    1/N^2 per background position (0.25 for two garments). The loss divides garments among their regions; it does not clear the
    background. AnyDressing's option `sink` gives the background somewhere to look; `background="garments"` leaves it out.

    Args:
        shares: A, (R,H,N_queries,K), per head.
        masks: M, (R,K,H,W), 0..1, where garment k is in the person's picture; pooled over each cell's area.
        grid: (h, w) of the queries.
        background: "all" positions, or those in "garments" only.
        per_head: compare every head with the mask, instead of the mean over the heads.

    Returns:
        (R,).

    Raises:
        ValueError: another number of masks than of garments, or an unknown background or norm.
    """
    if background not in ("all", "garments") or norm not in ("mse", "frobenius"):
        raise ValueError(f"Localization knows background 'all' and 'garments', norm 'mse' and 'frobenius'; {background!r} and {norm!r} came.")
    if masks.shape[1] != shares.shape[-1]:
        raise ValueError(f"{shares.shape[-1]} garments are worn and {masks.shape[1]} masks came; give one mask per garment, in the same order.")
    if shares.shape[-1] == 1:
        return shares.new_zeros(shares.shape[0], dtype=torch.float32)
    target = interpolate(masks.float(), grid, mode="area").flatten(2).transpose(1, 2).unsqueeze(1)  # (R,1,N,K)
    shares = shares.float() if per_head else shares.float().mean(1, keepdim=True)
    squared = (shares - target) ** 2
    if background == "garments":
        squared = squared * (target.amax(-1, keepdim=True) > 0)
        count = (target.amax(-1) > 0).float().sum((1, 2)).clamp_min(1)
    else:
        count = torch.full_like(squared[:, 0, 0, 0], squared.shape[2])
    if norm == "frobenius":
        return (squared.sum(2) + 1e-12).sqrt().mean((1, 2))  # the root of 0 has no gradient
    return squared.sum((2, 3)).mean(1) / (count * squared.shape[-1])
