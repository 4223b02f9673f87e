"""SIFT-VTON under the battery, on a U-Net with its own thirteen channels."""

import torch

from . import Case


def case() -> Case:
    from fitting_room import host
    from fitting_room.host.demo import demo_unet
    from fitting_room.models.parts.channels import TRY_ON
    from fitting_room.models.parts.sites import UNetShape
    from fitting_room.models.sift_vton import SiftVton

    def make(model):
        return host.new_method(SiftVton, model, 0, {"image_width": 64})

    def conditions(positive, negative, rows):
        generator = torch.Generator().manual_seed(5)
        masked, pose = (torch.randn(rows, 4, 16, 12, generator=generator) for _ in range(2))
        mask = torch.zeros(rows, 1, 16, 12)
        mask[..., 4:12, 3:9] = 1
        stack = TRY_ON.stack(masked=masked, mask=mask, pose=pose)
        return host.with_channels(positive, TRY_ON, stack), host.with_channels(negative, TRY_ON, stack)

    def apply(model, method, rows=1, strength=1.0, start=0.0, end=1.0, garment_seed=3, unconditional=None):
        garment = torch.randn(rows, 4, 16, 12, generator=torch.Generator().manual_seed(garment_seed))
        patches = method.module.patches(garment, strength, unconditional)
        return host.install(model, patches, method.managed, start, end, channels=True)

    return Case(
        name="sift_vton", make=make, apply=apply, base=lambda: demo_unet(UNetShape(13, 32, 64, 8)), conditions=conditions,
        parts={"prepare": 1, "entry": 1, "decoder": 9},
        knobs={
            "strength": {"strength": 0.5}, "start": {"start": 0.5}, "end": {"end": 0.3}, "another garment": {"garment_seed": 4},
            "the unconditional branch": {"unconditional": "garment"},
        },
        # A native U-Net has its own columns for the channels, and the token is made in a node of its own; test_sift_vton.py follows both.
        silent=("channels.", "token."),
    )
