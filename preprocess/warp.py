"""A picture carried into another picture's coordinates through the quadrilateral it is placed in."""

import torch
import torch.nn.functional as F


def place_picture(picture: torch.Tensor, corners: torch.Tensor, size: tuple[int, int]) -> tuple[torch.Tensor, torch.Tensor]:
    """Draw a picture (B,C,h,w) into size (H,W) at one or more parallelograms.

    corners (B,N,4,2) or (N,4,2): x, y in pixels of the target where the picture's top-left, top-right, bottom-right and bottom-left
    corners lie; the fourth follows from the others and is not read. Where two overlap, the later one is on top.
    Returns the drawing (B,C,H,W), zero elsewhere, and what it covers (B,1,H,W) as 0 or 1.
    """
    corners = torch.as_tensor(corners, dtype=torch.float32, device=picture.device)
    corners = corners[None] if corners.dim() == 3 else corners
    if corners.dim() != 4 or tuple(corners.shape[-2:]) != (4, 2) or len(corners) not in (1, len(picture)):
        raise ValueError(f"corners have shape {tuple(corners.shape)}, but (batch, pieces, 4, 2) with batch 1 or {len(picture)} was "
                         f"expected.")
    corners = corners.expand(len(picture), -1, -1, -1)
    out = picture.new_zeros(*picture.shape[:2], *size)
    covered = picture.new_zeros(len(picture), 1, *size)
    for piece in corners.unbind(1):
        grid = _inverse_grid(piece, size)
        inside = (grid.abs() <= 1).all(-1)[:, None]
        drawn = F.grid_sample(picture, grid, mode="bilinear", padding_mode="border", align_corners=False)
        out, covered = torch.where(inside, drawn, out), torch.where(inside, torch.ones_like(covered), covered)
    return out, covered


def _inverse_grid(piece: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """For every target pixel its place in the picture, -1..1 in x and y: corners (B,4,2) to grid (B,H,W,2)."""
    origin, right, down = piece[:, 0], piece[:, 1] - piece[:, 0], piece[:, 3] - piece[:, 0]
    determinant = right[:, 0] * down[:, 1] - right[:, 1] * down[:, 0]
    if bool((determinant.abs() < 1e-6).any()):
        raise ValueError("The place of a jewelry picture has no area; give a box with a width and a height in pixels.")
    y, x = torch.meshgrid(*(torch.arange(n, dtype=torch.float32, device=piece.device) for n in size), indexing="ij")
    dx, dy = x - origin[:, 0, None, None], y - origin[:, 1, None, None]                          # (B,H,W)
    right, down, determinant = right[:, :, None, None], down[:, :, None, None], determinant[:, None, None]
    u = (dx * down[:, 1] - dy * down[:, 0]) / determinant
    v = (dy * right[:, 0] - dx * right[:, 1]) / determinant
    return torch.stack([2 * u - 1, 2 * v - 1], -1)
