"""Typed and clicked points."""

import pytest

from fitting_room.preprocess.points import Point, parse_box, parse_points


@pytest.mark.parametrize("text", [
    "120,80; 300,90,0", "120, 80\n300, 90, 0\n", '[{"x": 120, "y": 80}, {"x": 300, "y": 90, "label": 0}]', "[[120, 80], [300, 90, 0]]"])
def test_all_forms_read_the_same(text):
    assert parse_points(text, 400, 100) == [Point(120, 80, 1), Point(300, 90, 0)]


def test_nothing_is_no_points():
    assert parse_points("  ", 10, 10) == [] and parse_points("[]", 10, 10) == [] and parse_box("", 10, 10) is None


@pytest.mark.parametrize("text, sentence", [
    ("400,5", r"Point 1 \(400, 5\) lies outside the 400x100 picture"),
    ("-1,5", "lies outside"),
    ("nan,5", "lies outside"),
    ("a,b", "could not be read; write them as"),
    ("[{", "could not be read"),
    ('[{"x": 1}]', "Point 1 reads"),
    ("[5]", "could not be read"),
    ("1,2,7", "an optional label 1 or 0 were expected"),
])
def test_bad_points_get_a_sentence(text, sentence):
    with pytest.raises(ValueError, match=sentence):
        parse_points(text, 400, 100)


def test_boxes():
    assert parse_box("1,2,30,40", 30, 40) == (1, 2, 30, 40)
    for text in ("1,2,3", "a,b,c,d"):
        with pytest.raises(ValueError, match="write it as"):
            parse_box(text, 30, 40)
    for text in ("5,5,5,9", "9,1,2,5", "0,0,31,5", "nan,0,1,1"):
        with pytest.raises(ValueError, match="is not a box inside the 30x40 picture"):
            parse_box(text, 30, 40)


def test_shares_of_the_picture():
    """Half of 101 pixels is the middle one, number 50; the very edge is the last pixel; labels are no coordinates."""
    assert parse_points("0.5,0.5; 1,0,0", 101, 51) == [(50.0, 25.0, 1), (100.0, 0.0, 0)]
    assert parse_points('[{"x": 0.5, "y": 0.5}]', 101, 51) == [(50.0, 25.0, 1)]
    assert parse_points("1,1; 0,1", 10, 10) == [(1.0, 1.0, 1), (0.0, 1.0, 1)]  # whole numbers stay pixels
    assert parse_points("0.5,3", 10, 10) == [(0.5, 3.0, 1)]  # and so does everything as soon as one is
    assert parse_box("0.25,0.5,0.75,1", 100, 40) == (25.0, 20.0, 75.0, 40.0)
