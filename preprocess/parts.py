"""Human-parsing maps: which pixel is hair, which is sleeve, in the three label systems people have.

`lip` (Look Into Person, 20 classes; Gong et al., CVPR 2017), `cihp` (the same 20 with torso skin for jumpsuits; Gong et al., ECCV
2018; VITON-HD's parse maps are these) and `atr` (18 classes; Liang et al., 2015; Dress Code's label maps). A map is integers
(B,H,W), or the picture that stores them: grey with the label as its level, or in the colours of the published palettes.
"""

import numpy as np
import torch

from .arrays import as_image, to_uint8

# our name of a part -> its labels
LIP = {
    "hat": (1,), "hair": (2,), "gloves": (3,), "glasses": (4,), "upper": (5, 7), "dress": (6, 10), "socks": (8,), "lower": (9, 12),
    "scarf": (11,), "face": (13,), "left_arm": (14,), "right_arm": (15,), "left_leg": (16,), "right_leg": (17,), "shoes": (18, 19),
    "neck": (), "bag": (),
}
CIHP = {**LIP, "dress": (6,), "neck": (10,)}
ATR = {
    "hat": (1,), "hair": (2,), "gloves": (), "glasses": (3,), "upper": (4,), "dress": (7,), "socks": (), "lower": (5, 6, 8),
    "scarf": (17,), "face": (11,), "left_arm": (14,), "right_arm": (15,), "left_leg": (12,), "right_leg": (13,), "shoes": (9, 10),
    "neck": (), "bag": (16,),
}
SCHEMES = {"lip": LIP, "cihp": CIHP, "atr": ATR}
CLASSES = {"lip": 20, "cihp": 20, "atr": 18}


def _voc_palette(count: int) -> list[tuple[int, int, int]]:
    """The PASCAL VOC colours: the label's bits dealt to red, green and blue, most significant first."""
    def level(label, channel):
        return sum(((label >> (3 * bit + channel)) & 1) << (7 - bit) for bit in range(3))

    return [tuple(level(label, channel) for channel in range(3)) for label in range(count)]


# the palette of the CIHP data set, in which VITON-HD's maps are stored (there with 254 in place of 255)
CIHP_PALETTE = [
    (0, 0, 0), (128, 0, 0), (255, 0, 0), (0, 85, 0), (170, 0, 51), (255, 85, 0), (0, 0, 85), (0, 119, 221), (85, 85, 0), (0, 85, 85),
    (85, 51, 0), (52, 86, 128), (0, 128, 0), (0, 0, 255), (51, 170, 221), (0, 255, 255), (85, 255, 170), (170, 255, 85), (255, 255, 0),
    (255, 170, 0),
]
TOLERANCE = 4        # levels a stored colour may be off (254 for 255)
MOSTLY = 0.98        # share of pixels that must hit the palette; the rest (resampled edges) takes the nearest colour


def labels_from_picture(picture: torch.Tensor, scheme: str = "lip") -> torch.Tensor:
    """A parse picture (B,H,W,3) to labels (B,H,W) int64.

    Read as grey levels 0..classes-1, else in the VOC colours, else in CIHP's, whichever fits. Raises ValueError when none does,
    which is what a JPEG, a resized map or another label system looks like.
    """
    count = CLASSES[_known(scheme)]
    pixels = to_uint8(as_image(picture, "parse map"))
    if (pixels == pixels[..., :1]).all() and pixels.max() < count:
        return torch.from_numpy(pixels[..., 0].astype(np.int64))
    for palette in (_voc_palette(count), CIHP_PALETTE[:count]):
        labels, off = _nearest(pixels, np.array(palette))
        if (off <= TOLERANCE).mean() >= MOSTLY:
            return torch.from_numpy(labels)
    raise ValueError("The parse map's colours are neither label numbers nor the LIP/CIHP palettes; load the PNG without resizing or "
                     "colour changes, "
                     "or give the garment's mask instead.")


def _nearest(pixels: np.ndarray, palette: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Per pixel (B,H,W,3) the index of the nearest colour and the largest channel difference to it."""
    colours, inverse = np.unique(pixels.reshape(-1, 3), axis=0, return_inverse=True)
    apart = np.abs(colours[:, None].astype(int) - palette[None]).max(-1)
    shape = pixels.shape[:3]
    return apart.argmin(1)[inverse].reshape(shape), apart.min(1)[inverse].reshape(shape)


def check_labels(labels: torch.Tensor, scheme: str = "lip") -> np.ndarray:
    """Integer labels (H,W) or (B,H,W) to numpy (B,H,W); values outside the scheme are refused."""
    array = labels.detach().cpu().numpy() if isinstance(labels, torch.Tensor) else np.asarray(labels)
    array = array[None] if array.ndim == 2 else array
    if array.ndim != 3 or array.dtype.kind not in "iu":
        raise ValueError(f"The parse map has shape {array.shape} and type {array.dtype}, but integer labels (batch, height, width) "
                         f"were expected.")
    if array.min() < 0 or array.max() >= CLASSES[_known(scheme)]:
        raise ValueError(f"The parse map holds labels {array.min()}..{array.max()}, but {scheme} has 0..{CLASSES[scheme] - 1}; "
                         f"choose another label system.")
    return array


def part(labels: np.ndarray, scheme: str, *names: str) -> np.ndarray:
    """Where labels (...) belong to any of the named parts: bool (...)."""
    table = SCHEMES[_known(scheme)]
    return np.isin(labels, [label for name in names for label in table[name]])


def _known(scheme: str) -> str:
    if scheme not in SCHEMES:
        raise ValueError(f"Label system '{scheme}' is not known; choose one of {', '.join(SCHEMES)}.")
    return scheme
