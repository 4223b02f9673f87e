"""Mechanics of tools/setup.py: a cache that is never half-built, a lock, safe unpacking, a link.

Standard library only, Python 3.10 or newer. Everything a person reads goes to stderr; stdout stays free for results.
"""

import contextlib
import hashlib
import json
import os
import shutil
import sys
import tarfile
import tempfile
import threading
import time
import zlib
from pathlib import Path, PurePosixPath

MARKER = ".complete.json"
PART = ".part"


class SetupError(Exception):
    """A set-up that cannot go on; the message is one sentence for the person in front of it."""


def note(text: str) -> None:
    """Print one line of progress to stderr."""
    print(f"[set-up] {text}", file=sys.stderr, flush=True)


def cache_root() -> Path:
    """FITTING_ROOM_CACHE, or `fitting-room` in the platform's folder for caches of a user."""
    if os.environ.get("FITTING_ROOM_CACHE"):
        return Path(os.environ["FITTING_ROOM_CACHE"]).expanduser().resolve()
    if sys.platform == "win32":
        parent = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    elif sys.platform == "darwin":
        parent = Path.home() / "Library" / "Caches"
    else:
        parent = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return parent / "fitting-room"


def digest(*parts: str) -> str:
    """Twelve hex digits that change when any part does, or when text moves from one part to the next."""
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:12]


def sha256(path: Path) -> str:
    """Hex sha256 of a file, read in blocks."""
    total = hashlib.sha256()
    with open(path, "rb") as file:
        for block in iter(lambda: file.read(1 << 20), b""):
            total.update(block)
    return total.hexdigest()


# ---- nothing half-made ----------------------------------------------------------------------------------------------

def complete(folder: Path) -> bool:
    """True when `building` finished this folder."""
    return (folder / MARKER).is_file()


@contextlib.contextmanager
def building(folder: Path, **facts):
    """Build `folder` in place; it counts only once its marker is there, which is written last.

    Virtual environments hold their own path and cannot be renamed, so a half-built one is told by its missing marker. Whatever
    an earlier, killed run left is removed first; whatever a failing run leaves is removed at once.
    """
    remove(folder)
    folder.mkdir(parents=True)
    try:
        yield folder
        write_atomically(folder / MARKER, json.dumps(facts, indent=1) + "\n")
    except BaseException:
        remove(folder)
        raise


@contextlib.contextmanager
def replacing(folder: Path):
    """Yield a temporary sibling of `folder` that takes its name when the block ends well, and disappears otherwise."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    for left in folder.parent.glob(f".{folder.name}-*"):  # of a killed run: the caller holds the lock, so nobody is using it
        remove(left)
    temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        yield temporary
        remove(folder)
        os.replace(temporary, folder)
    finally:
        remove(temporary)


def remove(folder: Path) -> None:
    """Remove a folder of ours, or say why it cannot be removed."""
    try:
        shutil.rmtree(folder)
    except FileNotFoundError:
        pass
    except OSError as error:
        raise SetupError(f"{folder} is left over from an earlier run and cannot be removed ({error}); close what uses it, remove it and "
                         "run this again") from error


def write_atomically(path: Path, content: str | bytes) -> None:
    """Write a file so that a reader sees the old one or the new one. What a killed process leaves ends in PART."""
    temporary = path.with_name(f".{path.name}-{os.getpid()}-{threading.get_ident()}{PART}")
    try:
        with open(temporary, "wb") as file:
            file.write(content.encode("utf-8") if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def need_space(folder: Path, gib: float, what: str) -> None:
    """Refuse early, with a sentence, what the disk cannot hold."""
    free = shutil.disk_usage(folder).free / 2**30
    if free < gib:
        raise SetupError(f"{what} needs {gib:g} GiB and {folder} has {free:.1f} GiB free; free some space, or set FITTING_ROOM_CACHE to a "
                         "folder on a larger disk")


# ---- one builder at a time ------------------------------------------------------------------------------------------

class Lock:
    """An exclusive lock on a file that the system releases when its holder dies, however it dies.

    On POSIX the descriptor is handed to the commands started meanwhile: when set-up is killed and a pip of it lives on, the next
    run waits for that pip instead of building under its hands.

    refuse: a sentence; when another process holds the lock, SetupError with it is raised instead of waiting.
    """

    def __init__(self, path: Path, refuse: str = ""):
        self.path, self.refuse, self.file = path, refuse, None

    def __enter__(self):
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.file = open(self.path, "a+b")
        told = False
        while not self._try():
            if self.refuse:
                self.file.close()
                raise SetupError(self.refuse)
            if not told:
                note("another set-up is at work; waiting for it")
                told = True
            time.sleep(0.2)
        return self

    def __exit__(self, *exc):
        self.file.close()  # releases the lock
        self.file = None

    def _try(self) -> bool:
        try:
            if sys.platform == "win32":
                import msvcrt
                self.file.seek(0)
                msvcrt.locking(self.file.fileno(), msvcrt.LK_NBLCK, 1)
            else:
                import fcntl
                fcntl.flock(self.file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except OSError:
            return False

    def inherited(self) -> tuple:
        """Descriptors for `Popen(pass_fds=...)`."""
        return () if sys.platform == "win32" or self.file is None else (self.file.fileno(),)


# ---- archives and links ---------------------------------------------------------------------------------------------

def unpack(archive: Path, inside: str, target: Path) -> int:
    """Unpack the files below `<top folder>/<inside>/` of a .tar.gz into `target`; returns how many.

    Only plain files and folders are made, with fixed permissions. A name that leads out of `target`, a link or a device is refused.
    """
    count, wanted = 0, PurePosixPath(inside).parts
    try:
        with tarfile.open(archive, "r:gz") as bundle:
            for member in bundle:
                parts = PurePosixPath(member.name).parts
                if member.name.startswith("/") or ".." in parts or "\\" in member.name or any(":" in part for part in parts):
                    raise SetupError(f"{archive.name} was refused: it contains the path {member.name!r}, which leads out of its folder")
                if parts[1:1 + len(wanted)] != wanted or member.isdir():
                    continue
                if not member.isfile():
                    raise SetupError(f"{archive.name} was refused: {member.name!r} is a link or a device, where plain files are expected")
                path = target.joinpath(*parts[1 + len(wanted):])
                path.parent.mkdir(parents=True, exist_ok=True)
                with bundle.extractfile(member) as source, open(path, "wb") as file:
                    shutil.copyfileobj(source, file)
                count += 1
    except (tarfile.TarError, EOFError, zlib.error, OSError) as error:
        if isinstance(error, OSError) and error.errno:  # the disk's error, not the archive's
            raise
        raise SetupError(f"{archive.name} is damaged and cannot be unpacked ({error}); remove it and run this again") from error
    if not count:
        raise SetupError(f"{archive.name} holds nothing under {inside}, where ComfyUI was expected")
    return count


def link(path: Path, target: Path) -> None:
    """Make `path` lead to the folder `target`: a symbolic link, or a junction on Windows, which needs no special right."""
    if path.exists() and os.path.samefile(path, target):
        return
    if path.is_symlink():
        path.unlink()
    elif sys.platform == "win32" and path.exists():
        os.rmdir(path)  # removes a junction; fails on a folder with files in it, which is what we want
    elif path.exists():
        raise SetupError(f"{path} is a folder of its own, where a link to {target} was expected; move it away and run this again")
    if sys.platform == "win32":
        import _winapi
        _winapi.CreateJunction(str(target), str(path))
    else:
        try:
            path.symlink_to(target, target_is_directory=True)
        except FileExistsError:  # another run was faster
            if not os.path.samefile(path, target):
                raise
