"""The hint of Diffuse to Choose: a product pasted into the largest rectangle of the mask, on black.

Seyfioglu et al., "Diffuse to Choose", section 3.2 (the reference is resized into the mask's coordinates), section 5.1 (at inference
into the largest rectangle inside the user's mask) and section 5.5 (Canny and HED hints). The canvas is black in 0..1, as ControlNet
hints are: in -1..1 a zero would be grey and equal the masked source.
"""

import numpy as np
import torch
import torch.nn.functional as F

from .arrays import Box, as_image, as_mask, match_batch, to_bool
from .canny import canny

FITS = ("stretch", "contain", "cover")
SOURCES = ("rgb", "canny", "canny_rgb")
SMALLEST = 8  # pixels; one latent cell


def largest_rectangle(region: np.ndarray, smallest: int = 1) -> Box | None:
    """The largest axis-aligned rectangle inside a bool region (H,W) with both sides >= smallest, None where there is none.

    Of several equally large ones the smallest (y0, x0, y1, x1) in lexicographic order is taken. Works row by row: above every
    pixel hangs a column of `depth` set pixels, and left/right say how far a rectangle of that depth can spread around it. Every
    rectangle that cannot grow is found this way, in O(HW) and as whole-row operations.
    """
    region = np.asarray(region, bool)
    width = region.shape[1]
    columns = np.arange(width)
    depth, left, right = np.zeros(width, int), np.zeros(width, int), np.full(width, width)
    best, box = 0, None
    for y, row in enumerate(region):
        gap_left = np.maximum.accumulate(np.where(row, 0, columns + 1))
        gap_right = np.minimum.accumulate(np.where(row, width, columns)[::-1])[::-1]
        depth = np.where(row, depth + 1, 0)
        left = np.where(row, np.maximum(left, gap_left), 0)
        right = np.where(row, np.minimum(right, gap_right), width)
        spread = right - left
        area = np.where((depth >= smallest) & (spread >= smallest), depth * spread, 0)
        top = int(area.max())
        if top and top >= best:
            ties = np.flatnonzero(area == top)
            ties = ties[depth[ties] == depth[ties].max()]   # of one row's equals, the highest top edge,
            x = ties[left[ties].argmin()]                   # then the leftmost
            rival = Box(int(y + 1 - depth[x]), int(left[x]), y + 1, int(right[x]))
            best, box = top, rival if top > best else min(rival, box)
    return box


def largest_rectangles(mask: torch.Tensor, smallest: int = SMALLEST) -> tuple[list[Box], torch.Tensor]:
    """The largest rectangle of every mask (B,1,H,W): the boxes and their mask (B,1,H,W).

    Raises ValueError for an empty mask and for one without a rectangle of smallest x smallest pixels.
    """
    mask = as_mask(mask)
    boxes, filled = [], torch.zeros_like(mask)
    for index, region in enumerate(to_bool(mask)):
        which = f"mask {index + 1} of {len(mask)}" if len(mask) > 1 else "the mask"
        if not region.any():
            raise ValueError(f"No rectangle was found: {which} is empty; paint the region where the product goes.")
        box = largest_rectangle(region, smallest)
        if box is None:
            raise ValueError(f"No rectangle of at least {smallest}x{smallest} pixels fits inside {which}; paint a larger region.")
        boxes.append(box)
        filled[index, 0, box.y0:box.y1, box.x0:box.x1] = 1
    return boxes, filled


def place_hint(product: torch.Tensor, mask: torch.Tensor, fit: str = "stretch", source: str = "rgb",
               product_mask: torch.Tensor | None = None, hint_image: torch.Tensor | None = None,
               ) -> tuple[torch.Tensor, list[Box], torch.Tensor]:
    """Paste a product (B,h,w,3) into the largest rectangle of a mask (B,1,H,W).

    fit: `stretch` fills the rectangle (the paper's literal reading), `contain` letterboxes with black, `cover` fills it and crops
    the centre; train and inference must agree. source: `rgb`, `canny` (30/140) or `canny_rgb` (per channel), computed at the pasted
    size so that edges stay one pixel wide. product_mask (B,1,h,w) blackens the product's background. hint_image (B,h',w',3), any
    other preprocessor's picture of the product, replaces it inside the rectangle, and `source` is then not used.
    Returns the hint (B,H,W,3), the rectangles, and a preview (B,H,W,3).
    """
    for value, known, what in ((fit, FITS, "fit"), (source, SOURCES, "source")):
        if value not in known:
            raise ValueError(f"Hint {what} '{value}' is not known; choose one of {', '.join(known)}.")
    picture = as_image(product if hint_image is None else hint_image, "product" if hint_image is None else "hint_image")
    if product_mask is not None:
        picture = _cut_out(picture, product_mask, hint_image is not None)
    picture, mask = match_batch(product=picture, mask=as_mask(mask))
    boxes, _ = largest_rectangles(mask)
    hint = picture.new_zeros(len(mask), *mask.shape[-2:], 3)
    for index, box in enumerate(boxes):
        part, inner = _fitted(picture[index:index + 1], box, fit)
        if hint_image is None and source != "rgb":
            part = canny(part, mode="per_channel" if source == "canny_rgb" else "colour")
        hint[index, inner.y0:inner.y1, inner.x0:inner.x1] = part[0]
    return hint, boxes, preview(hint, mask, boxes)


def _cut_out(picture: torch.Tensor, product_mask: torch.Tensor, stretch: bool) -> torch.Tensor:
    """Blacken a picture (B,h,w,3) outside product_mask; a foreign hint picture may differ in size from the product."""
    keep = as_mask(product_mask, "product_mask")
    if keep.shape[-2:] != picture.shape[1:3]:
        if not stretch:
            raise ValueError(f"product_mask is {keep.shape[-1]}x{keep.shape[-2]}, but the product picture is "
                             f"{picture.shape[2]}x{picture.shape[1]}; give the mask of that picture.")
        keep = F.interpolate(keep, picture.shape[1:3], mode="bilinear", antialias=True)
    picture, keep = match_batch(product=picture, product_mask=keep)
    return picture * keep.movedim(1, -1)


def _fitted(picture: torch.Tensor, box: Box, fit: str) -> tuple[torch.Tensor, Box]:
    """One picture (1,h,w,3) resized for a rectangle: the pixels, and where in the canvas they go."""
    h, w = picture.shape[1:3]
    height, width = box.height, box.width
    if fit == "cover":
        scale = max(height / h, width / w)
        crop_h, crop_w = min(h, max(1, round(height / scale))), min(w, max(1, round(width / scale)))
        y, x = (h - crop_h) // 2, (w - crop_w) // 2
        picture = picture[:, y:y + crop_h, x:x + crop_w]
    elif fit == "contain":
        scale = min(height / h, width / w)
        height, width = min(height, max(1, round(h * scale))), min(width, max(1, round(w * scale)))
    y, x = box.y0 + (box.height - height) // 2, box.x0 + (box.width - width) // 2
    return resize(picture, height, width), Box(y, x, y + height, x + width)


def resize(picture: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """(B,h,w,3) to (B,height,width,3), bicubic with antialias, clamped to 0..1; the same size is returned untouched."""
    if picture.shape[1:3] == (height, width):
        return picture
    return F.interpolate(picture.movedim(-1, 1), (height, width), mode="bicubic", antialias=True).clamp(0, 1).movedim(1, -1)


def preview(hint: torch.Tensor, mask: torch.Tensor, boxes: list[Box]) -> torch.Tensor:
    """The hint (B,H,W,3) with the mask (B,1,H,W) shown dim blue behind it and the rectangle outlined in orange."""
    shown = torch.maximum(hint, mask.movedim(1, -1) * hint.new_tensor([0.15, 0.22, 0.4]))
    line = max(1, round(min(hint.shape[1:3]) / 256))
    for item, pasted, box in zip(shown, hint, boxes):
        item[box.y0:box.y1, box.x0:box.x1] = hint.new_tensor([1.0, 0.55, 0.1])
        inside = slice(box.y0 + line, box.y1 - line), slice(box.x0 + line, box.x1 - line)
        item[inside] = pasted[inside]
    return shown


def over_masked(hint: torch.Tensor, boxes: list[Box], background: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """The product inside the masked source instead of on black: what the latent hint of section 4.3 encodes.

    hint (B,H,W,3) and its rectangles as `place_hint` made them, background (B,H,W,3), mask (B,1,H,W). Returns (B,H,W,3): the
    background, grey where the mask is set, with the rectangles of the hint. Raises ValueError for another size of background.
    """
    background = as_image(background, "background")
    if background.shape[1:3] != hint.shape[1:3]:
        raise ValueError(f"The background is {background.shape[2]}x{background.shape[1]}, but the mask is {hint.shape[2]}x{hint.shape[1]}; "
                         "give the picture that the mask was painted on.")
    hint, background, mask = match_batch(hint=hint, background=background, mask=as_mask(mask))
    canvas = torch.where((mask > 0.5).movedim(1, -1), 0.5, background)
    for item, pasted, box in zip(canvas, hint, boxes):
        item[box.y0:box.y1, box.x0:box.x1] = pasted[box.y0:box.y1, box.x0:box.x1]
    return canvas


def trim(picture: torch.Tensor, multiple: int = 8) -> torch.Tensor:
    """Cut (B,H,W,C) to multiples of 8 about its centre, as the host's VAE does: half of the rest on each side."""
    height, width = picture.shape[1:3]
    y, x = height % multiple // 2, width % multiple // 2
    return picture[:, y:y + height // multiple * multiple, x:x + width // multiple * multiple]
