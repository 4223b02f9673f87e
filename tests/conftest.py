"""Import the pack as the host does: from its folder, whatever the folder is called.

`fitting_room` is registered as a namespace whose path is the repository, so that
`fitting_room.models`, `fitting_room.preprocess` ... import without the host, and `fitting_room.host`
and `fitting_room.nodes` import when a host is at hand (`COMFYUI_PATH`).
"""

import importlib.machinery
import importlib.util
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def _namespace(name: str, folder: Path) -> None:
    spec = importlib.machinery.ModuleSpec(name, None, is_package=True)
    module = importlib.util.module_from_spec(spec)
    module.__path__ = [str(folder)]
    sys.modules[name] = module


if "fitting_room" not in sys.modules:
    _namespace("fitting_room", ROOT)
