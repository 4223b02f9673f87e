"""One file per method: what a sample becomes, and what the denoiser sees of it in a training step."""

from __future__ import annotations

from importlib import import_module

TASKS = {
    "anydressing": "AnyDressingTask",
    "igr": "IGRTask",
    "diffuse_to_choose": "DiffuseToChooseTask",
    "pm_jewelry": "PMJewelryTask",
    "sift_vton": "SiftVtonTask",
}


def task_class(kind: str):
    """The task of a method's kind."""
    return getattr(import_module(f".{kind}", __package__), TASKS[kind])
