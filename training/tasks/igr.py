"""IGR in training: GarmNet, the low-level path and the denoiser learn; the flat product picture is what is drawn.

Paper (section 4.1): 1024 x 768, AdamW, 1e-5, batch 32 over four GPUs (ZeRO-2); a coarse stage on everything, then a fine one on the
hand-picked fifth (`FittingRoomCurate` gives it). Text, reference and image tokens are dropped together for guidance (p 0.1, ours).
"""

from __future__ import annotations

import torch
from torch import Tensor

from ...data.sample import Sample
from ...models.igr import CATEGORIES
from ...models.parts.reference import Reference
from ...models.parts.tokens import ImageTokens
from ...models.parts.watch import Watch
from ...preprocess.garment_crop import crop_garment
from ..outputs import Batch
from .base import Encoded, Task, as_mask

SLOTS = {"dress": "full"}


class IGRTask(Task):
    """The garment of a person's picture, flat."""

    kind = "igr"
    defaults = {
        "steps": 40_000, "batch": 32, "learning_rate": 1e-5, "schedule": "constant", "width": 768, "height": 1024, "drop": 0.1, "precision": "bf16",
    }

    options = {"garmnet": True}  # False leaves GarmNet's reference out, table 2's first row

    def setup(self, method) -> None:
        """GarmNet as a U-Net that learns."""
        if "garmnet" not in method.unets:
            raise ValueError("This IGR method has no GarmNet (it comes from an IP-Adapter alone); start from New Fitting Method, or give the adapter an IGR method to join.")
        self.parts["garmnet"] = self.studio.unet(method.unets["garmnet"])
        config = self.module.config
        if config.adapter != "none":
            config.check_encoder(self._state(None).shape[-1])

    def _state(self, picture: Tensor | None) -> Tensor:
        """What the projector reads of a picture, or its null."""
        if self.studio.clip_vision is None:
            raise ValueError(f"IGR's {self.module.config.adapter} adapter looks at the garment with an image encoder; connect a CLIP vision model.")
        said = getattr(self.studio.image_prompt(picture), self.module.reads)
        return said * 0 if picture is None and self.module.reads == "embedding" else said  # the base layout's own null

    def encode(self, sample: Sample) -> Encoded:
        """z0 of the flat garment; the person's latent and mask for GarmNet; states of the garment cut out; texts."""
        item, config = sample.item, self.module.config
        category = SLOTS.get(item.slot, item.slot if item.slot in CATEGORIES else sample.category or "upper")
        if item.worn is None or not bool((item.worn > 0.5).any()):
            raise ValueError(f"{sample.name} has no mask of the worn garment, and IGR must know where it is; give one, or a parse map.")
        tensors = {
            "z0": self.studio.latent(item.picture[None])[0], "person_latent": self.studio.latent(sample.person[None])[0],
            "worn": as_mask(item.worn), "text": self.studio.text(config.prompt(category)),
        }
        if config.adapter != "none":
            crop = crop_garment(sample.person.movedim(0, -1)[None], item.worn[None], self.studio.clip_vision.image_size, config.crop_margin, config.crop_fill)
            tensors["states"] = self._state(crop[0].movedim(-1, 0))
        return Encoded(sample.name, tensors, {"category": category})

    def target(self, sample: Sample) -> Tensor:
        """The flat garment."""
        return sample.item.picture

    def identity(self) -> str:
        """The cut-out's settings and the prompts are part of what is kept."""
        config = self.module.config
        return f"{super().identity()} {config.adapter} {config.crop_margin} {config.crop_fill} {config.prompts}"

    def predict(self, batch: Batch, z_t: Tensor, t: Tensor, kept: Tensor, watch: Watch | None = None) -> Tensor:
        """The denoiser with equations 3 and 4 on it; GarmNet runs at t = 0 on the clean person."""
        config, text = self.module.config, batch.tensors["text"]
        references = self.references(batch, config, text) if self.setting["garmnet"] else []
        patches = self.module.patches(references, self.tokens(batch))
        return self.studio.run(self.base, z_t, t, self.dropped_text(text, kept, self.empty_text()), [patches], kept, watch=watch)

    def references(self, batch: Batch, config, text: Tensor) -> list[Reference]:
        """GarmNet's features of the person, with gradient to it."""
        seen = self.module.garmnet_input(batch.tensors["person_latent"], batch.tensors["worn"])
        read = {"category": text, "empty": self.dropped_text(text, torch.zeros_like(batch.kept), self.empty_text()), "none": None}[config.garmnet_text]
        features = self.studio.features(self.parts["garmnet"], seen, read)
        return [Reference(self.kind, batch.text["category"], features, tuple(8 * s for s in seen.shape[-2:]))]

    def tokens(self, batch: Batch) -> ImageTokens | None:
        """The garment's tokens and their null, with gradient to the projector."""
        states = batch.get("states")
        if states is None:
            return None
        if not hasattr(self, "_null"):
            self._null = self._state(None)
        with self.studio.computing():
            both = self.module.image_proj(torch.cat((states, self._null.to(states)[None])))
        return ImageTokens(both[:-1], both[-1:])
