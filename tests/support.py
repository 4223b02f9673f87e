"""What host tests share: a base model, prompts, a sampling run, and weights that are not zero."""

from __future__ import annotations

import inspect

import pytest
import torch

SIZE = (16, 12)  # latent height and width: 128 x 96 pixels


def sample(model, positive, negative, *, batch=1, cfg=5.0, steps=3, seed=1, size=SIZE, sampler="ddim", callback=None):
    """One KSampler run of the host on an empty latent; returns the latents."""
    import comfy.sample

    latent = torch.zeros(batch, 4, *size)
    with torch.inference_mode():
        noise = comfy.sample.prepare_noise(latent, seed)
        return comfy.sample.sample(
            model, noise, steps, cfg, sampler, "normal", positive, negative, latent, disable_pbar=True, seed=seed, callback=callback
        ).clone()


def prompts(clip, positive="a person in a park", negative="blurry"):
    """Two conditionings of equal length."""
    with torch.inference_mode():
        return tuple(clip.encode_from_tokens_scheduled(clip.tokenize(text)) for text in (positive, negative))


def randomise(method, seed=0, scale=0.3):
    """Give every weight of a loaded method a value that is not zero, so that each part of it shows."""
    generator = torch.Generator().manual_seed(seed)
    with torch.inference_mode():
        for parameter in method.module.parameters():
            fan_in = parameter[0].numel() if parameter.ndim > 1 else 1
            parameter.data.add_(torch.randn(parameter.shape, generator=generator) * scale / max(fan_in, 1) ** 0.5)
    return method


def close(a, b, tolerance=1e-4):
    """Equal within float rounding, relative to the largest value."""
    return float((a - b).abs().max()) <= tolerance * float(b.abs().max())


def run(node_id, **inputs):
    """Execute a node of ours, found by its id, as the host does: under inference mode. Returns its NodeOutput."""
    from fitting_room import host, nodes

    host.register_folders()
    by_id = {cls.GET_SCHEMA().node_id: cls for cls in nodes.NODES}
    with torch.inference_mode():
        return by_id[node_id].execute(**inputs)


def astronaut():
    """A real photograph of a person, (1,512,512,3)."""
    from skimage import data

    return torch.from_numpy(data.astronaut().copy()).float()[None] / 255


def astronaut_pose():
    """Keypoints of the astronaut, set by eye, as OpenPose JSON of 18 points; her left wrist and everything below is not seen."""
    import json

    seen = {0: (226, 135), 1: (222, 232), 2: (130, 262), 3: (70, 400), 4: (150, 500), 5: (330, 265), 6: (400, 420), 14: (207, 112), 15: (247, 110), 16: (180, 120), 17: (275, 118)}
    flat = [value for i in range(18) for value in (*seen.get(i, (0, 0)), 1.0 if i in seen else 0.0)]
    return json.dumps({"people": [{"pose_keypoints_2d": flat}], "canvas_width": 512, "canvas_height": 512})


def needs_deep_copies() -> None:
    """Skip where the host has no copies of networks (before 0.27)."""
    import comfy.model_patcher

    if "force_deepcopy" not in inspect.signature(comfy.model_patcher.ModelPatcher.clone).parameters:
        pytest.skip("this host never copies a network")


def needs_the_newest_host(server) -> None:
    """Skip on another host than the one that generated files are written with: the schemas of its nodes are in them."""
    from fitting_room.tools.setup import DEFAULT_HOST

    if server.client.get("/system_stats")["system"]["comfyui_version"] != DEFAULT_HOST:
        pytest.skip(f"files are written with the schemas of ComfyUI {DEFAULT_HOST}")
