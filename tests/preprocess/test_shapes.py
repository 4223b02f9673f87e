"""Drawn shapes against slow definitions."""

import numpy as np

from fitting_room.preprocess import shapes
from fitting_room.preprocess.arrays import Box

SIZE = (40, 50)
Y, X = np.mgrid[:40, :50].astype(float)


def test_capsule_is_all_pixels_near_the_segment():
    along = np.linspace(0, 1, 4001)[:, None]
    line = np.array([5.0, 8.0]) + along * np.array([30.0, 17.0])
    slow = np.hypot(X[..., None] - line[:, 0], Y[..., None] - line[:, 1]).min(-1) <= 4
    assert (shapes.capsule(SIZE, (5, 8), (35, 25), 4) == slow).all()
    assert (shapes.stroke(SIZE, np.array([[5.0, 8.0], [35.0, 25.0]]), 4) == slow).all()


def test_shapes_outside_the_picture_are_clipped():
    assert not shapes.capsule(SIZE, (-40, -40), (-20, -30), 5).any()
    assert shapes.ellipse(SIZE, (0, 0), 3, 3).sum() == 11            # the quarter of a radius-3 disc: rows of 4, 3, 3, 1
    assert shapes.polygon(SIZE, [(-10, -10), (100, -10), (100, 100), (-10, 100)]).all()


def test_polygon_includes_its_outline():
    square = shapes.polygon(SIZE, [(10, 5), (20, 5), (20, 12), (10, 12)])
    assert (square == shapes.fill_box(SIZE, Box(5, 10, 13, 21))).all()


def test_mirrored_shapes_are_mirrored_masks():
    points = np.array([[7.0, 3.0], [31.5, 12.25], [18.0, 33.0]])
    mirror = points * [-1, 1] + [SIZE[1] - 1, 0]
    draws = (lambda p: shapes.polygon(SIZE, p), lambda p: shapes.stroke(SIZE, p, 2.5), lambda p: shapes.capsule(SIZE, p[0], p[1], 5, 2))
    for draw in draws:
        assert (draw(points)[:, ::-1] == draw(mirror)).all()


def test_hull_of_a_square_with_points_inside():
    points = np.array([[0, 0], [4, 0], [4, 4], [0, 4], [2, 2], [1, 3], [2, 0]], float)
    assert {tuple(p) for p in shapes.hull(points)} == {(0, 0), (4, 0), (4, 4), (0, 4)}


def test_grow_is_a_disc_and_shrink_undoes_it_on_a_disc():
    dot = np.zeros(SIZE, bool)
    dot[20, 25] = True
    assert (shapes.grow(dot, 5) == shapes.ellipse(SIZE, (25, 20), 5, 5)).all()
    disc = shapes.ellipse(SIZE, (25, 20), 9, 9)
    assert shapes.grow(disc, -3).sum() < disc.sum() < shapes.grow(disc, 3).sum()
    assert (shapes.grow(np.ones(SIZE, bool), -3)).all()               # the picture's border is no edge
    assert not shapes.grow(np.zeros(SIZE, bool), 3).any()
