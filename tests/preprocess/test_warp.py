"""Pictures placed in parallelograms."""

import pytest
import torch

from fitting_room.preprocess import warp


def test_axis_aligned_placing_is_a_copy():
    picture = torch.rand(1, 3, 10, 20, generator=torch.Generator().manual_seed(0))
    # pixel centres are integers: a 20x10 picture at x 5..24, y 8..17 spans -0.5 to +0.5 beyond them
    corners = torch.tensor([[[4.5, 7.5], [24.5, 7.5], [24.5, 17.5], [4.5, 17.5]]])
    out, covered = warp.place_picture(picture, corners, (30, 40))
    assert torch.allclose(out[..., 8:18, 5:25], picture, atol=1e-5)
    assert covered.sum() == 200 and bool((out * (1 - covered) == 0).all())


def test_a_quarter_turn():
    picture = torch.rand(1, 1, 6, 6)
    corners = torch.tensor([[[8.5, 1.5], [8.5, 7.5], [2.5, 7.5], [2.5, 1.5]]])     # its top edge runs down the right side
    out, _ = warp.place_picture(picture, corners, (12, 12))
    assert torch.allclose(out[0, 0, 2:8, 3:9], picture[0, 0].rot90(-1), atol=1e-5)


def test_two_pieces_and_a_flat_one():
    picture = torch.ones(1, 1, 4, 4)
    pieces = torch.tensor([[[0., 0], [4, 0], [4, 4], [0, 4]], [[10, 0], [14, 0], [14, 4], [10, 4]]])
    assert warp.place_picture(picture, pieces, (6, 16))[1].sum() == 50             # 5x5 centres each, edges included
    with pytest.raises(ValueError, match="has no area"):
        warp.place_picture(picture, torch.tensor([[[0., 0], [4, 0], [8, 0], [4, 0]]]), (6, 16))
    with pytest.raises(ValueError, match=r"\(batch, pieces, 4, 2\)"):
        warp.place_picture(picture, torch.zeros(4, 2), (6, 16))
