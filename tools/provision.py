"""Mechanics of tools/setup.py: a cache that is never half-built, a lock, commands with progress, safe unpacking.

Standard library only, Python 3.10 or newer. Everything a person reads goes to stderr; stdout stays free for results.
"""

import collections
import contextlib
import hashlib
import json
import os
import queue
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
import zlib
from pathlib import Path, PurePosixPath

MARKER = ".complete.json"
HEARTBEAT_S = 20.0
# The first pattern found in a failed command's output decides the sentence; order matters, because pip reports an unreachable
# index as "no matching distribution" further down.
FAILURES = (
    (r"No space left on device|Errno 28|disk quota exceeded|not enough space on the disk",
     "the disk is full; free some space, or set FITTING_ROOM_CACHE to a folder on a larger disk, and run this again"),
    (r"name resolution|NewConnectionError|Connect(ion)?Timeout|ReadTimeout|Network is unreachable|ConnectionError|Connection (refused|reset)"
     r"|Max retries exceeded|getaddrinfo failed|SSLError|ProxyError",
     "the package index could not be reached; check the network (and proxy) and run this again"),
    (r"THESE PACKAGES DO NOT MATCH THE HASHES", "a downloaded file is not the one that is pinned here (its sha256 differs), so it was refused"),
    (r"ensurepip is not available|No module named (venv|ensurepip)",
     "this Python cannot make virtual environments; install its venv package (Debian and Ubuntu: python3-venv)"),
    (r"ResolutionImpossible|conflicting dependencies", "these packages cannot be installed together"),
    (r"No matching distribution found for \S+", "a package is not offered for this Python and platform"),
)


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


def write_atomically(path: Path, text: str) -> None:
    """Write a text file so that a reader sees the old one or the new one."""
    handle, name = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
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
    """

    def __init__(self, path: Path):
        self.path, self.file = path, None

    def __enter__(self):
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.file = open(self.path, "a+b")
        told = False
        while not self._try():
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


# ---- commands -------------------------------------------------------------------------------------------------------

def clean_environment() -> dict:
    """The environment without the variables that would send pip or Python elsewhere."""
    unwanted = {"PYTHONPATH", "PYTHONHOME", "PYTHONSAFEPATH", "PIP_USER", "PIP_TARGET", "PIP_PREFIX", "PIP_ROOT", "PIP_REQUIRE_VIRTUALENV",
                "PIP_REQUIRE_HASHES", "PIP_NO_DEPS", "PIP_CONSTRAINT", "PIP_REQUIREMENT", "PIP_PYTHON", "__PYVENV_LAUNCHER__", "VIRTUAL_ENV"}
    kept = {name: value for name, value in os.environ.items() if name not in unwanted}
    return {**kept, "PYTHONUNBUFFERED": "1", "PYTHONIOENCODING": "utf-8", "PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_NO_INPUT": "1"}


def run(command, title: str, log: Path, pass_fds=()) -> None:
    """Run a command, show what it is busy with, keep its whole output in `log`; raise SetupError with a reason when it fails."""
    note(title)
    tail: collections.deque = collections.deque(maxlen=400)
    lines: queue.Queue = queue.Queue()
    log.parent.mkdir(parents=True, exist_ok=True)
    with open(log, "a", encoding="utf-8") as record:
        record.write(f"\n$ {' '.join(map(str, command))}\n")
        child = subprocess.Popen([str(part) for part in command], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                 text=True, encoding="utf-8", errors="replace", env=clean_environment(), pass_fds=pass_fds)
        try:
            threading.Thread(target=_read, args=(child.stdout, lines), daemon=True).start()
            for line in _heard(lines):
                tail.append(line)
                record.write(line + "\n")
            code = child.wait()
        except BaseException:
            _end(child)
            raise
    if code:
        raise SetupError(f"{title}: {reason(tail)} (whole output: {log})")


def reason(tail) -> str:
    """One sentence for the output of a failed command."""
    text = "\n".join(tail)
    errors = [line.strip() for line in tail if line.strip().startswith(("ERROR", "error", "Error", "OSError"))]
    last = errors[-1] if errors else next((line.strip() for line in reversed(tail) if line.strip()), "no output")
    for pattern, sentence in FAILURES:
        if re.search(pattern, text, re.IGNORECASE):
            return f"{sentence} [{last[:300]}]"
    return f"the command failed [{last[:300]}]"


def _read(stream, lines: queue.Queue) -> None:
    for line in stream:
        lines.put(line.rstrip())
    lines.put(None)


def _heard(lines: queue.Queue):
    """Yield lines; show downloads and installations, and a sign of life when nothing was heard for a while."""
    started, busy = time.monotonic(), "starting"
    while True:
        try:
            line = lines.get(timeout=HEARTBEAT_S)
        except queue.Empty:
            note(f"  {busy} ... ({time.monotonic() - started:.0f} s so far)")
            continue
        if line is None:
            return
        shown = re.match(r"\s*(Downloading|Using cached|Building wheel|Installing collected packages)\b", line)
        if shown:
            busy = "installing" if shown[1].startswith("Installing") else re.sub(r"\S+/", "", line.strip())
            if shown[1].startswith("Installing") or re.search(r"\((?:[\d.]+ GB|\d{2,}[\d.]* MB)\)", line):  # small files only delay reading
                note(f"  {busy}")
        yield line


def _end(child) -> None:
    child.terminate()
    try:
        child.wait(10)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()


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
