"""The methods by the name in a file's header."""

from __future__ import annotations

from .anydressing import AnyDressing
from .diffuse_to_choose import DiffuseToChoose
from .igr import IGR
from .method import FittingMethod
from .paint_by_example import PaintByExample
from .pm_jewelry import PMJewelry
from .sift_vton import SiftVton
from .weights import WeightsError

METHODS: dict[str, type[FittingMethod]] = {
    cls.kind: cls
    for cls in (
        AnyDressing,
        IGR,
        DiffuseToChoose,
        SiftVton,
        PaintByExample,
        PMJewelry,
    )
}


def method_class(kind: str, name: str) -> type[FittingMethod]:
    """The class of a method.

    Args:
        kind: as in the header.
        name: what to call the file in errors.

    Raises:
        WeightsError: a method this version does not know.
    """
    if kind not in METHODS:
        raise WeightsError(f"'{name}' holds weights of the method {kind!r}, which this version does not know; it knows {', '.join(METHODS)}. Update Fitting Room.")
    return METHODS[kind]
