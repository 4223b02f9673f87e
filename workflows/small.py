"""Small workflows for comfy-test, which runs a pack's nodes on a CPU without any file and reads a graph more strictly than ComfyUI.

Its validation counts a node's values by the schema and leaves the choices of a COMBO out; so these graphs hold only nodes whose
numbers and texts come before their choices, and no notes, subgraphs, primitives or loaders.
"""

from __future__ import annotations

from .graph import Graph, Node


def _stack(g: Graph) -> Node:
    return g.node("base", "FittingRoomDemoModel", group="Models")


def _sample(g: Graph, stack: Node, model, positive, negative) -> None:
    plms = g.node("plms", "FittingRoomPLMS", group="Sample", model=model, steps=2)
    guide = g.node("guide", "CFGGuider", group="Sample", model=model, positive=positive, negative=negative, cfg=2.0)
    noise = g.node("noise", "RandomNoise", group="Sample", noise_seed=1)
    latent = g.node("latent", "EmptyLatentImage", group="Sample", width=96, height=128, batch_size=1)
    run = g.node("sampler", "SamplerCustomAdvanced", group="Sample", noise=noise[0], guider=guide[0], sampler=plms[0], sigmas=plms[1], latent_image=latent[0])
    picture = g.node("decode", "VAEDecode", group="Sample", samples=run[0], vae=stack["VAE"])
    g.node("result", "SaveImage", group="Sample", images=picture[0], filename_prefix=f"fitting_room/{g.name}")


def _texts(g: Graph, stack: Node) -> tuple[Node, Node]:
    return tuple(g.node(name, "CLIPTextEncode", group="Prompt", clip=stack["CLIP"], text=text) for name, text in (("positive", "a person"), ("negative", "blurry")))


def sampling(info: dict) -> Graph:
    """The demo model, widened for inpainting, with a LoRA, sampled with PLMS."""
    g = Graph("sampling", info, "The demo model with a LoRA, sampled with PLMS.")
    stack = _stack(g)
    lora = g.node("style", "FittingRoomDemoLora", group="Models", model=stack["MODEL"], strength=0.5)
    yes, no = _texts(g, stack)
    _sample(g, stack, lora[0], yes[0], no[0])
    return g


def controlnet(info: dict) -> Graph:
    """The demo ControlNet beside the demo model."""
    g = Graph("controlnet", info, "The demo model under a ControlNet.")
    stack = _stack(g)
    yes, no = _texts(g, stack)
    net = g.node("controlnet", "FittingRoomDemoControlNet", group="Models", model=stack["MODEL"])
    pose = g.node("pose", "EmptyImage", group="Prompt", width=96, height=128, batch_size=1, color=0x404040)
    both = g.node("apply", "ControlNetApplyAdvanced", group="Prompt", positive=yes[0], negative=no[0], control_net=net[0], image=pose[0], strength=0.8,
                  start_percent=0.0, end_percent=1.0)
    _sample(g, stack, stack["MODEL"], both[0], both[1])
    return g


def masks(info: dict) -> Graph:
    """A mask, the largest box in it, a crop about it and back again."""
    g = Graph("masks", info, "The largest box in a mask, a crop about it with its edges, and back again.")
    photo = g.node("photo", "EmptyImage", group="Picture", width=256, height=192, batch_size=1, color=0xA08060)
    ground = g.node("ground", "SolidMask", group="Picture", value=0.0, width=256, height=192)
    spot = g.node("spot", "SolidMask", group="Picture", value=1.0, width=80, height=64)
    mask = g.node("mask", "MaskComposite", group="Picture", destination=ground[0], source=spot[0], x=90, y=60, operation="add")
    box = g.node("box", "FittingRoomLargestRectangle", group="Work", mask=mask[0])
    crop = g.node("crop", "FittingRoomCropRegion", group="Work", image=photo[0], mask=box["MASK"], context=1.5, size=128, multiple=64)
    edges = g.node("edges", "FittingRoomRGBCanny", group="Work", image=crop["IMAGE"], low=30, high=140, per_channel=True)
    back = g.node("back", "FittingRoomStitchRegion", group="Work", source=photo[0], result=edges[0], crop=crop["crop"], mask=box["MASK"], feather=4)
    again = g.node("again", "FittingRoomCompositeBack", group="Result", source=photo[0], result=back[0], mask=mask[0], feather=0)
    g.node("result", "SaveImage", group="Result", images=again[0], filename_prefix="fitting_room/masks")
    return g


def small(info: dict) -> list[Graph]:
    """The workflows of `workflows/tests`."""
    return [describe(info) for describe in (sampling, controlnet, masks)]
