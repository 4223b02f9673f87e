"""Pieces that many workflows share."""

from __future__ import annotations

from ..graph import Graph, Node

WORKFLOWS: list = []

WIDTH, HEIGHT = 96, 128
"""What the bundled small weights were trained at. Real weights want the paper's size, which each workflow's notes name."""

CFG = 2.0
"""Guidance of the bundled small weights, which more makes garish; what a paper samples with stands in the note beside the sampler."""


def sample_note(paper: str) -> str:
    """The note beside a sampler: what the paper samples with, for real weights."""
    return f"**Sample.** For real weights {paper}, as in the paper. The small demo model wants a cfg of about {CFG:g}."


DEMO_NOTE = (
    "**Demo model.** This workflow runs at once, without any download: a small model that knows a drawn world of 96 x 128 pixels. "
    "For real pictures put **Load Checkpoint** with an SD1.5 model here, **Load Fitting Method** in place of **Demo Method**, "
    "and your own pictures at the size the notes name."
)
INPAINTING = "inpainting"


def base(g: Graph, group: str = "Models", form: str = "text to image") -> Node:
    """The demo stack, where a user puts a checkpoint loader."""
    g.note(group, DEMO_NOTE)
    return g.node("base", "FittingRoomDemoModel", group=group, title="Model, text encoder, VAE", form=form)


def demo_method(g: Graph, kind: str, label: str, model, id: str = "method", group: str = "Method") -> Node:
    """The bundled weights of a method, where a user puts Load Fitting Method."""
    return g.node(id, "FittingRoomDemoMethod", group=group, title=f"{label} (demo weights)", model=model, method=kind)


def prompts(g: Graph, clip, positive: str, negative: str = "", group: str = "Prompt") -> tuple[Node, Node]:
    """Positive and negative text."""
    yes = g.node("positive", "CLIPTextEncode", group=group, title="Prompt", clip=clip, text=positive)
    no = g.node("negative", "CLIPTextEncode", group=group, title="Negative prompt", clip=clip, text=negative)
    g.param("prompt", yes, "text", "What the picture shows.")
    g.param("negative", no, "text", "What it should not show.")
    return yes, no


def sample(g: Graph, model, positive, negative, latent, vae, *, steps: int, cfg: float, seed: int = 1, sampler: str = "ddim",
           scheduler: str = "ddim_uniform", denoise: float = 1.0, name: str = "sampler", prefix: str = "fitting_room", group: str = "Sample", paper: str = "") -> Node:
    """KSampler, decode and save; returns the decode node, whose IMAGE is the result. `paper`: what the paper samples with, where that is something else."""
    if paper:
        g.note(group, sample_note(paper))
    suffix = "" if name == "sampler" else f"_{name}"
    run = g.node(name, "KSampler", group=group, model=model, positive=positive, negative=negative, latent_image=latent, seed=seed, steps=steps, cfg=cfg,
                 sampler_name=sampler, scheduler=scheduler, denoise=denoise)
    picture = g.node(f"decode{suffix}", "VAEDecode", group=group, samples=run["LATENT"], vae=vae)
    g.node(f"result{suffix}", "SaveImage", group=group, title="Result", images=picture["IMAGE"], filename_prefix=prefix)
    for param, meaning in (("seed", "Another seed gives another picture."), ("steps", "Sampling steps."), ("cfg", "Guidance.")):
        g.param(f"{param}{suffix}", run, param, meaning)
    return picture
