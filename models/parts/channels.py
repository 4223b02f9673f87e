"""Extra input channels: which there are, in which order, at which scale and polarity. Stated here and nowhere else.

A *stack* is what stands behind z_t at the U-Net's input, (R,extra,h,w):

    latent    4 channels, already times 0.18215 (`host.encode_latent`)
    keep      1 channel, 1 = stays, 0 = repainted (Paint by Example, StableVITON, PM-Jewelry)
    repaint   1 channel, 1 = repainted (Stable Diffusion inpainting, the host)
    map       1 channel, -1..1 (depth, saliency)

Whoever fills a stack gives masks with 1 = repaint, as everywhere in Fitting Room; the layout turns them where its
polarity is `keep`.

Two routes lead into the U-Net, and both give the same numbers within float rounding, because a convolution is linear
in its input channels:

    native   a checkpoint whose first convolution has the layout's channels: the host joins the stack to z_t.
    added    any 4- or 9-channel SD1.5: `AddedChannels`, a convolution without bias, is added to the output of input
             block 0. A 9-channel (inpainting) U-Net gets its own five channels from the stack, and only those that it
             lacks are added.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from .layers import Layers
from .patches import Call

LATENT_CHANNELS = 4
STACK = "stack"
"""Name under which the stack travels beside a U-Net that does not take it natively (`Call.extras`)."""

MASKED_EXTRA = "masked"
"""Name under which the masked picture's latent travels by itself, for encoders beside the U-Net."""


class Channel(NamedTuple):
    """One named group of channels: `kind` is latent, keep, repaint or map."""

    name: str
    width: int
    kind: str


MASKED = Channel("masked", 4, "latent")
KEEP = Channel("mask", 1, "keep")
REPAINT = Channel("mask", 1, "repaint")


@dataclass(frozen=True)
class Layout:
    """The channels behind z_t, in order.

    Attributes:
        name: as conditionings and headers call it.
        label: for people.
        channels: in the order of the stack.
    """

    name: str
    label: str
    channels: tuple[Channel, ...]

    @property
    def extra(self) -> int:
        """Channels of the stack."""
        return sum(c.width for c in self.channels)

    @property
    def total(self) -> int:
        """Channels of a native U-Net: z_t and the stack."""
        return LATENT_CHANNELS + self.extra

    def slices(self) -> dict[str, slice]:
        """Where each named group lies in the stack."""
        out, start = {}, 0
        for channel in self.channels:
            out[channel.name] = slice(start, start + channel.width)
            start += channel.width
        return out

    def channel(self, name: str) -> Channel | None:
        """The group of a name, or None."""
        return next((c for c in self.channels if c.name == name), None)

    def stack(self, **tensors: Tensor) -> Tensor:
        """Join the named tensors in this layout's order and polarity.

        Args:
            tensors: one per channel group, (R,width,h,w) or (1,width,h,w); the mask with 1 = repaint, 0..1.

        Returns:
            (R,extra,h,w).

        Raises:
            ValueError: a group is missing or surplus, of another width, or of another size than the others.
        """
        names = [c.name for c in self.channels]
        if set(names) != set(tensors):
            came = ", ".join(tensors) or "nothing"
            raise ValueError(f"{self.label} takes the channels {', '.join(names)}, and {came} came; give each of them once.")
        first = tensors[names[0]]
        for channel in self.channels:
            tensor = tensors[channel.name]
            if tensor.ndim != 4 or tensor.shape[1] != channel.width or tensor.shape[-2:] != first.shape[-2:]:
                raise ValueError(
                    f"The channel group '{channel.name}' of {self.label} has the shape {tuple(tensor.shape)}; "
                    f"expected (batch, {channel.width}, {first.shape[-2]}, {first.shape[-1]})."
                )
        rows = {t.shape[0] for t in tensors.values()} - {1}
        if len(rows) > 1:
            raise ValueError(
                f"The pictures for {self.label} come in batches of {sorted(rows)}, which do not broadcast; "
                "give one of each, or the same number."
            )
        count = rows.pop() if rows else 1
        parts = [1.0 - tensors[c.name] if c.kind == "keep" else tensors[c.name] for c in self.channels]
        return torch.cat([p.to(first).expand(count, -1, -1, -1) for p in parts], 1)

    def route(self, in_channels: int) -> str:
        """How a U-Net of that many input channels gets the stack: "native" or "added".

        Raises:
            ValueError: it has neither the layout's channels nor 4 or 9.
        """
        if in_channels == self.total:
            return "native"
        if in_channels in (LATENT_CHANNELS, HOST_INPAINT.total):
            return "added"
        raise ValueError(
            f"This MODEL takes {in_channels} input channels, and {self.label} needs {self.total} (its own checkpoint), 4 (any SD1.5) "
            "or 9 (SD1.5 inpainting); load one of those."
        )

    def missing(self, in_channels: int) -> tuple[Channel, ...]:
        """The groups that a U-Net of that many channels does not know."""
        if in_channels == self.total:
            return ()
        known = {c.name for c in HOST_INPAINT.channels} if in_channels == HOST_INPAINT.total else set()
        return tuple(c for c in self.channels if c.name not in known)

    def host_inpaint(self, stack: Tensor) -> Tensor:
        """The five channels of an inpainting U-Net in the host's order and polarity, from this layout's stack.

        The mask is rounded to 0 or 1 as the host does.
        """
        where = self.slices()
        mask = stack[:, where["mask"]]
        mask = 1.0 - mask if self.channel("mask").kind == "keep" else mask
        return torch.cat((mask.round(), stack[:, where["masked"]]), 1)


HOST_INPAINT = Layout("host_inpaint", "SD1.5 inpainting", (REPAINT, MASKED))
"""The order of Stable Diffusion inpainting and of the host: z 4, mask 1, masked 4. Diffuse to Choose uses it too."""

PAINT_BY_EXAMPLE = Layout("paint_by_example", "Paint by Example", (MASKED, KEEP))
"""z 4, masked 4, mask 1."""

TRY_ON = Layout("try_on", "SIFT-VTON", (MASKED, KEEP, Channel("pose", 4, "latent")))
"""StableVITON and SIFT-VTON, 13: z 4, agnostic 4, mask 1, DensePose picture 4."""

JEWELRY = Layout("jewelry", "PM-Jewelry", (MASKED, KEEP, Channel("depth", 1, "map"), Channel("saliency", 1, "map")))
"""PM-Jewelry, 11: z 4, head 4, mask 1, depth 1, saliency 1."""

JEWELRY_ENCODED = Layout(
    "jewelry_encoded", "PM-Jewelry (17 channels)", (MASKED, KEEP, Channel("depth", 4, "latent"), Channel("saliency", 4, "latent"))
)
"""PM-Jewelry with maps encoded by the VAE, 17: z 4, head 4, mask 1, depth 4, saliency 4."""

LAYOUTS = {layout.name: layout for layout in (HOST_INPAINT, PAINT_BY_EXAMPLE, TRY_ON, JEWELRY, JEWELRY_ENCODED)}


def full_stack(call: Call, layout: Layout) -> Tensor:
    """What a native U-Net would see, (B,total,h,w), whichever route the call takes.

    Raises:
        ValueError: the conditioning brings no stack, or that of another layout.
    """
    if call.x.shape[1] == layout.total:
        return call.x
    return torch.cat((call.x[:, :LATENT_CHANNELS], _travelling(call, layout)), 1)


def _travelling(call: Call, layout: Layout) -> Tensor:
    stack = call.extras.get(STACK)
    if stack is None or stack.shape[1] != layout.extra:
        came = "none came" if stack is None else f"{stack.shape[1]} came"
        raise ValueError(
            f"{layout.label} needs {layout.extra} extra channels ({', '.join(c.name for c in layout.channels)}) and {came}; "
            f"connect both outputs, positive and negative, of the {layout.label} conditioning node to the sampler."
        )
    return stack


def masked_latent(call: Call) -> Tensor:
    """The masked picture's latent of the rows that see the method, (rows,4,h,w), scaled.

    From the conditioning's own extra where there is one, else from the input of an inpainting U-Net in the host's order.

    Raises:
        ValueError: neither is there.
    """
    if MASKED_EXTRA in call.extras:
        return call.select(call.extras[MASKED_EXTRA]).to(call.x.dtype)
    if call.x.shape[1] < HOST_INPAINT.total:
        raise ValueError(
            f"The hint encoder needs the masked picture, and neither the conditioning nor the input of this {call.x.shape[1]}-channel MODEL "
            "carries it; put Inpaint Conditioning (Fitting Room) between the product's tokens and the sampler."
        )
    return call.select(call.x[:, LATENT_CHANNELS:][:, HOST_INPAINT.slices()["masked"]])


class AddedChannels(nn.Module):
    """The columns of a first convolution for the channels behind z_t, (model_channels,extra,3,3), without bias.

    Zero until trained, so that the U-Net is what it was, bit for bit.
    """

    def __init__(self, layout: Layout, model_channels: int, layers: Layers):
        super().__init__()
        self.layout = layout
        self.conv = layers.conv(layout.extra, model_channels, 3, bias=False)

    def forward(self, call: Call) -> Tensor | None:
        """What `Patches.entry` adds to the output of input block 0, (B,model_channels,h,w); None on the native route.

        Raises:
            ValueError: the conditioning brings no stack.
        """
        native = call.unet.in_channels
        if native == self.layout.total:
            return None
        stack, missing = _travelling(call, self.layout), self.layout.missing(native)
        if len(missing) < len(self.layout.channels):  # what the U-Net knows already reaches it by its own convolution
            wanted = {c.name for c in missing}
            stack = torch.cat([stack[:, s] if n in wanted else torch.zeros_like(stack[:, s]) for n, s in self.layout.slices().items()], 1)
        return self.conv(stack)


def input_columns(weight: Tensor, bias: Tensor, layout: Layout) -> tuple[Tensor, Tensor]:
    """A first convolution for z_t and a layout's stack, started from a base's.

    Args:
        weight: (C,4 or 9 or total,3,3) of the base; 9 is in the host's order.
        bias: (C,).

    Returns:
        weight (C,total,3,3) and bias (C,). Channels the base does not know start at zero. A mask column of the other
        polarity is negated and its sum goes to the bias, since W * (1 - m) = W * 1 - W * m (exact away from the border).
    """
    if weight.shape[1] == layout.total:
        return weight.clone(), bias.clone()
    out = weight.new_zeros(weight.shape[0], layout.total, *weight.shape[2:])
    out[:, :LATENT_CHANNELS], bias = weight[:, :LATENT_CHANNELS], bias.clone()
    if weight.shape[1] == HOST_INPAINT.total:
        for name, source in HOST_INPAINT.slices().items():
            columns, target = weight[:, LATENT_CHANNELS:][:, source], layout.slices().get(name)
            if target is None:
                continue
            if name == "mask" and layout.channel(name).kind == "keep":
                bias, columns = bias + columns.sum((1, 2, 3)), -columns
            out[:, LATENT_CHANNELS:][:, target] = columns
    return out, bias
