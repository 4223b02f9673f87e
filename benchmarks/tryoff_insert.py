"""What restoring a garment (IGR) and inserting a product (Diffuse to Choose) cost, beside the literal forms of both papers.

    python3 benchmarks/tryoff_insert.py [--only igr] [--flops-only] [--width 384] [--height 512] [--steps 3] [--rounds 2]

Full-width SD1.5 with random weights, the same for every form. FLOPs (2 per multiply-add) are counted by torch on the meta device for
whole pictures at the papers' sizes, so they do not depend on the machine; seconds are measured at --width x --height.
"""

from __future__ import annotations

import json
import sys
from importlib import import_module
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "benchmarks"))
from start import arguments, start  # noqa: E402

RESULT = ROOT / "benchmarks" / "results" / "tryoff_insert.json"
SECTIONS = {"igr": "section_igr", "diffuse_to_choose": "section_diffuse_to_choose"}
"""Section -> module beside this file with `flops()`, `times(options, device)` and `table(result)`."""


def main() -> int:
    """Measure, print a table per section, write the result."""
    there = [name for name, module in SECTIONS.items() if (ROOT / "benchmarks" / f"{module}.py").is_file()]
    parser = arguments(__doc__)
    parser.add_argument("--only", nargs="+", choices=there, default=there)
    parser.add_argument("--steps", type=int, default=3, help="sampling steps that are timed")
    parser.add_argument("--rounds", type=int, default=2, help="interleaved repetitions; the median counts")
    parser.add_argument("--width", type=int, default=384)
    parser.add_argument("--height", type=int, default=512)
    parser.add_argument("--flops-only", action="store_true")
    options, device = start(__file__, parser)
    for name in options.only:
        section = import_module(SECTIONS[name])
        result = {"flops": section.flops()}
        if not options.flops_only:
            result["time"] = section.times(options, device)
        keep(name, result, device)
        print(f"\n{name}\n{section.table(result)}")
    return 0


def keep(name: str, result: dict, device: str) -> None:
    """One result per section and kind of device; a FLOP count alone leaves the times of earlier runs."""
    from machine import describe

    known = json.loads(RESULT.read_text()) if RESULT.is_file() else {}
    section = known.setdefault(name, {})
    section["flops"] = result["flops"]
    if "time" in result:
        section[device] = {"machine": describe(device), **result["time"]}
    RESULT.parent.mkdir(parents=True, exist_ok=True)
    RESULT.write_text(json.dumps(known, indent=1) + "\n")


if __name__ == "__main__":
    sys.exit(main())
