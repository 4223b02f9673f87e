"""The nodes: each converts once, calls, returns."""

from . import (
    anydressing,
    attention_map,
    composite,
    convert,
    demo,
    diffuse_to_choose,
    hint,
    igr,
    load,
    pm_jewelry,
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
    *pm_jewelry.NODES,
    *hint.NODES,
    *sift_vton.NODES,
    *attention_map.NODES,
    *composite.NODES,
]
