"""IP-Adapter files for SD1.5 as IGR's low-level path.

The files hold two dictionaries, `image_proj` (the projector) and `ip_adapter` (K and V of sixteen cross-attentions,
numbered 1, 3 ... 31 in diffusers' order: down, up, middle). IGR keeps these names, so converting is checking: which
layout it is, for which U-Net, and that nothing is missing. Trainers write `adapter_modules` for `ip_adapter`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from torch import Tensor

from ..igr import IGR, INDEX_OF, IGRConfig
from ..parts.sites import DIFFUSERS_ORDER, UNetShape
from ..weights import Header, WeightsError

FAMILY = "ip_adapter"
LICENSE = "Apache-2.0"
USE = "use ip-adapter_sd15, ip-adapter-plus_sd15 or ip-adapter-full-face_sd15"


def matches(names) -> bool:
    """Whether a file's tensor names look like an IP-Adapter's."""
    return any(n.startswith("image_proj.") for n in names) and any(n.startswith(("ip_adapter.", "adapter_modules.")) for n in names)


def adapter_tensors(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The two parts of an IP-Adapter under the official names; whatever else a trainer's file holds is left out."""
    named = {k.replace("adapter_modules.", "ip_adapter.", 1): t for k, t in tensors.items()}
    return {k: t for k, t in named.items() if k.startswith(("image_proj.", "ip_adapter."))}


def layout(tensors: Mapping[str, Tensor]) -> IGRConfig:
    """The configuration that an IP-Adapter's tensors ask for (official names).

    Raises:
        WeightsError: FaceID, portrait, SDXL and other layouts, by name.
    """
    if any("_lora." in k for k in tensors):
        raise WeightsError(f"This is an IP-Adapter FaceID file, which looks at faces and not at garments; {USE}.")
    if "image_proj.proj.2.weight" in tensors and "image_proj.proj.3.weight" not in tensors:
        raise WeightsError(f"This is an IP-Adapter portrait file, which looks at faces and not at garments; {USE}.")
    numbers = sorted(int(k.split(".")[1]) for k in tensors if k.endswith(".to_k_ip.weight"))
    if not numbers or not any(k.startswith("image_proj.") for k in tensors):
        raise WeightsError(f"This is no IP-Adapter, whose file has the keys image_proj.* and ip_adapter.1.to_k_ip.weight; {USE}.")
    if numbers != sorted(INDEX_OF.values()):
        raise WeightsError(f"This IP-Adapter has {len(numbers)} cross-attentions where SD1.5 has sixteen (1, 3 ... 31); {USE}.")
    shape = _shape(tensors)
    if "image_proj.latents" in tensors:
        width, count, kind = tensors["image_proj.proj_in.weight"].shape[1], tensors["image_proj.latents"].shape[1], "plus"
    elif "image_proj.proj.3.weight" in tensors:
        width, count, kind = tensors["image_proj.proj.0.weight"].shape[1], 0, "full-face"
    elif "image_proj.proj.weight" in tensors:
        weight = tensors["image_proj.proj.weight"]
        width, count, kind = weight.shape[1], weight.shape[0] // shape.context_dim, "base"
    else:
        raise WeightsError(f"This IP-Adapter's projector has none of the known layouts (base, plus, full-face); {USE}.")
    return IGRConfig(shape, kind, width, count, garmnet=False)


def _shape(tensors: Mapping[str, Tensor]) -> UNetShape:
    channels, context = tensors[f"ip_adapter.{INDEX_OF[DIFFUSERS_ORDER[0]]}.to_k_ip.weight"].shape
    return UNetShape(model_channels=channels, context_dim=context)


def convert(
    tensors: Mapping[str, Tensor], source: str = "an IP-Adapter file", like: IGRConfig | None = None
) -> tuple[Header, dict[str, Tensor]]:
    """An IP-Adapter as weights of IGR's low-level path.

    Args:
        tensors: as read (`weights.read_foreign`).
        source: where they come from, for the header.
        like: an IGR configuration whose GarmNet, prompts and crop go on being used; None for the low-level path alone.

    Returns:
        header and tensors for `weights.write`; GarmNet's and the denoiser's own tensors are not among them.

    Raises:
        WeightsError: another kind of file, or one for a U-Net of another width than `like`.
    """
    tensors = adapter_tensors(tensors)
    config = layout(tensors)
    if like is not None:
        for name, label in (("model_channels", "width"), ("context_dim", "token width")):
            came, wanted = getattr(config.unet, name), getattr(like.unet, name)
            if came != wanted:
                raise WeightsError(
                    f"This IP-Adapter was made for a U-Net of {label} {came}, and the IGR method has {wanted}; use files of one family."
                )
        config = replace(like, adapter=config.adapter, clip_width=config.clip_width, tokens=config.tokens)
    header = Header(method=IGR.kind, config=config.to_dict(), trained="released", data="see the source", source=source, license=LICENSE)
    return header, dict(tensors)
