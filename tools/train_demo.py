"""Train the bundled demo weights from nothing: `python3 tools/train_demo.py [--minutes 50] [--stages ...]`.

Everything comes from the drawn world (data/synthetic); nothing is downloaded. Stages, each kept in the work folder and skipped when it is there:

    draw       the world as pictures, by every core
    vae        the autoencoder; more --minutes go on with it
    encode     every picture's latent
    denoiser   U-Net and text encoder, with garments in view; goes on where it was stopped, and with more --minutes
    stack      models/demo/stack.safetensors
    methods    one weights file per method, by training/recipes/demo_*.toml and the loop every training uses

The autoencoder takes 30 % of --minutes, the denoiser the rest; the methods take the steps of their recipes. On a GPU the same commands train longer runs in less time.
"""

from __future__ import annotations

import argparse
import os
import platform
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

if __package__:
    from . import pack
else:
    import pack

ROOT = Path(__file__).resolve().parents[1]
STAGES = ("draw", "vae", "encode", "denoiser", "stack", "methods")
METHODS = ("anydressing", "sift_vton", "igr", "diffuse_to_choose", "pm_jewelry")
SHARES = {"vae": 0.3, "denoiser": 0.7}
FACTOR = 0.18215
"""What the host multiplies latents by on their way to the denoiser."""
HELD = {"person": 256, "jewelry": 64, "insertion": 64}
"""Samples that are never trained on, for numbers and pictures."""


def arguments(given: list[str] | None = None) -> argparse.Namespace:
    """What the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=50, help="time of the stack's trainings, drawing not counted")
    parser.add_argument("--stages", nargs="+", choices=STAGES, default=list(STAGES))
    parser.add_argument("--methods", nargs="+", default=[], help="names of demo recipes, such as igr (default: all)")
    parser.add_argument("--method-steps", type=float, default=1.0, metavar="FACTOR", help="times the steps of the methods' recipes; 0 takes AnyDressing as it was trained with the stack")
    parser.add_argument("--from-bundled", action="store_true", help="where the work folder has no autoencoder and no denoiser yet, start from the bundled ones")
    parser.add_argument("--limit", type=int, default=0, help="samples per method, in place of the recipes' (encoding them takes a third of the time on a processor)")
    parser.add_argument("--work", default=str(ROOT / "output" / "demo_training"), help="where stages are kept")
    parser.add_argument("--processes", type=int, default=0, help="that draw and train side by side (default: one per core, at most 4; one on a GPU)")
    parser.add_argument("--batch", type=int, default=0, help="rows per step and process (default: 16, on a GPU 256)")
    parser.add_argument("--height", type=int, default=128, help="of the pictures in pixels, a multiple of 32; the width is three quarters of it (128, or 256 on a GPU)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cpu", action="store_true", help="train on the processor")
    return parser.parse_args(given)


class NarrowVae:
    """An autoencoder of the stack as the host's VAE speaks: pictures (B,H,W,3) in 0..1, latents divided by the host's 0.18215.

    Attributes:
        first_stage_model: decodes host latents to -1..1 with gradient, for losses on pictures.
    """

    def __init__(self, net):
        import torch
        class Decoder(torch.nn.Module):
            def __init__(self):
                super().__init__()
                self.net = net

            def decode(self, latents):
                return self.net.decode(latents * FACTOR) * 2 - 1

        self.net, self.first_stage_model = net, Decoder()

    def encode(self, pictures):
        """Latents (B,4,H/8,W/8)."""
        import torch

        with torch.no_grad():
            return self.net.encode(pictures[..., :3].movedim(-1, 1).to(next(self.net.parameters()))) / FACTOR

    def decode(self, latents):
        """Pictures (B,H,W,3)."""
        import torch

        with torch.no_grad():
            return self.net.decode(latents.to(next(self.net.parameters())) * FACTOR).clamp(0, 1).movedim(1, -1)


class Run:
    """The stages, with what they share.

    Attributes:
        work: folder of the stages. device: of the training. rank, world: of this process among those of the denoiser's training.
    """

    def __init__(self, options: argparse.Namespace):
        import torch

        self.options, self.work = options, Path(options.work).resolve()
        self.work.mkdir(parents=True, exist_ok=True)
        self.device = torch.device("cpu" if options.cpu or not torch.cuda.is_available() else "cuda")
        self.processes = options.processes or (1 if self.device.type == "cuda" else min(4, os.cpu_count() or 1))
        self.batch = options.batch or (16 if self.device.type == "cpu" else 256)
        if options.height % 32 or options.height < 64:
            raise ValueError(f"The height {options.height} does not do; give a multiple of 32 from 64 on, such as 128 or 256.")
        self.size = (options.height, options.height * 3 // 4)
        self.rank, self.world = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))

    def say(self, text: str) -> None:
        """A line with the time, also in the work folder's log."""
        line = f"{time.strftime('%H:%M:%S')} {text}"
        print(line, flush=True)
        with (self.work / "log.txt").open("a", encoding="utf-8") as log:
            log.write(line + "\n")

    def minutes(self, stage: str) -> float:
        """Of a stage."""
        return self.options.minutes * SHARES[stage]

    # ---- pictures and latents ------------------------------------------------------------------------------------------

    def pictures(self, held: bool = False):
        """The world, or what is held out of training."""
        from fitting_room.training.stack import pictures

        counts, seed = (HELD, pictures.HELD_OUT) if held else (pictures.COUNTS, self.options.seed)
        return pictures.draw(self.work / "drawn", counts, seed, 1 if held else self.processes, pack.load, self.say, *self.size)

    def draw(self) -> None:
        """Stage: every picture."""
        self.say(f"{len(self.pictures())} samples drawn, {len(self.pictures(held=True))} held out")

    def vae(self) -> None:
        """Stage: the autoencoder."""
        import torch
        from fitting_room.training.stack import autoencoder

        torch.set_num_threads(self.processes)
        self.from_bundled()
        held, before = self.pictures(held=True), self.get("vae.pt") if (self.work / "vae.pt").is_file() else {}
        minutes = self.minutes("vae") - before.get("minutes", 0)
        if minutes < 0.5:
            return self.say("vae: there already")
        net, seen = autoencoder.fit(
            self.pictures(), minutes, self.options.seed + len(before), self.device, 16 if self.device.type == "cpu" else 64,
            1.5e-3 if before else 3e-3, self.say, start=self.autoencoder() if before else None,
        )
        seen += before.get("seen", 0)
        numbers = {"scenes": autoencoder.psnr(net, held.image[:128], self.device), "things": autoencoder.psnr(net, held.item[:128, 0], self.device)}
        self.say(f"autoencoder: {seen} crops; held out " + ", ".join(f"{k} {v:.2f} dB" for k, v in numbers.items()))
        self.put("vae.pt", {**before, "net": net.cpu().state_dict(), "seen": seen, "psnr": numbers, "minutes": self.minutes("vae")})

    def from_bundled(self) -> None:
        """The bundled autoencoder as the one to go on with, where that is asked for; its minutes count anew."""
        from fitting_room import host
        from fitting_room.training.stack.autoencoder import Autoencoder

        if self.options.from_bundled and not (self.work / "vae.pt").is_file():
            state, said = host.bundled_stack()
            seen = int(said["fitting_room.trained"].rsplit("autoencoder ", 1)[1].split()[0])
            self.put("vae.pt", {"net": Autoencoder().take(state["vae"]).state_dict(), "seen": seen, "psnr": {}, "minutes": 0.0, "earlier": float(said["fitting_room.minutes"])})

    def autoencoder(self):
        """The trained autoencoder."""
        from fitting_room.training.stack.autoencoder import Autoencoder

        net = Autoencoder()
        net.load_state_dict(self.get("vae.pt")["net"])
        return net.eval().to(self.device)

    def encode(self) -> None:
        """Stage: latents and token ids of every picture."""
        import torch

        torch.set_num_threads(self.processes)
        net = self.autoencoder()
        for name, held in (("train", False), ("held", True)):
            self.put(f"{name}.pt", self.encoded(net, self.pictures(held)))
        self.say("latents encoded")

    def encoded(self, net, pictures) -> dict:
        """Latents and token ids of a set of pictures; see `training.stack.denoiser.Drawn`."""
        import numpy as np
        import torch
        from fitting_room.training.stack import autoencoder
        from fitting_room.training.stack.denoiser import pooled_mask

        every, counts = np.arange(len(pictures)), np.array([len(w) for w in pictures.words])

        def at(values, rows=every):
            """Latents of some rows, zeros for the others."""
            found = autoencoder.latents(net, values, self.device)
            return torch.zeros(len(every), *found.shape[1:], dtype=found.dtype).index_copy_(0, torch.from_numpy(rows), found)

        having = [every, np.nonzero(counts > 1)[0]]
        image = at(pictures.image)
        masks = torch.from_numpy(pictures.mask)
        texts = [pictures.captions, *([w[min(i, len(w) - 1)][k] for w in pictures.words] for i in (0, 1) for k in (0, 1)), [""]]
        ids = [self.ids(t) for t in texts]
        return {
            "image": image, "item": torch.stack([at(pictures.item[rows, i], rows) for i, rows in enumerate(having)], 1),
            "masked": torch.stack([at(pictures.masked(rows, i), rows) for i, rows in enumerate(having)], 1),
            "mask": torch.stack([pooled_mask(masks[:, i : i + 1], image.shape[-2:]) for i in (0, 1)], 1).half(),
            "count": torch.from_numpy(counts), "person": torch.tensor([k == "person" for k in pictures.kind]),
            "caption": ids[0], "words": torch.stack((ids[1], ids[3]), 1), "blind": torch.stack((ids[2], ids[4]), 1), "empty": ids[5],
        }

    def ids(self, texts: list[str]):
        """Token ids (N,32) by the host's own tokenizer."""
        import torch
        from fitting_room import host
        from fitting_room.training.stack.text import TOKENS

        return torch.tensor(host.token_ids(texts, TOKENS))

    # ---- the denoiser --------------------------------------------------------------------------------------------------

    def drawn(self, name: str, encoder):
        """A set of latents with the encoder's rows in place of token ids."""
        from fitting_room.training.stack.denoiser import Drawn

        values = self.get(f"{name}.pt")
        return Drawn(**{k: encoder.index(v) if k in ("caption", "words", "blind", "empty") else v for k, v in values.items()})

    def model(self):
        """(model, schedule) before training, or with the weights of a finished one."""
        import torch
        from fitting_room import host
        from fitting_room.models.registry import METHODS
        from fitting_room.training.diffusion import Schedule
        from fitting_room.training.stack import text
        from fitting_room.training.stack.denoiser import Model, zero_outputs

        torch.manual_seed(self.options.seed)
        seen = [self.get(f"{n}.pt")[k].flatten() for n in ("train", "held") for k in ("caption", "words", "blind", "empty")]
        encoder = text.TextEncoder(text.used_tokens(torch.cat(seen)))
        base = host.demo_unet(replace(host.DEMO_SHAPE, in_channels=9), self.options.seed)
        studio = host.Studio(base, None, precision="fp32" if self.device.type == "cpu" else "bf16")
        studio.device = self.device
        unet = zero_outputs(studio.base())
        method = host.new_method(METHODS["anydressing"], base, self.options.seed, {"slots": ["upper", "lower", "full", "hat"], "rank": 8})
        model = Model(studio, unet, encoder, studio.module(method)).to(self.device)
        return model, Schedule(studio.alphas_cumprod())

    def denoiser(self) -> None:
        """Stage: the processes of the denoiser's training, or one of them."""
        if self.world == 1 and self.processes > 1:
            self._together(["--stages", "denoiser"])
        else:
            self._denoiser()

    def _together(self, flags: list[str]) -> None:
        """Run a stage by several processes that share its steps; torch's own variables tell them of each other."""
        own = self.options
        flags = [*flags, "--minutes", str(own.minutes), "--method-steps", str(own.method_steps), "--limit", str(own.limit), "--work", str(self.work), "--processes", str(self.processes), "--batch", str(self.batch), "--seed", str(own.seed), "--height", str(own.height)]
        flags += [flag for flag, given in (("--cpu", own.cpu), ("--from-bundled", own.from_bundled)) if given]
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        meeting = {"WORLD_SIZE": str(self.processes), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "OMP_NUM_THREADS": "1"}
        started = [subprocess.Popen([sys.executable, __file__, *flags], env={**os.environ, **meeting, "RANK": str(r), "LOCAL_RANK": str(r)}) for r in range(self.processes)]
        codes = [p.wait() for p in started]
        if any(codes):
            raise ValueError(f"The stage stopped with the codes {codes}; what was reached is kept in {self.work}, run the same command again to go on.")

    def _denoiser(self) -> None:
        import torch
        import torch.distributed as dist
        from fitting_room.training.stack import denoiser

        if self.world > 1:
            torch.set_num_threads(1)
            dist.init_process_group("gloo")
        model, schedule = self.model()
        before = self.before(model)
        minutes, kept = self.minutes("denoiser") - before["seconds"] / 60, self.work / f"denoiser_state_{before['steps']}.pt"
        if minutes < 0.5:
            return self.say("denoiser: there already")
        if "ema" in before:
            model.load_state_dict({**model.state_dict(), **before["ema"]})
        start = torch.load(kept, weights_only=False) if kept.is_file() else None
        draws = denoiser.Draws(self.drawn("train", model.text), self.options.seed * 1000 + self.rank + 100 * (before["steps"] + (0 if start is None else start.step)))
        end = denoiser.fit(
            model, draws, schedule, minutes, self.batch, 8e-4 if "ema" in before else 1e-3, self.rank, self.world, 0.0 if "ema" in before else 0.4, start=start,
            keep=lambda state: self.put(kept.name, state), say=self.say,
        )
        if self.rank == 0:
            self.put("denoiser.pt", {"ema": end.ema, "samples": before["samples"] + end.samples, "seconds": before["seconds"] + end.seconds, "steps": before["steps"] + end.step})
            self.say(f"denoiser: {before['samples'] + end.samples} samples in {(before['seconds'] + end.seconds) / 60:.0f} minutes")

    def before(self, model) -> dict:
        """What the training goes on from: its own last end, the bundled stack's weights where that is asked for, or nothing."""
        from fitting_room import host
        from fitting_room.models import weights
        from fitting_room.training.stack.text import start_from

        if (self.work / "denoiser.pt").is_file():
            return self.get("denoiser.pt")
        before = {"samples": 0, "seconds": 0.0, "steps": 0}
        if not self.options.from_bundled:
            return before
        state, said = host.bundled_stack()
        model.unet.load_state_dict(state["unet"])
        start_from(model.text, state["clip"])
        attention = host.DEMO_METHODS / "demo_anydressing.safetensors"
        if attention.is_file():
            model.dressing.take(weights.read(attention, "anydressing")[1], attention.name)
        steps, samples = (int(n.split()[0]) for n in said["fitting_room.trained"].split(", ")[:2])
        if self.rank == 0:
            self.say(f"denoiser: from the bundled one, {samples} samples")
        return {"samples": samples, "seconds": 0.0, "steps": steps, "ema": {k: p.detach().clone() for k, p in model.named_parameters() if p.requires_grad}}

    def finished(self):
        """(model, schedule, what is known of its training), with the mean weights."""
        model, schedule = self.model()
        made = self.get("denoiser.pt")
        model.load_state_dict({**model.state_dict(), **made.pop("ema")})
        return model.eval().requires_grad_(False), schedule, made

    # ---- files ---------------------------------------------------------------------------------------------------------

    def stack(self) -> None:
        """Stage: the file of the stack, and AnyDressing's attention as it stands after it."""
        from fitting_room import host
        from fitting_room.models import weights

        model, _, made = self.finished()
        vae = self.get("vae.pt")
        unet = {f"unet.{k}": v.float() for k, v in model.unet.state_dict().items()}  # 8-bit: pictures do not change to the eye
        state = {f"clip.{k}": v for k, v in model.text.export().items()} | {f"vae.{k}": v for k, v in self.autoencoder().cpu().export().items()}
        said = {
            "trained": f"{made['steps']} steps, {made['samples']} samples of {self.size[1]} x {self.size[0]} pixels; autoencoder {vae['seen']} crops",
            "data": "the drawn world of data/synthetic (17,000 samples)", "machine": self.machine(), "license": "Apache-2.0",
            "source": "tools/train_demo.py", "minutes": f"{vae.get('earlier', 0) + vae['minutes'] + made['seconds'] / 60:.0f}",
        }
        path = weights.write_tensors(host.DEMO_WEIGHTS, {**weights.packed(unet), **{k: v.half() if v.is_floating_point() else v for k, v in state.items()}}, {"fitting_room.stack": "1", **{f"fitting_room.{k}": v for k, v in said.items()}})
        self.say(f"{path.name}: {path.stat().st_size / 1e6:.1f} MB")
        tensors = {model.dressing.to_file(k): v.float().cpu() for k, v in model.dressing.state_dict().items()}
        header = weights.Header("anydressing", model.dressing.config.to_dict(), base=host.fingerprint(host.demo_stack()[0]), trained=f"{made['samples'] // 4} samples with the stack", data="the drawn world")
        weights.write(self.work / "anydressing_start.safetensors", tensors, header)

    # ---- methods -------------------------------------------------------------------------------------------------------

    def methods(self) -> None:
        """Stage: one weights file per method, each by processes that share its steps."""
        for name in self.options.methods or METHODS:
            done = self.work / f"{name}.done"
            if done.is_file():
                self.say(f"{name}: there already")
            elif self.world > 1 or self.processes == 1:
                self.method(name)
            else:
                self._together(["--stages", "methods", "--methods", name])
            if self.rank == 0:
                done.touch()

    def method(self, name: str) -> None:
        """Train one method by its demo recipe, and write its file into models/demo/methods."""
        import torch
        import train
        from fitting_room import host
        from fitting_room.models import weights
        from fitting_room.training import parallel, preview
        from fitting_room.training import run as training
        from fitting_room.training.checkpoint import steps_in
        from fitting_room.training.config import read_recipe
        from fitting_room.training.loop import Hooks

        torch.set_num_threads(1 if self.world > 1 else self.processes)
        recipe = read_recipe(ROOT / "training" / "recipes" / f"demo_{name}.toml")
        own = self.work / f"{name}_start.safetensors"
        if self.options.method_steps == 0 and own.is_file():
            header, tensors = weights.read(own, name)
            return self.bundle(name, header, tensors, "nothing after it; small demo weights")
        options = train.arguments([str(recipe.name), "--output", str(self.work / "runs"), *(["--limit", str(self.options.limit)] if self.options.limit else []), *(["--start", str(own)] if own.is_file() else [])])
        model, _, clip, vision = train.models(recipe, options)
        vae, begun = self.narrow_vae(), time.monotonic()
        method = train.start_method(recipe, options, model)
        for number, (stage, config, data) in enumerate(recipe.stages, 1):
            config = replace(config, steps=max(2, round(config.steps * self.options.method_steps)), height=self.size[0], width=self.size[1])
            shared = parallel.choose(config, self.device.type == "cpu")
            studio = host.Studio(model, vae, clip, vision, config.precision, config.checkpointing)
            folder = self.work / "runs" / f"{name}-{number}-{stage}"
            hooks = Hooks(progress=self._report(name) if shared.rank == 0 else lambda *_: None, say=self.say)
            done = training.train(studio, method, train.data_set(data, options, config), config, folder, self.work / "encodings", hooks, resume=bool(steps_in(folder)), shared=shared)
            method = host.build_method(type(method.module), done.header, done.tensors, name)
            if shared.rank == 0:
                self.say(done.report)
                if done.result.sheet is not None:
                    preview.write(done.result.sheet, self.work / f"{name}-{number}.jpg")
        if self.rank == 0:
            minutes = (time.monotonic() - begun) / 60
            self.bundle(name, done.header, done.tensors, f"small demo weights, {minutes:.0f} minutes on {self.machine()}")

    def bundle(self, name: str, header, tensors, said: str) -> None:
        """Write a method's demo weights into models/demo/methods; `said` follows what its header says of the training."""
        from fitting_room import host
        from fitting_room.models import weights

        header = replace(header, trained=f"{header.trained}; {said}", data="the drawn world of data/synthetic", source="tools/train_demo.py")
        path = weights.write(host.DEMO_METHODS / f"demo_{name}.safetensors", weights.packed(tensors), header)
        self.say(f"{path.name}: {path.stat().st_size / 1e6:.1f} MB, {said}")

    def _report(self, name: str):
        def progress(done: int, total: int, loss: float | None, _picture) -> None:
            if loss is not None and (done % 100 == 0 or done == total):
                self.say(f"{name}: step {done} of {total}, loss {loss:.4f}")

        return progress

    def narrow_vae(self):
        """The autoencoder before it is padded: the same numbers as the host's, four times faster, for encoding a data set."""
        import torch

        return NarrowVae(self.autoencoder().to(memory_format=torch.channels_last))

    def machine(self) -> str:
        """What this runs on, in words."""
        import torch

        if self.device.type == "cuda":
            return torch.cuda.get_device_name()
        return f"{os.cpu_count()} {platform.machine()} cores, {self.processes} processes"

    def put(self, name: str, value) -> None:
        """Keep something whole."""
        import torch

        part = self.work / f".{name}.part"
        torch.save(value, part)
        os.replace(part, self.work / name)

    def get(self, name: str):
        """Something that was kept.

        Raises:
            ValueError: its stage has not run.
        """
        import torch

        if not (self.work / name).is_file():
            raise ValueError(f"'{name}' is not in {self.work}; run the stages before this one first.")
        return torch.load(self.work / name, weights_only=False)


DONE = {"encode": "held.pt"}


def main(given: list[str] | None = None) -> int:
    """Read the command line, enter the environment, run the stages."""
    given = list(sys.argv[1:] if given is None else given)
    options = arguments(given)
    comfyui, base = os.environ.get("FITTING_ROOM_COMFYUI"), os.environ.get("FITTING_ROOM_BASE")
    if not (comfyui and base):
        made, code = pack.enter(__file__, *given)
        if made is None:
            return code
        comfyui, base = made.comfyui, made.base_directory
    pack.load()
    import torch

    pack.load_host(comfyui, "--base-directory", str(base), *(["--cpu"] if options.cpu or not torch.cuda.is_available() else []))
    from fitting_room import host

    try:
        run = Run(options)
    except ValueError as error:
        print(f"\n{error}", file=sys.stderr)
        return 1
    with host.learning():
        for stage in options.stages:
            if stage in DONE and (run.work / DONE[stage]).is_file():
                run.say(f"{stage}: there already")
                continue
            try:
                getattr(run, stage)()
            except ValueError as error:
                print(f"\n{error}", file=sys.stderr)
                return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
