"""Train from a recipe: `python3 tools/train.py training/recipes/anydressing.toml --data /data/dressing`.

On several GPUs, or machines: `accelerate launch tools/train.py RECIPE.toml ...` (DDP, or DeepSpeed ZeRO-2 as accelerate was configured).
Several machines need one --output folder that all of them see, because each reads the checkpoint it resumes from.
The same loop and the same files as the nodes; runs lie in --output, and a run that was stopped goes on with --resume.
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
    parser.add_argument("recipe", help="a TOML file; see training/recipes")
    parser.add_argument("--data", default="", help="the data set's folder, in place of the recipe's")
    parser.add_argument("--layout", default="", help="the data set's layout, in place of the recipe's")
    parser.add_argument("--limit", type=int, default=-1, help="only the first so many samples")
    parser.add_argument("--checkpoint", default="", help="an SD1.5 checkpoint, in place of the recipe's")
    parser.add_argument("--demo", action="store_true", help="train on the bundled small model, to try things out")
    parser.add_argument("--start", default="", help="a weights file to start from, in place of an untrained method")
    parser.add_argument("--output", default="", help="where runs are written (default: output/fitting_room/training of ComfyUI)")
    parser.add_argument("--steps", type=int, default=0, help="optimizer steps of every stage, in place of the recipe's")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="another setting of every stage, such as batch=1 (TOML values)")
    parser.add_argument("--low-memory", action="store_true", help="the 8 GB preset")
    parser.add_argument("--resume", action="store_true", help="go on with the last checkpoint of each stage's run")
    parser.add_argument("--dry-run", action="store_true", help="two steps of the first stage: time, memory, disk")
    parser.add_argument("--check", action="store_true", help="read the whole data set first, and stop where something is wrong")
    parser.add_argument("--cpu", action="store_true", help="train on the processor")
    return parser.parse_args(given)


def overrides(options: argparse.Namespace) -> dict:
    """Settings from the command line, parsed as TOML.

    Raises:
        ValueError: a --set that is not NAME=VALUE.
    """
    from fitting_room.training.config import toml_reader

    tomllib = toml_reader()
    out = {"steps": options.steps} if options.steps else {}
    for text in options.set:
        name, sign, value = text.partition("=")
        try:
            out[name.strip()] = tomllib.loads(f"value = {value}")["value"] if sign else None
        except tomllib.TOMLDecodeError:
            out[name.strip()] = value.strip()
        if not sign:
            raise ValueError(f"--set {text} is not NAME=VALUE, such as --set batch=1.")
    return out


def models(recipe, options: argparse.Namespace):
    """(MODEL, VAE, CLIP, CLIP_VISION or None) that the recipe or the command line names."""
    from fitting_room import host

    wanted, checkpoint = recipe.model, options.checkpoint or recipe.model.get("checkpoint", "")
    if options.demo or wanted.get("demo"):
        model, clip, vae, _ = host.demo_stack(9 if wanted.get("in_channels") == 9 else 4)
        vision = host.demo_vision(wanted.get("demo_vision", "clip"))
    else:
        if not checkpoint:
            raise ValueError("The recipe names no checkpoint; give --checkpoint FILE, or --demo to try things out.")
        model, clip, vae, vision = host.load_models(checkpoint, wanted.get("vae", ""), wanted.get("clip_vision", ""))
    channels = int(wanted.get("in_channels", 0))
    if channels and host.unet_shape(model).in_channels < channels:
        model = host.widen(model, channels)
    return model, vae, clip, vision


def start_method(recipe, options: argparse.Namespace, model):
    """The method that the first stage starts from."""
    from fitting_room import host
    from fitting_room.models import weights
    from fitting_room.models.registry import METHODS, method_class

    path = options.start or recipe.start
    if not path:
        own = recipe.method_options if not (options.demo or recipe.model.get("demo")) else {**recipe.method_options, **recipe.model.get("demo_options", {})}
        return host.new_method(METHODS[recipe.method], model, 0, dict(own))
    header, tensors = weights.read(path, recipe.method)
    return host.build_method(method_class(header.method, path), header, tensors, Path(path).name)


def data_set(data: dict, options: argparse.Namespace, config):
    """The pairs of a stage; drawn ones are drawn into the output folder."""
    from fitting_room.data.drawn import LAYOUT, draw_folder
    from fitting_room.data.find import find_pairs

    layout, limit = options.layout or data.get("layout", "folder"), data.get("limit", 0) if options.limit < 0 else options.limit
    if layout == "synthetic":
        what = data.get("drawn", "dressing")
        folder = output(options) / "drawn" / f"{what}_{limit or 12}_{config.width}x{config.height}"
        return find_pairs(LAYOUT.get(what, what), draw_folder(folder, limit or 12, config.height, config.width, what=what))
    folder = options.data or data.get("folder", "")
    if not folder or not Path(folder).is_dir():
        raise ValueError(f"The data set's folder '{folder}' does not exist; give --data FOLDER.")
    return find_pairs(layout, Path(folder), data.get("split", "train"), limit, data.get("pairing", "paired"))


def output(options: argparse.Namespace) -> Path:
    """Where runs are written."""
    if options.output:
        return Path(options.output)
    import folder_paths

    return Path(folder_paths.get_output_directory()) / "fitting_room" / "training"


def checked(pairs, kind: str, config) -> None:
    """Read the whole data set, and stop where something is wrong."""
    from fitting_room.data.check import NEEDS, check

    found = check(pairs, config.height, config.width, NEEDS[kind])
    print("\n".join(found.lines()), flush=True)
    if found.bad:
        raise ValueError(f"{len(found.bad)} of {found.total} samples cannot be used; they are listed above.")


def run(options: argparse.Namespace) -> int:
    """Every stage of the recipe, one after the other."""
    from fitting_room import host
    from fitting_room.data.supervision import Supervision
    from fitting_room.training import parallel
    from fitting_room.training.checkpoint import steps_in
    from fitting_room.training.config import TrainConfig, read_recipe
    from fitting_room.training.loop import Hooks
    from fitting_room.training.networks import Networks
    from fitting_room.training.run import dry_run, train

    recipe, changes = read_recipe(options.recipe), overrides(options)
    with host.learning():
        model, vae, clip, vision = models(recipe, options)
        method = start_method(recipe, options, model)
        for number, (name, config, data) in enumerate(recipe.stages, 1):
            config = TrainConfig.from_dict({**config.to_dict(), **changes}, "the command line")
            config = config.low_memory() if options.low_memory else config
            pairs = data_set(data, options, config)
            shared = parallel.choose(config, options.cpu or None)
            if shared.rank == 0:
                print(pairs.report(), flush=True)
            if options.check:
                checked(pairs, recipe.method, config)
            studio = host.Studio(model, vae, clip, vision, config.precision, config.checkpointing)
            networks = Networks(host.metrics_folders(), device=studio.device)
            supervision = Supervision(weight=config.losses.get("sift", Supervision.weight)) if recipe.method == "sift_vton" else None
            folder = output(options) / f"{recipe.name}-{number}-{name}"
            hooks = Hooks(progress=report_progress, say=lambda text: print(text, flush=True)) if shared.rank == 0 else Hooks()
            if options.dry_run:
                print(dry_run(studio, method, pairs, config, supervision, networks, hooks), flush=True)
                return 0
            done = train(studio, method, pairs, config, folder, output(options) / "encodings", hooks, supervision, networks, options.resume and bool(steps_in(folder)), shared)
            if shared.rank == 0:
                print(f"\n{done.report}\nin {folder}", flush=True)
            method = host.build_method(type(method.module), done.header, done.tensors, recipe.name)
    return 0


def report_progress(done: int, total: int, loss: float | None, _picture) -> None:
    """One line that is written over, or one per hundredth where output goes to a file."""
    if loss is None or not (sys.stdout.isatty() or done == total or done % max(1, total // 100) == 0):
        return
    print(f"\rstep {done} of {total}, loss {loss:.4g} ", end="" if sys.stdout.isatty() else "\n", flush=True)


def absolute(given: list[str]) -> list[str]:
    """Arguments whose paths hold from any folder, because the environment's Python starts in another one."""
    names = ("--output", "--data", "--start", "--checkpoint")
    return [os.path.abspath(a) if os.path.exists(a) or (i and given[i - 1] in names and os.sep in a) or (i and given[i - 1] == "--output") else a for i, a in enumerate(given)]


def main(given: list[str] | None = None) -> int:
    """Read the command line, enter the environment, train."""
    options = arguments(given)
    inside = all(os.environ.get(name) for name in ("FITTING_ROOM_COMFYUI", "FITTING_ROOM_BASE"))
    comfyui, base = os.environ.get("FITTING_ROOM_COMFYUI"), os.environ.get("FITTING_ROOM_BASE")
    if not inside:
        made, code = pack.enter(__file__, *absolute(given if given is not None else sys.argv[1:]))
        if made is None:
            return code
        comfyui, base = made.comfyui, made.base_directory
    pack.load()
    import torch

    flags = ["--base-directory", str(base)]
    flags += ["--cpu", "--use-pytorch-cross-attention"] if options.cpu or not torch.cuda.is_available() else []
    if "--cpu" not in flags and os.environ.get("LOCAL_RANK"):
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))  # the host takes the current device
    pack.load_host(comfyui, *flags)
    from fitting_room import host

    host.register_folders()
    try:
        return run(options)
    except ValueError as error:
        print(f"\n{error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
