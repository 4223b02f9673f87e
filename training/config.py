"""What a training run is told. The same values come from a node, from a recipe (TOML), and out of a saved run."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from hashlib import blake2b
from pathlib import Path
from typing import Any

PRECISIONS = ("fp32", "bf16", "fp16")
OPTIMIZERS = ("adamw", "adamw8bit")
SCHEDULES = ("constant", "cosine", "linear")
BASES = ("auto", "frozen", "cross_attention", "attention", "decoder", "lora", "full")

LOW_MEMORY = {"precision": "bf16", "checkpointing": True, "optimizer": "adamw8bit", "batch": 1, "cache": True}
"""What the 8 GB preset changes; the batch becomes accumulation, so that the step stays the paper's."""


LATER = {"buckets": False, "held_out": 0, "noisy": 0.0}
"""Settings that came later, as they were before there was a choice: a run from that time can still be continued."""


@dataclass(frozen=True)
class TrainConfig:
    """One stage of training.

    Attributes:
        steps: optimizer steps of the whole run, those of earlier parts included.
        batch: samples per forward and process. accumulate: forwards per step; a step sees batch * accumulate * processes.
        learning_rate, weight_decay, beta1, beta2: of AdamW.
        schedule: "constant", "cosine" or "linear" (both fall to 0 at the last step), after `warmup` steps of linear rise.
        max_norm: largest norm of the gradient; 0 does not limit it.
        ema: decay of the running mean of the weights, which is what is saved; 0 is off.
        optimizer: "adamw", or "adamw8bit" (bitsandbytes; falls back to adamw where it is missing, and says so).
        precision: of the computation, "fp32", "bf16" or "fp16"; weights that learn stay fp32. fp16 scales its loss.
        checkpointing: compute activations again in the backward pass: about a third more time, a fraction of the memory.
        trainable: what learns, by the name of a method's setting; "paper" is the paper's.
        base: what of the denoiser learns: "auto" as that setting says, else see `training.trainable`. lora_rank: with base "lora".
        min_snr: gamma of the noise loss's weight; 0 is the plain mean.
        noisy: share of samples whose timestep is drawn from 400..999 alone, where layout and colour are decided; 0 is the papers' uniform draw.
        losses: weight per term; a term that is not named keeps the method's default. options: per term.
        drop: share of samples whose condition is dropped, for guidance.
        width, height: of the pictures, multiples of 8.
        buckets: pictures of other proportions get a canvas of about the same area instead of broad padding (`data.buckets`).
        seed: of everything that is drawn.
        augment: name -> amount, see `data.augment`; {} is none.
        cache: keep what frozen networks say of a sample on disk. variants: drawn versions of a sample that are kept
            (1 = the picture as it is).
        validate_every, checkpoint_every, log_every: in steps; 0 is never (validation) or only at the end.
        keep: how many checkpoints stay besides the last.
        validation: how many samples are drawn at validation. validation_steps: sampling steps. guidance: of validation.
        held_out: samples that are not trained on, for validation alone; 0 validates on samples that are trained on.
        best: at every validation keep the weights (`best.safetensors`) if its loss is the lowest so far.
        spike: stop when the smoothed loss is so many times its lowest; 0 never does.
    """

    steps: int = 1000
    batch: int = 1
    accumulate: int = 1
    learning_rate: float = 1e-5
    weight_decay: float = 0.01
    beta1: float = 0.9
    beta2: float = 0.999
    schedule: str = "constant"
    warmup: int = 0
    max_norm: float = 1.0
    ema: float = 0.0
    optimizer: str = "adamw"
    precision: str = "fp32"
    checkpointing: bool = False
    trainable: str = "paper"
    base: str = "auto"
    lora_rank: int = 16
    min_snr: float = 0.0
    noisy: float = 0.0
    losses: Mapping[str, float] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    drop: float = 0.0
    width: int = 384
    height: int = 512
    seed: int = 0
    augment: Mapping[str, float] = field(default_factory=dict)
    cache: bool = True
    variants: int = 1
    validate_every: int = 0
    checkpoint_every: int = 500
    log_every: int = 1
    keep: int = 2
    validation: int = 2
    validation_steps: int = 20
    guidance: float = 2.0
    buckets: bool = False
    held_out: int = 0
    best: bool = True
    spike: float = 5.0

    def __post_init__(self) -> None:
        for name, known in (("precision", PRECISIONS), ("optimizer", OPTIMIZERS), ("schedule", SCHEDULES), ("base", BASES)):
            if getattr(self, name) not in known:
                raise ValueError(f"The setting {name} is {getattr(self, name)!r}; choose one of {', '.join(known)}.")
        for name in ("steps", "batch", "accumulate", "log_every", "variants", "lora_rank", "validation_steps"):
            if getattr(self, name) < 1:
                raise ValueError(f"The setting {name} is {getattr(self, name)}; it must be at least 1.")
        for name in ("learning_rate", "weight_decay", "warmup", "max_norm", "min_snr", "validate_every", "checkpoint_every", "keep", "validation", "held_out"):
            if getattr(self, name) < 0:
                raise ValueError(f"The setting {name} is {getattr(self, name)}; it must not be negative.")
        for name, top in (("drop", 1.0), ("noisy", 1.0), ("ema", 0.999999), ("beta1", 0.999999), ("beta2", 0.999999)):
            if not 0 <= getattr(self, name) <= top:
                raise ValueError(f"The setting {name} is {getattr(self, name)}; it must lie between 0 and 1.")
        if self.spike and self.spike <= 1:
            raise ValueError(f"The setting spike is {self.spike}; it must be above 1 (the loss at its lowest is 1 times its lowest), or 0 for never.")
        if self.width % 8 or self.height % 8 or min(self.width, self.height) < 64:
            raise ValueError(f"The size {self.width} x {self.height} cannot be trained at; both sides must be multiples of 8 and at least 64.")

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], where: str = "the recipe") -> TrainConfig:
        """Settings by name.

        Raises:
            ValueError: a name that is not known, or a value that is not allowed.
        """
        known = {f.name for f in fields(cls)}
        if unknown := sorted(set(values) - known):
            raise ValueError(f"{where.capitalize()} has the settings {', '.join(unknown)}, which training does not know; it knows {', '.join(sorted(known))}.")
        plain = cls()
        return cls(**{k: _as(type(getattr(plain, k)), v, k) for k, v in values.items()})

    def to_dict(self) -> dict[str, Any]:
        """Values as they come back from JSON."""
        return json.loads(json.dumps(asdict(self)))

    def low_memory(self) -> TrainConfig:
        """The same step within 8 GB: one picture at a time, checkpointing, bf16, an 8-bit optimizer, cached latents."""
        return replace(self, **LOW_MEMORY, accumulate=self.accumulate * self.batch)

    def fingerprint(self) -> str:
        """What must be equal for a run to be the same run: all but how long it goes and how often it reports."""
        free = ("steps", "validate_every", "checkpoint_every", "log_every", "keep", "validation", "validation_steps", "guidance", "cache", "best", "spike")
        fixed = {k: v for k, v in self.to_dict().items() if k not in free or (k == "steps" and self.schedule != "constant")}
        fixed = {k: v for k, v in fixed.items() if k not in LATER or v != LATER[k]}
        return blake2b(json.dumps(fixed, sort_keys=True).encode(), digest_size=8).hexdigest()


def _as(kind: type, value: Any, name: str) -> Any:
    """A value as its setting's kind, where it is one of that kind."""
    if kind is float and isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value)
    if kind is int and isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, Mapping if kind is dict else kind) and isinstance(value, bool) == (kind is bool):
        return value
    words = {int: "a whole number", float: "a number", bool: "true or false", str: "text", dict: "a table of names and values"}
    raise ValueError(f"The setting {name} is {value!r}; it must be {words[kind]}.")


def toml_reader():
    """The module that reads TOML.

    Raises:
        ValueError: a Python without one.
    """
    try:
        import tomllib
    except ModuleNotFoundError:
        try:
            import tomli as tomllib
        except ModuleNotFoundError:
            raise ValueError("Python 3.10 has no TOML reader; install tomli, or use Python 3.11 or newer.") from None
    return tomllib


def read_toml(path: Path | str) -> dict[str, Any]:
    """A TOML file.

    Raises:
        ValueError: not TOML (says where), or a Python without a TOML reader.
    """
    tomllib, path = toml_reader(), Path(path)
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(f"The recipe '{path.name}' cannot be read ({error.strerror}).") from None
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"The recipe '{path.name}' is not TOML: {error}.") from None


@dataclass(frozen=True)
class Recipe:
    """A training from start to end, in one or more stages.

    Attributes:
        method: kind of the method.
        model: where the base comes from: checkpoint, vae, clip_vision by name, or demo = true.
        data: layout, folder, split, limit.
        method_options: configuration of a new method.
        stages: (name, settings) one after the other, each starting from the weights of the one before.
        start: a weights file to start from, "" for an untrained method.
        name: of the runs and of the weights file.
    """

    method: str
    name: str
    model: Mapping[str, Any]
    data: Mapping[str, Any]
    method_options: Mapping[str, Any]
    stages: tuple[tuple[str, TrainConfig, Mapping[str, Any]], ...]
    start: str = ""


def read_recipe(path: Path | str) -> Recipe:
    """A recipe file; see `training/recipes`.

    Raises:
        ValueError: not TOML, a missing part, or settings that are not known.
    """
    content, name = read_toml(path), Path(path).name
    parts = {"method", "name", "start", "model", "data", "options", "train", "stage"}
    if unknown := sorted(set(content) - parts):
        raise ValueError(f"The recipe '{name}' has {', '.join(unknown)}, and a recipe consists of {', '.join(sorted(parts))}.")
    if "method" not in content or "data" not in content:
        raise ValueError(f"The recipe '{name}' must say `method` and have a part [data].")
    common, stages = content.get("train", {}), content.get("stage") or [{}]
    built = []
    for number, stage in enumerate(stages):
        stage = dict(stage)
        label, data = stage.pop("name", f"stage{number + 1}"), {**content["data"], **stage.pop("data", {})}
        built.append((label, TrainConfig.from_dict({**common, **stage}, f"the recipe '{name}'"), data))
    return Recipe(
        content["method"], content.get("name", Path(path).stem), content.get("model", {}), content["data"], content.get("options", {}),
        tuple(built), content.get("start", ""),
    )
