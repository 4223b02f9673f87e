"""Canny edges equal OpenCV's on photographs and noise, with and without OpenCV."""

import sys

import numpy as np
import pytest
import torch
from skimage import data

from fitting_room.preprocess import canny

cv2 = pytest.importorskip("cv2")
NOISE = np.random.default_rng(0).integers(0, 256, (97, 131, 3), dtype=np.uint8)
PICTURES = {"astronaut": data.astronaut(), "coffee": data.coffee(), "noise": NOISE, "steps": NOISE // 64 * 64}


@pytest.mark.parametrize("name", PICTURES)
@pytest.mark.parametrize("thresholds", [(30, 140), (100, 200), (0, 0), (10.5, 20.7)])
def test_without_opencv_every_pixel_is_the_same(name, thresholds):
    pixels = PICTURES[name]
    for channels in (pixels, canny.luma(pixels), np.ascontiguousarray(pixels[..., 2])):
        assert (canny.edges_numpy(channels, *thresholds) == cv2.Canny(channels, *thresholds)).all()


@pytest.mark.parametrize("name", PICTURES)
def test_luma_equals_opencvs(name):
    assert (canny.luma(PICTURES[name]) == cv2.cvtColor(PICTURES[name], cv2.COLOR_RGB2GRAY)).all()


@pytest.mark.parametrize("mode", canny.MODES)
def test_modes_at_the_node(mode, monkeypatch):
    pixels = data.astronaut()[:200, 100:400]
    image = torch.from_numpy(pixels).float()[None] / 255
    expected = {"colour": cv2.Canny(pixels, 30, 140), "grey": cv2.Canny(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), 30, 140),
                "per_channel": np.stack([cv2.Canny(np.ascontiguousarray(pixels[..., c]), 30, 140) for c in range(3)], -1)}[mode]
    found = canny.canny(torch.cat([image, 1 - image]), mode=mode)
    assert found.shape == (2, 200, 300, 3) and set(found.unique().tolist()) == {0.0, 1.0}
    assert (found[0].numpy() * 255 == (expected if mode == "per_channel" else expected[..., None])).all()
    monkeypatch.setitem(sys.modules, "cv2", None)        # import cv2 now fails
    assert torch.equal(canny.canny(torch.cat([image, 1 - image]), mode=mode), found)


def test_a_flat_picture_has_no_edges_and_bad_thresholds_are_refused():
    flat = torch.full((1, 20, 20, 3), 0.5)
    assert not canny.canny(flat).any()
    with pytest.raises(ValueError, match="low 150 and high 140 were given, but 0 <= low <= high"):
        canny.canny(flat, 150, 140)
    with pytest.raises(ValueError, match="mode 'rgb' is not known"):
        canny.canny(flat, mode="rgb")
