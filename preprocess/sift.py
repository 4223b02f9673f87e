"""SIFT matches between a person and the garment worn, filtered for try-on.

Source: "SIFT-VTON", arXiv 2605.01296, section 3.1 (the filters and their order) and 4.1.1 (45 degrees, [0.44, 2.25]). What the
paper leaves open follows the released procedure: ratio 0.80, colour filter, one run per body part (torso, right arm, left arm),
RANSAC at 12 px from 15 matches on, three rules for smaller sets, none below two matches.

Order: ratio, angle, scale, colour, duplicates, then RANSAC (15 or more) or slope, garment_neighbour, person_neighbour (2..14),
then minimum. `match_filters.py` holds them; here they are chained and what each removed is written down.

Differs from the released procedure:
- one seed per pair, never the process-wide generator: a pair's matches do not depend on which pairs came before;
- pictures keep their aspect when brought to the working area of 512 * 384 pixels (equal for 3:4 pictures);
- pictures that give nothing say why (`Matches.note`), also where the garment is turned or mirrored.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import NamedTuple

import numpy as np

from . import match_filters as filters
from .matches import Matches, Removal, empty
from .pictures import move_points, resize, size_for_area, to_mask, to_rgb8
from .ransac import ransac_homography
from .sift_features import Features, describe, hsv_at, two_nearest

WHOLE = "whole"  # the name of the only part where no part masks are given
PERSON_FILL, GARMENT_FILL = 0, 255  # what surrounds a masked person, a masked garment


@dataclass(frozen=True)
class MatchOptions:
    """Every threshold of the matching; the defaults are the released ones.

    working_pixels  both pictures are brought to about this area before detection; None takes them as they come
    luma            "released": grey with red and blue weights exchanged, as the released matches were made; "rgb": correct
    legacy          leave the scale filter out, as in the first published matches
    *_px            pixels of a 512x384 picture, scaled with the square root of the working area
    """

    ratio: float = 0.8
    max_angle: float = 45.0
    max_scale: float = 2.25
    colour: bool = True
    duplicate_px: float = math.sqrt(2.0)
    ransac_px: float = 12.0
    ransac_from: int = 15
    ransac_iterations: int = 1000
    ransac_confidence: float = 0.99
    max_slope: float = 15.0
    person_stretch: float = 1.4
    garment_stretch: float = 1.8
    minimum: int = 2
    working_pixels: int | None = 512 * 384
    luma: str = "released"
    legacy: bool = False

    def __post_init__(self):
        wanted = {
            "ratio": (0.0 < self.ratio <= 1.0, "above 0 and at most 1"),
            "max_angle": (0.0 < self.max_angle <= 180.0, "degrees above 0 and at most 180"),
            "max_scale": (self.max_scale >= 1.0, "1 or more"),
            "ransac_px": (self.ransac_px > 0.0, "pixels above 0"),
            "ransac_from": (self.ransac_from >= 4, "4 or more, the points of a homography"),
            "ransac_confidence": (0.0 < self.ransac_confidence < 1.0, "between 0 and 1"),
            "working_pixels": (self.working_pixels is None or self.working_pixels >= 1024, "1024 or more, or None"),
            "luma": (self.luma in ("released", "rgb"), "'released' or 'rgb'"),
        }
        for name, (good, words) in wanted.items():
            if not good:
                raise ValueError(f"The match option {name} is {getattr(self, name)!r}, expected {words}: correct it.")

    def fingerprint(self) -> str:
        """One line of text that differs whenever an option does."""
        return json.dumps(asdict(self), sort_keys=True)


class _Pairs(NamedTuple):
    """K matches, row by row: both ends in working pixels, orientations in degrees, diameters in pixels."""

    person: np.ndarray
    garment: np.ndarray
    person_deg: np.ndarray
    garment_deg: np.ndarray
    person_size: np.ndarray
    garment_size: np.ndarray

    def keep(self, mask):
        return _Pairs(*(column[mask] for column in self))


class _Part(NamedTuple):
    pairs: _Pairs
    removed: list[Removal]
    turned: float | None  # degrees, where most of what the angle filter removed agrees on a rotation
    left: Features  # the person's keypoints and painted picture, kept for the question whether the garment is mirrored
    person: np.ndarray
    garment_keypoints: int


def match_pair(person, garment, person_mask=None, garment_mask=None, options: MatchOptions | None = None, seed: int = 0) -> Matches:
    """The filtered matches of one person and one garment, in pixels of the pictures as given.

    person, garment            one picture each: (H,W,3), grey or with alpha, uint8 or float 0..1, numpy or torch
    person_mask, garment_mask  None, a mask (true or above one half: look here), or a dict part -> mask with the same
                               parts on both sides, e.g. {"torso", "right_arm", "left_arm"} (`garment_parts.part_masks`)
    seed                       all that the random part depends on

    A picture without matches (a plain garment, an empty mask) gives an empty result whose `note` says why.
    Raises ValueError for what is not a picture, a mask or an option.
    """
    options = options or MatchOptions()
    person = to_rgb8(person, PERSON_FILL, "person picture")
    garment = to_rgb8(garment, GARMENT_FILL, "garment picture")
    sizes = person.shape[:2], garment.shape[:2]
    work = [resize(picture, size_for_area(picture.shape[:2], options.working_pixels)) for picture in (person, garment)]
    masks = _part_masks(person_mask, garment_mask, work[0].shape[:2], work[1].shape[:2])
    parts = [
        _match_part(name, work[0], work[1], pair, options, (_positive(seed), number))
        for number, (name, pair) in enumerate(masks.items())
    ]
    removed = tuple(step for part in parts for step in part.removed)
    ends = [np.concatenate([getattr(part.pairs, side) for part in parts]) for side in ("person", "garment")]
    note = _note(parts, masks, lambda: _mirrored(parts, work[1], masks, options, seed))
    if not len(ends[0]):
        return empty(*sizes, note=note, removed=removed, seed=seed)
    moved = [move_points(xy, picture.shape[:2], size) for xy, picture, size in zip(ends, work, sizes, strict=True)]
    return Matches(np.stack(moved, axis=1), np.ones(len(moved[0]), bool), *sizes, removed, seed, note)


def match_batch(persons, garments, person_masks=None, garment_masks=None, options=None, seed: int = 0, progress=None) -> list[Matches]:
    """`match_pair` for every row of two batches (B,H,W,C); a side with one row serves all rows. Row i has seed + i.

    progress(done, total) is called after every pair; what it raises (a cancelled run) ends the batch.
    """
    sides = {"persons": persons, "garments": garments, "person masks": person_masks, "garment masks": garment_masks}
    rows = max(len(persons), len(garments))
    for name, side in sides.items():
        if side is not None and len(side) not in (1, rows):
            raise ValueError(f"There are {len(side)} {name} for {rows} pairs: give 1 or {rows}.")
    result = []
    for row in range(rows):
        one = [None if side is None else side[row if len(side) > 1 else 0] for side in sides.values()]
        result.append(match_pair(*one, options=options, seed=seed + row))
        if progress is not None:
            progress(row + 1, rows)
    return result


def _match_part(name, person, garment, masks, options, seed) -> _Part:
    person, garment = _painted(person, masks[0], PERSON_FILL), _painted(garment, masks[1], GARMENT_FILL)
    return _match_features(name, person, garment, describe(person, options.luma), options, seed)


def _match_features(name, person, garment, left, options, seed) -> _Part:
    right = describe(garment, options.luma)
    removed: list[Removal] = []
    if min(len(left.xy), len(right.xy)) < 2:
        nothing = np.zeros(0, np.float32)
        return _Part(_Pairs(np.zeros((0, 2)), np.zeros((0, 2)), *(nothing,) * 4), removed, None, left, person, len(right.xy))
    index, nearest, second = two_nearest(left.descriptors, right.descriptors)
    kept = filters.ratio_filter(nearest, second, options.ratio)
    removed.append(Removal(name, "ratio", len(left.xy), kept.removed))
    order = np.flatnonzero(kept.keep)
    order = order[np.argsort(nearest[order], kind="stable")]
    other = index[order]
    pairs = _Pairs(left.xy[order], right.xy[other], left.deg[order], right.deg[other], left.size[order], right.size[other])
    turned = _rotation(pairs, options)
    # From here on the garment is measured at the person's scale, so that two picture sizes do not look like a change of scale.
    equal = math.sqrt(person.shape[0] * person.shape[1] / (garment.shape[0] * garment.shape[1]))
    unit = math.sqrt(person.shape[0] * person.shape[1] / (512 * 384))
    pairs = _run(_appearance(person, garment, equal, unit, options), pairs, name, removed)
    pairs = _run(_geometry(len(pairs.person), person.shape[1], equal, unit, options, seed), pairs, name, removed)
    return _Part(pairs, removed, turned, left, person, len(right.xy))


def _appearance(person, garment, equal, unit, options):
    """(name, filter of the pairs) for what one match shows by itself, and for repeats."""
    if options.max_angle < 180.0:
        yield "angle", lambda p: filters.angle_filter(p.person_deg, p.garment_deg, options.max_angle)
    if not options.legacy:
        yield "scale", lambda p: filters.scale_filter(p.person_size, p.garment_size * equal, options.max_scale)
    if options.colour:
        yield "colour", lambda p: filters.colour_filter(hsv_at(person, p.person), hsv_at(garment, p.garment))
    yield "duplicates", lambda p: filters.duplicate_filter(p.person, p.garment * equal, options.duplicate_px * unit)


def _geometry(count, width, equal, unit, options, seed):
    """(name, filter of the pairs) for how matches fit together: RANSAC where there are many, three rules where there are few."""
    if count >= options.ransac_from:
        yield "ransac", lambda p: _consensus(p.person, p.garment * equal, unit, options, seed)
    else:
        yield "slope", lambda p: filters.slope_filter(p.person, p.garment * equal, width, options.max_slope)
        yield "garment_neighbour", lambda p: filters.neighbour_filter(p.garment * equal, p.person, options.person_stretch)
        yield "person_neighbour", lambda p: filters.neighbour_filter(p.person, p.garment * equal, options.garment_stretch)
    yield "minimum", lambda p: filters.minimum_filter(len(p.person), options.minimum)


def _consensus(person, garment, unit, options, seed):
    limit = options.ransac_px * unit
    inliers = ransac_homography(person, garment, limit, seed, options.ransac_iterations, options.ransac_confidence).inliers
    return filters.Kept(inliers, int((~inliers).sum()))


def _run(steps, pairs, part, removed):
    for name, step in steps:
        kept = step(pairs)
        removed.append(Removal(part, name, len(pairs.person), kept.removed))
        pairs = pairs.keep(kept.keep)
    return pairs


def _painted(picture, mask, fill):
    if mask is None:
        return picture
    return np.where(mask[..., None], picture, np.uint8(fill))


def _part_masks(person_mask, garment_mask, person_size, garment_size):
    """part -> (person mask or None, garment mask or None), as bool at the working sizes."""
    sides = [mask if isinstance(mask, Mapping) else None for mask in (person_mask, garment_mask)]
    if sides == [None, None]:
        one = [
            None if mask is None else to_mask(mask, size, name)
            for mask, size, name in ((person_mask, person_size, "person mask"), (garment_mask, garment_size, "garment mask"))
        ]
        return {WHOLE: tuple(one)}
    names = [sorted(side) if side is not None else None for side in sides]
    if names[0] != names[1] or not names[0]:
        raise ValueError(f"The parts of the person are {names[0]}, of the garment {names[1]}: give a mask for the same parts on both.")
    return {
        part: (to_mask(sides[0][part], person_size, f"person mask {part}"), to_mask(sides[1][part], garment_size, f"garment mask {part}"))
        for part in sides[0]
    }


def _positive(seed: int) -> int:
    return int(seed) % 2**63


def _rotation(pairs, options):
    """The angle most matches agree on, where the angle filter would refuse it; None otherwise."""
    turn = np.radians(pairs.garment_deg.astype(np.float64) - pairs.person_deg)
    refused = filters.angle_between(pairs.person_deg, pairs.garment_deg) >= options.max_angle
    if refused.sum() < 8 or refused.mean() < 0.6:
        return None
    mean = np.exp(1j * turn[refused]).mean()
    return abs(float(np.degrees(np.angle(mean)))) if abs(mean) > 0.6 else None


def _mirrored(parts, garment, masks, options, seed):
    """How many matches the garment's mirror image has."""
    found = 0
    for part, (_, mask) in zip(parts, masks.values(), strict=True):
        flipped = np.ascontiguousarray(_painted(garment, mask, GARMENT_FILL)[:, ::-1])
        found += len(_match_features("", part.person, flipped, part.left, options, (_positive(seed), 0)).pairs.person)
    return found


def _note(parts, masks, mirrored):
    """The sentence for the user: why there is nothing or little, or what looks wrong with the pair; "" where all is well."""
    left = sum(len(part.pairs.person) for part in parts)
    blank = [
        f"{side} mask" for number, side in enumerate(("person", "garment"))
        if all(pair[number] is not None and not pair[number].any() for pair in masks.values())
    ]
    if blank:
        return f"No matches: the {' and the '.join(blank)} excludes everything; give a mask that covers the garment."
    turned = [part.turned for part in parts if part.turned is not None]
    if turned and left < 15:
        degrees = round(max(turned) / 15) * 15
        return f"The garment looks turned by about {degrees} degrees against the person: turn it upright, or raise max_angle."
    keypoints = sum(len(part.left.xy) for part in parts), sum(part.garment_keypoints for part in parts)
    few = left < 20 and left < 0.05 * min(keypoints)
    if few and min(keypoints) >= 20 and mirrored() >= max(15, 3 * left):
        return "The garment looks mirrored left to right against the person: flip one of the pictures."
    if left:
        return ""
    if min(keypoints) < 20:
        side = "person" if keypoints[0] < keypoints[1] else "garment"
        return f"No matches: the {side} has {min(keypoints)} distinctive points, as plain fabric does; nothing is wrong."
    return f"No matches: the pictures share no distinctive detail ({keypoints[0]} points on the person, {keypoints[1]} on the garment)."
