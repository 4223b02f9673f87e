"""The stack's text encoder: CLIP's text tower at a small width, which learns together with the denoiser.

The host's own layers add in place and cannot learn; this is the same tower with a table of the tokens in use alone. Words the world never
says share the mean of that table.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

TOKENS = 32
"""Tokens of a prompt, start and end included; a longer prompt is read in chunks, as the host does."""
VOCABULARY = 49408
WIDTH, HEADS, LAYERS = 64, 4, 2
_NAMES = {"q": "self_attn.q_proj", "k": "self_attn.k_proj", "v": "self_attn.v_proj", "out": "self_attn.out_proj", "wide": "mlp.fc1", "narrow": "mlp.fc2"}
_NAMES |= {"norm1": "layer_norm1", "norm2": "layer_norm2"}
_TOWER = "clip_l.transformer.text_model"


class Layer(nn.Module):
    """One layer of the tower: causal self-attention and a quick-GELU perceptron, both after a norm."""

    def __init__(self, width: int = WIDTH, heads: int = HEADS):
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.q, self.k, self.v, self.out = (nn.Linear(width, width) for _ in range(4))
        self.wide, self.narrow = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        """(B,T,width) to the same."""
        rows, length, width = x.shape
        n = self.norm1(x)
        q, k, v = (p(n).view(rows, length, self.heads, -1).transpose(1, 2) for p in (self.q, self.k, self.v))
        x = x + self.out(F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).reshape(rows, length, width))
        n = self.wide(self.norm2(x))
        return x + self.narrow(n * torch.sigmoid(1.702 * n))


class TextEncoder(nn.Module):
    """Rows of the table in use (B,T) to tokens (B,T,64).

    Args:
        used: (V,) ids of CLIP's vocabulary, ascending; `index` maps ids to rows of the table.
    """

    def __init__(self, used: Tensor, length: int = TOKENS):
        super().__init__()
        self.register_buffer("used", used)
        self.table = nn.Embedding(len(used), WIDTH)
        nn.init.normal_(self.table.weight, std=0.5)
        self.position = nn.Parameter(torch.randn(length, WIDTH) * 0.05)
        self.layers = nn.ModuleList(Layer() for _ in range(LAYERS))
        self.norm = nn.LayerNorm(WIDTH)

    def index(self, ids: Tensor) -> Tensor:
        """Token ids to rows of the table; every id must be one of `used`."""
        return torch.searchsorted(self.used, ids.to(self.used.device))

    def forward(self, rows: Tensor) -> Tensor:
        """Tokens."""
        x = self.table(rows) + self.position[: rows.shape[1]]
        for layer in self.layers:
            x = layer(x)
        return self.norm(x)

    @torch.no_grad()
    def export(self) -> dict[str, Tensor]:
        """The tower under the host's names; the table as `table_ids` (V,) and `table_rows` (V,64), see `whole_table`."""
        state = {
            "table_ids": self.used.cpu(), "table_rows": self.table.weight.detach().cpu(),
            f"{_TOWER}.embeddings.position_embedding.weight": self.position.detach().cpu(),
        }
        for number, layer in enumerate(self.layers):
            for name, part in _NAMES.items():
                for kind in ("weight", "bias"):
                    state[f"{_TOWER}.encoder.layers.{number}.{part}.{kind}"] = getattr(getattr(layer, name), kind).detach().cpu()
        return state | {f"{_TOWER}.final_layer_norm.{k}": v.detach().cpu() for k, v in self.norm.state_dict().items()}


def used_tokens(ids: Tensor) -> Tensor:
    """The ids that occur, ascending."""
    return torch.unique(ids)


def start_from(encoder: TextEncoder, state: Mapping[str, Tensor]) -> None:
    """Take what `export` gave into an encoder; words of the encoder's that were not there start as the mean of those that were."""
    known = {int(i): row for i, row in zip(state["table_ids"], state["table_rows"])}
    table = torch.stack([known.get(int(i), state["table_rows"].mean(0)) for i in encoder.used])
    own = {"used": encoder.used, "table.weight": table, "position": state[f"{_TOWER}.embeddings.position_embedding.weight"]}
    for number in range(LAYERS):
        for name, part in _NAMES.items():
            own |= {f"layers.{number}.{name}.{kind}": state[f"{_TOWER}.encoder.layers.{number}.{part}.{kind}"] for kind in ("weight", "bias")}
    encoder.load_state_dict(own | {f"norm.{k}": state[f"{_TOWER}.final_layer_norm.{k}"] for k in ("weight", "bias")})
