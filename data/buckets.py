"""Aspect buckets: pictures of other proportions get a canvas of their own, of about the same area, instead of broad padding."""

from __future__ import annotations

import math
from functools import lru_cache

WIDEST = 2.0
"""Sides of a bucket differ at most by this factor; pictures longer than that are padded."""


@lru_cache(maxsize=64)
def bucket_sizes(height: int, width: int) -> tuple[tuple[int, int], ...]:
    """The canvases of a training size, (height, width) each: the size itself, and others of at most its area.

    Sides are multiples of an eighth of the shorter side, rounded down to a multiple of 8, so that there are about ten of them.

    Args:
        height, width: of the training, multiples of 8, at least 64.
    """
    step, area = max(8, min(height, width) // 64 * 8), height * width
    found = {(height, width)}
    for h in range(step, math.isqrt(int(area * WIDEST)) + 1, step):
        w = area // h // step * step
        if w and max(h / w, w / h) <= WIDEST:
            found.add((h, w))
    return tuple(sorted(found))


def bucket_of(size: tuple[int, int], height: int, width: int) -> tuple[int, int]:
    """The canvas whose proportions are nearest to those of a picture of `size` (height, width)."""
    ratio = math.log(size[0] / size[1])
    return min(bucket_sizes(height, width), key=lambda s: (abs(math.log(s[0] / s[1]) - ratio), -s[0] * s[1]))
