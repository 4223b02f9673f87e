"""Any picture and any mask become one form."""

import numpy as np
import pytest
from fitting_room.preprocess.pictures import move_points, size_for_area, to_mask, to_rgb8


def test_alpha_is_laid_on_the_background():
    picture = np.array([[[255, 0, 0, 255], [255, 0, 0, 0], [255, 0, 0, 51]]], np.uint8)  # opaque, clear, one fifth
    assert to_rgb8(picture, 255).tolist() == [[[255, 0, 0], [255, 255, 255], [255, 204, 204]]]
    assert to_rgb8(picture, 0).tolist() == [[[255, 0, 0], [0, 0, 0], [51, 0, 0]]]


def test_floats_are_rounded_and_clipped():
    assert to_rgb8(np.array([[0.0, 0.5, 1.0, 1.2]]))[0, :, 0].tolist() == [0, 128, 255, 255]


@pytest.mark.parametrize(
    "mask",
    [np.array([[0, 1]]), np.array([[0, 1]], np.uint8), np.array([[0, 255]], np.uint8), np.array([[0.5, 0.51]]), np.array([[False, True]])],
)
def test_every_kind_of_mask(mask):
    assert to_mask(mask).tolist() == [[False, True]]
    assert to_mask(mask[None, None]).tolist() == [[False, True]]


def test_what_is_not_a_mask():
    with pytest.raises(ValueError, match="agnostic mask.*one channel"):
        to_mask(np.zeros((4, 4, 3)), name="agnostic mask")
    with pytest.raises(ValueError, match="not labels"):
        to_mask(np.array([[0, 300]]))


def test_areas_and_points():
    assert size_for_area((1024, 768), 512 * 384) == (512, 384)
    assert size_for_area((600, 600), 512 * 384) == (443, 443)
    assert size_for_area((7, 9), None) == (7, 9)
    assert move_points([[0, 0], [1, 1]], (2, 2), (4, 4)).tolist() == [[0.5, 0.5], [2.5, 2.5]]
