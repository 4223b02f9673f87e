"""Our own sockets. Everything else travels on ComfyUI's types."""

from ..host import io, ui

Method = io.Custom("FITTING_METHOD")
"""A method with its weights and header (`host.LoadedMethod`)."""

Reference = io.Custom("FITTING_REFERENCE")
"""A list of `models.parts.reference.Reference`."""

Tokens = io.Custom("FITTING_TOKENS")
"""Image tokens (B,M,768) and their null counterpart."""

Matches = io.Custom("FITTING_MATCHES")
"""A list of `preprocess.matches.Matches`, one per pair of a batch: SIFT matches in pixels with the sizes they refer to."""

Supervision = io.Custom("FITTING_SUPERVISION")
"""How matches supervise attention in training."""

Pairs = io.Custom("FITTING_PAIRS")
"""A `data.pairs.Pairs`: a data set, read lazily."""

Crop = io.Custom("FITTING_CROP")
"""`preprocess.composite.Crop`: where a crop was cut from."""

JewelryState = io.Custom("JEWELRY_STATE")
"""The serialisable state of a fitting (JSON text inside)."""

PoseKeypoints = io.Custom("POSE_KEYPOINT")
"""The host's and other packs' pose frames in OpenPose's form."""

FaceLandmarks = io.Custom("FACE_LANDMARKS")
"""The host's face mesh (MediaPipe)."""


def points_input(tooltip: str):
    """Points in pixels of the picture: clicked where the browser draws the widget, typed where it does not."""
    return io.String.Input("points", default="", tooltip=tooltip, extra_dict={"widgetType": "FITTING_ROOM_POINTS"})


def seen(image, node: type, text: str = "", **more) -> dict:
    """What a node shows under itself: pictures, a sentence where there is one, and what our own widgets ask for."""
    return {**ui.PreviewImage(image, cls=node).as_dict(), **({"text": (text,)} if text else {}), **more}


def plain_picture(image, node: type) -> list:
    """The first picture as the points widget draws it, kept among the host's temporary files."""
    return ui.PreviewImage(image[:1], cls=node).as_dict()["images"]


def percent_inputs() -> list:
    """start_percent and end_percent, the same for every method that acts on a MODEL."""
    return [
        io.Float.Input(
            "start_percent", default=0.0, min=0.0, max=1.0, step=0.01, advanced=True,
            tooltip="Share of the sampling at which the method starts to act. 0 = from the first step.",
        ),
        io.Float.Input(
            "end_percent", default=1.0, min=0.0, max=1.0, step=0.01, advanced=True,
            tooltip="Share of the sampling at which the method stops acting. 1 = to the last step.",
        ),
    ]


def check_range(start_percent, end_percent) -> bool | str:
    """For validate_inputs: True, or the sentence that says what is wrong with the range."""
    if start_percent is None or end_percent is None or start_percent <= end_percent:
        return True
    return f"start_percent is {start_percent} and end_percent is {end_percent}; the start must not lie after the end."


def check_sides(width, height) -> bool | str:
    """For validate_inputs: True, or the sentence that says which side is no multiple of 8."""
    for name, value in (("width", width), ("height", height)):
        if value is not None and (value < 64 or value % 8):
            return f"{name} is {value}; it must be a multiple of 8 and at least 64, for example {max(64, value // 8 * 8)}."
    return True
