"""What of a denoiser learns."""

import pytest
import torch
from fitting_room.models.parts.sites import SITES
from fitting_room.training.trainable import LowRank, add_differences, choose


class Net(torch.nn.Module):
    """Two layers under names of an SD1.5 U-Net."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        for name in (f"{SITES[0].ldm_path}.attn1.to_q", f"{SITES[0].ldm_path}.attn2.to_k", "output_blocks.3.0.conv", "input_blocks.0.0"):
            parent = self
            *path, last = name.split(".")
            for part in path:
                if part not in parent._modules:
                    parent.add_module(part, torch.nn.Module())
                parent = parent._modules[part]
            parent.add_module(last, torch.nn.Linear(3, 3))

    def forward(self, x):
        for name in (f"{SITES[0].ldm_path}.attn1.to_q", f"{SITES[0].ldm_path}.attn2.to_k"):
            x = self.get_submodule(name)(x)
        return x


@pytest.mark.parametrize("base, expected", [
    ("frozen", set()),
    ("cross_attention", {"attn2.to_k.weight"}),
    ("attention", {"attn1.to_q.weight", "attn1.to_q.bias", "attn2.to_k.weight", "attn2.to_k.bias"}),
    ("decoder", {"conv.weight", "conv.bias", "0.0.weight", "0.0.bias"}),
])
def test_the_setting_says_which_parameters_learn(base, expected):
    net = Net()
    choose(net, base)
    assert {".".join(n.split(".")[-3:]).removeprefix("0.") if "attn" in n else ".".join(n.split(".")[-2:]) if "conv" in n else ".".join(n.split(".")[-3:])
            for n, p in net.named_parameters() if p.requires_grad} == expected


def test_full_is_everything():
    net = Net()
    choose(net, "full")
    assert all(p.requires_grad for p in net.parameters())


def test_low_rank_terms_start_silent_and_merge_exactly():
    net, x = Net(), torch.randn(5, 3)
    before, state = net(x), {k: v.clone() for k, v in net.state_dict().items()}
    terms = choose(net, "lora", rank=2, seed=1)
    assert isinstance(terms, LowRank) and torch.equal(net(x), before) and not any(p.requires_grad for p in net.parameters())
    with torch.no_grad():
        for term in terms.terms:
            term["up"].normal_(generator=torch.Generator().manual_seed(3))
    changed = net(x)
    plain = Net()
    plain.load_state_dict(terms.merged(state))
    assert not torch.allclose(changed, before) and torch.allclose(plain(x), changed, atol=1e-5)
    file = terms.file_state()
    key = f"lora_unet_{SITES[0].ldm_path.replace('.', '_')}_attn1_to_q"
    assert float(file[f"{key}.alpha"]) == 2.0 and file[f"{key}.lora_down.weight"].shape == (2, 3) and len(file) == 6


def test_differences_are_added_and_learn():
    net, x = Net(), torch.randn(5, 3)
    name = f"{SITES[0].ldm_path}.attn2.to_k.weight"
    layer = torch.nn.Linear(3, 3, bias=False)
    expected = Net()
    with torch.no_grad():
        expected.get_parameter(name).add_(layer.weight)
    net.requires_grad_(False)
    add_differences(net, {name: layer})
    assert torch.allclose(net(x), expected(x), atol=1e-6)
    net(x).sum().backward()
    assert layer.weight.grad is not None and layer.weight.grad.abs().sum() > 0
