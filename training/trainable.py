"""What of the denoiser learns beside the method's own parts, and how: by name, or through a low-rank term."""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor, nn

PATTERNS = {
    "frozen": r"$^",
    "cross_attention": r".*\.attn2\.to_[kv]\.weight",
    "attention": r".*\.attn[12]\..+",
    "decoder": r"(output_blocks\.|out\.|input_blocks\.0\.0\.).*",
    "full": r".*",
}
"""base setting -> LDM names of the denoiser's parameters that learn. "decoder" is SIFT-VTON's choice (its released code)."""

LORA_TARGETS = re.compile(r".*\.attn[12]\.(to_q|to_k|to_v|to_out\.0)")


def choose(unet: nn.Module, base: str, rank: int = 16, seed: int = 0) -> nn.Module:
    """Set which parameters of a denoiser learn, and return what holds them.

    Args:
        unet: of LDM names.
        base: one of `config.BASES`.
        rank: of the low-rank terms where base is "lora".
        seed: of their starting weights.

    Returns:
        the denoiser itself, or the low-rank terms (`LowRank`).
    """
    unet.requires_grad_(False)
    if base == "lora":
        return LowRank(unet, rank, seed)
    for name, parameter in unet.named_parameters():
        if re.fullmatch(PATTERNS[base], name):
            parameter.requires_grad_(True)
    return unet


class LowRank(nn.Module):
    """W x + up(down(x)) on every attention projection of a frozen network, as LoRA (Hu et al. 2022); up starts at zero.

    The terms hang on the layers as forward hooks, so the network's own code and names stay as they are.
    """

    def __init__(self, network: nn.Module, rank: int, seed: int):
        super().__init__()
        self.names, self.terms, generator = [], nn.ModuleList(), torch.Generator().manual_seed(seed)
        for name, layer in network.named_modules():
            if LORA_TARGETS.fullmatch(name):
                down = (torch.rand(rank, layer.in_features, generator=generator) * 2 - 1) / layer.in_features**0.5
                term = nn.ParameterDict({"down": nn.Parameter(down), "up": nn.Parameter(torch.zeros(layer.out_features, rank))})
                self.names.append(name)
                self.terms.append(term)
                layer.register_forward_hook(_adding(term))

    def merged(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The network's weights with the terms in them."""
        out = dict(state)
        for name, term in zip(self.names, self.terms):
            key = f"{name}.weight"
            out[key] = out[key] + (term["up"].detach() @ term["down"].detach()).to(out[key])
        return out

    def file_state(self) -> dict[str, Tensor]:
        """The terms as a LoRA file that the host's own loader reads (kohya's names), alpha = rank."""
        out = {}
        for name, term in zip(self.names, self.terms):
            key = f"lora_unet_{name.replace('.', '_')}"
            out |= {f"{key}.lora_down.weight": term["down"].detach(), f"{key}.lora_up.weight": term["up"].detach()}
            out[f"{key}.alpha"] = torch.tensor(float(term["down"].shape[0]))
        return out


def _adding(term: nn.ParameterDict):
    def hook(layer, inputs, output):
        x = inputs[0]
        return output + nn.functional.linear(nn.functional.linear(x, term["down"].to(x.dtype)), term["up"].to(x.dtype))

    return hook


def add_differences(network: nn.Module, layers: Mapping[str, nn.Module]) -> None:
    """Let a method's own layers act as differences of a network's weights: layer(x) becomes layer(x) + difference(x).

    Args:
        network: of LDM names.
        layers: name of a weight ("....to_k.weight") -> a bias-free layer of the same shape. They learn with the method.
    """
    for name, difference in layers.items():
        network.get_submodule(name.removesuffix(".weight")).register_forward_hook(lambda layer, inputs, output, d=difference: output + d(inputs[0]))
