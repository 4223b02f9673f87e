"""Looking at attention without computing its maps: only the rows of chosen points, one product per block.

Used by SIFT-VTON's figure 4 (section 4.4): cross-attention over the garment for chosen points on the person, averaged over layers,
heads and timesteps t < 500. Full maps at 64 x 48 would be 3072 x 3072 per head; the asked rows are points x 3072.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from .attention import attention_rows


class Probe:
    """Collects, for points on the person, where on the garment each block looks.

    Args:
        points: (K,2) x, y as shares of the person's width and height, 0..1.
        blocks: output blocks to look at; None for all that attend to a garment.
        image: which picture of the latent batch.
    """

    def __init__(self, points: Tensor, blocks: Sequence[int] | None = None, image: int = 0):
        self.points, self.blocks, self.image = points, None if blocks is None else frozenset(blocks), image
        self.maps: list[Tensor] = []  # each (K,h,w), sums to 1 per point

    def wants(self, block) -> bool:
        """Whether this place is looked at: one of the output blocks that attend to a garment (`parts/watch.py`)."""
        return isinstance(block, int) and (self.blocks is None or block in self.blocks)

    def see(self, block: int, q: Tensor, k: Tensor, heads: int, grid: tuple[int, int], key_grid: tuple[int, int], images: list[int]) -> None:
        """Keep the rows of the points, averaged over the heads.

        Args:
            q: (R,N,C), N row-major over `grid` (height, width); k: (R,M,C), M over `key_grid`.
            images: for each of the R rows, its place in the latent batch.
        """
        if not self.wants(block) or self.image not in images:
            return
        row = images.index(self.image)
        cells = point_cells(self.points.to(q.device), grid)
        rows = attention_rows(q[row : row + 1, cells].float(), k[row : row + 1].float(), heads)  # (1,heads,K,M)
        self.maps.append(rows[0].mean(0).unflatten(-1, key_grid).cpu())

    def average(self) -> Tensor:
        """The mean of all collected maps at the finest grid among them, (K,h,w), each point's sum 1.

        A coarser map's cell is spread evenly over the finer cells it covers, so every map counts the same.

        Raises:
            ValueError: nothing was collected.
        """
        if not self.maps:
            raise ValueError(
                "No attention over a garment was seen; connect a MODEL that carries Apply SIFT-VTON, with a range of steps that "
                "includes the timesteps asked for."
            )
        size = max((tuple(m.shape[-2:]) for m in self.maps), key=lambda s: s[0] * s[1])
        return torch.stack([spread(m, size) for m in self.maps]).mean(0)


def point_cells(points: Tensor, grid: tuple[int, int]) -> Tensor:
    """The row-major cell of each point: floor(share * side), as the paper bins its matches (section 3.2).

    Args:
        points: (K,2) x, y, 0..1; 1 counts as the last cell.
        grid: (height, width) in cells.
    """
    height, width = grid
    x = (points[:, 0] * width).floor().long().clamp(0, width - 1)
    y = (points[:, 1] * height).floor().long().clamp(0, height - 1)
    return y * width + x


def spread(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """(K,h,w) on a finer grid, each cell's mass spread over what it covers; every point's sum is 1."""
    if tuple(maps.shape[-2:]) != tuple(size):
        maps = torch.nn.functional.interpolate(maps.unsqueeze(0), size=tuple(size), mode="nearest-exact")[0]
    return maps / maps.sum((-2, -1), keepdim=True).clamp_min(1e-12)


def concentration(maps: Tensor, targets: Tensor, radius: float, size: tuple[float, float]) -> tuple[Tensor, Tensor]:
    """How much of each map lies near its target, and how much an even map would have there.

    Args:
        maps: (K,h,w), each sum 1.
        targets: (K,2) x, y in pixels of the garment picture.
        radius: in pixels.
        size: (height, width) of the garment picture in pixels.

    Returns:
        share (K,) of the mass whose cells have their centre within the radius, and the share of cells that do (K,).
    """
    height, width = maps.shape[-2:]
    y = (torch.arange(height) + 0.5) * (size[0] / height) - 0.5  # cell centres in pixels, whole numbers being pixel centres
    x = (torch.arange(width) + 0.5) * (size[1] / width) - 0.5
    distance = ((x[None, None, :] - targets[:, 0, None, None]) ** 2 + (y[None, :, None] - targets[:, 1, None, None]) ** 2).sqrt()
    near = (distance <= radius).to(maps)
    return (maps * near).sum((-2, -1)), near.mean((-2, -1))


def peaks(maps: Tensor, size: tuple[float, float]) -> Tensor:
    """The centre of each map's largest cell, (K,2) x, y in pixels of a picture of `size` (height, width)."""
    height, width = maps.shape[-2:]
    best = maps.flatten(1).argmax(1)
    y, x = (best // width + 0.5) * (size[0] / height) - 0.5, (best % width + 0.5) * (size[1] / width) - 0.5
    return torch.stack((x, y), 1)
