"""IGR under the battery: GarmNet's features of a person of another size than the picture, and image tokens (plus layout)."""

import torch

from . import Case


def case() -> Case:
    from fitting_room import host
    from fitting_room.host.demo import demo_clip, demo_unet, demo_vae
    from fitting_room.models.igr import IGR
    from fitting_room.models.parts.reference import Reference
    from fitting_room.models.parts.tokens import ImageTokens

    vae, clip = demo_vae(), demo_clip()

    def make(model):
        return host.new_method(IGR, model, 0, {"clip_width": 64, "start": "zero", "uncond_tokens": "none"})

    def look(method, rows):
        generator = torch.Generator().manual_seed(7)
        picture, mask = torch.rand(rows, 96, 64, 3, generator=generator), torch.zeros(rows, 1, 96, 64)
        mask[..., 32:80, 16:48] = 1.0
        with torch.no_grad():
            text = host.encode_text(clip, method.module.config.prompt("upper"))[0][0]
            seen = IGR.garmnet_input(host.encode_latent(vae, picture), mask)
            features = host.capture(method.unets["garmnet"], seen, text, cross_attention=True)
        return [Reference("igr", "upper", features, (96, 64))]

    def image_tokens(method, rows):
        hidden = torch.randn(rows, 9, 64, generator=torch.Generator().manual_seed(8))
        project = method.module.image_proj
        return ImageTokens(project(hidden), project(torch.zeros(1, 9, 64)))

    def apply(model, method, rows=1, strength=1.0, token_strength=None, start=0.0, end=1.0, high=True, low=True):
        token_strength = strength if token_strength is None else token_strength
        tokens = image_tokens(method, rows) if low else None
        patches = method.module.patches(look(method, rows) if high else [], tokens, strength, token_strength)
        return host.install(model, patches, method.managed, start, end)

    return Case(
        name="igr", make=make, apply=apply, base=demo_unet, parts={"joined_self": 16, "added_cross": 16},
        knobs={
            "strength": {"strength": 0.5, "token_strength": 1.0}, "token strength": {"token_strength": 0.5}, "start": {"start": 0.5},
            "end": {"end": 0.3}, "no tokens": {"low": False}, "no reference": {"high": False},
        },
        lets_through="eq. 4 has no layer that could start at zero; test_igr.py holds the untrained token path to exactly nothing",
    )
