"""What every method's training has in common: which networks there are, how samples become batches, how terms are weighed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ...data.sample import Sample
from ...models.parts.watch import Watch
from ..config import TrainConfig
from ..diffusion import Schedule
from ..networks import Networks
from ..outputs import Batch, Outputs
from ..terms import Terms
from ..trainable import LowRank, choose

NOISY = 400
"""The lowest timestep of those that `TrainConfig.noisy` prefers."""


@dataclass
class Encoded:
    """A sample as frozen networks left it: what is kept on disk.

    Attributes:
        name: of the sample.
        tensors: by name, without a batch axis; "z0" is the latent to be learned.
        text: strings, numbers and lists.
    """

    name: str
    tensors: dict[str, Tensor]
    text: dict[str, Any] = field(default_factory=dict)

    def signature(self) -> str:
        """Samples of one signature fit into one batch."""
        return json.dumps([{k: [list(t.shape), str(t.dtype)] for k, t in sorted(self.tensors.items())}, self.text], sort_keys=True)


class Task:
    """A method in training.

    Class attributes:
        kind: of the method.
        defaults: what the paper trained with, as `TrainConfig` settings.
        options: of the batches, with their defaults (those of the terms are the method's `loss_options`).
        needs: what every sample must have (`data.check.NEEDS` names them all).

    Args:
        studio: the host's side.
        method: as loaded; it stays as it was.
        config: of the run.
        supervision: of SIFT matches (`data.supervision`), or None for the paper's.
        networks: what losses look through (`training.networks`), or None for none.
    """

    kind: ClassVar[str] = ""
    fills_hole: ClassVar[bool] = False
    """Whether only what is inside the samples' mask is drawn, as its workflows do it (the sampler's noise mask)."""
    defaults: ClassVar[Mapping[str, Any]] = {}
    options: ClassVar[Mapping[str, Any]] = {}

    def __init__(self, studio, method, config: TrainConfig, supervision=None, networks: Networks | None = None):
        self.studio, self.config, self.supervision, self.networks = studio, config, supervision, networks
        self.header, self.parts = method.header, {}
        self.schedule = Schedule(studio.alphas_cumprod())
        self.module = studio.module(method)
        self.weights, self.setting = self._weights(), self._options()
        self.base = studio.unet(method.unets.get("denoiser", studio.model))
        self.setup(method)
        self.learner = self._choose_learners()
        for network in (self.module, self.base, self.learner, *self.parts.values()):
            studio.place(network)
        self._check_networks()

    def setup(self, method) -> None:
        """For networks of the method's own (`parts`), before it is chosen what learns."""

    def _weights(self) -> dict[str, float]:
        known = self.module.loss_weights
        if unknown := sorted(set(self.config.losses) - set(known)):
            raise ValueError(f"The loss term {', '.join(unknown)} is not known to {self.module.label}; its terms are {', '.join(known)}.")
        return {k: float(w) for k, w in {**known, **self.config.losses}.items()}

    def _options(self) -> dict[str, Any]:
        known = {**self.module.loss_options, **self.options}
        if unknown := sorted(set(self.config.options) - set(known)):
            raise ValueError(f"The option {', '.join(unknown)} is not known to {self.module.label}'s training; it knows {', '.join(sorted(known)) or 'none'}.")
        return {**known, **self.config.options}

    def _choose_learners(self) -> nn.Module:
        """Set what learns, as the method's setting says; returns what holds the denoiser's learning parameters."""
        settings = self.module.trainable
        if self.config.trainable not in settings:
            raise ValueError(f"The setting trainable is {self.config.trainable!r}; {self.module.label} knows {', '.join(settings)}.")
        chosen = settings[self.config.trainable]
        self.trains = chosen.base if self.config.base == "auto" else self.config.base
        for prefix, network in (("", self.module), *((f"{k}.", v) for k, v in self.parts.items())):
            for name, parameter in network.named_parameters():
                parameter.requires_grad_(chosen.has(prefix + name))
        return choose(self.base, self.trains, self.config.lora_rank, self.config.seed)

    def _check_networks(self) -> None:
        """Terms whose networks are not at hand are left out, and said, unless their weight was asked for: then it is an error."""
        for term, names in self.module.loss_networks.items():
            missing = [] if self.networks is None else [n for n in names if self.networks.missing(n)]
            if not self.weights.get(term) or not (missing or self.networks is None):
                continue
            if term in self.config.losses:
                (self.networks or Networks()).get(names[0], term)
            self.weights[term] = 0.0
            self.studio.notes.append(f"The loss '{term}' is left out: it looks through {', '.join(names)}, whose weights are not in models/metrics.")

    # ---- what learns ---------------------------------------------------------------------------------------------------

    def network(self) -> nn.ModuleDict:
        """Everything that may hold learning parameters, under the names of a checkpoint."""
        return nn.ModuleDict({"method": self.module, **({} if self.trains == "frozen" else {"denoiser": self.learner}), **self.parts})

    def parameters(self) -> dict[str, nn.Parameter]:
        """What learns, by name."""
        return {k: p for k, p in self.network().named_parameters() if p.requires_grad}

    @torch.no_grad()
    def result(self, weights: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """A weights file's tensors, and those of a LoRA file of the denoiser ({} where none was trained).

        Args:
            weights: of everything that learns, by the names of `parameters` (the running mean, for instance).
        """
        full = {k: weights.get(k, v).detach() for k, v in self.network().state_dict().items()}
        mine = {k.removeprefix("method."): v for k, v in full.items() if k.startswith("method.")}
        tensors = {self.module.to_file(k): v for k, v in mine.items()}
        for part in self.parts:
            tensors |= {k: v for k, v in full.items() if k.startswith(f"{part}.")}
        low_rank = {}
        if isinstance(self.learner, LowRank):
            tensors |= {f"denoiser.{k}": v for k, v in self.learner.merged(self.base.state_dict()).items()}
            low_rank = self.learner.file_state()
        elif self.trains != "frozen":
            tensors |= {k: v for k, v in full.items() if k.startswith("denoiser.")}
        return {k: v.float().cpu() for k, v in tensors.items()}, low_rank

    # ---- samples -------------------------------------------------------------------------------------------------------

    def encode(self, sample: Sample) -> Encoded:
        """What frozen networks say of a sample; with its "z0". The same sample always gives the same."""
        raise NotImplementedError

    def target(self, sample: Sample) -> Tensor:
        """The picture that is to be drawn, (3,H,W) in 0..1."""
        return sample.person

    def identity(self) -> str:
        """What `encode` depends on beside the sample: kept encodings of another identity are not used."""
        return f"{self.kind} {self.config.width}x{self.config.height} {self.studio.encoders()}"

    def vary(self, encoded: Encoded, generator: torch.Generator) -> Encoded:
        """What is drawn anew each time a sample comes, after its encoding."""
        return encoded

    def batches(self, encoded: list[Encoded], numbers: list[int]) -> list[Batch]:
        """Samples as batches of equal kind: timestep, noise and dropping drawn from each sample's own generator."""
        from ..draws import generator

        groups: dict[str, list] = {}
        for item, number in zip(encoded, numbers):
            draw = generator(self.config.seed, number, "step")
            item = self.vary(item, draw)
            z0 = item.tensors["z0"]
            t = int(torch.randint(len(self.schedule), (), generator=draw))
            if self.config.noisy and torch.rand((), generator=draw) < self.config.noisy:
                t = NOISY + t * (len(self.schedule) - NOISY) // len(self.schedule)
            kept = bool(torch.rand((), generator=draw) >= self.config.drop)
            groups.setdefault(item.signature(), []).append((item, number, t, kept, torch.randn(z0.shape, generator=draw)))
        return [self._batch(rows) for rows in groups.values()]

    def _batch(self, rows: list) -> Batch:
        items, numbers, t, kept, noise = zip(*rows)
        device = self.studio.device
        tensors = {k: torch.stack([i.tensors[k] for i in items]).to(device) for k in items[0].tensors}
        tensors = {k: v.float() if v.is_floating_point() or v.dtype is torch.bool else v for k, v in tensors.items()}
        return Batch(
            [i.name for i in items], tensors, items[0].text, tensors["z0"], torch.tensor(t, device=device), torch.stack(noise).to(device),
            torch.tensor(kept, device=device), list(numbers),
        )

    # ---- a step --------------------------------------------------------------------------------------------------------

    def predict(self, batch: Batch, z_t: Tensor, t: Tensor, kept: Tensor, watch: Watch | None = None) -> Tensor:
        """The predicted noise (B,4,h,w): the denoiser with the method on it.

        Args:
            z_t: (B,4,h,w). t: (B,). kept: (B,) bool, False rows are unconditional.
            watch: looks into the forward for the losses, or None.
        """
        raise NotImplementedError

    def terms(self, batch: Batch) -> dict[str, Tensor]:
        """Every term of the loss that has a weight, one number per sample (B,)."""
        terms = Terms(batch, self.weights, self.setting, self.networks, self.supervision, self.config.min_snr, self.region(batch))
        z_t = self.schedule.add_noise(batch.z0, batch.noise, batch.t)
        eps = self.predict(batch, z_t, batch.t, batch.kept, self.module.watches(terms))
        terms.outputs = Outputs(self.schedule, batch.z0, z_t, batch.noise, eps, batch.t, batch.kept, self.studio.decode)
        return self.module.losses(terms)

    def region(self, batch: Batch) -> Tensor | None:
        """Weights of the noise term per place (B,1,h,w), or None for equal ones.

        The option `outside` (ours; the papers' is 1) is the weight of places that are not repainted: they are given to the denoiser, so
        that a smaller weight lets a small net spend itself on what must be drawn. The weights have a mean of one per sample.
        """
        outside, mask = self.setting.get("outside", 1.0), batch.get("mask")
        if outside == 1 or mask is None:
            return None
        inside = torch.nn.functional.interpolate(mask.float(), batch.z0.shape[-2:], mode="area")
        weight = outside + (1 - outside) * inside
        return weight / weight.mean((1, 2, 3), keepdim=True)

    # ---- what batches need ---------------------------------------------------------------------------------------------

    def dropped_text(self, tokens: Tensor, kept: Tensor, empty: Tensor) -> Tensor:
        """Tokens (B,T,D) with those of dropped rows replaced by the empty prompt's (E,D).

        A long caption is several chunks of the text encoder; the empty prompt is then repeated, as the host does it while sampling.
        """
        empty = empty.repeat(-(-tokens.shape[1] // len(empty)), 1)[: tokens.shape[1]]
        return torch.where(kept[:, None, None].to(tokens.device), tokens, empty.to(tokens))

    def empty_text(self) -> Tensor:
        """Tokens of the empty prompt (T,D), asked for once."""
        if not hasattr(self, "_empty"):
            self._empty = self.studio.text("")
        return self._empty


def as_bytes(picture: Tensor) -> Tensor:
    """(3,H,W) in 0..1 as uint8, which is how pictures are kept beside latents."""
    return (picture * 255).round().to(torch.uint8)


def as_mask(mask: Tensor) -> Tensor:
    """(1,H,W) as bool, which is how masks are kept."""
    return mask > 0.5
