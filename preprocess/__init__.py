"""Arrays in, arrays out: masks, hints, edges, depth, saliency, segmentation, matches, placement."""
