"""The curve, the sheet, and DDIM."""

import torch
from fitting_room.training import preview
from fitting_room.training.diffusion import Schedule


def test_ddim_with_the_true_noise_finds_the_picture():
    """A predictor that knows z_0 leads back to it whatever the number of steps."""
    z0 = torch.randn(1, 4, 2, 2)

    class Knows:
        schedule, fills_hole = Schedule.linear(), False

        def predict(self, batch, z, t, kept, watch=None):
            abar = self.schedule.at(t).view(-1, 1, 1, 1).float()
            return (z - abar.sqrt() * z0) / (1 - abar).sqrt()

    class One:
        def __len__(self):
            return 1

    for steps in (1, 5, 20):
        torch.testing.assert_close(preview.ddim(Knows(), One(), torch.randn(1, 4, 2, 2), steps, 1.0), z0, rtol=1e-3, atol=1e-3)


def test_outside_a_hole_the_picture_stays_its_own():
    """A predictor that knows another picture draws it inside the mask alone; what it is shown outside is the noised picture itself."""
    generator = torch.Generator().manual_seed(0)
    own, other, noise = torch.randn(3, 1, 4, 4, 4, generator=generator)
    mask = torch.zeros(1, 1, 32, 32)
    mask[..., :16, :] = 1
    shown = []

    class Knows:
        schedule, fills_hole = Schedule.linear(), True

        def predict(self, batch, z, t, kept, watch=None):
            shown.append((z - self.schedule.add_noise(own, noise, t))[:, :, 2:].abs().max())
            abar = self.schedule.at(t).view(-1, 1, 1, 1).float()
            return (z - abar.sqrt() * other) / (1 - abar).sqrt()

    class One:
        z0 = own
        get = staticmethod({"mask": mask}.get)

        def __len__(self):
            return 1

    drawn = preview.ddim(Knows(), One(), noise, 5, 1.0)
    torch.testing.assert_close(drawn[:, :, 2:], own[:, :, 2:])
    torch.testing.assert_close(drawn[:, :, :2], other[:, :, :2], rtol=1e-3, atol=1e-3)
    assert max(shown) < 1e-5


def test_a_constant_has_a_constant_mean():
    assert preview.running_mean([2.0] * 7) == [2.0] * 7 or max(abs(v - 2) for v in preview.running_mean([2.0] * 7)) < 1e-12


def test_the_curve_falls_where_the_loss_falls():
    picture = preview.curve({"loss": [10.0] * 50 + [1.0] * 50, "noise": [1.0] * 100}, 100, 100)
    pixels = torch.frombuffer(bytearray(picture.tobytes()), dtype=torch.uint8).view(picture.height, picture.width, 3).int()
    dark = ((pixels - torch.tensor([0x1F, 0x4E, 0x8C])).abs().sum(-1) < 30).nonzero()
    left, right = dark[dark[:, 1] < 150][:, 0].float().mean(), dark[dark[:, 1] > 550][:, 0].float().mean()
    assert right > left + 100  # rows count downwards


def test_an_empty_and_a_constant_history_are_drawn_too():
    assert preview.curve({}, 0, 10).size == (640, 380) and preview.curve({"loss": [1.0]}, 1, 10).size == (640, 380)


def test_the_sheet_shows_true_above_drawn(tmp_path):
    red, blue = torch.zeros(3, 32, 24), torch.zeros(3, 32, 24)
    red[0], blue[2] = 1.0, 1.0
    sheet = preview.sheet([("a", red, blue)], preview.curve({}, 0, 1))
    assert sheet.getpixel((40, 100)) == (255, 0, 0) and sheet.getpixel((40, 400)) == (0, 0, 255)
    preview.write(sheet, tmp_path / "deep" / "x.jpg")
    assert (tmp_path / "deep" / "x.jpg").is_file() and not list((tmp_path / "deep").glob(".*"))


def test_validation_is_dotted_at_its_steps_and_every_term_has_a_curve():
    """A dot at step 51 of 101 with the loss at 2 and a validation of 1: in the middle, at the bottom. A small term is as legible as a large one."""
    history = {"loss": [2.0] * 101, "noise": [1.5] * 101, "depth": [150.0 - i for i in range(101)]}
    picture = preview.curve(history, 101, 101, {"step": [51.0], "loss": [1.0]}, "", {"noise": 1.0, "depth": 0.001})
    pixels = torch.frombuffer(bytearray(picture.tobytes()), dtype=torch.uint8).view(picture.height, picture.width, 3)

    def places(colour):
        return (pixels == torch.tensor(list(bytes.fromhex(colour[1:])), dtype=torch.uint8)).all(-1).nonzero()

    dot = places(preview.DOT)
    dot = dot[dot[:, 0] > 80].float()
    assert abs(float(dot[:, 1].mean()) - (64 + 616) / 2) < 1 and float(dot[:, 0].mean()) > 330
    depth = places(preview.COLOURS[2])
    depth = depth[depth[:, 0] > 380 + 33]
    left, right = depth[depth[:, 1] < depth[:, 1].min() + 8][:, 0], depth[depth[:, 1] > depth[:, 1].max() - 8][:, 0]
    assert float(right.float().mean()) > float(left.float().mean()) + 20  # it falls
    assert picture.height == 380 + preview.TERM_ROW == preview.curve(history, 1, 1).height > preview.curve({"loss": [1.0], "noise": [1.0]}, 1, 1).height


def test_names_that_are_too_long_do_not_run_into_each_other():
    from PIL import ImageChops

    tile = torch.zeros(3, 32, 24)
    one = preview.sheet([("a" * 60, tile, tile), ("", tile, tile)], preview.curve({}, 0, 1))
    other = preview.sheet([("a" * 61, tile, tile), ("", tile, tile)], preview.curve({}, 0, 1))
    assert ImageChops.difference(one, other).getbbox() is None
