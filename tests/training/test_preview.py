"""The curve, the sheet, and DDIM."""

import torch
from fitting_room.training import preview
from fitting_room.training.diffusion import Schedule


def test_ddim_with_the_true_noise_finds_the_picture():
    """A predictor that knows z_0 leads back to it whatever the number of steps."""
    z0 = torch.randn(1, 4, 2, 2)

    class Knows:
        schedule = Schedule.linear()

        def predict(self, batch, z, t, kept, watch=None):
            abar = self.schedule.at(t).view(-1, 1, 1, 1).float()
            return (z - abar.sqrt() * z0) / (1 - abar).sqrt()

    class One:
        def __len__(self):
            return 1

    for steps in (1, 5, 20):
        torch.testing.assert_close(preview.ddim(Knows(), One(), torch.randn(1, 4, 2, 2), steps, 1.0), z0, rtol=1e-3, atol=1e-3)


def test_a_constant_has_a_constant_mean():
    assert preview.running_mean([2.0] * 7) == [2.0] * 7 or max(abs(v - 2) for v in preview.running_mean([2.0] * 7)) < 1e-12


def test_the_curve_falls_where_the_loss_falls():
    picture = preview.curve({"loss": [10.0] * 50 + [1.0] * 50, "noise": [1.0] * 100}, 100, 100)
    pixels = torch.frombuffer(bytearray(picture.tobytes()), dtype=torch.uint8).view(picture.height, picture.width, 3).int()
    dark = ((pixels - torch.tensor([0x1F, 0x4E, 0x8C])).abs().sum(-1) < 30).nonzero()
    left, right = dark[dark[:, 1] < 150][:, 0].float().mean(), dark[dark[:, 1] > 550][:, 0].float().mean()
    assert right > left + 100  # rows count downwards


def test_an_empty_and_a_constant_history_are_drawn_too():
    assert preview.curve({}, 0, 10).size == (640, 360) and preview.curve({"loss": [1.0]}, 1, 10).size == (640, 360)


def test_the_sheet_shows_true_above_drawn(tmp_path):
    red, blue = torch.zeros(3, 32, 24), torch.zeros(3, 32, 24)
    red[0], blue[2] = 1.0, 1.0
    sheet = preview.sheet([("a", red, blue)], preview.curve({}, 0, 1))
    assert sheet.getpixel((40, 100)) == (255, 0, 0) and sheet.getpixel((40, 400)) == (0, 0, 255)
    preview.write(sheet, tmp_path / "deep" / "x.jpg")
    assert (tmp_path / "deep" / "x.jpg").is_file() and not list((tmp_path / "deep").glob(".*"))
