"""Masks of the torso and the two arms, on the person and on the garment, so that matches never cross from one to another.

Source: the released matching procedure of SIFT-VTON (arXiv 2605.01296). The person's parts come from a DensePose picture, cut
down to the repainted region; the garment's from a garment parsing in the layout of GP-VTON. Both are told by their red channel.
"""

import numpy as np

from .pictures import resize

PERSON_RED = {"torso": (20,), "right_arm": (170, 216, 240, 251), "left_arm": (145, 192, 228, 252)}
GARMENT_RED = {"torso": (5, 6, 7), "right_arm": (22,), "left_arm": (21,)}
PARTS = tuple(PERSON_RED)


def part_masks(densepose, mask, garment_parse) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Two dicts part -> bool mask, for the person (size of `densepose`) and for the garment (size of `garment_parse`).

    densepose      (H,W) or (H,W,C) uint8, loss-free (PNG): JPEG changes the labels
    mask           (H,W), the region to repaint; above one half counts; uint8 or float 0..1
    garment_parse  (H,W) or (H,W,C) uint8 labels in the red channel
    Raises ValueError where a picture holds none of the labels, because every match would be lost without a word.
    """
    dense = _red(densepose, "DensePose picture", PERSON_RED)
    parse = _red(garment_parse, "garment parsing", GARMENT_RED)
    mask = np.asarray(mask)
    values = mask if mask.dtype == np.uint8 else np.clip(np.asarray(mask, np.float32), 0.0, 1.0) * 255.0
    repaint = resize(values, dense.shape) > 128
    person = {part: np.isin(dense, PERSON_RED[part]) & repaint for part in PARTS}
    return person, {part: np.isin(parse, GARMENT_RED[part]) for part in PARTS}


def _red(picture, name, labels):
    array = np.asarray(picture)
    if array.ndim not in (2, 3) or array.dtype != np.uint8:
        raise ValueError(f"The {name} is {array.dtype} of shape {array.shape}, expected uint8 labels (height, width): load it unscaled.")
    red = array if array.ndim == 2 else array[..., 0]
    known = sorted(value for values in labels.values() for value in values)
    if not np.isin(red, known).any():
        raise ValueError(f"The {name} holds none of the red values {known}: give the loss-free PNG of that layout.")
    return red
