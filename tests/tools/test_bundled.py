"""Bundled workflows as a program sets them: names, types, pictures, and sentences for what is wrong."""

import json

import pytest
from fitting_room.tools import bundled
from fitting_room.tools.bundled import InputError, load, name_results


class Uploads:
    """Takes pictures and names them in turn."""

    def __init__(self):
        self.taken = []

    def upload_once(self, picture):
        self.taken.append(picture)
        return f"sent{len(self.taken)}"


@pytest.mark.parametrize("name", bundled.names())
def test_every_parameter_of_every_workflow_takes_its_default(name):
    workflow = load(name)
    values = {key: f"server:{p['default']}" if p["type"] == "IMAGE FILE" else str(p["default"]) for key, p in workflow.params.items()}
    assert workflow.fill(values).prompt == workflow.prompt  # text, as a command line and a CSV give it, becomes the typed default


def test_values_reach_their_inputs_and_the_workflow_stays(tmp_path):
    (tmp_path / "shirt.png").write_bytes(b"shirt")
    workflow = load("dress_one_garment")
    before = json.dumps(workflow.prompt)
    filled = workflow.fill({"upper_image": "shirt.png", "seed": "7", "cfg": "2.5", "prompt": "a man", "sampler.scheduler": "normal",
                            "latent.width": 128, "dress.end_percent": "0.5"}, tmp_path)
    uploads = Uploads()
    prompt = filled.upload(uploads)
    assert uploads.taken == [tmp_path / "shirt.png"] and prompt["upper_image"]["inputs"]["image"] == "sent1"
    sampler = prompt["sampler"]["inputs"]
    assert (sampler["seed"], sampler["cfg"], sampler["scheduler"]) == (7, 2.5, "normal")
    assert (prompt["latent"]["inputs"]["width"], prompt["dress"]["inputs"]["end_percent"]) == (128, 0.5)
    assert prompt["positive"]["inputs"]["text"] == "a man"
    assert json.dumps(workflow.prompt) == before and filled.prompt["upper_image"]["inputs"]["image"] == "upper.png"


@pytest.mark.parametrize("values, sentence", [
    ({}, "needs a picture for upper_image"),
    ({"uper_image": "x"}, r"no parameter 'uper_image' \(did you mean upper_image\?\)"),
    ({"upper_image": "nowhere.png"}, "there is no such file"),
    ({"upper_image": ""}, "a picture is wanted"),
    ({"upper_image": b"", "seed": "soon"}, "seed is 'soon', and INT is wanted"),
    ({"upper_image": b"", "seed": "1.5"}, "INT is wanted"),
    ({"upper_image": b"", "seed": True}, "INT is wanted"),
    ({"upper_image": b"", "cfg": "nan"}, "FLOAT is wanted"),
    ({"upper_image": b"", "sampler.model": "x"}, "a link from node dress"),
    ({"upper_image": b"", "sampler.nothing": "x"}, "no parameter 'sampler.nothing'"),
])
def test_a_wrong_value_is_a_sentence(values, sentence):
    with pytest.raises(InputError, match=sentence):
        load("dress_one_garment").fill(values)


def test_a_workflow_of_the_users_own_is_read_by_its_path_and_others_are_refused(tmp_path):
    path = tmp_path / "mine.json"
    path.write_text(json.dumps({"grey": {"class_type": "EmptyImage", "inputs": {"width": 64, "weight": 1, "on": False}}}))
    filled = load(str(path)).fill({"grey.width": "32", "grey.weight": "0.25", "grey.on": "yes"})
    assert filled.name == "mine" and filled.prompt["grey"]["inputs"] == {"width": 32, "weight": 0.25, "on": True}
    for text, sentence in (("{", "is no JSON"), ('{"nodes": []}', r"Export \(API\)"), ('{"1": {}}', "needs class_type"), ("[]", "no API-format")):
        path.write_text(text)
        with pytest.raises(InputError, match=sentence):
            load(str(path))
    with pytest.raises(InputError, match="did you mean try_off_upper"):
        load("tryoff_upper")


def test_results_are_named_by_node_where_there_are_several():
    def one(node, kind=".png"):
        return {"node": node, "filename": f"x_00001_{kind}"}

    assert list(name_results("k", [one("result")], {})) == ["k.png"]
    assert list(name_results("k", [one("a"), one("b"), one("b", ".webp")], {"c": "words"})) == ["k.a.png", "k.b.png", "k.b.2.webp", "k.c.txt"]
