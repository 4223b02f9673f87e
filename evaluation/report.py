"""Ablations as tables and figures: mean and standard deviation over seeds, in Markdown and, with matplotlib, as pictures.

What people think of the numbers stands in `notes/<ablation>.md` beside the report and is put under its table; the numbers themselves come
from the JSON files alone.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

from ..models.weights import write_bytes
from .ablation import Ablation
from .looks import package
from .measures import LABELS
from .statistics import mean_and_spread

PAPER, INK, PALE, BAR, OTHER = "#fbfaf7", "#222222", "#d9d6cf", "#1f4e8c", "#9aa7b8"


def read(path: Path) -> dict:
    """The rows of a sweep.

    Raises:
        ValueError: no such file, or another one.
    """
    try:
        table = json.loads(Path(path).read_text(encoding="utf-8"))
        table["identity"], table["rows"]
    except (OSError, json.JSONDecodeError, KeyError, TypeError) as error:
        raise ValueError(f"'{Path(path).name}' holds no rows of an ablation ({error}); run tools/ablation.py first.") from None
    return table


def summary(table: dict, names: Sequence[str]) -> dict[str, dict[str, tuple[float, float | None, int]]]:
    """Per variant (in this order) and value: mean over seeds, standard deviation over seeds (None for one), number of seeds."""
    out: dict[str, dict[str, tuple[float, float | None, int]]] = {}
    for name in names:
        rows = [r for r in table["rows"] if r["variant"] == name]
        values = dict.fromkeys(v for r in rows for v in r["means"])
        found = {v: [r["means"][v] for r in rows if r["means"].get(v) is not None] for v in values}
        out[name] = {v: (*mean_and_spread(n), len(n)) for v, n in found.items() if n}
    return {name: values for name, values in out.items() if values}


def shown(value: str, mean: float, spread: float | None) -> str:
    """A cell: "63.1 +- 2.0" with shares in per cent."""
    scale, digits = (100, 1) if LABELS[value].share else (1, 3)
    digits = 1 if not LABELS[value].share and abs(mean) >= 10 else digits
    return f"{mean * scale:.{digits}f}" + ("" if spread is None else f" +- {spread * scale:.{digits}f}")


def markdown(ablation: Ablation, table: dict, notes: str = "") -> str:
    """One ablation's part of the report."""
    found = summary(table, [v.name for v in ablation.variants])
    values = [v for v in LABELS if any(v in row for row in found.values())]
    budget = table["identity"]["budget"]
    seeds = sorted({r["seed"] for r in table["rows"]})
    head = [f"{LABELS[v].text}{', %' if LABELS[v].share else ''} ({'higher' if LABELS[v].higher else 'lower'})" for v in values]
    lines = [
        f"## {ablation.title}", "", f"Paper: {ablation.paper}", "",
        f"| variant | {' | '.join(head)} |", "|---" * (len(values) + 1) + "|",
        *(f"| {name} | {' | '.join(shown(v, *row[v][:2]) if v in row else '' for v in values)} |" for name, row in found.items()), "",
        f"Mean +- standard deviation over {len(seeds)} seeds of training; {budget['steps']} steps of {budget['batch']}, {budget['samples']} drawn samples, measured on {budget['held_out']} others, "
        f"{budget['sampling_steps']} sampling steps, {budget['width']} x {budget['height']}. Stack: {table['machine'].get('stack', 'unknown')}. Machine: {table['machine'].get('device', 'unknown')}.",
        *(f"Left out: {name}, {why}" for name, why in table["left_out"].items()), "",
        f"`python3 tools/ablation.py {ablation.name} --seeds {len(seeds)} --steps {budget['steps']} --batch {budget['batch']} --samples {budget['samples']} --held-out {budget['held_out']} --sampling-steps {budget['sampling_steps']}`", "",
    ]
    return "\n".join([*lines, *([notes.strip(), ""] if notes.strip() else []), f"What this cannot tell: {ablation.limits}", ""])


def figure(ablation: Ablation, table: dict) -> bytes:
    """The main value as a PNG: a bar per variant with its spread, every seed a dot.

    Raises:
        MetricError: matplotlib is not installed.
    """
    package("matplotlib")
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    found = {n: row[ablation.main] for n, row in summary(table, [v.name for v in ablation.variants]).items() if ablation.main in row}
    label, scale = LABELS[ablation.main], 100 if LABELS[ablation.main].share else 1
    made = Figure(figsize=(7.2, 0.9 + 0.42 * max(len(found), 1)), facecolor=PAPER, layout="constrained")
    FigureCanvasAgg(made)
    axes = made.add_subplot(facecolor=PAPER)
    for place, (name, (mean, spread, _)) in enumerate(reversed(found.items())):
        plain = name in ("untrained",) or name.startswith("truth")
        axes.barh(place, mean * scale, color=OTHER if plain else BAR, height=0.62, zorder=2)
        if spread is not None:
            axes.errorbar(mean * scale, place, xerr=spread * scale, color=INK, capsize=3, linewidth=1, zorder=4)
        seeds = [r["means"][ablation.main] * scale for r in table["rows"] if r["variant"] == name and r["means"].get(ablation.main) is not None]
        axes.scatter(seeds, [place] * len(seeds), s=14, color="white", edgecolors=INK, linewidths=0.8, zorder=5)
    axes.set_yticks(range(len(found)), list(reversed(found)), fontsize=8, color=INK)
    axes.set_xlabel(f"{label.text}{' (%)' if label.share else ''}, {'higher' if label.higher else 'lower'} is better", fontsize=8, color=INK)
    axes.tick_params(axis="x", labelsize=8, colors=INK)
    axes.grid(axis="x", color=PALE, zorder=0)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.set_title(ablation.title, fontsize=9, color=INK, loc="left")
    data = BytesIO()
    made.savefig(data, format="png", dpi=160)
    return data.getvalue()


def write(ablations: Sequence[Ablation], folder: Path) -> Path:
    """Read <folder>/<ablation>.json of each that is there, draw figures beside them, and write <folder>/README.md; returns its path.

    Raises:
        ValueError: none of them is there. MetricError: matplotlib is not installed.
    """
    folder, parts = Path(folder), []
    for ablation in ablations:
        path = folder / f"{ablation.name}.json"
        if not path.is_file():
            continue
        table, notes = read(path), folder / "notes" / f"{ablation.name}.md"
        if not table["rows"]:
            continue
        write_bytes(folder / f"{ablation.name}.png", figure(ablation, table))
        text = markdown(ablation, table, notes.read_text(encoding="utf-8") if notes.is_file() else "")
        head, _, rest = text.partition("\n\n")
        parts.append(f"{head}\n\n![{ablation.title}]({ablation.name}.png)\n\n{rest}")
    if not parts:
        raise ValueError(f"There are no rows of ablations in '{folder}'; run tools/ablation.py first.")
    intro = (
        "# Ablations on the drawn world\n\nEvery number comes from a JSON file here, which a command below writes; every variant has the same budget, "
        "and is trained anew for every seed. They say which variant is better in this small world with this budget, and nothing about the numbers printed in the papers.\n\n"
    )
    return write_bytes(folder / "README.md", (intro + "\n".join(parts)).encode())
