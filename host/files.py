"""Folders, progress and interruption, as the host sees them."""

from __future__ import annotations

import os
from pathlib import Path

import comfy.model_management
import comfy.utils
import folder_paths

METHODS_FOLDER = "fitting_room"
ADAPTERS_FOLDER = "ipadapter"


def register_folders() -> None:
    """Make `models/fitting_room` and `models/ipadapter` known to the host, keeping what others or extra_model_paths.yaml added."""
    paths, _ = folder_paths.folder_names_and_paths.get(METHODS_FOLDER, ([], set()))
    own = os.path.join(folder_paths.models_dir, METHODS_FOLDER)
    paths = [*paths, *([own] if own not in paths else [])]
    folder_paths.folder_names_and_paths[METHODS_FOLDER] = (paths, {".safetensors"})
    paths, suffixes = folder_paths.folder_names_and_paths.get(ADAPTERS_FOLDER, ([], set()))
    own = os.path.join(folder_paths.models_dir, ADAPTERS_FOLDER)
    paths = [*paths, *([own] if own not in paths else [])]
    folder_paths.folder_names_and_paths[ADAPTERS_FOLDER] = (paths, {*suffixes, ".safetensors", ".bin"})


def method_files() -> list[str]:
    """Weights files of methods, as the user names them."""
    return folder_paths.get_filename_list(METHODS_FOLDER)


def method_path(name: str) -> str:
    """The full path of a weights file.

    Raises:
        ValueError: no such file; says where files go.
    """
    path = folder_paths.get_full_path(METHODS_FOLDER, name)
    if path is None:
        raise ValueError(f"The file '{name}' is not in models/{METHODS_FOLDER}; put it there (Convert Weights writes there too) and refresh the list.")
    return path


def adapter_files() -> list[str]:
    """IP-Adapter files, as the user names them; the folder is shared with other packs."""
    return folder_paths.get_filename_list(ADAPTERS_FOLDER)


def adapter_path(name: str) -> str:
    """The full path of an IP-Adapter file.

    Raises:
        ValueError: no such file; says where files go.
    """
    path = folder_paths.get_full_path(ADAPTERS_FOLDER, name)
    if path is None:
        raise ValueError(f"The file '{name}' is not in models/{ADAPTERS_FOLDER}; put it there and refresh the list.")
    return path


def methods_directory() -> Path:
    """Where converted weights are written."""
    return Path(folder_paths.get_folder_paths(METHODS_FOLDER)[0])


def models_folder(kind: str) -> Path:
    """Where new files of a kind of models go: "fitting_room", "checkpoints", "clip_vision" ..., the first folder the host has for it."""
    return Path(folder_paths.get_folder_paths(kind)[0])


def source_files() -> list[str]:
    """Files that Convert Weights may read: whatever lies in the folders of methods, checkpoints, IP-Adapters and U-Nets."""
    return sorted(_sources())


def source_path(name: str) -> Path:
    """The full path of a file to convert.

    Raises:
        ValueError: no such file in the folders that may be read.
    """
    found = _sources().get(name)
    if found is None:
        raise ValueError(f"The file '{name}' is not in models/{METHODS_FOLDER}, checkpoints, ipadapter or diffusion_models; put it into one of them and refresh the list.")
    return found


def _sources() -> dict[str, Path]:
    suffixes = {".safetensors", ".ckpt", ".pt", ".pth", ".bin"}
    out = {}
    for folder in (METHODS_FOLDER, "checkpoints", "ipadapter", "diffusion_models"):
        for root in folder_paths.folder_names_and_paths.get(folder, ([], set()))[0]:
            for path in sorted(Path(root).rglob("*")) if os.path.isdir(root) else ():
                if path.suffix in suffixes:
                    out.setdefault(f"{folder}/{path.relative_to(root).as_posix()}", path)
    return out


def output_path(prefix: str, suffix: str) -> Path:
    """The next free numbered path under the output directory for a file prefix such as "fitting_room/my-file".

    Raises:
        ValueError: the prefix leads outside the output directory.
    """
    root = Path(folder_paths.get_output_directory()).resolve()
    folder = (root / prefix).parent.resolve()
    if root != folder and root not in folder.parents:
        raise ValueError(f"The prefix '{prefix}' leads outside the output directory; use a plain name or a folder below it.")
    number, name = 1, Path(prefix).name or "fitting_room"
    while (folder / f"{name}_{number:05}{suffix}").exists():
        number += 1
    return folder / f"{name}_{number:05}{suffix}"


def progress(total: int):
    """A progress bar of the running node: `.update_absolute(done, total, preview)`."""
    return comfy.utils.ProgressBar(total)


def stop_if_interrupted() -> None:
    """Raise the host's interruption if the user pressed cancel (progress bars alone do not always notice)."""
    comfy.model_management.throw_exception_if_processing_interrupted()
