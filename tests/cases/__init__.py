"""One module per method: how the battery of `test_battery.py` builds and applies it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path


@dataclass
class Case:
    """A method under the battery.

    Attributes:
        name: the method's kind.
        make: (model) -> LoadedMethod, untrained, in the form that changes nothing.
        apply: (model, method, rows=1, strength=1.0, start=0.0, end=1.0, **knob) -> MODEL; `rows` pictures per reference.
        base: () -> the MODEL it acts on.
        conditions: (positive, negative, rows) -> the same with what the method puts on conditionings.
        knobs: named keyword arguments of `apply`, each of which must change the picture.
        parts: per kind of site in `Patches`, how many of them the method must reach in one forward.
        silent: parameters (by prefix) that no gradient can reach, each with its reason in the paper's file.
        all_rows: the unconditional rows take part too.
        lets_through: why this method cannot begin as a no-op ("" for all that can).
    """

    name: str
    make: Callable
    apply: Callable
    base: Callable
    conditions: Callable = lambda positive, negative, rows: (positive, negative)
    knobs: dict[str, dict] = field(default_factory=dict)
    parts: dict[str, int] = field(default_factory=dict)
    silent: tuple[str, ...] = ()
    all_rows: bool = False
    lets_through: str = ""


def names() -> list[str]:
    """The methods that have a case."""
    return sorted(p.stem for p in Path(__file__).parent.glob("*.py") if p.stem != "__init__")


def load(name: str) -> Case:
    """The case of a method."""
    return import_module(f"fitting_room.tests.cases.{name}").case()
