"""What the browser tests need besides the environment: Chromium, and Playwright to drive it.

    python3 tools/browser.py        makes both ready and prints where Chromium lies

Chromium is the one that is installed (or that FITTING_ROOM_CHROMIUM names); on a Debian system it is installed by apt where this
runs as root. Playwright lies in a folder of the cache of its own, so that nothing else is built again for it; it brings no browser.
"""

import importlib.util
import os
import shutil
import sys
from pathlib import Path

if __package__:
    from . import commands, provision
else:
    import commands
    import provision

PLAYWRIGHT = "playwright>=1.49"
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
PACKAGES = ("chromium", "fonts-liberation", "fonts-noto-cjk")  # the last one for the translated names


def chromium() -> str:
    """The browser's path, or "" where there is none."""
    return os.environ.get("FITTING_ROOM_CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), "")


def ensure(run=commands.run) -> str:
    """Make Playwright importable in this process and return Chromium's path.

    Raises:
        provision.SetupError: one sentence about what is missing and how to get it.
    """
    cache = provision.cache_root()
    cache.mkdir(parents=True, exist_ok=True)
    with provision.Lock(cache / "browser.lock") as lock:
        logged = lambda command, title: run(command, title, cache / "logs" / "browser.log", lock.inherited())
        if not chromium():
            _install_chromium(logged)
        if importlib.util.find_spec("playwright") is None:
            _add_playwright(cache, logged)
    return chromium()


def _install_chromium(run) -> None:
    how = "install Chromium (Debian: apt-get install chromium), or name one in FITTING_ROOM_CHROMIUM"
    if not shutil.which("apt-get") or not hasattr(os, "geteuid") or os.geteuid() != 0:
        raise provision.SetupError(f"no Chromium is at hand and it cannot be installed from here; {how}")
    try:
        run(["apt-get", "update"], "browser: reading apt's lists")
        run(["apt-get", "install", "-y", "--no-install-recommends", *PACKAGES], "browser: installing Chromium")
    except provision.SetupError as error:
        raise provision.SetupError(f"Chromium could not be installed; {how} ({error})") from error
    if not chromium():
        raise provision.SetupError(f"apt installed no program named {', '.join(NAMES)}; {how}")


def _add_playwright(cache: Path, run) -> None:
    folder = cache / "browser" / provision.digest(PLAYWRIGHT, sys.platform, "%d.%d" % sys.version_info[:2])
    if not provision.complete(folder):
        with provision.building(folder, requirements=[PLAYWRIGHT]):
            run([sys.executable, "-m", "pip", "install", "--progress-bar", "off", "--target", folder, PLAYWRIGHT], "browser: installing Playwright")
    sys.path.append(str(folder))
    importlib.invalidate_caches()


if __name__ == "__main__":
    try:
        print(ensure())
    except provision.SetupError as error:
        provision.note(f"stopped: {error}")
        sys.exit(1)
