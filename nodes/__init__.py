"""The nodes: each converts once, calls, returns."""

from . import (
    anydressing,
    composite,
    demo,
    diffuse_to_choose,
    hint,
    igr,
    load,
    vision,
)

NODES = [
    *load.NODES,
    *demo.NODES,
    *vision.NODES,
    *anydressing.NODES,
    *igr.NODES,
    *diffuse_to_choose.NODES,
    *hint.NODES,
    *composite.NODES,
]
