"""Train the judge of drawn garments and write evaluation/judge.safetensors: `python3 tools/judge.py` (minutes on one CPU thread).

Draws persons at 128 x 96, trains on their garments, worn and flat, and prints how often it is right on garments it has not seen,
sharp and blurred. `--check` only tests the file that is there.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

if __package__:
    from . import pack
else:
    import pack


def arguments(given: list[str] | None = None) -> argparse.Namespace:
    """What the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--persons", type=int, default=6000, help="drawn persons to learn from")
    parser.add_argument("--held-out", type=int, default=400, help="drawn persons to test on")
    parser.add_argument("--steps", type=int, default=1500, help="steps of 64 garments")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=pack.ROOT / "evaluation" / "judge.safetensors")
    parser.add_argument("--check", action="store_true", help="test the file that is there, train nothing")
    return parser.parse_args(given)


def run(options: argparse.Namespace) -> None:
    """Draw, train, test, write."""
    from fitting_room.evaluation import judge_training as training
    from fitting_room.evaluation.judge import Judge

    def say(done, total):
        if done % 500 == 0 or done == total:
            print(f"{done} of {total} persons drawn", flush=True)

    if options.check:
        judge = Judge.load(options.output)
    else:
        crops = training.draw_crops(options.persons, training.TRAIN_SEED, say, flats=2)
        start = time.monotonic()
        judge = training.fit(crops, options.steps, seed=options.seed, say=lambda text: print(text, flush=True))
        print(f"trained on {len(crops)} garments in {time.monotonic() - start:.0f} s")
    held_out = training.draw_crops(options.held_out, training.HELD_OUT_SEED, say)
    found = {blur: training.accuracy(judge, held_out, blur) for blur in (0.0, 0.8, 1.2)}
    for blur, views in found.items():
        print(f"blur {blur}: " + "; ".join(f"{view} pattern {v['pattern']:.3f} colour {v['colour']:.3f} of {v['count']}" for view, v in views.items()))
    if not options.check:
        best = found[0.0]["all"]
        facts = {
            "trained": f"{options.steps} steps of 64 garments", "data": f"drawn world, {options.persons} persons at 128 x 96 from seed {training.TRAIN_SEED}",
            "accuracy": f"pattern {best['pattern']:.4f}, colour {best['colour']:.4f} on {best['count']} drawn garments it had not seen",
        }
        print(judge.save(options.output, facts))


def main(given: list[str] | None = None) -> int:
    """Read the command line, enter the environment, train."""
    options = arguments(given)
    made, code = pack.enter(__file__, *(given if given is not None else sys.argv[1:]))
    if made is None:
        return code
    pack.load()
    try:
        run(options)
    except ValueError as error:
        print(f"\n{error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
