"""The mask at the latent's size and the checks of a try-on's pictures."""

import pytest
import torch
from fitting_room.preprocess.attention_drawing import draw_attention
from fitting_room.preprocess.letterbox import letterbox, letterbox_points
from fitting_room.preprocess.try_on import check_pose, latent_mask, repaint_mask


def test_the_mask_is_cut_first_and_shrunk_softly():
    mask = torch.zeros(1, 1, 16, 16)
    mask[..., :, :4] = 0.9
    cut, note = repaint_mask(mask[:, 0], 16, 16)
    assert cut.unique().tolist() == [0, 1] and note == ""
    plain = latent_mask(cut, (2, 2), antialias=False)
    assert plain[0, 0].tolist() == [[0.5, 0.0], [0.5, 0.0]]  # bilinear between pixels 3 and 4, one in and one out
    mask[..., :, 4] = 0.9
    filtered = latent_mask((mask > 0.5).float(), (2, 2))
    assert 0.4 < filtered[0, 0, 0, 0] < 0.7 and 0 < filtered[0, 0, 0, 1] < 0.1  # the filter reaches over eight pixels


def test_another_size_is_resized_and_said():
    mask, note = repaint_mask(torch.cat((torch.ones(4, 2), torch.zeros(4, 2)), 1), 8, 8)
    assert mask.shape == (1, 1, 8, 8) and "resized to the picture's 8x8" in note


@pytest.mark.parametrize("value, message", [(0.0, "covers nothing"), (1.0, "covers the whole picture")])
def test_a_mask_of_nothing_or_everything(value, message):
    with pytest.raises(ValueError, match=message):
        repaint_mask(torch.full((1, 8, 8), value), 8, 8)


def test_a_pose_of_another_size():
    with pytest.raises(ValueError, match="pose picture is 4 x 8 and the person 8 x 8"):
        check_pose(torch.zeros(1, 8, 4, 3), torch.zeros(1, 8, 8, 3))


def test_points_go_where_the_letterbox_puts_them():
    picture = torch.zeros(1, 10, 30, 3)
    picture[0, 4, 12] = 1
    canvas = letterbox(picture, 40, 60, fill=0.0)
    y, x = divmod(int(canvas[0, ..., 0].argmax()), 60)
    [[px, py]] = letterbox_points(torch.tensor([[12.0, 4.0]]), (10, 30), (40, 60)).tolist()
    assert (px, py) == (24.5, 18.5) and abs(px - x) <= 0.5 and abs(py - y) <= 0.5


def test_the_drawing_is_bright_where_attention_is():
    garment = torch.full((64, 48, 3), 0.9)
    weights = torch.zeros(8, 6)
    weights[6, 1] = 1
    drawn = draw_attention(garment, weights.numpy(), None, 8, "")[:64].astype(int)
    hot, cold = drawn[52, 12], drawn[8, 40]
    assert hot.sum() > cold.sum() + 150 and abs(cold[0] - cold[2]) < 3  # heat is coloured and bright, the rest stays grey
    beside = draw_attention(garment, weights.numpy(), [12, 52], 8, "point", person=torch.zeros(128, 96, 3), point=[10, 10])
    assert beside.shape[1] > 2 * 48 and (beside[:10, :48] == (70, 160, 255)).all(-1).any()  # the box on the person
