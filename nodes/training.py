"""Training as nodes: one per method, with its paper's settings as defaults, all through one base class."""

from __future__ import annotations

import logging
from dataclasses import replace

import torch

from ..data.supervision import Supervision as Supervised
from ..data.supervision import blocks_from_text
from ..host import (
    Studio,
    best_precision,
    build_method,
    check_fits,
    io,
    learning,
    metrics_folders,
    output_folder,
    progress,
    readable_folder,
    stop_if_interrupted,
    ui,
    user_folder,
)
from ..models.registry import METHODS
from ..training.checkpoint import steps_in
from ..training.config import TrainConfig
from ..training.loop import Hooks
from ..training.networks import Networks
from ..training.run import dry_run, train
from ..training.tasks import task_class
from .anydressing import require
from .load import parse_options
from .sockets import Matches, Method, Pairs, Supervision
from .training_inputs import CLIP, VISION, common_inputs, loss_inputs, more_inputs

RUNS = "fitting_room/training"
LossMap = io.Custom("LOSS_MAP")
ALIASES = ["train", "training", "fine-tune", "finetune", "trainer"]


# ---- from a node's inputs to a run ---------------------------------------------------------------------------------------


def settings(kind: str, values: dict) -> TrainConfig:
    """A node's values as a configuration, over the paper's own.

    Raises:
        ValueError: a value that is not allowed, or JSON that is none.
    """
    values, known = dict(values), METHODS[kind].loss_weights
    losses = {name: values.pop(f"weight_{name}", weight) for name, weight in known.items()}
    losses = {k: w for k, w in losses.items() if w != known[k]}  # a weight that was touched must be possible; the others may be left out
    values["augment"] = parse_options(values.pop("augment", ""))
    values["options"] = parse_options(values.pop("options", ""))
    low_memory = values.pop("preset", "") == "8 GB"
    if values.get("precision") == "auto":
        values["precision"] = best_precision()
    config = TrainConfig.from_dict({**task_class(kind).defaults, **values, "losses": losses}, "the node")
    return config.low_memory() if low_memory else config


def run_folder(name: str, kind: str, resume: str):
    """The folder of a run, and whether it is continued.

    Args:
        name: of a new run; a number is appended.
        resume: the folder's name below output/fitting_room/training, "latest" for this method's last run, "" for a new run.

    Raises:
        ValueError: no such run.
    """
    root = output_folder(RUNS)
    if not resume.strip():
        number = 1
        while (root / f"{name or kind}_{number:05}").exists():
            number += 1
        return output_folder(f"{RUNS}/{name or kind}_{number:05}"), False
    runs = [p for p in root.iterdir() if steps_in(p)] if root.is_dir() else []
    if resume.strip() == "latest":
        runs = [p for p in runs if p.name.startswith(f"{name or kind}_")]
        if not runs:
            raise ValueError(f"There is no run of '{name or kind}' with a checkpoint to resume; leave resume empty to start one.")
        return max(runs, key=lambda p: p.stat().st_mtime), True
    folder = output_folder(f"{RUNS}/{resume.strip().removeprefix(RUNS).strip('/')}")
    if not steps_in(folder):
        raise ValueError(f"The run '{resume.strip()}' has no checkpoint; the runs that can be resumed are {', '.join(sorted(p.name for p in runs)) or 'none'}.")
    return folder, True


def hooks(total: int) -> Hooks:
    """The loop's words to the running node: a bar, pictures, cancel."""
    bar = progress(total)

    def tell(done, steps, loss, picture):
        bar.update_absolute(done, steps, None if picture is None else ("JPEG", picture, 1024))

    return Hooks(stop_if_interrupted, tell, lambda text: logging.info("Fitting Room: %s", text))


def run(kind: str, model, vae, method, pairs, config: TrainConfig, clip=None, clip_vision=None, supervision=None, name="", resume="", dry=False):
    """Train, or try out what training would take; (method, LOSS_MAP, steps, report, picture or None)."""
    require(method, kind, METHODS[kind].label)
    check_fits(model, method)
    if supervision is not None:
        config = replace(config, losses={**config.losses, "sift": supervision.weight})
        pairs = pairs.with_matches(readable_folder(supervision.folder)) if supervision.folder else pairs
    networks = Networks(metrics_folders())
    with learning():
        studio = Studio(model, vae, clip, clip_vision, config.precision, config.checkpointing)
        networks.device = studio.device
        if dry:
            return method, {"loss": [0.0]}, 0, dry_run(studio, method, pairs, config, supervision, networks, hooks(2)), None
        folder, goes_on = run_folder(name, kind, resume)
        logging.info("Fitting Room: training in %s", folder)
        cache = user_folder("encodings") if config.cache else None
        done = train(studio, method, pairs, config, folder, cache, hooks(config.steps), supervision, networks, goes_on)
    trained = build_method(type(method.module), done.header, done.tensors, done.files[0].name)
    return trained, {"loss": done.result.history["loss"]}, done.result.steps, done.report, done.result.sheet


def as_picture(sheet) -> torch.Tensor:
    """A PIL picture as an IMAGE (1,H,W,3)."""
    return torch.frombuffer(bytearray(sheet.tobytes()), dtype=torch.uint8).view(1, sheet.height, sheet.width, 3).float() / 255


# ---- the nodes -----------------------------------------------------------------------------------------------------------


class _Train(io.ComfyNode):
    """What the five training nodes share: inputs, checks, outputs."""

    KIND, NAME, ENCODERS, SUPERVISED, PAPER = "", "", (), False, ""

    @classmethod
    def define_schema(cls):
        method, defaults = METHODS[cls.KIND], task_class(cls.KIND).defaults
        supervision = [Supervision.Input("supervision", optional=True, tooltip="From SIFT Attention Supervisor: how matches supervise attention. Without it the paper's settings.")]
        return io.Schema(
            node_id=f"FittingRoomTrain{cls.NAME}",
            display_name=f"Train {method.label}",
            category="Fitting Room/Training",
            description=f"Trains {method.label} on your own pictures, inside this ComfyUI: the same U-Net and the same patches as sampling. {cls.PAPER} "
            "Stop it whenever you like: its state is saved, and resume goes on with the very same run. The result can be used at once and saved with Save Fitting Method.",
            search_aliases=[*ALIASES, method.label.lower(), cls.KIND],
            inputs=[
                io.Model.Input("model", tooltip="The SD1.5 base. Its LoRAs are left out: a method learns on the plain base."),
                io.Vae.Input("vae", tooltip="The VAE of an SD1.5 model."),
                *cls.ENCODERS,
                Method.Input("method", tooltip=f"What to start from: New Fitting Method, or a {method.label} file to go on with."),
                Pairs.Input("pairs", tooltip="The data set, from Data Set Pairs."),
                *common_inputs(defaults),
                *loss_inputs(method.loss_weights),
                *(supervision if cls.SUPERVISED else []),
                *more_inputs(cls.KIND, method, defaults),
            ],
            outputs=[
                Method.Output(display_name="method", tooltip="The trained method (the running mean of its weights, where ema is set)."),
                LossMap.Output(display_name="loss", tooltip="The loss at every step, for Plot Loss Graph."),
                io.Int.Output(display_name="steps", tooltip="Optimizer steps done, those of resumed parts included."),
                io.String.Output(display_name="report", tooltip="What was trained, how the terms of the loss went, how long it took, and where everything is."),
            ],
            is_output_node=True,
        )

    @classmethod
    def validate_inputs(cls, augment=None, options=None, width=None, height=None):
        try:
            parse_options(augment), parse_options(options)
        except ValueError as error:
            return str(error)
        for name, value in (("width", width), ("height", height)):
            if value is not None and value % 8:
                return f"{name} is {value}; it must be a multiple of 8, for example {value // 8 * 8}."
        return True

    @classmethod
    def execute(cls, model, vae, method, pairs, clip=None, clip_vision=None, supervision=None, run_name="", resume="", dry_run=False, **values):
        config = settings(cls.KIND, values)
        *results, sheet = run(cls.KIND, model, vae, method, pairs, config, clip, clip_vision, supervision, run_name, resume, dry_run)
        shown = ui.PreviewText(results[-1]) if sheet is None else ui.PreviewImage(as_picture(sheet), cls=cls)
        return io.NodeOutput(*results, ui=shown)


class TrainAnyDressing(_Train):
    KIND, NAME, ENCODERS = "anydressing", "AnyDressing", (CLIP,)
    PAPER = "The paper: 768 x 576, 100 000 steps, batch 4, 5e-5, losses of garment localization (0.01) and texture (0.001)."


class TrainIGR(_Train):
    KIND, NAME, ENCODERS = "igr", "IGR", (CLIP, VISION)
    PAPER = "The paper: 1024 x 768, batch 32, 1e-5, a coarse stage on all pairs, then a fine one on the best fifth (Curate Data Set): two of these nodes, one after the other."


class TrainDiffuseToChoose(_Train):
    KIND, NAME, ENCODERS = "diffuse_to_choose", "DiffuseToChoose", (VISION,)
    PAPER = "The paper: 512 x 512, constant 1e-5, 40 epochs, a perceptual loss beside the noise loss, half of the masks their bounding boxes."


class TrainPMJewelry(_Train):
    KIND, NAME, ENCODERS = "pm_jewelry", "PMJewelry", (CLIP,)
    PAPER = "The paper: 512 x 384, 400 000 steps, batch 24, 1e-4, then 40 000 with the attention loss at 0.001: two of these nodes, one after the other."


class TrainSiftVton(_Train):
    KIND, NAME, ENCODERS, SUPERVISED = "sift_vton", "SiftVton", (VISION,), True
    PAPER = "SIFT-VTON: 512 x 384, batch 32, 1e-4, from StableVITON's weights, SIFT matches supervise attention (0.0005). StableVITON itself: trainable = stableviton, without matches, then with weight_atv 0.001."


class SiftSupervisor(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="FittingRoomSiftSupervisor",
            display_name="SIFT Attention Supervisor",
            category="Fitting Room/Training",
            description="How SIFT matches teach attention where to look while SIFT-VTON trains (equations 1 to 3): a cross-entropy at the matched places of the person, "
            "without building an attention map. Samples without matches train on the noise loss alone.",
            search_aliases=["sift-vton", "attention supervision", "matches", "correspondence loss"],
            inputs=[
                io.Float.Input("weight", default=0.0005, min=0.0, max=10.0, step=0.0001, round=False, tooltip="Weight of the supervision (lambda, 0.0005 in the paper). 0 turns it off."),
                io.Int.Input("max_timestep", default=500, min=0, max=1000, tooltip="Acts below this timestep (0 = clean, 999 = noise), where attention has something to see. 1000 is always."),
                io.String.Input("blocks", default="4, 7, 10", optional=True, tooltip="Output blocks whose attention is supervised, 3 to 11: the middle one of each level as released, or all."),
                io.String.Input("folder", default="", optional=True, tooltip="Folder of match files, from SIFT Matches of a Data Set. Empty uses what lies in the data set."),
                Matches.Input("matches", optional=True, tooltip="Matches in place of files: one per pair of the data set, in its order."),
                io.Combo.Input("form", options=["paper", "released"], default="paper", optional=True, advanced=True, tooltip="paper: equation 1, mean over the batch. released: a floor of 1e-8 in the logarithm and a sum over the batch, as the published code has."),
            ],
            outputs=[Supervision.Output(display_name="supervision", tooltip="For Train SIFT-VTON.")],
        )

    @classmethod
    def validate_inputs(cls, blocks=None):
        try:
            return bool(blocks is None or Supervised(blocks=blocks_from_text(blocks)))
        except ValueError as error:
            return str(error)

    @classmethod
    def execute(cls, weight, max_timestep, blocks="4, 7, 10", folder="", matches=None, form="paper"):
        made = Supervised(weight, float(max_timestep), blocks_from_text(blocks), matches=tuple(matches or ()), folder=folder.strip())
        return io.NodeOutput(made.as_released() if form == "released" else made)


NODES = [SiftSupervisor, TrainAnyDressing, TrainIGR, TrainDiffuseToChoose, TrainPMJewelry, TrainSiftVton]
