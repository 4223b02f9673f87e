"""What the Paint-by-Example line of checkpoints has in common: how its keys are sorted, and what becomes of each part."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from ..parts.sites import UNetShape
from ..weights import PREFIX, Header, WeightsError

UNET, VAE, VISION = "model.diffusion_model.", "first_stage_model.", "cond_stage_model.transformer."
HEADS = 8  # of SD1.5; files do not say
SCHEDULE = {
    "betas", "alphas_cumprod", "alphas_cumprod_prev", "sqrt_alphas_cumprod", "sqrt_one_minus_alphas_cumprod",
    "log_one_minus_alphas_cumprod", "sqrt_recip_alphas_cumprod", "sqrt_recipm1_alphas_cumprod", "posterior_variance",
    "posterior_log_variance_clipped", "posterior_mean_coef1", "posterior_mean_coef2", "lvlb_weights",
}
SCHEDULE_REASON = "the noise schedule, which is Stable Diffusion's own and computed"


@dataclass(frozen=True)
class Companion:
    """A file that the host's own loaders read.

    Attributes:
        folder: which kind of models ("checkpoints", "clip_vision").
        suffix: what its name adds to the method's.
        what: what it is and how it is loaded, for people.
        tensors: in the host's names.
    """

    folder: str
    suffix: str
    what: str
    tensors: Mapping[str, Tensor]

    def metadata(self, header: Header) -> dict[str, str]:
        """What the file says of itself."""
        return {f"{PREFIX}companion": self.what, f"{PREFIX}source": header.source, f"{PREFIX}license": header.license}


class Sorter:
    """Takes a file apart, key by key, and knows what was left."""

    def __init__(self, tensors: Mapping[str, Tensor], label: str):
        self.left, self.label = dict(tensors), label
        self.dropped: list[tuple[int, str, str]] = []

    def take(self, prefix: str, to: str = "") -> dict[str, Tensor]:
        """All tensors below a prefix, the prefix replaced."""
        return {to + k.removeprefix(prefix): self.left.pop(k) for k in list(self.left) if k.startswith(prefix)}

    def one(self, key: str) -> Tensor:
        """One tensor that must be there.

        Raises:
            WeightsError: it is missing.
        """
        if key not in self.left:
            raise WeightsError(f"The {self.label} file lacks {key}; it is incomplete or of another layout, fetch it again.")
        return self.left.pop(key)

    def drop(self, what: str, reason: str, prefixes: tuple[str, ...] = (), names=()) -> None:
        """Leave out what nothing needs, and say so."""
        gone = [k for k in self.left if k in names or (prefixes and k.startswith(prefixes))]
        for key in gone:
            del self.left[key]
        if gone:
            self.dropped.append((len(gone), what, reason))

    def token(self) -> dict[str, Tensor]:
        """The garment's (or example's) token: mapper, norm, projection and learned null, in `parts.tokens.ImageToken`'s names."""
        out = self.take("cond_stage_model.mapper.resblocks.", "token.mapper.") | self.take("cond_stage_model.final_ln.", "token.final_ln.")
        return out | {f"token.proj_out.{n}": self.one(f"proj_out.{n}") for n in ("weight", "bias")} | {"token.null": self.one("learnable_vector")}

    def expect(self, tensors: Mapping[str, Tensor], counts: Mapping[str, int]) -> None:
        """Refuse a file that lacks part of what must be there.

        Args:
            tensors: what was taken.
            counts: how many tensors a whole file has below each prefix.

        Raises:
            WeightsError: says which part has how many.
        """
        for prefix, count in counts.items():
            found = sum(k.startswith(prefix) for k in tensors)
            if found != count:
                raise WeightsError(
                    f"The {self.label} file has {found} tensors for '{prefix}' where a whole one has {count}; "
                    "it is incomplete or of another layout, fetch it again."
                )

    def companions(self, name: str, channels: str) -> tuple[Companion, ...]:
        """The denoiser with the VAE, and the image encoder, as files of their own.

        Raises:
            WeightsError: part of the denoiser or of the VAE is missing.
        """
        self.expect(self.left, {UNET: 686, VAE: 248})
        out = [Companion(
            "checkpoints", "-unet-vae", f"Denoiser ({channels}) and VAE of {name}; load it with Load Checkpoint (its CLIP output is empty).",
            self.take(UNET, UNET) | self.take(VAE, VAE),
        )]
        self.drop("position numbers of the image encoder", "they only count", names={f"{VISION}vision_model.embeddings.position_ids"})
        if vision := self.take(VISION):
            out.append(Companion("clip_vision", "-clip-vision", f"Image encoder (CLIP ViT-L/14, without its projection) of {name}; load it with Load CLIP Vision.", vision))
        return tuple(out)

    def shape(self) -> UNetShape:
        """The denoiser's shape, read off its tensors (which stay).

        Raises:
            WeightsError: the first convolution or the first cross-attention is missing.
        """
        names = (f"{UNET}input_blocks.0.0.weight", f"{UNET}input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight")
        for name in names:
            if name not in self.left:
                raise WeightsError(f"The {self.label} file lacks {name}; it is incomplete or of another layout, fetch it again.")
        first, cross = (self.left[n] for n in names)
        return UNetShape(first.shape[1], first.shape[0], cross.shape[1], HEADS)

    def report(self, head: str, kept: Mapping[str, Tensor], companions: tuple[Companion, ...], license: str) -> tuple[str, ...]:
        """Lines that account for every key; what nobody asked for is named.

        Call it last.
        """
        unknown = sorted(self.left)
        lines = [head, f"Kept {len(kept)} tensors ({millions(kept)} million numbers) in the method's file."]
        for companion in companions:
            numbers = millions(companion.tensors)
            lines.append(f"{len(companion.tensors)} tensors ({numbers} million) go to models/{companion.folder}: {companion.what}")
        lines += [f"Left out {count} tensors, {what}: {reason}." for count, what, reason in self.dropped]
        if unknown:
            lines.append(f"Left out {len(unknown)} tensors that no published file has: {', '.join(unknown[:5])}{' ...' if len(unknown) > 5 else ''}.")
        return (*lines, f"Licence: {license}.")


def millions(tensors: Mapping[str, Tensor]) -> float:
    """Numbers in a set of tensors, in millions."""
    return round(sum(t.numel() for t in tensors.values()) / 1e6, 1)


def columns_behind_latent(first: Tensor) -> Tensor:
    """The columns of a first convolution for the channels behind z_t, of its own memory."""
    return first[:, 4:].detach().clone(memory_format=torch.contiguous_format)
