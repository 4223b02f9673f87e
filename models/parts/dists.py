"""DISTS: how unlike two pictures are in structure and texture (Ding, Ma, Wang and Simoncelli 2020). Differentiable.

Notation. x_j, y_j: channel j of stage i of VGG-16 with L2 pooling (the picture itself is stage 0; relu1_2, 2_2, 3_3, 4_3, 5_3).

    l = (2 mu_x mu_y + c1) / (mu_x^2 + mu_y^2 + c1)            texture (their equation 5)
    s = (2 cov_xy + c2) / (var_x + var_y + c2)                 structure (equation 6)
    D = 1 - sum_ij (alpha_ij l + beta_ij s),  sum alpha + sum beta = 1      (equation 7)

alpha and beta were fitted by the authors; a file with them (1475 numbers each) makes the published metric. Without it every
stage counts the same, and every channel within a stage: a loss of the same kind, but not that metric.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from .layers import Layers
from .vgg import WIDTHS, Vgg

STAGES = ("relu1_2", "relu2_2", "relu3_3", "relu4_3", "relu5_3")
CHANNELS = (3, *WIDTHS)
C1 = C2 = 1e-6


class Dists(nn.Module):
    """D of pairs of pictures. Keys: `vgg.features.`, `alpha` and `beta` (1,1475,1,1)."""

    def __init__(self, layers: Layers):
        super().__init__()
        self.vgg = Vgg(16, layers, pool="l2", last=STAGES[-1])
        even = torch.cat([torch.full((c,), 1 / (2 * len(CHANNELS) * c)) for c in CHANNELS])[None, :, None, None]
        self.alpha, self.beta = nn.Parameter(even.clone()), nn.Parameter(even.clone())

    def features(self, pictures: Tensor) -> list[Tensor]:
        """The picture and its five feature maps. pictures: (B,3,H,W), 0..1."""
        return [pictures, *self.vgg(pictures, STAGES)]

    def forward(self, generated: Tensor, real: Tensor) -> Tensor:
        """D, one number per pair; gradient goes to `generated` only.

        Args:
            generated, real: (B,3,H,W), 0..1.

        Returns:
            (B,) float32, 0 for equal pictures.
        """
        with torch.no_grad():
            targets = self.features(real)
        total = self.alpha.sum() + self.beta.sum()
        alpha, beta = (torch.split((w / total)[0, :, 0, 0].to(generated.device), CHANNELS) for w in (self.alpha, self.beta))
        score = 0.0
        for x, y, a, b in zip(self.features(generated), targets, alpha, beta):
            x, y = x.float().flatten(2), y.float().flatten(2)  # (B,C,pixels)
            mx, my = x.mean(2), y.mean(2)
            vx, vy = ((x - mx[..., None]) ** 2).mean(2), ((y - my[..., None]) ** 2).mean(2)
            cov = (x * y).mean(2) - mx * my
            texture = (2 * mx * my + C1) / (mx**2 + my**2 + C1)
            structure = (2 * cov + C2) / (vx + vy + C2)
            score = score + (a * texture + b * structure).sum(1)
        return 1 - score

    def take(self, vgg: Mapping[str, Tensor], name: str, weights: Mapping[str, Tensor] | None = None, weights_name: str = "") -> Dists:
        """Load VGG-16 and, where there is a file, alpha and beta; freeze all.

        Raises:
            ValueError: another file than was expected.
        """
        self.vgg.take(vgg, name)
        if weights is not None:
            for key in ("alpha", "beta"):
                if key not in weights or weights[key].numel() != sum(CHANNELS):
                    raise ValueError(f"'{weights_name}' does not hold DISTS' alpha and beta of {sum(CHANNELS)} numbers each; give the weights.pt of DISTS, or leave it out.")
                getattr(self, key).data = weights[key].detach().float().reshape(1, -1, 1, 1).clone()
        return self.eval().requires_grad_(False)
