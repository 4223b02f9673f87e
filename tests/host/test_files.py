"""Which places a workflow may read and write."""

import pytest

pytestmark = pytest.mark.usefixtures("comfyui")


@pytest.fixture
def places(tmp_path, monkeypatch):
    import folder_paths

    for name in ("input/set/person", "data/viton", "elsewhere", "output"):
        (tmp_path / name).mkdir(parents=True)
    monkeypatch.setattr(folder_paths, "input_directory", str(tmp_path / "input"))
    monkeypatch.setattr(folder_paths, "output_directory", str(tmp_path / "output"))
    monkeypatch.setitem(folder_paths.folder_names_and_paths, "fitting_room_data", ([str(tmp_path / "data")], set()))
    return tmp_path


def test_input_and_registered_roots_are_read(places):
    from fitting_room.host import data_path

    assert data_path("set") == places / "input" / "set" and data_path("") == places / "input" and data_path(" set/person ") == places / "input/set/person"
    assert data_path("viton") == places / "data" / "viton" and data_path(str(places / "data/viton")) == places / "data/viton"


@pytest.mark.parametrize("folder", ["../elsewhere", "set/../../elsewhere", "/etc", "../input2"])
def test_nothing_else_is_read(places, folder):
    from fitting_room.host import data_path

    with pytest.raises(ValueError, match="lies outside ComfyUI's input folder and the registered fitting_room_data roots"):
        data_path(folder)


def test_a_missing_folder_and_a_link(places):
    from fitting_room.host import data_path

    with pytest.raises(ValueError, match="There is no folder 'gone'"):
        data_path("gone")
    (places / "input" / "linked").symlink_to(places / "elsewhere")  # the user's own doing
    assert data_path("linked") == places / "input" / "linked"


@pytest.mark.parametrize("name", ["../x", "/tmp/x", "", "."])
def test_output_stays_below_the_output_directory(places, name):
    from fitting_room.host import output_folder

    assert output_folder("a/b") == places / "output" / "a" / "b"
    with pytest.raises(ValueError, match="not a folder below the output directory"):
        output_folder(name)


def test_folders_of_others_are_kept(monkeypatch):
    import folder_paths
    from fitting_room.host import register_folders

    monkeypatch.setitem(folder_paths.folder_names_and_paths, "sams", (["/other/sams"], {".onnx"}))
    register_folders()
    register_folders()
    paths, suffixes = folder_paths.folder_names_and_paths["sams"]
    assert paths[0] == "/other/sams" and len(paths) == 2 and {".onnx", ".pth", ".safetensors"} <= suffixes
