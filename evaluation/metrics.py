"""What is measured: one table of metrics, each with what it compares, what it needs and where that goes.

Thin on torchmetrics (SSIM, MS-SSIM, PSNR, LPIPS) and torch-fidelity (Inception features, KID), the packages of the extra `eval`; nothing is ever
downloaded. A metric keeps its published name only with its published networks: on the user's own CLIP vision model
the same distances are "clip vision" ones.

Kinds: "pair" compares a result with its truth at one size; "likeness" compares embeddings of the two, of any sizes; "set" compares two
sets as wholes; "text" a result with its prompt; "single" judges a result alone; "parts" a result's regions with several garments;
"attention" is of attention maps, not of pictures (`attention_concentration`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity

from ..models.parts.probe import concentration
from .distances import frechet, kernel
from .looks import Looks, MetricError, package
from .statistics import Summary, summarise

FEWEST_FID = 1000
"""A Frechet distance of fewer pictures mostly measures how few they are."""

MS_SSIM_SIDE = 176
"""The shortest side at which five scales of an 11 x 11 window fit."""


@dataclass(frozen=True)
class Metric:
    """One metric.

    Attributes:
        name, label: for programs, for people. kind: see above. higher: larger is better.
        needs: entries of `looks.WEIGHTS`, files of models/metrics; "vision": a CLIP_VISION of the user's.
        packages: of the extra `eval`. about: what it measures, in a sentence.
    """

    name: str
    label: str
    kind: str
    higher: bool
    about: str
    needs: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()


METRICS = {
    m.name: m
    for m in (
        Metric("psnr", "PSNR", "pair", True, "Mean squared error in decibels, over all pixels and channels.", packages=("torchmetrics",)),
        Metric("ssim", "SSIM", "pair", True, "Structure in 11 x 11 Gaussian windows (sigma 1.5), borders mirrored, mean over RGB.", packages=("torchmetrics",)),
        Metric("ms_ssim", "MS-SSIM", "pair", True, f"SSIM at five scales; sides of at least {MS_SSIM_SIDE} pixels.", packages=("torchmetrics",)),
        Metric("lpips", "LPIPS (AlexNet)", "pair", False, "Distance of AlexNet's features, weighted as people judge.", ("alexnet",), ("torchmetrics",)),
        Metric("lpips_vgg", "LPIPS (VGG-16)", "pair", False, "Distance of VGG-16's features, weighted as people judge.", ("vgg16",), ("torchmetrics",)),
        Metric("dists", "DISTS", "pair", False, "Distance of structure and texture in VGG-16's features.", ("vgg16", "dists")),
        Metric("clip_i", "CLIP-I", "likeness", True, "Cosine of CLIP ViT-B/32 embeddings of result and truth (or garment).", ("clip_b32",)),
        Metric("clip_vision_similarity", "CLIP vision similarity", "likeness", True, "Cosine of your CLIP vision model's embeddings of result and truth.", ("vision",)),
        Metric("fid", "FID", "set", False, f"Frechet distance of Inception features; at least {FEWEST_FID} pictures of either kind.", ("inception",), ("torch_fidelity",)),
        Metric("kid", "KID x 1000", "set", False, "Kernel distance of Inception features, times 1000, mean over subsets.", ("inception",), ("torch_fidelity",)),
        Metric("clip_fid", "CLIP-FID", "set", False, f"Frechet distance of CLIP ViT-B/32 embeddings; at least {FEWEST_FID} pictures of either kind.", ("clip_b32",)),
        Metric("clip_vision_distance", "CLIP vision distance", "set", False, "Frechet distance of your CLIP vision model's embeddings. Not FID, and comparable only with the same model.", ("vision",)),
        Metric("clip_vision_kernel", "CLIP vision kernel distance x 1000", "set", False, "Kernel distance of your CLIP vision model's embeddings, times 1000. Not KID; fit for few pictures.", ("vision",)),
        Metric("clip_t", "CLIP-T", "text", True, "Cosine of CLIP ViT-B/32 embeddings of result and prompt.", ("clip_b32",)),
        Metric("clip_as", "CLIP-AS", "single", True, "Aesthetic score, 1 to 10, of a small head on CLIP ViT-L/14.", ("clip_l14", "aesthetic")),
        Metric("clip_i_star", "CLIP-I*", "parts", True, "CLIP-I of each garment with its own region of the result, mean over garments.", ("clip_b32",)),
        Metric("attention_concentration", "attention concentration", "attention", True, "Share of the attention within a radius of the true place."),
    )
}


def check_metrics(names: Sequence[str]) -> list[str]:
    """These metrics, each once.

    Raises:
        MetricError: none, or one that is not known.
    """
    unknown = [n for n in names if n not in METRICS]
    if unknown or not names:
        raise MetricError(f"The metric {', '.join(unknown) or '(none)'} is not known; known are {', '.join(METRICS)}.")
    return list(dict.fromkeys(names))


def paired(name: str, generated: Tensor, real: Tensor, looks: Looks) -> Tensor:
    """A metric of kind "pair", one number per pair (B,).

    Args:
        generated, real: (B,3,H,W), 0..1.

    Raises:
        MetricError: a missing package or file, pictures too small for it, or two sizes.
    """
    if generated.shape != real.shape:
        raise MetricError(f"The results are {_size(generated)} and the true pictures {_size(real)}; bring them to one size and give equally many.")
    generated, real = generated.to(looks.device, torch.float32), real.to(looks.device, torch.float32)
    if name == "dists":
        with torch.no_grad():
            return looks.dists()(generated, real).cpu()
    functional = package("torchmetrics").functional.image
    if name == "psnr":
        each = [functional.peak_signal_noise_ratio(g, r, data_range=1.0) for g, r in zip(generated, real)]
        return torch.stack(each).cpu()
    if name == "ssim":
        return functional.structural_similarity_index_measure(generated, real, data_range=1.0, reduction="none").reshape(-1).cpu()
    if name == "ms_ssim":
        if min(generated.shape[-2:]) < MS_SSIM_SIDE:
            raise MetricError(f"MS-SSIM needs sides of at least {MS_SSIM_SIDE} pixels, and the pictures are {_size(generated)}; use SSIM, or larger pictures.")
        found = functional.multiscale_structural_similarity_index_measure(generated, real, data_range=1.0, reduction="none")
        return found.reshape(-1).cpu()
    with torch.no_grad():
        return looks.lpips("vgg" if name == "lpips_vgg" else "alex")(generated * 2 - 1, real * 2 - 1).reshape(-1).cpu()


def _size(pictures: Tensor) -> str:
    return f"{len(pictures)} of {pictures.shape[-1]} x {pictures.shape[-2]}"


def likeness(a: Tensor, b: Tensor) -> Tensor:
    """Cosines (N,) of embeddings (N,D): CLIP-I of results and garments, CLIP-T of results and prompts."""
    return cosine_similarity(a, b)


def distribution(name: str, generated: Tensor, real: Tensor) -> Summary:
    """A metric of kind "set" between two sets of embeddings (N,D), (M,D).

    Raises:
        MetricError: too few pictures for it.
    """
    a, b, label = generated.double(), real.double(), METRICS[name].label
    least = min(len(a), len(b))
    if least < 2:
        raise MetricError(f"{label} compares two sets, and {len(a)} results and {len(b)} true pictures came; give at least 2 of either.")
    if name in ("fid", "clip_fid") and least < FEWEST_FID:
        raise MetricError(f"{label} of {len(a)} results and {len(b)} true pictures would mostly measure how few they are; give at least {FEWEST_FID} of either, or use KID.")
    if name in ("kid", "clip_vision_kernel"):
        value, spread = kernel(a, b)
        return Summary(1000 * value, len(a), deviation=1000 * spread, spread_over="subsets")
    note = f"{least} pictures for {a.shape[1]} features: the value rises as pictures get fewer; compare only equal numbers." if least < 10 * a.shape[1] else ""
    return Summary(frechet(a, b), len(a), note=note)


def clip_i_star(generated: Tensor, garments: Mapping[str, Tensor], regions: Mapping[str, Tensor], embed: Callable[[list[Tensor]], Tensor]) -> float | None:
    """CLIP-I* of one result: each garment with the part of the result where it is worn, cut out to its box, mean over the garments.

    Args:
        generated: (3,H,W). garments: per slot a picture (3,h,w). regions: per slot a mask (H,W), from a pose or a parse map.
        embed: of pictures of any sizes (`Looks.embedder`).

    Returns:
        the mean; None where no garment's region is seen in the result.

    Raises:
        MetricError: slots without a region.
    """
    if missing := sorted(set(garments) - set(regions)):
        raise MetricError(f"CLIP-I* needs the region of every garment in the result, and {', '.join(missing)} has none; make it from a parse map or a pose.")
    cut, whole = [], []
    for slot, picture in garments.items():
        rows, columns = torch.nonzero(regions[slot] > 0.5, as_tuple=True)
        if len(rows):
            cut.append(generated[:, int(rows.min()) : int(rows.max()) + 1, int(columns.min()) : int(columns.max()) + 1])
            whole.append(picture)
    return float(likeness(embed(cut), embed(whole)).mean()) if cut else None


def attention_concentration(maps: Tensor, targets: Tensor, radius: float, size: tuple[float, float]) -> Summary:
    """How much of the attention lies near its true place, mean over points (SIFT-VTON figure 4 in a number).

    Args:
        maps: (K,h,w), each sum 1. targets: (K,2) x, y in pixels of the garment picture. radius: in pixels. size: (height, width) of that picture.
    """
    share, even = concentration(maps, targets, radius, size)
    return replace(summarise(share.tolist()), note=f"spread evenly it would be {float(even.mean()):.4g}.")
