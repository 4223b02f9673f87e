"""Mask nodes on the real host and a real photograph."""

import pytest
import torch

from ..support import astronaut, astronaut_pose, run

pytestmark = pytest.mark.usefixtures("comfyui")


def agnostic(**inputs):
    return run("FittingRoomAgnosticMask", **{"image": astronaut(), "category": "upper", "grow": 8, "style": "parse", **inputs})


def test_a_pose_alone_covers_the_suit_and_spares_the_face():
    image = astronaut()
    mask, picture = agnostic(pose_json=astronaut_pose()).args
    assert mask.shape == (1, 512, 512)
    assert mask[0, 350, 220] == 1 and mask[0, 130, 226] == 0 and mask[0, 60, 60] == 0  # the chest; nose; the flag
    outside = mask[0] == 0
    assert torch.equal(picture[0][outside], image[0][outside]) and bool((picture[0][~outside] == 0.5).all())


def test_the_hosts_pose_frames_equal_their_json():
    import json

    typed = agnostic(pose_json=astronaut_pose()).args[0]
    assert torch.equal(agnostic(pose=json.loads(astronaut_pose())).args[0], typed)
    assert torch.equal(agnostic(pose=[json.loads(astronaut_pose())]).args[0], typed)


def test_boxes_contain_the_shape_and_switches_matter():
    shape, box, single = (agnostic(pose_json=astronaut_pose(), style=style).args[0] for style in ("parse", "box", "bounding_box"))
    assert bool((shape <= box).all()) and bool((box <= single).all()) and single.sum() > box.sum() > shape.sum()
    wider = agnostic(pose_json=astronaut_pose(), grow=24).args[0]
    assert bool((shape <= wider).all()) and wider.sum() > shape.sum()
    assert agnostic(pose_json=astronaut_pose(), style="bounding_box", keep_face=False, keep_hair=False).args[0].sum() > single.sum()


def test_protected_pixels_and_a_garment_mask():
    worn = torch.zeros(1, 512, 512)
    worn[:, 300:400, 150:300] = 1
    protect = torch.zeros(1, 256, 256)  # half the size: resized, and said so
    protect[:, 160:180, 100:120] = 1
    out = agnostic(mask=worn, protect=protect)
    mask = out.args[0]
    assert mask[0, 310, 160] == 1 and mask[0, 296, 200] == 1 and mask[0, 280, 200] == 0  # 8 px around the garment
    assert mask[0, 340, 220] == 0 and "protect mask was 256x256" in out.ui["text"][0]


def test_a_batch_gets_a_mask_per_picture():
    pair = astronaut().repeat(2, 1, 1, 1)
    worn = torch.zeros(2, 512, 512)
    worn[0, 300:400, 150:300], worn[1, 100:200, 150:300] = 1, 1
    mask = agnostic(image=pair, mask=worn).args[0]
    for row in (0, 1):
        assert torch.equal(mask[row], agnostic(mask=worn[row : row + 1]).args[0][0])


def test_alpha_is_no_obstacle():
    alpha = torch.cat([astronaut(), torch.ones(1, 512, 512, 1)], -1)
    assert agnostic(image=alpha, pose_json=astronaut_pose()).args[1].shape == (1, 512, 512, 3)


@pytest.mark.parametrize("inputs, sentence", [
    ({}, "needs a source; connect a parse map, pose keypoints or a mask"),
    ({"mask": torch.zeros(1, 512, 512)}, "covers nothing"),
    ({"mask": torch.ones(1, 512, 512)}, "covers the whole picture"),
    ({"pose_json": "points"}, "not JSON"),
    ({"pose_json": "[1]"}, "no list of frames"),
    ({"parts": torch.rand(1, 512, 512, 3)}, "neither label numbers nor"),
])
def test_bad_input_gets_one_sentence(inputs, sentence):
    with pytest.raises(ValueError, match=sentence) as caught:
        agnostic(**inputs)
    assert "\n" not in str(caught.value)


def test_augmentation_is_repeatable_and_mixed_is_one_or_the_other():
    mask = torch.zeros(8, 64, 64)
    for row in range(8):
        mask[row, 10 : 20 + row, 20:30] = 1
        mask[row, 15:18, 30:40] = 1  # not a box
    fine, box, mixed, again = (run("FittingRoomMaskAugment", mask=mask, mode=mode, seed=3).args[0] for mode in ("fine", "box", "mixed", "mixed"))
    assert torch.equal(fine, mask) and torch.equal(mixed, again)
    assert box[0].sum() == 10 * 20
    taken = [torch.equal(mixed[row], box[row]) for row in range(8)]
    assert any(taken) and not all(taken) and all(t or torch.equal(mixed[r], mask[r]) for r, t in enumerate(taken))


def test_outside_a_rerender_region_nothing_changes():
    old, new = torch.zeros(1, 64, 64), torch.zeros(1, 64, 64)
    old[:, 10:20, 10:20], new[:, 30:40, 10:20] = 1, 1
    region = run("FittingRoomRerenderRegion", old_mask=old, new_mask=new, grow=4).args[0]
    assert region[0, 15, 15] == 1 and region[0, 35, 15] == 1 and region[0, 6, 15] == 1 and region[0, 5, 15] == 0
    source, result = torch.rand(1, 64, 64, 3), torch.rand(1, 64, 64, 3)
    back = run("FittingRoomCompositeBack", source=source, result=result, mask=region, feather=0).args[0]
    assert torch.equal(back[region == 0], source[region == 0]) and torch.equal(back[region == 1], result[region == 1])
    with pytest.raises(ValueError, match="covers nothing"):
        run("FittingRoomRerenderRegion", old_mask=torch.zeros(1, 8, 8), new_mask=torch.zeros(1, 8, 8), grow=4)
