"""Help pages: what is written from the schemas is up to date, every page answers the questions, every picture is there and small."""

import re

import pytest
from fitting_room.tools import setup
from fitting_room.tools.help import MARK, pages

from ..support import needs_the_newest_host

DOCS = setup.ROOT / "web" / "docs"
PAGES = sorted(DOCS.glob("*.md"))
pytestmark = pytest.mark.server


@pytest.fixture(scope="module")
def info(server):
    return server.client.object_info()


def test_inputs_outputs_and_drawings_are_those_of_the_nodes(server, info):
    needs_the_newest_host(server)
    stale = [name for name, text in pages(info, DOCS).items() if not (DOCS / name).is_file() or (DOCS / name).read_text(encoding="utf-8") != text]
    assert not stale, f"{stale} are not what the nodes say; run python3 tools/help.py"


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.stem)
def test_a_page_answers_the_questions(page, info):
    text, _, written = page.read_text(encoding="utf-8").partition(MARK)
    assert text.startswith("# ") and page.stem in info
    assert [word for word in ("![", "**Connect:** ", "**Common mistakes:** ", "**Paper:** ") if word not in text] == []
    for name in info[page.stem]["input"].get("required", {}):
        assert f"| `{name}`" in written, f"the table does not name {name}"


def test_pictures_are_there_small_and_used():
    used = {name for page in PAGES for name in re.findall(r"!\[[^\]]+\]\((\S+)\)", page.read_text(encoding="utf-8"))}
    there = {p.relative_to(DOCS).as_posix() for p in (DOCS / "img").iterdir()}
    assert used == there
    assert [name for name in there if (DOCS / name).stat().st_size > 60_000] == []


def test_drawings_are_whole():
    from xml.etree import ElementTree

    for path in (DOCS / "img").glob("*.svg"):
        root = ElementTree.parse(path).getroot()
        width, height = float(root.get("width")), float(root.get("height"))
        for box in root.iter("{http://www.w3.org/2000/svg}rect"):
            x, y = float(box.get("x", 0)), float(box.get("y", 0))
            assert x + float(box.get("width")) <= width and y + float(box.get("height")) <= height, path.name


def test_takes_says_range_and_default():
    from fitting_room.workflows.schematic import takes

    assert takes("steps", "INT", {"min": 1, "max": 1000, "default": 50}) == "1 to 1,000; 50"
    assert takes("fit", "COMBO", {"options": ["stretch", "contain"], "default": "stretch"}) == "stretch, contain; stretch"
    assert takes("file", "COMBO", {"options": ["mine.safetensors"]}) == "a file"
    assert takes("on", "BOOLEAN", {"default": True}) == "yes or no; yes"
    assert takes("image", "IMAGE", {}) == "IMAGE"
