"""Folders, progress and interruption, as the host sees them."""

from __future__ import annotations

import os
from pathlib import Path

import comfy.model_management
import comfy.utils
import folder_paths

METHODS_FOLDER = "fitting_room"
ADAPTERS_FOLDER = "ipadapter"
DATA_FOLDER = "fitting_room_data"
METRICS_FOLDER = "metrics"
DEMO_METHODS = Path(__file__).resolve().parents[1] / "models" / "demo" / "methods"
"""Weights of the methods for the bundled small stack; they stand in the lists beside the user's own."""
SAMS_FOLDER = "sams"
DEPTH_FOLDERS = ("checkpoints", "diffusion_models")


def register_folders() -> None:
    """Make our folders of `models` known to the host, keeping what others or extra_model_paths.yaml added."""
    for name, suffixes in ((METHODS_FOLDER, {".safetensors"}), (ADAPTERS_FOLDER, {".safetensors", ".bin"}), (SAMS_FOLDER, {".safetensors", ".pth", ".pt"}), (METRICS_FOLDER, {".safetensors", ".pth", ".pt"})):
        paths, known = folder_paths.folder_names_and_paths.get(name, ([], set()))
        own = os.path.join(folder_paths.models_dir, name)
        wanted = [own, *([str(DEMO_METHODS)] if name == METHODS_FOLDER and DEMO_METHODS.is_dir() else [])]
        paths = [*paths, *(p for p in wanted if p not in paths)]
        folder_paths.folder_names_and_paths[name] = (paths, suffixes if name == METHODS_FOLDER else {*known, *suffixes})


def method_files() -> list[str]:
    """Weights files of methods, as the user names them."""
    if METHODS_FOLDER not in folder_paths.folder_names_and_paths:  # a schema is asked for it, and must never raise
        register_folders()
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


def sam_files() -> list[str]:
    """Segment-anything files, as the user names them."""
    return folder_paths.get_filename_list(SAMS_FOLDER) if SAMS_FOLDER in folder_paths.folder_names_and_paths else []


def sam_path(name: str) -> str:
    """The full path of a segment-anything file.

    Raises:
        ValueError: no such file; says where files go.
    """
    path = folder_paths.get_full_path(SAMS_FOLDER, name) if name in sam_files() else None
    if path is None:
        raise ValueError(f"The file '{name}' is not in models/{SAMS_FOLDER}; put a segment-anything vit_b, vit_l or vit_h file there and refresh the list.")
    return path


def metrics_folders() -> list[Path]:
    """Folders of networks that losses and metrics look through (VGG, DISTS, depth)."""
    return [Path(p) for p in folder_paths.folder_names_and_paths.get(METRICS_FOLDER, ([],))[0]]


def depth_files() -> list[str]:
    """Files that may hold a DepthFM: whatever lies in the folders of checkpoints and diffusion models. The content decides."""
    return [f"{folder}/{name}" for folder in DEPTH_FOLDERS for name in folder_paths.get_filename_list(folder)]


def depth_path(name: str) -> str:
    """The full path of a DepthFM file.

    Raises:
        ValueError: no such file; says where files go.
    """
    folder, _, file = name.partition("/")
    path = folder_paths.get_full_path(folder, file) if folder in DEPTH_FOLDERS and file in folder_paths.get_filename_list(folder) else None
    if path is None:
        raise ValueError(f"The file '{name}' is not in models/{' or models/'.join(DEPTH_FOLDERS)}; put a DepthFM checkpoint there and choose it in the list.")
    return path


def data_path(folder: str) -> Path:
    """A folder of pictures that a workflow names: below the host's input folder, or below a registered `fitting_room_data` root.

    A prompt that comes over the network must not read the disk at will, so nothing else is opened. Links inside these
    folders are followed: whoever put them there meant it.

    Args:
        folder: relative to one of those folders ("" is the input folder itself), or absolute and inside one of them.

    Raises:
        ValueError: outside of them, or no such folder.
    """
    roots = [os.path.abspath(root) for root in (folder_paths.get_input_directory(), *folder_paths.folder_names_and_paths.get(DATA_FOLDER, ([],))[0])]
    inside = []
    for root in roots:
        path = os.path.abspath(os.path.join(root, folder.strip()))
        if os.path.commonpath([root, path]) == root:
            inside.append(path)
            if os.path.isdir(path):
                return Path(path)
    if inside:
        raise ValueError(f"There is no folder '{folder}' in ComfyUI's input folder or a registered {DATA_FOLDER} root; put it there, or correct the name.")
    raise ValueError(
        f"The folder '{folder}' lies outside ComfyUI's input folder and the registered {DATA_FOLDER} roots, and nothing else is read; "
        f"move it there, or add its place to extra_model_paths.yaml as {DATA_FOLDER}."
    )


def readable_folder(name: str) -> Path:
    """A folder that a workflow names for reading: one below the output directory, else one where data sets may lie (`data_path`).

    Raises:
        ValueError: outside of both, or no such folder.
    """
    try:
        folder = output_folder(name)
    except ValueError:
        return data_path(name)
    return folder if folder.is_dir() else data_path(name)


def output_folder(name: str) -> Path:
    """A folder below the output directory, which need not exist yet.

    Raises:
        ValueError: the name leads outside the output directory.
    """
    root = os.path.abspath(folder_paths.get_output_directory())
    path = os.path.abspath(os.path.join(root, name.strip()))
    if os.path.commonpath([root, path]) != root or path == root:
        raise ValueError(f"The folder '{name}' is not a folder below the output directory; use a plain name, such as fitting_room/matches.")
    return Path(path)


def temp_folder(name: str) -> Path:
    """A folder in the host's temporary directory, which the host empties when it starts; it need not exist yet."""
    return Path(folder_paths.get_temp_directory()) / "fitting_room" / name


def user_folder(name: str) -> Path:
    """A folder for what a user keeps, in the host's user directory; it need not exist yet."""
    return Path(folder_paths.get_user_directory()) / "default" / "fitting_room" / name


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
