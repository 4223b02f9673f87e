"""Saliency maps: where a picture draws the eye, without weights or from a background model's map.

X. Hou and L. Zhang, "Saliency Detection: A Spectral Residual Approach", CVPR 2007: the log amplitude of a small picture's spectrum
minus its local average is what is unexpected in it. Sizes and blur follow OpenCV contrib's StaticSaliencySpectralResidual. The maps
are S of PM-Jewelry's conditioning (section 3, figure 5).
"""

import numpy as np
import torch
import torch.nn.functional as F

from .arrays import as_image, as_mask, match_batch, to_uint8
from .canny import luma
from .warp import place_picture

SIDE = 64             # the scale at which the method looks, in pixels
# The least amplitude counted. Rounding to 8 bits alone puts about 0.29 * 64 = 18 into every frequency of a photograph, so this changes
# none; but a drawn picture lacks frequencies altogether, and the logarithm of their rounding noise would bury the rest.
FAINTEST = 1.0
BLUR = np.exp(-np.arange(-2, 3) ** 2 / (2 * 8.0 ** 2))
BLUR /= BLUR.sum()    # 5 taps, sigma 8
METHODS = ("spectral_residual", "luma_contrast")


def saliency(image: torch.Tensor, method: str = "spectral_residual") -> torch.Tensor:
    """Saliency (B,1,H,W) in 0..1 of a picture (B,H,W,3); a uniform picture has none (zeros)."""
    if method not in METHODS:
        raise ValueError(f"Saliency method '{method}' is not known; choose one of {', '.join(METHODS)}.")
    grey = np.stack([luma(item) for item in to_uint8(as_image(image))])
    maps = [(spectral_residual if method == "spectral_residual" else luma_contrast)(item) for item in grey]
    return torch.from_numpy(np.stack(maps))[:, None].float()


def spectral_residual(grey: np.ndarray) -> np.ndarray:
    """Hou and Zhang's equations (8)-(11) on uint8 (H,W): float (H,W) in 0..1."""
    small = np.floor(_resize(grey.astype(np.float64), (SIDE, SIDE)) + 0.5)  # to 8 bits, halves up as OpenCV
    if np.ptp(small) == 0:
        return np.zeros(grey.shape)
    spectrum = np.fft.fft2(small)
    amplitude = np.abs(spectrum)
    amplitude = np.maximum(amplitude, FAINTEST)
    log_amplitude = np.log(amplitude)
    residual = log_amplitude - _filter(log_amplitude, np.full(3, 1 / 3))
    # exp(residual + i * phase), with the phase taken as spectrum / |spectrum|
    back = np.fft.ifft2(np.exp(residual) * spectrum / amplitude)
    energy = _filter(np.abs(back), BLUR) ** 2
    return _resize(energy / energy.max(), grey.shape).clip(0, 1)


def luma_contrast(grey: np.ndarray) -> np.ndarray:
    """Distance of every pixel's luma from the picture's mean, uint8 (H,W) to float (H,W), its largest value 1."""
    contrast = np.abs(grey.astype(np.float64) - grey.mean())
    return contrast / max(contrast.max(), 1e-9)


def from_map(picture: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """A background model's mask (B,h,w) or picture (B,h,w,3) as saliency (B,1,height,width), its largest value 1."""
    soft = as_image(picture, "saliency picture").mean(-1)[:, None] if picture.shape[-1] in (1, 3, 4) and picture.dim() == 4 \
        else as_mask(picture, "saliency mask")
    if soft.shape[-2:] != (height, width):
        soft = F.interpolate(soft, (height, width), mode="bilinear", antialias=True)
    peak = soft.amax((1, 2, 3), keepdim=True)
    return (soft / peak.clamp_min(1e-6)).clamp(0, 1)


def with_jewelry(head: torch.Tensor, jewelry: torch.Tensor, corners: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Head saliency (B,1,H,W) with the placed jewelry's (B,1,h,w) inside the mask (B,1,H,W), in head coordinates.

    corners (B,N,4,2): where the jewelry picture's four corners lie (see warp.place_picture). Inside the mask the larger of the two
    counts, because a bright piece stands out wherever the head already did; outside, the head's map is untouched.
    """
    head, jewelry, mask = match_batch(head=as_mask(head, "head"), jewelry=as_mask(jewelry, "jewelry"), mask=as_mask(mask))
    placed, covered = place_picture(jewelry, corners, head.shape[-2:])
    return torch.where((mask > 0.5) & (covered > 0.5), torch.maximum(head, placed), head)


def _resize(values: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Bilinear without antialias, half-pixel centres."""
    return F.interpolate(torch.from_numpy(values)[None, None], size, mode="bilinear", align_corners=False)[0, 0].numpy()


def _filter(values: np.ndarray, taps: np.ndarray) -> np.ndarray:
    """A separable filter with the border mirrored about the edge pixel."""
    for axis in (0, 1):
        padded = np.pad(values, [(len(taps) // 2,) * 2 if a == axis else (0, 0) for a in (0, 1)], mode="reflect")
        values = np.lib.stride_tricks.sliding_window_view(padded, len(taps), axis) @ taps
    return values
