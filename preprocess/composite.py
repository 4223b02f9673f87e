"""Put a generated region back into its source so that everything else stays exactly the source; crop to it and stitch it back.

A VAE round trip changes every pixel of a picture. Here pixels where the mask is 0 are copied from the source, bit for bit, in
float as in 8-bit, and the feather lies inside the mask so that it never touches them.
"""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

from .arrays import Box, as_mask, bounding_box, check_mask, fit_mask, match_batch


def composite_back(source: torch.Tensor, result: torch.Tensor, mask: torch.Tensor, feather: int = 0) -> torch.Tensor:
    """source (B,H,W,3) with result (B,h,w,3) inside the mask (B,1,H,W), in the source's type (float 0..1 or uint8).

    Where the mask is 0 the source is copied; where it is 1 and more than `feather` pixels from its edge, the result; between, a
    blend. A result of another size is aligned by `aligned`. An empty mask returns the source.
    """
    mask, _ = fit_mask(as_mask(mask), *source.shape[1:3])
    source, result, mask = match_batch(source=source, result=aligned(result, source), mask=mask.to(source.device))
    weight = torch.minimum(mask, _inward_ramp(mask, feather)).movedim(1, -1)
    blend = source.float() + weight * (result.float() - source.float())
    blend = torch.where(weight >= 1, result.float(), blend)
    blend = blend.round().clamp(0, 255).to(torch.uint8) if source.dtype == torch.uint8 else blend.to(source.dtype)
    return torch.where(weight > 0, blend, source)


def aligned(result: torch.Tensor, source: torch.Tensor) -> torch.Tensor:
    """The result (B,h,w,3) at the source's size (B,H,W,3) and on its device and scale.

    The host's VAE drops what exceeds a multiple of 8, half on each side: such a result goes back where it was cut from and the
    source's own border is kept around it. Anything of the same proportions is resized; other proportions raise ValueError.
    """
    for name, picture in (("source", source), ("result", result)):
        if picture.dim() != 4 or picture.shape[-1] != source.shape[-1] or 0 in picture.shape:
            raise ValueError(f"The {name} has shape {tuple(picture.shape)}, but a picture (batch, height, width, 3) was expected.")
        if not bool(torch.isfinite(picture).all()):
            raise ValueError(f"The {name} contains NaN or infinite values; check the sampler and the VAE that made it.")
    height, width = source.shape[1:3]
    h, w = result.shape[1:3]
    result = _same_scale(result.to(source.device), source)
    if (h, w) == (height, width):
        return result
    if (h, w) == (height // 8 * 8, width // 8 * 8):
        source, result = match_batch(source=source, result=result)
        y, x = (height - h) // 2, (width - w) // 2
        out = source.clone()
        out[:, y:y + h, x:x + w] = result
        return out
    if abs(w * height - h * width) > 8 * max(height, width):
        raise ValueError(f"The result is {w}x{h} and the source {width}x{height}: other proportions; "
                         "give the result of this source, or crop it to the source's proportions.")
    return _resize(result, height, width)


def _same_scale(result: torch.Tensor, source: torch.Tensor) -> torch.Tensor:
    if result.dtype == source.dtype:
        return result
    if source.dtype == torch.uint8:
        return (result.float().clamp(0, 1) * 255).round().to(torch.uint8)
    return (result.float() / 255 if result.dtype == torch.uint8 else result).to(source.dtype)


def _inward_ramp(mask: torch.Tensor, feather: int) -> torch.Tensor:
    """1 deep inside mask > 0, falling over `feather` pixels to its edge, 0 outside; the picture's border is no edge. (B,1,H,W)"""
    if feather <= 0:
        return (mask > 0).float()
    from scipy.ndimage import distance_transform_edt
    inside = (mask[:, 0] > 0).cpu().numpy()
    depth = [np.full(item.shape, feather + 1.0) if item.all() else distance_transform_edt(item) for item in inside]
    ramp = np.clip(np.stack(depth) / (feather + 1), 0, 1)
    return torch.from_numpy(ramp).to(mask)[:, None]


def _resize(picture: torch.Tensor, height: int, width: int) -> torch.Tensor:
    if picture.shape[1:3] == (height, width):
        return picture
    top = 255 if picture.dtype == torch.uint8 else 1
    out = F.interpolate(picture.float().movedim(-1, 1), (height, width), mode="bicubic", antialias=True).clamp(0, top).movedim(1, -1)
    return out.round().to(torch.uint8) if picture.dtype == torch.uint8 else out.to(picture.dtype)


@dataclass(frozen=True)
class Crop:
    """Where a crop came from: one box per picture, all of one shape; the size (H,W) it was brought to; the source's size."""

    boxes: tuple[Box, ...]
    size: tuple[int, int]
    source_size: tuple[int, int]


def crop_region(image: torch.Tensor, mask: torch.Tensor, context: float = 1.5, size: int = 512, multiple: int = 8,
                ) -> tuple[torch.Tensor, torch.Tensor, Crop]:
    """Cut the mask's surroundings out, so that a small region is painted at full resolution.

    image (B,H,W,3), mask (B,1,H,W). The box is `context` times the mask's bounding box, of the largest in the batch, centred on each
    picture's own and pushed inside the picture; the crop is resized until its longer side is `size`, both sides multiples of
    `multiple`. Returns picture crop (B,h,w,3), mask crop (B,1,h,w) and the Crop that `stitch` needs.
    Raises ValueError for an empty mask, context below 1, or a size that is no multiple.
    """
    if context < 1 or size < multiple or size % multiple:
        raise ValueError(f"context {context:g} and size {size} were given, but context >= 1 and a size that is a multiple of "
                         f"{multiple} are needed.")
    image, mask = match_batch(image=image, mask=fit_mask(as_mask(mask), *image.shape[1:3])[0])
    crop = _plan(mask, context, size, multiple)
    pieces = [image[i:i + 1, b.y0:b.y1, b.x0:b.x1] for i, b in enumerate(crop.boxes)]
    masks = [mask[i:i + 1, :, b.y0:b.y1, b.x0:b.x1] for i, b in enumerate(crop.boxes)]
    return _resize(torch.cat(pieces), *crop.size), fit_mask(torch.cat(masks), *crop.size)[0], crop


def _plan(mask: torch.Tensor, context: float, size: int, multiple: int) -> Crop:
    regions = [bounding_box(item) for item in (mask[:, 0] > 0).cpu().numpy()]
    if None in regions:
        check_mask(mask)
        raise ValueError("The mask covers nothing; paint the region to crop to.")
    limit = mask.shape[-2:]
    wanted = [min(context * max(sides), bound) for sides, bound in zip(((r.height for r in regions), (r.width for r in regions)), limit)]
    target = [max(multiple, round(side * size / max(wanted) / multiple) * multiple) for side in wanted]
    # the box takes the target's proportions, so that pixels stay square; where the picture is too small for that, it gives way
    scale = max(side / goal for side, goal in zip(wanted, target))
    height, width = (max(1, min(round(goal * scale), bound)) for goal, bound in zip(target, limit))
    boxes = []
    for region in regions:
        y = min(max((region.y0 + region.y1 - height) // 2, 0), limit[0] - height)
        x = min(max((region.x0 + region.x1 - width) // 2, 0), limit[1] - width)
        boxes.append(Box(y, x, y + height, x + width))
    return Crop(tuple(boxes), (target[0], target[1]), (limit[0], limit[1]))


def stitch(source: torch.Tensor, result: torch.Tensor, crop: Crop, mask: torch.Tensor, feather: int = 0) -> torch.Tensor:
    """Put a painted crop (B,h,w,3) back into source (B,H,W,3) inside the mask (B,1,H,W); outside it the source is exact.

    With a crop of its own size (no resizing) the painted pixels come back bit for bit as well.
    """
    if tuple(source.shape[1:3]) != crop.source_size:
        raise ValueError(f"The source is {source.shape[2]}x{source.shape[1]}, but the crop was cut from "
                         f"{crop.source_size[1]}x{crop.source_size[0]}; "
                         "give the picture it was cut from.")
    batch = max(len(source), len(result), len(crop.boxes))
    if any(len(item) not in (1, batch) for item in (source, result, crop.boxes)):
        raise ValueError(f"{len(source)} sources, {len(result)} results and {len(crop.boxes)} crops do not fit together; give 1 or "
                         f"{batch} of each.")
    canvas = source.expand(batch, *source.shape[1:]).clone()
    for index in range(batch):
        box = crop.boxes[index % len(crop.boxes)]
        piece = _same_scale(result[index % len(result)].to(source.device), source)[None]
        canvas[index, box.y0:box.y1, box.x0:box.x1] = _resize(piece, box.height, box.width)[0]
    return composite_back(source, canvas, mask, feather)
