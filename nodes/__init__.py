"""The nodes: each converts once, calls, returns."""

from . import anydressing, igr, load

NODES = [
    *load.NODES,
    *anydressing.NODES,
    *igr.NODES,
]
