"""Chromium for the tests of this folder: found, or installed by apt where that works; without it they are skipped and say why."""

import contextlib
import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def pytest_collection_modifyitems(items):
    """Everything here drives a browser on a running server."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.browser)
            item.add_marker(pytest.mark.server)


@pytest.fixture(scope="session")
def chromium():
    """Chromium's path, with Playwright importable."""
    from fitting_room.tools import browser, provision

    try:
        return browser.ensure()
    except provision.SetupError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def open_page(chromium, server, tmp_path_factory):
    """`with open_page(size=(w, h), scale=1, **settings) as page`: a fresh profile (`harness.Page`)."""
    from playwright.sync_api import sync_playwright

    from .harness import FLAGS, PATIENCE, Page

    @contextlib.contextmanager
    def opened(size=(1600, 900), scale=1, **settings):
        with sync_playwright() as pw:
            context = pw.chromium.launch_persistent_context(
                str(tmp_path_factory.mktemp("profile")), executable_path=chromium, args=FLAGS, color_scheme="dark",
                viewport={"width": size[0], "height": size[1]}, device_scale_factor=scale)
            context.set_default_timeout(PATIENCE)
            try:
                yield Page(server, context, **settings)
            finally:
                context.close()

    return opened


@pytest.fixture(scope="session")
def pictures() -> Path:
    """Where screenshots are kept: output/browser below the repository (ignored by git), or FITTING_ROOM_SCREENSHOTS."""
    folder = Path(os.environ.get("FITTING_ROOM_SCREENSHOTS") or ROOT / "output" / "browser")
    folder.mkdir(parents=True, exist_ok=True)
    return folder
