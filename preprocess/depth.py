"""Depth pictures in one convention, whoever made them.

Inside this pack near is bright: float (B,1,H,W) in 0..1, 1 = nearest. PM-Jewelry (section 3) takes the map of DepthFM, whose picture
shows far as bright; Depth Anything, MoGe and MiDaS show near as bright. Only ratios of relative depth mean anything, so a map is
normalised between robust percentiles and a single outlier cannot flatten the rest.
"""

import torch
import torch.nn.functional as F

from .arrays import as_image, as_mask, match_batch
from .warp import place_picture

CONVENTIONS = ("near_bright", "far_bright")
FLAT = 1 / 255  # a map whose range is below one 8-bit level says nothing


def depth_map(picture: torch.Tensor, convention: str = "near_bright", normalise: bool = True,
              percentiles: tuple[float, float] = (1.0, 99.0)) -> torch.Tensor:
    """A depth picture (B,H,W,3) of the named convention as near-bright depth (B,1,H,W) in 0..1.

    Raises ValueError for an unknown convention and for a colour-mapped picture, whose colours are not depth.
    """
    picture = as_image(picture, "depth picture")
    if bool(((picture.amax(-1) - picture.amin(-1)).flatten(1).amax(1) > 0.04).any()):
        raise ValueError("The depth picture is coloured, but grey values were expected; set the depth node's output to grey, "
                         "without a colour map.")
    depth = switch(picture.mean(-1)[:, None].clamp(0, 1), convention)
    return stretch(depth, percentiles) if normalise else depth


def switch(depth: torch.Tensor, convention: str) -> torch.Tensor:
    """Depth (B,1,H,W) in 0..1 from or to the named convention; near_bright is returned as it is, far_bright inverted."""
    if convention not in CONVENTIONS:
        raise ValueError(f"Depth convention '{convention}' is not known; choose {' or '.join(CONVENTIONS)}.")
    return depth if convention == "near_bright" else 1 - depth


def depth_picture(depth: torch.Tensor, convention: str = "near_bright") -> torch.Tensor:
    """Near-bright depth (B,1,H,W) as a grey picture (B,H,W,3) of the named convention."""
    return switch(depth, convention).movedim(1, -1).expand(-1, -1, -1, 3)


def stretch(depth: torch.Tensor, percentiles: tuple[float, float] = (1.0, 99.0)) -> torch.Tensor:
    """Depth (B,1,H,W) of any range scaled so that the two percentiles of each item become 0 and 1, the rest clamped.

    An item that is flat between them (a wall, an empty map) becomes 0.5 everywhere: neither near nor far.
    """
    low, high = percentiles
    if not 0 <= low < high <= 100:
        raise ValueError(f"Depth percentiles {low:g} and {high:g} were given, but 0 <= low < high <= 100 was expected.")
    # every 4th value of a large map: torch.quantile is limited to 2^24 values, and ranks hardly move
    values = depth.flatten(1)[:, ::4 if depth[0].numel() > 1 << 20 else 1].float()
    ends = torch.quantile(values, values.new_tensor([low / 100, high / 100]), dim=1)[..., None, None, None]   # (2,B,1,1,1)
    span = ends[1] - ends[0]
    scaled = ((depth - ends[0]) / span.clamp_min(1e-12)).clamp(0, 1)
    return torch.where(span < FLAT, torch.full_like(scaled, 0.5), scaled)


def is_flat(depth: torch.Tensor) -> torch.Tensor:
    """Which items of depth (B,1,H,W) hold no depth at all: bool (B,)."""
    return depth.flatten(1).amax(1) - depth.flatten(1).amin(1) < FLAT


def from_depthfm(decoded: torch.Tensor) -> torch.Tensor:
    """DepthFM's decoded picture (B,3,H,W) as near-bright depth (B,1,H,W) in 0..1.

    Gui et al., "DepthFM", AAAI 2025: the three channels are averaged and hold log depth; its exponential grows with distance.
    """
    depth = decoded.float().mean(1, keepdim=True).exp()
    low, high = depth.amin((1, 2, 3), keepdim=True), depth.amax((1, 2, 3), keepdim=True)
    return torch.where(high - low < FLAT, torch.full_like(depth, 0.5), 1 - (depth - low) / (high - low).clamp_min(1e-12))


def with_jewelry(head: torch.Tensor, jewelry: torch.Tensor, corners: torch.Tensor, mask: torch.Tensor, relief: float = 0.1) -> torch.Tensor:
    """Head depth (B,1,H,W) with placed jewelry's depth (B,1,h,w) inside the mask (B,1,H,W), in head coordinates.

    corners (B,N,4,2) as in warp.place_picture. Two relative depths share no scale, so the piece is set on the skin: the head's
    smoothed depth plus `relief` times the piece's own normalised depth. Outside the mask the head's depth is untouched.
    """
    head, jewelry, mask = match_batch(head=as_mask(head, "head depth"), jewelry=as_mask(jewelry, "jewelry depth"), mask=as_mask(mask))
    placed, covered = place_picture(stretch(jewelry), corners, head.shape[-2:])
    side = max(3, min(head.shape[-2:]) // 32 | 1)
    skin = F.avg_pool2d(F.pad(head, [side // 2] * 4, mode="replicate"), side, 1)
    return torch.where((mask > 0.5) & (covered > 0.5), (skin + relief * placed).clamp(0, 1), head)
