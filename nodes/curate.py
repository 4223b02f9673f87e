"""IGR's high-quality subset as a node: rules, a ranking, and a sheet to look at."""

from __future__ import annotations

import json
from dataclasses import fields, replace

import numpy as np
import torch

from ..data.curation import candidate
from ..host import io, progress, stop_if_interrupted, ui
from ..preprocess.curate import Judgement, curation_report, judge, select
from ..preprocess.curate_rules import REJECT, CurateRules, Rule
from ..preprocess.curate_sheet import contact_sheet
from ..preprocess.pictures import read_picture
from .load import parse_options
from .sockets import Pairs


def read_rules(text: str) -> CurateRules:
    """Thresholds from a JSON object; what it does not name keeps its default.

    Raises:
        ValueError: not JSON, an unknown threshold, or a value of another kind.
    """
    given, known = parse_options(text), {f.name: getattr(CurateRules(), f.name) for f in fields(CurateRules)}
    if unknown := sorted(set(given) - set(known)):
        raise ValueError(f"There are no rules '{', '.join(unknown)}'; the rules are {', '.join(known)}.")
    for name, value in given.items():
        pair = isinstance(known[name], tuple)
        numbers = value if pair and isinstance(value, list) and len(value) == 2 else [value]
        if pair != (len(numbers) == 2) or any(isinstance(n, bool) or not isinstance(n, (int, float)) for n in numbers):
            raise ValueError(f"The rule {name} is {value!r}; give {'two numbers, such as [0.4, 3.0]' if pair else 'a number'}.")
    return replace(CurateRules(), **{name: tuple(v) if isinstance(v, list) else v for name, v in given.items()})


def judge_sample(sample, category: str, rules: CurateRules) -> Judgement:
    """Every rule's answer for one pair; one that cannot be read is turned away with that reason."""
    try:
        return judge(candidate(sample, category), rules)
    except (OSError, ValueError) as error:
        return Judgement(sample.name, (Rule("files", 0.0, 0.0, REJECT, str(error)),))


def thumbnail(sample):
    """The person's picture, or a blank one where it cannot be read (its judgement says so)."""
    try:
        return read_picture(sample.person)
    except OSError:
        return np.full((4, 3), 60, np.uint8)


def tell(judgements, selection) -> str:
    """The outcome for people: how many are kept, and which rules spoke against how many."""
    lines = [f"{len(selection.kept)} of {len(judgements)} pairs kept (thresholds are not calibrated: look at the sheet)."]
    for name in dict.fromkeys(rule.name for j in judgements for rule in j.rules):
        verdicts = [rule.verdict for j in judgements for rule in j.rules if rule.name == name]
        counts = {v: verdicts.count(v) for v in ("reject", "hard", "pass", "unknown") if v in verdicts}
        lines.append(f"{name}: " + ", ".join(f"{count} {v}" for v, count in counts.items()))
    return "\n".join(lines)


class Curate(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="FittingRoomCurate",
            display_name="Curate Data Set",
            category="Fitting Room/Evaluation",
            description="Ranks the pairs of a data set for garment restoration, as IGR section 3.2 did by hand: front view, nothing cut off, little covered, whole, "
            "well proportioned. Keeps the best share. The paper gives no thresholds; the ones here are not calibrated, so ranks count more than single verdicts.",
            search_aliases=["curation", "dataset quality", "filter data set", "igr", "try-off", "high quality subset"],
            inputs=[
                Pairs.Input("pairs", tooltip="The data set, from Data Set Pairs. Masks of the worn garment or parse maps are needed; keypoints and product masks add rules."),
                io.String.Input("rules", default="", multiline=True, tooltip='Thresholds to change as a JSON object, for example {"occlusion": 0.4, "aspect": [0.4, 3.0]}. Empty = the defaults. A wrong name is answered with the known ones.'),
                io.Float.Input("share", default=0.2, min=0.001, max=1.0, step=0.01, tooltip="The share of pairs to keep, best first; IGR kept 0.2."),
                io.Combo.Input("category", options=["upper", "lower", "full"], default="upper", tooltip="Which garment of the person is judged, where the data set does not say."),
                io.Boolean.Input("cut", default=False, optional=True, tooltip="Also drop pairs that a rule rejects, even within the share. This trusts thresholds that are not calibrated."),
            ],
            outputs=[
                Pairs.Output(display_name="kept", tooltip="The kept pairs, best first."),
                io.Image.Output(display_name="sheet", tooltip="Kept pairs, then rejected ones, each with its score and what speaks against it."),
                io.String.Output(display_name="report", tooltip="How many were kept, and which rules spoke against how many."),
                io.String.Output(display_name="details", tooltip="Every pair's scores and the thresholds, as JSON."),
            ],
        )

    @classmethod
    def validate_inputs(cls, rules=None):
        try:
            return bool(read_rules(rules or ""))
        except ValueError as error:
            return str(error)

    @classmethod
    def execute(cls, pairs, rules, share, category, cut=False):
        wanted, judgements, bar = read_rules(rules), [], progress(len(pairs))
        for sample in pairs:
            stop_if_interrupted()
            judgements.append(judge_sample(sample, category, wanted))
            bar.update_absolute(len(judgements), len(pairs))
        chosen = select(judgements, share, cut)
        sheet = torch.from_numpy(contact_sheet(lambda i: thumbnail(pairs[i]), judgements, chosen).copy())[None].float() / 255
        details = json.dumps(curation_report(judgements, chosen, wanted), indent=1)
        return io.NodeOutput(pairs.subset(chosen.kept), sheet, tell(judgements, chosen), details, ui=ui.PreviewImage(sheet, cls=cls))


NODES = [Curate]
