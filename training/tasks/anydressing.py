"""AnyDressing in training: the LoRAs of the garment net and the second attention learn, the denoiser stays as it is.

Paper (section 4.1 and appendix): 768 x 576, AdamW, constant 5e-5, 100 000 steps, batch 4 on each of 8 GPUs; loss weights of
`models.anydressing`. Guidance needs no dropped garments, because unconditional rows are the frozen SD1.5 itself (eq. 16);
single garments are left out instead (`garment_drop`, ours), so that any subset works. lambda is 1 in training.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ...data.sample import Sample
from ...models.parts.reference import Reference
from ...models.parts.watch import Watch
from ..outputs import Batch
from .base import Encoded, Task, as_bytes


class AnyDressingTask(Task):
    """Garments of a sample, each with the LoRA of its slot, together in one attention."""

    kind = "anydressing"
    defaults = {"steps": 100_000, "batch": 4, "learning_rate": 5e-5, "schedule": "constant", "width": 576, "height": 768, "precision": "bf16"}
    options = {"garment_drop": 0.1}

    def setup(self, method) -> None:
        """A garment U-Net of the file's own, where it brings one."""
        if self.module.config.cross_attention != "none":
            raise ValueError("This AnyDressing file looks at image tokens (IMAGDressing's form), which is not trained here; start from New Fitting Method.")
        if "garment_unet" in method.unets:
            self.parts["garment_unet"] = self.studio.unet(method.unets["garment_unet"])

    def encode(self, sample: Sample) -> Encoded:
        """z0 of the person, tokens of the caption, and per garment its latent and its mask on the person (zeros: not known)."""
        if not sample.items:
            raise ValueError(f"{sample.name} has no garment, and AnyDressing learns from persons with the garments they wear.")
        tensors = {"z0": self.studio.latent(sample.person[None])[0], "text": self.studio.text(sample.caption)}
        slots = []
        for number, item in enumerate(sample.items):
            try:
                self.module.check_slot(item.slot)
            except ValueError as error:
                raise ValueError(f"{sample.name}: {error} Start from a method with this slot (options of New Fitting Method), or rename the folder.") from None
            slots.append(item.slot)
            tensors[f"garment{number}"] = self.studio.latent(item.on_white()[None])[0]
        if all(item.worn is not None for item in sample.items):
            tensors["worn"] = torch.stack([(item.worn[0] > 0.5) for item in sample.items])  # (N,H,W)
        tensors["person"] = as_bytes(sample.person)  # equations 12 and 13 compare pictures, not latents
        return Encoded(sample.name, tensors, {"slots": slots})

    def vary(self, encoded: Encoded, generator: torch.Generator) -> Encoded:
        """Some garments are left out, never all."""
        slots = encoded.text["slots"]
        stays = torch.rand(len(slots), generator=generator) >= self.setting["garment_drop"]
        if not stays.any():
            stays[int(torch.randint(len(slots), (), generator=generator))] = True
        chosen = [i for i in range(len(slots)) if stays[i]]
        tensors = {k: t for k, t in encoded.tensors.items() if not k.startswith("garment")}
        tensors |= {f"garment{new}": encoded.tensors[f"garment{old}"] for new, old in enumerate(chosen)}
        if "worn" in tensors:
            tensors["worn"] = tensors["worn"][chosen]
        return Encoded(encoded.name, tensors, {"slots": [slots[i] for i in chosen]})

    def garments(self, batch: Batch) -> list[Reference]:
        """The garments' features, with gradient to their LoRAs: one reference pass per size, all slots of that size in it."""
        latents = [batch.tensors[f"garment{i}"] for i in range(len(batch.text["slots"]))]
        rows = [slot for slot in batch.text["slots"] for _ in batch.names]
        features = self.studio.features(self.parts.get("garment_unet", self.base), torch.cat(latents), lora=self.module.garment_lora(rows))
        count, out = len(batch), []
        for number, slot in enumerate(batch.text["slots"]):
            mine = {site: f[number * count : (number + 1) * count] for site, f in features.items()}
            out.append(Reference(self.kind, slot, mine, tuple(8 * s for s in latents[number].shape[-2:])))
        return out

    def predict(self, batch: Batch, z_t: Tensor, t: Tensor, kept: Tensor, watch: Watch | None = None) -> Tensor:
        """The frozen denoiser with eq. 6 on it."""
        garments = self.garments(batch)
        context = self.dropped_text(batch.tensors["text"], kept, self.empty_text())
        return self.studio.run(self.base, z_t, t, context, [self.module.patches(garments, 1.0)], kept, watch=watch)
