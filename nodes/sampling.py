"""PLMS, the sampler that StableVITON, SIFT-VTON and PM-Jewelry were published with."""

from __future__ import annotations

from ..host import io, plms, plms_sigmas


class PLMS(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="FittingRoomPLMS",
            display_name="PLMS Sampler",
            category="Fitting Room/Sampling",
            description="The pseudo linear multistep sampler as latent diffusion runs it, for SamplerCustom: its own first step, its own "
            "timesteps and its own end. The papers of try-on use 50 steps. One evaluation more than steps.",
            search_aliases=["plms", "pndm", "sampler", "stableviton", "try-on sampler"],
            inputs=[
                io.Model.Input("model", tooltip="The model to sample; only its noise schedule is read."),
                io.Int.Input("steps", default=50, min=2, max=1000, tooltip="Steps of a full run, 50 in the papers."),
                io.Float.Input(
                    "denoise", default=1.0, min=0.0, max=1.0, step=0.01, optional=True, advanced=True,
                    tooltip="1 runs all steps. Less starts later from the latent picture (image to image): 0.5 runs the last half.",
                ),
            ],
            outputs=[
                io.Sampler.Output(display_name="sampler", tooltip="For SamplerCustom or SamplerCustomAdvanced."),
                io.Sigmas.Output(display_name="sigmas", tooltip="The noise levels that belong to it."),
            ],
        )

    @classmethod
    def execute(cls, model, steps, denoise=1.0):
        return io.NodeOutput(plms(model, steps), plms_sigmas(model, steps, denoise))


NODES = [PLMS]
