"""What a method asks of the denoiser, as data.

A method never sees ComfyUI. It describes its action as a `Patches` value: small functions at named sites. The
functions receive a `Call`, which says what this one run of the U-Net is about, and return tensors; `host.py`
decides how they reach the U-Net. A function that returns None asks for nothing this time.

Rows: one forward of the U-Net stacks the rows of several conditionings, B = sum over conditionings of the latent
batch b. `Call.rows` lists the conditional ones (the rows that see the method); the others are never touched.
A per-image tensor has R rows, where R is 1 (the same for all images) or b (one per image of the latent batch).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from .sites import Site
from .watch import Watch

AttendFn = Callable[[Tensor, Tensor, Tensor, int], Tensor]
"""(q (B,N,C), k (B,M,C), v (B,M,C), heads) -> (B,N,C): scaled dot-product attention, heads split inside."""


class Memo:
    """Values computed once per generation. Made when sampling starts, gone when it ends.

    Attributes:
        weights_change: the U-Net's weights change between steps or rows (LoRA hooks), so nothing that went through them
            may be kept.
    """

    def __init__(self, weights_change: bool = False) -> None:
        self._values: dict = {}
        self.weights_change = weights_change

    def once(self, key, compute: Callable[[], object]):
        """The value under `key`, computed on the first call."""
        if key not in self._values:
            self._values[key] = compute()
        return self._values[key]


@dataclass
class Call:
    """One forward of the U-Net, as a method's functions see it.

    Attributes:
        x: (B,Cin,h,w) the U-Net's input, scaled, extra channels included.
        timesteps: (B,) float, 0..999.
        context: (B,T,context_dim) text tokens.
        rows: indices of the conditional rows among the B rows, ascending.
        images: for each of `rows`, its place in the latent batch, 0..b-1.
        sigma: noise level of this step, or None outside sampling.
        extras: row-aligned tensors that our nodes put on the conditioning, by name.
        attend: the host's attention kernel.
        unet: the U-Net itself, for its frozen projections (read-only).
        probe: looks into this forward (`parts/watch.py`), or None (almost always).
        pictures: size b of the latent batch; None where every picture has a conditional row, as while sampling.
    """

    x: Tensor
    timesteps: Tensor
    context: Tensor | None
    rows: list[int]
    images: list[int]
    sigma: float | None
    extras: Mapping[str, Tensor]
    attend: AttendFn
    unet: nn.Module
    memo: Memo | None = None
    probe: Watch | None = None
    pictures: int | None = None
    scratch: dict = field(default_factory=dict)

    def once(self, key, compute: Callable[[], object]):
        """`compute()`, once per generation: for whatever does not change over the steps.

        Outside sampling (training, a single forward) nothing is kept beyond this forward.
        """
        memo = self.scratch.setdefault("memo", Memo()) if self.memo is None else self.memo
        return memo.once((key, self.x.device, self.x.dtype), compute)

    def recall(self, key, given: Tensor, compute: Callable[[], object]):
        """`compute()`, once per generation for each different value of `given`: for what depends on a prompt or a picture.

        Rows of one conditioning share a value, and so do several conditionings that bring equal tensors.
        """
        known = self.once((key, "recall"), list)
        for tensor, value in known:
            if tensor.shape == given.shape and torch.equal(tensor, given):
                return value
        known.append((given.clone(), compute()))
        return known[-1][1]

    def select(self, tensor: Tensor) -> Tensor:
        """The conditional rows of a (B,...) tensor; a view where they are contiguous."""
        rows = self.rows
        if len(rows) == tensor.shape[0]:
            return tensor
        if rows and rows == list(range(rows[0], rows[0] + len(rows))):
            return tensor[rows[0] : rows[0] + len(rows)]
        return tensor[torch.tensor(rows, device=tensor.device, dtype=torch.long)]

    def merge(self, tensor: Tensor, selected: Tensor) -> Tensor:
        """`tensor` (B,...) with its conditional rows replaced by `selected`; the given tensor stays as it was."""
        if len(self.rows) == tensor.shape[0]:
            return selected
        return tensor.index_copy(0, torch.tensor(self.rows, device=tensor.device), selected.to(tensor.dtype))

    def per_image(self, tensor: Tensor, name: str) -> Tensor:
        """A (R,...) tensor aligned with `select`'s rows: (len(rows),...); R = 1 is expanded without a copy.

        Raises:
            ValueError: R is neither 1 nor the size of the latent batch.
        """
        if tensor.shape[0] == 1:
            return tensor.expand(len(self.rows), *tensor.shape[1:])
        pictures = len(set(self.images)) if self.pictures is None else self.pictures
        if max(self.images, default=0) >= tensor.shape[0] or pictures < tensor.shape[0]:
            raise ValueError(
                f"{name} has {tensor.shape[0]} pictures but the latent batch has {pictures}; "
                "give one picture, or as many as the latent batch."
            )
        if self.images == list(range(tensor.shape[0])):
            return tensor
        return tensor[torch.tensor(self.images, device=tensor.device, dtype=torch.long)]


@dataclass(frozen=True)
class Memory:
    """Extra keys and values with a softmax of their own: `out + scale * attend(q, keys, values)`.

    Attributes:
        keys, values: (R,M,C), already projected.
        scale: what the added term is multiplied with (a number).
        labels: (M,P) numbers per key whose attention-weighted mean `seen` wants to have, or None (almost always).
        seen: given that mean for the conditional rows, (rows,heads,N,P).
    """

    keys: Tensor
    values: Tensor
    scale: float = 1.0
    labels: Tensor | None = None
    seen: Callable[[Tensor], None] | None = None


@dataclass(frozen=True)
class Joined:
    """Tokens that share one softmax with a self-attention's own: `own + scale * (attend(q, [tokens, own]) - own)`.

    Attributes:
        tokens: (R,M,C) in the space of the site's normalised input; M need not be the site's own number of tokens.
        scale: 1 is the joint attention itself, 0 none of it.
    """

    tokens: Tensor
    scale: float = 1.0


@dataclass(frozen=True)
class Patches:
    """All that a method may ask. Every function is optional; an empty value changes nothing, bit for bit.

    Attributes:
        added_self: per site, a `Memory` added to self-attention before its output projection (AnyDressing, eq. 6).
        added_cross: per site, a `Memory` added to cross-attention before its output projection (IP-Adapter).
        joined_self: per site, `Joined` tokens: the block's own projections make keys and values of them, which share
            one softmax with the block's own (IGR, eq. 4).
        start: (memo, latent height, latent width), called once when sampling starts and nothing is loaded yet, for what
            must be encoded at the picture's size; leave results in the memo.
        prepare: called once per forward before the U-Net runs, for networks that see z_t; leave results in `call.scratch`.
        entry: (call) -> (B,C,h,w) added to the output of input block 0, all rows (extra input channels).
        skip: per output block, (skip, call) -> skip on conditional rows (FiLM).
        middle: (h, call) -> h on conditional rows, after the middle block.
        decoder: per output block, (h, call) -> h on conditional rows, before the skip is joined.
        noise: (eps, features, call) -> eps on conditional rows. `features` are the outputs of the twelve output
            blocks, conditional rows only, or None when `wants_features` is False.
        wants_features: collect `features` for `noise`.
        all_rows: act on unconditional rows too.
        null: what the unconditional rows get, in the same words (its `Call.rows` are the unconditional ones); None is
            nothing, and then they cost nothing.
        weights: differences added to the U-Net's own weights by LDM name, on all rows and at all noise levels, as a LoRA is.
    """

    added_self: Mapping[Site, Callable[[Call], Memory | None]] = field(default_factory=dict)
    added_cross: Mapping[Site, Callable[[Call], Memory | None]] = field(default_factory=dict)
    joined_self: Mapping[Site, Callable[[Call], Joined | None]] = field(default_factory=dict)
    start: Callable[[Memo, int, int], None] | None = None
    prepare: Callable[[Call], None] | None = None
    entry: Callable[[Call], Tensor | None] | None = None
    skip: Mapping[int, Callable[[Tensor, Call], Tensor]] = field(default_factory=dict)
    middle: Callable[[Tensor, Call], Tensor] | None = None
    decoder: Mapping[int, Callable[[Tensor, Call], Tensor]] = field(default_factory=dict)
    noise: Callable[[Tensor, list[Tensor] | None, Call], Tensor] | None = None
    wants_features: bool = False
    all_rows: bool = False
    null: Patches | None = None
    weights: Mapping[str, Tensor] = field(default_factory=dict)
