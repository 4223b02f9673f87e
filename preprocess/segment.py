"""Segment anything: masks from points and a box.

Kirillov et al., "Segment Anything", ICCV 2023, through the `segment_anything` package (imported when used). This file recognises a
state dict, builds the module and runs it on whatever device its weights are; loading files and managing memory is the host's side.
"""

import re
from collections.abc import Callable, Sequence

import numpy as np
import torch

from .arrays import as_image, to_uint8

FAMILIES = {(768, 12): "vit_b", (1024, 24): "vit_l", (1280, 32): "vit_h"}   # (width, depth) of the image encoder
# other members of the family that look alike from outside, by a key that only they have
RELATIVES = (
    ("SAM-HQ", re.compile(r"mask_decoder\.(hf_token|hf_mlp|compress_vit_feat)")),
    ("SAM 2", re.compile(r"(^|\.)(sam_mask_decoder|memory_encoder|memory_attention|image_encoder\.trunk)\.")),
    ("SAM 3", re.compile(r"(^|\.)(detector|tracker)\.")),
    ("MobileSAM", re.compile(r"image_encoder\.(layers\.\d|patch_embed\.seq)")),
    ("FastSAM (YOLO)", re.compile(r"^(model\.)+\d+\.(conv|cv\d)")),
)


def family(state_dict: dict[str, torch.Tensor]) -> str:
    """vit_b, vit_l or vit_h, told from the tensors' names and shapes; anything else raises ValueError saying what it seems to be."""
    for name, pattern in RELATIVES:
        if any(pattern.search(key) for key in state_dict):
            raise ValueError(f"This file holds {name} weights, but segment-anything vit_b, vit_l or vit_h was expected; choose "
                             f"another file.")
    position = state_dict.get("image_encoder.pos_embed")
    blocks = {match[1] for key in state_dict if (match := re.match(r"image_encoder\.blocks\.(\d+)\.", key))}
    if position is None or position.dim() != 4 or not any(key.startswith("mask_decoder.") for key in state_dict):
        some = ", ".join(list(state_dict)[:3]) or "nothing"
        raise ValueError(f"This file holds no segment-anything weights (its keys begin with {some}); choose a vit_b, vit_l or vit_h file.")
    size = (position.shape[-1], len(blocks))
    if size not in FAMILIES:
        raise ValueError(f"This segment-anything encoder has width {size[0]} and {size[1]} blocks; known are "
                         + ", ".join(f"{name} ({width}, {depth})" for (width, depth), name in FAMILIES.items()) + ".")
    return FAMILIES[size]


def build(state_dict: dict[str, torch.Tensor]) -> torch.nn.Module:
    """The module of the state dict's family holding its tensors (no copy), in eval mode.

    Raises ValueError for another family or missing and unexpected keys, RuntimeError with the command to run where the
    segment_anything package is not installed.
    """
    name = family(state_dict)
    registry, _ = _package()
    with torch.device("meta"):
        module = registry[name]()
    # the two statistics are not saved in files and would stay empty
    module.pixel_mean = torch.tensor([123.675, 116.28, 103.53]).view(3, 1, 1)
    module.pixel_std = torch.tensor([58.395, 57.12, 57.375]).view(3, 1, 1)
    wanted = module.state_dict()
    wrong = [f"missing {key}" for key in wanted if key not in state_dict]
    wrong += [f"unexpected {key}" for key in state_dict if key not in wanted]
    wrong += [f"{key} is {tuple(state_dict[key].shape)} instead of {tuple(value.shape)}"
              for key, value in wanted.items() if key in state_dict and state_dict[key].shape != value.shape]
    if wrong:
        more = f" and {len(wrong) - 5} more" if len(wrong) > 5 else ""
        raise ValueError(f"This {name} file is damaged or altered: {'; '.join(wrong[:5])}{more}; download it again.")
    module.load_state_dict(state_dict, assign=True)
    return module.eval().requires_grad_(False)


def predict(module: torch.nn.Module, image: torch.Tensor, points: Sequence = (), labels: Sequence[int] | None = None,
            box: Sequence[float] | None = None, progress: Callable[[int, int], None] | None = None) -> tuple[torch.Tensor, torch.Tensor]:
    """Three masks per picture (B,3,H,W) of 0 and 1, and the model's own estimate of each mask's IoU (B,3); a float32 module.

    image (B,H,W,3); points (x, y) in its pixels, shared by the batch, with labels 1 (on the object, the default) or 0; box
    (x0, y0, x1, y1). `progress(done, total)` is called after every picture. Raises ValueError without any prompt, for labels
    that do not fit, and for prompts outside the picture.
    """
    image = as_image(image)
    points, labels = _prompts(points, labels, box, *image.shape[1:3])
    resize = _package()[1](module.image_encoder.img_size)
    prompt = _encode_prompt(module, resize, points, labels, box, tuple(image.shape[1:3]))
    results = []
    for index, pixels in enumerate(to_uint8(image)):
        results.append(_one(module, resize, pixels, prompt))
        if progress:
            progress(index + 1, len(image))
    masks, scores = zip(*results)
    return torch.cat(masks).float().cpu(), torch.cat(scores).float().cpu()


def best(masks: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
    """Of three masks (B,3,H,W) the one with the highest score (B,3): (B,1,H,W)."""
    return masks[torch.arange(len(masks)), scores.argmax(1)][:, None]


def _prompts(points, labels, box, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    if not len(points) and box is None:
        raise ValueError("Segment anything needs a prompt; give at least one point or a box.")
    if labels is None:
        labels = [point[2] if len(point) > 2 else 1 for point in points]
    if len(labels) != len(points) or any(label not in (0, 1) for label in labels):
        raise ValueError(f"{len(points)} points came with the labels {list(labels)}; give one label, 1 or 0, per point.")
    spots = [tuple(point[:2]) for point in points] + ([(box[0], box[1]), (box[2], box[3])] if box is not None else [])
    for x, y in spots:
        if not (0 <= x <= width and 0 <= y <= height):
            raise ValueError(f"The prompt ({x:g}, {y:g}) lies outside the {width}x{height} picture; give pixels of this picture.")
    return np.array([point[:2] for point in points], float).reshape(-1, 2), np.array(labels, int)


@torch.no_grad()
def _encode_prompt(module, resize, points, labels, box, size) -> tuple[torch.Tensor, torch.Tensor]:
    """Sparse and dense prompt embeddings: the same for every picture of the batch."""
    device = module.pixel_mean.device
    pair, rectangle = None, None
    if len(points):
        coordinates = torch.as_tensor(resize.apply_coords(points, size), dtype=torch.float, device=device)
        pair = coordinates[None], torch.as_tensor(labels, dtype=torch.int, device=device)[None]
    if box is not None:
        rectangle = torch.as_tensor(resize.apply_boxes(np.array(box, float)[None], size), dtype=torch.float, device=device)
    return module.prompt_encoder(points=pair, boxes=rectangle, masks=None)


@torch.no_grad()
def _one(module, resize, pixels: np.ndarray, prompt) -> tuple[torch.Tensor, torch.Tensor]:
    resized = torch.as_tensor(resize.apply_image(pixels), device=module.pixel_mean.device).permute(2, 0, 1)[None]
    sparse, dense = prompt
    logits, scores = module.mask_decoder(
        image_embeddings=module.image_encoder(module.preprocess(resized)), image_pe=module.prompt_encoder.get_dense_pe(),
        sparse_prompt_embeddings=sparse, dense_prompt_embeddings=dense, multimask_output=True)
    masks = module.postprocess_masks(logits, tuple(resized.shape[-2:]), pixels.shape[:2])
    return masks > module.mask_threshold, scores


def _package():
    """The segment_anything package and its resizing helper."""
    try:
        import segment_anything
        from segment_anything.utils.transforms import ResizeLongestSide
    except ImportError as error:
        import sys
        raise RuntimeError(f"Segment needs the segment_anything package; install it with: {sys.executable} -m pip install "
                           f"segment-anything") from error
    return segment_anything.sam_model_registry, ResizeLongestSide
