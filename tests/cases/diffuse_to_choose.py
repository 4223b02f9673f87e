"""Diffuse to Choose under the battery: a hint on a 4-channel base, whose masked picture travels on the conditioning."""

import torch

from . import Case


def case() -> Case:
    from fitting_room import host
    from fitting_room.host.demo import demo_unet
    from fitting_room.models.diffuse_to_choose import DiffuseToChoose

    def make(model):
        return host.new_method(DiffuseToChoose, model, 0, {})

    def conditions(positive, negative, rows):
        masked = torch.randn(rows, 4, 16, 12, generator=torch.Generator().manual_seed(7))
        return host.with_extras(positive, masked=masked), host.with_extras(negative, masked=masked)

    def apply(model, method, rows=1, strength=1.0, start=0.0, end=1.0, hint_seed=3, refresh_every=1):
        hint = torch.zeros(rows, 3, 128, 96)
        hint[..., 32:96, 24:72] = torch.rand(rows, 3, 64, 48, generator=torch.Generator().manual_seed(hint_seed))
        return host.install(model, method.module.patches(hint, strength, refresh_every), method.managed, start, end)

    return Case(
        name="diffuse_to_choose", make=make, apply=apply, base=demo_unet, conditions=conditions, all_rows=True,
        parts={"prepare": 1, "skip": 12, "middle": 1},
        knobs={
            "strength": {"strength": 0.5}, "start": {"start": 0.5}, "end": {"end": 0.3}, "another product": {"hint_seed": 4},
            "refresh_every": {"refresh_every": 2},
        },
        # Tokens are made in a node of their own, and the cross-attention's differences travel as data; test_diffuse_to_choose.py follows both.
        silent=("tokens.", "cross."),
    )
