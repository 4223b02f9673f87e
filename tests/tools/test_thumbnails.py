"""Thumbnails: square, small, of workflows that exist, and never of noise beside the workflows."""

import subprocess
import sys
from types import SimpleNamespace

from fitting_room.tools import demo, setup, thumbnails
from PIL import Image

WORKFLOWS = setup.ROOT / "workflows"


def plain(*sizes):
    return [Image.new("RGB", size, (200, 30 * i, 90)) for i, size in enumerate(sizes)]


def test_one_result_stands_beside_what_went_in():
    node = SimpleNamespace(canvas_type="FittingRoomDemoPicture", canvas_slots={0: 0}, canvas_inputs={"kind": "hat", "seed": 1, "width": 96, "height": 128})
    sheet = thumbnails.thumbnail(SimpleNamespace(nodes=[node]), plain((96, 128)))
    assert sheet.size == (thumbnails.SIDE, thumbnails.SIDE)
    at = sheet.getpixel
    assert at((330, 256)) == (200, 0, 90)  # the result fills the height, right of the strip
    strip = {at((x, y)) for x in range(20, 110, 5) for y in range(20, 150, 5)}
    assert len(strip) > 10 and (200, 0, 90) not in strip  # the hat
    wide = thumbnails.thumbnail(SimpleNamespace(nodes=[node]), plain((300, 100)))
    assert wide.getpixel((20, 256)) == (200, 0, 90)  # no strip beside a wide result


def test_several_results_share_the_square():
    sheet = thumbnails.thumbnail(SimpleNamespace(nodes=[]), plain((96, 128), (96, 128), (96, 128)))
    assert [sheet.getpixel(p) for p in ((130, 130), (380, 130), (130, 380))] == [(200, 0, 90), (200, 30, 90), (200, 60, 90)]
    assert sheet.getpixel((380, 380)) == thumbnails.GROUND


def test_a_file_is_small_and_whole(tmp_path):
    noise = Image.effect_noise((512, 512), 120).convert("RGB")  # the worst a JPEG can get
    size = thumbnails.write(tmp_path / "x.jpg", noise)
    assert size == (tmp_path / "x.jpg").stat().st_size <= thumbnails.LARGEST
    assert [p.name for p in tmp_path.iterdir()] == ["x.jpg"] and Image.open(tmp_path / "x.jpg").size == (512, 512)


def test_noise_is_not_written_beside_the_workflows():
    if demo.stack_is_trained():
        return
    before = set(WORKFLOWS.glob("*.jpg"))
    code = subprocess.run([sys.executable, str(setup.ROOT / "tools" / "thumbnails.py"), "--untrained"], capture_output=True, text=True)
    assert code.returncode == 1 and "noise" in code.stderr and set(WORKFLOWS.glob("*.jpg")) == before


def test_those_there_are_belong_to_workflows():
    for path in WORKFLOWS.glob("*.jpg"):
        assert path.with_suffix(".json").is_file(), f"{path.name} belongs to no workflow"
        assert len(set(Image.open(path).size)) == 1 and path.stat().st_size <= thumbnails.LARGEST, path.name
