"""Order, scale and polarity of the extra channels, by hand; both routes into the U-Net."""

import pytest
import torch

from fitting_room.models.parts import channels
from fitting_room.models.parts.channels import HOST_INPAINT, JEWELRY, JEWELRY_ENCODED, LAYOUTS, PAINT_BY_EXAMPLE, TRY_ON, Channel, Layout


def filled(value, width, rows=1):
    return torch.full((rows, width, 2, 3), float(value))


def test_channel_counts_are_the_papers():
    assert {n: l.total for n, l in LAYOUTS.items()} == {
        "host_inpaint": 9, "paint_by_example": 9, "try_on": 13, "jewelry": 11, "jewelry_encoded": 17,
    }


def test_try_on_order_and_polarity():
    stack = TRY_ON.stack(masked=filled(2, 4), mask=filled(1, 1), pose=filled(5, 4))
    assert stack[0, :, 0, 0].tolist() == [2, 2, 2, 2, 0, 5, 5, 5, 5]  # the repainted region is 0 for StableVITON


def test_the_host_counts_a_repainted_pixel_as_one():
    assert HOST_INPAINT.stack(masked=filled(2, 4), mask=filled(1, 1))[0, :, 0, 0].tolist() == [1, 2, 2, 2, 2]
    assert PAINT_BY_EXAMPLE.stack(masked=filled(2, 4), mask=filled(1, 1))[0, :, 0, 0].tolist() == [2, 2, 2, 2, 0]


def test_jewelry_orders():
    stack = JEWELRY.stack(masked=filled(2, 4), mask=filled(0, 1), depth=filled(3, 1), saliency=filled(4, 1))
    assert stack[0, :, 0, 0].tolist() == [2, 2, 2, 2, 1, 3, 4]
    assert [c.name for c in JEWELRY_ENCODED.channels] == ["masked", "mask", "depth", "saliency"]


def test_the_inpainting_five_come_back_out_of_any_stack():
    stack = TRY_ON.stack(masked=filled(2, 4), mask=filled(0.8, 1), pose=filled(5, 4))
    assert TRY_ON.host_inpaint(stack)[0, :, 0, 0].tolist() == [1, 2, 2, 2, 2]  # rounded, as the host does


def test_one_picture_goes_with_a_batch_and_two_batches_do_not_mix():
    assert TRY_ON.stack(masked=filled(1, 4, 3), mask=filled(0, 1), pose=filled(1, 4, 3)).shape == (3, 9, 2, 3)
    with pytest.raises(ValueError, match="batches of"):
        TRY_ON.stack(masked=filled(1, 4, 3), mask=filled(0, 1, 2), pose=filled(1, 4))


@pytest.mark.parametrize("change, message", [
    ({"pose": None}, "takes the channels"),
    ({"pose": filled(0, 3)}, "has the shape"),
    ({"pose": torch.zeros(1, 4, 9, 9)}, "has the shape"),
])
def test_a_wrong_group_is_named(change, message):
    tensors = {"masked": filled(1, 4), "mask": filled(0, 1), "pose": filled(0, 4), **change}
    with pytest.raises(ValueError, match=message):
        TRY_ON.stack(**{k: t for k, t in tensors.items() if t is not None})


def test_routes():
    assert [TRY_ON.route(n) for n in (13, 4, 9)] == ["native", "added", "added"]
    for other in (8, 11, 17):
        with pytest.raises(ValueError, match=f"takes {other} input channels"):
            TRY_ON.route(other)


def test_what_an_inpainting_unet_lacks():
    assert [c.name for c in TRY_ON.missing(9)] == ["pose"]
    assert [c.name for c in TRY_ON.missing(4)] == ["masked", "mask", "pose"]
    assert TRY_ON.missing(13) == ()


def test_started_columns_give_the_base_output_inside_the_border():
    """A 9-channel base in the host's order becomes a 13-channel convolution: the same numbers, except at the border."""
    torch.manual_seed(0)
    conv = torch.nn.Conv2d(9, 5, 3, padding=1)
    z, masked, pose = (torch.randn(1, 4, 6, 7) for _ in range(3))
    mask = (torch.rand(1, 1, 6, 7) > 0.5).float()
    weight, bias = channels.input_columns(conv.weight, conv.bias, TRY_ON)
    base = conv(torch.cat((z, HOST_INPAINT.stack(masked=masked, mask=mask)), 1))
    wide = torch.nn.functional.conv2d(torch.cat((z, TRY_ON.stack(masked=masked, mask=mask, pose=pose)), 1), weight, bias, padding=1)
    torch.testing.assert_close(wide[..., 1:-1, 1:-1], base[..., 1:-1, 1:-1], atol=1e-5, rtol=1e-5)
    assert weight[:, 9:].abs().max() == 0


def test_started_columns_of_a_plain_base_are_zero_behind_the_latent():
    weight, bias = channels.input_columns(torch.ones(5, 4, 3, 3), torch.ones(5), TRY_ON)
    assert weight[:, :4].eq(1).all() and weight[:, 4:].eq(0).all() and bias.eq(1).all()


HOST_ORDER_AND_POSE = Layout("t", "a test layout", (channels.REPAINT, channels.MASKED, Channel("pose", 4, "latent")))


@pytest.mark.parametrize("base_channels, layout", [(4, TRY_ON), (9, HOST_ORDER_AND_POSE)])
def test_both_routes_give_the_same_picture(comfyui, base_channels, layout):
    """A 13-channel U-Net with noise_concat, and the 4- or 9-channel U-Net of the same columns with a convolution added."""
    from fitting_room import host
    from fitting_room.host import channels as host_channels
    from fitting_room.host.demo import demo_unet
    from fitting_room.host.models import build_unet
    from fitting_room.models.parts.patches import Patches
    from fitting_room.models.parts.sites import UNetShape
    from fitting_room.tests.support import close, sample

    wide = demo_unet(UNetShape(13, 32, 64, 8))
    state = wide.model.diffusion_model.state_dict()
    first = state["input_blocks.0.0.weight"]
    columns = {"input_blocks.0.0.weight": first[:, :base_channels].clone()}
    narrow = build_unet(UNetShape(base_channels, 32, 64, 8), {**state, **columns}, "narrow")
    added = channels.AddedChannels(layout, 32, host.layers(device="cpu", dtype=torch.float32))
    added.load_state_dict({"conv.weight": first[:, 4:].clone()})
    channels.LAYOUTS[layout.name], before = layout, dict(channels.LAYOUTS)
    try:
        torch.manual_seed(3)
        mask = (torch.rand(1, 1, 16, 12) > 0.5).float()
        stack = layout.stack(masked=torch.randn(1, 4, 16, 12), mask=mask, pose=torch.randn(1, 4, 16, 12))
        positive, negative = ([[torch.randn(1, 5, 64), {}]] for _ in range(2))
        positive, negative = (host.with_channels(c, layout, stack) for c in (positive, negative))
        native = sample(wide, positive, negative)
        widened = host.install(narrow, Patches(entry=added), [host.manage(added)], channels=True)
        assert host_channels.channel_route(narrow, layout) == "added"
        assert close(sample(widened, positive, negative), native, 1e-5)
        over = host.install(narrow, Patches(entry=added), [host.manage(added)], 0.0, 0.3, channels=True)
        assert close(sample(over, positive, negative), native, 1e-5)  # the channels stay when the method's range of steps has ended
        assert not close(sample(host.install(narrow, Patches(), channels=True), positive, negative), native, 1e-2)
    finally:
        channels.LAYOUTS.clear()
        channels.LAYOUTS.update(before)


def test_a_negative_without_channels_gets_a_sentence(comfyui):
    from fitting_room import host
    from fitting_room.host.demo import demo_unet
    from fitting_room.models.parts.patches import Patches
    from fitting_room.models.parts.sites import UNetShape
    from fitting_room.tests.support import sample

    wide = host.install(demo_unet(UNetShape(13, 32, 64, 8)), Patches(), channels=True)
    plain = [[torch.randn(1, 5, 64), {}]]
    given = host.with_channels(plain, TRY_ON, torch.zeros(1, 9, 16, 12))
    with pytest.raises(ValueError, match="takes 13 input channels and 9 came; connect both outputs, positive and negative.*SIFT-VTON"):
        sample(wide, given, plain)


def test_eight_channels_are_refused(comfyui):
    import comfy.supported_models
    from fitting_room import host
    from fitting_room.host.models import unet_config
    from fitting_room.models.parts.sites import UNetShape

    config = comfy.supported_models.SD15_instructpix2pix({**unet_config(UNetShape(8, 32, 64, 8))})
    config.set_inference_dtype(torch.float32, None)
    model = type("Patcher", (), {"model": config.get_model({}, "", device="meta")})()
    with pytest.raises(ValueError, match="8 input channels.*instruct-pix2pix"):
        host.channel_route(model, TRY_ON)
