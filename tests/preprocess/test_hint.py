"""The largest rectangle and the product pasted into it."""

import numpy as np
import pytest
import torch
from skimage import data

from fitting_room.preprocess import hint
from fitting_room.preprocess.arrays import Box


def brute_force(region: np.ndarray, smallest: int = 1) -> Box | None:
    """Every rectangle, the largest first, then the smallest coordinates."""
    height, width = region.shape
    best = None
    for y0 in range(height):
        for x0 in range(width):
            for y1 in range(y0 + smallest, height + 1):
                for x1 in range(x0 + smallest, width + 1):
                    if region[y0:y1, x0:x1].all():
                        key = (-(y1 - y0) * (x1 - x0), y0, x0, y1, x1)
                        best = key if best is None else min(best, key)
    return None if best is None else Box(*best[1:])


@pytest.mark.parametrize("smallest", [1, 3])
def test_largest_rectangle_equals_brute_force(smallest):
    random = np.random.default_rng(0)
    for _ in range(150):
        height, width = random.integers(1, 10, 2)
        region = random.random((height, width)) < random.choice([0.3, 0.6, 0.85, 1.0])
        assert hint.largest_rectangle(region, smallest) == brute_force(region, smallest)


def test_ties_go_to_the_first_box():
    cross = np.zeros((5, 5), bool)
    cross[2], cross[:, 2] = True, True                  # both bars have 5 pixels; the vertical one begins higher
    assert hint.largest_rectangle(cross) == Box(0, 2, 5, 3)
    assert hint.largest_rectangle(np.eye(4, dtype=bool)) == Box(0, 0, 1, 1)


def test_a_thin_strip_does_not_hide_a_usable_rectangle():
    region = np.zeros((60, 400), bool)
    region[0, :] = True                                 # 400 pixels, one high
    region[20:32, 5:17] = True                          # 144 pixels, 12x12
    assert hint.largest_rectangle(region) == Box(0, 0, 1, 400)
    boxes, filled = hint.largest_rectangles(torch.from_numpy(region).float())
    assert boxes == [Box(20, 5, 32, 17)] and filled.sum() == 144


def test_a_large_disc():
    y, x = np.mgrid[:1024, :1024] - 511.5
    box = hint.largest_rectangle(np.hypot(x, y) < 500)
    assert abs(box.width * box.height - 2 * 500 ** 2) < 2000     # the inscribed square has area 2 r^2


def test_empty_and_small_masks_say_what_to_do():
    with pytest.raises(ValueError, match="the mask is empty; paint the region"):
        hint.largest_rectangles(torch.zeros(1, 1, 32, 32))
    small = torch.zeros(2, 1, 32, 32)
    small[0] = 1
    small[1, :, :7, :30] = 1
    with pytest.raises(ValueError, match="at least 8x8 pixels fits inside mask 2 of 2"):
        hint.largest_rectangles(small)


def region(y0, x0, y1, x1, size=(64, 64)):
    mask = torch.zeros(1, 1, *size)
    mask[..., y0:y1, x0:x1] = 1
    return mask


def test_stretch_of_the_same_size_is_a_copy_on_black():
    product = torch.rand(1, 16, 24, 3, generator=torch.Generator().manual_seed(0))
    placed, boxes, _ = hint.place_hint(product, region(8, 10, 24, 34))
    assert boxes == [Box(8, 10, 24, 34)]
    assert torch.equal(placed[:, 8:24, 10:34], product)
    placed[:, 8:24, 10:34] = 0
    assert not placed.any()


def test_contain_letterboxes_and_cover_crops_the_centre():
    product = torch.zeros(1, 16, 32, 3)
    product[:, :, 8:24] = 1                              # a white middle half, black sides
    contain, _, _ = hint.place_hint(product, region(0, 0, 32, 32), "contain")
    assert not contain[0, :8].any() and not contain[0, 24:32].any() and torch.equal(contain[0, 8:24, :32], product[0])
    cover, _, _ = hint.place_hint(product, region(0, 0, 16, 16), "cover")
    assert bool((cover[0, :16, :16] == 1).all())         # 16x16 of the centre is all white


def test_canny_hints_are_edges_at_the_pasted_size():
    import cv2
    product = torch.from_numpy(data.coffee()).float()[None] / 255
    placed, _, _ = hint.place_hint(product, region(10, 10, 50, 60), source="canny")
    pixels = (hint.resize(product, 40, 50)[0] * 255).round().to(torch.uint8).numpy()
    assert (placed[0, 10:50, 10:60, 0].numpy() * 255 == cv2.Canny(pixels, 30, 140)).all()
    coloured, _, _ = hint.place_hint(product, region(10, 10, 50, 60), source="canny_rgb")
    assert (coloured[..., 0] != coloured[..., 2]).any()


def test_product_mask_blackens_the_background_and_any_hint_picture_replaces_the_product():
    product, keep = torch.ones(1, 16, 16, 3), region(4, 4, 12, 12, (16, 16))
    placed, _, _ = hint.place_hint(product, region(0, 0, 16, 16), product_mask=keep)
    assert torch.equal(placed[0, :16, :16, 0], keep[0, 0])
    other = torch.full((1, 16, 16, 3), 0.25)
    placed, _, _ = hint.place_hint(product, region(0, 0, 16, 16), source="canny", hint_image=other)
    assert bool((placed[0, :16, :16] == 0.25).all())


def test_batches_repeat_and_previews_show_the_mask():
    product = torch.rand(1, 16, 16, 3)
    masks = torch.cat([region(0, 0, 20, 20), region(30, 30, 60, 50)])
    placed, boxes, shown = hint.place_hint(product, masks)
    single, _, _ = hint.place_hint(product, masks[1:])
    assert len(boxes) == 2 and torch.equal(placed[1:], single) and shown.shape == placed.shape
    assert (shown - placed).abs().sum() > 0


@pytest.mark.parametrize("options, sentence", [
    ({"fit": "fill"}, "Hint fit 'fill' is not known; choose one of stretch, contain, cover"),
    ({"source": "hed"}, "Hint source 'hed' is not known"),
    ({"product_mask": torch.ones(1, 1, 9, 9)}, "product_mask is 9x9, but the product picture is 16x16"),
])
def test_bad_choices_get_a_sentence(options, sentence):
    with pytest.raises(ValueError, match=sentence):
        hint.place_hint(torch.ones(1, 16, 16, 3), region(0, 0, 16, 16), **options)


def test_a_reference_with_alpha_is_refused():
    with pytest.raises(ValueError, match="product has an alpha channel"):
        hint.place_hint(torch.ones(1, 16, 16, 4), region(0, 0, 16, 16))
