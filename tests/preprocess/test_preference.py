"""Style weights, mixing, learning, profiles."""

import json

import pytest
import torch

from fitting_room.preprocess import preference
from fitting_room.preprocess.preference import Profile

EQUAL = {style: 1 / 3 for style in preference.STYLES}
ONE_HOT = [{style: float(style == chosen) for style in preference.STYLES} for chosen in preference.STYLES]


def test_weights_are_normalised():
    assert preference.normalise({"modern": 3, "traditional": 1}) == {"modern": 0.75, "traditional": 0.25, "minimalistic": 0.0}
    assert not any(preference.normalise({}).values())
    for bad in ({"modern": -1}, {"modern": float("nan")}):
        with pytest.raises(ValueError, match="numbers of 0 or more were expected"):
            preference.normalise(bad)
    with pytest.raises(ValueError, match="Styles 'gothic' are not known; the styles are modern"):
        preference.normalise({"gothic": 1})


def test_prompts_name_type_material_style_and_text():
    (weight, prompt), = preference.prompts({"modern": 5}, "necklace", "gold", "with a blue stone")
    assert weight == 1
    assert prompt.startswith("a photo of a person wearing a gold necklace, modern,") and prompt.endswith("with a blue stone")
    assert preference.prompts({}, "earring") == [(1.0, "a photo of a person wearing earrings")]
    assert [weight for weight, _ in preference.prompts({"modern": 1, "traditional": 3}, "ring")] == [0.25, 0.75]


def test_one_hot_is_bit_equal_and_mixtures_are_weighted_means():
    a, b = torch.randn(1, 77, 768), torch.randn(1, 77, 768)
    assert torch.equal(preference.mix([1.0], [a]), a) and torch.equal(preference.mix([0.0, 1.0], [b, a]), a)
    assert torch.allclose(preference.mix([0.25, 0.75], [a, b]), 0.25 * a + 0.75 * b)
    assert preference.mix([0.5, 0.5], [None, None]) is None                     # SD1.5 has no pooled output
    with pytest.raises(ValueError, match="encoded to different lengths"):
        preference.mix([0.5, 0.5], [a, torch.randn(1, 154, 768)])


def test_the_update_by_hand():
    # phi_chosen - mean = (2/3, -1/3, -1/3): weights 1/3 * exp of that, normalised
    e = 2.718281828459045
    found = preference.update(EQUAL, ONE_HOT, 0, rate=1.0)
    assert found["modern"] == pytest.approx(e ** (2 / 3) / (e ** (2 / 3) + 2 * e ** (-1 / 3)))


def test_repeated_choice_drives_a_weight_monotonically_to_one():
    weights = EQUAL
    for _ in range(40):
        before, weights = weights, preference.update(weights, ONE_HOT, 1, 0.5)
        assert weights["traditional"] > before["traditional"] and sum(weights.values()) == pytest.approx(1)
    assert weights["traditional"] > 1 - 1e-6


def test_rate_zero_equal_candidates_and_no_preference():
    start = {"modern": 0.5, "traditional": 0.25, "minimalistic": 0.25}
    assert preference.update(start, ONE_HOT, 2, 0.0) == start
    assert preference.update(start, [ONE_HOT[0]] * 3, 1, 5.0) == pytest.approx(start)
    assert preference.update({}, ONE_HOT, 0, 0.0) == pytest.approx(EQUAL)
    off = preference.update({"modern": 1, "traditional": 1}, ONE_HOT, 2, 1.0)
    assert off["minimalistic"] == 0
    assert preference.update(start, ONE_HOT, 0, 1e6)["modern"] == 1               # no overflow


def test_bad_choices_get_a_sentence():
    with pytest.raises(ValueError, match="Candidate 3 was chosen out of 3; choose 0 to 2"):
        preference.update(EQUAL, ONE_HOT, 3)
    with pytest.raises(ValueError, match="No candidates were given"):
        preference.update(EQUAL, [], 0)
    with pytest.raises(ValueError, match="a finite number was expected"):
        preference.update(EQUAL, ONE_HOT, 0, float("inf"))


def test_profiles_are_saved_by_name_and_read_back(tmp_path):
    profile = Profile("Anna 2", EQUAL).chosen(ONE_HOT, 0)
    path = preference.save(profile, tmp_path / "profiles")
    assert path.name == "Anna 2.json" and preference.load("Anna 2", tmp_path / "profiles") == profile and profile.choices == 1
    preference.save(Profile("Anna 2", EQUAL), tmp_path / "profiles")                 # replaced whole
    assert preference.load("Anna 2", tmp_path / "profiles").choices == 0
    assert preference.names(tmp_path / "profiles") == ["Anna 2"] and len(list((tmp_path / "profiles").iterdir())) == 1
    with pytest.raises(ValueError, match="There is no profile 'Bea'; there are: Anna 2"):
        preference.load("Bea", tmp_path / "profiles")
    assert preference.names(tmp_path / "none") == []


def test_a_failed_write_leaves_the_old_profile(tmp_path, monkeypatch):
    preference.save(Profile("anna", EQUAL), tmp_path)
    monkeypatch.setattr(preference.os, "fsync", lambda _: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError):
        preference.save(Profile("anna", ONE_HOT[0]), tmp_path)
    assert preference.load("anna", tmp_path).weights == EQUAL and [path.name for path in tmp_path.iterdir()] == ["anna.json"]


@pytest.mark.parametrize("name", [
    "", "../anna", "a/b", "a\\b", "C:anna", "anna.json", ".", "..", " anna", "a" * 65, "con", "LPT1", "a\x00b", "a\nb", None])
def test_path_characters_are_refused(tmp_path, name):
    with pytest.raises(ValueError, match="cannot be used; use 1 to 64 letters"):
        preference.save(Profile(name, EQUAL), tmp_path)
    assert not list(tmp_path.iterdir())


def test_foreign_profiles_are_refused():
    good = json.loads(preference.to_json(Profile("anna", EQUAL)))
    newer, foreign = json.dumps({**good, "style_profile": 2}), json.dumps({**good, "name": "../x"})
    part = json.dumps({key: value for key, value in good.items() if key != "weights"})
    for text, sentence in (("x", "is not JSON"), ("[]", "has version None"), (newer, "has version 2, but this pack reads version 1"),
                           (part, "is incomplete"), (foreign, "cannot be used")):
        with pytest.raises(ValueError, match=sentence):
            preference.from_json(text)


@pytest.mark.parametrize("text, weights", [
    ("modern 0.75, traditional 0.25", (0.75, 0.25, 0.0)), ("modern=3, traditional: 1", (0.75, 0.25, 0.0)), ("minimalistic", (0.0, 0.0, 1.0)),
    ('{"modern": 1, "minimalistic": 1}', (0.5, 0.0, 0.5)), ("neutral", (0.0, 0.0, 0.0)), ("", (0.0, 0.0, 0.0)),
])
def test_styles_are_read_and_written(text, weights):
    found = preference.parse_styles(text)
    assert tuple(found.values()) == weights
    assert preference.parse_styles(preference.styles_text(found)) == found


@pytest.mark.parametrize("text, sentence", [("gothic 1", "not known"), ("modern much", "could not be read"), ("modern 1 2", "could not be read"), ("modern -1", "0 or more")])
def test_other_styles_are_refused(text, sentence):
    with pytest.raises(ValueError, match=sentence):
        preference.parse_styles(text)


def test_a_profile_leans_the_wish():
    taste = {"modern": 0.2, "traditional": 0.8, "minimalistic": 0.0}
    assert preference.blend({"modern": 1, "traditional": 1, "minimalistic": 1}, taste) == taste == preference.blend({}, taste)
    assert preference.blend({"modern": 1}, taste) == {"modern": 1.0, "traditional": 0.0, "minimalistic": 0.0}
    assert preference.blend({"modern": 1, "traditional": 3}, None)["traditional"] == 0.75
