"""The nodes: each converts once, calls, returns."""

from . import anydressing, demo, load

NODES = [
    *load.NODES,
    *demo.NODES,
    *anydressing.NODES,
]
