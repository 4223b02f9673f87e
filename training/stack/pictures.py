"""The drawn world as arrays, for training the stack: every sample once, in shards on disk that are drawn by several processes."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np

SHARD = 250
HEIGHT, WIDTH = 128, 96
COUNTS = {"person": 10_000, "jewelry": 3_000, "insertion": 4_000}
"""Samples per kind of the drawn world."""
HELD_OUT = 500_000_000
"""Seeds from here on are never trained on."""
MOST = 2
"""Things per sample: a person has two garments, or a dress alone."""


@dataclass(frozen=True)
class Shown:
    """One thing of a sample. item (H,W,3) uint8: its own picture; mask (H,W) bool: what is repainted to put it there; words of it; the sample's
    caption without these words."""

    item: np.ndarray
    mask: np.ndarray
    words: str
    blind: str


def read_sample(sample, kind: str) -> tuple[np.ndarray, str, list[Shown]]:
    """(picture (H,W,3) uint8, caption, things) of a sample of `data.synthetic`."""
    if kind == "person":
        things = [
            Shown(levels(w.picture), w.agnostic_mask > 0.5, w.caption, sample.blind_caption(slot)) for slot, w in sample.garments.items() if slot != "hat"
        ]
    else:
        words, blind = (sample.jewel.caption, "a person wearing jewelry") if kind == "jewelry" else (sample.product.caption, "a thing in a room")
        things = [Shown(levels(sample.picture), sample.mask > 0.5, words, blind)]
    return levels(sample.image), sample.caption, things


def levels(picture: np.ndarray) -> np.ndarray:
    """0..1 as 8-bit levels."""
    return np.rint(np.clip(picture, 0, 1) * 255).astype(np.uint8)


def draw_shard(folder: str, kind: str, start: int, count: int, height: int = HEIGHT, width: int = WIDTH) -> str:
    """Draw `count` samples from seed `start` on into one file; a file that is there already is kept."""
    from ...data.synthetic import World

    path = Path(folder) / f"{kind}_{height}x{width}_{start:09}_{count}.npz"
    if path.is_file():
        return str(path)
    world = World(kind, (height, width), start, count)
    images, captions, items, masks, words = [], [], [], [], []
    for sample in (world[i] for i in range(count)):
        image, caption, things = read_sample(sample, kind)
        images.append(image)
        captions.append(caption)
        words.append([(t.words, t.blind) for t in things])
        blank = [np.zeros_like(image)] * (MOST - len(things))
        items.append(np.stack([t.item for t in things] + blank))
        masks.append(np.stack([t.mask for t in things] + [b[..., 0] > 0 for b in blank]))
    text = np.frombuffer(json.dumps({"captions": captions, "words": words}).encode(), np.uint8)
    part = path.with_suffix(f".{os.getpid()}.part")
    with part.open("wb") as file:
        np.savez(file, image=np.stack(images), item=np.stack(items), mask=np.packbits(np.stack(masks), axis=-1), text=text)
    os.replace(part, path)
    return str(path)


@dataclass
class Pictures:
    """Samples of the drawn world, all in memory.

    Attributes:
        image: (N,H,W,3) uint8. item: (N,2,H,W,3) uint8, zeros where there is none. mask: (N,2,H,W) bool, 1 = repaint.
        captions: N. words: N lists of (words of the thing, caption without them).
        kind: N names of the world's kinds.
    """

    image: np.ndarray
    item: np.ndarray
    mask: np.ndarray
    captions: list[str]
    words: list[list[tuple[str, str]]]
    kind: list[str]

    def __len__(self) -> int:
        return len(self.captions)

    def masked(self, rows: np.ndarray, which: int) -> np.ndarray:
        """Pictures with the region of thing `which` greyed out, (B,H,W,3) uint8."""
        return np.where(self.mask[rows, which][..., None], np.uint8(128), self.image[rows])


def jobs(counts: dict[str, int], seed: int) -> list[tuple[str, int, int]]:
    """(kind, first seed, samples) of every shard, the kinds mixed."""
    out = [(start, kind, min(SHARD, count - start)) for kind, count in counts.items() for start in range(0, count, SHARD)]
    return [(kind, seed + start, count) for start, kind, count in sorted(out)]


def draw(
    folder: Path, counts: dict[str, int], seed: int = 0, processes: int = 1, enter: Callable[[], None] | None = None, say=print, height: int = HEIGHT, width: int = WIDTH,
) -> Pictures:
    """Draw (or find) the samples and read them.

    Args:
        folder: of the shards. counts: samples per kind. seed: of the first sample of each kind.
        height, width: in pixels, multiples of 8. processes: that draw side by side. enter: what a fresh process must call before it can import this pack.
    """
    folder.mkdir(parents=True, exist_ok=True)
    todo = [(str(folder), *job, height, width) for job in jobs(counts, seed)]
    files = []
    if processes > 1:
        with get_context("spawn").Pool(processes, initializer=enter) as pool:
            for number, file in enumerate(pool.imap(_draw, todo), 1):
                files.append(file)
                if number % 10 == 0 or number == len(todo):
                    say(f"drawn {number} of {len(todo)} shards")
    else:
        files = [_draw(job) for job in todo]
    return read(files)


def _draw(job) -> str:
    return draw_shard(*job)


def read(files: list[str]) -> Pictures:
    """Shards as one set."""
    parts = []
    for file in files:
        with np.load(file) as shard:
            text = json.loads(bytes(shard["text"]))
            mask = np.unpackbits(shard["mask"], axis=-1)[..., : shard["image"].shape[2]].astype(bool)
            parts.append((shard["image"], shard["item"], mask, text["captions"], [[tuple(w) for w in row] for row in text["words"]], [Path(file).name.split("_")[0]] * len(text["captions"])))
    image, item, mask, captions, words, kind = zip(*parts)
    return Pictures(np.concatenate(image), np.concatenate(item), np.concatenate(mask), sum(captions, []), sum(words, []), sum(kind, []))
