"""The "high-quality" subset of a try-on data set for garment restoration, as rules computable from masks and pose.

Source: IGR, section 3.2 "Training Strategy": the authors removed occluded, truncated and side-view garments by hand, padded extreme
proportions, kept proper occlusions as hard cases (section 1), and fine-tuned on 20 % of the pairs (section 4.1).

The paper gives no numbers. Every threshold in `CurateRules` is UNCALIBRATED: chosen on synthetic figures and a handful of
photographs, never fitted to a data set. So pairs are ranked by score and a share is kept; single thresholds only label.
The rules are in `curate_rules.py`; one whose evidence is missing is "unknown" and does not count.
"""

import math
from dataclasses import dataclass, field, fields
from typing import NamedTuple

import numpy as np

from .curate_rules import (
    HARD,
    PASS,
    REJECT,
    UNKNOWN,
    CurateRules,
    Rule,
    fragments,
    front_view,
    occlusion,
    proportion,
    same_category,
    symmetry,
    truncation,
    without_specks,
)
from .parts import SCHEMES, part
from .pictures import to_mask, to_rgb8

# what of a parse map is the garment, and what may cover it (names of `parts`)
GARMENTS = {"upper": ("upper",), "lower": ("lower",), "full": ("dress",)}
OCCLUDERS = ("hair", "left_arm", "right_arm", "bag", "scarf")


@dataclass(frozen=True)
class Candidate:
    """What is known of one pair; everything but the name and the garment's mask may be missing.

    garment      (H,W) mask of the garment on the person; float 0..1, uint8 or bool, as all masks here
    occluders    (H,W) mask of what may cover it (`from_parse`)
    category     (H,W) mask of the declared category in the parse
    keypoints    (N,2) or (N,3) pixels x, y and confidence in `layout`, one of LAYOUTS
    in_shop      (H,W) mask of the garment in its product photo; a real one, not a threshold against white
    """

    name: str
    garment: np.ndarray
    occluders: np.ndarray | None = None
    category: np.ndarray | None = None
    keypoints: np.ndarray | None = None
    layout: str = "body25"
    in_shop: np.ndarray | None = None


@dataclass(frozen=True)
class Judgement:
    """Every rule's answer for one candidate. score: geometric mean of the known rules (0..1), so that one failing rule weighs."""

    name: str
    rules: tuple[Rule, ...]
    score: float = field(init=False)

    def __post_init__(self):
        known = [max(rule.score, 1e-3) for rule in self.rules if rule.verdict != UNKNOWN]
        mean = math.exp(sum(map(math.log, known)) / len(known)) if known else 0.0
        object.__setattr__(self, "score", mean)

    @property
    def verdict(self) -> str:
        """The worst verdict of the known rules."""
        verdicts = {rule.verdict for rule in self.rules}
        return next((v for v in (REJECT, HARD, PASS) if v in verdicts), UNKNOWN)

    @property
    def reason(self) -> str:
        """The reason of the lowest-scoring rule that is not a pass; "" where all is well."""
        bad = [rule for rule in self.rules if rule.verdict in (HARD, REJECT)]
        return min(bad, key=lambda rule: rule.score).reason if bad else ""


def from_parse(parse, category: str, labels: str = "atr") -> tuple[np.ndarray, np.ndarray]:
    """(garment, occluders) masks (H,W) bool from a human parsing of one of `parts.SCHEMES`: "atr" (Dress Code), "cihp" (VITON-HD), "lip"."""
    if labels not in SCHEMES or category not in GARMENTS:
        raise ValueError(f"No labels are known for {category!r} in {labels!r}, expected upper, lower or full in {', '.join(SCHEMES)}.")
    parse = np.asarray(parse)
    return part(parse, labels, *GARMENTS[category]), part(parse, labels, *OCCLUDERS)


def judge(candidate: Candidate, rules: CurateRules | None = None) -> Judgement:
    """Run every rule. An empty garment mask is rejected, with that reason, instead of raising."""
    rules = rules or CurateRules()
    garment = to_mask(candidate.garment, name="garment mask")
    if not garment.any():
        return Judgement(candidate.name, (Rule("mask", 0.0, 0.0, REJECT, "the garment mask is empty"),))
    occluders, category, in_shop = (
        None if mask is None else to_mask(mask, name=name)
        for mask, name in (
            (candidate.occluders, "occluder mask"), (candidate.category, "category mask"), (candidate.in_shop, "in-shop mask"),
        )
    )
    for mask, name in ((occluders, "occluder mask"), (category, "category mask")):
        if mask is not None and mask.shape != garment.shape:
            raise ValueError(f"The {name} is {mask.shape}, the garment mask {garment.shape}: give masks of the same picture.")
    garment, _ = without_specks(garment, rules)
    return Judgement(candidate.name, (
        front_view(candidate.keypoints, candidate.layout, rules),
        truncation(garment, rules),
        occlusion(garment, occluders, rules),
        fragments(garment, occluders, rules),
        symmetry(in_shop, rules),
        proportion(in_shop, rules),
        same_category(garment, category, rules),
    ))


class Selection(NamedTuple):
    """Indices into the judgements, best first: what is kept, what is not."""

    kept: list[int]
    rejected: list[int]


def select(judgements: list[Judgement], share: float = 0.2, cut: bool = False) -> Selection:
    """Rank by score and keep `share` (0..1] of all, at least one; ties by place. IGR kept 20 %.

    cut=True also turns away whatever a rule rejects, which trusts uncalibrated thresholds.
    """
    if not 0.0 < share <= 1.0:
        raise ValueError(f"The share to keep is {share}, expected above 0 and at most 1, e.g. 0.2.")
    order = sorted(range(len(judgements)), key=lambda index: -judgements[index].score)
    kept = order[: max(1, math.floor(share * len(order) + 0.5))]
    if cut:
        kept = [index for index in kept if judgements[index].verdict != REJECT]
    chosen = set(kept)
    return Selection(kept, [index for index in order if index not in chosen])


def curation_report(judgements: list[Judgement], selection: Selection, rules: CurateRules | None = None) -> dict:
    """What was decided, as plain data for JSON: thresholds with the warning, counts per rule, every pair's scores."""
    rules = rules or CurateRules()
    counts: dict[str, dict[str, int]] = {}
    for judgement in judgements:
        for rule in judgement.rules:
            verdicts = counts.setdefault(rule.name, {PASS: 0, HARD: 0, REJECT: 0, UNKNOWN: 0})
            verdicts[rule.verdict] += 1
    kept = set(selection.kept)
    return {
        "thresholds": {item.name: getattr(rules, item.name) for item in fields(rules)},
        "thresholds_calibrated": False,
        "kept": len(kept),
        "of": len(judgements),
        "rules": counts,
        "pairs": [
            {
                "name": j.name, "kept": index in kept, "score": round(j.score, 4), "verdict": j.verdict, "reason": j.reason,
                "rules": {rule.name: None if math.isnan(rule.value) else round(rule.value, 4) for rule in j.rules},
            }
            for index, j in enumerate(judgements)
        ],
    }


def picture_hash(picture) -> int:
    """A 64-bit perceptual hash: the signs of the lowest 8x8 cosine frequencies of a 32x32 grey picture against their median."""
    import cv2

    grey = cv2.cvtColor(to_rgb8(picture), cv2.COLOR_RGB2GRAY)
    small = cv2.resize(grey, (32, 32), interpolation=cv2.INTER_AREA).astype(np.float32)
    low = cv2.dct(small)[:8, :8].ravel()
    return int.from_bytes(np.packbits(low > np.median(low[1:])).tobytes(), "big")


def near_duplicates(hashes: list[int], distance: int = 4) -> list[tuple[int, int]]:
    """Pairs (i, j), i < j, whose hashes differ in at most `distance` bits (uncalibrated): the same garment or photo twice."""
    bits = np.array([int(value) for value in hashes], np.uint64)
    found = []
    for i in range(len(bits) - 1):
        differ = np.bitwise_count(bits[i + 1 :] ^ bits[i])
        found += [(i, i + 1 + int(j)) for j in np.flatnonzero(differ <= distance)]
    return found
