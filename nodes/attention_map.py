"""SIFT-VTON's figure 4 as a node: where on the garment do chosen points of the person look?"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch

from ..host import io, several_calls
from ..models.parts.probe import Probe, concentration, peaks
from ..preprocess.arrays import from_uint8
from ..preprocess.attention_drawing import draw_attention
from ..preprocess.letterbox import flatten_alpha, letterbox, letterbox_points
from ..preprocess.points import parse_points
from .sockets import Matches, seen


class Questions(NamedTuple):
    """Points on the person, in pixels of the picture, and where each should look on the fitted garment, or None."""

    points: torch.Tensor
    targets: torch.Tensor | None


def questions(points: str, matches, size: tuple[int, int], most: int) -> Questions:
    """What to ask, from text or from matches (which win where there are any).

    Args:
        matches: as a FITTING_MATCHES socket carries them, one set per pair; the first is used.
        size: (height, width) of the picture; the garment is fitted into it, as Apply SIFT-VTON does.
        most: matches beyond this many are thinned evenly.

    Raises:
        ValueError: neither points nor matches.
    """
    matches = matches[0] if isinstance(matches, (list, tuple)) and matches else matches
    if matches and matches.count:
        chosen = np.flatnonzero(matches.valid)
        chosen = chosen[np.unique(np.linspace(0, len(chosen) - 1, min(most, len(chosen))).round().astype(int))]
        person = torch.from_numpy(matches.resized(size, matches.garment_size).points[chosen, 0])
        garment = torch.from_numpy(matches.points[chosen, 1])
        return Questions(person, letterbox_points(garment, matches.garment_size, size))
    found = parse_points(points, size[1], size[0])
    if not found:
        reason = "the matches are empty" if matches else "no matches are connected"
        raise ValueError(f'There is nothing to ask: no points are given and {reason}; write points such as "120,80; 300,90".')
    return Questions(torch.tensor([[p.x, p.y] for p in found]), None)


def timesteps_below(limit: int, count: int) -> list[int]:
    """`count` timesteps spread evenly over 0..limit - 1, highest first."""
    return [int((i + 0.5) * limit / count) for i in reversed(range(count))]


def ask(model, positive, latent, asked: Questions, limit: int, count: int, seed: int) -> torch.Tensor:
    """(K,h,w): the attention of each point, averaged over blocks, heads and timesteps."""
    samples = latent["samples"][:1]
    height, width = (8 * s for s in samples.shape[-2:])
    probe = Probe(asked.points / torch.tensor([width, height]))
    several_calls(model, positive, samples, timesteps_below(limit, count), seed, probe)
    return probe.average()


def table_rows(maps, asked: Questions, radius: float, size: tuple[int, int]) -> list[dict]:
    """Per point, how concentrated its map is about its match, or about its own peak where no match is known."""
    best = peaks(maps, size)
    targets = best if asked.targets is None else asked.targets
    share, even = concentration(maps, targets, radius, size)
    return [
        {"point": p.tolist(), "target": t.tolist(), "peak": b.tolist(), "share": float(s), "even": float(e)}
        for p, t, b, s, e in zip(asked.points, targets, best, share, even)
    ]


def table_text(rows: list[dict], radius: float, matched: bool) -> str:
    """The rows as text with aligned columns."""
    about = "match" if matched else "peak"
    head = f"{'point':>12} {about:>12} {'peak':>12} {f'within {radius:g} px':>14} {'if even':>9} {'times':>7}"
    lines = [head]
    for row in rows:
        cells = [f"{row[k][0]:.0f},{row[k][1]:.0f}" for k in ("point", "target", "peak")]
        times = row["share"] / max(row["even"], 1e-9)
        lines.append(f"{cells[0]:>12} {cells[1]:>12} {cells[2]:>12} {row['share']:>13.1%} {row['even']:>9.1%} {times:>7.1f}")
    mean = sum(r["share"] for r in rows) / len(rows)
    return "\n".join([*lines, f"Mean share of attention within {radius:g} px of the {about}: {mean:.1%}"])


def pictures(maps, rows: list[dict], garment, person, radius: float, matched: bool) -> torch.Tensor:
    """One drawing per point, (K,H,W,3)."""
    about = "its match" if matched else "its peak"
    drawn = [
        draw_attention(
            garment[0], weights.numpy(), row["target"], radius, f"{row['share']:.1%} of the attention within {radius:g} px of {about} "
            f"(spread evenly: {row['even']:.1%})", None if person is None else person[:1], row["point"],
        )
        for weights, row in zip(maps, rows)
    ]
    return torch.stack([from_uint8(d) for d in drawn])


class AttentionMap(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="FittingRoomAttentionMap",
            display_name="Attention Map",
            category="Fitting Room/SIFT-VTON",
            description="Shows where on the garment chosen points of the person look: cross-attention averaged over blocks, heads and the "
            "timesteps below a limit, as in SIFT-VTON's figure 4, with a table of how concentrated it is. Only the rows of the chosen points "
            "are computed. With SIFT matches the points are asked for what they match.",
            search_aliases=["attention visualization", "heat map", "cross attention", "sift-vton", "figure 4", "explain"],
            inputs=[
                io.Model.Input("model", tooltip="A model that carries Apply SIFT-VTON."),
                io.Conditioning.Input("positive", tooltip="The positive conditioning it was sampled with."),
                io.Latent.Input("latent", tooltip="The finished picture's latent. Of a batch the first is used."),
                io.Image.Input("garment", tooltip="The garment picture given to Apply SIFT-VTON, to draw on."),
                io.String.Input(
                    "points", default="", multiline=True, optional=True, tooltip='Points on the picture in pixels, "120,80; 300,90" or as JSON.',
                ),
                Matches.Input("matches", optional=True, tooltip="SIFT matches of this person and this garment; they win over points."),
                io.Image.Input("person", optional=True, tooltip="The finished picture, to show each point beside its map."),
                io.Int.Input("steps", default=5, min=1, max=100, optional=True, advanced=True, tooltip="How many timesteps are averaged; one call of the U-Net each."),
                io.Int.Input("max_timestep", default=500, min=1, max=1000, optional=True, advanced=True, tooltip="Timesteps below this are averaged, 500 in the paper."),
                io.Float.Input("radius", default=24.0, min=1.0, max=512.0, step=1.0, optional=True, tooltip="Radius in pixels within which attention counts as concentrated."),
                io.Int.Input("most", default=8, min=1, max=64, optional=True, advanced=True, tooltip="At most this many matches are drawn, spread evenly over them."),
                io.Int.Input("seed", default=0, min=0, max=0xFFFFFFFF, optional=True, advanced=True, tooltip="Seed of the noise put on the picture."),
            ],
            outputs=[
                io.Image.Output(display_name="maps", tooltip="One picture per point: the garment under its heat map."),
                io.String.Output(display_name="table", tooltip="Per point: share of its attention near its match (or its peak), and what an even spread would give."),
            ],
        )

    @classmethod
    def execute(cls, model, positive, latent, garment, points="", matches=None, person=None, steps=5, max_timestep=500, radius=24.0, most=8, seed=0):
        size = tuple(8 * s for s in latent["samples"].shape[-2:])
        asked = questions(points, matches, size, most)
        maps = ask(model, positive, latent, asked, max_timestep, steps, seed)
        rows, matched = table_rows(maps, asked, radius, size), asked.targets is not None
        drawn = pictures(maps, rows, letterbox(flatten_alpha(garment[:1]), *size), person, radius, matched)
        table = table_text(rows, radius, matched)
        return io.NodeOutput(drawn, table, ui=seen(drawn, cls, table))


NODES = [AttentionMap]
