"""Files of frozen networks: found by name, missing ones named."""

import pytest
import torch
from fitting_room.models.parts.dists import CHANNELS, Dists
from fitting_room.models.parts.layers import Layers
from fitting_room.models.parts.vgg import Vgg
from fitting_room.training.networks import Networks


@pytest.mark.parametrize("network, words", [
    ("vgg19", "The loss 'perceptual' needs VGG-19's ImageNet weights.*vgg19-dcbb9e9d.pth.*weight of 'perceptual' to 0"),
    ("dists", "VGG-16.*vgg16-397923af.pth"), ("depth", "depth_anything_v2_vits.pth"),
])
def test_a_missing_file_is_named_with_the_loss_that_asks(tmp_path, network, words):
    networks = Networks([tmp_path, tmp_path / "not there"])
    assert len(networks.missing(network)) == 1
    with pytest.raises(ValueError, match=words):
        networks.get(network, "perceptual")


def test_files_are_found_by_name_and_loaded_once(tmp_path):
    state = Vgg(16, Layers(), last="relu5_3").state_dict()
    torch.save(state, tmp_path / "vgg16-397923af.pth")
    torch.save({k: torch.rand(1, sum(CHANNELS), 1, 1) for k in ("alpha", "beta")}, tmp_path / "dists.pt")
    networks = Networks([tmp_path])
    assert networks.missing("dists") == [] and networks.missing("vgg19") == ["vgg19"]
    dists = networks.get("dists", "texture")
    assert dists is networks.get("dists", "texture") and not any(p.requires_grad for p in dists.parameters())
    assert torch.equal(dists.vgg.features[0].weight, state["features.0.weight"])
    assert float(dists.alpha.std()) > 0.1  # the file's, not the even ones


def test_a_named_file_comes_before_the_folder_and_a_wrong_one_is_refused(tmp_path):
    torch.save({"something": torch.ones(2)}, tmp_path / "mine.pth")
    with pytest.raises(ValueError, match="'mine.pth' is not VGG-19"):
        Networks([], {"vgg19": tmp_path / "mine.pth"}).get("vgg19", "perceptual")


def test_a_network_that_is_built_already_serves():
    networks, dists = Networks(), Dists(Layers())
    networks.put("dists", dists)
    assert networks.get("dists", "texture") is dists and networks.missing("dists") == []
