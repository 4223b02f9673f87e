"""Translations: the English file says what the nodes say, the others hold no key of their own, and a stale translation goes."""

import json
import re

import pytest
from fitting_room.tools import locales, setup

FOLDER = setup.ROOT / "locales"
ENGLISH = {"A": {"display_name": "Apply", "inputs": {"x": {"name": "x", "tooltip": "How strong {\"a\": 1}."}}}}


def test_a_translation_belongs_to_its_english_text():
    german = locales.translate(ENGLISH, {"Apply": "Anwenden", "x": "x", 'How strong {"a": 1}.': "Wie stark."})
    assert german["A"]["inputs"]["x"]["tooltip"] == "Wie stark."
    table = locales.known(ENGLISH, german)
    changed = json.loads(json.dumps(ENGLISH).replace("Apply", "Apply it"))
    assert "display_name" not in locales.translate(changed, table)["A"]
    assert locales.translate(changed, table)["A"]["inputs"] == german["A"]["inputs"]
    assert locales.texts(ENGLISH) == ["Apply", "x", 'How strong {"a": 1}.']


@pytest.mark.server
def test_files_are_in_step_with_the_nodes(server):
    info = server.client.object_info()
    for name, content in locales.files(info, FOLDER).items():
        assert locales.read(FOLDER / name) == content, f"{name} is not in step; run python3 tools/locales.py"


def test_translations_name_nothing_else_and_keep_examples_whole():
    english = locales.read(FOLDER / "en" / locales.FILE)

    def check(tree, original, where):
        for key, value in tree.items():
            assert key in original, f"{where}.{key} is not in the English file"
            if isinstance(value, dict):
                check(value, original[key], f"{where}.{key}")
            else:
                assert value.strip() and set(re.findall(r"\{[^}]*\}", original[key])) <= set(re.findall(r"\{[^}]*\}", value)), f"{where}.{key}"

    for language in locales.LANGUAGES:
        check(locales.read(FOLDER / language / locales.FILE), english, language)


def test_drafts_are_marked():
    text = (FOLDER / "README.md").read_text(encoding="utf-8")
    assert all(f"`{language}`" in text for language in locales.LANGUAGES) and "draft" in text
