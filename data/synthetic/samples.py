"""What one sample of the drawn world holds, per kind.

Every picture is RGB float32 0..1 of shape (H,W,3); every mask is float32 (H,W) of zeros and ones, 1 = repaint, or 1 = the thing its
name says; points are pixels (x, y) with pixel centres at whole numbers. All is numpy; nothing is shared between samples.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from .cloth import flat_picture
from .figure import densepose_picture, skeleton_picture
from .garments import Garment
from .jewelry import Jewel
from .products import Product

GREY = 0.5  # what repainted regions are filled with: 0 in the -1..1 a VAE sees

PARSE_PALETTE = np.array([
    (0, 0, 0), (128, 0, 0), (255, 0, 0), (0, 85, 0), (170, 0, 51), (255, 85, 0), (0, 0, 85), (0, 119, 221), (85, 85, 0), (0, 85, 85), (85, 51, 0),
    (52, 86, 128), (0, 128, 0), (0, 0, 255), (51, 170, 221), (0, 255, 255), (85, 255, 170), (170, 255, 85), (255, 255, 0), (255, 170, 0)], np.uint8)
"""Colours of the twenty labels of the CIHP parsing data set, in which VITON-HD's parse maps are stored."""


def fill(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The picture with the masked region greyed out."""
    return np.where(mask[..., None] > 0.5, np.float32(GREY), image)


@dataclass(frozen=True)
class WornGarment:
    """One garment of a `PersonSample`, flat and as it is worn.

    mask (H,W): 1 = where it is visible on the person; unlit (H,W,3): the worn garment without light, 0 elsewhere;
    agnostic_mask (H,W): 1 = repaint to put another garment of the slot in its place, covers `mask`, never hands, face or hair;
    source (H,W,2) float32: for every pixel of `mask` the point (x, y) of the flat cloth it shows, NaN elsewhere (a few of these points
    lie under another piece in `picture`: use `correspondences`); parts (H,W) uint8: which piece it is, numbers as in picture_parts.
    The flat pictures below are drawn when first asked for.
    """

    garment: Garment
    mask: np.ndarray
    unlit: np.ndarray
    agnostic_mask: np.ndarray
    source: np.ndarray
    parts: np.ndarray

    @cached_property
    def _flat(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        return flat_picture(self.garment, *self.mask.shape)

    @property
    def picture(self) -> np.ndarray:
        """The flat garment on near-white, (H,W,3)."""
        return self._flat[0]

    @property
    def picture_mask(self) -> np.ndarray:
        """1 = garment in `picture`, (H,W)."""
        return self._flat[1]

    @property
    def picture_parts(self) -> np.ndarray:
        """(H,W) uint8: 0 background, 5 torso, skirt or hat, 21 / 22 left / right sleeve, 23 / 24 left / right leg."""
        return self._flat[2]

    @property
    def picture_unlit(self) -> np.ndarray:
        """`picture` without light, (H,W,3)."""
        return self._flat[3]

    @property
    def caption(self) -> str:
        """The garment in words, "a red and white striped shirt"."""
        return self.garment.caption

    def correspondences(self, count: int, seed: int = 0) -> np.ndarray:
        """True matches (count,2,2), [person, garment][x, y] in pixels, drawn from what is visible in both pictures.

        Fewer come back where fewer pixels are visible; no pixel of the person comes twice.
        """
        y, x = np.nonzero(self.mask > 0.5)
        flat = self.source[y, x]
        height, width = self.mask.shape
        inside = (flat >= 0).all(1) & (flat[:, 0] <= width - 1) & (flat[:, 1] <= height - 1)
        column, row = np.rint(np.where(inside[:, None], flat, 0)).astype(int).T
        inside &= self.picture_parts[row, column] == self.parts[y, x]
        pairs = np.stack([np.stack([x, y], -1)[inside].astype(np.float32), flat[inside]], 1)
        chosen = np.random.default_rng(seed).permutation(len(pairs))[:count]
        return pairs[np.sort(chosen)]


@dataclass(frozen=True)
class PersonSample:
    """A person in garments: try-on, try-off and dressing are read from it.

    image (H,W,3); garments: by slot (upper and lower, or dress; sometimes hat); keypoints (18,3): x, y, and 1 where the point lies in
    the picture, in COCO's order (`figure.KEYPOINTS`); densepose (H,W) uint8: DensePose's part 1..24 of the bare body, 0 background;
    parse (H,W) uint8: CIHP labels of the dressed person; depth (H,W): 0 far .. 1 near; saliency (H,W): 0..1; person_mask (H,W);
    keep_mask (H,W): 1 = hands, face and hair, which no agnostic mask may touch; caption: everything, "a person in a red striped shirt
    and blue trousers in a park"; place: the last words of it.
    """

    image: np.ndarray
    garments: dict[str, WornGarment]
    keypoints: np.ndarray
    densepose: np.ndarray
    parse: np.ndarray
    depth: np.ndarray
    saliency: np.ndarray
    person_mask: np.ndarray
    keep_mask: np.ndarray
    caption: str
    place: str

    @property
    def slot(self) -> str:
        """The first garment's slot: dress, or upper."""
        return next(iter(self.garments))

    def agnostic(self, slot: str | None = None) -> np.ndarray:
        """The person with the region of one garment greyed out, (H,W,3)."""
        return fill(self.image, self.garments[slot or self.slot].agnostic_mask)

    def blind_caption(self, slot: str | None = None) -> str:
        """The caption without the words that describe one garment, so that only its picture can tell."""
        slot = slot or self.slot
        plain = {"upper": "a top", "lower": "clothes", "dress": "a dress", "hat": "a hat"}
        words = [plain[s] if s == slot else worn.caption for s, worn in self.garments.items()]
        return person_caption(words, self.place)

    @property
    def densepose_picture(self) -> np.ndarray:
        """`densepose` in the colours try-on models are trained on, black background, (H,W,3)."""
        return densepose_picture(self.densepose)

    @property
    def skeleton_picture(self) -> np.ndarray:
        """`keypoints` as a coloured skeleton on black, as pose ControlNets read it, (H,W,3)."""
        return skeleton_picture(self.keypoints[:, :2], *self.parse.shape)

    @property
    def parse_picture(self) -> np.ndarray:
        """`parse` in CIHP's colours, (H,W,3)."""
        return PARSE_PALETTE[self.parse].astype(np.float32) / 255


def person_caption(garments: list[str], place: str) -> str:
    """ "a person in X and Y in a park"; a hat comes last with "and"."""
    worn = garments[0] if len(garments) == 1 else ", ".join(garments[:-1]) + " and " + garments[-1]
    return f"a person in {worn} {place}"


@dataclass(frozen=True)
class JewelrySample:
    """A head or a hand with a piece of jewelry, and the same without.

    image (H,W,3): with jewelry and its shadow; bare (H,W,3): neither; unshadowed (H,W,3): jewelry without its shadow, equal to image
    outside shadow_mask; picture (H,W,3), picture_mask (H,W): the piece alone; jewelry_mask (H,W): 1 = the worn piece; shadow_mask
    (H,W): 1 = exactly where image and unshadowed differ; mask (H,W): 1 = repaint, a loose region that does not give the design away;
    depth, saliency (H,W): of image; depth near = 1; anchors (K,2): earrings (both lobes), necklace (both ends on the neck), ring and
    bracelet (both sides of the finger or wrist), left to right in the picture; matches (M,2,2): true [worn, product picture][x, y];
    mm_per_px: millimetres a pixel stands for on the body; caption.
    """

    jewel: Jewel
    image: np.ndarray
    bare: np.ndarray
    unshadowed: np.ndarray
    picture: np.ndarray
    picture_mask: np.ndarray
    jewelry_mask: np.ndarray
    shadow_mask: np.ndarray
    mask: np.ndarray
    depth: np.ndarray
    saliency: np.ndarray
    anchors: np.ndarray
    matches: np.ndarray
    mm_per_px: float
    caption: str


@dataclass(frozen=True)
class InsertionSample:
    """A scene with a product, the scene without it, and the product seen from another side.

    image, scene (H,W,3): with and without the product (and its shadow); picture (H,W,3), picture_mask (H,W): the product alone;
    product_mask (H,W): 1 = product in image; mask (H,W): 1 = repaint, a rounded box around it; box (4,): x0, y0, x1, y1 in pixels of
    the product in image, half open; depth (H,W): near = 1; caption.
    """

    product: Product
    image: np.ndarray
    scene: np.ndarray
    picture: np.ndarray
    picture_mask: np.ndarray
    product_mask: np.ndarray
    mask: np.ndarray
    box: np.ndarray
    depth: np.ndarray
    caption: str
