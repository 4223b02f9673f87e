"""The nodes: each converts once, calls, returns."""

from . import (
    anydressing,
    composite,
    convert,
    demo,
    diffuse_to_choose,
    hint,
    igr,
    load,
    sampling,
    sift_vton,
    vision,
)

NODES = [
    *load.NODES,
    *demo.NODES,
    *vision.NODES,
    *sampling.NODES,
    *convert.NODES,
    *anydressing.NODES,
    *igr.NODES,
    *diffuse_to_choose.NODES,
    *hint.NODES,
    *sift_vton.NODES,
    *composite.NODES,
]
