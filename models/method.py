"""What the five methods have in common: how a module is built, started, named in files and trained."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, ClassVar

from torch import Tensor, nn

from .parts.layers import Layers
from .parts.sites import UNetShape
from .parts.terms import Terms
from .parts.watch import Watch
from .weights import WeightsError, check_keys, check_shapes

ReadWeights = Callable[[list[str]], dict[str, Tensor]]
"""(LDM names; one that ends in a dot means all below it) -> the base U-Net's own weights, without the user's LoRAs."""


@dataclass(frozen=True)
class MethodConfig:
    """Base of every method's configuration: plain numbers and strings, so that it fits a file's header."""

    unet: UNetShape = UNetShape()

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], where: str = "the options") -> MethodConfig:
        """A configuration from a header or from a user's JSON.

        Raises:
            WeightsError: a name this method does not know (says which names it knows).
        """
        known = {f.name: f for f in fields(cls)}
        unknown = sorted(set(values) - set(known))
        if unknown:
            raise WeightsError(f"{where} name {', '.join(map(repr, unknown))}, which {cls.__name__} does not know; it knows {', '.join(sorted(known))}.")
        values = dict(values)
        if isinstance(values.get("unet"), Mapping):
            values["unet"] = UNetShape(**values["unet"])
        return cls(**{k: tuple(v) if isinstance(v, list) else v for k, v in values.items()})

    def to_dict(self) -> dict[str, Any]:
        """Values as they come back from JSON."""
        return json.loads(json.dumps(asdict(self)))


@dataclass(frozen=True)
class Trainable:
    """What learns in one setting.

    Attributes:
        own: beginnings of names: the module's parameters, and those of the U-Nets a file carries (`garmnet.` ...); "" is all.
        base: what of the denoiser learns: frozen, cross_attention, attention, decoder, lora or full (`training/trainable.py`).
    """

    own: tuple[str, ...] = ("",)
    base: str = "frozen"

    def has(self, name: str) -> bool:
        """Whether a parameter learns."""
        return name.startswith(self.own)


DENOISER = "denoiser"
"""A file of any method may bring a trained denoiser under this name; the node Method Model hands it out."""


class FittingMethod(nn.Module):
    """A paper as a torch module.

    Class attributes:
        kind: the name in headers and lists.
        label: the paper's name, for people.
        Config: the configuration class.
        unets: names of whole U-Nets that a file may carry beside the module (LDM names under `<name>.`), with the
            channels each takes at its input; the host builds and manages them. A name ending in "?" is optional.
        loss_weights: weight of each term that `losses` knows, the paper's; 0 is off until it is asked for.
        loss_options: settings of the terms.
        loss_networks: term -> frozen networks it looks through (`training/networks.py`), whose weights the user must have.
        trainable: what learns, per setting; the first is the paper's.
    """

    kind: ClassVar[str] = ""
    label: ClassVar[str] = ""
    Config: ClassVar[type[MethodConfig]] = MethodConfig
    unets: ClassVar[Mapping[str, int]] = {}
    loss_weights: ClassVar[Mapping[str, float]] = {"noise": 1.0}
    loss_options: ClassVar[Mapping[str, Any]] = {}
    loss_networks: ClassVar[Mapping[str, tuple[str, ...]]] = {}
    trainable: ClassVar[Mapping[str, Trainable]] = {"paper": Trainable()}

    def __init__(self, config: MethodConfig, layers: Layers):
        super().__init__()
        self.config = config

    @classmethod
    def required_unets(cls, config: MethodConfig) -> set[str]:
        """The whole U-Nets that a file of this configuration must carry."""
        return {name for name in cls.unets if not name.endswith("?")}

    @classmethod
    def initial_state(cls, config: MethodConfig, read: ReadWeights, seed: int) -> dict[str, Tensor]:
        """Weights to start training from, in file names: what the paper initialises from the base, and zeros."""
        raise WeightsError(f"{cls.label} cannot be started from nothing; load a file.")

    @classmethod
    def to_module(cls, name: str) -> str:
        """A file's key as the module names it."""
        return name

    @classmethod
    def to_file(cls, name: str) -> str:
        """The module's key as a file names it."""
        return name

    def watches(self, terms: Terms) -> Watch | None:
        """What this paper's losses want to see of a training step's forward; None for nothing."""
        return None

    def losses(self, terms: Terms) -> dict[str, Tensor]:
        """The paper's terms after a forward, one number per sample each, (B,); those whose weight is 0 are left out."""
        return terms.ask(noise=terms.noise)

    def file_state(self) -> dict[str, Tensor]:
        """The weights in file names."""
        return {self.to_file(k): v for k, v in self.state_dict().items()}

    def take(self, tensors: Mapping[str, Tensor], name: str, expected: Mapping[str, Tensor] | None = None, assign: bool = False) -> None:
        """Load a complete set of weights (file names).

        Args:
            tensors: the file's tensors, those of `unets` left out.
            name: what to call the file in errors.
            expected: the state of the same module on the meta device. The host's layers may have no weights before
                they are loaded, so the module itself cannot always say what it expects.
            assign: put the tensors in place instead of copying (the host's dynamic memory wants this).

        Raises:
            WeightsError: keys or shapes do not fit.
        """
        state = {self.to_module(k): v for k, v in tensors.items()}
        expected = self.state_dict() if expected is None else expected
        check_keys(name, state, expected)
        check_shapes(name, state, expected)
        self.load_state_dict(state, assign=assign)


def split_unets(method: type[FittingMethod], tensors: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, dict[str, Tensor]]]:
    """The module's own tensors, and those of each whole U-Net the file carries (their prefix removed)."""
    own, unets = {}, {}
    names = {*(n.rstrip("?") for n in method.unets), DENOISER}
    for key, tensor in tensors.items():
        head, _, rest = key.partition(".")
        if head in names:
            unets.setdefault(head, {})[rest] = tensor
        else:
            own[key] = tensor
    return own, unets


def check_slot(slot: str) -> str:
    """A garment slot's name: lower-case letters, digits, '-' and '_'.

    Raises:
        WeightsError: anything else.
    """
    if not re.fullmatch(r"[a-z0-9][a-z0-9_-]{0,31}", slot):
        raise WeightsError(f"{slot!r} cannot name a garment slot; use up to 32 lower-case letters, digits, '-' and '_', such as 'upper'.")
    return slot
