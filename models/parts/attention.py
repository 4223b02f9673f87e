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
