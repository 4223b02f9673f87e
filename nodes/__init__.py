"""The nodes: each converts once, calls, returns."""

    *igr.NODES,
    *diffuse_to_choose.NODES,
    *pm_jewelry.NODES,
    *hint.NODES,
    *composite.NODES,
