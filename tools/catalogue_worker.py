"""What a worker of tools/catalogue.py does: a row in, a folder of files out, each exactly once.

Ray imports this file on every node of the cluster. Standard library only.
"""

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
import threading
import uuid
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

if __package__:
    from . import bundled, manifest, provision, setup
    from .client import PromptError, ServerError
    from .server import Server
else:
    import bundled
    import manifest
    import provision
    import setup
    from client import PromptError, ServerError
    from server import Server

COLUMNS = ("key", "hash", "state", "files", "reason", "row")
STARTUP_S = 900  # a node that has just joined is busy, and reads everything for the first time


@dataclass(frozen=True)
class Job:
    """What every worker is told. folder: where relative paths of pictures begin; tag: changes every hash, say for other weights."""

    output: str
    folder: str
    workflow: str = ""
    values: dict = field(default_factory=dict)
    tag: str = ""
    gpus: float = 0
    ahead: int = 2
    retries: int = 2
    timeout_s: float = 3600
    setup: tuple = ()  # (python, comfyui, base directory), or () to ask tools/setup.py on each node


# ---- a row ----------------------------------------------------------------------------------------------------------

def prepare(job: Job, text: str, workflows: dict) -> tuple[manifest.Row, bundled.Filled, str]:
    """A row (JSON) as (Row, its prompt with the pictures' bytes, its hash). Raises bundled.InputError or OSError."""
    try:
        given = json.loads(text)
    except ValueError as error:
        given = f"it is no JSON ({error})"
    row = manifest.row_of(0, given if isinstance(given, (dict, str)) else "it is no JSON object", job.workflow, job.values, Path(job.folder))
    if row.problem:
        raise bundled.InputError(row.problem)
    if row.workflow not in workflows:
        workflows[row.workflow] = bundled.load(row.workflow)
    filled = workflows[row.workflow].fill(row.values, job.folder)
    if any(isinstance(v, str) and v.startswith(bundled.ON_SERVER) for v in row.values.values()):
        raise bundled.InputError(f"a picture is named {bundled.ON_SERVER}..., and every worker has a server of its own; give the path of a file")
    pictures = {place: path.read_bytes() for place, path in filled.pictures.items()}
    return row, bundled.Filled(filled.name, filled.prompt, pictures), content_hash(filled.prompt, pictures, job.tag)


def content_hash(prompt: dict, pictures: dict, tag: str) -> str:
    """32 hex digits of a prompt, whatever its nodes are called on the screen, and of the bytes of its pictures."""
    nodes = {node: {"class_type": entry["class_type"], "inputs": dict(entry["inputs"])} for node, entry in prompt.items()}
    for (node, key), picture in pictures.items():
        nodes[node]["inputs"][key] = f"sha256:{hashlib.sha256(picture).hexdigest()}"
    return hashlib.sha256(json.dumps([tag, nodes], sort_keys=True).encode()).hexdigest()[:32]


def place(output, name: str) -> Path:
    """The folder of a row's files."""
    return Path(output) / "files" / name[:2] / name


def publish(target: Path, contents: dict) -> None:
    """Make a folder with these files, whole or not at all; one that is there already stays."""
    target.parent.mkdir(parents=True, exist_ok=True)
    made = target.parent / f".{target.name}-{uuid.uuid4().hex}{provision.PART}"
    made.mkdir()
    try:
        for name, content in contents.items():
            provision.write_atomically(made / name, content)
        os.rename(made, target)
    except OSError:
        if not target.is_dir():  # else another worker was faster with an equal row
            raise
    finally:
        shutil.rmtree(made, ignore_errors=True)


def look(job: Job, row: dict) -> dict:
    """First stage, on any CPU of the cluster: the row's hash, and whether it is done already."""
    text = row.get("text") or json.dumps({name: _plain(value) for name, value in row.items()})
    told = {"key": "", "hash": "", "state": "todo", "files": "[]", "reason": "", "row": text}
    try:
        parsed, _, told["hash"] = prepare(job, text, {})
        told["key"] = parsed.key
    except (ValueError, OSError, TypeError) as error:
        return told | {"key": _key(text), "state": "failed", "reason": str(error)}
    if place(job.output, told["hash"]).is_dir():
        return told | {"state": "found", "files": json.dumps(_files(job, told["hash"]))}
    return told


def _plain(value):
    """A Parquet cell as JSON has it."""
    value = value.item() if hasattr(value, "item") else value
    return value if value is None or isinstance(value, (str, int, float, bool)) else f"<{type(value).__name__}>"


def _key(text: str) -> str:
    with contextlib.suppress(ValueError, AttributeError):
        return str(json.loads(text).get("key", ""))
    return ""


def _files(job: Job, name: str) -> list:
    folder = place(job.output, name)
    return sorted(f"files/{name[:2]}/{name}/{path.name}" for path in folder.iterdir() if path.name != "row.json")


# ---- a worker -------------------------------------------------------------------------------------------------------

class Worker:
    """A Ray actor with one headless ComfyUI, started when the first row needs it and again when it dies."""

    def __init__(self, job: Job):
        self.job, self.server, self.scratch, self.started, self.broken = job, None, None, False, None
        self.lock, self.workflows = threading.RLock(), {}

    def __call__(self, batch: dict) -> dict:
        """Make the rows of a batch that are still to be made; columns in, columns out."""
        rows = [dict(zip(batch, values)) for values in zip(*batch.values())]
        with ThreadPoolExecutor(self.job.ahead) as pool:  # the next prompt is queued while one runs
            rows = list(pool.map(lambda row: self.make(row) if row["state"] == "todo" else row, rows))
        if self.server is not None:
            self._empty()
        return {name: [row[name] for row in rows] for name in COLUMNS}

    def make(self, row: dict) -> dict:
        """One row; its failure is its own."""
        for attempt in range(self.job.retries + 1):
            try:
                parsed, filled, name = prepare(self.job, row["row"], self.workflows)
                row = row | {"hash": name}
                target, state = place(self.job.output, name), "found"
                if not target.is_dir():  # not by another worker meanwhile, nor by a batch that Ray repeats
                    publish(target, self._made(parsed, filled))
                    state = "made"
                return row | {"state": state, "files": json.dumps(_files(self.job, name))}
            except ServerError as error:
                if self.broken is not None:  # no row will fare better
                    raise
                reason = f"given up after {attempt + 1} attempts: {error}"
            except TimeoutError as error:
                with self.lock:
                    self._stop()  # whatever holds it up
                reason = str(error)
            except (ValueError, PromptError, OSError) as error:
                return row | {"state": "failed", "reason": str(error)}
        return row | {"state": "failed", "reason": reason}

    def _made(self, row: manifest.Row, filled: bundled.Filled) -> dict:
        client = self._running().client
        prompt = filled.upload(client)
        unique = uuid.uuid4().hex  # else ComfyUI's cache may name a file of an earlier row, which is removed
        for node in prompt.values():
            if node["class_type"] == "SaveImage":
                node["inputs"]["filename_prefix"] = unique
        history = client.run(prompt, timeout=self.job.timeout_s)
        named = bundled.name_results(filled.name, *client.results(history))
        contents = {name: file if isinstance(file, str) else client.download(file) for name, file in named.items()}
        pictures = {f"{node}.{key}": hashlib.sha256(data).hexdigest() for (node, key), data in filled.pictures.items()}
        about = {"workflow": row.workflow, "values": row.values, "pictures": pictures, "tag": self.job.tag}
        return contents | {"row.json": json.dumps(about, indent=1, default=str) + "\n"}

    # ---- its ComfyUI ----

    def _running(self):
        with self.lock:
            if self.server is not None and (self.server.process is None or self.server.process.poll() is not None):
                self._stop()
            if self.broken is not None:
                raise self.broken
            if self.server is None:
                try:
                    self.server = self._start()
                except (ServerError, provision.SetupError) as error:
                    shutil.rmtree(self.scratch or "", ignore_errors=True)
                    self.broken = None if self.started else error  # it has never run here: a fault of the installation
                    raise
                self.started = True
            return self.server

    def _start(self):
        _sweep()
        made = setup.Setup(*self.job.setup) if self.job.setup else setup.ensure()
        self.scratch = Path(tempfile.mkdtemp(prefix=f"fitting-room-worker-{os.getpid()}-"))
        for name in ("input", "output"):  # of its own: two servers would read what the other is still writing
            (self.scratch / name).mkdir()
        return Server(made.python, made.comfyui, made.base_directory, cpu=not self.job.gpus, input_directory=self.scratch / "input",
                      output_directory=self.scratch / "output", startup_s=STARTUP_S, scratch_directory=self.scratch).start()

    def _stop(self) -> None:
        server, self.server = self.server, None
        if server is not None:
            server.stop()
            shutil.rmtree(self.scratch, ignore_errors=True)

    def _empty(self) -> None:
        """Remove what the batch sent and what it made: a run of millions would fill the disk."""
        self.server.client.forget_uploads()
        for name in ("input", "output"):
            for path in (self.scratch / name).iterdir():
                shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)

    def __del__(self):
        self._stop()


def _sweep() -> None:
    """Remove the scratch folders of workers that were killed on this machine."""
    for left in Path(tempfile.gettempdir()).glob("fitting-room-worker-*") if os.name == "posix" else ():
        try:
            os.kill(int(left.name.split("-")[3]), 0)
        except ProcessLookupError:
            shutil.rmtree(left, ignore_errors=True)
        except (ValueError, OSError):
            continue
