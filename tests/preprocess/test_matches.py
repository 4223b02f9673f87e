"""The Matches value: sizes, JSON, batches, cells of the feature map."""

import json

import numpy as np
import pytest
from fitting_room.preprocess.matches import Matches, Removal, cells, empty, from_json, stack, to_json


def matches(points, size=(512, 384), **more):
    points = np.array(points, np.float32).reshape(-1, 2, 2)
    return Matches(points, np.ones(len(points), bool), size, size, **more)


def test_cells_of_section_3_2_by_hand():
    """Grid 16x12 of 512x384: one cell is 32 pixels. Two matches share a person cell, two of its three end in one garment cell."""
    found = matches([[[0, 0], [31, 31]], [[31, 31], [32, 0]], [[10, 10], [20, 20]], [[383, 511], [64, 32]]])
    result = cells(found, (16, 12))
    assert result.query.tolist() == [0, 0, 191]
    assert result.key.tolist() == [0, 1, 14]
    assert np.allclose(result.weight, [2 / 3, 1 / 3, 1])
    assert result.sample.tolist() == [0, 0, 0]


def test_points_round_half_to_even_and_outside_is_dropped():
    found = matches([[[31.5, 0], [0, 0]], [[32.5, 0], [0, 0]], [[383.6, 0], [0, 0]], [[5, 5], [0, -0.6]], [[5, 511.4], [0, -0.5]]])
    assert cells(found, (16, 12)).query.tolist() == [1, 180]  # 31.5 and 32.5 are pixel 32; 384 and -1 are outside


def test_cells_are_the_dense_histogram():
    rng = np.random.default_rng(0)
    rows = [matches(rng.uniform(0, 383, (k, 2, 2)).astype(np.float32)) for k in (200, 0, 90)]
    result = cells(rows, (32, 24), (16, 12))
    dense = np.zeros((3, 32 * 24, 16 * 12))
    for sample, row in enumerate(rows):
        for (xp, yp), (xg, yg) in np.round(row.points):
            dense[sample, int(yp // 16) * 24 + int(xp // 16), int(yg // 32) * 12 + int(xg // 32)] += 1
    dense /= np.maximum(dense.sum(2, keepdims=True), 1)
    mine = np.zeros_like(dense)
    mine[result.sample, result.query, result.key] = result.weight
    assert np.allclose(mine, dense)


def test_padding_counts_for_nothing():
    found = matches([[[0, 0], [0, 0]], [[40, 0], [0, 0]]])
    padded = Matches(found.points, np.array([True, False]), (512, 384), (512, 384))
    assert padded.count == 1 and cells(padded, (16, 12)).query.tolist() == [0]
    assert json.loads(to_json(padded, released=True)) == [[[0, 0], [0, 0]]]


def test_resizing_keeps_pixel_corners():
    found = matches([[[0, 0], [383, 511]]]).resized((1024, 768))
    assert found.points.tolist() == [[[0.5, 0.5], [766.5, 1022.5]]]  # the middle of the 2x2 pixels that one becomes
    assert np.allclose(found.resized((512, 384)).points, [[[0, 0], [383, 511]]])


def test_cells_do_not_depend_on_the_size_the_points_refer_to():
    rng = np.random.default_rng(1)
    found = matches(np.floor(rng.uniform(0, [384, 512], (100, 2, 2))))
    small, large = cells(found, (64, 48)), cells(found.resized((1024, 768)), (64, 48))
    assert all((a == b).all() for a, b in zip(small, large, strict=True))


def test_flipped():
    found = matches([[[0, 7], [383, 9]]])
    assert found.flipped().points.tolist() == [[[383, 7], [0, 9]]]
    assert (found.flipped().flipped().points == found.points).all()


def test_json_in_the_released_layout():
    found = matches([[[1.25, 2], [3, 4.5]]])
    text = to_json(found, released=True)
    assert text == "[[[1.25, 2.0], [3.0, 4.5]]]"
    back = from_json(text)
    assert (back.points == found.points).all() and back.person_size == (512, 384) and back.seed is None
    assert from_json("[]").count == 0


def test_json_keeps_everything():
    found = matches([[[1.25, 2], [3, 4.5]]], size=(600, 400), removed=(Removal("torso", "angle", 5, 4),), seed=7, note="so")
    back = from_json(to_json(found))
    assert (back.points == found.points).all()
    assert (back.person_size, back.garment_size, back.removed, back.seed, back.note) == ((600, 400), (600, 400), found.removed, 7, "so")


@pytest.mark.parametrize("text", ["{", "7", '{"a": 1}', '[["a"]]', "[[1, 2, 3]]", "[[[1, NaN], [2, 3]]]"])
def test_other_json_is_refused_in_one_sentence(text):
    with pytest.raises(ValueError, match="match text.*expected"):
        from_json(text)


def test_a_newer_version_is_refused_by_name():
    text = to_json(matches([])).replace('"version": 1', '"version": 2')
    with pytest.raises(ValueError, match="my.json.*version 2.*version 1"):
        from_json(text, name="my.json")


def test_a_batch_is_padded_and_brought_to_one_size():
    first, second = matches([[[1, 2], [3, 4]]]), matches([[[1.5, 1.5], [0.5, 0.5]]] * 3, size=(1024, 768))
    batch = stack([first, second, empty((512, 384), (512, 384))])
    assert batch.points.shape == (3, 3, 2, 2) and batch.valid.sum(1).tolist() == [1, 3, 0]
    assert batch.points[0, 0].tolist() == [[1, 2], [3, 4]] and not batch.points[0, 1:].any()
    assert batch.points[1, 2].tolist() == [[0.5, 0.5], [0, 0]]


def test_wrong_shapes_are_refused():
    with pytest.raises(ValueError, match="shape"):
        Matches(np.zeros((3, 4)), np.ones(3, bool), (512, 384), (512, 384))


def test_report_sums_the_parts():
    steps = (Removal("torso", "angle", 9, 2), Removal("torso", "scale", 7, 1), Removal("left_arm", "angle", 4, 3))
    found = matches([[[0, 0], [0, 0]]], removed=steps)
    assert found.removed_by() == {"angle": (13, 5), "scale": (7, 1)}
    assert found.report() == "1 matches (angle -5, scale -1)"
