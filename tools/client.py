"""A client of ComfyUI's HTTP and websocket interface: queue a prompt, follow it, fetch what it made. Standard library only.

    client = Client("http://127.0.0.1:8188")
    files = client.make("dress_one_garment", upper_image="shirt.png", seed=3)      # a bundled workflow: {name: bytes}
    history = client.run(prompt, progress=print)                      # any API-format JSON; print(node_id, step, steps)
    data = [client.download(image) for image in client.images(history)]

From the command line (tools/headless.py describes it; docs/headless.md shows it):

    python3 tools/client.py list | params NAME | run NAME --set upper_image=shirt.png | manifest rows.csv --output DIR
"""

import hashlib
import http.client
import json
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
import uuid
from pathlib import Path

if __package__:
    from .feed import Feed
else:
    from feed import Feed

UPLOADS = "fitting_room_client"  # below the input folder: what `upload_once` sends
LISTEN_S = 1.0  # how long progress is listened to between two looks at the history
AWAY = (429, 502, 503, 504)  # what a proxy says for a server that is away or busy


class ServerError(RuntimeError):
    """ComfyUI did not start, died, or does not answer; the message holds the end of its log."""


class PromptError(RuntimeError):
    """ComfyUI refused a prompt, or a node of it failed; `details` holds what ComfyUI said."""

    def __init__(self, message: str, details: dict):
        super().__init__(message)
        self.details = details


class PromptInterrupted(PromptError):
    """The prompt was interrupted before it ended."""


class PromptLost(ServerError):
    """ComfyUI does not know the prompt (any more): it was started again, or the prompt was taken from its queue."""


class Client:
    """What a program asks of a ComfyUI at `url`.

    check: called when it does not answer; may raise a better error. headers: sent with every request, for a server behind a
    proxy that wants {"Authorization": ...}.
    """

    def __init__(self, url: str, check=None, headers: dict | None = None):
        if not url.startswith(("http://", "https://")):
            raise ValueError(f"{url!r} is no server; write it like http://127.0.0.1:8188")
        self.url, self.id, self._check, self._headers = url.rstrip("/"), uuid.uuid4().hex, check, dict(headers or {})
        local = urllib.parse.urlsplit(url).hostname in ("127.0.0.1", "localhost", "::1")  # loopback never goes through a proxy
        self._opener = urllib.request.build_opener(*([urllib.request.ProxyHandler({})] if local else []))
        self._sent: dict[str, str] = {}

    # ---- requests ----

    def get(self, path: str, timeout: float = 60) -> dict:
        """GET, parsed as JSON."""
        return json.loads(self._request(path, timeout=timeout))

    def post(self, path: str, body: dict, timeout: float = 60) -> dict:
        """POST JSON; an empty answer gives {}."""
        return json.loads(self._request(path, json.dumps(body).encode(), {"Content-Type": "application/json"}, timeout) or b"{}")

    def _request(self, path, data=None, headers=None, timeout: float = 60) -> bytes:
        request = urllib.request.Request(self.url + path, data, {**self._headers, **(headers or {})})
        try:
            with self._opener.open(request, timeout=timeout) as answer:
                return answer.read()
        except urllib.error.HTTPError as error:
            if error.code in AWAY:
                raise ServerError(f"{self.url}{path}: HTTP {error.code}: the server is away or busy") from None
            text = error.read().decode("utf-8", "replace")
            try:
                details = json.loads(text)
            except ValueError:
                details = {"error": {"message": text[:500]}}
            raise PromptError(f"{path}: HTTP {error.code}: {_explain(details)}", details) from None
        except (OSError, http.client.HTTPException) as error:  # refused, reset, timed out, cut off in the middle
            if self._check is not None:
                self._check()
            raise ServerError(f"{self.url} does not answer ({error}); is ComfyUI running?") from error

    # ---- what ComfyUI offers ----

    def object_info(self, node: str = "") -> dict:
        """The schemas of all nodes, or of one, by node id."""
        return self.get(f"/object_info/{urllib.parse.quote(node)}" if node else "/object_info")

    def upload(self, picture, name: str = "", overwrite: bool = True, subfolder: str = "") -> str:
        """Send a picture, a path or the bytes of a file, to the input folder; returns the name that LoadImage takes."""
        data = bytes(picture) if isinstance(picture, (bytes, bytearray, memoryview)) else Path(picture).read_bytes()
        name = name or ("picture.png" if isinstance(picture, (bytes, bytearray, memoryview)) else Path(picture).name)
        boundary = uuid.uuid4().hex
        quoted = name.replace("\\", "_").replace('"', "_")
        fields = {"overwrite": str(overwrite).lower(), **({"subfolder": subfolder} if subfolder else {})}
        body = ("".join(f'--{boundary}\r\nContent-Disposition: form-data; name="{key}"\r\n\r\n{value}\r\n' for key, value in fields.items())
                + f'--{boundary}\r\nContent-Disposition: form-data; name="image"; filename="{quoted}"\r\n'
                "Content-Type: application/octet-stream\r\n\r\n").encode() + data + f"\r\n--{boundary}--\r\n".encode()
        answer = json.loads(self._request("/upload/image", body, {"Content-Type": f"multipart/form-data; boundary={boundary}"}))
        return f"{answer['subfolder']}/{answer['name']}" if answer.get("subfolder") else answer["name"]

    def upload_once(self, picture) -> str:
        """`upload` under a name made from the content: the same picture is sent once, and two of one name never mix."""
        given = isinstance(picture, (bytes, bytearray, memoryview))
        data = bytes(picture) if given else Path(picture).read_bytes()
        name = hashlib.sha256(data).hexdigest()[:32] + (".png" if given else Path(picture).suffix.lower() or ".png")
        if name not in self._sent:
            self._sent[name] = self.upload(data, name, subfolder=UPLOADS)
        return self._sent[name]

    def forget_uploads(self) -> None:
        """Send pictures again: the server may be another one, with an empty input folder."""
        self._sent.clear()

    def queue(self, prompt: dict, prompt_id: str = "") -> str:
        """Queue an API-format prompt; returns its id. PromptError names the node and input that ComfyUI refuses.

        prompt_id: a UUID of yours, known before the prompt is sent, so that after a crash on either side `knows` can tell
        whether it arrived.
        """
        answer = self.post("/prompt", {"prompt": prompt, "client_id": self.id, **({"prompt_id": prompt_id} if prompt_id else {})})
        if answer.get("node_errors"):  # HTTP 200 all the same: ComfyUI would run the rest and drop these outputs
            self.interrupt(answer["prompt_id"])
            raise PromptError(f"part of the prompt was refused: {_explain(answer)}", answer)
        return answer["prompt_id"]

    def knows(self, prompt_id: str) -> bool:
        """Whether the prompt waits, runs or has ended there."""
        try:
            self.get(f"/api/jobs/{prompt_id}")
            return True
        except PromptError as error:
            if error.details.get("error") == "Job not found":
                return False
        # A ComfyUI without /api/jobs. The queue is looked at first: a prompt never goes from history back to the queue.
        queue = self.get("/queue")
        return any(item[1] == prompt_id for part in queue.values() for item in part) or bool(self.history(prompt_id))

    def history(self, prompt_id: str) -> dict:
        """What is known of a finished prompt: outputs by node id, and status; {} while it waits or runs."""
        return self.get(f"/history/{prompt_id}").get(prompt_id, {})

    def forget(self, prompt_id: str) -> None:
        """Take an ended prompt out of the server's history (its files stay)."""
        self.post("/history", {"delete": [prompt_id]})

    def images(self, history: dict) -> list:
        """The pictures of a history: dicts with node, filename, subfolder and type, in the order of the nodes."""
        return [{"node": node, **image} for node, output in history.get("outputs", {}).items() for image in output.get("images", ())]

    def results(self, history: dict) -> tuple[list, dict]:
        """What a workflow is run for: (files as in `images`, texts by node id).

        Files of any kind that it saved to the output folder; its previews where it saved none.
        """
        files, texts = [], {}
        for node, output in history.get("outputs", {}).items():
            for values in output.values():
                found = [value for value in values if isinstance(value, dict) and value.get("filename")] if isinstance(values, list) else []
                files += [{"node": node, **value} for value in found]
            if words := [word for word in output.get("text") or () if isinstance(word, str)]:
                texts[node] = "\n".join(words)
        return [file for file in files if file.get("type") == "output"] or files, texts

    def download(self, image: dict) -> bytes:
        """The bytes of one file of `images` or `results`."""
        return self._request("/view?" + urllib.parse.urlencode({key: image.get(key, "") for key in ("filename", "subfolder", "type")}))

    def interrupt(self, prompt_id: str = "") -> None:
        """Stop the prompt that runs (this one only, where an id is given) and take it from the queue."""
        if prompt_id:
            self.post("/queue", {"delete": [prompt_id]})
        self.post("/interrupt", {"prompt_id": prompt_id} if prompt_id else {})

    def free(self) -> None:
        """Unload models and empty the cache, as soon as the queue is idle."""
        self.post("/free", {"unload_models": True, "free_memory": True})

    # ---- waiting ----

    def wait(self, prompt_id: str, progress=None, timeout: float = 3600) -> dict:
        """Wait until a prompt has ended and return its history.

        progress: called with (node id, step, steps) whenever a node starts or advances. Raises PromptError with the node's type and
        message when one fails, PromptInterrupted, TimeoutError, or ServerError when ComfyUI goes away.
        """
        return self._follow(lambda: prompt_id, progress, timeout, 0.01)

    def run(self, prompt: dict, progress=None, timeout: float = 3600, prompt_id: str = "") -> dict:
        """Queue a prompt and wait for it, without missing its first steps. A `prompt_id` that the server knows is not queued again."""
        return self._follow(lambda: prompt_id if prompt_id and self.knows(prompt_id) else self.queue(prompt, prompt_id), progress, timeout, LISTEN_S)

    def make(self, workflow: str, progress=None, timeout: float = 3600, **values) -> dict:
        """Run a bundled workflow by name (or a file of API-format JSON) with its parameters set: {file name: bytes}.

        values: as `python3 tools/client.py params NAME` lists them; a picture is a path or bytes. Raises bundled.InputError for
        a wrong one.
        """
        if __package__:
            from . import bundled
        else:
            import bundled
        filled = bundled.load(workflow).fill(values)
        history = self.run(filled.upload(self), progress, timeout)
        return {name: self.download(file) if isinstance(file, dict) else file.encode()
                for name, file in bundled.name_results(filled.name, *self.results(history)).items()}

    def _follow(self, queue, progress, timeout: float, listen: float) -> dict:
        end, running = time.monotonic() + timeout, "none yet"
        self.get("/system_stats")  # a server that is away is said here, in our words
        feed = self._feed()
        try:
            prompt_id = queue()
            while True:  # the websocket tells progress; whether the prompt has ended is read from history, which misses nothing
                for data in _advances(feed, prompt_id, max(min(listen, end - time.monotonic()), 0.01)):
                    running = data["node"]
                    if progress is not None:
                        progress(running, data.get("value", 0), data.get("max", 1))
                if found := self._ended(prompt_id):
                    return found
                if time.monotonic() > end:
                    raise TimeoutError(f"prompt {prompt_id} has not ended within {timeout:g} s; the node at work is {running}")
                listen = LISTEN_S
        finally:
            if feed is not None:
                feed.close()

    def _feed(self):
        try:
            return Feed(f"{self.url}/ws?clientId={self.id}", self._headers)
        except OSError:  # a proxy that passes none on: progress is lost, the end still shows in history
            return None

    def _ended(self, prompt_id: str) -> dict:
        history = self.history(prompt_id)
        if not history and not self.knows(prompt_id):
            history = self.history(prompt_id)
            if not history:
                raise PromptLost(f"{self.url} does not know the prompt {prompt_id}: ComfyUI was started again, or it was taken from the queue")
        status = history.get("status")
        if not history or not status or status.get("status_str") == "success":
            return history
        for kind, data in status.get("messages", ()):
            if kind == "execution_error":
                raise PromptError(f"node {data.get('node_id')} ({data.get('node_type')}) failed: {data.get('exception_type')}: "
                                  f"{str(data.get('exception_message')).strip()}", data)
            if kind == "execution_interrupted":
                raise PromptInterrupted(f"interrupted at node {data.get('node_id')} ({data.get('node_type')})", data)
        raise PromptError(f"the prompt ended without success: {status}", history)


def _advances(feed, prompt_id: str, seconds: float):
    """Yield what the websocket tells of this prompt's nodes, for so long or until it announces the end."""
    until = time.monotonic() + seconds
    while (left := until - time.monotonic()) > 0:
        try:
            text = feed.receive(left) if feed is not None else None
        except OSError:
            feed = text = None
        if feed is None:  # history is looked at more often, as nothing else tells the end
            time.sleep(min(left, 0.25))
        if text is None:
            return
        event = json.loads(text)
        kind, data = event.get("type"), event.get("data") or {}
        if data.get("prompt_id") != prompt_id:
            continue
        if kind in ("executing", "progress") and data.get("node") is not None:
            yield data
        elif kind in ("executing", "execution_success", "execution_error", "execution_interrupted"):
            return


def _explain(details: dict) -> str:
    """One line from ComfyUI's answer: the reasons per node where there are any, otherwise its own message."""
    nodes = details.get("node_errors") or {}
    reasons = []
    for node, found in nodes.items() if isinstance(nodes, dict) else ():
        texts = [": ".join(filter(None, (error.get("message"), error.get("details")))) for error in found.get("errors", ())]
        reasons.append(f"node {node} ({found.get('class_type')}): {'; '.join(texts)}")
    error = details.get("error") or {}
    own = " ".join(filter(None, (error.get("message"), error.get("details")))) if isinstance(error, dict) else str(error)
    return " | ".join(reasons) or own or json.dumps(details)[:500]


if __name__ == "__main__":
    from headless import main

    sys.exit(main())
