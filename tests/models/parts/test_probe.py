"""Attention rows of chosen points: against full maps, and concentration by hand."""

import pytest
import torch
from fitting_room.models.parts.probe import Probe, concentration, peaks, point_cells, spread


def test_cells_as_the_paper_bins_them():
    """floor(share * side), row-major: a 12 x 16 grid (width x height)."""
    points = torch.tensor([[0.0, 0.0], [0.5, 0.5], [0.999, 0.999], [1.0, 1.0]])
    assert point_cells(points, (16, 12)).tolist() == [0, 8 * 12 + 6, 191, 191]


def test_rows_equal_the_full_map():
    torch.manual_seed(0)
    q, k = torch.randn(2, 12, 8), torch.randn(2, 6, 8)  # grids 4 x 3 and 3 x 2, two heads of 4
    probe = Probe(torch.tensor([[0.4, 0.6], [0.9, 0.1]]))
    probe.see(4, q, k, 2, (4, 3), (3, 2), [0, 1])
    full = torch.stack([(q[0, :, i : i + 4] @ k[0, :, i : i + 4].mT / 2).softmax(-1) for i in (0, 4)]).mean(0)
    cells = [2 * 3 + 1, 0 * 3 + 2]
    torch.testing.assert_close(probe.maps[0].flatten(1), full[cells], atol=1e-6, rtol=1e-6)


def test_attention_that_knows_the_answer_is_fully_concentrated():
    """Keys and queries are one-hot codes of 'where': query cell j looks at key cell j and nowhere else."""
    codes = torch.eye(12) * 100
    probe = Probe(torch.tensor([[0.5, 0.5]]))
    probe.see(3, codes[None], codes[None], 1, (4, 3), (4, 3), [0])
    [peak] = peaks(probe.average(), (32.0, 24.0))
    assert peak.tolist() == [11.5, 19.5]  # cell (2, 1) of 8 pixels a side: its centre
    share, even = concentration(probe.average(), peak[None], 1.0, (32.0, 24.0))
    assert share.item() == pytest.approx(1.0) and even.item() == pytest.approx(1 / 12)


def test_an_even_map_is_as_concentrated_as_its_area():
    maps = torch.full((1, 4, 3), 1 / 12)
    share, even = concentration(maps, torch.tensor([[11.5, 11.5]]), 8.5, (32.0, 24.0))
    assert share.item() == pytest.approx(5 / 12) and even.item() == pytest.approx(5 / 12)  # the cell and its four neighbours


def test_levels_count_the_same_and_keep_their_mass():
    coarse = torch.tensor([[[1.0, 0.0], [0.0, 0.0]]])
    fine = spread(coarse, (4, 4))
    assert fine[0, :2, :2].tolist() == [[0.25, 0.25], [0.25, 0.25]] and fine.sum() == 1
    probe = Probe(torch.zeros(1, 2))
    probe.maps = [coarse, torch.nn.functional.one_hot(torch.tensor([15]), 16).float().view(1, 4, 4)]
    average = probe.average()
    assert average[0, 0, 0] == 0.125 and average[0, 3, 3] == 0.5


def test_only_the_wanted_blocks_and_picture():
    probe = Probe(torch.zeros(1, 2), blocks=(4,), image=1)
    assert probe.wants(4) and not probe.wants(5)
    probe.see(4, torch.zeros(1, 4, 2), torch.zeros(1, 4, 2), 1, (2, 2), (2, 2), [0])
    assert probe.maps == []
    with pytest.raises(ValueError, match="connect a MODEL that carries Apply SIFT-VTON"):
        probe.average()
