"""The inputs that the training nodes share, with each paper's values as defaults."""

from __future__ import annotations

import json

from ..data.augment import SETTINGS
from ..host import io
from ..training.config import BASES, OPTIMIZERS, PRECISIONS, SCHEDULES, TrainConfig
from ..training.tasks import task_class

CLIP = io.Clip.Input("clip", tooltip="The checkpoint's text encoder: captions and prompts are encoded once and kept on disk.")
VISION = io.ClipVision.Input("clip_vision", optional=True, tooltip="The image encoder that the method's tokens are made with; the method's file says which.")
PLAIN = TrainConfig()

TERMS = {
    "noise": "the predicted noise itself",
    "localization": "attention on each garment where that garment is (equations 7 to 9); needs masks of the worn garments",
    "texture": "texture of the decoded picture inside the garments, DISTS and edges (equations 10 to 13); needs DISTS' VGG-16 in models/metrics",
    "perceptual": "VGG features of the decoded picture; needs VGG-19 in models/metrics",
    "sift": "attention at SIFT matches (equations 1 to 3); a connected SIFT Attention Supervisor sets it",
    "atv": "where attention looks: smooth over the garment (StableVITON), or at its target (PM-Jewelry, equation 2)",
    "shadow_mask": "the predicted shadow mask (equation 4); needs true shadow masks",
    "shadow_noise": "the noise inside shadows counted more (equation 6); needs true shadow masks",
    "depth": "the person's depth stays (equation 8); needs a Depth Anything V2 network in models/metrics",
    "perception": "VGG features of the decoded picture around the jewelry; needs VGG-19 in models/metrics",
}


def common_inputs(defaults: dict) -> list:
    """How long, how much at once, how fast, from which seed."""
    return [
        io.Int.Input("steps", default=defaults["steps"], min=1, max=10_000_000, tooltip="Optimizer steps of the whole run. The paper's by default; a few hundred already show whether a small data set is learned."),
        io.Int.Input("batch", default=defaults["batch"], min=1, max=1024, tooltip="Samples at once. Memory grows with it; accumulate makes up for a small one."),
        io.Float.Input("learning_rate", default=defaults["learning_rate"], min=0.0, max=1.0, step=1e-6, round=False, tooltip="Of AdamW, the paper's by default. Small data sets stand ten times as much."),
        io.Int.Input("seed", default=0, min=0, max=0xFFFFFFFF, tooltip="Order of the samples, timesteps, noise and augmentation all follow from it."),
    ]


def loss_inputs(weights: dict) -> list:
    """One weight per term, the paper's by default."""
    return [
        io.Float.Input(
            f"weight_{name}", default=weight, min=0.0, max=1000.0, step=0.0001, round=False, optional=True,
            tooltip=f"Weight of {TERMS.get(name, name)}. {'Off unless you raise it; 0' if not weight else '0'} turns it off and costs nothing.",
        )
        for name, weight in weights.items()
    ]


def more_inputs(kind: str, method, defaults: dict) -> list:
    """Everything with a sound default: presets, resuming, sizes, precision, what learns, validation."""
    task = task_class(kind)
    known = sorted({**method.loss_options, **task.options})
    value = lambda name: defaults.get(name, getattr(PLAIN, name))
    return [
        io.String.Input("resume", default="", optional=True, tooltip="Empty starts a new run. latest goes on with this method's last one; or the name of a run's folder below output/fitting_room/training."),
        io.Combo.Input("preset", options=["as set", "8 GB"], default="as set", optional=True, tooltip="8 GB: one picture at a time with gradient checkpointing, bf16 and an 8-bit optimizer; the batch becomes accumulation, so the step stays the same."),
        io.Boolean.Input("dry_run", default=False, optional=True, tooltip="Only try it out: two steps, a validation, a checkpoint. The report says how long training would take and how much memory and disk."),
        io.Int.Input("width", default=value("width"), min=64, max=2048, step=8, optional=True, tooltip="Width of the pictures in pixels. They are padded, never stretched."),
        io.Int.Input("height", default=value("height"), min=64, max=2048, step=8, optional=True, tooltip="Height of the pictures in pixels."),
        io.Int.Input("validate_every", default=500, min=0, max=1_000_000, optional=True, tooltip="Every so many steps draw the same pictures from the same noise, show them here beside the curve, and measure the loss at fixed timesteps. 0 is never."),
        io.Int.Input("checkpoint_every", default=500, min=0, max=1_000_000, optional=True, tooltip="Save the state every so many steps. 0 saves only at the end and when you cancel."),
        io.Int.Input("accumulate", default=1, min=1, max=1024, optional=True, advanced=True, tooltip="Batches whose gradients are added up before a step: a larger batch in the memory of a small one."),
        io.Combo.Input("schedule", options=list(SCHEDULES), default=value("schedule"), optional=True, advanced=True, tooltip="The learning rate after the warm-up: constant, or falling to 0 at the last step."),
        io.Int.Input("warmup", default=value("warmup"), min=0, max=100_000, optional=True, advanced=True, tooltip="Steps in which the learning rate rises from 0."),
        io.Float.Input("weight_decay", default=value("weight_decay"), min=0.0, max=1.0, step=0.001, optional=True, advanced=True, tooltip="Of AdamW."),
        io.Float.Input("max_norm", default=value("max_norm"), min=0.0, max=1000.0, step=0.1, optional=True, advanced=True, tooltip="Largest norm of the gradient; 0 does not limit it."),
        io.Float.Input("ema", default=value("ema"), min=0.0, max=0.99999, step=0.0001, round=False, optional=True, advanced=True, tooltip="Decay of the running mean of the weights, which is then what is shown and saved. 0 is off; 0.999 suits long runs."),
        io.Float.Input("min_snr", default=value("min_snr"), min=0.0, max=100.0, step=0.5, optional=True, advanced=True, tooltip="Gamma of the min-SNR weight of the noise loss: 5 in SIFT-VTON. 0 weighs all timesteps the same."),
        io.Float.Input("drop", default=value("drop"), min=0.0, max=1.0, step=0.05, optional=True, advanced=True, tooltip="Share of samples whose condition is dropped, so that guidance works."),
        io.Combo.Input("precision", options=["auto", *PRECISIONS], default="auto", optional=True, advanced=True, tooltip="Of the computation; what learns stays fp32. auto is bf16 where the device has it."),
        io.Boolean.Input("checkpointing", default=False, optional=True, advanced=True, tooltip="Compute activations again in the backward pass: a third more time, a fraction of the memory."),
        io.Combo.Input("optimizer", options=list(OPTIMIZERS), default="adamw", optional=True, advanced=True, tooltip="adamw8bit keeps its state in 8 bits where bitsandbytes is installed."),
        io.Combo.Input("trainable", options=list(method.trainable), default=next(iter(method.trainable)), optional=True, advanced=True, tooltip="What of the method learns; paper is the paper's choice."),
        io.Combo.Input("base", options=list(BASES), default="auto", optional=True, advanced=True, tooltip="What of the denoiser learns too: auto as trainable says; frozen, cross_attention, attention, decoder, lora or full. What was trained travels in the method's file (Method Model hands it out)."),
        io.Int.Input("lora_rank", default=PLAIN.lora_rank, min=1, max=512, optional=True, advanced=True, tooltip="Rank of the denoiser's LoRA with base = lora; it is also written as a LoRA file of its own."),
        io.String.Input("augment", default=json.dumps(value("augment")) if value("augment") else "", optional=True, advanced=True, tooltip=f'Changes drawn for every sample, as a JSON object such as {{"flip": 0.5, "shift": 0.2}}; known: {", ".join(SETTINGS)}. Empty is none.'),
        io.Boolean.Input("cache", default=True, optional=True, advanced=True, tooltip="Keep what the frozen encoders say of a sample on disk, so that steps do not encode."),
        io.Int.Input("variants", default=value("variants"), min=1, max=1000, optional=True, advanced=True, tooltip="Drawn versions of each sample that the cache keeps, as augment says; 1 is the picture as it is, without augmentation. Without cache every sample is drawn anew each time."),
        io.Int.Input("validation", default=PLAIN.validation, min=1, max=16, optional=True, advanced=True, tooltip="How many samples are drawn at validation."),
        io.Int.Input("validation_steps", default=PLAIN.validation_steps, min=1, max=1000, optional=True, advanced=True, tooltip="Sampling steps at validation."),
        io.Float.Input("guidance", default=PLAIN.guidance, min=1.0, max=30.0, step=0.1, optional=True, advanced=True, tooltip="Guidance at validation."),
        io.String.Input("options", default="", optional=True, advanced=True, tooltip=f"Further settings of this method's training as a JSON object; known: {', '.join(known) or 'none'}. Empty is the paper's."),
        io.String.Input("run_name", default=kind, optional=True, advanced=True, tooltip="Name of the run's folder below output/fitting_room/training; a number is appended."),
        io.Int.Input("held_out", default=0, min=0, max=100_000, optional=True, advanced=True, tooltip="Samples that are not trained on, drawn at random, for validation: its loss then says whether the method learns or memorises. Samples that share a picture stay together. 0 validates on samples that are trained on."),
        io.Boolean.Input("best", default=True, optional=True, advanced=True, tooltip="At every validation keep the weights as best.safetensors in the run's folder if the loss on the validation samples, at fixed timesteps and noise, is the lowest so far."),
        io.Boolean.Input("buckets", default=False, optional=True, advanced=True, tooltip="Aspect buckets: pictures of other proportions are trained at a size of their own of about the same area, instead of being padded to width x height."),
        io.Float.Input("spike", default=PLAIN.spike, min=0.0, max=1000.0, step=0.5, optional=True, advanced=True, tooltip="Stop when the running mean of the loss has risen to so many times its lowest: the run has diverged. Earlier checkpoints are kept. 0 never stops."),
    ]
