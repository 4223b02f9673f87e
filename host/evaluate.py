"""What measuring asks of the host: embeddings by the user's own image encoder."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from .vision import encode_vision


def vision_embedder(clip_vision) -> Callable[[Tensor], Tensor]:
    """A function from pictures (B,H,W,3) in 0..1 to embeddings (B,C): the class token after the last norm, of CLIP or DINOv2."""
    return lambda pictures: encode_vision(clip_vision, pictures).pooled
