"""The nodes: each converts once, calls, returns."""

from . import (
    anydressing,
    composite,
    demo,
    diffuse_to_choose,
    hint,
    igr,
    load,
    pm_jewelry,
    sampling,
    vision,
)

NODES = [
    *load.NODES,
    *demo.NODES,
    *vision.NODES,
    *sampling.NODES,
    *anydressing.NODES,
    *igr.NODES,
    *diffuse_to_choose.NODES,
    *pm_jewelry.NODES,
    *hint.NODES,
    *composite.NODES,
]
