"""Values that travel with a MODEL, and what a MODEL predicts."""

from __future__ import annotations

import comfy.model_sampling


def with_attachment(model, key: str, value):
    """Put a value on a MODEL of ours (a fresh clone); clones of it carry it on. Returns the model."""
    model.set_attachments(f"fitting_room_{key}", value)
    return model


def attachment(model, key: str):
    """The value under a key, or None."""
    return model.get_attachment(f"fitting_room_{key}")


def check_predicts_noise(model, label: str) -> None:
    """Refuse a MODEL whose output is not the noise.

    Raises:
        ValueError: the MODEL predicts v or the clean picture.
    """
    kinds, sampling = comfy.model_sampling, model.get_model_object("model_sampling")
    if not isinstance(sampling, kinds.EPS) or isinstance(sampling, (kinds.V_PREDICTION, kinds.X0)):
        raise ValueError(
            f"This MODEL does not predict noise (it predicts v, or the picture itself), and {label} changes predicted noise; "
            "use an SD1.5 model with epsilon prediction."
        )
