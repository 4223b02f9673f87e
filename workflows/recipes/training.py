"""Training on a small drawn data set: one graph per method, one that goes on with a run, one with SIFT matches."""

from __future__ import annotations

import json

from ..graph import Graph, Node
from .common import base

WIDTH, HEIGHT = 96, 128
DATA_NOTE = (
    "**Data.** Drawn pictures, so that this graph runs at once. For your own pictures set layout and folder (below ComfyUI's input folder): "
    "viton-hd, dress-code, or plain folders. *check* reads every file first and lists by name what is wrong."
)
TRAIN_NOTE = (
    "**Train.** The demo trains a narrow model at 96 x 128 for a minute. For a real one put **Load Checkpoint** in place of the demo model, set the paper's "
    "size, steps and rate (delete the values: they are the defaults), and tick *dry_run* first: it says how long it takes and how much memory. "
    "Cancel saves the state; resume = latest goes on."
)
RESULT_NOTE = "**Result.** The trained method can go straight into the nodes that apply it; saved, it goes into models/fitting_room."


def _data(g: Graph, drawn: str, count: int = 8, **more) -> Node:
    g.note("Data", DATA_NOTE)
    node = g.node("pairs", "FittingRoomPairs", group="Data", layout="synthetic", folder="", split="train", limit=count, drawn=drawn, **{"width": WIDTH, "height": HEIGHT, **more})
    for name, meaning in (
        ("layout", "How the data set lies on disk."), ("folder", "The data set's folder below ComfyUI's input folder."),
        ("limit", "Take the first so many samples; 0 takes all."),
    ):
        g.param(name, node, name, meaning)
    return node


def _method(g: Graph, kind: str, title: str, model, **options) -> Node:
    return g.node("method", "FittingRoomNewMethod", group="Models", title=f"{title} (untrained start)", model=model, method=kind, seed=0, options=json.dumps(options) if options else "")


def _train(g: Graph, node: str, id: str = "train", group: str = "Train", steps: int = 100, **inputs) -> Node:
    values = {"steps": steps, "batch": 2, "learning_rate": 1e-3, "seed": 0, "width": WIDTH, "height": HEIGHT, "validate_every": max(steps // 2, 1)}
    values |= {"validation_steps": 10, "precision": "fp32", "variants": 2, **inputs}
    made = g.node(id, f"FittingRoomTrain{node}", group=group, **values)
    suffix = "" if id == "train" else f"_{id}"
    for name, meaning in (("steps", "Optimizer steps."), ("learning_rate", "Learning rate of AdamW."), ("batch", "Samples at once."), ("seed", "Order, timesteps and noise follow from it.")):
        g.param(f"{name}{suffix}", made, name, meaning)
    return made


def _result(g: Graph, trained: Node, name: str) -> None:
    g.note("Result", RESULT_NOTE)
    g.node("save", "FittingRoomSaveMethod", group="Result", method=trained[0], filename_prefix=f"fitting_room/{name}")
    g.node("curve", "LossGraphNode", group="Result", loss=trained[1], filename_prefix=f"fitting_room/{name}_loss")
    g.node("report", "PreviewAny", group="Result", title="Report", source=trained[3])


def _vision(g: Graph, kind: str) -> Node:
    return g.node("vision", "FittingRoomDemoVision", group="Models", title="Image encoder", kind=kind)


def train_anydressing(info: dict) -> Graph:
    """AnyDressing on persons with all their garments."""
    g = Graph("train_anydressing", info, "Train AnyDressing: persons with the garments they wear, a LoRA per garment slot, and the second attention.")
    stack = base(g)
    method = _method(g, "anydressing", "AnyDressing", stack["MODEL"], rank=8, slots=["upper", "lower", "full", "hat"])
    pairs = _data(g, "dressing")
    g.note("Train", TRAIN_NOTE)
    trained = _train(g, "AnyDressing", model=stack["MODEL"], vae=stack["VAE"], clip=stack["CLIP"], method=method[0], pairs=pairs[0])
    _result(g, trained, "anydressing")
    return g


def train_igr(info: dict) -> Graph:
    """IGR's two stages: everything, then the best of it."""
    g = Graph("train_igr", info, "Train IGR (try-off) in the paper's two stages: coarse on all pairs, fine on the share that Curate Data Set keeps.")
    stack = base(g)
    vision = _vision(g, "clip")
    method = _method(g, "igr", "IGR", stack["MODEL"], clip_width=64, tokens=4)
    pairs = _data(g, "dressing", 10)
    best = g.node("curate", "FittingRoomCurate", group="Data", pairs=pairs[0], rules="", share=0.4, category="upper")
    g.note("Train", TRAIN_NOTE)
    common = {"model": stack["MODEL"], "vae": stack["VAE"], "clip": stack["CLIP"], "clip_vision": vision[0]}
    coarse = _train(g, "IGR", method=method[0], pairs=pairs[0], run_name="igr_coarse", **common)
    fine = _train(g, "IGR", id="fine", steps=50, method=coarse[0], pairs=best[0], run_name="igr_fine", **common)
    _result(g, fine, "igr")
    return g


def train_diffuse_to_choose(info: dict) -> Graph:
    """Diffuse to Choose on scenes with products."""
    g = Graph("train_diffuse_to_choose", info, "Train Diffuse to Choose: scenes, where the product is in them, and the product from another side.")
    stack = base(g)
    wide = g.node("wide", "FittingRoomWidenModel", group="Models", title="Widen Model (demo only: use an inpainting checkpoint)", model=stack["MODEL"], channels=9)
    vision = _vision(g, "dinov2")
    method = _method(g, "diffuse_to_choose", "Diffuse to Choose", wide[0], image_width=64)
    pairs = _data(g, "product")
    g.note("Train", TRAIN_NOTE)
    trained = _train(g, "DiffuseToChoose", model=wide[0], vae=stack["VAE"], clip_vision=vision[0], method=method[0], pairs=pairs[0])
    _result(g, trained, "diffuse_to_choose")
    return g


def train_pm_jewelry(info: dict) -> Graph:
    """PM-Jewelry's two stages: base, then the attention term."""
    g = Graph("train_pm_jewelry", info, "Train PM-Jewelry in the paper's two stages: base, then 10 % more steps with the attention term at 0.001.")
    stack = base(g)
    method = _method(g, "pm_jewelry", "PM-Jewelry", stack["MODEL"])
    pairs = _data(g, "jewelry")
    g.note("Train", TRAIN_NOTE)
    common = {"model": stack["MODEL"], "vae": stack["VAE"], "clip": stack["CLIP"], "pairs": pairs[0]}
    first = _train(g, "PMJewelry", method=method[0], run_name="pm_jewelry", **common)
    second = _train(g, "PMJewelry", id="finetune", steps=20, method=first[0], weight_atv=0.001, run_name="pm_jewelry_atv", **common)
    _result(g, second, "pm_jewelry")
    return g


def _try_on(g: Graph) -> tuple[Node, Node, Node, Node]:
    stack = base(g)
    wide = g.node("wide", "FittingRoomWidenModel", group="Models", title="Widen Model (demo only)", model=stack["MODEL"], channels=13)
    return stack, wide, _vision(g, "clip"), _method(g, "sift_vton", "SIFT-VTON", wide[0], image_width=64)


def train_sift_vton(info: dict) -> Graph:
    """SIFT matches first, kept as files, then training with them."""
    g = Graph("train_sift_vton", info, "Train SIFT-VTON: match every pair once, keep the matches as files, let them supervise attention.")
    stack, wide, vision, method = _try_on(g)
    pairs = _data(g, "dressing", 6, width=4 * WIDTH, height=4 * HEIGHT)  # matching needs detail that training does not
    matches = g.node("matches", "FittingRoomSiftFolder", group="Data", pairs=pairs[0], folder="fitting_room/matches_demo")
    g.note("Train", TRAIN_NOTE)
    supervision = g.node("supervision", "FittingRoomSiftSupervisor", group="Train", weight=0.0005, max_timestep=500, folder=matches[0])
    g.param("sift_weight", supervision, "weight", "Weight of the supervision.")
    trained = _train(g, "SiftVton", model=wide[0], vae=stack["VAE"], clip_vision=vision[0], method=method[0], pairs=pairs[0], supervision=supervision[0])
    _result(g, trained, "sift_vton")
    return g


def train_stableviton(info: dict) -> Graph:
    """StableVITON's two stages, without matches."""
    g = Graph("train_stableviton", info, "Train StableVITON in its two stages: base, then the total variation of attention at 0.001.")
    stack, wide, vision, method = _try_on(g)
    pairs = _data(g, "dressing", 6)
    g.note("Train", TRAIN_NOTE)
    common = {"model": wide[0], "vae": stack["VAE"], "clip_vision": vision[0], "pairs": pairs[0], "weight_sift": 0.0, "trainable": "stableviton", "drop": 0.2, "min_snr": 0.0}
    first = _train(g, "SiftVton", method=method[0], run_name="stableviton", **common)
    second = _train(g, "SiftVton", id="atv", steps=20, method=first[0], weight_atv=0.001, run_name="stableviton_atv", **common)
    _result(g, second, "stableviton")
    return g


def train_resume(info: dict) -> Graph:
    """A run, and the same run continued."""
    g = Graph("train_resume", info, "Go on with a run: the first node trains 20 steps, the second one takes its last checkpoint and trains to 40, as if it had never stopped.")
    stack = base(g)
    method = _method(g, "anydressing", "AnyDressing", stack["MODEL"], rank=4, slots=["upper", "lower", "full", "hat"])
    pairs = _data(g, "dressing", 4)
    g.note("Train", TRAIN_NOTE)
    common = {"model": stack["MODEL"], "vae": stack["VAE"], "clip": stack["CLIP"], "pairs": pairs[0], "run_name": "resume_demo"}
    first = _train(g, "AnyDressing", steps=20, method=method[0], **common)
    second = _train(g, "AnyDressing", id="resumed", steps=40, method=first[0], resume="latest", **common)
    _result(g, second, "resumed")
    return g


WORKFLOWS = [
    train_anydressing, train_igr, train_diffuse_to_choose, train_pm_jewelry, train_sift_vton, train_stableviton, train_resume,
]
