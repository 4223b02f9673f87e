"""PM-Jewelry in training: encoder, zero cross-attentions and added channels, and the shadow module, learn beside a frozen denoiser.

Paper (appendix B.2): AdamW 1e-4, batch 24, 400 000 steps, then 40 000 with the attention term at 0.001; flips, shifts and scalings of
0.2 (p 0.5), contrast and colour on both pictures. 512 x 384.
"""

from __future__ import annotations

from torch import Tensor

from ...data.sample import Sample
from ...models.parts.shadow import PICTURE, pack_picture
from ...models.parts.watch import Watch
from ...preprocess.jewelry_maps import latent_grid, map_channel
from ...preprocess.masks import agnostic_image
from ...preprocess.saliency import saliency
from ..outputs import Batch
from .base import Encoded, Task, as_bytes, as_mask
from .sift_vton import channels_in, padded_matches


class PMJewelryTask(Task):
    """A piece of jewelry on the head or hand that wears it."""

    kind, fills_hole = "pm_jewelry", True
    defaults = {
        "steps": 400_000, "batch": 24, "learning_rate": 1e-4, "schedule": "constant", "width": 384, "height": 512, "drop": 0.1, "precision": "bf16",
        "variants": 8,
        "augment": {"flip": 0.5, "move": 0.5, "shift": 0.2, "scale": 0.2, "item_shift": 0.2, "item_scale": 0.2, "contrast": 0.3, "hue": 0.02, "colour": 0.5},
    }
    options = {"soft_shadow": False, "outside": 1.0}

    def encode(self, sample: Sample) -> Encoded:
        """z0 of the picture; masked picture, mask and maps at latent size; the piece's latent; the prompt; masks for the losses."""
        mask, item = sample.need("mask", "PM-Jewelry must know what is repainted (1 = repaint)"), sample.item
        picture = sample.person.movedim(0, -1)[None]
        masked = self.studio.latent(agnostic_image(picture, mask[None]).movedim(-1, 1))
        depth = sample.need("depth", "PM-Jewelry looks at depth; add depth pictures (near = bright), for instance with the Depth Preprocessor")
        salient = saliency(picture) if sample.saliency is None else sample.saliency[None]
        tensors = {
            "z0": self.studio.latent(sample.person[None])[0], "stack": self._stack(masked, mask[None], depth[None], salient)[0],
            "jewelry": self.studio.latent(item.on_white()[None])[0], "text": self.studio.text(sample.caption), "mask": as_mask(mask),
            "person": as_bytes(sample.person),
        }
        if item.mask is not None:
            tensors["item_mask"] = as_mask(item.mask)
        if sample.shadow is not None:
            tensors["shadow"] = as_mask(sample.shadow)
        return Encoded(sample.name, tensors | padded_matches(item.matches))

    def _stack(self, masked: Tensor, mask: Tensor, depth: Tensor, salient: Tensor) -> Tensor:
        config = self.module.config
        if config.maps == "encoded":
            maps = [self.studio.latent(m.expand(-1, 3, -1, -1)) for m in (depth, salient)]
        else:
            maps = [map_channel(m) for m in (depth, salient)]
        return config.layout.stack(masked=masked, mask=latent_grid(mask).to(masked), depth=maps[0], saliency=maps[1])

    def identity(self) -> str:
        """How maps enter is part of what is kept."""
        return f"{super().identity()} {self.module.config.maps}"

    def predict(self, batch: Batch, z_t: Tensor, t: Tensor, kept: Tensor, watch: Watch | None = None) -> Tensor:
        """The denoiser with the added channels, the piece's nine cross-attentions, and equation 5."""
        config, layout = self.module.config, self.module.config.layout
        patches, extras, x = [], {}, z_t
        if config.encoder:
            x, extras = channels_in(batch.tensors["stack"], z_t, self.studio.shape.in_channels, layout)
            patches = [self.module.patches(batch.tensors["jewelry"])]
        if config.shadow:
            picture = batch.tensors["person"].float() / 255
            extras = {**extras, PICTURE: pack_picture(picture, batch.tensors["mask"])}
            patches.append(self.module.shadow_at_work(soft=self.setting["soft_shadow"]).patches())
        context = self.dropped_text(batch.tensors["text"], kept, self.empty_text())
        return self.studio.run(self.base, x, t, context, patches, kept, extras, watch)
