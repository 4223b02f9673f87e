"""AnyDressing under the battery: two garments of different sizes."""

import torch

from . import Case


def case() -> Case:
    from fitting_room import host
    from fitting_room.host.demo import demo_unet, demo_vae
    from fitting_room.models.anydressing import AnyDressing
    from fitting_room.models.parts.reference import Reference

    vae = demo_vae()

    def make(model):
        return host.new_method(AnyDressing, model, 0, {"rank": 4, "slots": ["upper", "lower"], "start": "zero"})

    def references(model, method, rows):
        out = []
        for number, (slot, height) in enumerate((("upper", 96), ("lower", 64))):
            picture = torch.rand(rows, height, 64, 3, generator=torch.Generator().manual_seed(number))
            with torch.no_grad():
                features = host.capture(model, host.encode_latent(vae, picture), lora=method.module.garment_lora([slot] * rows), also_load=method.managed)
            out.append(Reference("anydressing", slot, features, (height, 64)))
        return out

    def apply(model, method, rows=1, strength=1.0, start=0.0, end=1.0, garment_strength=1.0, only=None):
        worn = references(model, method, rows)
        worn = [worn[0].with_strength(garment_strength), *worn[1:]] if only is None else worn[only : only + 1]
        return host.install(model, method.module.patches(worn, strength), method.managed, start, end)

    return Case(
        name="anydressing", make=make, apply=apply, base=demo_unet, parts={"added_self": 16},
        knobs={
            "strength": {"strength": 0.5}, "start": {"start": 0.5}, "end": {"end": 0.3}, "a garment's strength": {"garment_strength": 0.5},
            "a garment left out": {"garment_strength": 0.0}, "one garment": {"only": 0},
        },
        # The LoRAs act in the reference pass, whose features are data here; test_anydressing.py follows their gradient.
        silent=("gfe.",),
    )
