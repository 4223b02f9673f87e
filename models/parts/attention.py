"""Attention without a host: used by methods' own layers, by training and by tests."""

from __future__ import annotations

import torch
from torch import Tensor


def attend(q: Tensor, k: Tensor, v: Tensor, heads: int) -> Tensor:
    """softmax(q k^T / sqrt(d)) v with the heads split inside; d = C / heads.

    Args:
        q: (B,N,C); k, v: (B,M,C).
        heads: number of heads; C must be a multiple of it.

    Returns:
        (B,N,C).
    """
    q, k, v = (t.unflatten(-1, (heads, -1)).transpose(1, 2) for t in (q, k, v))  # (B,heads,tokens,d)
    out = torch.nn.functional.scaled_dot_product_attention(q, k, v)
    return out.transpose(1, 2).flatten(2)


def attention_rows(q: Tensor, k: Tensor, heads: int) -> Tensor:
    """The attention weights of the given query rows only, (B,heads,N,M). Never call it with all queries of a map."""
    q, k = (t.unflatten(-1, (heads, -1)).transpose(1, 2) for t in (q, k))
    return (q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5).softmax(-1)


def attend_labelled(q: Tensor, k: Tensor, v: Tensor, labels: Tensor, heads: int) -> tuple[Tensor, Tensor]:
    """Attention, and for each query the attention-weighted mean of its keys' labels, in one pass and without a map.

    The labels are further value channels of every head. Queries and keys get as many zero channels, which add nothing to
    their products, because the fast kernels want one width for all three. On a GPU that width is a multiple of eight: the
    kernels accept nothing else, and they work in steps of 32 or 64 channels (40 + 8 costs them what 40 costs).

    Args:
        q: (B,N,C); k, v: (B,M,C).
        labels: (M,P) or (B,M,P) numbers per key: one-hot rows give the share of attention on each group of keys, coordinates
            give the point that is looked at.

    Returns:
        (B,N,C), and (B,heads,N,P).
    """
    q, k, v = (t.unflatten(-1, (heads, -1)).transpose(1, 2) for t in (q, k, v))  # (B,heads,tokens,d)
    width, count = q.shape[-1], labels.shape[-1]
    room = -(-count // 8) * 8 if q.is_cuda else count
    labels = labels.to(v).expand(v.shape[0], -1, -1).unsqueeze(1).expand(-1, heads, -1, -1)
    q, k = (torch.nn.functional.pad(t, (0, room)) for t in (q, k))
    v = torch.cat((v, torch.nn.functional.pad(labels, (0, room - count))), -1)
    out = torch.nn.functional.scaled_dot_product_attention(q, k, v, scale=width**-0.5)
    return out[..., :width].transpose(1, 2).flatten(2), out[..., width : width + count]


def looked_at(q: Tensor, k: Tensor, heads: int, key_grid: tuple[int, int]) -> Tensor:
    """Where each query looks: the attention-weighted mean of the keys' (row, column), averaged over the heads.

    Args:
        q: (B,N,C). k: (B,M,C), M row-major over `key_grid` (height, width).

    Returns:
        (B,N,2) float32: rows 0..height-1 and columns 0..width-1, in cells.
    """
    height, width = key_grid
    cells = torch.arange(height * width, device=q.device)
    place = torch.stack((cells // width - (height - 1) / 2, cells % width - (width - 1) / 2), -1)  # centred: half precision is finest near 0
    q, k = (t.unflatten(-1, (heads, -1)).transpose(1, 2) for t in (q, k))
    v = torch.nn.functional.pad(place.to(q), (0, max(q.shape[-1] - 2, 0))).expand(*k.shape[:3], -1)
    mean = torch.nn.functional.scaled_dot_product_attention(q, k, v)[..., :2].float().mean(1)
    return mean + torch.tensor([(height - 1) / 2, (width - 1) / 2], device=q.device)
