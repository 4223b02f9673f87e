"""Commands of tools/setup.py: run with progress for the person who waits, and with a reason when they fail.

Standard library only, Python 3.10 or newer.
"""

import collections
import os
import queue
import re
import subprocess
import threading
import time
from pathlib import Path

if __package__:
    from .provision import SetupError, note
else:
    from provision import SetupError, note

HEARTBEAT_S = 20.0
# The first pattern found in a failed command's output decides the sentence; order matters, because pip reports an unreachable
# index as "no matching distribution" further down.
FAILURES = (
    (r"No space left on device|Errno 28|disk quota exceeded|not enough space on the disk",
     "the disk is full; free some space, or set FITTING_ROOM_CACHE to a folder on a larger disk, and run this again"),
    (r"name resolution|NewConnectionError|Connect(ion)?Timeout|ReadTimeout|Network is unreachable|ConnectionError"
     r"|Connection (refused|reset)|Max retries exceeded|getaddrinfo failed|SSLError|ProxyError",
     "the package index could not be reached; check the network (and proxy) and run this again"),
    (r"THESE PACKAGES DO NOT MATCH THE HASHES",
     "a downloaded file is not the one that is pinned here (its sha256 differs), so it was refused"),
    (r"ensurepip is not available|No module named (venv|ensurepip)",
     "this Python cannot make virtual environments; install its venv package (Debian and Ubuntu: python3-venv)"),
    (r"ResolutionImpossible|conflicting dependencies", "these packages cannot be installed together"),
    (r"No matching distribution found for \S+", "a package is not offered for this Python and platform"),
)
# Variables that would send pip or Python elsewhere.
MISLEADING = {
    "PYTHONPATH", "PYTHONHOME", "PYTHONSAFEPATH", "VIRTUAL_ENV", "__PYVENV_LAUNCHER__", "PIP_USER", "PIP_TARGET", "PIP_PREFIX", "PIP_ROOT",
    "PIP_PYTHON", "PIP_REQUIRE_VIRTUALENV", "PIP_REQUIRE_HASHES", "PIP_REQUIREMENT", "PIP_CONSTRAINT", "PIP_NO_DEPS",
}


def clean_environment() -> dict:
    """The environment without the variables that would send pip or Python elsewhere."""
    kept = {name: value for name, value in os.environ.items() if name not in MISLEADING}
    return {**kept, "PYTHONUNBUFFERED": "1", "PYTHONIOENCODING": "utf-8", "PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_NO_INPUT": "1"}


def run(command, title: str, log: Path, pass_fds=()) -> None:
    """Run a command, show what it is busy with, keep its whole output in `log`; raise SetupError with a reason when it fails."""
    note(title)
    tail: collections.deque = collections.deque(maxlen=400)
    lines: queue.Queue = queue.Queue()
    log.parent.mkdir(parents=True, exist_ok=True)
    with open(log, "a", encoding="utf-8") as record:
        record.write(f"\n$ {' '.join(map(str, command))}\n")
        child = subprocess.Popen([str(part) for part in command], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                 stderr=subprocess.STDOUT, text=True, encoding="utf-8", errors="replace", env=clean_environment(),
                                 pass_fds=pass_fds)
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
