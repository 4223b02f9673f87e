"""A client of ComfyUI's HTTP and websocket interface: queue a prompt, follow it, fetch what it made.

    client = Client("http://127.0.0.1:8188")
    history = client.run(prompt, progress=print)                      # API-format JSON; print(node_id, step, steps)
    data = [client.download(image) for image in client.images(history)]

HTTP by the standard library; the websocket by aiohttp, which ComfyUI requires.
"""

import asyncio
import json
import time
import urllib.error
import urllib.parse
import urllib.request
import uuid
from pathlib import Path


class ServerError(RuntimeError):
    """ComfyUI did not start, died, or does not answer; the message holds the end of its log."""


class PromptError(RuntimeError):
    """ComfyUI refused a prompt, or a node of it failed; `details` holds what ComfyUI said."""

    def __init__(self, message: str, details: dict):
        super().__init__(message)
        self.details = details


class PromptInterrupted(PromptError):
    """The prompt was interrupted before it ended."""


class Client:
    """What a program asks of a ComfyUI at `url`. check: called when it does not answer; may raise a better error."""

    def __init__(self, url: str, check=None):
        self.url, self.id, self._check = url.rstrip("/"), uuid.uuid4().hex, check

    # ---- requests ----

    def get(self, path: str, timeout: float = 60) -> dict:
        """GET, parsed as JSON."""
        return json.loads(self._request(path, timeout=timeout))

    def post(self, path: str, body: dict, timeout: float = 60) -> dict:
        """POST JSON; an empty answer gives {}."""
        return json.loads(self._request(path, json.dumps(body).encode(), {"Content-Type": "application/json"}, timeout) or b"{}")

    def _request(self, path, data=None, headers=None, timeout: float = 60) -> bytes:
        request = urllib.request.Request(self.url + path, data, headers or {})
        try:
            with _OPENER.open(request, timeout=timeout) as answer:
                return answer.read()
        except urllib.error.HTTPError as error:
            text = error.read().decode("utf-8", "replace")
            try:
                details = json.loads(text)
            except ValueError:
                details = {"error": {"message": text[:500]}}
            raise PromptError(f"{path}: HTTP {error.code}: {_explain(details)}", details) from None
        except OSError as error:  # refused, reset, timed out
            if self._check is not None:
                self._check()
            raise ServerError(f"{self.url} does not answer ({error}); is ComfyUI running?") from error

    # ---- what ComfyUI offers ----

    def object_info(self, node: str = "") -> dict:
        """The schemas of all nodes, or of one, by node id."""
        return self.get(f"/object_info/{urllib.parse.quote(node)}" if node else "/object_info")

    def upload(self, picture, name: str = "", overwrite: bool = True) -> str:
        """Send a picture, a path or the bytes of a file, to the input folder; returns the name that LoadImage takes."""
        data = bytes(picture) if isinstance(picture, (bytes, bytearray, memoryview)) else Path(picture).read_bytes()
        name = name or ("picture.png" if isinstance(picture, (bytes, bytearray, memoryview)) else Path(picture).name)
        boundary = uuid.uuid4().hex
        quoted = name.replace("\\", "_").replace('"', "_")
        body = (f'--{boundary}\r\nContent-Disposition: form-data; name="overwrite"\r\n\r\n{str(overwrite).lower()}\r\n'
                f'--{boundary}\r\nContent-Disposition: form-data; name="image"; filename="{quoted}"\r\n'
                "Content-Type: application/octet-stream\r\n\r\n").encode() + data + f"\r\n--{boundary}--\r\n".encode()
        answer = json.loads(self._request("/upload/image", body, {"Content-Type": f"multipart/form-data; boundary={boundary}"}))
        return f"{answer['subfolder']}/{answer['name']}" if answer.get("subfolder") else answer["name"]

    def queue(self, prompt: dict) -> str:
        """Queue an API-format prompt; returns its id. PromptError names the node and input that ComfyUI refuses."""
        answer = self.post("/prompt", {"prompt": prompt, "client_id": self.id})
        if answer.get("node_errors"):  # HTTP 200 all the same: ComfyUI would run the rest and drop these outputs
            self.interrupt(answer["prompt_id"])
            raise PromptError(f"part of the prompt was refused: {_explain(answer)}", answer)
        return answer["prompt_id"]

    def history(self, prompt_id: str) -> dict:
        """What is known of a finished prompt: outputs by node id, and status; {} while it waits or runs."""
        return self.get(f"/history/{prompt_id}").get(prompt_id, {})

    def images(self, history: dict) -> list:
        """The pictures of a history: dicts with node, filename, subfolder and type, in the order of the nodes."""
        return [{"node": node, **image} for node, output in history.get("outputs", {}).items() for image in output.get("images", ())]

    def download(self, image: dict) -> bytes:
        """The bytes of one picture of `images`."""
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
        return asyncio.run(self._follow(lambda: prompt_id, progress, timeout, 0.05))

    def run(self, prompt: dict, progress=None, timeout: float = 3600) -> dict:
        """Queue a prompt and wait for it, without missing its first steps."""
        return asyncio.run(self._follow(lambda: self.queue(prompt), progress, timeout, 1.0))

    async def _follow(self, queue, progress, timeout, patience) -> dict:
        import aiohttp

        end, running = time.monotonic() + timeout, "none yet"
        self.get("/system_stats")  # a server that is away is said here, in our words
        async with aiohttp.ClientSession() as session, session.ws_connect(f"{self.url}/ws?clientId={self.id}", max_msg_size=0) as feed:
            # The websocket tells progress; whether the prompt has ended is read from history, which misses nothing.
            prompt_id, found = queue(), None
            while found is None:
                if time.monotonic() > end:
                    raise TimeoutError(f"prompt {prompt_id} has not ended within {timeout:g} s; the node at work is {running}")
                async for data in _advances(feed, prompt_id, patience):
                    running = data["node"]
                    if progress is not None:
                        progress(running, data.get("value", 0), data.get("max", 1))
                found, patience = self._ended(prompt_id), 1.0
        return found

    def _ended(self, prompt_id):
        history = self.history(prompt_id)
        status = history.get("status")
        if not history or (status and status.get("status_str") == "success"):
            return history or None
        for kind, data in (status or {}).get("messages", ()):
            if kind == "execution_error":
                raise PromptError(f"node {data.get('node_id')} ({data.get('node_type')}) failed: {data.get('exception_type')}: "
                                  f"{str(data.get('exception_message')).strip()}", data)
            if kind == "execution_interrupted":
                raise PromptInterrupted(f"interrupted at node {data.get('node_id')} ({data.get('node_type')})", data)
        raise PromptError(f"the prompt ended without success: {status}", history)


_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # loopback never goes through a proxy


async def _advances(feed, prompt_id: str, seconds: float):
    """Yield what the websocket tells of this prompt's nodes, for so long or until it announces the end."""
    import aiohttp

    until = time.monotonic() + seconds
    while (left := until - time.monotonic()) > 0:
        try:
            message = await feed.receive(timeout=left)
        except asyncio.TimeoutError:
            return
        if message.type in (aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSING, aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.ERROR):
            await asyncio.sleep(left)  # progress is lost; the end still shows in history
            return
        if message.type != aiohttp.WSMsgType.TEXT:  # a preview picture
            continue
        event = json.loads(message.data)
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
