"""The fixtures of conftest.py: what a test of each tier may count on."""

import os
import sys
from pathlib import Path

from fitting_room.tools import setup, test


def test_pure_tests_see_the_pack_by_its_name_only():
    import fitting_room.models.parts
    assert Path(fitting_room.models.parts.__file__).parents[2] == setup.ROOT
    assert "" not in sys.path and str(setup.ROOT) not in sys.path


def test_who_chooses_no_tests_gets_those_with_a_server_beside_the_others():
    assert test.parts([], 2) == [["-m", "not server"], ["-m", "server"]]
    assert test.parts([], 1) == [[]] and test.parts(["-k", "sift"], 8) == [["-k", "sift"]]


def test_what_runs_beside_is_printed_after_the_rest_and_its_code_counts(monkeypatch, capfdbinary):
    made = setup.Setup(sys.executable, "", "")
    monkeypatch.setattr(setup, "environ", lambda made: dict(os.environ))
    code = test.run(made, [["--version"], ["--no-such-option"]])
    said = capfdbinary.readouterr()
    assert code == 4 and b"no-such-option" in said.out and b"pytest" in said.err + said.out[: said.out.index(b"no-such-option")]


def test_tiers_are_marked_and_ordered(request):
    tiers = [dict(item.user_properties)["tier"] for item in request.session.items]
    assert tiers == sorted(tiers, key=["pure", "host", "server"].index)
    assert dict(request.node.user_properties)["tier"] == "pure"


def test_host_is_the_given_one_and_not_a_module_of_ours(comfyui, request):
    import comfy.cli_args
    import comfy.model_management
    import folder_paths
    import nodes
    assert Path(nodes.__file__).parent == Path(folder_paths.__file__).parent == comfyui
    assert comfy.cli_args.args.cpu == (os.environ.get("FITTING_ROOM_GPU") != "1")
    assert Path(folder_paths.models_dir).resolve() != comfyui / "models"  # a user's checkout stays as it is
    assert request.node.get_closest_marker("host")
