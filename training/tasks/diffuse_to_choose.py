"""Diffuse to Choose in training: the hint pathway, the tokens and the denoiser's text projections learn to draw a product into a hole.

Paper (section 4): 512 x 512, AdamW, constant 1e-5, 40 epochs, flips and rotations only; half of the masks are their bounding boxes
(section 5.1). Guidance drops the tokens alone (p 0.2, Paint by Example's), the hint stays, as ControlNet's does.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ...data.sample import Sample
from ...models.diffuse_to_choose import DiffuseToChoose
from ...models.parts.channels import HOST_INPAINT, LATENT_CHANNELS, MASKED_EXTRA
from ...models.parts.tokens import nulls
from ...models.parts.watch import Watch
from ...preprocess.hint import over_masked, place_hint
from ...preprocess.masks import agnostic_image, augment
from ..outputs import Batch
from ..trainable import add_differences
from .base import Encoded, Task, as_bytes, as_mask

MODES = ("fine", "box")


class DiffuseToChooseTask(Task):
    """A product drawn into the hole of its scene."""

    kind, fills_hole = "diffuse_to_choose", True
    defaults = {
        "steps": 100_000, "batch": 8, "learning_rate": 1e-5, "schedule": "constant", "width": 512, "height": 512, "drop": 0.2,
        "precision": "bf16", "variants": 8, "augment": {"flip": 0.5, "rotate": 10},
    }
    options = {"box_masks": 0.5, "hint_drop": 0.0, "outside": 1.0}

    def setup(self, method) -> None:
        """Let the method's differences act on the denoiser's own cross-attention, so that they learn."""
        module: DiffuseToChoose = self.module
        module.check_base(self.studio.shape.in_channels)
        names = {k: module.to_file(f"cross.{k}.weight").removeprefix("cross.") for k in module.cross}
        add_differences(self.base, {names[k]: layer for k, layer in module.cross.items()})
        config = module.config
        kind = "dinov2" if config.image_encoder.startswith("dino") else "clip_vision_model"
        self.studio.need_vision(kind, config.token_width, "this Diffuse to Choose method")

    def identity(self) -> str:
        """How hints are made is part of what is kept."""
        config = self.module.config
        return f"{super().identity()} {config.hint} {config.fit} {config.source} {config.image_encoder}"

    def encode(self, sample: Sample) -> Encoded:
        """z0 of the picture, states of the product, and per form of the mask (as it is, its box) masked latent, mask and hint."""
        mask = sample.need("mask", "Diffuse to Choose must know where the product goes (1 = repaint)")
        config, item = self.module.config, sample.item
        states = self.studio.final_norm(self.studio.vision(item.picture, like_host=True).last)
        tensors = {
            "z0": self.studio.latent(sample.person[None])[0], "person": as_bytes(sample.person),
            "states": states[:1] if config.image_encoder == "clip_cls" else states,
        }
        picture = sample.person.movedim(0, -1)[None]
        for mode in MODES:
            region = augment(mask[None], mode)
            tensors[f"masked_{mode}"] = self.studio.latent(agnostic_image(picture, region).movedim(-1, 1))[0]
            tensors[f"mask_{mode}"] = as_mask(region[0])
            if config.hint != "off":
                tensors[f"hint_{mode}"] = self._hint(item, picture, region)
        return Encoded(sample.name, tensors)

    def _hint(self, item, picture: Tensor, region: Tensor) -> Tensor:
        config = self.module.config
        source = config.source if config.source in ("rgb", "canny", "canny_rgb") else "rgb"
        cut = None if item.mask is None else item.mask[None]
        hint, boxes, _ = place_hint(item.picture.movedim(0, -1)[None], region, config.fit, source, cut)
        if config.hint == "latent":
            return self.studio.latent(over_masked(hint, boxes, picture, region).movedim(-1, 1))[0]
        return as_bytes(hint[0].movedim(-1, 0))

    def vary(self, encoded: Encoded, generator: torch.Generator) -> Encoded:
        """The mask as it is, or its box; the hint, or none."""
        mode = MODES[int(torch.rand((), generator=generator) < self.setting["box_masks"])]
        bare = bool(torch.rand((), generator=generator) < self.setting["hint_drop"])
        tensors = {k: t for k, t in encoded.tensors.items() if not k.endswith(MODES)}
        tensors |= {name: encoded.tensors[f"{name}_{mode}"] for name in ("masked", "mask", "hint") if f"{name}_{mode}" in encoded.tensors}
        if bare and "hint" in tensors:
            tensors["hint"] = torch.zeros_like(tensors["hint"])
        return Encoded(encoded.name, tensors, encoded.text)

    def predict(self, batch: Batch, z_t: Tensor, t: Tensor, kept: Tensor, watch: Watch | None = None) -> Tensor:
        """The denoiser on the masked picture, with the hint's modulation; dropped rows get the learned null in place of tokens."""
        with self.studio.computing():
            tokens = self.module.tokens(batch.tensors["states"])
        context = torch.where(kept[:, None, None], tokens, nulls(self.module.tokens, tokens))
        x, extras = self.input(batch, z_t)
        hint = batch.get("hint")
        if hint is not None and hint.dtype is torch.uint8:
            hint = hint.float() / 255
        return self.studio.run(self.base, x, t, context, [self.module.patches(hint)], kept, extras, watch)

    def input(self, batch: Batch, z_t: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """(B,Cin,h,w) in the host's order for an inpainting base; otherwise z_t alone, the masked picture beside it."""
        masked = batch.tensors["masked"]
        if self.studio.shape.in_channels == LATENT_CHANNELS:
            return z_t, {MASKED_EXTRA: masked}
        mask = torch.nn.functional.interpolate(batch.tensors["mask"], z_t.shape[-2:], mode="bilinear").round()
        return torch.cat((z_t, HOST_INPAINT.stack(mask=mask, masked=masked)), 1), {MASKED_EXTRA: masked}
