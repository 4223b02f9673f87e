"""U-Net keys in diffusers names and in LDM names (which ComfyUI uses), for SD1.5.

The two differ only in how blocks are counted and in the names inside a residual block; the transformers agree.
"""

from __future__ import annotations

_RESNET = (
    ("norm1.", "in_layers.0."), ("conv1.", "in_layers.2."), ("time_emb_proj.", "emb_layers.1."), ("norm2.", "out_layers.0."),
    ("conv2.", "out_layers.3."), ("conv_shortcut.", "skip_connection."),
)


def _blocks() -> dict[str, str]:
    """Prefixes: diffusers -> LDM."""
    out = {
        "time_embedding.linear_1.": "time_embed.0.", "time_embedding.linear_2.": "time_embed.2.", "conv_in.": "input_blocks.0.0.",
        "conv_norm_out.": "out.0.", "conv_out.": "out.2.", "mid_block.resnets.0.": "middle_block.0.",
        "mid_block.attentions.0.": "middle_block.1.", "mid_block.resnets.1.": "middle_block.2.",
    }
    for level in range(4):
        for j in range(2):
            out[f"down_blocks.{level}.resnets.{j}."] = f"input_blocks.{1 + 3 * level + j}.0."
            out[f"down_blocks.{level}.attentions.{j}."] = f"input_blocks.{1 + 3 * level + j}.1."
        out[f"down_blocks.{level}.downsamplers.0.conv."] = f"input_blocks.{3 + 3 * level}.0.op."
        for j in range(3):
            out[f"up_blocks.{level}.resnets.{j}."] = f"output_blocks.{3 * level + j}.0."
            out[f"up_blocks.{level}.attentions.{j}."] = f"output_blocks.{3 * level + j}.1."
        out[f"up_blocks.{level}.upsamplers.0.conv."] = f"output_blocks.{3 * level + 2}.{1 if level == 0 else 2}.conv."
    return out


_BLOCKS = _blocks()


def ldm_name(name: str) -> str | None:
    """The LDM name of a U-Net key in diffusers names; None where there is none."""
    for prefix, ldm in _BLOCKS.items():
        if name.startswith(prefix):
            rest = name[len(prefix) :]
            if ".resnets." in prefix:
                for ours, theirs in _RESNET:
                    if rest.startswith(ours):
                        return ldm + theirs + rest[len(ours) :]
                return None
            return ldm + rest
    return None
