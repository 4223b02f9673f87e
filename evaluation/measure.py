"""Measuring: two folders by a paper's protocol, or two batches of pictures side by side."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .folders import Matched, Readable, listed, match, match_parts, readable, runs_in, tried
from .looks import EMBEDDERS, Looks
from .metrics import METRICS, MetricError, check_metrics, clip_i_star, distribution, likeness, paired
from .protocol import Protocol, Setting
from .statistics import Summary, over_runs, summarise

Values = dict[str, dict[str, float]]
"""Per picture and metric its value."""


@dataclass
class Evaluation:
    """What a measurement gave.

    Attributes:
        title: lines on what was measured and how. counts: pictures by what they are.
        results: per metric its summary. left_out: per metric why it could not be computed.
        problems: what took no part, as lines. files: per run the values per picture.
    """

    title: list[str]
    counts: dict[str, int]
    results: dict[str, Summary]
    left_out: dict[str, str]
    problems: list[str] = field(default_factory=list)
    files: dict[str, Values] = field(default_factory=dict)

    def table(self) -> str:
        """For people, as Markdown."""
        lines = [*self.title, ", ".join(f"{v} {k}" for k, v in self.counts.items()) + ".", "", table(self.results, self.left_out)]
        return "\n".join([*lines, *(["", "Took no part:", *(f"- {p}" for p in self.problems)] if self.problems else [])])

    def to_json(self) -> str:
        """Everything, as JSON; numbers that are not finite are strings."""
        return json.dumps(_plain(asdict(self)), indent=1, allow_nan=False)


def _plain(value):
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, Mapping):
        return {k: _plain(v) for k, v in value.items()}
    return [_plain(v) for v in value] if isinstance(value, (list, tuple)) else value


def table(results: Mapping[str, Summary], left_out: Mapping[str, str]) -> str:
    """Summaries as a Markdown table; below it notes, and why metrics could not be computed."""
    lines = ["| metric | better | value | 95 % interval | standard deviation | n |", "|---|---|---|---|---|---|"]
    for name, found in results.items():
        interval = "" if found.low is None else f"{found.low:.4g} to {found.high:.4g}"
        spread = "" if found.deviation is None else f"{found.deviation:.3g} over {found.spread_over}"
        lines.append(f"| {METRICS[name].label} | {_better(name)} | {found.value:.4g} | {interval} | {spread} | {found.count} |")
    lines += [f"| {METRICS[name].label} | {_better(name)} | not computed | | | |" for name in left_out]
    notes = [f"- {METRICS[n].label}: {s.note}" for n, s in results.items() if s.note] + [f"- {METRICS[n].label}: {why}" for n, why in left_out.items()]
    return "\n".join([*lines, *(["", *notes] if notes else [])])


def _better(name: str) -> str:
    return "higher" if METRICS[name].higher else "lower"


# ---- batches ---------------------------------------------------------------------------------------------------------------


def compare(generated: Tensor, real: Tensor, names: Sequence[str], looks: Looks, prompts: Sequence[str] = (), truth: str = "true pictures") -> Evaluation:
    """Measure a batch of results against a batch of truths.

    Args:
        generated, real: (B,H,W,3), 0..1; one true picture may serve all results.
        names: metrics. looks: networks that they look through. prompts: for CLIP-T, one per result or one for all.

    Raises:
        ValueError: batches that do not go together, unknown metrics, or nothing that could be computed.
    """
    names, made, true = check_metrics(names), generated.movedim(-1, 1).float(), real.movedim(-1, 1).float()
    if len(true) not in (1, len(made)):
        raise MetricError(f"{len(made)} results and {len(true)} true pictures do not go together; give equally many, or one true picture for all.")
    kinds = {METRICS[n].kind for n in names}
    aligned = true if len(true) == len(made) else true.expand(len(made), -1, -1, -1)
    why, results, values = _reasons(names, looks), {}, {f"{i + 1}": {} for i in range(len(made))}
    embedded: dict = {}

    def embed(metric: str, which: str, pictures: Tensor) -> Tensor:
        key = (EMBEDDERS[metric], which)
        if key not in embedded:
            embedded[key] = looks.embedder(metric)(pictures)
        return embedded[key]

    if "text" in kinds and len(prompts) not in (1, len(made)):
        why |= {n: f"it needs a prompt per result, or one for all; {len(prompts)} came for {len(made)} results." for n in names if METRICS[n].kind == "text"}
    for name in [n for n in names if n not in why]:
        kind = METRICS[name].kind
        try:
            if kind == "set":
                results[name] = distribution(name, embed(name, "made", made), embed(name, "true", true))
                continue
            if kind == "pair":
                each = torch.cat([paired(name, g[None], r[None], looks) for g, r in zip(made, aligned)])
            elif kind == "likeness":
                each = likeness(embed(name, "made", made), embed(name, "true", true))
            elif kind == "text":
                each = likeness(embed(name, "made", made), looks.text(list(prompts)))
            elif kind == "single":
                each = looks.aesthetic()(embed(name, "made", made))
            else:
                raise MetricError(f"it is of {kind}, which two batches of pictures do not hold; evaluate folders, or call it from Python.")
        except MetricError as error:
            why[name] = str(error)
            continue
        results[name] = summarise(each.tolist())
        for row, value in zip(values.values(), each.tolist()):
            row[name] = value
    _check_some(results, why)
    return Evaluation([], {"results": len(made), truth: len(true)}, results, why, files={"": values})


def _reasons(names: Iterable[str], looks: Looks) -> dict[str, str]:
    return {n: why for n in names if (why := looks.lacks(METRICS[n].needs, METRICS[n].packages))}


def _check_some(results: Mapping, why: Mapping[str, str]) -> None:
    if not results:
        raise MetricError("No metric could be computed. " + " ".join(f"{METRICS[n].label}: {reason}" for n, reason in why.items()))


# ---- folders ---------------------------------------------------------------------------------------------------------------


def evaluate(
    real: Path, generated: Path, protocol: Protocol, looks: Looks, setting: str = "", metrics: Sequence[str] = (), size: tuple[int, int] | None | str = "protocol",
    progress: Callable[[int, int], None] = lambda *_: None,
) -> Evaluation:
    """Measure a folder of results against a folder of truths.

    Args:
        real, generated: folders; `generated` may hold one subfolder per seed, then values are means and spreads over them.
        protocol, setting: which paper, which of its tests ("" the first). looks: networks that metrics look through.
        metrics: in place of the paper's.
        size: "protocol", (width, height), or None for each truth's own.
        progress: (done, total) over steps of the work; what it raises ends the measurement.

    Raises:
        ValueError: folders without pictures, unknown metrics, or nothing that could be compared or computed.
    """
    chosen, size = protocol.setting(setting), protocol.size if size == "protocol" else size
    names = check_metrics(metrics or chosen.metrics)
    several = chosen.name == "multiple"
    runs = {"": Path(generated)} if several else runs_in(generated)
    matched = {run: (match_parts if several else match)(Path(real), folder) for run, folder in runs.items()}
    steps = _Steps(progress, sum(len(m.pairs) for m in matched.values()) + len(names) * len(runs))
    found, files, left_out, embedded = {}, {}, {}, {}
    for run, mine in matched.items():
        measured = _Run(mine, looks, size, protocol.how, embedded, run)
        found[run], why = measured.measure(names, steps)
        files[run] = measured.values
        left_out |= {k: (f"{run}: " if run else "") + v for k, v in why.items()}
    results = over_runs(found)
    results = {n: results[n] for n in names if n in results}
    left_out = {k: v for k, v in left_out.items() if k not in results}
    _check_some(results, left_out)
    counts = {"true pictures": len(next(iter(matched.values())).real), "results": sum(len(m.generated) for m in matched.values())}
    counts |= {"matched pairs": sum(len(m.pairs) for m in matched.values())} if not several else {}
    counts |= {"runs": len(runs)} if len(runs) > 1 else {}
    problems = [(f"{run}: " if run else "") + line for run, m in matched.items() for line in listed(m.problems)]
    return Evaluation(_title(protocol, chosen, size), counts, results, left_out, problems, files)


def _title(protocol: Protocol, setting: Setting, size) -> list[str]:
    lines = [*protocol.describe(), f"Test: {setting.name}; the paper's data: {setting.data}. {setting.note}".strip()]
    if size != protocol.size:
        at = "each truth's own size" if size is None else f"{size[0]} x {size[1]}"
        lines.append(f"Compared at {at}, not at the paper's {protocol.size[0]} x {protocol.size[1]}: not comparable with the paper's numbers.")
    return lines


class _Steps:
    """Counts steps of work for a bar."""

    def __init__(self, progress: Callable[[int, int], None], total: int):
        self.progress, self.total, self.done = progress, total, 0

    def one(self) -> None:
        self.done += 1
        self.progress(min(self.done, self.total), self.total)


class _Run:
    """One folder of results. `embedded` keeps the truths' embeddings from run to run."""

    def __init__(self, matched: Matched, looks: Looks, size, how: str, embedded: dict, name: str):
        self.matched, self.looks, self.size, self.how, self.embedded, self.name = matched, looks, size, how, embedded, name
        self.values: Values = {}

    def measure(self, names: list[str], steps: _Steps) -> tuple[dict[str, Summary], dict[str, str]]:
        """Summaries, and reasons for what could not be computed."""
        why = _reasons(names, self.looks)
        self._pairs([n for n in names if METRICS[n].kind == "pair" and n not in why], why, steps)
        results = {}
        for name in names:
            kind = METRICS[name].kind
            if name not in why and kind != "pair":
                try:
                    if kind == "set":
                        results[name] = distribution(name, self._embed(name, "made"), self._embed(name, "true"))
                    else:
                        self._each(name, kind)
                except MetricError as error:
                    why[name] = str(error)
            mine = [v[name] for v in self.values.values() if name in v]
            if name not in why and kind != "set":
                if mine:
                    results[name] = summarise(mine)
                else:
                    why[name] = "no picture could be compared."
            steps.one()
        return results, why

    def _pairs(self, names: list[str], why: dict[str, str], steps: _Steps) -> None:
        for name, real, made in Readable(self.matched, self.size, self.how):
            row = self.values.setdefault(name, {})
            for metric in names:
                if metric not in why:
                    try:
                        row[metric] = float(paired(metric, made[None], real[None], self.looks)[0])
                    except MetricError as error:
                        why[metric] = str(error)
            steps.one()

    def _each(self, metric: str, kind: str) -> None:
        """Values per picture of metrics that read embeddings."""
        if kind == "likeness":
            both = ((n, [tried(p, self.matched) for p in pair]) for n, *pair in self.matched.pairs)
            found = self._by_chunks(metric, ((n, made, true) for n, (true, made) in both if true is not None and made is not None), self._alike)
        elif kind == "parts":
            found = self._parts(metric)
        elif kind == "text":
            if not self.matched.captions:
                raise MetricError("it needs the prompts the results were made from; put NAME.txt beside each result.")
            chosen = [p for p in self.matched.generated if p.stem in self.matched.captions]
            rows = ((p.stem, q, self.matched.captions[p.stem]) for p, q in readable(chosen, self.matched))
            found = self._by_chunks(metric, rows, lambda embed, made, prompts: likeness(embed(made), self.looks.text(prompts)))
        elif kind == "single":
            rows = ((p.stem, q, None) for p, q in readable(self.matched.generated, self.matched))
            found = self._by_chunks(metric, rows, lambda embed, made, _: self.looks.aesthetic()(embed(made)))
        else:
            raise MetricError(f"it is of {kind}, which folders of pictures do not hold; call it from Python, or use the node Attention Map.")
        for name, value in found.items():
            self.values.setdefault(name, {})[metric] = value

    def _by_chunks(self, metric: str, rows: Iterable[tuple[str, Tensor, Any]], value: Callable) -> dict[str, float]:
        """Values by name of rows (name, result, what it is held against), a few at a time, so that a large folder fits into memory."""
        embed, found, rows = self.looks.embedder(metric), {}, iter(rows)
        while chunk := list(islice(rows, self.looks.batch)):
            names, made, other = zip(*chunk)
            found |= dict(zip(names, value(embed, list(made), list(other)).tolist()))
        return found

    @staticmethod
    def _alike(embed, made: list[Tensor], true: list[Tensor]) -> Tensor:
        return likeness(embed(made), embed(true))

    def _parts(self, metric: str) -> dict[str, float]:
        if not self.matched.parts:
            raise MetricError("it needs a folder of garments per slot, and masks in <slot>_worn beside the results; use a protocol's test 'multiple'.")
        embed, found = self.looks.embedder(metric), {}
        for path, result in readable([p for p in self.matched.generated if p.stem in self.matched.parts], self.matched):
            read = {slot: [tried(p, self.matched) for p in files] for slot, files in self.matched.parts[path.stem].items()}
            read = {slot: b for slot, b in read.items() if all(p is not None for p in b)}
            for slot, (_, region) in read.items():
                if region.shape != result.shape:
                    self.matched.drop(self.matched.parts[path.stem][slot][1], "wrong size", f"{region.shape[2]} x {region.shape[1]}, expected {result.shape[2]} x {result.shape[1]}")
            read = {slot: b for slot, b in read.items() if b[1].shape == result.shape}
            value = clip_i_star(result, {s: b[0] for s, b in read.items()}, {s: b[1][0] for s, b in read.items()}, embed)
            if value is not None:
                found[path.stem] = value
        return found

    def _embed(self, metric: str, which: str) -> Tensor:
        key = (EMBEDDERS[metric], "" if which == "true" else self.name, which)
        if key not in self.embedded:
            paths = self.matched.real if which == "true" else self.matched.generated
            self.embedded[key] = self.looks.embedder(metric)(p for _, p in readable(paths, self.matched))
        return self.embedded[key]
