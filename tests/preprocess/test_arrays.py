"""Pictures, masks and boxes at the doors of `preprocess`."""

import numpy as np
import pytest
import torch

from fitting_room.preprocess import arrays
from fitting_room.preprocess.arrays import Box


def test_grey_is_repeated_and_alpha_is_refused():
    grey = torch.tensor([[[[0.2], [0.4]]]])                       # (1,1,2,1)
    assert torch.equal(arrays.as_image(grey), torch.tensor([[[[0.2] * 3, [0.4] * 3]]]))
    with pytest.raises(ValueError, match="alpha channel; split it off first"):
        arrays.as_image(torch.zeros(1, 4, 4, 4), "product")
    with pytest.raises(ValueError, match=r"shape \(1, 3, 8, 8\)"):
        arrays.as_image(torch.zeros(1, 3, 8, 8))


def test_nan_is_refused_by_name():
    with pytest.raises(ValueError, match="result contains NaN"):
        arrays.as_image(torch.full((1, 2, 2, 3), float("nan")), "result")
    with pytest.raises(ValueError, match="mask contains NaN"):
        arrays.as_mask(torch.full((2, 2), float("nan")))


@pytest.mark.parametrize("shape", [(4, 6), (1, 4, 6), (1, 1, 4, 6)])
def test_every_mask_form_becomes_b1hw(shape):
    assert arrays.as_mask(torch.ones(shape)).shape == (1, 1, 4, 6)


def test_masks_of_nothing_and_everything_are_refused():
    some = torch.zeros(1, 1, 4, 4)
    some[..., :2] = 1
    assert arrays.check_mask(some) is some
    with pytest.raises(ValueError, match="covers nothing"):
        arrays.check_mask(torch.zeros(1, 1, 4, 4))
    with pytest.raises(ValueError, match="mask 2 of 2 covers the whole picture"):
        arrays.check_mask(torch.cat([some, torch.ones(1, 1, 4, 4)]))


def test_a_resized_mask_says_so():
    mask = torch.zeros(1, 1, 8, 8)
    mask[..., 4:] = 1
    same, note = arrays.fit_mask(mask, 8, 8)
    assert same is mask and note == ""
    larger, note = arrays.fit_mask(mask, 16, 16)
    assert note == "The mask was 8x8 and was resized to the picture's 16x16." and larger[0, 0, 5, 12] == 1 and larger[0, 0, 5, 3] == 0
    assert "stretched" in arrays.fit_mask(mask, 16, 32)[1]


def test_batches_of_one_repeat_and_others_are_refused():
    a, b = arrays.match_batch(image=torch.zeros(3, 2, 2, 3), mask=torch.ones(1, 1, 2, 2))
    assert len(a) == len(b) == 3
    with pytest.raises(ValueError, match="mask has a batch of 2, which does not fit the others .image 3, mask 2.; give 1 or 3"):
        arrays.match_batch(image=torch.zeros(3, 2, 2, 3), mask=torch.ones(2, 1, 2, 2))


def test_eight_bits_there_and_back():
    levels = np.arange(256, dtype=np.uint8).reshape(1, 16, 16)
    assert (arrays.to_uint8(arrays.from_uint8(levels)) == levels).all()


def test_boxes_in_the_hosts_forms():
    box = Box(2, 3, 7, 11)
    assert box.as_dict() == {"x": 3, "y": 2, "width": 8, "height": 5}
    assert arrays.boxes_for_host([box]) == box.as_dict()
    assert arrays.boxes_for_host([box, box]) == [[box.as_dict()], [box.as_dict()]]
    region = np.zeros((9, 12), bool)
    assert arrays.bounding_box(region) is None
    region[2:7, 3:11] = True
    assert arrays.bounding_box(region) == box
