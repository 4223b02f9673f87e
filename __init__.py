"""Fitting Room: dress, undress and adorn anyone on Stable Diffusion 1.5, inside ComfyUI's own U-Net."""

WEB_DIRECTORY = "./web"


async def comfy_entrypoint():
    """What ComfyUI calls to get the nodes."""
    from .host import ComfyExtension, register_folders
    from .nodes import NODES

    register_folders()

    class FittingRoom(ComfyExtension):
        async def get_node_list(self):
            return NODES

    return FittingRoom()
