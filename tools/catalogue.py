"""Millions of rows through ComfyUI on a Ray cluster: every worker has a headless ComfyUI of its own, on a GPU or on the CPU.

    python3 tools/catalogue.py rows.parquet --workflow try_on --output /shared/results --workers 1:8

Rows (.parquet, .csv, .jsonl; a file or a folder of them) are parameters of a bundled workflow, as in tools/manifest.py. Ray Data
streams them, starts workers while there is work, and repeats what a lost worker had in hand. In the output folder, which every node
of the cluster sees:

    files/ab/abcd.../     what one row made, and row.json; the name is the hash of the workflow, its parameters and the pictures' bytes
    results.parquet       every row: key, hash, state (made, found, failed), files, reason
    failures.parquet      the failed ones, as they were given, with the reason; absent when there are none

A row whose folder exists is done; a folder appears whole or not at all. So the same command goes on after any crash, does failed
rows again, and two rows that are equal are made once. Needs the extra `scale`; docs/catalogue.md says how to size a run.
"""

import argparse
import contextlib
import csv
import json
import os
import shutil
import sys
import time
from pathlib import Path

if __package__:
    from . import bundled, headless, provision
    from .catalogue_worker import COLUMNS, Job, Worker, look
else:
    import bundled
    import headless
    import provision
    from catalogue_worker import COLUMNS, Job, Worker, look

TOOLS = str(Path(__file__).resolve().parent)
ABANDONED_S = 24 * 3600  # a part that old belongs to no worker any more


def read(ray, rows: Path):
    """The rows as a Ray data set, lazily. A line of text that is no row stays one and fails alone."""
    kinds = (".parquet", ".csv", ".jsonl")
    files = sorted(path for path in rows.iterdir() if path.suffix.lower() in kinds) if rows.is_dir() else [rows]
    found = {path.suffix.lower() for path in files}
    if len(found) != 1 or not found <= set(kinds) or not all(path.is_file() for path in files):
        raise bundled.InputError(f"{rows} must be a .parquet, .csv or .jsonl file that exists, or a folder of one kind of them")
    paths = [str(path.resolve()) for path in files]
    if found == {".parquet"}:
        return ray.data.read_parquet(paths)
    lines = ray.data.read_text(paths)
    if found == {".jsonl"}:
        return lines
    with open(files[0], encoding="utf-8-sig", newline="") as file:
        header = next(csv.reader(file), [])
    return lines.flat_map(lambda row: csv_line(row["text"], header))


def csv_line(line: str, header: list) -> list:
    """A line of CSV as a JSON row; the line that names the columns as none. A cell holds no line break."""
    cells = next(csv.reader([line.lstrip("\ufeff")]), [])
    if cells == header:
        return []
    if len(cells) != len(header):
        return [{"text": json.dumps(f"it has {len(cells)} cells, and the first line names {len(header)}: {line[:200]}")}]
    return [{"text": json.dumps({name.strip(): cell for name, cell in zip(header, cells) if cell})}]


def run(ray, rows: Path, job: Job, workers: tuple[int, int], batch: int, cpus: float, report) -> dict:
    """Run a catalogue on the cluster that `ray` is connected to; returns how many rows were made, found and failed.

    workers: (at least, at most); batch: rows given to a worker at a time; cpus: that Ray sets aside for each; report: called with
    the counts so far after every row.
    """
    output = Path(job.output)
    output.mkdir(parents=True, exist_ok=True)
    for left in output.glob(f"files/*/.*{provision.PART}"):
        if time.time() - left.stat().st_mtime > ABANDONED_S:
            shutil.rmtree(left, ignore_errors=True)
    ray.data.DataContext.get_current().enable_progress_bars = False
    data = read(ray, rows).map(lambda row: look(job, row)).repartition(target_num_rows_per_block=batch).map_batches(
        Worker, batch_size=batch, batch_format="numpy", compute=ray.data.ActorPoolStrategy(min_size=workers[0], max_size=workers[1]),
        fn_constructor_args=(job,), num_cpus=cpus, num_gpus=job.gpus or None)
    counts = dict.fromkeys(("made", "found", "failed"), 0)
    with table(output / "results.parquet") as results, table(output / "failures.parquet") as failures:
        for row in data.iter_rows():
            counts[row["state"]] += 1
            results(row)
            if row["state"] == "failed":
                failures(row)
            report(counts, row)
    if not counts["failed"]:
        (output / "failures.parquet").unlink()
    return counts


@contextlib.contextmanager
def table(path: Path, chunk: int = 1000):
    """A function that adds a row to a Parquet file, which takes its name when the block ends well."""
    import pyarrow
    import pyarrow.parquet

    text = pyarrow.string()
    schema = pyarrow.schema([(name, pyarrow.list_(text) if name == "files" else text) for name in COLUMNS])
    made, rows = path.with_name(f".{path.name}{provision.PART}"), []

    def flush():
        writer.write_table(pyarrow.Table.from_pylist(rows, schema))
        rows.clear()

    def add(row):
        rows.append({name: json.loads(row[name]) if name == "files" else row[name] for name in COLUMNS})
        if len(rows) >= chunk:
            flush()

    with pyarrow.parquet.ParquetWriter(made, schema) as writer:
        yield add
        flush()
    os.replace(made, path)


def main(argv=None) -> int:
    """The command line; see the head of this file."""
    options = _parser().parse_args(argv)
    try:
        import pyarrow.parquet  # noqa: F401
        import ray
        import ray.data
    except ImportError as error:
        return _stopped(f"{error}; install the extra `scale` (pip install 'ray[data]' pyarrow), or use the Python of `python3 tools/setup.py --extras scale`")
    given = [os.environ.get(name) for name in ("FITTING_ROOM_COMFYUI", "FITTING_ROOM_BASE")]
    try:
        _connect(ray, options)
        gpus = options.gpus if options.gpus is not None else float(ray.cluster_resources().get("GPU", 0) > 0)
        folder = options.folder or (options.rows if options.rows.is_dir() else options.rows.parent)
        workflow = str(Path(options.workflow).resolve()) if Path(options.workflow).is_file() else options.workflow
        job = Job(str(options.output.resolve()), str(folder.resolve()), workflow, dict(options.set), options.tag, gpus, options.ahead, options.retries,
                  options.timeout, (sys.executable, *given) if all(given) else ())
        lines = Lines()
        counts = run(ray, options.rows, job, options.workers, options.batch, options.cpus, lines.report)
    except (bundled.InputError, OSError, ray.exceptions.RayError) as error:
        return _stopped(str(error).strip().splitlines()[-1])
    except KeyboardInterrupt:
        return _stopped("interrupted; the same command goes on from here")
    finally:
        ray.shutdown()
    print(json.dumps(counts))
    if counts["failed"]:
        print(f"{counts['failed']} rows failed; {options.output / 'failures.parquet'} says why, and the same command tries them again", file=sys.stderr)
    return 1 if counts["failed"] else 0


def _connect(ray, options) -> None:
    """Join the cluster at --address, or start one on this machine that ends with this process."""
    path = os.pathsep.join(filter(None, (TOOLS, os.environ.get("PYTHONPATH"))))  # this folder lies at the same place on every node
    shared = {"runtime_env": {"env_vars": {"PYTHONPATH": path}}, "log_to_driver": options.verbose}
    try:
        if options.address:
            ray.init(address=options.address, **shared)
        else:
            cpus = max(os.cpu_count() or 1, int(options.workers[1] * options.cpus) + 2)  # two for reading and hashing
            ray.init(num_cpus=cpus, include_dashboard=False, _node_ip_address="127.0.0.1", **shared)
    except Exception as error:  # Ray raises what it likes here
        raise OSError(f"there is no Ray cluster ({str(error).strip().splitlines()[-1]}); on a busy machine try again") from error


def _stopped(reason: str) -> int:
    print(f"stopped: {reason}", file=sys.stderr)
    return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False)
    parser.add_argument("rows", type=Path, help="a .parquet, .csv or .jsonl file, or a folder of them")
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="a folder that every node sees")
    parser.add_argument("--workflow", default="", help="for rows that name none")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", type=headless.pair, help="a parameter of every row that does not give it")
    parser.add_argument("--folder", type=Path, metavar="DIR", help="where relative paths of pictures begin (the folder of the rows)")
    parser.add_argument("--workers", type=_range, default=(1, 1), metavar="N or MIN:MAX", help="ComfyUIs at a time (1)")
    parser.add_argument("--gpus", type=float, metavar="N", help="GPUs per worker (1 where the cluster has any, else 0: on the CPU)")
    parser.add_argument("--cpus", type=float, default=1, metavar="N", help="CPU cores that Ray sets aside per worker (1)")
    parser.add_argument("--batch", type=int, default=8, metavar="N", help="rows given to a worker at a time, and repeated when it is lost (8)")
    parser.add_argument("--ahead", type=int, default=2, metavar="N", help="prompts given to a ComfyUI at a time (2)")
    parser.add_argument("--retries", type=int, default=2, metavar="N", help="how often a row may lose its ComfyUI (2)")
    parser.add_argument("--timeout", type=float, default=3600, metavar="S", help="seconds that one row may take (3600)")
    parser.add_argument("--tag", default="", help="part of every hash: give another one after changing weights on disk")
    parser.add_argument("--address", default="", help="of a running Ray cluster, or auto (without it one is started here)")
    parser.add_argument("--verbose", action="store_true", help="show what the workers print")
    return parser


def _range(text: str) -> tuple[int, int]:
    low, _, high = text.partition(":")
    if not 1 <= int(low) <= int(high or low):
        raise argparse.ArgumentTypeError(f"{text!r} must be a number from 1, or MIN:MAX")
    return int(low), int(high or low)


class Lines:
    """The progress of a catalogue: a line every few seconds, and the first failures in words."""

    def __init__(self, every_s: float = 5, told: int = 10):
        self.every_s, self.told, self.start, self.last = every_s, told, time.monotonic(), 0.0

    def report(self, counts: dict, row: dict) -> None:
        """Take note of one row."""
        if row["state"] == "failed" and counts["failed"] <= self.told:
            print(f"failed: {row['key']}: {row['reason']}", file=sys.stderr, flush=True)
        spent = time.monotonic() - self.start
        if spent - self.last >= self.every_s:
            self.last = spent
            words = ", ".join(f"{number} {state}" for state, number in counts.items())
            print(f"{words}; {counts['made'] / spent:.2f} made per second", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
