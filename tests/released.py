"""Checkpoints with the published key names and shapes, at any width: numbers from a seed, or no numbers at all (full size, no memory)."""

from __future__ import annotations

import torch

SCHEDULE = (
    "betas alphas_cumprod alphas_cumprod_prev sqrt_alphas_cumprod sqrt_one_minus_alphas_cumprod log_one_minus_alphas_cumprod "
    "sqrt_recip_alphas_cumprod sqrt_recipm1_alphas_cumprod posterior_variance posterior_log_variance_clipped posterior_mean_coef1 "
    "posterior_mean_coef2 lvlb_weights"
).split()


def unet_shapes(shape):
    """LDM name -> shape, from the host's own class."""
    from fitting_room.host import blocks, layers

    return {k: t.shape for k, t in blocks.unet(shape, layers(training=True, dtype=torch.float32, device="meta")).state_dict().items()}


def warp_shapes(shape):
    """`warp_flow_blks.{n}.*` and `warp_zero_convs.{n}.*`: the table of the nine blocks, written out."""
    m = shape.model_channels
    widths = [(4, 4), (4, 4), (4, 2), (4, 2), (2, 2), (2, 1), (2, 1), (1, 1), (1, 1)]  # of h, of the garment's map
    out = {}
    for n, (c, ctx) in enumerate((a * m, b * m) for a, b in widths):
        block, inner = f"warp_flow_blks.{n}", f"warp_flow_blks.{n}.transformer_blocks.0"
        out |= {f"{block}.{p}.weight": (c, c, 1, 1) for p in ("proj_in", "proj_out")} | {f"{block}.{p}.bias": (c,) for p in ("proj_in", "proj_out")}
        out |= {f"{block}.norm.weight": (c,), f"{block}.norm.bias": (c,)}
        for attention, k in (("attn1", c), ("attn2", ctx)):
            out |= {f"{inner}.{attention}.to_q.weight": (c, c), f"{inner}.{attention}.to_k.weight": (c, k)}
            out |= {f"{inner}.{attention}.to_v.weight": (c, k), f"{inner}.{attention}.to_out.0.weight": (c, c)}
            out |= {f"{inner}.{attention}.to_out.0.bias": (c,)}
        out |= {f"{inner}.ff.net.0.proj.weight": (8 * c, c), f"{inner}.ff.net.0.proj.bias": (8 * c,)}
        out |= {f"{inner}.ff.net.2.weight": (c, 4 * c), f"{inner}.ff.net.2.bias": (c,)}
        out |= {f"{inner}.norm{i}.{p}": (c,) for i in (1, 2, 3) for p in ("weight", "bias")}
        out |= {f"warp_zero_convs.{n}.weight": (c, c, 1, 1), f"warp_zero_convs.{n}.bias": (c,)}
    return out


def token_shapes(width, context):
    """Mapper, norm, projection and learned null."""
    out = {"learnable_vector": (1, 1, context), "proj_out.weight": (context, width), "proj_out.bias": (context,)}
    for n in range(5):
        block = f"cond_stage_model.mapper.resblocks.{n}"
        for name, (o, i) in {
            "attn.c_qkv": (3 * width, width), "attn.c_proj": (width, width), "mlp.c_fc": (4 * width, width), "mlp.c_proj": (width, 4 * width),
        }.items():
            out |= {f"{block}.{name}.weight": (o, i), f"{block}.{name}.bias": (o,)}
        out |= {f"{block}.{ln}.{p}": (width,) for ln in ("ln_1", "ln_2") for p in ("weight", "bias")}
    return out | {f"cond_stage_model.final_ln.{p}": (width,) for p in ("weight", "bias")}


def vae_shapes(width):
    """Stable Diffusion's KL-f8, 248 tensors."""
    import comfy.ldm.models.autoencoder

    config = {
        "double_z": True, "z_channels": 4, "resolution": 256, "in_channels": 3, "out_ch": 3, "ch": width, "ch_mult": [1, 2, 4, 4],
        "num_res_blocks": 2, "attn_resolutions": [], "dropout": 0.0,
    }
    with torch.device("meta"):
        return {k: t.shape for k, t in comfy.ldm.models.autoencoder.AutoencoderKL(ddconfig=config, embed_dim=4).state_dict().items()}


def vision_shapes(width, layers):
    """CLIP's vision model in the published names."""
    c = width
    v = "vision_model"
    out = {f"{v}.embeddings.class_embedding": (c,), f"{v}.embeddings.patch_embedding.weight": (c, 3, 14, 14)}
    out |= {f"{v}.embeddings.position_embedding.weight": (257, c)}
    out |= {f"{v}.{n}.{p}": (c,) for n in ("pre_layrnorm", "post_layernorm") for p in ("weight", "bias")}
    for n in range(layers):
        block = f"{v}.encoder.layers.{n}"
        for name, (o, i) in {
            **{f"self_attn.{p}_proj": (c, c) for p in ("q", "k", "v", "out")}, "mlp.fc1": (4 * c, c), "mlp.fc2": (c, 4 * c),
        }.items():
            out |= {f"{block}.{name}.weight": (o, i), f"{block}.{name}.bias": (o,)}
        out |= {f"{block}.layer_norm{i}.{p}": (c,) for i in (1, 2) for p in ("weight", "bias")}
    return out


def paint_by_example_shapes(shape, width=1024, vae=128, vision_layers=24):
    """Paint by Example: name -> shape."""
    out = {f"model.diffusion_model.{k}": s for k, s in unet_shapes(shape).items()}
    out |= {f"first_stage_model.{k}": s for k, s in vae_shapes(vae).items()}
    out |= {f"cond_stage_model.transformer.{k}": s for k, s in vision_shapes(width, vision_layers).items()}
    return out | token_shapes(width, shape.context_dim) | {name: (1000,) for name in SCHEDULE}


def stableviton_shapes(shape, sift=False, **sizes):
    """StableVITON and SIFT-VTON: name -> shape."""
    out = paint_by_example_shapes(shape, **sizes)
    out |= {f"model.diffusion_model.{k}": s for k, s in warp_shapes(shape).items()}
    encoder = ("time_embed.", "input_blocks.", "middle_block.")
    out |= {f"control_model.{k}": s for k, s in unet_shapes(shape).items() if k.startswith(encoder)}
    m = shape.model_channels
    out |= {"control_model.cond_first_block.0.weight": (m, 4, 3, 3), "control_model.cond_first_block.0.bias": (m,)}
    out |= {"lastzc.weight": (4, 4, 1, 1), "lastzc.bias": (4,)}
    return out | ({"model.diffusion_model.explicit_ratio": (9,)} if sift else {})


def without_numbers(shapes):
    """Tensors of these shapes that take no memory: one zero, seen everywhere."""
    return {k: torch.zeros((), dtype=torch.float16).expand(tuple(s)) for k, s in shapes.items()}


def filled(shapes, seed=0):
    """Tensors of these shapes from a seed, of a scale at which a network keeps its numbers; norms near one."""
    generator, out = torch.Generator().manual_seed(seed), {}
    for name, s in sorted(shapes.items()):
        fan_in = max(torch.Size(s)[1:].numel(), 1) if len(s) > 1 else 1
        tensor = torch.randn(tuple(s), generator=generator) / fan_in**0.5 * (1.0 if len(s) > 1 else 0.1)
        norm = len(s) == 1 and name.endswith("weight")
        out[name] = tensor + 1 if norm else tensor
    return out
