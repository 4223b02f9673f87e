"""A small image encoder, so that workflows with a CLIP_VISION run before any download."""

from __future__ import annotations

from ..host import demo_vision, io


class DemoVision(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="FittingRoomDemoVision",
            display_name="Demo CLIP Vision (small, random)",
            category="Fitting Room/Demo",
            description="A small image encoder (64 wide, 257 tokens) with random weights that are always the same, "
            "to run workflows with. It recognises nothing: for real pictures put Load CLIP Vision with CLIP ViT-L/14 (try-on), "
            "ViT-H (IP-Adapter) or DINOv2 in its place.",
            search_aliases=["test clip vision", "placeholder image encoder", "dinov2"],
            inputs=[
                io.Combo.Input(
                    "kind", options=["clip", "dinov2"], default="clip",
                    tooltip="clip: built like CLIP ViT-L, for try-on and IGR. dinov2: built like DINOv2, for Diffuse to Choose.",
                ),
            ],
            outputs=[io.ClipVision.Output(display_name="clip_vision", tooltip="A small random image encoder.")],
        )

    @classmethod
    def execute(cls, kind):
        return io.NodeOutput(demo_vision(kind))


NODES = [DemoVision]
