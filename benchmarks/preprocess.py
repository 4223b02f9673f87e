"""SIFT matching against OpenCV's own detect, match and findHomography, on the same real photographs; masks and weightless maps.

    python benchmarks/preprocess.py [--only matching maps]

Pairs: Middlebury's motorcycle (a true stereo pair), and photographs of skimage.data under known perspective moves with noise and
another exposure, as a garment shot differs from the person's. Every number is the median of several rounds over all pairs, the two
sides taken in turn, with one OpenCV and one BLAS thread so that they compare. Results: benchmarks/results/preprocess.json.
"""

# ruff: noqa: E402
import os

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_name] = "1"  # before numpy starts its threads

import argparse
import json
import statistics
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import torch
from skimage import data

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "benchmarks")]

import conftest  # noqa: F401  registers the pack as `fitting_room`
import machine
from fitting_room.preprocess import canny, composite, depth, hint, jewelry, jewelry_draw, masks, overlay, placement, saliency
from fitting_room.preprocess.match_filters import duplicate_filter
from fitting_room.preprocess.matches import cells
from fitting_room.preprocess.pose import read_pose
from fitting_room.preprocess.sift import MatchOptions, match_pair

RATIO, RANSAC_PX = 0.8, 12.0


def pairs(height: int, width: int) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """name -> (person, garment) uint8 RGB of height x width."""
    rng = np.random.default_rng(0)
    left, right, _ = data.stereo_motorcycle()
    made = {"motorcycle": (left, right)}
    for name in ("astronaut", "coffee", "chelsea", "rocket"):
        made[name] = (getattr(data, name)(),) * 2
    result = {}
    for name, (person, garment) in made.items():
        person, garment = (cv2.resize(p, (width, height), interpolation=cv2.INTER_CUBIC) for p in (person, garment))
        if name != "motorcycle":
            corners = np.float32([[0, 0], [width, 0], [width, height], [0, height]])
            moved = corners * 0.8 + [0.1 * width, 0.1 * height] + rng.uniform(-0.06, 0.06, (4, 2)) * width
            warp = cv2.getPerspectiveTransform(corners, moved.astype(np.float32))
            garment = cv2.warpPerspective(garment, warp, (width, height), borderValue=(255,) * 3)
            garment = np.clip(garment * 0.9 + 12 + rng.normal(0, 4, garment.shape), 0, 255).astype(np.uint8)
        result[name] = person, garment
    return result


def bare(person, garment):
    """OpenCV's detection and brute-force matching, nothing else."""
    sift = cv2.SIFT_create()
    left, a = sift.detectAndCompute(person, None)
    right, b = sift.detectAndCompute(garment, None)
    return left, right, cv2.BFMatcher(cv2.NORM_L2).knnMatch(a, b, k=2)


def opencv(person, garment, threshold):
    """What OpenCV's tutorial does: detect, match, ratio, findHomography. Returns both ends (K,2) of the inliers."""
    left, right, near = bare(person, garment)
    good = [m for m, n in near if m.distance < RATIO * n.distance]
    if len(good) < 4:
        return np.zeros((0, 2)), np.zeros((0, 2))
    a = np.float32([left[m.queryIdx].pt for m in good])
    b = np.float32([right[m.trainIdx].pt for m in good])
    inliers = cv2.findHomography(a, b, cv2.RANSAC, threshold)[1][:, 0] > 0
    return a[inliers], b[inliers]


def timed(sides: dict, rounds: int, clock=time.perf_counter) -> dict[str, float]:
    """Median seconds of each function, the functions taken in turn so that a busy machine slows all of them."""
    spent = {name: [] for name in sides}
    order = list(sides)
    for _ in range(rounds + 1):
        order.append(order.pop(0))  # nobody is always first
        for name in order:
            start = clock()
            sides[name]()
            spent[name].append(clock() - start)
    return {name: statistics.median(values[1:]) for name, values in spent.items()}


def compare(height: int, width: int, rounds: int) -> dict:
    """Seconds and matches of ours, of bare detect and match, and of OpenCV's whole chain, pair by pair and in sum."""
    options = MatchOptions(working_pixels=None)
    threshold = RANSAC_PX * (height * width / (512 * 384)) ** 0.5
    rows = {}
    for name, (person, garment) in pairs(height, width).items():
        seconds = timed(
            {
                "bare_detect_match": lambda a=person, b=garment: bare(a, b),
                "opencv_with_homography": lambda a=person, b=garment: opencv(a, b, threshold),
                "ours": lambda a=person, b=garment: match_pair(a, b, options=options),
            },
            rounds,
        )
        ends = opencv(person, garment, threshold)
        counts = {
            "opencv_inliers": len(ends[0]),
            "opencv_distinct": int(duplicate_filter(*ends).keep.sum()),  # SIFT repeats a point per orientation; ours are distinct
            "ours": match_pair(person, garment, options=options).count,
        }
        rows[name] = {"seconds": {k: round(v, 4) for k, v in seconds.items()}, "matches": counts}
    total = {side: sum(row["seconds"][side] for row in rows.values()) for side in ("bare_detect_match", "opencv_with_homography", "ours")}
    found = {side: sum(row["matches"][side] for row in rows.values()) for side in ("opencv_distinct", "ours")}
    return {
        "size": [height, width],
        "pairs": rows,
        "pairs_per_second": {side: round(len(rows) / seconds, 2) for side, seconds in total.items()},
        "distinct_matches_per_second": {
            "opencv_with_homography": round(found["opencv_distinct"] / total["opencv_with_homography"]),
            "ours": round(found["ours"] / total["ours"]),
        },
        "ours_over_bare_detect_match": round(total["ours"] / total["bare_detect_match"], 3),
        "ours_over_opencv_with_homography": round(total["ours"] / total["opencv_with_homography"], 3),
    }


def cell_milliseconds(rounds: int) -> dict:
    """Time from the matches of one 512x384 pair to the cells of the three supervised maps."""
    found = match_pair(*pairs(512, 384)["astronaut"])
    grids = ((16, 12), (32, 24), (64, 48))
    seconds = timed({"cells": lambda: [cells(found, grid) for grid in grids]}, rounds)["cells"]
    return {"matches": found.count, "milliseconds_for_three_grids": round(1000 * seconds, 3)}


def stereo_error() -> dict:
    """Distance in pixels between matches and where Middlebury's true disparity puts them (741 x 500 pictures)."""
    left, right, disparity = data.stereo_motorcycle()
    result = {}
    for name, options in {"working_512x384": MatchOptions(), "as_given": MatchOptions(working_pixels=None)}.items():
        found = match_pair(left, right, options=options)
        person, seen = found.points[:, 0].astype(np.float64), found.points[:, 1].astype(np.float64)
        pixel = np.rint(person).astype(int)
        true = disparity[pixel[:, 1], pixel[:, 0]]
        known = np.isfinite(true)
        error = np.hypot(seen[known, 0] - person[known, 0] + true[known], seen[known, 1] - person[known, 1])
        result[name] = {
            "matches": found.count,
            "with_known_depth": int(known.sum()),
            "median_px": round(float(np.median(error)), 3),
            "p95_px": round(float(np.percentile(error, 95)), 3),
        }
    return result


def figure(height: int, width: int):
    """A photograph of a person with what the masks are made from: keypoints set by eye, a coarse parse map, a garment mask."""
    photo = cv2.resize(data.astronaut()[:, 64:448], (width, height), interpolation=cv2.INTER_CUBIC)
    seen = {0: (162, 135), 1: (158, 232), 2: (66, 262), 3: (10, 400), 4: (86, 500), 5: (266, 265), 6: (336, 420), 14: (143, 112), 15: (183, 110), 16: (116, 120), 17: (211, 118)}
    points = [v for i in range(18) for v in (*((seen[i][0] / 384 * width, seen[i][1] / 512 * height) if i in seen else (0, 0)), float(i in seen))]
    labels = np.zeros((512, 384), np.uint8)
    for label, (y0, y1, x0, x1) in {5: (240, 512, 40, 320), 14: (300, 500, 300, 360), 15: (300, 500, 0, 60), 13: (70, 190, 120, 210), 2: (20, 70, 100, 230)}.items():
        labels[y0:y1, x0:x1] = label
    labels = cv2.resize(labels, (width, height), interpolation=cv2.INTER_NEAREST)
    image = torch.from_numpy(photo).float()[None] / 255
    return image, {"people": [{"pose_keypoints_2d": points}]}, torch.from_numpy(labels.astype(np.int64))[None], torch.from_numpy(labels == 5).float()[None, None]


def map_seconds(rounds: int, height: int = 1024, width: int = 768) -> dict:
    """Processor seconds (one core) of every mask and weightless map of one height x width photograph, and agnostic masks per second."""
    image, pose, labels, worn = figure(height, width)
    people, size = read_pose(pose, height, width), (height, width)
    state = placement.place("necklace", height, width, person=people[0])
    longer = jewelry.apply_feedback(state, "longer", 10)
    old, new = jewelry_draw.draw(state).mask, jewelry_draw.draw(longer).mask
    sources = {"pose": {"people": people}, "parse": {"labels": labels}, "garment": {"garment": worn}, "all": {"people": people, "labels": labels, "garment": worn}}
    work = {f"agnostic_{style}_from_{name}": lambda s=style, k=kinds: masks.agnostic_mask(*size, masks.Wish(style=s), **k)
            for name, kinds in sources.items() for style in masks.STYLES}
    agnostic = list(work)
    work |= {
        "agnostic_image": lambda: masks.agnostic_image(image, worn), "augment_mixed": lambda: masks.augment(worn), "grow_32px": lambda: masks.grow_mask(worn, 32),
        "largest_rectangle": lambda: hint.largest_rectangles(worn), "rgb_canny": lambda: canny.canny(image), "canny_per_channel": lambda: canny.canny(image, mode="per_channel"),
        "saliency_spectral_residual": lambda: saliency.saliency(image), "saliency_luma_contrast": lambda: saliency.saliency(image, "luma_contrast"),
        "depth_normalised": lambda: depth.depth_map(image.mean(-1, keepdim=True).expand_as(image)), "necklace_drawn": lambda: jewelry_draw.draw(longer),
        "rerender_region": lambda: masks.rerender_region(old, new), "composite_back": lambda: composite.composite_back(image, 1 - image, worn, 16),
        "overlay_preview": lambda: overlay.overlay(image, worn),
    }
    seconds = timed(work, rounds, time.process_time)  # of one core, whatever else the machine does
    return {
        "size": [height, width], "seconds": {k: round(v, 4) for k, v in seconds.items()}, "slowest": max(seconds, key=seconds.get),
        "agnostic_masks_per_second": round(len(agnostic) / sum(seconds[k] for k in agnostic), 1),
    }


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=["matching", "maps"], default=["matching", "maps"])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / "preprocess.json")
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    result = {"command": "python benchmarks/preprocess.py", "machine": machine.describe(), "threads": 1, "rounds": arguments.rounds}
    if "matching" in arguments.only:
        result |= {
            "matching_1024x768": compare(1024, 768, arguments.rounds),
            "matching_512x384": compare(512, 384, arguments.rounds),
            "cells": cell_milliseconds(50),
            "stereo_motorcycle": stereo_error(),
        }
    if "maps" in arguments.only:
        result["maps_1024x768"] = map_seconds(arguments.rounds)
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    known = json.loads(arguments.out.read_text(encoding="utf-8")) if arguments.out.exists() else {}
    text = json.dumps({**known, **result}, indent=2) + "\n"
    arguments.out.write_text(text, encoding="utf-8")
    sys.stdout.write(text)


if __name__ == "__main__":
    main()
