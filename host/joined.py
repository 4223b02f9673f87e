"""Self-attention with a reference's tokens among its own (`Patches.joined_self`).

The literal form of such an attention (IGR, eq. 4) lays the reference beside the picture, takes queries, keys and values
from both and throws the reference's half of the result away. Queries are independent of one another, so making only the
picture's queries gives the same kept half at less than half the cost, for references of any size; and since the keys of
a reference do not change over the steps, they are made once per generation. Rows are grouped by the references they
see: a row without any attends to its own tokens alone, in a call of its own, and pays nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from ..models.parts.patches import Call, Joined, Patches
from ..models.parts.sites import Site

Kernel = Callable[[Tensor, Tensor, Tensor], Tensor]
Asked = Sequence[tuple[Patches, Call]]
SAME = 0.02
"""Relative difference under which two kernels count as the same attention (half precision differs by about 0.005)."""


def asked_for(calls: Asked, site: Site) -> list[tuple[Patches, Call]]:
    """The methods that join tokens at a site in this forward."""
    return [(p, c) for p, c in calls if c.rows and site in p.joined_self]


def attend_joined(kernel: Kernel, block, asked: Asked, site: Site, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Every row attends to the references it sees and to itself under one softmax.

    Args:
        kernel: (q, k, v) -> attention, heads split inside.
        block: the host's attention layer, for its own projections.
        asked: the methods, from `asked_for`.
        q, k, v: (B,N,C) projected; q may be cut into tiles (B * tiles, N / tiles, C).

    Returns:
        as q.

    Raises:
        ValueError: rows that another node cut in a way that cannot be undone, or batches that do not broadcast.
    """
    tiles = count_tiles(asked[0][1], q.shape[0])
    if k.shape[0] != q.shape[0]:  # HyperTile cuts the queries alone; the host's kernels then read keys and values as that many rows
        k, v = (t.reshape(q.shape[0], -1, t.shape[-1]) for t in (k, v))
    groups = _groups(asked)
    if len(groups) == 1:
        (seen, rows), = groups.items()
        return _attend_group(kernel, block, [asked[i] for i in seen], rows, tiles, site, q, k, v)
    parts, order = [], []
    for seen, rows in groups.items():
        places = tiled(rows, tiles)
        mine = (gather(t, places) for t in (q, k, v))
        parts.append(_attend_group(kernel, block, [asked[i] for i in seen], rows, tiles, site, *mine))
        order += places
    out = torch.cat(parts)
    return out if order == sorted(order) else out[torch.tensor(order, device=q.device).argsort()]


def join_after_projection(kernel: Kernel, block, asked: Asked, site: Site, source: Tensor, n: Tensor) -> Tensor:
    """The same where another node computed this attention itself, so that only its projected result `n` is at hand.

    Where that node only looked on (self-attention guidance records the weights), the rows that see a reference get the
    joint attention in place of the result. Where it changed the result on purpose (perturbed-attention guidance wants
    exactly an attention without structure), the result stays, and the log says so once.
    """
    if source.shape == n.shape:
        q, k, v = block.to_q(source), block.to_k(source), block.to_v(source)
        plain = block.to_out(kernel(q, k, v))
        if (plain - n).abs().max() <= SAME * n.abs().max():
            rows = torch.tensor(sorted({r for _, c in asked for r in c.rows}), device=n.device)
            joined = block.to_out(attend_joined(kernel, block, asked, site, q, k, v))
            return n.index_copy(0, rows, joined[rows].to(n.dtype))
    message = "Fitting Room: another node replaces the self-attention at %s with its own, which sees no reference."
    asked[0][1].once(("replaced", site), lambda: logging.info(message, site))
    return n


def count_tiles(call: Call, stacked: int) -> int:
    """Into how many tiles another node (HyperTile) cut each of the forward's rows.

    Raises:
        ValueError: `stacked` rows are no multiple of the forward's.
    """
    tiles, rest = divmod(stacked, call.x.shape[0])
    if rest:
        raise ValueError(
            f"Another node cut the attention into {stacked} rows, which is no multiple of the {call.x.shape[0]} rows of this "
            "step, so the garment's rows cannot be found; remove that node or place it after the Fitting Room node."
        )
    return tiles


def tiled(rows: Sequence[int], tiles: int) -> list[int]:
    """Places of the tiles of `rows`."""
    return [r * tiles + t for r in rows for t in range(tiles)]


def gather(tensor: Tensor, rows: Sequence[int]) -> Tensor:
    """Rows of a tensor by number, ascending; a view where they are neighbours."""
    if len(rows) == tensor.shape[0]:
        return tensor
    if list(rows) == list(range(rows[0], rows[0] + len(rows))):
        return tensor[rows[0] : rows[0] + len(rows)]
    return tensor[torch.tensor(rows, device=tensor.device)]


def _groups(asked: Asked) -> dict[tuple[int, ...], list[int]]:
    """{which of the methods are seen: the rows that see exactly these}."""
    groups: dict[tuple[int, ...], list[int]] = {}
    for row in range(asked[0][1].x.shape[0]):
        groups.setdefault(tuple(i for i, (_, call) in enumerate(asked) if row in call.rows), []).append(row)
    return groups


def _attend_group(kernel: Kernel, block, asked: Asked, rows, tiles: int, site: Site, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Rows that see the same references; references of one scale share a softmax."""
    by_scale: dict[float, list[tuple[Tensor, Tensor]]] = {}
    for patches, call in asked:
        made = _project(block, patches, call, site)
        if made is None:
            continue
        scale, *projected = made
        places = [call.rows.index(r) for r in rows]
        pair = tuple(_repeat(gather(call.per_image(t, "A reference"), places), tiles) for t in projected)
        by_scale.setdefault(scale, []).append(pair)
    if not by_scale:
        return kernel(q, k, v)
    joint = {}
    for scale, pairs in by_scale.items():
        keys, values = zip(*pairs, (k, v))
        joint[scale] = kernel(q, torch.cat(keys, 1), torch.cat(values, 1))
    if set(joint) == {1.0}:
        return joint[1.0]
    own = kernel(q, k, v)
    return sum((scale * (out - own) for scale, out in joint.items()), own)


def _repeat(tensor: Tensor, tiles: int) -> Tensor:
    return tensor if tiles == 1 else tensor.repeat_interleave(tiles, 0)


def _project(block, patches: Patches, call: Call, site: Site) -> tuple[float, Tensor, Tensor] | None:
    """(scale, keys, values) by the block's own projections; once per generation while the weights stay."""

    def compute():
        joined: Joined | None = patches.joined_self[site](call)
        if joined is None or joined.scale == 0.0:
            return None
        tokens = joined.tokens.to(call.x)
        return joined.scale, block.to_k(tokens), block.to_v(tokens)

    if call.memo is not None and call.memo.weights_change:
        return compute()
    return call.once((id(patches), site), compute)
