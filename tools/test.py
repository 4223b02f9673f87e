"""All tests with one command: `python3 tools/test.py [--host 0.30.0|0.27.0|0.18.2|all] [pytest arguments]`.

Builds the environment when it is missing (tools/setup.py), then runs pytest inside it: pure tests first, then those that import
the host, then those that talk to a running ComfyUI. The exit code is pytest's. Some arguments that are often wanted:

    -m "not server"          without a running ComfyUI          tests/models        one folder
    -k sift                  tests whose name holds "sift"      -x                  stop at the first failure
"""

import argparse
import os
import sys

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
        code = setup.run_inside(made, "-m", "pytest", *rest) or code
    return code


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
