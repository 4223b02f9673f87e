"""How large a node is on the canvas, with room for what it shows after a run."""

from __future__ import annotations

PICTURE, SMALL_PICTURE, TEXT = 300, 220, 110
# below the inputs: pictures and texts that nodes show under themselves
SHOWS = {
    **dict.fromkeys(("LoadImage", "SaveImage", "PreviewImage", "MaskPreview", "LossGraphNode"), PICTURE),
    **dict.fromkeys((f"FittingRoom{name}" for name in (
        "AgnosticMask", "MaskAugment", "RerenderRegion", "Depth", "Saliency", "Segment", "SiftMatches", "AttentionMap", "JewelryPlacement", "ApplyFeedback",
        "ShadowMask", "Curate", "DemoPicture", "LargestRectangle", "PlaceHint", "RGBCanny", "CropRegion")), SMALL_PICTURE),
    "PreviewAny": TEXT,
}
HIGH_WIDGETS = {"FITTING_ROOM_POINTS": 280}
BADGE = 26  # Nodes 2.0 writes the pack's name at the foot
WIDE, USUAL, NARROW, WIDEST = 360, 310, 250, 440


def size(kind: str, title: str, sockets: int, widgets: list[dict]) -> tuple[float, float]:
    """(width, height without title bar) of a node.

    Args:
        kind: its type. sockets: how many rows of inputs or outputs it has. widgets: the options of each of its fields.
    """
    usual = WIDE if any(w.get("multiline") for w in widgets) else USUAL if widgets or kind in SHOWS else NARROW
    width = min(max(usual, 60 + 8 * len(title)), WIDEST)
    badge = BADGE if kind.startswith("FittingRoom") else 0
    return width, 16 + 20 * sockets + sum(map(_row, widgets)) + badge + SHOWS.get(kind, 0)


def _row(options: dict) -> int:
    if high := HIGH_WIDGETS.get(options.get("widgetType"), 100 if options.get("multiline") else 0):
        return high
    if options.get("text"):
        return 36
    return 48 if options.get("control_after_generate") else 24
