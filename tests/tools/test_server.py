"""A real ComfyUI process and the client that talks to it, with core nodes that need no model."""

import io
import os
import subprocess
import sys
import time
import uuid
from pathlib import Path

import pytest
from fitting_room.tools import setup
from fitting_room.tools.client import Client, PromptError, PromptInterrupted, PromptLost, ServerError
from fitting_room.tools.server import Server

GREY = 0x808080


def flat(width=64, height=48, batch_size=1, color=GREY) -> dict:
    """A prompt that makes flat pictures and saves them."""
    return {"grey": {"class_type": "EmptyImage", "inputs": {"width": width, "height": height, "batch_size": batch_size, "color": color}},
            "save": {"class_type": "SaveImage", "inputs": {"images": ["grey", 0], "filename_prefix": "flat"}}}


def pixels(data: bytes):
    """A downloaded picture as an array."""
    import numpy as np
    from PIL import Image
    return np.asarray(Image.open(io.BytesIO(data)))


def test_object_info_answers_for_all_nodes_and_for_one(server):
    assert {"KSampler", "LoadImage", "SaveImage"} <= set(server.client.object_info())
    assert list(server.client.object_info("KSampler")) == ["KSampler"]


def test_a_prompt_is_followed_to_its_pictures(server):
    steps = []
    history = server.client.run(flat(batch_size=2, width=65), progress=lambda *step: steps.append(step))
    images = server.client.images(history)
    assert [node for node, *_ in steps] == ["grey", "save"]
    assert [(image["node"], image["type"]) for image in images] == [("save", "output")] * 2
    for image in images:
        array = pixels(server.client.download(image))
        assert array.shape == (48, 65, 3) and (array == 128).all()


def test_waiting_for_a_prompt_that_has_ended_returns_at_once_and_again(server):
    prompt_id = server.client.queue(flat(color=0))
    assert server.client.wait(prompt_id) == server.client.wait(prompt_id) == server.client.history(prompt_id)
    assert server.client.history("no-such-prompt") == {}


@pytest.mark.parametrize("name", ["person.png", "Gr\u00f6\u00dfe \u4eba.png", 'a"b.png'])
def test_an_uploaded_picture_arrives_unchanged(server, tmp_path, name):
    from PIL import Image
    path = tmp_path / "source.png"
    Image.frombytes("RGB", (40, 24), os.urandom(40 * 24 * 3)).save(path)
    uploaded = server.client.upload(path.read_bytes(), name)
    prompt = {"load": {"class_type": "LoadImage", "inputs": {"image": uploaded}},
              "save": {"class_type": "SaveImage", "inputs": {"images": ["load", 0], "filename_prefix": "echo"}}}
    image, = server.client.images(server.client.run(prompt))
    assert (pixels(server.client.download(image)) == pixels(path.read_bytes())).all()


def test_a_refused_prompt_names_node_and_input(server):
    with pytest.raises(PromptError, match=r"HTTP 400: node grey \(EmptyImage\): .*smaller than min.*width") as refused:
        server.client.queue(flat(width=-64))
    assert refused.value.details["node_errors"]["grey"]["class_type"] == "EmptyImage"
    with pytest.raises(PromptError, match="NoSuchNode"):
        server.client.queue({"1": {"class_type": "NoSuchNode", "inputs": {}}})


def test_a_prompt_of_which_a_part_is_refused_is_refused(server):
    part = {"bad": {**flat(width=-1)["grey"]}, "more": {"class_type": "PreviewImage", "inputs": {"images": ["bad", 0]}}}
    with pytest.raises(PromptError, match=r"part of the prompt was refused: node bad \(EmptyImage\)"):
        server.client.queue({**flat(), **part})


def test_a_failing_node_is_named_with_its_message(server):
    broken = server.client.upload(b"no picture at all", "broken.png")
    prompt = {"load": {"class_type": "LoadImage", "inputs": {"image": broken}},
              "save": {"class_type": "PreviewImage", "inputs": {"images": ["load", 0]}}}
    with pytest.raises(PromptError, match=r"node load \(LoadImage\) failed: ") as failed:
        server.client.run(prompt)
    assert failed.value.details["node_type"] == "LoadImage"


def test_an_interrupted_prompt_ends_and_the_next_one_runs(server):
    with pytest.raises(PromptInterrupted):
        server.client.run(slow(60, 1), progress=lambda node, *_: server.client.interrupt() if node == "scale1" else None)
    server.client.free()
    assert server.client.images(server.client.run(flat(color=2)))


def slow(scales: int, color: int) -> dict:
    """A prompt of many nodes, each of which takes a moment; the host looks for an interruption between nodes."""
    prompt, before = flat(color=color), "grey"
    for index in range(scales):
        prompt[f"scale{index}"] = {"class_type": "ImageScale", "inputs": {
            "image": [before, 0], "upscale_method": "lanczos", "crop": "disabled", "width": 1500 + index, "height": 1500}}
        before = f"scale{index}"
    prompt["save"]["inputs"]["images"] = [before, 0]
    return prompt


def test_waiting_has_an_end(server):
    prompt_id = server.client.queue(slow(60, 3))
    with pytest.raises(TimeoutError, match="has not ended within 0.3 s"):
        server.client.wait(prompt_id, timeout=0.3)
    server.client.interrupt(prompt_id)
    with pytest.raises(PromptInterrupted):
        server.client.wait(prompt_id)
    server.client.free()


def test_a_prompt_that_the_server_does_not_know_is_lost_and_not_waited_for(server):
    with pytest.raises(PromptLost, match="does not know the prompt"):
        server.client.wait(str(uuid.uuid4()))
    busy, waiting = server.client.queue(slow(60, 4)), server.client.queue(flat(color=5))
    assert server.client.knows(busy) and server.client.knows(waiting)
    server.client.interrupt(waiting)  # out of the queue, before it ran
    with pytest.raises(PromptLost):
        server.client.wait(waiting)
    server.client.interrupt(busy)
    assert not server.client.knows(waiting)
    server.client.free()


def test_a_prompt_with_an_id_of_ours_is_queued_once(server):
    prompt_id = str(uuid.uuid4())
    assert not server.client.knows(prompt_id)
    first = server.client.run(flat(color=6), prompt_id=prompt_id)
    assert server.client.knows(prompt_id) and server.client.run(flat(color=7), prompt_id=prompt_id) == first
    server.client.forget(prompt_id)
    assert not server.client.knows(prompt_id)


def test_a_server_without_jobs_or_websocket_is_served_by_queue_and_history(server, monkeypatch):
    client = Client(server.url)
    get = client.get

    def older(path, timeout=60):
        return get(path.replace("/api/jobs/", "/api/no-such-route/"), timeout)

    monkeypatch.setattr(client, "get", older)
    monkeypatch.setattr(client, "_feed", lambda: None)
    prompt_id, steps = str(uuid.uuid4()), []
    history = client.run(flat(color=8), lambda *step: steps.append(step), prompt_id=prompt_id)
    assert history["status"]["status_str"] == "success" and client.knows(prompt_id) and not client.knows(str(uuid.uuid4())) and steps == []


def test_a_picture_is_sent_once_and_again_when_it_is_to_be_forgotten(server, tmp_path, monkeypatch):
    client, sent = Client(server.url), []
    request = client._request
    monkeypatch.setattr(client, "_request", lambda path, *more: (sent.append(path), request(path, *more))[1])
    (tmp_path / "a.PNG").write_bytes(b"one")
    names = [client.upload_once(tmp_path / "a.PNG"), client.upload_once(b"one"), client.upload_once(b"two")]
    assert names[0] == names[1] != names[2] and names[0].endswith(".png") and sent == ["/upload/image"] * 2
    client.forget_uploads()
    assert client.upload_once(b"one") == names[0] and len(sent) == 3


def test_pack_is_loaded_when_it_is_whole(server):
    if not (setup.ROOT / "__init__.py").is_file():
        pytest.skip("the pack has no entry point yet")
    assert "IMPORT FAILED" not in server.log(500)
    assert any(name.startswith("FittingRoom") for name in server.client.object_info())


def test_no_server_is_one_sentence():
    with pytest.raises(ServerError, match="http://127.0.0.1:9 does not answer .*is ComfyUI running"):
        Client("http://127.0.0.1:9").object_info()


# ---- a stand-in that only starts, dies or waits: what is tested is our handling of a process ----

def process(tmp_path, program: str, **more) -> Server:
    (tmp_path / "comfy").mkdir()
    (tmp_path / "comfy" / "cli_args.py").touch()
    (tmp_path / "main.py").write_text(program, encoding="utf-8")
    return Server(sys.executable, tmp_path, tmp_path, cpu=True, **more)


def test_a_server_that_dies_shows_the_end_of_its_log(tmp_path):
    with pytest.raises(ServerError, match=r"(?s)exit code 3; its log ends with:.*no such flag"):
        process(tmp_path, "print('no such flag'); raise SystemExit(3)").start()


def test_a_server_that_never_answers_is_stopped(tmp_path):
    server = process(tmp_path, "import time; print('thinking', flush=True); time.sleep(60)", startup_s=1)
    started = []
    wait = server._wait_until_ready
    server._wait_until_ready = lambda: (started.append(server.process), wait())
    with pytest.raises(ServerError, match=r"(?s)did not answer within 1 s; its log ends with:.*thinking"):
        server.start()
    assert started[0].poll() is not None and server.process is None
    server.stop()  # again, without harm


@pytest.mark.skipif(sys.platform == "win32", reason="kills by signal")
def test_a_server_ends_with_the_process_that_started_it(tmp_path):
    server = process(tmp_path, "import os, time; open('pid', 'w').write(str(os.getpid())); os.rename('pid', 'ready'); time.sleep(60)")
    program = (f"import sys; sys.path.insert(0, {str(setup.ROOT / 'tools')!r})\nfrom server import Server\n"
               f"server = Server(sys.executable, {str(tmp_path)!r}, {str(tmp_path)!r}, cpu=True)\nserver.start()")
    parent = subprocess.Popen([sys.executable, "-c", program])
    pid = int(_soon(lambda: (tmp_path / "ready").read_text()))
    parent.kill()
    parent.wait()
    _soon(lambda: _gone(pid))
    assert server.process is None  # ours was never started


def _soon(ask, seconds: float = 20):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            found = ask()
            if found:
                return found
        except OSError:
            pass
        time.sleep(0.05)
    raise TimeoutError("it did not happen")


def _gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    status = Path(f"/proc/{pid}/stat")  # a child that nobody waits for stays as a zombie where nothing adopts it
    return status.exists() and status.read_text().rpartition(")")[2].split()[0] == "Z"


