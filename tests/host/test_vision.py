"""Image encoders at our size, against the host's own output where the two must agree."""

import pytest
import torch

pytestmark = pytest.mark.usefixtures("comfyui")


@pytest.mark.parametrize("kind", ["clip", "dinov2"])
def test_tokens_equal_the_hosts_at_the_hosts_size(kind):
    """A 224 x 224 picture of whole 8-bit values needs no resizing, so the host's own encoder must say the same."""
    from fitting_room import host

    encoder = host.demo_vision(kind)
    picture = torch.randint(0, 256, (2, 224, 224, 3), generator=torch.Generator().manual_seed(0)) / 255.0
    with torch.inference_mode():
        ours, theirs = host.encode_vision(encoder, picture), encoder.encode_image(picture)
    assert ours.last.shape == (2, 257, 64) and ours.pooled.shape == (2, 64) and host.vision_width(encoder) == 64
    torch.testing.assert_close(ours.last, theirs["last_hidden_state"], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(ours.penultimate, theirs["penultimate_hidden_states"], atol=1e-5, rtol=1e-5)
    if kind == "clip":  # what the host hands out is the projection of what we want
        with torch.inference_mode():
            projected = encoder.model.visual_projection(ours.pooled)
        torch.testing.assert_close(projected, theirs["image_embeds"], atol=1e-5, rtol=1e-5)


def test_any_shape_is_stretched_and_bad_pictures_are_refused():
    from fitting_room import host

    encoder = host.demo_vision()
    with torch.inference_mode():
        assert host.encode_vision(encoder, torch.rand(1, 128, 96, 4)).last.shape == (1, 257, 64)
        with pytest.raises(ValueError, match="NaN"):
            host.encode_vision(encoder, torch.full((1, 8, 8, 3), float("nan")))


def test_the_demo_encoder_is_always_the_same():
    from fitting_room import host

    first, second = (host.demo_vision().model.state_dict() for _ in range(2))
    assert all(torch.equal(first[k], second[k]) for k in first)


def test_positions_are_resized_as_dinov2_does_it():
    """What hosts before 0.27 are given equals what later ones do themselves."""
    from fitting_room import host
    from fitting_room.host import vision

    encoder = host.demo_vision("dinov2")
    embeddings = encoder.model.embeddings
    if not hasattr(embeddings, "interpolate_pos_encoding"):
        pytest.skip("this host does not resize them")
    wanted = embeddings.interpolate_pos_encoding(torch.zeros(1), 126, 126)
    bare = type("Old", (), {"position_embeddings": embeddings.position_embeddings})()
    with vision._positions(type("Network", (), {"embeddings": bare})(), 126):
        torch.testing.assert_close(bare.position_embeddings.data, wanted.data.to(bare.position_embeddings.dtype))
    assert bare.position_embeddings is embeddings.position_embeddings
