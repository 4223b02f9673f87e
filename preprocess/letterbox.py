"""Fit pictures into a canvas without stretching or cropping them."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import interpolate


def fitted_size(height: int, width: int, canvas_height: int, canvas_width: int) -> tuple[int, int]:
    """The largest size with the picture's aspect ratio that fits the canvas, (height, width), at least 1 x 1."""
    scale = min(canvas_height / height, canvas_width / width)
    return max(1, min(canvas_height, round(height * scale))), max(1, min(canvas_width, round(width * scale)))


def letterbox(image: Tensor, height: int, width: int, fill: float = 1.0) -> Tensor:
    """Scale pictures to fit a canvas and centre them on a plain background.

    Args:
        image: (B,H,W,C), 0..1.
        height, width: the canvas in pixels.
        fill: grey value of the background, 0..1.

    Returns:
        (B,height,width,C), 0..1.
    """
    h, w = fitted_size(image.shape[1], image.shape[2], height, width)
    if (h, w) == (image.shape[1], image.shape[2]):
        scaled = image
    else:
        scaled = interpolate(image.movedim(-1, 1), (h, w), mode="bicubic", antialias=True).clamp(0, 1).movedim(1, -1)
    canvas = image.new_full((image.shape[0], height, width, image.shape[-1]), fill)
    top, left = (height - h) // 2, (width - w) // 2
    canvas[:, top : top + h, left : left + w] = scaled
    return canvas


def letterbox_points(points: Tensor, size: tuple[int, int], canvas: tuple[int, int]) -> Tensor:
    """Where pixels of a picture lie after `letterbox`; pixel centres are whole numbers.

    Args:
        points: (K,2) x, y.
        size: (height, width) of the picture; canvas: of the canvas.

    Returns:
        (K,2).
    """
    h, w = fitted_size(*size, *canvas)
    scale = torch.tensor([w / size[1], h / size[0]], dtype=torch.float64)
    offset = torch.tensor([(canvas[1] - w) // 2, (canvas[0] - h) // 2], dtype=torch.float64)
    return ((points.double() + 0.5) * scale - 0.5 + offset).to(points.dtype)


def cut_out(image: Tensor, mask: Tensor, fill: float = 1.0) -> Tensor:
    """Replace everything outside a mask by a plain background.

    Args:
        image: (B,H,W,C), 0..1.
        mask: (B or 1,h,w), 0..1, 1 = keep; resized to the picture where its size differs.
        fill: grey value of the background, 0..1.

    Returns:
        (B,H,W,C).

    Raises:
        ValueError: a mask that is empty, or a batch of masks that does not broadcast.
    """
    if mask.ndim == 2:
        mask = mask.unsqueeze(0)
    if mask.shape[0] not in (1, image.shape[0]):
        raise ValueError(f"There are {mask.shape[0]} masks for {image.shape[0]} pictures; give one mask, or one per picture.")
    empty = [i for i in range(mask.shape[0]) if not bool((mask[i] > 0.5).any())]
    if empty:
        raise ValueError(f"The garment mask {empty[0] + 1} of {mask.shape[0]} is empty, so nothing of the garment would be left; paint it, or leave the mask unconnected.")
    if mask.shape[-2:] != image.shape[1:3]:
        mask = interpolate(mask.unsqueeze(1).float(), image.shape[1:3], mode="bilinear", antialias=True).squeeze(1)
    m = mask.to(image).unsqueeze(-1)
    return image * m + fill * (1 - m)


def repeat_batch(image: Tensor, count: int, name: str) -> Tensor:
    """Broadcast one picture to `count`, or pass `count` pictures through.

    Raises:
        ValueError: another number of pictures.
    """
    if image.shape[0] == count:
        return image
    if image.shape[0] == 1:
        return image.expand(count, *image.shape[1:])
    raise ValueError(f"{name} has {image.shape[0]} pictures where {count} are needed; give one, or {count}.")


def flatten_alpha(image: Tensor, fill: float = 1.0) -> Tensor:
    """(B,H,W,3) from grey, RGB or RGBA pictures (B,H,W,1|3|4), 0..1; transparency shows the background."""
    channels = image.shape[-1]
    if channels == 1:
        return image.expand(*image.shape[:-1], 3)
    if channels == 4:
        alpha = image[..., 3:]
        return image[..., :3] * alpha + torch.full_like(image[..., :3], fill) * (1 - alpha)
    if channels == 3:
        return image
    raise ValueError(f"A picture has {channels} channels; grey, RGB or RGBA (1, 3 or 4) is expected.")
