"""Distances between two sets of features, (N,D) float64 each."""

from __future__ import annotations

import torch
from torch import Tensor


def frechet(a: Tensor, b: Tensor) -> float:
    """The Frechet distance of the two sets as normal distributions (Heusel et al. 2017, equation 6):

        |m_a - m_b|^2 + tr(S_a + S_b - 2 (S_a S_b)^(1/2))

    The trace of the root is the sum of the roots of S_a S_b's eigenvalues, which are those of A S_b A with A = S_a^(1/2), symmetric and so
    free of imaginary parts.
    """
    (ma, sa), (mb, sb) = moments(a), moments(b)
    values, vectors = torch.linalg.eigh(sa)
    root = vectors * values.clamp_min(0).sqrt() @ vectors.T
    between = torch.linalg.eigvalsh(root @ sb @ root).clamp_min(0).sqrt().sum()
    return float(((ma - mb) ** 2).sum() + sa.trace() + sb.trace() - 2 * between)


def moments(features: Tensor) -> tuple[Tensor, Tensor]:
    """Mean (D,) and covariance (D,D), with n - 1."""
    features = features.double()
    mean = features.mean(0)
    centred = features - mean
    return mean, centred.T @ centred / max(len(features) - 1, 1)


def kernel(a: Tensor, b: Tensor, subsets: int = 100, size: int = 1000, seed: int = 0) -> tuple[float, float]:
    """The kernel distance (Binkowski et al. 2018): unbiased MMD^2 with (x y / D + 1)^3, mean and standard deviation over random subsets.

    Where a set is smaller than `size`, subsets are as large as the smaller set; where both are, there is one subset, the whole, and no spread.
    """
    size, whole = min(size, len(a), len(b)), len(a) == len(b) <= size
    generator = torch.Generator().manual_seed(seed)
    found = []
    for _ in range(1 if whole else subsets):
        x, y = (f.double() if whole else f.double()[torch.randperm(len(f), generator=generator)[:size]] for f in (a, b))
        found.append(_mmd(x, y))
    values = torch.tensor(found, dtype=torch.float64)
    return float(values.mean()), float(values.std(unbiased=False))


def _mmd(x: Tensor, y: Tensor) -> float:
    n, width = x.shape
    cube = lambda p, q: (p @ q.T / width + 1) ** 3  # noqa: E731
    xx, yy, xy = cube(x, x), cube(y, y), cube(x, y)
    own = ((xx.sum() - xx.trace()) + (yy.sum() - yy.trace())) / (n * (n - 1))
    return float(own - 2 * xy.mean())
