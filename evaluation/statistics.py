"""Means with what they are worth: bootstrap intervals over pictures, spread over seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np


@dataclass(frozen=True)
class Summary:
    """A metric's value.

    Attributes:
        value: the mean over pictures, or the distance between two sets; over several runs the mean of theirs.
        count: pictures (of all runs). low, high: 95 % bootstrap interval of the mean over pictures, None where there is none.
        deviation: standard deviation, over what `spread_over` says ("pictures", "3 runs"); None where there is none.
        note: what to know.
    """

    value: float
    count: int
    low: float | None = None
    high: float | None = None
    deviation: float | None = None
    spread_over: str = ""
    note: str = ""


def summarise(values: Sequence[float], seed: int = 0, draws: int = 1000) -> Summary:
    """The mean of values per picture with its interval. Infinite values (equal pictures) are left out and counted in the note.

    Raises:
        ValueError: no values.
    """
    given = np.asarray(values, np.float64)
    if not len(given):
        raise ValueError("There are no values to summarise.")
    kept = given[np.isfinite(given)]
    note = f"{len(given) - len(kept)} of {len(given)} pictures are equal to their truth (infinite) and are left out of the mean." if len(kept) < len(given) else ""
    if not len(kept):
        return Summary(float("inf"), len(given), note="every picture is equal to its truth.")
    deviation = float(kept.std(ddof=1)) if len(kept) > 1 else None
    if len(kept) < 2:
        return Summary(float(kept[0]), len(given), note=note)
    means = kept[np.random.default_rng(seed).integers(len(kept), size=(draws, len(kept)))].mean(1) if len(kept) <= 20_000 else None
    low, high = (float(kept.mean()) + s * 1.96 * deviation / len(kept) ** 0.5 for s in (-1, 1)) if means is None else np.percentile(means, [2.5, 97.5]).tolist()
    return Summary(float(kept.mean()), len(given), low, high, deviation, "pictures", note)


def over_runs(runs: Mapping[str, Mapping[str, Summary]]) -> dict[str, Summary]:
    """Per metric one summary of all runs: of a single run its own, of several the mean and the standard deviation of their values."""
    names = dict.fromkeys(name for found in runs.values() for name in found)
    out = {}
    for name in names:
        mine = [found[name] for found in runs.values() if name in found]
        if len(runs) == 1:
            out[name] = mine[0]
            continue
        mean, deviation = mean_and_spread([s.value for s in mine])
        missing = f"{len(runs) - len(mine)} of {len(runs)} runs have no value." if len(mine) < len(runs) else mine[0].note
        out[name] = replace(Summary(mean, sum(s.count for s in mine)), deviation=deviation, spread_over=f"{len(mine)} runs", note=missing)
    return out


def mean_and_spread(values: Sequence[float]) -> tuple[float, float | None]:
    """Mean and standard deviation (n - 1); None for a single value."""
    given = np.asarray(values, np.float64)
    return float(given.mean()), float(given.std(ddof=1)) if len(given) > 1 else None
