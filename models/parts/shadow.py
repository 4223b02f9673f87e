"""The shadow module: where a shadow falls, and how it changes the predicted noise (PM-Jewelry, section 3, eq. 4-7).

PM-Jewelry takes it from SGDiffusion (shadow generation on DESOBAv2), whose layout and key names are kept so that weights
can be exchanged (`parts/shadow_nets.py`). A mask M is predicted from what the decoder sees, at every step; a scale s and
a bias b per latent channel are predicted from the picture, once.

Equation 5 changes the noise inside the mask:

    eps_hat = (s * eps + b) * M + eps * (1 - M)                                                    (5)

With s = 1 + d this is eps + M * (d * eps + b), which is what `adjust` computes: for d = b = 0 it is eps, bit for bit, for a
soft mask too.

Differs from the paper or from SGDiffusion:
- The paper names "modified VGG blocks" (a citation of spiking networks); the mask is predicted as in SGDiffusion.
- SGDiffusion predicts s itself and starts near s = 0, which would erase the noise in the mask. Here s = 1 + d, and the
  last layer starts at zero, so an untrained module changes nothing. (Theirs becomes ours by fc.bias[:4] -= 1.)
- SGDiffusion is bound to 512x512; here the grid is the latent's own (h, w), of any size.
- Batch normalisation is folded into the convolutions: rows of a batch must not influence each other, in training neither.
- SGDiffusion modulates each half of classifier-free guidance before they are combined; so does this (`all_rows`).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor
from torch.nn.functional import pixel_shuffle, pixel_unshuffle

from .patches import Call, Patches
from .shadow_nets import ShadowModule, resize
from .watch import SHADOW

PICTURE = "jewelry_picture"
"""Name under which the picture that the module looks at travels in `Call.extras` (`pack_picture`)."""


def pack_picture(rgb: Tensor, mask: Tensor, shadows: Tensor | None = None) -> Tensor:
    """What `scale_encoder` looks at, folded to the latent's size so that it can travel row-aligned in a conditioning.

    Args:
        rgb: (B,3,H,W), 0..1, sides multiples of 8.
        mask: (B,1,H,W), 1 = the jewelry's region.
        shadows: (B,1,H,W), 1 = a shadow that is already in the picture; None for none.

    Returns:
        (B,5*64,H/8,W/8): nothing is lost, `unpack_picture` is the inverse.
    """
    shadows = torch.zeros_like(mask) if shadows is None else shadows
    return pixel_unshuffle(torch.cat((rgb, mask, shadows), 1), 8)


def unpack_picture(packed: Tensor) -> Tensor:
    """(B,320,h,w) -> (B,5,8h,8w), the inverse of `pack_picture`."""
    return pixel_shuffle(packed, 8)


def hard_mask(soft: Tensor, size: tuple[int, int], threshold: float = 0.5) -> Tensor:
    """The mask of eq. 5 at inference: resized to the latent (corners aligned), 1 where above the threshold.

    Args:
        soft: (R,1,8h,8w), 0..1.
        size: (h, w).

    Returns:
        (R,1,h,w) of zeros and ones, in the dtype of `soft`.
    """
    return (resize(soft, size) > threshold).to(soft.dtype)


def adjust(eps: Tensor, mask: Tensor, delta: Tensor, bias: Tensor) -> Tensor:
    """Equation 5 with s = 1 + delta: eps + mask * (delta * eps + bias).

    Args:
        eps: (R,C,h,w) predicted noise.
        mask: (R,1,h,w), hard or soft.
        delta, bias: (R,C,1,1).
    """
    return eps + mask * (delta * eps + bias)


@dataclass(frozen=True)
class Shadow:
    """The shadow module at work: eq. 5 as a change of the predicted noise.

    Attributes:
        module: the weights.
        strength: of the change; 0 is none, 1 the paper's.
        threshold: the mask is 1 where the soft mask is above it.
        max_timestep: acts only at timesteps below it (SGDiffusion: 700).
        soft: use the soft mask in eq. 5, so that gradient reaches its predictor (training; a hard mask lets none through).
    """

    module: ShadowModule
    strength: float = 1.0
    threshold: float = 0.5
    max_timestep: float = 700.0
    soft: bool = False

    def patches(self) -> Patches:
        """What eq. 5 asks of the denoiser; nothing at strength 0."""
        if self.strength == 0.0:
            return Patches()
        return Patches(noise=partial(self.change, object()), wants_features=True, all_rows=True)

    def change(self, generation: object, eps: Tensor, features: list[Tensor], call: Call) -> Tensor:
        """Equation 5 on the rows whose timestep is low enough; the others come back as they were.

        Args:
            generation: owner of what is kept for the generation.
            eps: (R,4,h,w). features: outputs of the twelve output blocks. call: this forward.

        Raises:
            ValueError: the conditioning brings no picture.
        """
        acting = call.select(call.timesteps) < self.max_timestep  # (R,)
        if not bool(acting.any()):
            return eps
        picture = picture_of(call)
        logits = self.module.mask_logits(features, picture)
        if call.probe is not None and call.probe.wants(SHADOW):
            call.probe.see(SHADOW, images=call.images, logits=logits, acting=acting)
        soft = logits.sigmoid()
        size = eps.shape[-2:]
        mask = (resize(soft, size) if self.soft else hard_mask(soft, size, self.threshold)).to(eps)
        delta, bias = (t.to(eps) * self.strength for t in self._scale_bias(generation, picture, call))
        return torch.where(acting[:, None, None, None], adjust(eps, mask, delta, bias), eps)

    def probe(self, masks: dict[int, Tensor]) -> Patches:
        """Patches that change nothing and put the soft mask (1,8h,8w) of each image of the latent batch into `masks`.

        Where several conditionings speak of one image, the larger value counts.
        """

        def look(eps: Tensor, features: list[Tensor], call: Call) -> Tensor:
            for image, soft in zip(call.images, self.module.soft_mask(features, picture_of(call))):
                masks[image] = self._larger(masks.get(image, soft), soft)
            return eps

        return Patches(noise=look, wants_features=True)

    @staticmethod
    def _larger(one: Tensor, other: Tensor) -> Tensor:
        if one.shape != other.shape:
            raise ValueError(
                "The conditioning covers areas of several sizes, so there is no one shadow mask; look at one conditioning without an area."
            )
        return torch.maximum(one, other)

    def _scale_bias(self, generation: object, picture: Tensor, call: Call) -> tuple[Tensor, Tensor]:
        """Computed once per picture and generation: rows of one conditioning, and its negative, share a picture."""
        if torch.is_grad_enabled():
            return self.module.scale_bias(picture.float())
        rows = [call.recall(generation, row, lambda row=row: self.module.scale_bias(row[None].float())) for row in picture]
        return tuple(torch.cat(parts) for parts in zip(*rows))


def picture_of(call: Call) -> Tensor:
    """What the shadow module looks at, (R,5,H,W).

    Raises:
        ValueError: the conditioning does not bring it.
    """
    if PICTURE not in call.extras:
        raise ValueError(
            "The Shadow Module needs the head picture and the jewelry mask, and a conditioning came without them; connect both outputs, "
            "positive and negative, of Jewelry Conditioning to the sampler."
        )
    return unpack_picture(call.select(call.extras[PICTURE]))
