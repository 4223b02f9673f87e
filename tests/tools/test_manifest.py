"""Manifests: what is read, what is remembered, and what becomes of rows when files, servers, disks and this program fail."""

import collections
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time

import pytest
from fitting_room.tools import manifest, provision, setup
from fitting_room.tools.bundled import InputError
from fitting_room.tools.journal import Journal
from fitting_room.tools.server import Server

CLIENT = setup.ROOT / "tools" / "client.py"


# ---- reading and remembering ----

def test_rows_of_both_formats_are_the_same(tmp_path):
    (tmp_path / "a.csv").write_text("key,prompt,seed,_note,strength\none,\"a, b\",3,mine,\ntwo,c,,,0.5\n", encoding="utf-8-sig")
    (tmp_path / "a.jsonl").write_text('{"key": "one", "prompt": "a, b", "seed": "3", "_note": 1}\n\n{"key": "two", "prompt": "c", "strength": "0.5", "seed": null}\n')
    rows = [manifest.read_rows(tmp_path / name, "dress_one_garment", {"seed": "9"}) for name in ("a.csv", "a.jsonl")]
    assert rows[0] == rows[1]
    assert [(r.number, r.key, r.values, r.problem) for r in rows[0]] == [
        (1, "one", {"seed": "3", "prompt": "a, b"}, ""), (2, "two", {"seed": "9", "prompt": "c", "strength": "0.5"}, "")]


def test_a_broken_row_is_told_and_the_others_stay(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"key": "A/1", "seed": 1}\n{"key": \n[1]\n{"key": "a/1"}\n{"key": "A/1", "seed": 2}\n{"seed": 1}\n')
    rows = manifest.read_rows(path, "try_on")
    assert [bool(row.problem) for row in rows] == [False, True, True, False, True, False]
    assert "is no JSON" in rows[1].problem and "is row 1's already" in rows[4].problem
    assert len({row.key.casefold() for row in rows}) == 6 and not any("/" in row.key for row in rows)
    assert "names no workflow" in manifest.read_rows(path)[0].problem
    (tmp_path / "b.csv").write_text("key,seed\na,1,2\n")
    assert "1 cells more" in manifest.read_rows(tmp_path / "b.csv", "try_on")[0].problem


@pytest.mark.parametrize("name, content, sentence", [("a.txt", b"x", "must end in .csv or .jsonl"), ("a.csv", b"key\n", "has no rows"),
                                                     ("a.csv", b"key\n\xff\xfe\n", "cannot be read"), (None, b"", "cannot be read")])
def test_a_manifest_that_cannot_be_read_is_a_sentence(tmp_path, name, content, sentence):
    path = tmp_path / (name or "away.csv")
    if name:
        path.write_bytes(content)
    with pytest.raises(InputError, match=sentence):
        manifest.read_rows(path)


def test_a_picture_of_another_size_under_the_same_name_is_another_row(tmp_path):
    (tmp_path / "a.csv").write_text("key,person_image\none,p.png\n")
    digests = []
    for content in (b"x", b"y", b"xx"):
        (tmp_path / "p.png").write_bytes(content)
        digests.append(manifest.read_rows(tmp_path / "a.csv", "try_on")[0].digest)
    assert digests[0] == digests[1] != digests[2]


def test_a_journal_forgets_a_line_that_was_cut_off_and_goes_on_behind_the_last_whole_one(tmp_path):
    path = tmp_path / "journal.jsonl"
    journal = Journal(path)
    journal.write("a", "queued", prompt_id="1")
    journal.write("a", "done")
    journal.write("b", "queued", prompt_id="2")
    journal.close()
    whole = path.read_bytes()
    path.write_bytes(whole[:-5])
    journal = Journal(path)
    assert {key: record["state"] for key, record in journal.last.items()} == {"a": "done"}
    journal.write("c", "done")
    journal.close()
    with pytest.raises(OSError, match="closed"):
        journal.write("d", "done")
    assert [json.loads(line)["key"] for line in path.read_text().splitlines()] == ["a", "a", "c"]


def test_two_runs_do_not_share_an_output_folder(tmp_path):
    (tmp_path / "a.csv").write_text("key\none\n")
    with provision.Lock(tmp_path / "out" / ".lock"), pytest.raises(provision.SetupError, match="another run writes to"):
        manifest.run(tmp_path / "a.csv", tmp_path / "out", ["http://127.0.0.1:9"], workflow="try_on")


def test_without_a_server_every_row_is_reported_and_none_is_lost(tmp_path):
    (tmp_path / "a.csv").write_text("key,workflow\none,try_on\ntwo,try_on\n")
    summary = manifest.run(tmp_path / "a.csv", tmp_path / "out", ["http://127.0.0.1:9"], patience_s=0.3)
    failures = [json.loads(line) for line in (tmp_path / "out" / "failures.jsonl").read_text().splitlines()]
    assert summary.failures == failures and [(f["key"], f["reason"]) for f in failures] == [(k, "not done yet: no server answered") for k in ("one", "two")]


# ---- through a real server ----

def work(folder, rows: int, scales: int = 1):
    """A workflow without a model that takes a moment, and a manifest of it; row N saves rowN_00001_.png on the server, once a time."""
    nodes = {"photo": {"class_type": "LoadImage", "inputs": {"image": "none.png"}}}
    for index in range(scales):
        nodes[f"scale{index}"] = {"class_type": "ImageScale", "inputs": {
            "image": [f"scale{index - 1}" if index else "photo", 0], "upscale_method": "lanczos", "crop": "disabled", "width": 900, "height": 600 + index}}
    nodes["save"] = {"class_type": "SaveImage", "inputs": {"images": [f"scale{scales - 1}", 0], "filename_prefix": "x"}}
    (folder / "work.json").write_text(json.dumps(nodes))
    lines = []
    for number in range(rows):
        photo(folder / f"p{number}.png", number)
        lines.append({"key": f"row{number}", "workflow": str(folder / "work.json"), "photo.image": f"p{number}.png", "save.filename_prefix": f"{folder.name}/row{number}"})
    (folder / "rows.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder / "rows.jsonl"


def photo(path, seed):
    """A picture that no other seed gives."""
    from PIL import Image

    Image.new("RGB", (8, 8), (seed % 256, seed // 256, 99)).save(path)


def saved(*outputs, folder) -> collections.Counter:
    """How often each row was carried out, counted by what the servers saved."""
    return collections.Counter(path.name.rpartition("_0")[0] for output in outputs for path in (output / folder.name).glob("*.png"))


def command(rows, output, *servers, more=()):
    """The command line that runs a manifest."""
    given = [word for url in servers for word in ("--server", url)]
    return [sys.executable, str(CLIENT), "manifest", str(rows), "--output", str(output), "--patience", "2", *given, *more]


def output_of(server):
    """The output folder of a running server."""
    return setup.Path(server._flags[server._flags.index("--output-directory") + 1])


def test_the_command_runs_one_workflow_and_prints_what_it_made(server, tmp_path):
    work(tmp_path, 1)
    done = subprocess.run([sys.executable, str(CLIENT), "run", str(tmp_path / "work.json"), "--set", f"photo.image={tmp_path / 'p0.png'}", "--set", "scale0.width=33",
                           "--server", server.url, "--output", str(tmp_path / "out")], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [str(tmp_path / "out" / "work.png")]
    from PIL import Image
    picture = Image.open(tmp_path / "out" / "work.png")
    assert picture.size == (33, 600) and picture.getpixel((3, 3)) == (0, 0, 99)


def test_a_python_call_gives_the_files_of_a_bundled_workflow(server):
    import io

    from PIL import Image
    data = io.BytesIO()
    Image.effect_noise((96, 128), 80).convert("RGB").save(data, "PNG")
    steps = []
    files = server.client.make("match_viewer", lambda *step: steps.append(step), person_image=data.getvalue(), garment_image=data.getvalue(), ratio=0.9)
    assert list(files) == ["match_viewer.png"] and Image.open(io.BytesIO(files["match_viewer.png"])).size[0] > 96
    assert {node for node, *_ in steps} >= {"matches", "result"}


def test_a_missing_picture_is_reported_the_rest_goes_on_and_a_second_run_does_that_row_only(server, tmp_path):
    rows, out = work(tmp_path, 5), tmp_path / "out"
    (tmp_path / "p3.png").rename(tmp_path / "away.png")
    (tmp_path / "p1.png").write_bytes(b"no picture")
    done = subprocess.run(command(rows, out, server.url), capture_output=True, text=True, timeout=120)
    assert done.returncode == 1 and "5 rows: 3 made now, 0 there already, 2 not done" in done.stderr
    failures = {f["key"]: f["reason"] for f in map(json.loads, (out / "failures.jsonl").read_text().splitlines())}
    assert set(failures) == {"row1", "row3"} and "no such file" in failures["row3"] and "LoadImage" in failures["row1"]
    (tmp_path / "away.png").rename(tmp_path / "p3.png")
    photo(tmp_path / "p1.png", 1)
    summary = manifest.run(rows, out, [server.url])
    assert (summary.made, summary.already, summary.failures) == (2, 3, []) and not (out / "failures.jsonl").exists()
    assert saved(output_of(server), folder=tmp_path) == {f"row{n}": 1 for n in range(5)}
    from PIL import Image
    assert [Image.open(out / f"row{n}.png").getpixel((5, 5)) for n in range(5)] == [(n, 0, 99) for n in range(5)]


@pytest.mark.skipif(sys.platform == "win32", reason="kills by signal")
def test_killed_at_any_moment_it_goes_on_without_doing_a_row_twice(server, tmp_path):
    rows, out = work(tmp_path, 12, 3), tmp_path / "out"
    for _ in range(20):
        with open(tmp_path / "log", "ab") as log:
            process = subprocess.Popen(command(rows, out, server.url), stdout=log, stderr=log)
        try:
            before = len(finished(out))
            while process.poll() is None and len(finished(out)) < before + 3:
                time.sleep(0.005)
        finally:
            process.kill()
        if process.wait() == 0:
            break
    assert finished(out) == {f"row{n}" for n in range(12)}
    assert saved(output_of(server), folder=tmp_path) == {f"row{n}": 1 for n in range(12)}
    assert not list(out.glob(f".*{provision.PART}"))


def finished(out) -> set:
    """Keys of the rows that the journal calls done."""
    try:
        text = (out / "journal.jsonl").read_text()
    except OSError:
        return set()
    return {json.loads(line)["key"] for line in text.splitlines() if '"state": "done"' in line and line.endswith("}")}


@pytest.fixture(scope="module")
def second(server, tmp_path_factory):
    """Another server, which the tests kill: the first starts it again on its port, the second leaves it dead."""
    with Server(sys.executable, server.comfyui, server.base_directory, output_directory=tmp_path_factory.mktemp("second")) as other:
        yield other


class Killer:
    """Kills a server without a word when `manifest.run` reports the nth change of a kind there; remembers the row."""

    def __init__(self, server, state, nth):
        self.server, self.state, self.left, self.row, self.lost = server, state, nth, None, []

    def __call__(self, row, state, detail):
        if state == "lost":
            self.lost.append(row.key)
        if state == self.state and self.server.url == row.server:
            self.left -= 1
            if self.left == 0:
                self.row = row.key
                self.server.process.kill()
                self.server.process.wait()


def test_a_server_that_dies_keeps_its_rows_until_it_is_back(second, tmp_path):
    rows, out, killer = work(tmp_path, 8, 4), tmp_path / "out", Killer(second, "done", 2)
    restart = threading.Thread(target=lambda: (killed(second), second.stop(), second.start()))
    restart.start()
    summary = manifest.run(rows, out, [second.url], patience_s=120, report=killer)
    restart.join()
    assert killer.lost  # in mid-run
    assert (summary.made, summary.already, summary.failures) == (8, 0, [])
    assert sorted(path.name for path in out.glob("*.png")) == [f"row{n}.png" for n in range(8)]


def killed(server) -> None:
    """Returns when the server's process has ended."""
    while server.process.poll() is None:
        time.sleep(0.01)


def test_a_server_that_dies_loses_no_row_to_the_other_one(server, second, tmp_path):
    rows, killer = work(tmp_path, 16, 4), Killer(second, "queued", 2)
    summary = manifest.run(rows, tmp_path / "out", [second.url, server.url], patience_s=0.5, report=killer)
    assert second.process.poll() is not None and killer.row in killer.lost
    assert (summary.made, summary.failures) == (16, [])
    assert max(saved(output_of(server), folder=tmp_path).values()) == 1


@pytest.mark.skipif(not shutil.which("unshare") or not hasattr(os, "geteuid"), reason="needs unshare, to mount a small disk")
def test_a_full_disk_is_reported_and_a_second_run_fetches_what_the_server_has_made(server, tmp_path):
    rows, out = work(tmp_path, 6), tmp_path / "out"
    out.mkdir()
    disk = f"mount -t tmpfs -o size=24k tmpfs {out}"
    user = [] if os.geteuid() == 0 else ["--map-root-user"]
    if subprocess.run(["unshare", "--mount", *user, "sh", "-c", disk], capture_output=True).returncode:
        pytest.skip("this system lets us mount no small disk")
    line = " ".join(f"'{word}'" for word in command(rows, out, server.url, more=("--set", "scale0.width=1")))
    script = f"{disk} && {{ head -c 12k /dev/zero > {out}/full; {line}; echo code $?; rm {out}/full; cp -r {out}/. {tmp_path}/kept; mount -o remount,size=1m {out}; {line}; echo code $?; ls {out}; }}"
    done = subprocess.run(["unshare", "--mount", *user, "sh", "-c", script], capture_output=True, text=True, timeout=120)
    said = done.stdout + done.stderr
    assert "code 1" in said and "the disk is full" in said and "code 0" in said, said
    assert [f"row{n}.png" in done.stdout for n in range(6)] == [True] * 6
    assert saved(output_of(server), folder=tmp_path) == {f"row{n}": 1 for n in range(6)}


@pytest.mark.skipif(sys.platform == "win32", reason="interrupts by signal")
def test_ctrl_c_ends_soon_and_the_next_run_does_the_rest(server, tmp_path):
    rows, out = work(tmp_path, 40, 4), tmp_path / "out"
    heard = lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)  # a shell's background jobs ignore Ctrl-C, and hand that on
    process = subprocess.Popen(command(rows, out, server.url), stderr=subprocess.PIPE, text=True, preexec_fn=heard)
    while len(finished(out)) < 2:
        time.sleep(0.005)
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == 130 and "the same command fetches it" in process.stderr.read()
    assert not manifest.run(rows, out, [server.url]).failures
    assert saved(output_of(server), folder=tmp_path) == {f"row{n}": 1 for n in range(40)}
