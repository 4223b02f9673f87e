"""The nodes: each converts once, calls, returns."""

from . import anydressing, demo, load, pm_jewelry

NODES = [
    *load.NODES,
    *demo.NODES,
    *anydressing.NODES,
    *pm_jewelry.NODES,
]
