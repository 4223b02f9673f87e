"""Many rows through one or several ComfyUI servers, each row once: what `tools/client.py manifest` runs.

    summary = run("rows.csv", "results", ["http://127.0.0.1:8188", "http://127.0.0.1:8189"], workflow="try_on")

A row of a CSV or JSONL file is a set of parameters of a bundled workflow. Two columns have a meaning of their own: `workflow` (one
for all rows may be given instead) and `key`, which names the results; columns that begin with _ are the user's. In the output
folder: KEY.png (or what the workflow makes), journal.jsonl (every step of every row, from which a later run goes on) and
failures.jsonl (the rows that are not done, each with its reason; absent when all are). Standard library only.
"""

import collections
import csv
import errno
import hashlib
import json
import random
import re
import sys
import threading
import time
import uuid
from dataclasses import dataclass, field
from pathlib import Path

if __package__:
    from . import bundled, provision
    from .client import Client, PromptError, ServerError
    from .journal import Journal
else:
    import bundled
    import provision
    from client import Client, PromptError, ServerError
    from journal import Journal


@dataclass
class Row:
    """One row. number: from 1; values: parameters; problem: why it cannot run; attempts: how often a server was lost over it."""

    number: int
    key: str
    workflow: str
    values: dict
    problem: str = ""
    digest: str = ""
    server: str = ""
    prompt_id: str = ""
    attempts: int = 0


@dataclass
class Summary:
    """What a run did: rows made now, rows that were there already, and {row: reason} for the rest."""

    made: int = 0
    already: int = 0
    failures: list = field(default_factory=list)


def run(path, output, servers, *, workflow: str = "", values: dict | None = None, ahead: int = 2, retries: int = 3, patience_s: float = 60,
        timeout_s: float = 3600, headers: dict | None = None, report=None) -> Summary:
    """Run every row of a manifest that is not done yet; returns when all rows are done or have a reason why not.

    servers: URLs. workflow, values: for every row; a row's own win. ahead: prompts given to a server at a time, so that it never
    waits for us. retries: how often a row may lose its server. patience_s: how long a server may be away before it is given up.
    timeout_s: for one row. report: called with (row, state, detail) at every change. Raises bundled.InputError for a manifest that
    cannot be read, and provision.SetupError when another run works on the same output folder.
    """
    path, output = Path(path), Path(output)
    rows = read_rows(path, workflow, values or {})
    output.mkdir(parents=True, exist_ok=True)
    with provision.Lock(output / ".lock", refuse=f"another run writes to {output}; let it end, or choose another output folder"):
        for left in output.glob(f".*{provision.PART}"):  # of a killed run
            left.unlink()
        return Runner(rows, path.parent, output, [*dict.fromkeys(s.rstrip("/") for s in servers)], ahead, retries, patience_s, timeout_s,
                      headers, report or (lambda *_: None)).run()


# ---- rows -----------------------------------------------------------------------------------------------------------

def read_rows(path: Path, workflow: str = "", values: dict | None = None) -> list[Row]:
    """The rows of a .csv or .jsonl file; a broken one has a `problem`. An empty cell is a value that is not given."""
    readers = {".csv": _csv_rows, ".jsonl": _json_rows}
    if path.suffix.lower() not in readers:
        raise bundled.InputError(f"{path} is no manifest: its name must end in {' or '.join(readers)}")
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            given = list(readers[path.suffix.lower()](file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise bundled.InputError(f"the manifest {path} cannot be read ({error})") from error
    if not given:
        raise bundled.InputError(f"the manifest {path} has no rows")
    rows, seen = [], {}
    for number, row in enumerate(given, 1):
        row = row_of(number, row, workflow, values or {}, path.parent)
        same = row.key.casefold()  # as file systems that do not tell A from a see it
        if same in seen:
            row.problem = f"the key {row.key!r} is row {seen[same]}'s already; give every row its own `key`"
            row.key = f"{row.key}.row{number}"
        seen.setdefault(same, number)
        rows.append(row)
    return rows


def _csv_rows(file):
    for row in csv.DictReader(file):
        if None in row:
            yield f"it has {len(row[None])} cells more than the first line has names"
        else:
            yield {name.strip(): cell for name, cell in row.items() if cell not in (None, "")}


def _json_rows(file):
    for line in file:
        if line.strip():
            try:
                row = json.loads(line)
            except ValueError as error:
                row = f"it is no JSON ({error})"
            yield row if isinstance(row, (dict, str)) else "it is no JSON object"


def row_of(number: int, given, workflow: str, values: dict, folder: Path) -> Row:
    """A row from what a reader gave: a dict of columns, or a sentence that says why it is none."""
    if isinstance(given, str):
        return Row(number, f"row.{number}", workflow, {}, given)
    own = {name: value for name, value in given.items() if not name.startswith("_") and value is not None}
    name, key = str(own.pop("workflow", workflow)), str(own.pop("key", ""))
    merged = {**values, **own}
    text = json.dumps([name, merged], sort_keys=True, default=str)
    safe = re.sub(r"[^\w-]+", "_", key)[:100] if key else hashlib.sha256(text.encode()).hexdigest()[:16]
    if key and safe != key:  # two keys never become one file
        safe = f"{safe}-{hashlib.sha256(key.encode()).hexdigest()[:8]}"
    sizes = [(folder / v).stat().st_size for v in merged.values() if isinstance(v, str) and 0 < len(v) < 1024 and "\0" not in v and _is_file(folder / v)]
    digest = hashlib.sha256(f"{text}{sizes}".encode()).hexdigest()[:32]  # another size is another picture
    return Row(number, safe, name, merged, "" if name else "it names no workflow; add a column `workflow`, or give one for all rows", digest)


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # a text that is no path at all
        return False


# ---- servers --------------------------------------------------------------------------------------------------------

def wait_for(client: Client, patience_s: float, stopped=lambda: False) -> bool:
    """Whether a server answers within that time; asks ever more rarely, at random moments so that many clients do not ask at once."""
    end, pause = time.monotonic() + patience_s, 0.25
    while not stopped():
        try:
            client.get("/system_stats", timeout=10)
            return True
        except (ServerError, PromptError):
            left = end - time.monotonic()
            if left <= 0:
                return False
            time.sleep(min(pause * random.uniform(0.5, 1), left))
            pause = min(2 * pause, 10)
    return False


class Runner:
    """The rows of one run, handed to `ahead` threads per server."""

    def __init__(self, rows, folder: Path, output: Path, servers: list, ahead: int, retries: int, patience_s: float, timeout_s: float, headers, report):
        self.rows, self.folder, self.output, self.servers = rows, folder, output, servers
        self.ahead, self.retries, self.patience_s, self.timeout_s = ahead, retries, patience_s, timeout_s
        self.headers, self.report = headers, report
        self.summary, self.journal = Summary(), Journal(output / "journal.jsonl")
        self._workflows: dict[str, bundled.Workflow] = {}
        self._waiting: dict[str, collections.deque] = {server: collections.deque() for server in ("", *servers)}  # "": for any server
        self._busy, self._change = 0, threading.Condition()
        self._reasons: dict[int, str] = {}

    def run(self) -> Summary:
        """Run all rows; writes failures.jsonl in any case, also when it is interrupted."""
        try:
            for row in self.rows:
                self._sort(row)
            threads = [threading.Thread(target=self._serve, args=(server,), daemon=True) for server in self.servers for _ in range(self.ahead)]
            for thread in threads:
                thread.start()
            for thread in threads:
                while thread.is_alive():  # a join without a limit would not let Ctrl-C in
                    thread.join(0.2)
        finally:
            self.report = lambda *_: None  # threads of an interrupted run have nothing more to say
            self.journal.close()
            with self._change:
                self._write_failures()
        return self.summary

    def _sort(self, row: Row) -> None:
        """Leave out what is done; give a row that a server may have at work to that server."""
        last = self.journal.last.get(row.key, {})
        if row.problem:
            self._fail(row, row.problem)
        elif last.get("state") == "done" and last.get("digest") == row.digest and all((self.output / name).is_file() for name in last["files"]):
            self.summary.already += 1
            self.report(row, "already", "")
        else:
            if last.get("digest") == row.digest and last.get("server") in self.servers:
                row.server, row.prompt_id = last["server"], last["prompt_id"]
            self._waiting[row.server].append(row)

    # ---- threads ----

    def _serve(self, server: str) -> None:
        client = Client(server, headers=self.headers)
        ready = wait_for(client, self.patience_s, self._over)
        while ready and (row := self._next(server)) is not None:
            try:
                self._do(client, row)
            except ServerError as error:
                client.forget_uploads()
                self._hand_back(row, error)
                self.report(row, "lost", str(error))
                ready = wait_for(client, self.patience_s, self._over)
            finally:
                with self._change:
                    self._busy -= 1
                    self._change.notify_all()
        with self._change:  # what was kept for this server is anybody's now
            self._waiting[""].extend(self._waiting[server])
            self._waiting[server].clear()
            self._change.notify_all()

    def _next(self, server: str):
        with self._change:
            while True:
                for queue in (self._waiting[server], self._waiting[""]):
                    if queue:
                        self._busy += 1
                        return queue.popleft()
                if not self._busy and not any(self._waiting.values()):
                    return None
                self._change.wait(1.0)  # another server may lose its row, or be given up with the rows kept for it

    def _over(self) -> bool:
        with self._change:
            return not self._busy and not any(self._waiting.values())

    def _hand_back(self, row: Row, error) -> None:
        row.attempts += 1
        if row.attempts > self.retries:
            self._fail(row, f"given up after {row.attempts} attempts: {error}")
        else:
            with self._change:
                self._waiting[""].appendleft(row)

    # ---- one row ----

    def _do(self, client: Client, row: Row) -> None:
        try:
            with self._change:
                if row.workflow not in self._workflows:
                    self._workflows[row.workflow] = bundled.load(row.workflow)
            filled = self._workflows[row.workflow].fill(row.values, self.folder)
            if self._at_work(client, row):
                history = client.wait(row.prompt_id, timeout=self.timeout_s)
            else:
                row.server, row.prompt_id = client.url, str(uuid.uuid4())
                prompt = filled.upload(client)
                # Written before it is sent: after a crash the server is asked for it before the row is sent again.
                self.journal.write(row.key, "queued", digest=row.digest, server=row.server, prompt_id=row.prompt_id)
                self.report(row, "queued", client.url)
                history = client.run(prompt, timeout=self.timeout_s, prompt_id=row.prompt_id)
            self._keep(client, row, history)
        except TimeoutError as error:
            client.interrupt(row.prompt_id)
            self._fail(row, str(error))
        except (bundled.InputError, PromptError, OSError) as error:
            full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
            self._fail(row, f"the disk is full ({error}); free some space and run this again" if full else str(error))

    def _at_work(self, client: Client, row: Row) -> bool:
        """Whether this server has the row's prompt waiting, running or well done (of an earlier run, or before the line broke)."""
        if not row.prompt_id or row.server != client.url or not client.knows(row.prompt_id):
            return False
        status = client.history(row.prompt_id).get("status")
        return not status or status.get("status_str") == "success"

    def _keep(self, client: Client, row: Row, history: dict) -> None:
        found = bundled.name_results(row.key, *client.results(history))
        for name, file in found.items():
            provision.write_atomically(self.output / name, file if isinstance(file, str) else client.download(file))
        self.journal.write(row.key, "done", digest=row.digest, files=list(found))
        with self._change:
            self.summary.made += 1
        self.report(row, "done", ", ".join(found))
        try:
            client.forget(row.prompt_id)  # a server keeps ten thousand histories otherwise
        except (ServerError, PromptError):
            pass  # the row is done, whatever becomes of the server

    def _fail(self, row: Row, reason: str) -> None:
        self._reasons[row.number] = reason
        try:
            self.journal.write(row.key, "failed", digest=row.digest, server=row.server, prompt_id=row.prompt_id, reason=reason)
        except OSError:  # the disk is full: failures.jsonl, or the terminal, will say it
            pass
        self.report(row, "failed", reason)

    def _write_failures(self) -> None:
        for row in [row for queue in self._waiting.values() for row in queue]:
            self._reasons[row.number] = "not done yet: no server answered" if not self._busy else "not done yet: the run was stopped"
        failed = [{"row": row.number, "key": row.key, "reason": self._reasons[row.number], "workflow": row.workflow, "values": row.values}
                  for row in self.rows if row.number in self._reasons]
        self.summary.failures = failed
        path = self.output / "failures.jsonl"
        try:
            if failed:
                provision.write_atomically(path, "".join(json.dumps(row, default=str) + "\n" for row in failed))
            else:
                path.unlink(missing_ok=True)
        except OSError as error:
            print(f"{path} could not be written ({error}); these rows are not done:", *(f"  row {row['row']}: {row['reason']}" for row in failed),
                  sep="\n", file=sys.stderr)
