"""RANSAC: known homographies with known outliers, against a slow version of the same equations."""

import random

import numpy as np
import pytest
from fitting_room.preprocess import ransac

H = np.array([[0.9, 0.1, 20.0], [-0.05, 1.1, 8.0], [1e-4, 2e-4, 1.0]])


def scene(inliers=60, outliers=40, noise=0.0, seed=0):
    rng = np.random.default_rng(seed)
    person = rng.uniform(0, 384, (inliers + outliers, 2))
    garment = ransac.project(H[None], person)[0]
    garment[:inliers] += rng.normal(0, noise, (inliers, 2)) if noise else 0
    angle = rng.uniform(0, 2 * np.pi, outliers)
    garment[inliers:] += np.stack((np.cos(angle), np.sin(angle)), 1) * rng.uniform(30, 200, (outliers, 1))
    order = rng.permutation(inliers + outliers)
    return person[order], garment[order], order < inliers


def by_svd(source, target):
    rows = []
    for (x, y), (u, v) in zip(source, target, strict=True):
        rows += [[x, y, 1, 0, 0, 0, -u * x, -u * y, -u], [0, 0, 0, x, y, 1, -v * x, -v * y, -v]]
    h = np.linalg.svd(np.array(rows))[2][-1].reshape(3, 3)
    return h / h[2, 2]


def test_the_closed_form_is_the_direct_linear_transform():
    rng = np.random.default_rng(1)
    source, target = rng.uniform(0, 384, (20, 4, 2)), rng.uniform(0, 384, (20, 4, 2))
    fast = ransac.homographies(source, target)
    for row in range(20):
        assert np.allclose(ransac.project(fast[row : row + 1], source[row])[0], target[row], atol=1e-5)
        assert np.allclose(fast[row], by_svd(source[row], target[row]), rtol=1e-4, atol=1e-6)


def test_a_shift_is_found_by_hand():
    source = np.array([[[0, 0], [10, 0], [0, 10], [10, 10]]], float)
    assert np.allclose(ransac.homographies(source, source + [3, 5])[0], [[1, 0, 3], [0, 1, 5], [0, 0, 1]])


def test_three_points_on_a_line_give_no_model():
    source = np.array([[[0, 0], [5, 5], [10, 10], [10, 0]]], float)
    assert np.isnan(ransac.homographies(source, source)).all()
    line = np.stack((np.arange(30.0), np.arange(30.0)), 1)
    assert ransac.ransac_homography(line, line).inliers.sum() == 0


@pytest.mark.parametrize("seed", range(5))
def test_known_outliers_are_found(seed):
    person, garment, truth = scene(seed=seed)
    found = ransac.ransac_homography(person, garment, 12.0, seed)
    assert (found.inliers == truth).all()
    assert np.allclose(found.homography, H, rtol=1e-6, atol=1e-6)


def test_noise_is_tolerated_and_outliers_are_not():
    person, garment, truth = scene(noise=1.5, seed=4)
    found = ransac.ransac_homography(person, garment, 12.0, 0).inliers
    assert not (found & ~truth).any()
    assert found[truth].mean() > 0.9


def test_the_first_best_of_the_minimal_models_wins():
    """The same draws, one sample at a time, the reprojection written out: the same consensus."""
    person, garment, _ = scene(25, 15, noise=4.0, seed=7)
    found = ransac.ransac_homography(person, garment, 12.0, 5, iterations=200)
    draws = ransac.distinct_draws(np.random.default_rng(5), len(person), 200)
    best = np.zeros(len(person), bool)
    for pick in draws:
        h = by_svd(person[pick], garment[pick])
        mapped = np.c_[person, np.ones(len(person))] @ h.T
        near = np.linalg.norm(mapped[:, :2] / mapped[:, 2:] - garment, axis=1) < 12.0
        if near.sum() > best.sum():
            best = near
    assert (found.inliers == best).all() and found.samples == 200


def test_only_the_seed_matters():
    person, garment, _ = scene(noise=5.0, seed=2)
    np.random.seed(1)
    random.seed(1)
    first = ransac.ransac_homography(person, garment, 6.0, 11)
    state = np.random.get_state()[1].copy()
    np.random.seed(2)
    random.seed(2)
    second = ransac.ransac_homography(person, garment, 6.0, 11)
    assert (first.inliers == second.inliers).all() and (first.homography == second.homography).all()
    np.random.seed(1)
    assert (np.random.get_state()[1] == state).all()  # and it drew nothing from the global generator
    other = [ransac.ransac_homography(person, garment, 6.0, seed).inliers for seed in range(8)]
    assert any((row != first.inliers).any() for row in other)


def test_stopping_is_looked_at_after_200_and_every_100():
    person, garment, _ = scene(100, 0)
    assert ransac.ransac_homography(person, garment, 12.0, 0).samples == 200
    rng = np.random.default_rng(0)
    wild = rng.uniform(0, 384, (200, 2)), rng.uniform(0, 384, (200, 2))
    assert ransac.ransac_homography(*wild, 1.0, 0).samples == 1000
    # 35 inliers of 100 need log(0.01) / log(1 - 0.35^4) = 305 samples: looked at after 200 and 300, stopped at 400
    person, garment, truth = scene(35, 65, seed=3)
    found = ransac.ransac_homography(person, garment, 3.0, 1)
    assert found.inliers.sum() == 35 and found.samples == 400


def test_draws_are_distinct_and_cover_everything_evenly():
    draws = ransac.distinct_draws(np.random.default_rng(0), 6, 6000)
    assert all(len(set(row)) == 4 for row in draws.tolist())
    for column in draws.T:
        assert np.abs(np.bincount(column, minlength=6) - 1000).max() < 150  # five sigma
    assert sorted(ransac.distinct_draws(np.random.default_rng(0), 4, 1)[0].tolist()) == [0, 1, 2, 3]


def test_fewer_than_four_points():
    assert ransac.ransac_homography(np.zeros((3, 2)), np.zeros((3, 2))).inliers.tolist() == [False] * 3
