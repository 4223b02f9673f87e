"""From the files of a pair to what IGR's curation rules look at (`preprocess.curate`)."""

from pathlib import Path

import numpy as np
import torch

from ..preprocess.curate import Candidate, from_parse
from ..preprocess.parts import CLASSES, labels_from_picture
from ..preprocess.pictures import read_picture
from .pairs import Record, read_keypoints


def candidate(record: Record, category: str) -> Candidate:
    """The evidence on one pair; what has no file stays unknown.

    category  upper, lower or full: which garment of the person is judged, where the record does not say
    Raises ValueError or OSError, which name the file, for one that cannot be read, and where neither a mask of the worn garment
    nor a parse map is there.
    """
    worn = None if record.worn_mask is None else read_picture(record.worn_mask, "L")
    labelled = occluders = None
    if record.parse is not None:
        labelled, occluders = from_parse(read_labels(record.parse, record.scheme), record.category or category, record.scheme)
    if worn is None and labelled is None:
        raise ValueError(f"{record.name} has neither a mask of the worn garment nor a parse map, and without them nothing can be judged.")
    garment = labelled if worn is None else worn
    found = None if record.keypoints is None else read_keypoints(record.keypoints, *garment.shape[::-1])
    points, layout = (None, "body25") if found is None else found
    return Candidate(
        record.name, garment, occluders, None if worn is None else labelled, points, layout,
        None if record.garment_mask is None else read_picture(record.garment_mask, "L"),
    )


def read_labels(path: Path, scheme: str) -> np.ndarray:
    """A parse map's file as labels (H,W): palette indices or grey levels as they are, colours by their palette."""
    pixels = read_picture(path, "labels")
    if pixels.ndim == 2 and pixels.max() < CLASSES[scheme]:
        return pixels.astype(np.int64)
    try:
        return labels_from_picture(torch.from_numpy(read_picture(path)[..., :3].copy())[None], scheme)[0].numpy()
    except ValueError as error:
        raise ValueError(f"{path.name}: {error}") from None
