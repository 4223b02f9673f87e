"""The nodes: each converts once, calls, returns."""

from . import anydressing, demo, load, sampling, vision

NODES = [
    *load.NODES,
    *demo.NODES,
    *vision.NODES,
    *sampling.NODES,
    *anydressing.NODES,
]
