"""Outside the mask the source stays, bit for bit."""

import numpy as np
import pytest
import torch
from skimage import data

from fitting_room.preprocess import composite
from fitting_room.preprocess.arrays import Box
from fitting_room.preprocess.shapes import ellipse

SOURCE = torch.from_numpy(data.astronaut()[:240, :320]).float()[None] / 255
RESULT = 1 - SOURCE
MASK = torch.from_numpy(ellipse((240, 320), (200, 150), 60, 40)).float()[None, None]
OUTSIDE = MASK[:, 0] == 0


@pytest.mark.parametrize("feather", [0, 1, 15, 500])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.uint8])
def test_outside_is_the_source_bit_for_bit(feather, dtype):
    source, result = (((x * 255).round() if dtype == torch.uint8 else x).to(dtype) for x in (SOURCE, RESULT))
    out = composite.composite_back(source, result, MASK, feather)
    assert out.dtype == dtype and torch.equal(out[OUTSIDE], source[OUTSIDE])
    if feather == 0:
        assert torch.equal(out[~OUTSIDE], result[~OUTSIDE])
    else:
        assert not torch.equal(out[~OUTSIDE], source[~OUTSIDE])


def test_the_eight_bit_file_keeps_every_source_level():
    source = data.astronaut()[None]
    mask = torch.zeros(1, 1, 512, 512)
    mask[:, :, :50] = 1
    out = composite.composite_back(torch.from_numpy(source).float() / 255, torch.rand(1, 512, 512, 3), mask, 9)
    levels = np.clip(255.0 * out.numpy(), 0, 255).astype(np.uint8)      # how the host saves: it truncates
    host = np.clip(255.0 * (torch.from_numpy(source).float() / 255).numpy(), 0, 255).astype(np.uint8)
    assert (levels[:, 50:] == host[:, 50:]).all()


def test_feather_rises_inwards_by_steps():
    mask = torch.zeros(1, 1, 9, 9)
    mask[..., 2:9] = 1                                    # the right border is no edge
    out = composite.composite_back(torch.zeros(1, 9, 9, 3), torch.ones(1, 9, 9, 3), mask, 3)[0, 4, :, 0]
    assert torch.allclose(out, torch.tensor([0, 0, 0.25, 0.5, 0.75, 1, 1, 1, 1]))


def test_soft_masks_blend_and_an_empty_mask_returns_the_source():
    half = torch.full((1, 1, 4, 4), 0.5)
    assert torch.equal(composite.composite_back(torch.zeros(1, 4, 4, 3), torch.ones(1, 4, 4, 3), half), torch.full((1, 4, 4, 3), 0.5))
    assert torch.equal(composite.composite_back(SOURCE, RESULT, torch.zeros(1, 1, 240, 320)), SOURCE)


def test_what_the_vae_cropped_is_put_back_in_place():
    source = torch.rand(1, 45, 70, 3)                     # the host's VAE sees rows 2..42 and columns 3..67
    result = 1 - source[:, 2:42, 3:67]
    out = composite.composite_back(source, result, torch.ones(1, 1, 45, 70))
    assert torch.equal(out[:, 2:42, 3:67], result)
    assert torch.equal(out[:, :2], source[:, :2]) and torch.equal(out[:, :, 67:], source[:, :, 67:])


def test_same_proportions_are_resized_and_others_refused():
    assert composite.composite_back(SOURCE, torch.rand(1, 480, 640, 3), MASK).shape == SOURCE.shape
    with pytest.raises(ValueError, match="The result is 512x512 and the source 320x240: other proportions"):
        composite.composite_back(SOURCE, torch.rand(1, 512, 512, 3), MASK)


def test_broken_results_are_refused():
    with pytest.raises(ValueError, match="The result contains NaN or infinite values; check the sampler and the VAE"):
        composite.composite_back(SOURCE, RESULT * float("nan"), MASK)
    with pytest.raises(ValueError, match=r"The result has shape \(1, 240, 320, 4\)"):
        composite.composite_back(SOURCE, torch.zeros(1, 240, 320, 4), MASK)


def test_batches():
    out = composite.composite_back(SOURCE, torch.cat([RESULT, SOURCE]), MASK)
    assert len(out) == 2 and torch.equal(out[1], SOURCE[0]) and not torch.equal(out[0], SOURCE[0])


def test_crop_holds_the_mask_with_context_at_multiples_of_eight():
    picture, mask, crop = composite.crop_region(SOURCE, MASK, context=1.5, size=256)
    assert picture.shape[1] % 8 == 0 and picture.shape[2] % 8 == 0 and max(picture.shape[1:3]) == 256
    box = crop.boxes[0]
    assert (MASK[0, 0, box.y0:box.y1, box.x0:box.x1].sum() == MASK.sum()) and box.width >= 1.5 * 120
    assert abs(box.width / box.height - picture.shape[2] / picture.shape[1]) < 0.02      # square pixels
    assert mask.shape == (1, 1, *crop.size) and abs(mask.mean() - MASK.sum() / (box.width * box.height)) < 0.01


@pytest.mark.parametrize("region", [Box(0, 0, 20, 20), Box(220, 300, 240, 320), Box(0, 10, 240, 30)])
def test_crops_stay_inside_the_picture(region):
    mask = torch.zeros(1, 1, 240, 320)
    mask[..., region.y0:region.y1, region.x0:region.x1] = 1
    picture, _, crop = composite.crop_region(SOURCE, mask, context=2, size=64)
    box = crop.boxes[0]
    assert 0 <= box.y0 < box.y1 <= 240 and 0 <= box.x0 < box.x1 <= 320 and picture.shape[1:3] == crop.size
    assert torch.equal(composite.stitch(SOURCE, picture, crop, mask)[mask[:, 0] == 0], SOURCE[mask[:, 0] == 0])


def test_stitching_without_resizing_is_exact_everywhere():
    mask = torch.zeros(1, 1, 240, 320)
    mask[..., 100:164, 80:144] = 1
    picture, _, crop = composite.crop_region(SOURCE, mask, context=1.5, size=96)      # 64 * 1.5: the crop is its own size
    assert crop.size == (96, 96) == (crop.boxes[0].height, crop.boxes[0].width)
    out = composite.stitch(SOURCE, 1 - picture, crop, mask)
    assert torch.equal(out, torch.where(mask.movedim(1, -1) > 0, 1 - SOURCE, SOURCE))
    assert torch.equal(composite.stitch(SOURCE, picture, crop, mask), SOURCE)


def test_stitch_outside_is_exact_after_resizing():
    picture, _, crop = composite.crop_region(SOURCE, MASK, size=512)
    out = composite.stitch(SOURCE, 1 - picture, crop, MASK, feather=6)
    assert torch.equal(out[OUTSIDE], SOURCE[OUTSIDE])
    assert (out - composite.composite_back(SOURCE, RESULT, MASK, 6)).abs().mean() < 0.01


def test_a_batch_crops_to_one_size():
    masks = torch.zeros(2, 1, 240, 320)
    masks[0, :, 10:40, 10:40], masks[1, :, 150:230, 200:310] = 1, 1
    picture, _, crop = composite.crop_region(SOURCE, masks, size=128)
    assert len(picture) == 2 and crop.boxes[0] != crop.boxes[1] and crop.boxes[0].width == crop.boxes[1].width
    out = composite.stitch(SOURCE, 1 - picture, crop, masks)
    assert torch.equal(out[masks[:, 0] == 0], SOURCE.expand(2, -1, -1, -1)[masks[:, 0] == 0])


def test_bad_crops_get_a_sentence():
    with pytest.raises(ValueError, match="covers nothing"):
        composite.crop_region(SOURCE, torch.zeros(1, 1, 240, 320))
    with pytest.raises(ValueError, match="size 100 were given, but context >= 1 and a size that is a multiple of 8"):
        composite.crop_region(SOURCE, MASK, size=100)
    picture, _, crop = composite.crop_region(SOURCE, MASK)
    with pytest.raises(ValueError, match="the crop was cut from 320x240"):
        composite.stitch(torch.rand(1, 64, 64, 3), picture, crop, MASK)
