"""Slow, literal versions of the losses on attention: full maps, sample by sample, head by head, pair by pair."""

import math

import torch


def full_map(q, k, heads):
    """softmax(q k^T / sqrt(d)) of one sample, (heads,N,M)."""
    d = q.shape[-1] // heads
    return torch.stack([(q[:, h * d : (h + 1) * d] @ k[:, h * d : (h + 1) * d].T / math.sqrt(d)).softmax(-1) for h in range(heads)])


def reference_map(matches, grid, key_grid):
    """p_ij of section 3.2 as a dense (N,M) histogram, normalised per query; matches in whole pixels of equal pictures."""
    (h, w), (kh, kw) = grid, key_grid
    counts = torch.zeros(h * w, kh * kw)
    height, width = matches.person_size
    for (px, py), (gx, gy) in matches.points[matches.valid].tolist():
        i = int(py) * h // height * w + int(px) * w // width
        j = int(gy) * kh // matches.garment_size[0] * kw + int(gx) * kw // matches.garment_size[1]
        counts[i, j] += 1
    return counts / counts.sum(1, keepdim=True).clamp_min(1)


def cross_entropy(q, k, heads, p, floor=0.0):
    """Equations 1 and 2 at one layer of one sample, on the whole map."""
    rows = int((p.sum(1) > 0).sum())
    if rows == 0:
        return q.new_zeros(())
    total = 0.0
    for attention in full_map(q, k, heads):
        total = total - (p * torch.where(p > 0, (attention + floor).clamp_min(1e-300 if floor == 0 else 0).log(), 0.0)).sum()
    return total / (heads * rows)


def looked(q, k, heads, key_grid):
    """The head-averaged map's mean (row, column), (N,2)."""
    kh, kw = key_grid
    rows, columns = (torch.tensor([float(v) for r in range(kh) for v in values(r)], dtype=q.dtype) for values in (lambda r: [r] * kw, lambda r: range(kw)))
    attention = full_map(q, k, heads).mean(0)
    return torch.stack((attention @ rows, attention @ columns), -1)


def variation(points, mask):
    """Total variation of points (h,w,2) between neighbours that both lie in a mask (h,w), the mean of each direction."""
    total = points.new_zeros(())
    for down, right in ((1, 0), (0, 1)):
        changes = [
            (points[y + down, x + right] - points[y, x]).abs().sum()
            for y in range(mask.shape[0] - down) for x in range(mask.shape[1] - right) if mask[y, x] and mask[y + down, x + right]
        ]
        if changes:
            total = total + sum(changes) / len(changes)
    return total
