"""How good pictures are: metrics, the papers' protocols, a judge for the drawn world, ablations and their report."""
