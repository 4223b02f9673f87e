"""One geometry for pictures, masks and points."""

from dataclasses import replace

import pytest
import torch
from fitting_room.data.augment import Geometry, augment, draw_geometry, move_mask, move_picture, move_points, swap_sides
from fitting_room.data.sample import Item, Sample

H, W = 12, 10


def dot(x, y, channels=3):
    """Black with one white pixel."""
    picture = torch.zeros(channels, H, W)
    picture[:, y, x] = 1.0
    return picture


def where(picture):
    """(x, y) of the brightest pixel."""
    place = int(picture[0].flatten().argmax())
    return place % picture.shape[-1], place // picture.shape[-1]


@pytest.mark.parametrize("geometry, expected", [
    (Geometry(), (3, 4)),
    (Geometry(flip=True), (W - 1 - 3, 4)),
    (Geometry(dx=0.2, dy=-0.25), (5, 1)),                 # 0.2 * 10 right, 0.25 * 12 up
    (Geometry(flip=True, dx=0.2), (8, 4)),
])
def test_a_pixel_lands_where_its_point_does(geometry, expected):
    moved = move_picture(dot(3, 4), geometry, 0.0)
    assert where(moved) == expected
    point = move_points(torch.tensor([3.0, 4.0]), geometry, H, W)
    torch.testing.assert_close(point, torch.tensor([float(v) for v in expected]))


def test_a_quarter_turn_clockwise_takes_the_top_to_the_right():
    square = torch.zeros(1, 9, 9)
    square[0, 1, 4] = 1.0                                 # above the centre (4, 4)
    turn = Geometry(angle=90.0)
    assert where(move_picture(square, turn, 0.0)) == (7, 4)
    torch.testing.assert_close(move_points(torch.tensor([4.0, 1.0]), turn, 9, 9), torch.tensor([7.0, 4.0]), atol=1e-5, rtol=0)


def test_growing_by_two_moves_points_away_from_the_centre():
    torch.testing.assert_close(move_points(torch.tensor([3.0, 4.0]), Geometry(scale=2.0), 9, 9), torch.tensor([2.0, 4.0]))


def test_what_comes_in_from_outside_is_filled_and_masks_get_nothing():
    shift = Geometry(dx=0.5)
    moved = move_picture(torch.zeros(3, H, W), shift, 1.0)
    torch.testing.assert_close(moved, torch.cat((torch.ones(3, H, 5), torch.zeros(3, H, 5)), 2), atol=1e-5, rtol=0)
    mask = move_mask(torch.ones(1, H, W), shift)
    assert bool((mask[..., :5] == 0).all()) and bool((mask[..., 5:] == 1).all())


def test_not_moved_is_the_same_tensor():
    picture = torch.rand(3, H, W)
    assert move_picture(picture, Geometry()) is picture


def sample(**more):
    matches = torch.tensor([[[3.0, 4.0], [2.0, 5.0]], [[9.0, 0.0], [0.0, 0.0]]])
    item = Item(dot(2, 5), "left ear", mask=dot(2, 5, 1), worn=dot(3, 4, 1), matches=matches)
    values = {"mask": dot(3, 4, 1), "pose": dot(3, 4), "depth": dot(3, 4, 1), "saliency": dot(3, 4, 1), "shadow": dot(3, 4, 1), "valid": torch.ones(1, H, W)}
    return Sample("one", dot(3, 4), (item,), caption="a ring on the left hand", category="left", **{**values, **more})


def test_everything_of_the_person_moves_together():
    settings = {"flip": 1.0, "shift": 0.2, "item_shift": 0.2}
    for seed in range(5):
        moved = augment(sample(), settings, torch.Generator().manual_seed(seed))
        match = moved.item.matches
        places = {where(t) for t in (moved.mask, moved.pose, moved.depth, moved.saliency, moved.shadow, moved.item.worn) if bool(t.any())}
        if len(match) and bool(moved.mask.any()):
            person, item = match[0]
            x, y = where(moved.pose)
            assert float(moved.person[0, y, x]) == pytest.approx(float(moved.pose[0, y, x]), abs=1e-5)
            assert max(abs(person[0] - x) + abs(person[1] - y) for x, y in places) <= 1.5
            assert not bool(moved.item.mask.any()) or sum(abs(a - b) for a, b in zip(item.tolist(), where(moved.item.mask))) <= 1.5


def test_a_flip_renames_sides_and_keeps_pixels():
    moved = augment(sample(), {"flip": 1.0}, torch.Generator().manual_seed(0))
    assert torch.equal(moved.person, sample().person.flip(-1)) and torch.equal(moved.item.picture, sample().item.picture.flip(-1))
    assert moved.caption == "a ring on the right hand" and moved.category == "right" and moved.item.slot == "right ear"
    torch.testing.assert_close(moved.item.matches[0], torch.tensor([[W - 1 - 3.0, 4.0], [W - 1 - 2.0, 5.0]]))


def test_sides_are_exchanged_as_words():
    assert swap_sides("Left bright left_ear, lefty") == "Right bright left_ear, lefty".replace("left_ear", "right_ear")


def test_matches_with_an_end_outside_are_dropped():
    moved = augment(sample(), {"shift": 0.0, "item_shift": 0.0}, torch.Generator().manual_seed(0))
    assert len(moved.item.matches) == 2
    far = augment(sample(), {"move": 1.0, "shift": 3.0}, torch.Generator().manual_seed(1))
    assert len(far.item.matches) == 0


def test_draws_repeat_and_one_setting_does_not_change_another():
    both, alone = ({"shift": 0.2, "scale": 0.2}, {"shift": 0.2})
    first, second = (draw_geometry(s, torch.Generator().manual_seed(3)) for s in (both, alone))
    assert (first.dx, first.dy) == (second.dx, second.dy) and second.scale == 1.0 != first.scale
    assert draw_geometry(both, torch.Generator().manual_seed(3)) == first


def test_colours_are_the_same_for_person_and_item_and_leave_masks_alone():
    flat = torch.full((3, H, W), 0.5)
    grey = replace(sample(), person=flat, items=(Item(flat),))
    moved = augment(grey, {"brightness": 0.4}, torch.Generator().manual_seed(1))
    assert torch.equal(moved.person, moved.item.picture) and not torch.equal(moved.person, grey.person)
    assert torch.equal(moved.mask, grey.mask) and torch.equal(moved.pose, grey.pose)


def test_a_misspelt_setting_is_refused():
    with pytest.raises(ValueError, match="'shfit' is not known"):
        augment(sample(), {"shfit": 0.1}, torch.Generator())
