"""One forward through the host's sampling path."""

import pytest
import torch

from ..support import prompts


def test_it_is_one_evaluation_at_that_noise(comfyui):
    from fitting_room.host import one_call
    from fitting_room.host.demo import demo_clip, demo_unet

    model, seen = demo_unet(), []
    positive, _ = prompts(demo_clip())
    samples = torch.randn(2, 4, 16, 12, generator=torch.Generator().manual_seed(1))
    handle = model.model.diffusion_model.register_forward_pre_hook(lambda _, args: seen.append((args[0].clone(), args[1].clone())))
    try:
        with torch.inference_mode():
            clean = one_call(model, positive, samples, 300, seed=5)
    finally:
        handle.remove()
    assert len(seen) == 1 and seen[0][1].tolist() == [300.0, 300.0] and clean.shape == samples.shape
    noise = torch.randn(samples.shape, generator=torch.Generator().manual_seed(5))
    sigma = model.get_model_object("model_sampling").sigmas[300]
    expected = (samples * 0.18215 + sigma * noise) / (1 + sigma**2).sqrt()  # the VP form: sqrt(alpha_bar) z + sqrt(1 - alpha_bar) eps
    assert torch.allclose(seen[0][0], expected, atol=1e-5)


def test_the_global_random_state_is_left_alone(comfyui):
    from fitting_room.host import one_call
    from fitting_room.host.demo import demo_clip, demo_unet

    positive, _ = prompts(demo_clip())
    torch.manual_seed(3)
    before = torch.get_rng_state()
    with torch.inference_mode():
        one_call(demo_unet(), positive, torch.ones(1, 4, 8, 8), 10)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("timestep", [-1, 1000])
def test_a_timestep_outside_the_schedule_is_refused(comfyui, timestep):
    from fitting_room.host import one_call
    from fitting_room.host.demo import demo_unet

    with pytest.raises(ValueError, match="between 0 .* and 999"):
        one_call(demo_unet(), [], torch.ones(1, 4, 8, 8), timestep)
