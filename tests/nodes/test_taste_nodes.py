"""Placement, feedback, style mixing and profiles on the real host."""

import json

import pytest
import torch

from ..support import astronaut, astronaut_pose, run

pytestmark = pytest.mark.usefixtures("comfyui")
BLANK = torch.zeros(1, 200, 160, 3)


def place(**inputs):
    return run("FittingRoomJewelryPlacement", **{"image": BLANK, "type": "necklace", "points": "50,60; 110,60", "length_mm": 450.0, "mm_per_px": 2.0, **inputs})


def feedback(state, action, step=1.0, **more):
    return run("FittingRoomApplyFeedback", state=state, action=action, step=step, **more)


def test_typed_points_place_a_necklace():
    mask, box, state, text = place().args
    assert mask.shape == (1, 200, 160) and state == text
    rows, columns = mask[0].nonzero().unbind(1)
    assert (box["x"], box["y"]) == (int(columns.min()), int(rows.min())) and box["height"] == int(rows.max() - rows.min()) + 1
    assert mask[0, 60, 50] == 1 and mask[0, 60, 110] == 1
    assert json.loads(state)["length_mm"] == 450.0


def test_json_points_are_the_same():
    typed = place().args[0]
    assert torch.equal(place(points='[{"x": 50, "y": 60}, {"x": 110, "y": 60}]').args[0], typed)


def test_a_pose_places_on_a_photograph():
    """Without clicks: below the chin, across the neck, lobes beside the face."""
    photo = {"image": astronaut(), "points": "", "mm_per_px": 0.0, "length_mm": 0.0, "pose_json": astronaut_pose()}
    _, box, _, _ = place(**photo).args
    assert 180 < box["x"] < 230 and 200 < box["y"] < 260 and 220 < box["x"] + box["width"] / 2 < 240
    mask = place(**photo, type="earring", form="stud").args[0][0]
    columns = mask.nonzero()[:, 1]
    assert columns.min() < 190 and columns.max() > 265 and mask[:, 200:250].sum() == 0


def test_opposite_feedback_cancels_and_undo_goes_back():
    mask, _, state, _ = place().args
    there = feedback(state, "longer", 3.0).args
    assert there[1].sum() > mask.sum()
    back = feedback(feedback(there[0], "shorter", 1.0).args[0], "shorter", 2.0).args
    assert torch.equal(back[1], mask)
    undone = feedback(there[0], "undo").args
    assert undone[0] == state and torch.equal(undone[1], mask)


def test_feedback_shows_old_and_new_on_the_picture():
    out = feedback(place().args[2], "right", 5.0, image=BLANK + 0.5)
    assert len(out.ui["images"]) == 1 and "5" in out.ui["text"][0] and "right" in out.ui["text"][0]


def test_the_region_to_render_again_covers_both_lengths():
    mask, _, state, _ = place().args
    longer = feedback(state, "longer", 5.0).args[1]
    region = run("FittingRoomRerenderRegion", old_mask=mask, new_mask=longer, grow=3).args[0]
    assert bool((region >= mask).all()) and bool((region >= longer).all())


@pytest.mark.parametrize("inputs, sentence", [
    ({"points": "500,60; 110,60"}, "lies outside the 160x200 picture"),
    ({"points": "50,60"}, "click two points, one on each side of the neck"),
    ({"points": ""}, "No landmarks to place a necklace were found; click two points"),
    ({"mm_per_px": 0.0}, "give mm_per_px"),
    ({"points": "left, right"}, "could not be read"),
    ({"image": BLANK.repeat(2, 1, 1, 1)}, "There are 2 pictures"),
    ({"styles": "gothic 1"}, "not known"),
])
def test_bad_placements_get_one_sentence(inputs, sentence):
    with pytest.raises(ValueError, match=sentence):
        place(**inputs)


def test_states_of_other_versions_and_other_text_are_refused():
    state = json.loads(place().args[2])
    with pytest.raises(ValueError, match="has version 99, but this pack reads version 1"):
        feedback(json.dumps({**state, "jewelry_state": 99}), "longer")
    with pytest.raises(ValueError, match="not JSON"):
        feedback("necklace", "longer")
    with pytest.raises(ValueError, match="only 0 were given"):
        feedback(json.dumps(state), "undo")


# ---- style ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def clip():
    from fitting_room import host

    return host.demo_stack()[1]


def style(clip, modern=0.0, traditional=0.0, minimalistic=0.0, **more):
    inputs = {"clip": clip, "type": "necklace", "material": "gold", "modern": modern, "traditional": traditional, "minimalistic": minimalistic, **more}
    return run("FittingRoomStylePreference", **inputs).args


def plain(clip, text):
    from nodes import CLIPTextEncode

    with torch.inference_mode():
        return CLIPTextEncode().encode(clip, text)[0]


@pytest.mark.parametrize("name", ["modern", "traditional", "minimalistic"])
def test_one_style_alone_equals_the_hosts_text_node_bit_for_bit(clip, name):
    conditioning, styles, prompts = style(clip, **{name: 0.3})
    expected = plain(clip, prompts.removeprefix("1  "))
    assert styles == f"{name} 1" and name in prompts
    assert torch.equal(conditioning[0][0], expected[0][0])
    assert torch.equal(conditioning[0][1]["pooled_output"], expected[0][1]["pooled_output"])


def test_a_mix_is_the_weighted_mean_of_the_host_encodings(clip):
    conditioning, styles, prompts = style(clip, modern=3.0, traditional=1.0)
    assert styles == "modern 0.75, traditional 0.25"
    a, b = (plain(clip, line.split("  ", 1)[1])[0] for line in prompts.splitlines())
    torch.testing.assert_close(conditioning[0][0], 0.75 * a[0] + 0.25 * b[0])
    torch.testing.assert_close(conditioning[0][1]["pooled_output"], 0.75 * a[1]["pooled_output"] + 0.25 * b[1]["pooled_output"])


def test_no_preference_is_the_neutral_prompt(clip):
    conditioning, styles, prompts = style(clip, text="studio light")
    assert styles == "neutral" and prompts == "1  a photo of a person wearing a gold necklace, studio light"
    assert torch.equal(conditioning[0][0], plain(clip, prompts[3:])[0][0])


def choose(profile, chosen, rate=1.0, styles=("modern 1", "traditional 1", "minimalistic 1"), **more):
    named = {f"style{i}": text for i, text in enumerate(styles)}
    return run("FittingRoomPreferenceUpdate", profile=profile, styles=named, chosen=chosen, rate=rate, **more).args


@pytest.fixture
def profiles(tmp_path, monkeypatch):
    import folder_paths

    monkeypatch.setattr(folder_paths, "user_directory", str(tmp_path))
    return tmp_path / "default" / "fitting_room" / "profiles"


def test_choices_are_learned_saved_and_lean_the_mix(clip, profiles):
    text, report = choose("anna", 2)
    assert [p.name for p in profiles.iterdir()] == ["anna.json"] and (profiles / "anna.json").read_text() == text
    weights = json.loads(text)["weights"]
    assert weights["traditional"] > weights["modern"] == weights["minimalistic"] and "1 choices" in report
    again = json.loads(choose("anna", 2)[0])
    assert again["weights"]["traditional"] > weights["traditional"] and again["choices"] == 2
    for profile in ("anna", json.dumps(again)):
        used = style(clip, profile=profile)[1]
        assert used.split(", ")[1].startswith("traditional") and float(used.split("traditional ")[1].split(",")[0]) == pytest.approx(again["weights"]["traditional"], abs=1e-5)
    assert style(clip, modern=1.0, profile="anna")[1] == "modern 1"  # one style alone stays alone


def test_the_cache_notices_that_a_profile_learned(profiles):
    from fitting_room.nodes.taste import StylePreference

    choose("ben", 1)
    before = StylePreference.fingerprint_inputs(profile="ben", text="")
    choose("ben", 1)
    assert StylePreference.fingerprint_inputs(profile="ben", text="") != before


def test_no_choice_and_no_rate_change_nothing(profiles):
    text, _ = choose("cara", 0)
    assert json.loads(text)["choices"] == 0 and not profiles.exists()
    first = json.loads(choose("cara", 1, styles=("modern 1", "traditional 1"))[0])["weights"]
    assert json.loads(choose("cara", 2, rate=0.0)[0])["weights"] == first


@pytest.mark.parametrize("name", ["../anna", "a/b", "", "con", "a" * 65, "x.json"])
def test_names_with_path_characters_are_refused(profiles, name):
    from fitting_room.nodes.taste import PreferenceUpdate

    assert "cannot be used" in PreferenceUpdate.validate_inputs(profile=name)
    with pytest.raises(ValueError, match="cannot be used"):
        choose(name, 1)


def test_unknown_profiles_and_candidates_are_refused(clip, profiles):
    with pytest.raises(ValueError, match="There is no profile 'nobody'"):
        style(clip, profile="nobody")
    with pytest.raises(ValueError, match="Candidate 4 was chosen, but there are 3; choose 1 to 3"):
        choose("dora", 4)
