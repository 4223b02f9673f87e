"""A small classifier that says which garment of the drawn world a picture shows: its pattern and its base colour.

It looks at a box of a picture, brought to 48 x 48, and is told where the garment is worn ("upper", "dress", "lower") or that it lies
flat. Its weights, `judge.safetensors` beside this file, were trained by `tools/judge.py` on drawn pictures at 128 x 96 with blur, noise and
loss of resolution as an autoencoder leaves them; the header holds its accuracy on drawn pictures it had not seen. It knows the
drawn world's garments and nothing else: on photographs its answers mean nothing.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..data.synthetic.palette import COLOURS
from ..data.synthetic.textures import PATTERNS
from ..models.parts.layers import Layers
from ..models.weights import WeightsError, write_tensors

WEIGHTS = Path(__file__).resolve().with_name("judge.safetensors")
HEIGHT = 128   # pictures are looked at in the size of the drawings it learned from
SIDE = 48
MARGIN = 1.08  # the square that is looked at, beside the box's longer side
VIEWS = ("upper", "dress", "lower", "flat")
COLOUR_NAMES = tuple(COLOURS)
KEY = "fitting_room.judge"


@dataclass(frozen=True)
class Verdict:
    """What the judge says of N garments: names, and how sure it is of every name, patterns (N,9) and colours (N,12), rows summing to 1."""

    patterns: tuple[str, ...]
    colours: tuple[str, ...]
    pattern_shares: Tensor
    colour_shares: Tensor

    def right(self, garments: Sequence) -> tuple[np.ndarray, np.ndarray]:
        """Whether the pattern (N,) and the base colour (N,) are those of the given `Garment`s."""
        if len(garments) != len(self.patterns):
            raise ValueError(f"{len(self.patterns)} garments were judged and {len(garments)} true ones given; give one per judged garment, in order.")
        return (np.array([p == g.pattern for p, g in zip(self.patterns, garments)]), np.array([c == g.base for c, g in zip(self.colours, garments)]))


class Judge(nn.Module):
    """The classifier. Call it with pictures and boxes; `load()` brings the bundled weights."""

    def __init__(self, width: int = 24):
        super().__init__()
        self.width, made = width, Layers()  # a small net of its own, outside the host's memory management
        plan = ((4, width, 5, 2), (width, 2 * width, 3, 2), (2 * width, 4 * width, 3, 2), (4 * width, 3 * width, 3, 1))  # inputs, outputs, kernel, stride
        self.stages = nn.ModuleList(nn.Sequential(made.conv(a, b, k, s, bias=False), nn.BatchNorm2d(b), nn.ReLU()) for a, b, k, s in plan)
        features = 3 * sum(b for _, b, _, _ in plan) + len(VIEWS)
        self.pattern, self.colour = made.linear(features, len(PATTERNS)), made.linear(features, len(COLOUR_NAMES))

    def scores(self, crops: Tensor, views: Tensor) -> tuple[Tensor, Tensor]:
        """Scores of patterns (N,9) and colours (N,12) before the softmax, of crops (N,4,48,48) and view numbers (N,) from `crop`."""
        x, seen = crops, [F.one_hot(views, len(VIEWS)).to(crops)]
        for stage in self.stages:
            x = stage(x)
            flat = x.flatten(2)
            seen += [flat.mean(2), flat.amax(2), flat.var(2).add(1e-4).sqrt()]
        features = torch.cat(seen, 1)
        return self.pattern(features), self.colour(features)

    @torch.no_grad()
    def forward(self, images: Tensor, boxes: Tensor, views: str | Sequence[str] = "upper") -> Verdict:
        """Judge one garment per picture.

        Args:
            images: (N,H,W,3) or (1,H,W,3), 0..1; of any size, best drawn at 128 x 96 or larger.
            boxes: (N,4) x0, y0, x1, y1 in pixels, half open (`box_of` makes one from a mask).
            views: "upper", "dress", "lower" or "flat", for all or one per picture.

        Raises:
            ValueError: pictures of another shape, boxes that do not fit them, an unknown view.
        """
        pattern, colour = (s.softmax(1) for s in self.eval().scores(*crop(images, boxes, views)))
        return Verdict(tuple(PATTERNS[i] for i in pattern.argmax(1)), tuple(COLOUR_NAMES[i] for i in colour.argmax(1)), pattern, colour)

    @classmethod
    def load(cls, path: Path | str = WEIGHTS) -> Judge:
        """The judge with its weights.

        Raises:
            WeightsError: no such file, or another one.
        """
        from safetensors import SafetensorError, safe_open

        path = Path(path)
        try:
            with safe_open(str(path), framework="pt") as file:
                header, tensors = dict(file.metadata() or {}), {k: file.get_tensor(k) for k in file.keys()}
        except (OSError, SafetensorError) as error:
            raise WeightsError(f"'{path.name}' cannot be read as the judge's weights ({error}); make them again with tools/judge.py.") from None
        known = (json.dumps(PATTERNS), json.dumps(COLOUR_NAMES))
        if (header.get(f"{KEY}.patterns"), header.get(f"{KEY}.colours")) != known:
            raise WeightsError(f"'{path.name}' does not know the patterns and colours that are drawn now; make it again with tools/judge.py.")
        judge = cls(int(header[f"{KEY}.width"]))
        judge.load_state_dict({k: v.float() if v.is_floating_point() else v for k, v in tensors.items()})
        return judge.eval().requires_grad_(False)

    def save(self, path: Path | str, facts: Mapping[str, str]) -> Path:
        """Write the weights (fp16), with a header of what they are: names, width, and `facts` such as trained, data, accuracy."""
        header = {KEY: "1", f"{KEY}.width": str(self.width), f"{KEY}.patterns": json.dumps(PATTERNS), f"{KEY}.colours": json.dumps(COLOUR_NAMES)}
        header |= {
            "fitting_room.companion": "It judges garments of the drawn world; evaluation/judge.py loads it.", "fitting_room.license": "Apache-2.0",
            **{f"{KEY}.{k}": str(v) for k, v in facts.items()},
        }
        return write_tensors(path, {k: v.half() if v.is_floating_point() else v for k, v in self.state_dict().items()}, header)


def box_of(mask: np.ndarray | Tensor) -> np.ndarray:
    """The box (4,) x0, y0, x1, y1, half open, around the ones of a mask (H,W).

    Raises:
        ValueError: an empty mask.
    """
    rows, columns = np.nonzero(np.asarray(mask) > 0.5)
    if not len(rows):
        raise ValueError("The garment's mask is empty, so there is no box around it; give a mask with the garment in it.")
    return np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1], np.float32)


def crop(images: Tensor, boxes: Tensor, views: str | Sequence[str]) -> tuple[Tensor, Tensor]:
    """What the judge sees: crops (N,4,48,48), the picture in -1..1 and 1 inside the box, and the numbers (N,) of the views.

    The crop is a square about the box, of its longer side; beyond the picture its border is repeated. Larger pictures are made smaller
    first, so that a print has as many pixels as in the drawings the judge learned from.
    """
    images, boxes = torch.as_tensor(images).float(), torch.as_tensor(boxes).float().reshape(-1, 4)
    if images.ndim != 4 or images.shape[-1] != 3:
        raise ValueError(f"Pictures of the shape {tuple(images.shape)} cannot be judged; give (N,H,W,3).")
    count, (height, width) = len(boxes), images.shape[1:3]
    if len(images) not in (1, count):
        raise ValueError(f"{len(images)} pictures and {count} boxes do not go together; give one box per picture.")
    if (boxes[:, 2:] <= boxes[:, :2]).any() or (boxes < -0.5).any() or (boxes[:, 2] > width + 0.5).any() or (boxes[:, 3] > height + 0.5).any():
        raise ValueError(f"A box lies outside the picture of {width} x {height} pixels, or is empty; boxes are x0, y0, x1, y1 in pixels.")
    planes = images.movedim(-1, 1)
    if height > HEIGHT:
        planes = F.interpolate(planes, (HEIGHT, max(1, round(width * HEIGHT / height))), mode="bilinear", antialias=True)
    planes = planes.expand(count, -1, -1, -1)
    size = torch.tensor([width, height, width, height], dtype=torch.float32)
    return sample_boxes(planes, boxes / size), _view_numbers(views, count)


def sample_boxes(planes: Tensor, boxes: Tensor, margin: Tensor | float = MARGIN) -> Tensor:
    """Crops (N,4,48,48) of pictures (N,3,H,W) of the final size, with boxes (N,4) as shares of it and a margin each."""
    height, width = planes.shape[2:]
    box = boxes * torch.tensor([width, height, width, height], dtype=torch.float32)
    middle, extent = (box[:, :2] + box[:, 2:]) / 2, box[:, 2:] - box[:, :2]
    half = extent.amax(1) / 2 * margin
    steps = (torch.arange(SIDE) + 0.5) / SIDE * 2 - 1
    x, y = (middle[:, i, None] + half[:, None] * steps for i in (0, 1))  # (N,48) in pixels
    grid = torch.stack([(x * 2 / width - 1)[:, None, :].expand(-1, SIDE, -1), (y * 2 / height - 1)[:, :, None].expand(-1, -1, SIDE)], -1)
    seen = F.grid_sample(planes, grid, "bilinear", "border", align_corners=False) * 2 - 1
    inside = ((x - middle[:, :1]).abs() <= extent[:, :1] / 2)[:, None, :] & ((y - middle[:, 1:]).abs() <= extent[:, 1:] / 2)[:, :, None]
    return torch.cat([seen, inside[:, None].float()], 1)


def _view_numbers(views: str | Sequence[str], count: int) -> Tensor:
    names = [views] * count if isinstance(views, str) else list(views)
    if len(names) != count or not set(names) <= set(VIEWS):
        raise ValueError(f"The views {', '.join(dict.fromkeys(map(str, names)))} for {count} garments are not understood; give one of {', '.join(VIEWS)} for all, or one per picture.")
    return torch.tensor([VIEWS.index(n) for n in names])
