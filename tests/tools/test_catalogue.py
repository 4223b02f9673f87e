"""Catalogue runs: what a row's content is, how it is published once, and a real Ray cluster whose workers and command are killed."""

import importlib.util
import json
import os
import subprocess
import sys
import time

import pytest
from fitting_room.tests.tools.test_manifest import photo, work
from fitting_room.tools import bundled, setup
from fitting_room.tools.catalogue import csv_line
from fitting_room.tools.catalogue_worker import Job, Worker, content_hash, look, place, publish
from fitting_room.tools.client import ServerError

COMMAND = setup.ROOT / "tools" / "catalogue.py"


# ---- content ----

def test_the_hash_is_of_content_and_not_of_names(tmp_path):
    workflow = bundled.load("try_on")
    pictures = {(name, "image"): name.encode() for name in ("person_image", "garment_image", "pose_image")}

    def hashed(tag="", pictures=pictures, **values):
        given = {name: f"server:{name}" for name in ("person_image", "garment_image", "pose_image")}
        prompt = workflow.fill({**given, **values}).prompt
        return content_hash(prompt, pictures, tag)

    assert hashed() == hashed(person_image="server:elsewhere.png")
    assert len({hashed(), hashed(seed=2), hashed("new weights"), hashed(pictures={**pictures, ("person_image", "image"): b"other"})}) == 4
    renamed = {node: {**entry, "_meta": {"title": "another"}} for node, entry in workflow.prompt.items()}
    assert content_hash(renamed, pictures, "") == content_hash(workflow.prompt, pictures, "")


def test_a_folder_appears_whole_and_the_first_one_stays(tmp_path):
    target = place(tmp_path, "abcdef")
    publish(target, {"a.png": b"first", "row.json": "{}"})
    publish(target, {"a.png": b"second", "row.json": "{}"})
    assert (target / "a.png").read_bytes() == b"first" and [path.name for path in target.parent.iterdir()] == ["abcdef"]
    with pytest.raises(OSError):
        publish(place(tmp_path, "bbbb"), {"a.png": b"x", "no/such/folder.png": b"y"})
    assert not list(place(tmp_path, "bbbb").parent.iterdir())


def test_a_line_of_csv_is_a_row_or_a_reason():
    header = ["key", "prompt", "seed"]
    assert csv_line("key,prompt,seed", header) == [] and csv_line("\ufeffkey,prompt,seed", header) == []
    assert [json.loads(row["text"]) for row in csv_line('007,"a, b",', header)] == [{"key": "007", "prompt": "a, b"}]
    assert "it has 2 cells, and the first line names 3" in csv_line("1,2", header)[0]["text"]


@pytest.mark.parametrize("row, reason", [
    ({"text": "{"}, "is no JSON"), ({"text": "[1]"}, "no JSON object"), ({"text": csv_line("1", ["a", "b"])[0]["text"]}, "it has 1 cells"),
    ({"key": "k", "photo.image": "none.png"}, "no such file"), ({"key": "k", "photo.image": "server:x.png"}, "a server of its own"),
    ({"key": "k", "photo.image": "p0.png", "seed": 1}, "no parameter 'seed'"), ({"key": "k", "photo.image": b"bytes"}, "no such file")])
def test_a_row_that_cannot_run_says_why_before_any_worker_sees_it(tmp_path, row, reason):
    work(tmp_path, 1)
    told = look(Job(str(tmp_path), str(tmp_path), str(tmp_path / "work.json")), row)
    assert told["state"] == "failed" and reason in told["reason"]


# ---- one worker ----

def test_a_worker_outlives_its_server_and_gives_up_on_an_installation_that_never_ran(server, tmp_path):
    work(tmp_path, 3)
    made = (sys.executable, str(server.comfyui), str(server.base_directory))
    job = Job(str(tmp_path / "out"), str(tmp_path), str(tmp_path / "work.json"), setup=made)
    rows = [look(job, {"key": f"row{n}", "photo.image": f"p{n}.png"}) for n in range(3)]
    worker = Worker(job)
    try:
        assert worker.make(rows[0])["state"] == "made" and worker.make(rows[0])["state"] == "found"
        worker.server.process.kill()
        worker.server.process.wait()
        batch = {name: [row[name] for row in rows] for name in rows[0]}
        after = worker(batch)
        assert after["state"] == ["found", "made", "made"]
        assert not any((worker.scratch / "input").iterdir()) and not any((worker.scratch / "output").iterdir())
    finally:
        worker._stop()
    assert [look(job, {"key": f"row{n}", "photo.image": f"p{n}.png"})["state"] for n in range(3)] == ["found"] * 3
    (tmp_path / "main.py").write_text("raise SystemExit('no torch here')")
    (tmp_path / "comfy").mkdir()
    (tmp_path / "comfy" / "cli_args.py").touch()
    broken = Worker(Job(str(tmp_path / "out2"), str(tmp_path), str(tmp_path / "work.json"), setup=(sys.executable, str(tmp_path), str(tmp_path))))
    with pytest.raises(ServerError, match="no torch here"):
        broken.make(rows[0])


# ---- a cluster ----

def start(rows, out, log, *more):
    """The command on a local cluster, in a session of its own."""
    patience = {"RAY_worker_register_timeout_seconds": "600", "RAY_agent_register_timeout_ms": "600000"}  # on a busy machine Ray's own are short
    environment = {**os.environ, **patience, "OMP_NUM_THREADS": "1", "RAY_USAGE_STATS_ENABLED": "0"}
    with open(log, "ab") as file:
        return subprocess.Popen([sys.executable, str(COMMAND), str(rows), "--workflow", str(rows.parent / "work.json"), "--output", str(out),
                                 "--batch", "2", *more], stdout=subprocess.PIPE, stderr=file, env=environment, start_new_session=True)


def folders(out) -> dict:
    """{folder of a row: when it was made}."""
    return {path.name: path.stat().st_mtime_ns for path in out.glob("files/*/*") if not path.name.startswith(".")}


def until(condition, process, log, seconds=1800):
    """Wait for a condition while the command runs."""
    end = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None and time.monotonic() < end, log.read_text()[-3000:]
        time.sleep(0.02)


def actors(process) -> list:
    """Ray's worker processes that have a ComfyUI."""
    import psutil

    found = []
    for child in psutil.Process(process.pid).children(recursive=True) if process.poll() is None else ():
        try:
            if any(str(part).endswith("main.py") for part in child.cmdline()):
                found.append(child.parent())
        except psutil.NoSuchProcess:
            continue
    return [parent for parent in found if parent is not None]


@pytest.mark.server
@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="needs the extra `scale`: python3 tools/test.py --extras scale")
@pytest.mark.skipif(sys.platform == "win32", reason="kills by signal")
def test_a_cluster_of_two_loses_a_worker_then_itself_and_every_row_is_made_once(tmp_path):
    import psutil
    import pyarrow.parquet

    rows, out, log, count = work(tmp_path, 30, 4), tmp_path / "out", tmp_path / "log", 30
    text = rows.read_text()
    rows.write_text(text + text.splitlines()[0].replace('"row0"', '"twin"', 1) + '\n{"key": "cut off"\n' + json.dumps({"key": "late", "photo.image": "late.png"}) + "\n")

    process = start(rows, out, log, "--workers", "2")
    try:
        until(lambda: len(actors(process)) == 2 and len(folders(out)) >= 2, process, log)
        lost = actors(process)[0]
        lost.kill()
        before = len(folders(out))
        until(lambda: len(folders(out)) >= before + 4 and lost not in actors(process), process, log)
    finally:
        family = psutil.Process(process.pid).children(recursive=True)
        process.kill()
        process.wait()
        psutil.wait_procs(family, timeout=120)
    assert not any(child.is_running() for child in family), "Ray and ComfyUI end with the command"
    made = folders(out)
    assert 0 < len(made) < count and not (out / "results.parquet").exists()

    process = start(rows, out, log, "--workers", "2")
    counts = json.loads(process.communicate(timeout=1800)[0].splitlines()[-1])
    assert process.returncode == 1 and counts["failed"] == 2 and counts["made"] + counts["found"] == count + 1, log.read_text()[-3000:]
    assert len(folders(out)) == count and made.items() <= folders(out).items()  # nothing of before was touched
    table = pyarrow.parquet.read_table(out / "results.parquet").to_pylist()
    assert sorted(row["key"] for row in table if row["state"] != "failed") == sorted([*(f"row{n}" for n in range(count)), "twin"])
    by_key = {row["key"]: row for row in table}
    assert by_key["twin"]["hash"] == by_key["row0"]["hash"] and {row["hash"] for row in table if row["hash"]} == set(folders(out))
    for row in table:
        assert all((out / name).stat().st_size for name in row["files"]) and bool(row["files"]) == (row["state"] != "failed")
    reasons = {row["key"]: row["reason"] for row in pyarrow.parquet.read_table(out / "failures.parquet").to_pylist()}
    assert len(reasons) == 2 and "no such file" in reasons["late"]

    photo(tmp_path / "late.png", 77)
    rows.write_text("".join(line + "\n" for line in rows.read_text().splitlines() if "cut off" not in line))
    process = start(rows, out, log)
    counts = json.loads(process.communicate(timeout=1800)[0].splitlines()[-1])
    assert process.returncode == 0 and counts == {"made": 1, "found": count + 1, "failed": 0}, log.read_text()[-3000:]
    assert not (out / "failures.parquet").exists() and len(folders(out)) == count + 1
