"""The fixtures of conftest.py: what a test of each tier may count on."""

import os
import sys
from pathlib import Path

from fitting_room.tools import setup


def test_pure_tests_see_the_pack_by_its_name_only():
    import fitting_room.models.parts
    assert Path(fitting_room.models.parts.__file__).parents[2] == setup.ROOT
    assert "" not in sys.path and str(setup.ROOT) not in sys.path


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
