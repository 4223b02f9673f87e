"""The nodes: each converts once, calls, returns."""

from . import anydressing, load

NODES = [
    *load.NODES,
    *anydressing.NODES,
]
