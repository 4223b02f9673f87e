"""The nodes: each converts once, calls, returns."""

from . import (
    anydressing,
    composite,
    curate,
    demo,
    diffuse_to_choose,
    hint,
    igr,
    load,
    maps,
    masks,
    matches,
    pairs,
    segment,
    taste,
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
    *masks.NODES,
    *maps.NODES,
    *segment.NODES,
    *matches.NODES,
    *taste.NODES,
    *pairs.NODES,
    *curate.NODES,
]
