"""PLMS against a slow version in the papers' own variables (alphas and timesteps), in double precision."""

import pytest
import torch

pytestmark = pytest.mark.usefixtures("comfyui")


class Schedule:
    """Stable Diffusion's: betas linear in their square root, 0.00085 to 0.012, 1000 steps."""

    alphas = torch.cumprod(1 - torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2, 0)


def textbook(eps, x, steps, start=0):
    """PLMS as published: x at timestep t, eps(x, t), history of raw predictions; `start` skips the first steps."""
    a = Schedule.alphas
    timesteps = list(range(1, 1000, 1000 // steps))[::-1][start:]
    targets = [a[t] for t in timesteps[1:]] + [a[0]]
    old = []

    def move(x, e, here, there):
        picture = (x - (1 - here) ** 0.5 * e) / here**0.5
        return there**0.5 * picture + (1 - there) ** 0.5 * e

    for number, (t, there) in enumerate(zip(timesteps, targets)):
        here, e = a[t], eps(x, t)
        if not old:
            following = timesteps[min(number + 1, len(timesteps) - 1)]
            e_prime = (e + eps(move(x, e, here, there), following)) / 2
        elif len(old) == 1:
            e_prime = (3 * e - old[-1]) / 2
        elif len(old) == 2:
            e_prime = (23 * e - 16 * old[-1] + 5 * old[-2]) / 12
        else:
            e_prime = (55 * e - 59 * old[-1] + 37 * old[-2] - 9 * old[-3]) / 24
        old = [*old, e][-3:]
        x = move(x, e_prime, here, there)
    return x


def predict(x, t):
    """Some smooth noise prediction that depends on both."""
    return torch.sin(1.3 * x) * 0.7 + 0.2 * x + t / 1000


def denoiser(calls):
    """The same prediction as the host would call it: x in sigma scale, sigma per row."""
    sigmas = ((1 - Schedule.alphas) / Schedule.alphas) ** 0.5

    def model(x, sigma):
        t = int((sigmas - float(sigma[0])).abs().argmin())
        calls.append(t)
        return x - sigma.view(-1, 1, 1, 1) * predict(x / (1 + sigma.view(-1, 1, 1, 1) ** 2) ** 0.5, t)

    return model


def model():
    from fitting_room.host.demo import demo_unet

    return demo_unet()


@pytest.mark.parametrize("steps, denoise", [(50, 1.0), (20, 1.0), (2, 1.0), (50, 0.4), (10, 0.5)])
def test_equals_the_textbook(steps, denoise):
    from fitting_room import host
    from fitting_room.host.plms import sample_plms

    base, calls = model(), []
    sigmas = host.plms_sigmas(base, steps, denoise).double()
    count = round(steps * denoise)
    start = steps - count
    first = 1 + (count - 1) * (1000 // steps)
    x = torch.randn(2, 1, 3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(steps))
    entered = x * (1 + sigmas[0] ** 2) ** 0.5
    got = sample_plms(denoiser(calls), entered, sigmas, end=float(host.plms_sigmas(base, steps)[-1]))
    expected = textbook(predict, x, steps, start)
    torch.testing.assert_close(got, expected, atol=2e-5, rtol=2e-5)  # the host's table of levels is single precision
    assert len(calls) == count + 1 and calls[0] == first


def test_fifty_steps_are_the_papers():
    from fitting_room import host

    sigmas = host.plms_sigmas(model(), 50)
    table = ((1 - Schedule.alphas) / Schedule.alphas) ** 0.5
    expected = torch.stack([table[t] for t in range(981, 0, -20)] + [table[0]])
    torch.testing.assert_close(sigmas.double(), expected, atol=1e-5, rtol=1e-5)
    assert sigmas.shape == (51,)


def test_denoise_zero_is_no_run_and_bad_steps_are_refused():
    from fitting_room import host

    assert host.plms_sigmas(model(), 10, 0.0).shape == (0,)
    with pytest.raises(ValueError, match="2 to 1000"):
        host.plms_sigmas(model(), 1)


def custom(base, sampler, sigmas, latent, callback=None, seed=7, add_noise=True):
    import comfy.sample

    noise = comfy.sample.prepare_noise(latent, seed) if add_noise else torch.zeros_like(latent)
    positive = [[torch.randn(1, 5, 64, generator=torch.Generator().manual_seed(0)), {}]]
    with torch.inference_mode():
        return comfy.sample.sample_custom(
            base, noise, 1.0, sampler, sigmas, positive, positive, latent, callback=callback, disable_pbar=True, seed=seed
        )


def test_a_full_run_starts_from_unit_noise():
    """In the variance-preserving scale the first evaluation must see the noise itself, as the published code does."""
    import comfy.sample
    from fitting_room import host

    base, seen = model(), []

    def watch(executor, x, *args, **kwargs):
        seen.append(x.clone())
        return executor(x, *args, **kwargs)

    watched = base.clone()
    watched.add_wrapper_with_key("diffusion_model", "watch", watch)
    latent = torch.zeros(1, 4, 16, 12)
    custom(watched, host.plms(base, 4), host.plms_sigmas(base, 4), latent)
    torch.testing.assert_close(seen[0], comfy.sample.prepare_noise(latent, 7), atol=1e-5, rtol=1e-5)
    assert len(seen) == 5


def test_two_halves_equal_one_run_up_to_the_history():
    """SplitSigmas: the first half must not be brought to the other scale, or the second would start wrong."""
    from fitting_room import host

    base, latent = model(), torch.zeros(1, 4, 16, 12)
    sampler, sigmas = host.plms(base, 8), host.plms_sigmas(base, 8)
    middle = custom(base, sampler, sigmas[:5], latent)
    end = custom(base, sampler, sigmas[4:], middle, add_noise=False)
    whole = custom(base, sampler, sigmas, latent)
    assert (end - whole).abs().max() < 0.2 * whole.abs().max()


def test_image_to_image_stays_near_the_picture():
    from fitting_room import host

    base, latent = model(), torch.randn(1, 4, 16, 12, generator=torch.Generator().manual_seed(1)) * 10  # times 0.18215 in the model
    sampler = host.plms(base, 50)
    little, much = (custom(base, sampler, host.plms_sigmas(base, 50, d), latent) for d in (0.04, 0.4))
    assert (little - latent).abs().mean() < (much - latent).abs().mean()
    assert (little - latent).abs().mean() < 0.5 * latent.abs().mean()


def test_interruption_ends_the_run():
    import comfy.model_management as management
    from fitting_room import host

    base = model()

    def cancel(step, *_):
        management.interrupt_current_processing(True)

    with pytest.raises(management.InterruptProcessingException):
        custom(base, host.plms(base, 6), host.plms_sigmas(base, 6), torch.zeros(1, 4, 16, 12), callback=cancel)
    management.interrupt_current_processing(False)
