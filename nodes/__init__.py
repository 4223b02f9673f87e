"""The nodes: each converts once, calls, returns."""

from . import anydressing, composite, demo, diffuse_to_choose, hint, load

NODES = [
    *load.NODES,
    *demo.NODES,
    *anydressing.NODES,
    *diffuse_to_choose.NODES,
    *hint.NODES,
    *composite.NODES,
]
