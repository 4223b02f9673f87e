"""Train and measure a paper's ablation on the drawn world: `python3 tools/ablation.py igr --seeds 3`.

Writes <output>/<ablation>.json after every row (stop it and it goes on where it was), pictures of the first seed, and the report with its figures.
`python3 tools/ablation.py list` says what there is, `all` runs every ablation, `demo` measures the bundled demo weights (nothing is trained: one seed, such as
`demo --seeds 1 --held-out 256`), `report` only writes the report again. Needs the extra `eval` for figures.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

if __package__:
    from . import pack
else:
    import pack


def arguments(given: list[str] | None = None) -> argparse.Namespace:
    """What the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ablation", help="its name, several separated by commas, or list, all, demo, report")
    parser.add_argument("--seeds", type=int, default=3, help="how many seeds of training")
    parser.add_argument("--variants", default="", help="only these rows, separated by semicolons")
    parser.add_argument("--steps", type=int, default=900, help="optimizer steps of the first stage")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--samples", type=int, default=3000, help="drawn samples to learn from")
    parser.add_argument("--held-out", type=int, default=64, help="drawn samples to measure on")
    parser.add_argument("--sampling-steps", type=int, default=20)
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="another training setting of every variant, such as learning_rate=3e-4 (TOML values)")
    parser.add_argument("--precision", default="fp32", choices=["fp32", "bf16"])
    parser.add_argument("--output", type=Path, default=pack.ROOT / "evaluation" / "report")
    parser.add_argument("--cache", type=Path, help="folder of kept encodings, shared by all variants (default: in the system's temporary folder)")
    parser.add_argument("--no-report", action="store_true", help="only the JSON files")
    parser.add_argument("--cpu", action="store_true", help="on the processor")
    return parser.parse_args(given)


def changes(given: list[str]) -> dict:
    """Settings from --set, parsed as TOML.

    Raises:
        ValueError: one that is not NAME=VALUE.
    """
    import tomllib

    out = {}
    for text in given:
        name, sign, value = text.partition("=")
        if not sign:
            raise ValueError(f"--set {text} is not NAME=VALUE, such as --set learning_rate=3e-4.")
        try:
            out[name.strip()] = tomllib.loads(f"value = {value}")["value"]
        except tomllib.TOMLDecodeError:
            out[name.strip()] = value.strip()
    return out


def chosen(name: str, ablations: dict, demo: dict) -> list:
    """The tables a name stands for.

    Raises:
        ValueError: an unknown one.
    """
    known = {**ablations, **demo}
    names = list(ablations) if name == "all" else list(demo) if name == "demo" else list(known) if name == "report" else [n.strip() for n in name.split(",") if n.strip()]
    if unknown := [n for n in names if n not in known]:
        raise ValueError(f"There is no ablation '{', '.join(unknown)}'; there are {', '.join(known)}.")
    return [known[n] for n in names]


def sweep(options: argparse.Namespace) -> None:
    """Train, measure, write."""
    from fitting_room import host
    from fitting_room.evaluation.ablation import Budget, run
    from fitting_room.evaluation.ablations import ABLATIONS, DEMO
    from fitting_room.training.networks import Networks

    wanted, more = chosen(options.ablation, ABLATIONS, DEMO), changes(options.set)
    budget = Budget(options.steps, options.batch, options.samples, options.held_out, options.sampling_steps)
    bench = host.Bench(Networks(host.metrics_folders()), options.precision)
    cache = options.cache or Path(tempfile.gettempdir()) / "fitting-room-encodings"
    rows = [n.strip() for n in options.variants.split(";") if n.strip()]
    for ablation in wanted:
        ablation = replace(ablation, train={**ablation.train, **more})
        print(run(bench, ablation, budget, range(options.seeds), options.output, rows, None, cache, lambda text: print(text, flush=True)))


def main(given: list[str] | None = None) -> int:
    """Read the command line, enter the environment, run."""
    given = sys.argv[1:] if given is None else given
    options = arguments(given)
    paths = ("--output", "--cache")
    made, code = pack.enter(__file__, *(os.path.abspath(a) if i and given[i - 1] in paths else a for i, a in enumerate(given)))
    if made is None:
        return code
    pack.load()
    try:
        from fitting_room.evaluation.ablations import ABLATIONS, DEMO
        from fitting_room.evaluation.report import write

        if options.ablation == "list":
            for ablation in (*ABLATIONS.values(), *DEMO.values()):
                print(f"{ablation.name}: {ablation.title}\n  " + "; ".join(v.name for v in ablation.variants))
            return 0
        if options.ablation != "report":
            import torch

            cpu = ["--cpu", "--use-pytorch-cross-attention"] if options.cpu or not torch.cuda.is_available() else []
            pack.load_host(made.comfyui, "--base-directory", str(made.base_directory), *cpu)
            from fitting_room import host

            host.register_folders()
            sweep(options)
        if not options.no_report:
            print(write([*DEMO.values(), *ABLATIONS.values()], options.output))
        return 0
    except ValueError as error:
        print(f"\n{error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
