"""What a try-on method is shown of a person beside the agnostic picture (`masks.agnostic_image`): the mask at the latent's size, the pose.

StableVITON's preparation: the mask is cut at one half first and shrunk bilinearly afterwards, without cutting again, so that its
edges are soft at the latent's size.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import interpolate

from .arrays import as_image, as_mask, check_mask, fit_mask


def latent_mask(mask: Tensor, size: tuple[int, int], antialias: bool = True) -> Tensor:
    """A mask (B,1,H,W) of 0 and 1 at the latent's size with soft edges, (B,1,h,w), 1 = repaint.

    Args:
        size: (height, width) in latent pixels.
        antialias: filter while shrinking. SIFT-VTON's library does, StableVITON's did not.
    """
    return interpolate(mask, size, mode="bilinear", antialias=antialias).clamp(0, 1)


def repaint_mask(mask: Tensor, height: int, width: int) -> tuple[Tensor, str]:
    """A user's mask as 0 and 1 at the person's size, (B,1,height,width), and a note, "" where nothing was resized.

    Raises:
        ValueError: it covers nothing or everything, as a mask of the wrong polarity or an empty one does.
    """
    mask, note = fit_mask(as_mask(mask, "The mask"), height, width)
    return check_mask((mask >= 0.5).float(), "The mask"), note


def check_pose(pose: Tensor, person: Tensor) -> Tensor:
    """The pose picture (R,H,W,3), which must lie on the person (B,H,W,3) pixel by pixel.

    Raises:
        ValueError: another size.
    """
    pose = as_image(pose, "The pose picture")
    if pose.shape[1:3] != person.shape[1:3]:
        raise ValueError(
            f"The pose picture is {pose.shape[2]} x {pose.shape[1]} and the person {person.shape[2]} x {person.shape[1]}; make the "
            "DensePose picture from this person, or resize both to one size (384 x 512 in the papers)."
        )
    return pose
