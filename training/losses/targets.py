"""Where attention ought to look: PM-Jewelry's G of equation 2, from one of three sources.

The paper does not say where G comes from. In the order of preference here:

    masks             an affine map from the region on the person to the piece in its own picture (needs two masks)
    affine            a known augmentation: the reference is a transformed crop of the same picture, so G is exact
    correspondences   sparse matches; only matched cells have a target

All give (target (R,2,h,w), where (R,1,h,w)): row and column in cells of the keys' grid, cell centres being whole numbers.
A point's position is counted as a share of a side: cell c of n covers c/n .. (c+1)/n and its centre is (c + 1/2)/n.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from ...preprocess.matches import Matches, cells
from .attention import Entries

Grid = tuple[int, int]


def from_masks(mask: Tensor, reference: Tensor, grid: Grid, key_grid: Grid, fit: str = "box") -> tuple[Tensor, Tensor]:
    """G by the affine map that takes the region on the person onto the piece in its own picture.

    Args:
        mask: (R,1,H,W), 1 = jewelry on the person. reference: (R,1,H',W'), 1 = the piece in its picture. Any sizes.
        fit: "box" maps bounding box onto bounding box; "moments" maps centre and principal axes (x with x, y with y as far as
            they can be told apart), which follows a tilt.

    Returns:
        target, and where: the cells of the grid inside the mask; none where one of the masks is empty.

    Raises:
        ValueError: an unknown fit.
    """
    if fit not in ("box", "moments"):
        raise ValueError(f"The target's fit is {fit!r}; choose box or moments.")
    points = _centres(grid, mask.device)  # (h*w,2) shares: row, column
    target = torch.zeros(mask.shape[0], len(points), 2, device=mask.device)
    where = interpolate((mask > 0.5).float(), grid, mode="nearest")
    for row in range(mask.shape[0]):
        frames = [_frame(m[row, 0] > 0.5, fit) for m in (mask, reference)]
        if None in frames:
            where[row] = 0
            continue
        (centre, axes), (centre_ref, axes_ref) = frames
        target[row] = (points - centre) @ torch.linalg.solve(axes, axes_ref) + centre_ref
    return _cells(target, grid, key_grid), where


def from_affine(matrix: Tensor, grid: Grid, key_grid: Grid, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """G of a known transformation.

    Args:
        matrix: (R,2,3): a point of the person (x, y, 1), as shares of the picture's sides, to a point of the reference (x, y).
        mask: (R,1,H,W): only inside it, or everywhere.

    Returns:
        target, and where: cells whose target lies inside the reference (and that lie in the mask).
    """
    points = _centres(grid, matrix.device).flip(-1)  # x, y
    moved = (points @ matrix[:, :, :2].transpose(1, 2).float() + matrix[:, None, :, 2].float()).flip(-1)  # (R,h*w,2) row, column
    where = ((moved >= 0) & (moved <= 1)).all(-1).float().unflatten(1, grid).unsqueeze(1)
    if mask is not None:
        where = where * interpolate((mask > 0.5).float(), grid, mode="nearest")
    return _cells(moved, grid, key_grid), where


def from_correspondences(entries: Entries, rows: int, grid: Grid, key_grid: Grid) -> tuple[Tensor, Tensor]:
    """G at matched cells: the mean of the cells that a query's matches end in, p_ij being their shares."""
    cells, device = grid[0] * grid[1], entries.weight.device
    place = entries.row * cells + entries.query
    weight = torch.zeros(rows * cells, device=device).index_add(0, place, entries.weight)
    position = torch.stack((entries.key // key_grid[1], entries.key % key_grid[1]), -1).float()
    total = torch.zeros(rows * cells, 2, device=device).index_add(0, place, position * entries.weight[:, None])
    target = total / weight.clamp_min(1e-12)[:, None]
    return target.unflatten(0, (rows, *grid)).permute(0, 3, 1, 2), (weight > 0).float().reshape(rows, 1, *grid)


def from_matches(matches: Sequence[Matches | None], grid: Grid, key_grid: Grid, device) -> tuple[Tensor, Tensor]:
    """`from_correspondences` of the matches of each row."""
    known = [row for row, m in enumerate(matches) if m is not None]
    found = cells([matches[row] for row in known], grid, key_grid)
    rows = torch.tensor(known, dtype=torch.long)[torch.from_numpy(found.sample).long()]
    entries = Entries(rows, *(torch.from_numpy(t) for t in (found.query, found.key, found.weight))).to(device)
    return from_correspondences(entries, len(matches), grid, key_grid)


def _centres(grid: Grid, device) -> Tensor:
    rows, columns = ((torch.arange(n, device=device) + 0.5) / n for n in grid)
    return torch.stack(torch.meshgrid(rows, columns, indexing="ij"), -1).flatten(0, 1)


def _cells(shares: Tensor, grid: Grid, key_grid: Grid) -> Tensor:
    """Shares (R,h*w,2) of the reference's sides -> cells (R,2,h,w) of the keys' grid."""
    cells = shares * torch.tensor(key_grid, device=shares.device) - 0.5
    return cells.unflatten(1, grid).permute(0, 3, 1, 2)


def _frame(inside: Tensor, fit: str) -> tuple[Tensor, Tensor] | None:
    """Centre (2,) and axes (2,2), a row each, of a region in shares of the picture's sides; None for an empty one."""
    height, width = inside.shape
    found = inside.nonzero().float() + 0.5
    if not len(found):
        return None
    sides = torch.tensor([height, width], device=inside.device)
    if fit == "box":
        low, high = found.amin(0) - 0.5, found.amax(0) + 0.5
        return (low + high) / 2 / sides, torch.diag((high - low) / sides)
    centre = found.mean(0)
    spread, axes = torch.linalg.eigh((found - centre).T @ (found - centre) / len(found) + torch.eye(2, device=inside.device) / 12)
    axes = axes.T  # rows: directions (row, column) in pixels, where angles mean something
    if abs(float(axes[0, 0])) < abs(float(axes[1, 0])):
        axes, spread = axes.flip(0), spread.flip(0)
    axes = axes * torch.diagonal(axes).sign()[:, None]  # the first looks down, the second right
    return centre / sides, axes * spread.sqrt()[:, None] / sides
