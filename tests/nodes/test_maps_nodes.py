"""Depth and saliency nodes on the real host."""

import pytest
import torch

from ..support import astronaut, run

pytestmark = pytest.mark.usefixtures("comfyui")
RAMP = torch.linspace(0, 1, 64).view(1, 1, 64, 1).expand(1, 48, 64, 3)
PHOTO = torch.rand(1, 48, 64, 3, generator=torch.Generator().manual_seed(0))


def depth(**inputs):
    return run("FittingRoomDepth", **{"image": PHOTO, "source": "picture", "convention": "near_bright", "normalise": False, **inputs}).args[0]


def test_conventions_switch_exactly():
    assert torch.allclose(depth(depth=RAMP), RAMP, atol=1e-6)
    assert torch.allclose(depth(depth=RAMP, convention="far_bright"), 1 - RAMP, atol=1e-6)
    assert torch.allclose(depth(depth=RAMP, convention="far_bright", output="far_bright"), RAMP, atol=1e-6)
    assert torch.allclose(depth(image=RAMP), RAMP, atol=1e-6)  # without a depth picture the image is one


def test_one_outlier_does_not_flatten_the_rest():
    narrow = RAMP * 0.1 + 0.4
    narrow = narrow.clone()
    narrow[0, 0, 0] = 1.0
    out = depth(depth=narrow, normalise=True)
    assert out[0, 10, 2, 0] < 0.05 and out[0, 10, 61, 0] > 0.95


def test_a_flat_map_is_middle_grey_and_said():
    out = run("FittingRoomDepth", image=PHOTO, source="picture", convention="near_bright", normalise=True, depth=torch.full((1, 48, 64, 3), 0.3))
    assert torch.equal(out.args[0], torch.full((1, 48, 64, 3), 0.5)) and "flat" in out.ui["text"][0]


def test_the_depth_is_as_large_as_the_photo():
    assert depth(depth=RAMP[:, ::2, ::2]).shape == PHOTO.shape


def state(height=48, width=64):
    inputs = {"image": torch.zeros(1, height, width, 3), "type": "bracelet", "points": "20,24; 44,24", "length_mm": 0.0, "mm_per_px": 1.0, "width_mm": 10.0}
    return run("FittingRoomJewelryPlacement", **inputs).args[0], run("FittingRoomJewelryPlacement", **inputs).args[2]


def test_placed_jewelry_changes_its_place_only():
    mask, placed = state()
    flat = torch.full((1, 48, 64, 3), 0.5)
    lump = torch.zeros(1, 16, 32, 3)
    lump[:, 4:12, 8:24] = 1
    out = depth(depth=flat, state=placed, jewelry=lump)
    assert torch.equal(out[mask == 0], flat[mask == 0]) and out[0, 24, 32, 0] > 0.55
    with pytest.raises(ValueError, match="placed on a 64x48 picture and this one is 32x24"):
        depth(image=PHOTO[:, ::2, ::2], depth=flat, state=placed, jewelry=lump)


@pytest.mark.parametrize("inputs, sentence", [
    ({"depth": PHOTO}, "coloured"),
    ({"source": "depthfm"}, "DepthFM needs its checkpoint"),
    ({"depth": torch.full((1, 8, 8, 3), float("nan"))}, "NaN"),
])
def test_bad_depth_gets_one_sentence(inputs, sentence):
    with pytest.raises(ValueError, match=sentence):
        depth(**inputs)


def test_what_can_be_seen_is_refused_before_running():
    from fitting_room.nodes.maps import Depth

    assert "choose one in depthfm_file" in Depth.validate_inputs(source="depthfm")
    assert "is not in models/checkpoints" in Depth.validate_inputs(source="depthfm", depthfm_file="checkpoints/none.ckpt")
    assert Depth.validate_inputs(source="picture") is True


def test_saliency_of_a_photograph():
    """The astronaut's white helmet rim and her patches stand out from the plain wall behind her."""
    picture, mask = run("FittingRoomSaliency", image=astronaut(), source="spectral_residual").args
    assert picture.shape == (1, 512, 512, 3) and torch.equal(picture[..., 0], mask)
    assert mask.max() > 0.9 and mask[0, 300:, 250:].mean() > 2 * mask[0, :60, 330:400].mean()


def test_a_background_models_map_is_taken():
    soft = torch.zeros(1, 24, 32)
    soft[:, 6:18, 8:24] = 0.5
    picture, mask = run("FittingRoomSaliency", image=PHOTO, source="picture", map_mask=soft).args
    assert mask.shape == (1, 48, 64) and mask.max() == 1 and mask[0, 24, 32] == 1 and mask[0, 2, 2] == 0
    same = run("FittingRoomSaliency", image=PHOTO, source="picture", map=soft[..., None].expand(-1, -1, -1, 3)).args[1]
    assert torch.allclose(same, mask)
    with pytest.raises(ValueError, match="neither map nor map_mask is connected"):
        run("FittingRoomSaliency", image=PHOTO, source="picture")


def test_jewelry_saliency_enters_its_mask_only():
    mask, placed = state()
    product = torch.ones(1, 32, 32, 3)
    product[:, 8:24, 8:24] = 0
    plain, adorned = (run("FittingRoomSaliency", image=torch.full((1, 48, 64, 3), 0.5), source="luma_contrast", **more).args[1]
                      for more in ({}, {"state": placed, "jewelry": product}))
    assert torch.equal(plain[mask == 0], adorned[mask == 0]) and adorned[0, 24, 32] > plain[0, 24, 32]
