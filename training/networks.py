"""Frozen networks that losses look through: VGG, DISTS, a depth network. Their weights are files the user has; nothing is fetched."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from fnmatch import fnmatch
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ..models.parts.depth_anything import DepthAnything
from ..models.parts.dists import Dists
from ..models.parts.layers import Layers
from ..models.parts.vgg import Vgg
from ..models.weights import read_foreign

FOLDER = "models/metrics"


class Wanted(NamedTuple):
    """A file that a network needs: how it is found, and what people are told."""

    pattern: str
    label: str
    example: str


FILES = {
    "vgg16": Wanted("vgg16*", "VGG-16's ImageNet weights", "torchvision's vgg16-397923af.pth"),
    "vgg19": Wanted("vgg19*", "VGG-19's ImageNet weights", "torchvision's vgg19-dcbb9e9d.pth"),
    "dists": Wanted("dists*", "DISTS' alpha and beta", "the weights.pt of DISTS, renamed dists.pt"),
    "depth": Wanted("depth_anything_v2*", "a Depth Anything V2 network", "depth_anything_v2_vits.pth"),
}
NETWORKS = {"vgg19": ("vgg19",), "dists": ("vgg16",), "depth": ("depth",)}
"""Network -> the files it cannot do without (DISTS works without alpha and beta, see `models/parts/dists.py`)."""

SUFFIXES = (".pth", ".pt", ".safetensors")


def find_file(folders: Sequence[Path], wanted: Wanted) -> Path | None:
    """The first file of this kind in these folders, or None."""
    found = (p for f in folders if f.is_dir() for p in sorted(f.iterdir()) if p.suffix in SUFFIXES and fnmatch(p.name.lower(), wanted.pattern))
    return next(found, None)


class Networks:
    """Networks by name, each loaded when a loss first asks for it.

    Args:
        folders: where files are looked for, by the beginnings of their names (`FILES`).
        files: a path per entry of `FILES`, before any folder.
        device: where the networks run.
    """

    def __init__(self, folders: Sequence[Path | str] = (), files: Mapping[str, Path | str] | None = None, device: torch.device | str = "cpu"):
        self.folders, self.files, self.device = [Path(f) for f in folders], {k: Path(p) for k, p in (files or {}).items()}, device
        self._made: dict[str, nn.Module] = {}

    def file(self, name: str) -> Path | None:
        """The file of an entry of `FILES`, or None."""
        if name in self.files:
            return self.files[name]
        return find_file(self.folders, FILES[name])

    def missing(self, network: str) -> list[str]:
        """The files that a network lacks (entries of `FILES`); [] when it can be used."""
        return [name for name in NETWORKS[network] if name not in self._made and self.file(name) is None and network not in self._made]

    def get(self, network: str, loss: str) -> nn.Module:
        """A network, frozen.

        Args:
            network: "vgg19", "dists" or "depth".
            loss: the term that asks, for the message.

        Raises:
            ValueError: a file is missing (says which, and where it goes), or is another one than its name says.
        """
        if network not in self._made:
            for name in self.missing(network):
                wanted = FILES[name]
                raise ValueError(
                    f"The loss '{loss}' needs {wanted.label}, and there is no {wanted.pattern} in {FOLDER}; put {wanted.example} there, "
                    f"or set the weight of '{loss}' to 0."
                )
            self._made[network] = self._make(network).to(self.device)
        return self._made[network]

    def put(self, network: str, module: nn.Module) -> None:
        """Use a network that is built already."""
        self._made[network] = module.eval().requires_grad_(False)

    def _make(self, network: str) -> nn.Module:
        makers: dict[str, Callable[[], nn.Module]] = {"vgg19": self._vgg19, "dists": self._dists, "depth": self._depth}
        return makers[network]()

    def _read(self, name: str) -> tuple[dict[str, Tensor], str]:
        path = self.file(name)
        return read_foreign(path), path.name

    def _vgg19(self) -> Vgg:
        return Vgg(19, Layers(), last="relu5_2").take(*self._read("vgg19"))

    def _dists(self) -> Dists:
        weights = (None, "") if self.file("dists") is None else self._read("dists")
        return Dists(Layers()).take(*self._read("vgg16"), *weights)

    def _depth(self) -> DepthAnything:
        return DepthAnything.from_state(*self._read("depth"))
