"""The contact sheet of a curation: kept pairs first, then the rejected, each with its score and what speaks against it."""

import numpy as np

from .curate import Judgement, Selection
from .pictures import to_rgb8

PAPER, INK, FAINT = (24, 25, 28), (238, 238, 240), (160, 162, 168)
KEPT, HARD, REJECTED = (70, 190, 110), (235, 180, 60), (225, 85, 75)
GAP, LABEL, HEAD, SLOT = 12, 56, 44, (224, 168)


def contact_sheet(pictures, judgements: list[Judgement], selection: Selection, columns: int = 6, per_group: int = 24) -> np.ndarray:
    """A picture (H,W,3) RGB uint8.

    pictures   one per judgement, of any size or kind, or a function index -> picture (a data set is not loaded whole)
    columns    thumbnails in a row
    per_group  at most so many of the kept (best first) and of the rejected (best first: the close calls)
    A green frame: kept; amber: kept although a rule speaks of a hard case or against it; red: rejected.
    """
    from PIL import Image, ImageDraw

    picture_of = pictures if callable(pictures) else pictures.__getitem__
    groups = [("kept", selection.kept, KEPT), ("rejected", selection.rejected, REJECTED)]
    shown = [min(len(index), per_group) for _, index, _ in groups]
    rows = [-(-count // columns) for count in shown]
    cell = SLOT[0] + LABEL + GAP, SLOT[1] + GAP
    sheet = Image.new("RGB", (columns * cell[1] + GAP, sum(HEAD + max(1, r) * cell[0] for r in rows) + GAP), PAPER)
    draw = ImageDraw.Draw(sheet)
    top = 0
    for (title, index, colour), count, lines in zip(groups, shown, rows, strict=True):
        more = f", the first {count} shown" if count < len(index) else ""
        _write(draw, (GAP, top + HEAD // 2), f"{len(index)} {title}{more}", colour, 20, sheet.width)
        top += HEAD
        if not count:
            _write(draw, (GAP, top + 16), "none", FAINT, 14, sheet.width)
        for place, number in enumerate(index[:count]):
            corner = GAP + place % columns * cell[1], top + place // columns * cell[0]
            doubt = title == "kept" and judgements[number].reason
            _thumbnail(sheet, draw, picture_of(number), judgements[number], corner, HARD if doubt else colour)
        top += max(1, lines) * cell[0]
    return np.asarray(sheet)


def _thumbnail(sheet, draw, picture, judgement, corner, colour):
    from PIL import Image

    image = Image.fromarray(to_rgb8(picture))
    image.thumbnail((SLOT[1] - 6, SLOT[0] - 6), Image.Resampling.LANCZOS)
    x, y = corner
    draw.rectangle((x, y, x + SLOT[1] - 1, y + SLOT[0] - 1), fill=(38, 39, 43), outline=colour, width=3)
    sheet.paste(image, (x + (SLOT[1] - image.width) // 2, y + (SLOT[0] - image.height) // 2))
    _write(draw, (x, y + SLOT[0] + 11), f"{judgement.score:.2f}  {judgement.name}", INK, 13, SLOT[1])
    first, rest = _broken(draw, judgement.reason or "all rules pass", 12, SLOT[1])
    _write(draw, (x, y + SLOT[0] + 27), first, FAINT, 12, SLOT[1])
    _write(draw, (x, y + SLOT[0] + 42), rest, FAINT, 12, SLOT[1])


def _broken(draw, text, size, width):
    """The words that fit on one line, and the rest."""
    from PIL import ImageFont

    font, words = ImageFont.load_default(size=size), text.split()
    fits = len(words)
    while fits > 1 and draw.textlength(" ".join(words[:fits]), font=font) > width:
        fits -= 1
    return " ".join(words[:fits]), " ".join(words[fits:])


def _write(draw, at, text, colour, size, width):
    from PIL import ImageFont

    font = ImageFont.load_default(size=size)
    if draw.textlength(text, font=font) > width:
        while text and draw.textlength(text + "...", font=font) > width:
            text = text[:-1]
        text += "..."
    draw.text(at, text, fill=colour, font=font, anchor="lm")
