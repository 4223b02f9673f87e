"""The methods by the name in a file's header."""

from __future__ import annotations

from .anydressing import AnyDressing
from .diffuse_to_choose import DiffuseToChoose
from .igr import IGR
from .method import FittingMethod
from .pm_jewelry import PMJewelry
from .weights import WeightsError

METHODS: dict[str, type[FittingMethod]] = {
    cls.kind: cls
    for cls in (
        AnyDressing,
        IGR,
        DiffuseToChoose,
        PMJewelry,
    )
}
