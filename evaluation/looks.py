"""Networks that metrics look through. Their weights are files the user has, in models/metrics; nothing is ever fetched."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from io import BytesIO
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from ..models.parts.layers import Layers
from ..models.weights import read_foreign
from ..training.networks import FILES, FOLDER, Networks, Wanted, find_file

EXTRA = {"torchmetrics": "torchmetrics", "torch_fidelity": "torch-fidelity", "matplotlib": "matplotlib"}
"""Module -> package, of the extra `eval`."""

WEIGHTS = {
    "vgg16": FILES["vgg16"],
    "dists": FILES["dists"],
    "alexnet": Wanted("alexnet*", "AlexNet's ImageNet weights", "torchvision's alexnet-owt-7be5be79.pth"),
    "inception": Wanted("*inception*", "FID's Inception network", "torch-fidelity's weights-inception-2015-12-05-6726825d.pth"),
    "clip_b32": Wanted("clip-vit-base-patch32", "CLIP ViT-B/32", "the folder clip-vit-base-patch32 with config.json, model.safetensors and the tokenizer's files"),
    "clip_l14": Wanted("clip-vit-large-patch14", "CLIP ViT-L/14", "the folder clip-vit-large-patch14 with config.json and model.safetensors"),
    "aesthetic": Wanted("*ava1*l14*", "the aesthetic head on CLIP ViT-L/14", "sac+logos+ava1-l14-linearMSE.pth"),
}
"""What metrics need, all in models/metrics: how it is found, what it is, an example."""

EMBEDDERS = {
    "fid": "inception", "kid": "inception", "clip_fid": "clip_b32 stretched", "clip_i": "clip_b32", "clip_i_star": "clip_b32", "clip_t": "clip_b32", "clip_as": "clip_l14",
    "clip_vision_similarity": "vision", "clip_vision_distance": "vision", "clip_vision_kernel": "vision",
}
"""Metric -> whose embeddings it reads."""

CLIP_MEAN, CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
HEAD = (768, 1024, 128, 64, 16, 1)


class MetricError(ValueError):
    """A metric that cannot be computed: what is missing, and what to do."""


def package(module: str):
    """A module of the extra `eval`.

    Raises:
        MetricError: it is not installed; gives the command for this Python.
    """
    try:
        return importlib.import_module(module)
    except ImportError:
        raise MetricError(
            f"{EXTRA[module]} is not installed; it belongs to the extra `eval` of Fitting Room: {sys.executable} -m pip install {EXTRA[module]}"
        ) from None


class Looks:
    """Networks by name, each loaded when a metric first asks for it.

    Args:
        folders: where their files lie (models/metrics). files: a path per entry of `WEIGHTS`, before any folder.
        device: where they run.
        vision: embeddings (B,C) of pictures (B,H,W,3) by the user's CLIP_VISION, or None.
        batch: pictures per forward.
    """

    def __init__(
        self, folders: Sequence[Path | str] = (), files: Mapping[str, Path | str] | None = None, device: torch.device | str = "cpu",
        vision: Callable[[Tensor], Tensor] | None = None, batch: int = 16,
    ):
        self.folders, self.files = [Path(f) for f in folders], {k: Path(p) for k, p in (files or {}).items()}
        self.device, self.vision, self.batch = device, vision, batch
        self._made: dict[str, nn.Module] = {}

    # ---- what there is -------------------------------------------------------------------------------------------------

    def file(self, name: str) -> Path | None:
        """The file or folder of an entry of `WEIGHTS`, or None."""
        if name in self.files:
            return self.files[name]
        if name.startswith("clip_"):
            return next((f / WEIGHTS[name].pattern for f in self.folders if (f / WEIGHTS[name].pattern / "config.json").is_file()), None)
        return find_file(self.folders, WEIGHTS[name])

    def lacks(self, needs: Iterable[str], packages: Iterable[str] = ()) -> str:
        """Why a metric with these needs cannot be computed; "" where it can."""
        for name in needs:
            if name == "vision":
                if self.vision is None:
                    return "it looks through a CLIP vision model of yours, and none is connected; load one with Load CLIP Vision."
            elif name not in self._made and self.file(name) is None:
                wanted = WEIGHTS[name]
                return f"it needs {wanted.label}, and there is no {wanted.pattern} in {FOLDER}; put {wanted.example} there."
        for module in packages:
            try:
                package(module)
            except MetricError as error:
                return str(error)
        return ""

    def need(self, name: str) -> Path:
        """The file of an entry of `WEIGHTS`.

        Raises:
            MetricError: it is not there.
        """
        if reason := self.lacks([name]):
            raise MetricError(f"This metric cannot be computed: {reason}")
        return self.file(name)

    def put(self, name: str, network: nn.Module) -> None:
        """Use a network that is built already: "lpips alex", "lpips vgg", "dists", "inception", "clip_b32" (a `Clip`), "clip_l14", "aesthetic"."""
        self._made[name] = network.eval().requires_grad_(False).to(self.device)

    def _get(self, name: str, make: Callable[[], nn.Module]) -> nn.Module:
        if name not in self._made:
            self.put(name, make())
        return self._made[name]

    # ---- networks ------------------------------------------------------------------------------------------------------

    def dists(self) -> nn.Module:
        """DISTS with the authors' alpha and beta."""
        return self._get("dists", lambda: Networks(files={n: self.need(n) for n in ("vgg16", "dists")}).get("dists", "DISTS"))

    def lpips(self, kind: str) -> nn.Module:
        """LPIPS, pictures in -1..1: "alex" or "vgg", the backbone from the user's file, the linear weights from torchmetrics' wheel."""
        return self._get(f"lpips {kind}", lambda: lpips_network(kind, self.need("alexnet" if kind == "alex" else "vgg16")))

    def clip(self, name: str) -> Clip:
        """A CLIP, "clip_b32" or "clip_l14"."""
        return self._get(name, lambda: Clip.load(self.need(name)))

    def text(self, prompts: list[str]) -> Tensor:
        """Embeddings (N,512) of prompts by CLIP ViT-B/32."""
        with torch.no_grad():
            return self.clip("clip_b32").texts(prompts).float().cpu()

    def aesthetic(self) -> nn.Module:
        """The aesthetic head: embeddings (N,768) to scores (N,)."""
        return self._get("aesthetic", lambda: AestheticHead().take(read_foreign(self.need("aesthetic")), self.need("aesthetic").name))

    def embedder(self, metric: str) -> Callable[[Iterable[Tensor]], Tensor]:
        """What turns pictures (3,H,W) of any sizes into embeddings (N,D) on the CPU, for a metric.

        Raises:
            MetricError: a missing package or file.
        """
        whose, _, how = EMBEDDERS[metric].partition(" ")
        if whose == "vision":
            if reason := self.lacks(["vision"]):
                raise MetricError(f"This metric cannot be computed: {reason}")
            return lambda pictures: _batched(pictures, lambda p: p, lambda b: self.vision(b.movedim(1, -1)), self.batch)
        if whose == "inception":
            network = self._get("inception", lambda: inception_network(self.need("inception")))
            return lambda pictures: _batched(pictures, lambda p: clean(p, (299, 299)), lambda b: inception_features(network, b.to(self.device)), self.batch)
        network = self.clip(whose)
        prepare = (lambda p: clean(p, (network.side, network.side))) if how else (lambda p: centre_square(p, network.side))
        return lambda pictures: _batched(pictures, prepare, lambda b: network.images(b.to(self.device)), self.batch)


@torch.no_grad()
def _batched(pictures: Iterable[Tensor], prepare: Callable[[Tensor], Tensor], embed: Callable[[Tensor], Tensor], batch: int) -> Tensor:
    """Embeddings of pictures, a few at a time; pictures of one shape share a forward."""
    waiting, out = [], []

    def flush():
        if waiting:
            out.append(embed(torch.stack(waiting)).float().cpu())
            waiting.clear()

    for picture in pictures:
        ready = prepare(picture)
        if waiting and waiting[0].shape != ready.shape:
            flush()
        waiting.append(ready)
        if len(waiting) == batch:
            flush()
    flush()
    return torch.cat(out) if out else torch.zeros(0, 1)


# ---- how pictures are brought to a network's size --------------------------------------------------------------------------


def clean(picture: Tensor, size: tuple[int, int]) -> Tensor:
    """A picture (3,H,W) at (width, height), stretched: Pillow's bicubic with its filter on float channels, as clean-fid resizes."""
    import numpy as np
    from PIL import Image

    channels = [np.asarray(Image.fromarray(c.numpy() * 255, "F").resize(size, Image.Resampling.BICUBIC)) for c in picture.float().cpu()]
    return torch.from_numpy(np.stack(channels)).clamp(0, 255) / 255


def centre_square(picture: Tensor, side: int) -> Tensor:
    """A picture (3,H,W) as CLIP's own preparation has it: the shorter side to `side`, bicubic with a filter, the middle square."""
    height, width = picture.shape[-2:]
    scale = side / min(height, width)
    size = (max(side, round(height * scale)), max(side, round(width * scale)))
    picture = interpolate(picture[None].float(), size, mode="bicubic", antialias=True)[0].clamp(0, 1)
    top, left = (size[0] - side) // 2, (size[1] - side) // 2
    return picture[:, top : top + side, left : left + side]


# ---- networks --------------------------------------------------------------------------------------------------------------


class Clip(nn.Module):
    """A CLIP by transformers, from a local folder."""

    def __init__(self, model: nn.Module, tokenizer):
        super().__init__()
        self.model, self.tokenizer = model, tokenizer

    @cached_property
    def side(self) -> int:
        """Of the squares it looks at."""
        return self.model.config.vision_config.image_size

    def images(self, pictures: Tensor) -> Tensor:
        """Embeddings (B,D) of squares (B,3,side,side), 0..1."""
        mean, std = (torch.tensor(v, device=pictures.device)[:, None, None] for v in (CLIP_MEAN, CLIP_STD))
        return self.model.visual_projection(self.model.vision_model(pixel_values=(pictures - mean) / std).pooler_output)

    def texts(self, prompts: list[str]) -> Tensor:
        """Embeddings (B,D) of prompts, cut at its 77 tokens."""
        tokens = self.tokenizer(prompts, padding=True, truncation=True, max_length=77, return_tensors="pt")
        tokens = {k: v.to(self.model.device) for k, v in tokens.items() if k in ("input_ids", "attention_mask")}
        return self.model.text_projection(self.model.text_model(**tokens).pooler_output)

    @classmethod
    def load(cls, folder: Path) -> Clip:
        """From a folder as transformers saves it.

        Raises:
            MetricError: not such a folder.
        """
        from transformers import AutoTokenizer, CLIPModel

        try:
            return cls(CLIPModel.from_pretrained(str(folder), local_files_only=True), AutoTokenizer.from_pretrained(str(folder), local_files_only=True))
        except Exception as error:  # transformers raises many kinds
            raise MetricError(f"The folder '{folder.name}' in {FOLDER} does not load as a CLIP ({str(error).splitlines()[0][:200]}); give all files of its release.") from None


class AestheticHead(nn.Module):
    """The improved aesthetic predictor's head: five linear layers on the normalised embedding of CLIP ViT-L/14. Keys `layers.{0,2,4,6,7}.`"""

    def __init__(self):
        super().__init__()
        linear = [Layers().linear(a, b) for a, b in zip(HEAD, HEAD[1:])]
        idle = nn.Identity()  # dropout, in training
        self.layers = nn.Sequential(linear[0], idle, linear[1], idle, linear[2], idle, linear[3], linear[4])

    def forward(self, embeddings: Tensor) -> Tensor:
        """(N,768) to (N,)."""
        with torch.no_grad():
            embeddings = embeddings.to(self.layers[0].weight)
            return self.layers(embeddings / embeddings.norm(dim=-1, keepdim=True)).squeeze(-1).cpu()

    def take(self, state: Mapping[str, Tensor], name: str) -> AestheticHead:
        """Load a file's weights.

        Raises:
            MetricError: another file.
        """
        own = self.state_dict()
        if set(own) != set(state) or any(own[k].shape != state[k].shape for k in own):
            raise MetricError(f"'{name}' is not the aesthetic head ({', '.join(sorted(own))} were expected); give {WEIGHTS['aesthetic'].example}.")
        self.load_state_dict({k: v.float() for k, v in state.items()})
        return self


def lpips_network(kind: str, path: Path) -> nn.Module:
    """torchmetrics' LPIPS, "alex" or "vgg", its backbone's convolutions from a file of torchvision's.

    torchmetrics itself would fetch them; built with a random backbone it asks for nothing, and gets them here.

    Raises:
        MetricError: another file.
    """
    network = importlib.import_module(f"{package('torchmetrics').__name__}.functional.image.lpips")._NoTrainLpips(net=kind, pnet_rand=True)
    state, own = read_foreign(path), network.net.state_dict()
    taken = {}
    for key, like in own.items():  # slice1.0.weight is torchvision's features.0.weight
        found = state.get(f"features.{key.partition('.')[2]}")
        if found is None or found.shape != like.shape:
            raise MetricError(f"'{path.name}' lacks features.{key.partition('.')[2]} {tuple(like.shape)}; give {WEIGHTS['alexnet' if kind == 'alex' else 'vgg16'].example}.")
        taken[key] = found.float()
    network.net.load_state_dict(taken)
    return network


def inception_network(path: Path) -> nn.Module:
    """torch-fidelity's Inception with its weights from a file.

    Its own reader would run what a pickle says; so the file is read as plain weights first, and handed over as those.

    Raises:
        MetricError: another file.
    """
    module = importlib.import_module(f"{package('torch_fidelity').__name__}.feature_extractor_inceptionv3")
    plain = BytesIO()
    torch.save(read_foreign(path), plain)
    plain.seek(0)
    try:
        return module.FeatureExtractorInceptionV3("inception-v3-compat", ["2048"], feature_extractor_weights_path=plain)
    except RuntimeError as error:
        raise MetricError(f"'{path.name}' is not FID's Inception network ({str(error).splitlines()[0][:160]}); give {WEIGHTS['inception'].example}.") from None


def inception_features(network: nn.Module, squares: Tensor) -> Tensor:
    """(B,2048) of squares (B,3,299,299), 0..1; the network takes 8 bits."""
    return network((squares * 255).round().to(torch.uint8))[0]
