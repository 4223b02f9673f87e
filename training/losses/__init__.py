"""The terms of the five papers' losses, one function per term, one number per row, the equation in the docstring.

    attention.py   SIFT cross-entropy (SIFT-VTON 1-2), total variation (StableVITON), distance from targets (PM-Jewelry 2),
                   localization (AnyDressing 7-9)
    targets.py     where attention ought to look (PM-Jewelry's G)
    masks.py       BCE + Dice (PM-Jewelry 4), where a shadow's noise counts more (6)
    pictures.py    DISTS and Canny high frequency (AnyDressing 12-13), VGG perceptual (Diffuse to Choose), cosine (PM-Jewelry)
    depth.py       depth consistency (PM-Jewelry 8)
    watches.py     the terms on attention and on the shadow's mask, taken inside a forward
    ../diffusion.py   the noise term and min-SNR

Who knows what: a paper's file says which terms it has, at which places, below which timestep, on which mask and with which
weight (`watches`, `losses`, `loss_weights`). It asks a `Terms` (`models/parts/terms.py`) and imports nothing from here, because
models must stand without the trainer; `training/terms.py` answers with these functions, which know tensors and no paper's settings.
"""
