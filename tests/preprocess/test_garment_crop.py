"""The garment cut out for the image encoder, on pictures whose answer can be read off."""

import pytest
import torch
from fitting_room.preprocess import garment_crop
from fitting_room.preprocess.garment_crop import crop_garment, fit_person, square_around, worn_garment


def person(height=100, width=60, box=(20, 60, 10, 30), colour=(1.0, 0.25, 0.0)):
    """A blue picture with a garment of one colour in a box (top, bottom, left, right), and its mask."""
    top, bottom, left, right = box
    image, mask = torch.zeros(1, height, width, 3), torch.zeros(1, 1, height, width)
    image[..., 2] = 1.0
    image[:, top:bottom, left:right] = torch.tensor(colour)
    mask[..., top:bottom, left:right] = 1.0
    return image, mask


def test_the_square_has_four_percent_of_the_long_side_on_every_side():
    region = person()[1][0, 0].numpy() > 0.5  # 40 high, 20 wide: 2 pixels of room, a square of 44
    assert square_around(region, 0.04) == (18, -2, 44)
    assert square_around(region, 0.0) == (20, 0, 40)


def test_the_garment_stands_in_the_middle_and_nothing_else_is_seen():
    image, mask = person()
    for fill, grey in (("grey", 0.5), ("black", 0.0), ("white", 1.0)):
        crop = crop_garment(image, mask, size=44, fill=fill)  # no resizing: every pixel can be named
        assert crop.shape == (1, 44, 44, 3)
        assert torch.equal(crop[0, 2:42, 12:32], torch.tensor([1.0, 0.25, 0.0]).expand(40, 20, 3))
        rest = crop.clone()
        rest[0, 2:42, 12:32] = grey
        assert torch.equal(rest, torch.full_like(rest, grey))


def test_resizing_keeps_the_proportions_and_the_range():
    crop = crop_garment(*person(), size=224)[0]
    inside = (crop[..., 0] > 0.75).nonzero()
    height, width = (int(inside[:, i].max() - inside[:, i].min()) + 1 for i in (0, 1))
    assert abs(height - 224 * 40 / 44) <= 2 and abs(width - 224 * 20 / 44) <= 2
    assert crop.min() >= 0 and crop.max() <= 1


def test_a_garment_at_the_border_gets_room_beyond_the_picture():
    image, mask = person(box=(0, 100, 0, 60))
    crop = crop_garment(image, mask, size=108)  # 100 + 2 * 4
    assert torch.equal(crop[0, 4:104, 24:84], image[0]) and bool((crop[0, :4] == 0.5).all()) and bool((crop[0, :, 84:] == 0.5).all())


def test_a_soft_mask_mixes_with_the_fill():
    image, mask = person()
    mask[..., 30, 20] = 0.75
    assert crop_garment(image, mask, size=44)[0, 12, 22].tolist() == [0.875, 0.3125, 0.125]


def test_every_picture_of_a_batch_has_its_own_square():
    (one, first), (two, second) = person(), person(box=(50, 70, 30, 50))
    both = crop_garment(torch.cat((one, two)), torch.cat((first, second)), size=32)
    assert torch.equal(both[0], crop_garment(one, first, size=32)[0]) and torch.equal(both[1], crop_garment(two, second, size=32)[0])


def test_bad_input_gets_one_sentence():
    image, mask = person()
    with pytest.raises(ValueError, match="garment mask is empty"):
        worn_garment(image, torch.zeros(1, 100, 60))
    with pytest.raises(ValueError, match="mask 2 of 2 is empty"):
        worn_garment(image, torch.cat((mask, mask * 0)))
    with pytest.raises(ValueError, match="alpha channel"):
        worn_garment(torch.cat((image, image[..., :1]), -1), mask)
    with pytest.raises(ValueError, match="image 2, mask 3"):
        worn_garment(image.expand(2, -1, -1, -1), mask.expand(3, -1, -1, -1))
    with pytest.raises(ValueError, match="NaN"):
        worn_garment(image * float("nan"), mask)


def test_a_mask_of_another_size_is_resized_and_said_so():
    image, mask = person()
    _, found, note = worn_garment(image, mask[..., ::2, ::2])
    assert found.shape == (1, 1, 100, 60) and "30x50" in note and "60x100" in note
    assert worn_garment(image, mask)[2] == ""


def test_one_mask_serves_a_batch_and_one_picture_serves_several_masks():
    image, mask = person()
    for images, masks in ((image.expand(2, -1, -1, -1), mask), (image, mask.expand(2, -1, -1, -1))):
        found, cut, _ = worn_garment(images, masks)
        assert len(found) == len(cut) == 2


def test_person_and_mask_stay_on_top_of_each_other():
    image, mask = person(height=100, width=60)
    fitted, cut = fit_person(image, mask, 200, 200)  # twice the size, 40 pixels of white on both sides
    assert fitted.shape == (1, 200, 200, 3) and cut.shape == (1, 1, 200, 200)
    assert bool((fitted[0, :, :40] == 1).all()) and bool((cut[..., :40] == 0).all())
    covered = (cut[0, 0] > 0.5).nonzero()
    assert covered.min(0).values.tolist() == [40, 60] and covered.max(0).values.tolist() == [119, 99]
    garment = fitted[0, 44:116, 64:96]  # inside the garment, away from its edge
    torch.testing.assert_close(garment, torch.tensor([1.0, 0.25, 0.0]).expand_as(garment), rtol=0, atol=1e-5)


def test_fills_have_the_names_of_the_configuration():
    from fitting_room.models.igr import CHOICES

    assert set(garment_crop.FILLS) == set(CHOICES["crop_fill"])
