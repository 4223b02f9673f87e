"""All tests with one command: `python3 tools/test.py [--host 0.30.0|0.27.0|0.18.2|all] [pytest arguments]`.

Builds the environment when it is missing (tools/setup.py), then runs pytest inside it: pure tests first, then those that import
the host, then those that talk to a running ComfyUI. Without arguments, on two cores or more, the last ones run beside the others, and what
they print comes after them. The exit code is pytest's. Some arguments that are often wanted:

    -m "not server"          without a running ComfyUI          tests/models        one folder
    -k sift                  tests whose name holds "sift"      -x                  stop at the first failure
"""

import argparse
import os
import subprocess
import sys
import tempfile

if __package__:
    from . import provision, setup
else:
    import provision
    import setup


def main(argv=None) -> int:
    """The command line; see the head of this file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False)
    parser.add_argument("--host", help="ComfyUI's version, or all (without it: COMFYUI_PATH, or the newest)")
    parser.add_argument("--extras", default="", help="comma-separated extras of pyproject.toml, for the tests that need them: scale")
    args, rest = parser.parse_known_args(argv)
    # The tests' networks are so small that a second thread costs more than it gives, and many times more on a busy machine.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    code = 0
    for host in setup.HOSTS if args.host == "all" else (args.host,):
        try:
            made = setup.ensure(host, [name.strip() for name in args.extras.split(",") if name.strip()])
        except provision.SetupError as error:
            provision.note(f"stopped: {error}")
            return 1
        provision.note(f"testing with {made.comfyui}")
        code = run(made, parts(rest, cores())) or code
    return code


def cores() -> int:
    """How many this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def parts(arguments, available: int) -> list[list[str]]:
    """The arguments of each pytest that is to run: one, or two side by side. Who chooses tests gets one."""
    return [["-m", "not server"], ["-m", "server"]] if available > 1 and not arguments else [list(arguments)]


def run(made, chosen: list[list[str]]) -> int:
    """Run the first here, the others beside it; returns 0 where all of them did, else the last other code."""
    beside = []
    try:
        for arguments in chosen[1:]:
            said = tempfile.TemporaryFile()
            beside.append((subprocess.Popen([made.python, "-m", "pytest", *arguments], cwd=setup.ROOT, env=setup.environ(made), stdout=said, stderr=subprocess.STDOUT), said))
        code = setup.run_inside(made, "-m", "pytest", *chosen[0])
        for process, said in beside:
            code = process.wait() or code
            said.seek(0)
            sys.stdout.flush()
            sys.stdout.buffer.write(said.read())
            sys.stdout.flush()
        return code
    finally:
        for process, said in beside:
            if process.poll() is None:
                process.terminate()
                process.wait()
            said.close()


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
