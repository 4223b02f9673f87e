"""The command line of tools/client.py: bundled workflows without a browser, on any ComfyUI that answers. Standard library only.

    python3 tools/client.py list
    python3 tools/client.py params dress_two_garments
    python3 tools/client.py run dress_two_garments --set upper_image=shirt.png --set lower_image=jeans.png --set seed=3
    python3 tools/client.py manifest rows.csv --workflow try_on --output results --server http://127.0.0.1:8188 --server ...

docs/headless.md says more. Exit code 0: everything is done; 1: something is not, and why was said; 2: wrong arguments.
"""

import argparse
import json
import os
import shutil
import sys
import time
import uuid
from pathlib import Path

if __package__:
    from . import bundled, manifest, provision
    from .client import Client, PromptError, ServerError
else:
    import bundled
    import manifest
    import provision
    from client import Client, PromptError, ServerError

SERVER = "http://127.0.0.1:8188"


def main(argv=None) -> int:
    """The command line; see the head of this file."""
    options = _parser().parse_args(argv)
    try:
        return options.act(options)
    except BrokenPipeError:  # whoever reads our output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (bundled.InputError, PromptError, ServerError, provision.SetupError, ValueError, OSError) as error:
        _say(f"stopped: {error}")
        return 1
    except KeyboardInterrupt:
        _say("interrupted")
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="client.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    listed = commands.add_parser("list", help="the bundled workflows")
    listed.set_defaults(act=_list)
    params = commands.add_parser("params", help="what a workflow lets you set")
    params.add_argument("workflow")
    params.add_argument("--json", action="store_true", help="as JSON")
    params.set_defaults(act=_params)

    shared = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    shared.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", type=pair, help="a parameter, or NODE.INPUT; may be repeated")
    shared.add_argument("--output", default=".", type=Path, metavar="DIR", help="where the results go (here)")
    shared.add_argument("--header", action="append", default=[], metavar="NAME=VALUE", type=pair, help="sent with every request, for a server behind a proxy")
    shared.add_argument("--timeout", type=float, default=3600, metavar="S", help="seconds that one prompt may take (3600)")
    shared.add_argument("--retries", type=int, default=3, metavar="N", help="how often a prompt may lose its server (3)")
    shared.add_argument("--patience", type=float, default=60, metavar="S", help="seconds that a server may be away before it is given up (60)")
    run = commands.add_parser("run", parents=[shared], help="one workflow, once")
    run.add_argument("workflow", help="a name from `list`, or the path of an API-format JSON")
    run.add_argument("--server", default=SERVER, metavar="URL", help=f"({SERVER})")
    run.set_defaults(act=_run)
    many = commands.add_parser("manifest", parents=[shared], help="every row of a .csv or .jsonl file, each once")
    many.add_argument("manifest", type=Path)
    many.add_argument("--workflow", default="", help="for rows that name none")
    many.add_argument("--server", action="append", metavar="URL", help=f"({SERVER}); repeat it for several")
    many.add_argument("--ahead", type=_positive, default=2, metavar="N", help="prompts given to a server at a time (2)")
    many.set_defaults(act=_manifest)
    return parser


def pair(text: str) -> tuple[str, str]:
    """NAME=VALUE of a command line."""
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise argparse.ArgumentTypeError(f"{text!r} must look like NAME=VALUE")
    return name, value


def _positive(text: str) -> int:
    if int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} must be at least 1")
    return int(text)


# ---- commands -------------------------------------------------------------------------------------------------------

def _list(options) -> int:
    about = json.loads((bundled.API / "params.json").read_text(encoding="utf-8"))
    width = max(map(len, about))
    for name in bundled.names():
        print(f"{name:{width}}  {about[name]['description']}")
    return 0


def _params(options) -> int:
    workflow = bundled.load(options.workflow)
    if options.json:
        print(json.dumps(workflow.params, indent=1))
        return 0
    print(workflow.description)
    for name, param in workflow.params.items():
        default = "(a picture)" if param["type"] == "IMAGE FILE" else json.dumps(param["default"])
        print(f"  {name:24} {param['type']:10} {default:24} {param['meaning']}")
    return 0


def _run(options) -> int:
    filled = bundled.load(options.workflow).fill(dict(options.set))
    client, bar = Client(options.server, headers=dict(options.header)), Bar()
    titles = {node: entry.get("_meta", {}).get("title") or entry["class_type"] for node, entry in filled.prompt.items()}
    prompt_id = str(uuid.uuid4())
    client.get("/system_stats")  # away from the start: said at once
    try:
        for attempt in range(options.retries + 1):
            try:
                history = client.run(filled.upload(client), lambda node, step, steps: bar.show(step, steps, titles.get(str(node), "")),
                                     options.timeout, prompt_id)
                found = bundled.name_results(filled.name, *client.results(history))
                contents = {name: file.encode() if isinstance(file, str) else client.download(file) for name, file in found.items()}
                break
            except ServerError as error:
                _say(f"{error}; trying again")
                client.forget_uploads()
                if attempt == options.retries or not manifest.wait_for(client, options.patience):
                    raise
    except (KeyboardInterrupt, TimeoutError):
        client.interrupt(prompt_id)
        raise
    finally:
        bar.end()
    options.output.mkdir(parents=True, exist_ok=True)
    for name, content in contents.items():
        provision.write_atomically(options.output / name, content)
        print(options.output / name)
    return 0


def _manifest(options) -> int:
    rows = len(manifest.read_rows(options.manifest, options.workflow, dict(options.set)))
    lines = Lines(rows)
    try:
        summary = manifest.run(options.manifest, options.output, options.server or [SERVER], workflow=options.workflow, values=dict(options.set),
                               ahead=options.ahead, retries=options.retries, patience_s=options.patience, timeout_s=options.timeout,
                               headers=dict(options.header), report=lines.report)
    except KeyboardInterrupt:
        lines.bar.end()
        _say("stopped; what is queued goes on there, and the same command fetches it and does the rest")
        return 130
    lines.bar.end()
    _say(f"{rows} rows: {summary.made} made now, {summary.already} there already, {len(summary.failures)} not done")
    if summary.failures:
        _say(f"why: {options.output / 'failures.jsonl'}; the same command does these rows again, and no other")
    return 1 if summary.failures else 0


# ---- what a person sees ---------------------------------------------------------------------------------------------

def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


class Bar:
    """One line of a terminal that fills; silent where stderr is no terminal."""

    def __init__(self):
        self.shown = sys.stderr.isatty()

    def show(self, step: float, steps: float, text: str) -> None:
        """Draw the line again."""
        if self.shown:
            room, full = shutil.get_terminal_size().columns - 1, int(24 * step / max(steps, 1))
            line = f"[{'#' * full}{'.' * (24 - full)}] {step:g}/{steps:g} {text}"
            sys.stderr.write(f"\r{line[:room]:{room}}")
            sys.stderr.flush()

    def end(self) -> None:
        """Leave the line."""
        if self.shown:
            sys.stderr.write("\n")


class Lines:
    """The progress of a manifest: a bar on a terminal, a line for every row that ended elsewhere."""

    def __init__(self, rows: int):
        self.rows, self.ended, self.made, self.failed, self.bar, self.start = rows, 0, 0, 0, Bar(), time.monotonic()

    def report(self, row, state: str, detail: str) -> None:
        """Take note of one change of one row."""
        self.ended += state in ("done", "already", "failed")
        self.made += state == "done"
        self.failed += state == "failed"
        left, spent = self.rows - self.ended, time.monotonic() - self.start
        rest = f", about {spent / self.made * left / 60:.0f} min left" if self.made and left else ""
        if state in ("failed", "lost") or (not self.bar.shown and state == "done"):
            _say(f"{os.linesep if self.bar.shown else ''}row {row.number} ({row.key}): {state}: {detail}")
        self.bar.show(self.ended, self.rows, f"rows, {self.failed} failed{rest}")
