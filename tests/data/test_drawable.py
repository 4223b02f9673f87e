"""The light list of names is the list of what can be drawn, in the same order."""

from fitting_room.data import drawable, synthetic


def test_names_are_those_of_the_drawn_world():
    assert drawable.PICTURES == synthetic.PICTURES


def test_it_draws():
    picture = drawable.draw_picture("ring", 1, 64, 48)
    assert picture.image.shape == (64, 48, 3)
