"""A training step of a method on the demo U-Net, through the host's own forward: what the tests of terms share."""

import torch
from fitting_room.training.diffusion import Schedule
from fitting_room.training.outputs import Batch, Outputs
from fitting_room.training.terms import Terms

H, W = 16, 12
SIZE = (8 * H, 8 * W)


def noise(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def trainable(base, cls, **options):
    """A method for training whose every weight counts."""
    from fitting_room import host

    loaded = host.new_method(cls, base, 0, options)
    module = cls(loaded.module.config, host.layers(training=True, dtype=torch.float32))
    with torch.no_grad():
        for number, (name, parameter) in enumerate(sorted(module.named_parameters())):
            start = loaded.module.state_dict()[name].clone()
            fan_in = parameter[0].numel() if parameter.ndim > 1 else 1
            parameter.copy_(start + noise(*parameter.shape, seed=number) * 0.3 / max(fan_in, 1) ** 0.5)
    return module


def batch(rows=2, t=400, kept=None, **tensors):
    z0, eps = noise(2, 4, H, W, seed=1)[:rows], noise(2, 4, H, W, seed=2)[:rows]
    t = torch.full((rows,), t) if isinstance(t, int) else torch.tensor(t)
    kept = torch.ones(rows, dtype=torch.bool) if kept is None else torch.tensor(kept)
    return Batch([f"sample {i}" for i in range(rows)], {k: v[:rows] for k, v in tensors.items()}, {}, z0, t, eps, kept, list(range(rows)))


def one(b, row):
    """One sample of a batch as a batch."""
    part = slice(row, row + 1)
    return Batch(b.names[part], {k: v[part] for k, v in b.tensors.items()}, b.text, b.z0[part], b.t[part], b.noise[part], b.kept[part], b.numbers[part])


class Scene:
    """A method on the demo U-Net, and steps with it."""

    def __init__(self, base, module, patches, extras=None, context_rows=2):
        self.base, self.module, self.patches, self.extras = base, module, patches, extras or (lambda b: {})
        self.context = noise(context_rows, 77, 64, seed=3)

    def step(self, b, weights=None, options=None, supervision=None, networks=None, min_snr=0.0, also=None):
        """(terms by name, predicted noise) of one training step."""
        from fitting_room import host

        schedule = Schedule.linear()
        terms = Terms(b, weights or self.module.loss_weights, {**self.module.loss_options, **(options or {})}, networks, supervision, min_snr)
        watch = self.module.watches(terms)
        model = self.base
        for patches in self.patches(b):
            model = host.install(model, patches)
        unet, options = host.trainable_unet(model)
        z_t = schedule.add_noise(b.z0, b.noise, b.t)
        numbers = b.numbers
        marks = torch.tensor([(i + 1) if k else -(i + 1) for i, k in enumerate(b.kept.tolist())])[:, None]
        extras = {f"fitting_room_extra_{k}": v for k, v in self.extras(b).items()}
        run = lambda: unet(z_t, b.t.float(), context=self.context[numbers], transformer_options=host.watched(options, watch), fitting_room_rows=marks, **extras)
        eps = run() if also is None else also(run)
        terms.outputs = Outputs(schedule, b.z0, z_t, b.noise, eps, b.t, b.kept, decode)
        return self.module.losses(terms), eps


def decode(z):
    """A stand-in for the VAE: three channels, eight times as large, with gradient."""
    return torch.nn.functional.interpolate(z[:, :3], scale_factor=8).tanh()


def some_matches(rows=2, count=25):
    points = (torch.rand(rows, count, 2, 2, generator=torch.Generator().manual_seed(4)) * torch.tensor([SIZE[1], SIZE[0]])).floor()
    return {"matches": points, "matches_valid": torch.ones(rows, count, dtype=torch.bool)}


class Keep:
    """Keeps queries and keys as a watch sees them, beside the one that is tested."""

    def __init__(self, inner, blocks):
        self.inner, self.blocks, self.seen = inner, blocks, {}

    def wants(self, place):
        return place in self.blocks

    def see(self, place, **seen):
        self.seen[place] = seen
        if self.inner is not None and self.inner.wants(place):
            self.inner.see(place, **seen)


def random_networks():
    """VGG-19 and a small depth network with random weights."""
    from fitting_room.models.parts.depth_anything import DepthAnything
    from fitting_room.models.parts.layers import Layers
    from fitting_room.models.parts.vgg import Vgg
    from fitting_room.training.networks import Networks

    from ..models.parts.test_depth_anything import random_state

    networks, vgg = Networks(), Vgg(19, Layers(), last="relu5_2")
    networks.put("vgg19", vgg)
    networks.put("depth", DepthAnything.from_state(random_state(), "random"))
    return networks
