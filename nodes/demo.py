"""The bundled small stack, so that every workflow runs before any download."""

from __future__ import annotations

from ..host import DEMO_OPTIONS, demo_controlnet, demo_lora, demo_method, demo_stack, io, ui
from ..models.registry import METHODS
from .sockets import Method


FORMS = {"text to image": 4, "inpainting": 9}
"""Form of the demo model -> channels of its U-Net's input."""


class DemoModel(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="FittingRoomDemoModel",
            display_name="Demo Model (small)",
            category="Fitting Room/Demo",
            description="A small stack of SD1.5's shape (about 12 million parameters), so that every workflow runs before any download. "
            "Unless trained demo weights are bundled its weights are random: the pictures are patterns of noise and show only that the workflow runs. "
            "For real pictures put Load Checkpoint with an SD1.5 model in its place.",
            search_aliases=["test model", "tiny sd15", "placeholder checkpoint"],
            inputs=[
                io.Combo.Input(
                    "form", options=list(FORMS), optional=True,
                    tooltip="text to image: 4 channels, as SD1.5. inpainting: 9 channels (mask and masked picture), as SD1.5 inpainting checkpoints; the same weights.",
                ),
            ],
            outputs=[
                io.Model.Output(display_name="model", tooltip="A narrow SD1.5 U-Net."),
                io.Clip.Output(display_name="clip", tooltip="A two-layer text encoder."),
                io.Vae.Output(display_name="vae", tooltip="A small autoencoder, 8 pixels per latent pixel."),
            ],
        )

    @classmethod
    def execute(cls, form="text to image"):
        model, clip, vae, _ = demo_stack(FORMS[form])
        return io.NodeOutput(model, clip, vae)


class DemoMethod(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="FittingRoomDemoMethod",
            display_name="Demo Method (small)",
            category="Fitting Room/Demo",
            description="A method's bundled weights for the demo model, trained on a drawn world; where none are bundled, an untrained start. "
            "For real pictures put Load Fitting Method in its place.",
            search_aliases=["test method", "placeholder weights", "small try-on"],
            inputs=[
                io.Model.Input("model", tooltip="The demo model: inpainting for sift_vton, diffuse_to_choose and pm_jewelry, text to image for the others."),
                io.Combo.Input("method", options=list(DEMO_OPTIONS), tooltip="Which paper."),
            ],
            outputs=[Method.Output(display_name="method", tooltip="For the method's Apply node.")],
        )

    @classmethod
    def execute(cls, model, method):
        made, trained = demo_method(model, METHODS[method])
        about = made.header.describe() if trained else f"No demo weights of {METHODS[method].label} are bundled yet: an untrained start."
        return io.NodeOutput(made, ui=ui.PreviewText(about))


class DemoControlNet(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="FittingRoomDemoControlNet",
            display_name="Demo ControlNet (small, untrained)",
            category="Fitting Room/Demo",
            description="A ControlNet of the demo model's width with random weights, to run workflows with. For real pictures put Load ControlNet Model in its place.",
            search_aliases=["test controlnet", "placeholder"],
            inputs=[io.Model.Input("model", tooltip="The demo model; the ControlNet is made for its width.")],
            outputs=[io.ControlNet.Output(display_name="control_net", tooltip="For Apply ControlNet.")],
        )

    @classmethod
    def execute(cls, model):
        return io.NodeOutput(demo_controlnet(model))


class DemoLora(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="FittingRoomDemoLora",
            display_name="Demo LoRA (random)",
            category="Fitting Room/Demo",
            description="A random low-rank change of the model, to run workflows with. For a real style put Load LoRA (Model only) in its place.",
            search_aliases=["test lora", "placeholder"],
            inputs=[
                io.Model.Input("model", tooltip="Any SD1.5 model."),
                io.Float.Input("strength", default=0.8, min=-2.0, max=2.0, step=0.05, tooltip="How much of the change is added; 0 changes nothing."),
            ],
            outputs=[io.Model.Output(display_name="model", tooltip="The changed model.")],
        )

    @classmethod
    def execute(cls, model, strength):
        return io.NodeOutput(demo_lora(model, strength))


NODES = [DemoModel, DemoMethod, DemoControlNet, DemoLora]
