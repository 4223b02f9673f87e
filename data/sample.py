"""One sample as training sees it: pictures, masks and points of one size, read and moved by one geometry."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor


@dataclass(frozen=True)
class Item:
    """What is worn or placed: a garment, a product, a piece of jewelry.

    Attributes:
        picture: (3,h,w), 0..1: its product photo, padded on white.
        slot: what it is: "upper", "lower", "full", "hat", "product", "earring" ...
        mask: (1,h,w), 1 = the item in its own picture; None: not known.
        worn: (1,H,W), 1 = the item in the person's picture; None: not known.
        matches: (K,2,2), [person, item][x, y] in pixels of the two pictures as they are here, pixel centres at whole
            numbers; K may be 0; None: never looked for.
    """

    picture: Tensor
    slot: str = "upper"
    mask: Tensor | None = None
    worn: Tensor | None = None
    matches: Tensor | None = None

    def on_white(self) -> Tensor:
        """(3,h,w): the picture with everything outside the mask white; the picture itself where there is no mask."""
        return self.picture if self.mask is None else self.picture * self.mask + (1 - self.mask)


@dataclass(frozen=True)
class Sample:
    """One sample. Everything of the person's picture has its size (H,W).

    Attributes:
        name: for messages and for what is kept on disk; unique in a data set.
        person: (3,H,W), 0..1: the picture that is dressed or adorned, or that a product goes into; what is drawn in
            training, except by IGR, which draws the item.
        items: what is worn or placed; at least one.
        mask: (1,H,W), 1 = repaint; None: not known.
        pose: (3,H,W), 0..1: the DensePose picture. None: not known.
        depth: (1,H,W), 0..1, near = 1. saliency: (1,H,W), 0..1.
        shadow: (1,H,W), 1 = a shadow that the item casts.
        valid: (1,H,W), 1 = picture, 0 = padding.
        caption: text; "" where there is none.
        category: upper, lower or full, or a kind of jewelry; "" where unknown.
        notes: what was made because no file had it ("mask from the parse map").
    """

    name: str
    person: Tensor
    items: tuple[Item, ...]
    mask: Tensor | None = None
    pose: Tensor | None = None
    depth: Tensor | None = None
    saliency: Tensor | None = None
    shadow: Tensor | None = None
    valid: Tensor | None = None
    caption: str = ""
    category: str = ""
    notes: tuple[str, ...] = field(default=())

    @property
    def item(self) -> Item:
        """The first item, for methods with one."""
        return self.items[0]

    @property
    def size(self) -> tuple[int, int]:
        """(H, W)."""
        return self.person.shape[-2], self.person.shape[-1]

    def need(self, name: str, why: str) -> Tensor:
        """A field that a method cannot do without.

        Raises:
            ValueError: this sample has none; names the sample and the field.
        """
        value = getattr(self, name)
        if value is None:
            raise ValueError(f"The sample '{self.name}' has no {name}, and {why}.")
        return value
