"""The nodes: each converts once, calls, returns."""

from . import anydressing, demo, load, vision

NODES = [
    *load.NODES,
    *demo.NODES,
    *vision.NODES,
    *anydressing.NODES,
]
