"""The node surface: what artists see and what API calls name.

`surface.json` is the checked-in list of node ids with their inputs, types, defaults and outputs. A change of the surface
changes that file in the same commit: `FITTING_ROOM_WRITE_SURFACE=1 python3 tools/test.py tests/test_surface.py`. Node ids
never disappear.
"""

import json
import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
RECORD = Path(__file__).with_name("surface.json")
pytestmark = pytest.mark.server


@pytest.fixture(scope="module")
def ours(server):
    return {k: v for k, v in server.client.object_info().items() if k.startswith("FittingRoom")}


def surface(entry):
    def spec(part):
        out = []  # a list: the order of inputs is part of the surface
        for name, value in entry["input"].get(part, {}).items():
            options = value[1] if len(value) > 1 else {}
            kept = {k: options[k] for k in ("default", "min", "max") if k in options}
            choices = value[0] if isinstance(value[0], list) else options.get("options")
            if choices is not None and not entry["name"].endswith(("LoadMethod", "ConvertWeights", "Segment", "Depth")):
                kept["options"] = choices
            out.append([name, "COMBO" if isinstance(value[0], list) else value[0], kept])
        return out

    return {"required": spec("required"), "optional": spec("optional"), "outputs": list(zip(entry["output"], entry["output_name"]))}


def test_the_surface_is_the_recorded_one(ours):
    found = json.loads(json.dumps({name: surface(entry) for name, entry in sorted(ours.items())}))
    if os.environ.get("FITTING_ROOM_WRITE_SURFACE") == "1":
        RECORD.write_text(json.dumps(found, indent=1, sort_keys=True) + "\n")
    recorded = json.loads(RECORD.read_text())
    assert set(recorded) <= set(found), f"node ids disappeared: {sorted(set(recorded) - set(found))}; deprecate and register a replacement instead"
    assert found == recorded


def test_every_node_and_input_explains_itself(ours):
    for name, entry in ours.items():
        assert entry["display_name"] and entry["description"] and entry["category"].startswith("Fitting Room"), name
        assert entry.get("search_aliases"), f"{name} has no search aliases"
        for part in ("required", "optional"):
            for field, value in entry["input"].get(part, {}).items():
                assert value[1].get("tooltip"), f"{name}.{field} has no tooltip"
        assert all(entry.get("output_tooltips") or [None]) or not entry["output"], f"an output of {name} has no tooltip"


def test_every_node_has_a_help_page(ours):
    missing = [name for name in ours if not (ROOT / "web" / "docs" / f"{name}.md").is_file()]
    assert not missing, f"no help page in web/docs for {missing}"
