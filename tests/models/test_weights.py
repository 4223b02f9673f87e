"""Weights files: what is written comes back, and what cannot be used is refused with a sentence."""

import os

import pytest
import torch
from fitting_room.models import weights
from fitting_room.models.weights import Header, WeightsError

TENSORS = {"a.weight": torch.arange(6.0).reshape(2, 3), "b": torch.tensor(7)}


def test_header_and_tensors_come_back(tmp_path):
    header = Header("anydressing", {"rank": 4, "slots": ["upper"]}, trained="100 steps", data="drawn", license="CC BY-NC-SA 4.0")
    path = weights.write(tmp_path / "x.safetensors", TENSORS, header)
    again, tensors = weights.read(path, "anydressing")
    assert again == header and tensors.keys() == TENSORS.keys()
    assert all(torch.equal(tensors[k], TENSORS[k]) for k in TENSORS)
    assert "NON-COMMERCIAL" in again.describe() and "100 steps" in again.describe()
    assert "NON-COMMERCIAL" not in Header("igr").describe()


def test_another_method_is_refused_by_name(tmp_path):
    path = weights.write(tmp_path / "x.safetensors", TENSORS, Header("igr"))
    with pytest.raises(WeightsError, match="'x.safetensors' holds weights of igr, but anydressing is wanted"):
        weights.read(path, "anydressing")


def test_another_format_is_refused(tmp_path):
    from safetensors.torch import save_file

    save_file(TENSORS, str(tmp_path / "x.safetensors"), {**Header("igr").metadata(), "fitting_room.format": "99"})
    with pytest.raises(WeightsError, match="format '99'"):
        weights.read_header(tmp_path / "x.safetensors")


def test_a_foreign_safetensors_is_refused(tmp_path):
    from safetensors.torch import save_file

    save_file(TENSORS, str(tmp_path / "x.safetensors"))
    with pytest.raises(WeightsError, match="Convert Weights"):
        weights.read_header(tmp_path / "x.safetensors")


@pytest.mark.parametrize("keep", [0, 1, 7, 40, -1])
def test_a_truncated_file_is_refused(tmp_path, keep):
    path = weights.write(tmp_path / "x.safetensors", TENSORS, Header("igr"))
    data = path.read_bytes()
    path.write_bytes(data[:keep])
    with pytest.raises(WeightsError, match="x.safetensors"):
        weights.read(path)


class Evil:
    def __reduce__(self):
        return os.mkdir, ("evil-was-here",)


def test_a_pickle_with_code_is_refused_and_does_not_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"state_dict": Evil()}, tmp_path / "evil.ckpt")
    with pytest.raises(WeightsError, match="refused"):
        weights.read_foreign(tmp_path / "evil.ckpt")
    with pytest.raises(WeightsError, match="pickle"):
        weights.read_header(tmp_path / "evil.ckpt")
    assert not (tmp_path / "evil-was-here").exists()


def test_a_plain_pickle_is_read_flat(tmp_path):
    torch.save({"module": {"a": TENSORS["a.weight"], "step": 3}}, tmp_path / "x.pt")
    assert list(weights.read_foreign(tmp_path / "x.pt")) == ["module.a"]


def test_nan_is_refused(tmp_path):
    path = weights.write(tmp_path / "x.safetensors", {"a": torch.tensor([1.0, float("nan")])}, Header("igr"))
    with pytest.raises(WeightsError, match="NaN or infinite numbers in a;"):
        weights.read(path)


def test_missing_and_unexpected_keys_are_listed_five_at_most():
    expected, found = [f"k{i}" for i in range(9)], ["k0", "extra"]
    with pytest.raises(WeightsError, match=r"8 missing \(k1, k2, k3, k4, k5, and 3 more\) and 1 unexpected \(extra\)"):
        weights.check_keys("x", found, expected)


def test_a_write_that_fails_leaves_the_earlier_file(tmp_path, monkeypatch):
    path = weights.write(tmp_path / "x.safetensors", TENSORS, Header("igr"))
    before = path.read_bytes()

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(WeightsError, match="No space left"):
        weights.write(path, {"a": torch.ones(1000)}, Header("igr"))
    assert path.read_bytes() == before and [p.name for p in tmp_path.iterdir()] == ["x.safetensors"]


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such modes")
def test_a_file_may_be_read_by_others_as_any_other_file(tmp_path):
    (tmp_path / "any").write_text("x")
    path = weights.write(tmp_path / "x.safetensors", TENSORS, Header("igr"))
    assert path.stat().st_mode == (tmp_path / "any").stat().st_mode


def test_a_header_of_any_length_is_no_pickle(tmp_path):
    """The first byte of a safetensors file is the low byte of its header's length; 0x80 is also how a pickle begins."""
    starts = set()
    for length in range(0, 300, 3):
        path = weights.write(tmp_path / "x.safetensors", TENSORS, Header("igr", trained="x" * length))
        starts.add(path.read_bytes()[0])
        assert weights.read_header(path).trained == "x" * length
    assert 0x80 in starts
