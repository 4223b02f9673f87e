"""The schedule, min-SNR, and the plain noise loss."""

import pytest
import torch
from fitting_room.training.diffusion import Schedule, noise_loss


def test_the_schedule_is_stable_diffusions():
    schedule = Schedule.linear()
    assert len(schedule) == 1000
    first = 1 - 0.00085
    assert float(schedule.abar[0]) == pytest.approx(first) and float(schedule.abar[999]) == pytest.approx(0.00466, abs=1e-5)


def test_noising_and_predicting_undo_each_other():
    schedule, t = Schedule.linear(), torch.tensor([0, 400, 999])
    z0, noise = torch.randn(3, 4, 2, 2, dtype=torch.float64), torch.randn(3, 4, 2, 2, dtype=torch.float64)
    z_t = schedule.add_noise(z0, noise, t)
    torch.testing.assert_close(schedule.clean(z_t, noise, t), z0)
    torch.testing.assert_close(z_t[1], schedule.abar[400].sqrt() * z0[1] + (1 - schedule.abar[400]).sqrt() * noise[1])


def test_min_snr_caps_the_ratio():
    schedule = Schedule(torch.tensor([0.9, 0.5, 0.1], dtype=torch.float64))  # SNR 9, 1, 1/9
    t = torch.tensor([0, 1, 2])
    torch.testing.assert_close(schedule.snr(t), torch.tensor([9.0, 1.0, 1 / 9], dtype=torch.float64))
    torch.testing.assert_close(schedule.min_snr(t, 5.0), torch.tensor([5 / 9, 1.0, 1.0], dtype=torch.float64))
    assert schedule.min_snr(t, 0).tolist() == [1.0, 1.0, 1.0]


def test_the_noise_loss_is_one_number_per_sample():
    eps, noise = torch.zeros(2, 4, 2, 2), torch.ones(2, 4, 2, 2)
    noise[1] *= 3
    assert noise_loss(eps, noise, torch.tensor([1.0, 0.5])).tolist() == [1.0, 4.5]
    region = torch.tensor([[[[1.0, 0.0], [0.0, 0.0]]]]).expand(2, 1, 2, 2)
    assert noise_loss(eps, noise, torch.ones(2), region).tolist() == [0.25, 2.25]


def test_a_batch_is_the_mean_of_its_samples_not_of_means():
    """SIFT-VTON's released code takes mean(mse) mean(w); the right one is mean(mse w)."""
    eps, noise, weight = torch.zeros(2, 1, 1, 1), torch.tensor([1.0, 3.0]).view(2, 1, 1, 1), torch.tensor([1.0, 0.1])
    assert float(noise_loss(eps, noise, weight).mean()) == pytest.approx((1 * 1 + 9 * 0.1) / 2)
