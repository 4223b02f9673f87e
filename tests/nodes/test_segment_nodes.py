"""The segment node on the real host's memory manager, with segment_anything's own classes, narrow."""

from functools import partial

import pytest
import torch

from ..support import run

pytest.importorskip("segment_anything")
pytestmark = pytest.mark.usefixtures("comfyui")


def narrow():
    """Segment anything with a 32 wide encoder for 64 pixel pictures; random weights."""
    from segment_anything.modeling import ImageEncoderViT, MaskDecoder, PromptEncoder, Sam, TwoWayTransformer

    torch.manual_seed(0)
    encoder = ImageEncoderViT(img_size=64, patch_size=16, embed_dim=32, depth=2, num_heads=2, out_chans=16, use_rel_pos=True, window_size=2,
                              global_attn_indexes=(1,), norm_layer=partial(torch.nn.LayerNorm, eps=1e-6))
    prompts = PromptEncoder(embed_dim=16, image_embedding_size=(4, 4), input_image_size=(64, 64), mask_in_chans=4)
    decoder = MaskDecoder(num_multimask_outputs=3, transformer=TwoWayTransformer(depth=1, embedding_dim=16, mlp_dim=32, num_heads=2),
                          transformer_dim=16, iou_head_depth=2, iou_head_hidden_dim=16)
    module = Sam(encoder, prompts, decoder).eval()
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return module


@pytest.fixture
def sams(tmp_path, monkeypatch):
    """A models/sams folder with a narrow file, which `build` takes for a known family; everything else is the production path."""
    import folder_paths
    from fitting_room.preprocess import segment

    module = narrow()
    torch.save(module.state_dict(), tmp_path / "narrow.pth")
    torch.save({"model.diffusion_model.x": torch.zeros(2)}, tmp_path / "other.pth")

    def build(state):
        if "image_encoder.pos_embed" not in state:
            return segment_build(state)
        fresh = narrow()
        fresh.load_state_dict(state)
        return fresh.requires_grad_(False)

    segment_build = segment.build
    monkeypatch.setattr(segment, "build", build)
    monkeypatch.setitem(folder_paths.folder_names_and_paths, "sams", ([str(tmp_path)], {".pth"}))
    folder_paths.filename_list_cache.clear()
    return module


IMAGE = torch.rand(2, 48, 64, 3, generator=torch.Generator().manual_seed(0))


def segmented(**inputs):
    return run("FittingRoomSegment", **{"image": IMAGE, "sam_model": "narrow.pth", "points": "20,20", "box": "", **inputs})


def test_three_masks_with_scores_equal_the_packages_predictor(sams):
    """The package's own predictor on the same module is the witness."""
    import numpy as np
    from segment_anything import SamPredictor

    out = segmented()
    mask, masks, scores = out.args
    assert mask.shape == (2, 48, 64) and masks.shape == (6, 48, 64) and len(scores.splitlines()) == 2
    predictor = SamPredictor(sams)
    for row in range(2):
        predictor.set_image((IMAGE[row] * 255).round().byte().numpy())
        expected, values, _ = predictor.predict(np.array([[20.0, 20.0]]), np.array([1]))
        assert np.array_equal(masks[3 * row : 3 * row + 3].numpy() > 0.5, expected)
        assert scores.splitlines()[row] == ", ".join(f"{v:.3f}" for v in values)
        assert np.array_equal(mask[row].numpy() > 0.5, expected[values.argmax()])
    assert torch.equal(segmented(choice="2").args[0], masks[1::3])
    assert len(out.ui["images"]) == 2  # the proposals, side by side, per picture


def test_labels_and_boxes_change_the_answer(sams):
    plain = segmented().args[1]
    assert not torch.equal(plain, segmented(points="20,20; 40,30,0").args[1])
    boxed = segmented(points="", box="10,10,40,40").args[1]
    given = segmented(points="", bounding_box=[[{"x": 10, "y": 10, "width": 30, "height": 30}]]).args[1]
    assert torch.equal(boxed, given) and not torch.equal(plain, boxed)


def test_the_module_is_the_hosts_to_unload(sams):
    import comfy.model_management as management
    from fitting_room.nodes.segment import load_sam

    from fitting_room.host import load_whole

    patcher = load_sam("narrow.pth")
    module = load_whole(patcher)
    assert any(loaded.model is patcher for loaded in management.current_loaded_models)
    assert next(module.parameters()).device == patcher.load_device
    management.unload_all_models()
    assert not any(loaded.model is patcher for loaded in management.current_loaded_models)


@pytest.mark.parametrize("inputs, sentence", [
    ({"points": ""}, "needs a prompt; give at least one point or a box"),
    ({"points": "70,20"}, "lies outside the 64x48 picture"),
    ({"points": "here"}, "could not be read"),
    ({"box": "40,40,10,10"}, "not a box inside"),
    ({"sam_model": "other.pth"}, "'other.pth': This file holds no segment-anything weights"),
    ({"sam_model": "../narrow.pth"}, "is not in models/sams"),
])
def test_bad_input_gets_one_sentence(sams, inputs, sentence):
    with pytest.raises(ValueError, match=sentence):
        segmented(**inputs)


def test_a_missing_file_is_refused_before_running(sams):
    from fitting_room.nodes.segment import Segment

    assert "put a segment-anything vit_b, vit_l or vit_h file there" in Segment.validate_inputs(sam_model="gone.pth")
    assert Segment.validate_inputs(sam_model="narrow.pth") is True
