"""PM-Jewelry under the battery: encoder and shadow module together, on a U-Net with PM-Jewelry's own eleven channels."""

import torch

from . import Case


def pictures(rows=1, height=128, width=96):
    """Head picture, mask, depth, saliency (B,H,W,...) as the node takes them."""
    generator = torch.Generator().manual_seed(11)
    image, depth, saliency = (torch.rand(rows, height, width, 3, generator=generator) for _ in range(3))
    mask = torch.zeros(rows, height, width)
    mask[:, height // 2 : height * 3 // 4, width // 4 : width // 2] = 1
    return image, mask, depth, saliency


def case() -> Case:
    from fitting_room import host
    from fitting_room.host.demo import demo_unet, demo_vae
    from fitting_room.models.parts.sites import UNetShape
    from fitting_room.models.pm_jewelry import PMJewelry
    from fitting_room.nodes import pm_jewelry as nodes

    vae = demo_vae()

    def make(model):
        return host.new_method(PMJewelry, model, 0, {})

    def conditions(positive, negative, rows):
        with torch.inference_mode():
            return nodes.JewelryConditioning.execute(positive, negative, vae, *pictures(rows)).result[:2]

    def apply(model, method, rows=1, strength=1.0, start=0.0, end=1.0, shadow=None, threshold=0.5, max_timestep=700):
        jewelry = torch.rand(rows, 96, 64, 3, generator=torch.Generator().manual_seed(3))
        with torch.no_grad():
            model = nodes.JewelryEncoder.execute(model, method, vae, jewelry, strength, start, end).result[0]
            shadow = strength if shadow is None else shadow
            return nodes.ShadowModule.execute(model, method, shadow, threshold, max_timestep).result[0]

    native = UNetShape(in_channels=11, model_channels=32, context_dim=64, heads=8)
    return Case(
        name="pm_jewelry", make=make, apply=apply, base=lambda: demo_unet(native),
        conditions=conditions, parts={"entry": 1, "decoder": 9, "noise": 1}, all_rows=True,
        knobs={
            "strength": {"strength": 0.5}, "start": {"start": 0.5}, "end": {"end": 0.3}, "the shadow's strength": {"shadow": 0.3},
            "the shadow left out": {"shadow": 0.0}, "the shadow's threshold": {"threshold": 0.999},
            "the gate on the timestep": {"max_timestep": 300},
        },
        # A native U-Net has its own columns for the channels; eq. 5's hard mask lets no gradient through to its predictor.
        # test_pm_jewelry.py follows both: the channels on a 4-channel U-Net, the predictor through its soft mask.
        silent=("channels.", "shadow.mask_predictor."),
    )
