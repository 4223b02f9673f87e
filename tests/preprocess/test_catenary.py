"""The hanging chain: arc length, ends, and the equation itself."""

import numpy as np
import pytest

from fitting_room.preprocess.catenary import arc_length, catenary


def test_arc_length_within_a_pixel_for_any_ends_and_length():
    random = np.random.default_rng(0)
    for _ in range(500):
        start, end = random.uniform(0, 600, (2, 2))
        length = np.hypot(*(start - end)) * (1 + 10 ** random.uniform(-6, 1.3))
        points = catenary(start, end, length)
        assert abs(arc_length(points) - length) < 0.5
        assert np.allclose(points[0], start) and np.allclose(points[-1], end)
        steps = np.hypot(*np.diff(points, axis=0).T)
        assert steps.max() < 1.1 * steps.mean()              # no jump to the end point


def test_it_is_the_catenary():
    # a = 50, from x = -50 to 50: y = 50 cosh(x / 50), arc 2 * 50 * sinh(1) = 117.52, sag 50 (cosh(1) - 1) = 27.15
    points = catenary((100.0, 20.0), (200.0, 20.0), 100 * np.sinh(1), spacing=0.1)
    expected = 20 + 50 * (np.cosh(1) - np.cosh((points[:, 0] - 150) / 50))
    assert np.abs(points[:, 1] - expected).max() < 1e-6
    assert points[:, 1].max() == pytest.approx(20 + 50 * (np.cosh(1) - 1), abs=1e-3)


def test_it_hangs_down_and_lower_on_the_lower_side():
    points = catenary((0.0, 0.0), (100.0, 40.0), 180)
    lowest = points[points[:, 1].argmax()]
    assert lowest[1] > 40 and lowest[0] > 50


def test_direction_and_mirror():
    points = catenary((10.0, 0.0), (80.0, 30.0), 140)
    assert np.allclose(catenary((80.0, 30.0), (10.0, 0.0), 140), points[::-1])
    assert np.allclose(catenary((-10.0, 0.0), (-80.0, 30.0), 140), points * [-1, 1], atol=1e-9)


def test_limits():
    assert np.allclose(catenary((0, 0), (30, 40), 50), np.linspace((0, 0), (30, 40), 101))       # taut
    folded = catenary((5, 0), (5, 40), 160)
    assert folded[:, 1].max() == pytest.approx(100, abs=0.5) and arc_length(folded) == pytest.approx(160, abs=1)
    with pytest.raises(ValueError, match="A chain of 40.0 px does not reach between points 50.0 px apart"):
        catenary((0, 0), (30, 40), 40)
