"""Extra input channels on their way into the host's U-Net.

A conditioning carries the stack once, as the host's own `noise_concat`, which a native checkpoint takes verbatim. For a
4- or 9-channel U-Net it is moved beside the input when sampling starts (`carry`), and the method's convolution adds it.
"""

from __future__ import annotations

import comfy.conds
from torch import Tensor

from ..models.parts.channels import HOST_INPAINT, LAYOUTS, STACK, Layout
from .models import unet_shape

EXTRA = "fitting_room_extra_"
LAYOUT = "fitting_room_channels"


def with_channels(conditioning: list, layout: Layout, stack: Tensor) -> list:
    """A conditioning that brings a layout's stack; give it to positive and negative alike.

    Args:
        conditioning: the host's; it stays as it was.
        stack: (R,layout.extra,h,w) of `Layout.stack`; R is 1 or the latent batch.
    """
    if stack.shape[1] != layout.extra:
        raise ValueError(f"The stack for {layout.label} has {stack.shape[1]} channels and must have {layout.extra}.")
    return [[text, {**values, "noise_concat": stack, LAYOUT: layout.name}] for text, values in conditioning]


def channel_route(model, layout: Layout) -> str:
    """"native" or "added": how a MODEL gets a layout's channels.

    Raises:
        ValueError: the MODEL is not SD1.5, or has other channels (8 are taken for instruct-pix2pix).
    """
    return layout.route(unet_shape(model).in_channels)


def carry(conditioning: dict, in_channels: int) -> None:
    """Before sampling: move our stack beside the input of a U-Net that does not take it natively (changes the dictionary)."""
    layout = LAYOUTS.get(conditioning.get(LAYOUT))
    if layout is None or in_channels == layout.total or "noise_concat" not in conditioning:
        return
    stack = conditioning.pop("noise_concat")
    extra = comfy.conds.CONDNoiseShape(stack)
    conditioning["model_conds"] = {**conditioning.get("model_conds", {}), f"{EXTRA}{STACK}": extra}
    if in_channels == HOST_INPAINT.total:
        conditioning["noise_concat"] = layout.host_inpaint(stack)


def check_input(unet, x: Tensor) -> None:
    """Refuse an input of another channel count than the U-Net takes, before its first convolution does.

    Raises:
        ValueError: says what is missing.
    """
    if x.shape[1] != unet.in_channels:
        owners = " or ".join(layout.label for layout in LAYOUTS.values() if layout.total == unet.in_channels) or "another project"
        raise ValueError(
            f"The MODEL takes {unet.in_channels} input channels and {x.shape[1]} came; connect both outputs, positive and negative, of the "
            f"conditioning node of the method it was made for ({owners}) to the sampler, or load another checkpoint."
        )
