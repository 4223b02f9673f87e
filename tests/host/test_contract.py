"""What we lean on in the host, exercised on its own U-Net at a narrow width: if an update changes one of these, this file says which."""

from dataclasses import replace

import pytest
import torch

from ..support import prompts, sample

SIXTEEN = {*(("input", i) for i in (1, 2, 4, 5, 7, 8)), ("middle", 0), *(("output", i) for i in range(3, 12))}


@pytest.fixture(scope="module")
def stack(comfyui):
    from fitting_room.host import demo

    return demo.demo_unet(), demo.demo_clip(), demo.demo_vae()


@pytest.fixture(scope="module")
def texts(stack):
    return prompts(stack[1])


def recorded(model, texts, name, batch=1, cfg=5.0):
    """Calls of one patch list during one step: the arguments' shapes and the options' block."""
    calls, out = [], model.clone()

    def attention_patch(n, *rest):
        options = rest[-1]
        calls.append((options["block"], tuple(n.shape), {k: options[k] for k in ("n_heads", "dim_head")}))
        return (n, *rest[:-1]) if len(rest) > 1 else n

    out.set_model_patch(attention_patch, name)
    sample(out, *texts, batch=batch, cfg=cfg, steps=1)
    return calls


@pytest.mark.parametrize("name", ["attn1_patch", "attn1_output_patch", "attn2_patch", "attn2_output_patch"])
def test_attention_lists_are_called_at_the_sixteen_transformers(stack, texts, name):
    calls = recorded(stack[0], texts, name)
    assert {block for block, *_ in calls} == SIXTEEN and len(calls) == 16
    shapes = {block: shape for block, shape, _ in calls}
    assert shapes[("input", 1)] == (2, 192, 32) and shapes[("middle", 0)] == (2, 4, 128) and shapes[("output", 11)] == (2, 192, 32)
    assert calls[0][2] == {"n_heads": 8, "dim_head": 4}


def test_self_attention_is_offered_its_own_context(stack, texts):
    seen, model = [], stack[0].clone()

    def patch(n, context, value, options):
        seen.append(context is n and value is n)
        return n, context, value

    model.set_model_patch(patch, "attn1_patch")
    sample(model, *texts, steps=1)
    assert all(seen) and len(seen) == 16


def test_block_lists_are_called_where_we_act(stack, texts):
    model, seen = stack[0].clone(), {"input": [], "output": []}

    def entry(h, options):
        seen["input"].append((options["block"], tuple(h.shape)))
        return h

    def output(h, skip, options):
        seen["output"].append((options["block"][1], h.shape[1], skip.shape[1]))
        return h, skip

    model.set_model_patch(entry, "input_block_patch")
    model.set_model_patch(output, "output_block_patch")
    sample(model, *texts, steps=1)
    from fitting_room.models.parts.sites import DECODER_H_MULTIPLES, DECODER_SKIP_MULTIPLES

    assert seen["input"][0] == (("input", 0), (2, 32, 16, 12)) and len(seen["input"]) == 12
    assert seen["output"] == [(i, 32 * DECODER_H_MULTIPLES[i], 32 * DECODER_SKIP_MULTIPLES[i]) for i in range(12)]


def test_a_wrapper_sees_raw_noise_prediction_and_integer_timesteps(stack, texts):
    from comfy.patcher_extension import WrappersMP

    model, seen = stack[0].clone(), []

    def wrapper(executor, x, t, context, y, control, options, **kwargs):
        out = executor(x, t, context, y, control, options, **kwargs)
        seen.append((tuple(x.shape), t.tolist(), tuple(context.shape), tuple(out.shape), type(executor.class_obj).__name__, options["sigmas"].shape))
        return out

    model.add_wrapper_with_key(WrappersMP.DIFFUSION_MODEL, "test", wrapper)
    sample(model, *texts, batch=2, steps=1)
    assert seen == [((4, 4, 16, 12), [999.0] * 4, (4, 77, 64), (4, 4, 16, 12), "UNetModel", torch.Size([2]))]


def test_per_conditioning_tensors_arrive_with_their_rows_and_integers_stay_integers(stack, texts):
    import comfy.conds
    from comfy.patcher_extension import WrappersMP
    from fitting_room.host import with_extras

    model, seen = stack[0].clone(), []

    def wrapper(executor, x, t, context, y, control, options, **kwargs):
        seen.append((options["cond_or_uncond"], kwargs["marks"].clone(), kwargs["fitting_room_extra_map"].clone()))
        return executor(x, t, context, y, control, options, **kwargs)

    def marked(conditioning, number):
        carried = with_extras(conditioning, map=torch.full((1, 2, 16, 12), float(number)))
        return [[c, {**d, "model_conds": {**d["model_conds"], "marks": comfy.conds.CONDRegular(torch.tensor([[number]]))}}] for c, d in carried]

    model.add_wrapper_with_key(WrappersMP.DIFFUSION_MODEL, "test", wrapper)
    sample(model, marked(texts[0], 7), marked(texts[1], -7), batch=2, steps=1)
    order, marks, maps = seen[0]
    assert order == [1, 0] and marks.flatten().tolist() == [-7, -7, 7, 7] and marks.dtype == torch.int64
    assert maps.shape == (4, 2, 16, 12) and maps[:, 0, 0, 0].tolist() == [-7.0, -7.0, 7.0, 7.0]


def test_the_kernel_override_is_called_for_every_attention_and_private_to_the_forward(stack, texts):
    from comfy.patcher_extension import WrappersMP

    model, calls = stack[0].clone(), []

    def kernel(func, q, k, v, heads, *args, **kwargs):
        calls.append(kwargs["transformer_options"]["block"])
        return func(q, k, v, heads, *args, **kwargs)

    def wrapper(executor, x, t, context, y, control, options, **kwargs):
        return executor(x, t, context, y, control, {**options, "optimized_attention_override": kernel}, **kwargs)

    plain = sample(stack[0], *texts, steps=1)
    model.add_wrapper_with_key(WrappersMP.DIFFUSION_MODEL, "test", wrapper)
    assert torch.equal(sample(model, *texts, steps=1), plain)
    assert len(calls) == 32 and set(calls) == SIXTEEN
    assert "optimized_attention_override" not in model.model_options["transformer_options"]


def test_noise_concat_serves_a_wide_model_verbatim(comfyui, texts):
    from comfy.patcher_extension import WrappersMP
    from fitting_room.host import with_values
    from fitting_room.host.demo import DEMO_SHAPE, demo_unet

    model, seen = demo_unet(replace(DEMO_SHAPE, in_channels=13)), []

    def wrapper(executor, x, *args, **kwargs):
        seen.append(x.clone())
        return executor(x, *args, **kwargs)

    model = model.clone()
    model.add_wrapper_with_key(WrappersMP.DIFFUSION_MODEL, "test", wrapper)
    extra = torch.randn(1, 9, 16, 12)
    sample(model, *(with_values(t, noise_concat=extra) for t in texts), steps=1)
    assert torch.equal(seen[0][0, 4:], extra[0]) and torch.equal(seen[0][1, 4:], extra[0])


def test_latents_are_scaled_once(stack):
    from fitting_room.host import encode_latent

    image = torch.rand(1, 64, 64, 3)
    with torch.inference_mode():
        assert torch.allclose(encode_latent(stack[2], image), stack[2].encode(image) * 0.18215)


def test_the_base_weights_are_read_without_a_merged_lora(stack):
    import comfy.model_management
    from fitting_room.host import demo_lora, read_weights

    name = "input_blocks.1.1.transformer_blocks.0.attn1.to_v.weight"
    before, styled = read_weights(stack[0], [name])[name], demo_lora(stack[0], 1.0)
    comfy.model_management.load_models_gpu([styled])
    merged = styled.model.diffusion_model.input_blocks[1][1].transformer_blocks[0].attn1.to_v.weight
    assert not torch.equal(merged.cpu(), before) and torch.equal(read_weights(styled, [name])[name], before)
    comfy.model_management.unload_all_models()


def test_a_model_that_is_not_sd15_is_refused_by_name(stack):
    import comfy.supported_models
    from fitting_room.host import unet_shape

    config = comfy.supported_models.SDXL({
        "image_size": 32, "in_channels": 4, "out_channels": 4, "model_channels": 32, "context_dim": 64, "channel_mult": [1, 2, 4], "num_res_blocks": [2] * 3,
        "num_classes": "sequential", "adm_in_channels": 32, "transformer_depth": [0, 0, 1, 1, 1, 1], "transformer_depth_middle": 1,
        "transformer_depth_output": [0, 0, 0, 1, 1, 1, 1, 1, 1], "use_checkpoint": False, "legacy": False, "num_heads": 8, "use_spatial_transformer": True,
        "use_linear_in_transformer": True, "use_temporal_attention": False, "dtype": torch.float32,
    })
    config.set_inference_dtype(torch.float32, None)

    class Holder:
        model = config.get_model({}, "", device=None)

    with pytest.raises(ValueError, match="SDXL.*Stable Diffusion 1.5"):
        unet_shape(Holder())
