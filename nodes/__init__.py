"""The nodes: each converts once, calls, returns."""

from . import anydressing, demo, igr, load

NODES = [
    *load.NODES,
    *demo.NODES,
    *anydressing.NODES,
    *igr.NODES,
]
