"""SIFT-VTON and StableVITON in training: garment encoder, zero cross-attentions, and (SIFT-VTON) the denoiser's decoder learn.

StableVITON: AdamW 1e-4, batch 32, then a second stage with the attention's total variation at 0.001, starting from the first.
SIFT-VTON (section 4.1 and its released settings): starts from StableVITON, AdamW 1e-4 with 100 steps of warm-up, batch 32, 160 epochs,
min-SNR gamma 5, lambda_SIFT 0.0005 for t < 500, flips, HSV 5/255, contrast 0.3. 512 x 384.
Dropped rows (p 0.1, StableVITON 0.2) are the unconditional rows of sampling, as the file's `unconditional` says.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ...data.sample import Sample
from ...models.parts.channels import HOST_INPAINT, STACK, TRY_ON
from ...models.parts.watch import Watch
from ...preprocess.masks import agnostic_image
from ...preprocess.try_on import latent_mask
from ..outputs import Batch
from .base import Encoded, Task, as_mask

MOST_MATCHES = 512
"""Matches kept per sample, so that samples have equal shapes; more are thinned out evenly."""


class SiftVtonTask(Task):
    """A garment on the person who wears it."""

    kind, fills_hole = "sift_vton", True
    defaults = {
        "steps": 53_000, "batch": 32, "learning_rate": 1e-4, "schedule": "constant", "warmup": 100, "width": 384, "height": 512, "drop": 0.1,
        "min_snr": 5.0, "precision": "bf16", "variants": 8, "augment": {"flip": 0.5, "brightness": 0.1, "contrast": 0.3, "hue": 0.02, "saturation": 0.02, "colour": 0.5},
    }

    options = {"outside": 1.0}

    def setup(self, method) -> None:
        """The image encoder that the token needs."""
        self.studio.need_vision("clip_vision_model", self.module.config.image_width, "this SIFT-VTON method")
        TRY_ON.route(self.studio.shape.in_channels)

    def encode(self, sample: Sample) -> Encoded:
        """z0 of the person; agnostic, mask, pose and garment at latent size; the garment's pooled vector; matches."""
        mask = sample.need("mask", "SIFT-VTON must know what is repainted")
        pose = sample.need("pose", "SIFT-VTON looks at a DensePose picture of the person")
        item, config = sample.item, self.module.config
        agnostic = agnostic_image(sample.person.movedim(0, -1)[None], mask[None])
        latents = [self.studio.latent(p)[0] for p in (sample.person[None], agnostic.movedim(-1, 1), pose[None], item.picture[None])]
        small = latent_mask((mask[None] >= 0.5).float(), tuple(latents[0].shape[-2:]), config.antialias)
        tensors = {
            "z0": latents[0], "stack": TRY_ON.stack(masked=latents[1][None], mask=small, pose=latents[2][None])[0], "garment": latents[3],
            "mask": as_mask(mask), "pooled": self.studio.vision(item.picture, antialias=config.antialias).pooled,
        }
        if item.worn is not None:
            tensors["worn"] = as_mask(item.worn)
        tensors |= padded_matches(item.matches)
        return Encoded(sample.name, tensors)

    def identity(self) -> str:
        """How pictures are shrunk is part of what is kept."""
        return f"{super().identity()} {self.module.config.antialias} with mask"

    def predict(self, batch: Batch, z_t: Tensor, t: Tensor, kept: Tensor, watch: Watch | None = None) -> Tensor:
        """The denoiser with the garment's nine cross-attentions; dropped rows get the learned token."""
        with self.studio.computing():
            token = self.module.token(batch.tensors["pooled"])
        context = torch.where(kept[:, None, None], token, self.module.token.nulls(token))
        x, extras = channels_in(batch.tensors["stack"], z_t, self.studio.shape.in_channels, TRY_ON)
        return self.studio.run(self.base, x, t, context, [self.module.patches(batch.tensors["garment"])], kept, extras, watch)


def channels_in(stack: Tensor, z_t: Tensor, in_channels: int, layout) -> tuple[Tensor, dict[str, Tensor]]:
    """What a U-Net gets of a layout's stack at its input, (B,Cin,h,w), and what travels beside it."""
    if layout.route(in_channels) == "native":
        return torch.cat((z_t, stack), 1), {}
    beside = {STACK: stack}
    return (torch.cat((z_t, layout.host_inpaint(stack)), 1), beside) if in_channels == HOST_INPAINT.total else (z_t, beside)


def padded_matches(matches: Tensor | None, most: int = MOST_MATCHES) -> dict[str, Tensor]:
    """"matches" (most,2,2) and "matches_valid" (most,); none at all where nobody looked for them counts as none found."""
    points, valid = torch.zeros(most, 2, 2), torch.zeros(most, dtype=torch.bool)
    if matches is not None and len(matches):
        count = min(len(matches), most)
        chosen = torch.linspace(0, len(matches) - 1, count).round().long()
        points[:count], valid[:count] = matches[chosen], True
    return {"matches": points, "matches_valid": valid}
