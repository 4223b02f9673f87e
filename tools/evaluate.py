"""Measure a folder of results as a paper does: `python3 tools/evaluate.py igr --real data/cloth --generated results`.

Prints the table and every file that took no part; --output writes everything as JSON. The networks that metrics look through are files
in the folder --metrics-folder (default: models/metrics of the environment's ComfyUI); nothing is downloaded. Needs the extra `eval`.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

if __package__:
    from . import pack
else:
    import pack


def arguments(given: list[str] | None = None) -> argparse.Namespace:
    """What the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("protocol", help="igr, anydressing, diffuse_to_choose, pm_jewelry or sift_vton")
    parser.add_argument("--real", type=Path, required=True, help="folder of true pictures")
    parser.add_argument("--generated", type=Path, required=True, help="folder of results, or of one subfolder per seed")
    parser.add_argument("--test", default="", help="which of the paper's tests: paired, unpaired, multiple (default: its first)")
    parser.add_argument("--metrics", default="", help="in place of the paper's, separated by commas")
    parser.add_argument("--size", default="", metavar="WIDTHxHEIGHT", help="compare at this size instead of the paper's; 'own' takes each true picture's")
    parser.add_argument("--metrics-folder", type=Path, action="append", default=[], help="where the metrics' networks lie; may be given several times")
    parser.add_argument("--clip-vision", type=Path, help="a CLIP vision file, for the clip_vision metrics")
    parser.add_argument("--output", type=Path, help="JSON file to write")
    return parser.parse_args(given)


def size_of(text: str):
    """"protocol", None for each picture's own, or (width, height).

    Raises:
        ValueError: not WIDTHxHEIGHT.
    """
    if text in ("", "own"):
        return None if text else "protocol"
    width, _, height = text.lower().partition("x")
    if not (width.isdigit() and height.isdigit()):
        raise ValueError(f"--size {text} is not understood; write WIDTHxHEIGHT, such as 384x512, or own.")
    return int(width), int(height)


def run(options: argparse.Namespace, folders: list[Path], vision) -> int:
    """Measure, print, write."""
    from fitting_room.evaluation.looks import Looks
    from fitting_room.evaluation.measure import evaluate
    from fitting_room.evaluation.protocol import PROTOCOLS
    from fitting_room.models.weights import write_bytes

    if options.protocol not in PROTOCOLS:
        raise ValueError(f"There is no protocol '{options.protocol}'; choose one of {', '.join(PROTOCOLS)}.")
    names = [n.strip() for n in options.metrics.split(",") if n.strip()]

    def tell(done: int, total: int) -> None:
        if sys.stderr.isatty():
            print(f"\r{done} of {total} ", end="", file=sys.stderr, flush=True)

    import torch

    looks = Looks(folders, device="cuda" if torch.cuda.is_available() else "cpu", vision=vision)
    found = evaluate(options.real, options.generated, PROTOCOLS[options.protocol], looks, options.test, names, size_of(options.size), tell)
    print(found.table())
    if options.output:
        print(f"\nWrote {write_bytes(options.output, found.to_json().encode())}")
    return 0


def absolute(given: list[str]) -> list[str]:
    """Arguments whose paths hold from any folder, because the environment's Python starts in another one."""
    paths = ("--real", "--generated", "--metrics-folder", "--clip-vision", "--output")
    return [os.path.abspath(a) if i and given[i - 1] in paths else a for i, a in enumerate(given)]


def main(given: list[str] | None = None) -> int:
    """Read the command line, enter the environment, measure."""
    given = sys.argv[1:] if given is None else given
    options = arguments(given)
    made, code = pack.enter(__file__, *absolute(given))
    if made is None:
        return code
    pack.load()
    try:
        import torch

        flags = [] if torch.cuda.is_available() else ["--cpu"]
        pack.load_host(made.comfyui, "--base-directory", str(made.base_directory), *flags)
        from fitting_room import host

        host.register_folders()
        vision = host.vision_embedder(host.load_vision(str(options.clip_vision))) if options.clip_vision else None
        with torch.inference_mode():
            return run(options, options.metrics_folder or host.metrics_folders(), vision)
    except ValueError as error:
        print(f"\n{error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
