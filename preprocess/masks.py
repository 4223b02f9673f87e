"""Agnostic masks: what to repaint so that nothing of the old garment shows through, and nothing else is touched.

A mask comes from a parse map, pose keypoints, a plain mask of the worn garment, or any of them together; what is better known from
the pose (how far a sleeve goes, where a hand begins) is taken from it. Without a pose, sleeves and hands are told from the arm's
skin alone, which holds for arms that hang: see `_estimated_hand`. A mask decides more of a try-on's quality than anything else, so
every step can be looked at and the result is refused when it covers nothing or everything.
"""

from dataclasses import dataclass

import numpy as np
import torch

from . import body
from .arrays import as_image, as_mask, bounding_box, check_mask, fit_mask, from_bool, match_batch, to_bool
from .parts import check_labels, part
from .pose import Person
from .shapes import fill_box, grow

CATEGORIES = ("upper", "lower", "full")
SLEEVES = ("long", "short")
STYLES = ("parse", "box", "bounding_box")
KEEP = ("hands", "hair", "face")
GREY = 0.5   # zero in the -1..1 the VAE sees, 128 in 8 bits


@dataclass(frozen=True)
class Wish:
    """What is to be dressed and how the mask is drawn."""

    category: str = "upper"
    sleeves: str = "long"
    style: str = "parse"
    keep: tuple[str, ...] = KEEP
    grow_px: int = 8

    def __post_init__(self):
        """Refuse unknown choices."""
        choices = ((self.category, CATEGORIES, "category"), (self.sleeves, SLEEVES, "sleeve length"), (self.style, STYLES, "mask style"))
        for value, known, what in choices:
            if value not in known:
                raise ValueError(f"The {what} '{value}' is not known; choose one of {', '.join(known)}.")
        if unknown := set(self.keep) - set(KEEP):
            raise ValueError(f"Parts to keep '{', '.join(sorted(unknown))}' are not known; choose among {', '.join(KEEP)}.")


def agnostic_mask(height: int, width: int, wish: Wish = Wish(), labels: torch.Tensor | None = None, scheme: str = "lip",
                  people: list[Person | None] | None = None, garment: torch.Tensor | None = None,
                  protect: torch.Tensor | None = None) -> tuple[torch.Tensor, str]:
    """The mask (B,1,height,width), 1 = repaint, and a note, "" when there is nothing to say.

    labels (B,h,w) integers of `scheme` (see parts), people one per picture (pose.read_pose), garment (B,1,h,w) the worn garment's
    mask; at least one of them. protect (B,1,h,w) is never repainted. Batches of 1 are repeated.
    Raises ValueError without any source, for batches that do not fit, and for a mask that covers nothing or everything.
    """
    if labels is None and people is None and garment is None:
        raise ValueError("An agnostic mask needs a source; connect a parse map, pose keypoints or a mask of the garment.")
    notes, size = [], (height, width)
    parse = None if labels is None else _fit_labels(check_labels(labels, scheme), size, notes)
    worn = None if garment is None else _fit_bool(garment, size, "garment", notes)
    kept = None if protect is None else _fit_bool(protect, size, "protect", notes)
    batch = max(len(item) for item in (parse, people, worn, kept) if item is not None)
    masks = []
    for index in range(batch):
        sources = [None if item is None else item[_row(len(item), index, batch)] for item in (parse, people, worn)]
        if people is not None and sources[1] is None:
            notes.append(f"No person was found in pose {index + 1}.")
        masks.append(_one(size, wish, sources, scheme, None if kept is None else kept[_row(len(kept), index, batch)]))
    return check_mask(from_bool(np.stack(masks)), "the agnostic mask"), " ".join(dict.fromkeys(notes))


def _row(count: int, index: int, batch: int) -> int:
    if count not in (1, batch):
        raise ValueError(f"A batch of {count} does not fit a batch of {batch}; give 1 or {batch} of each source.")
    return index if count > 1 else 0


def _one(size: tuple[int, int], wish: Wish, sources: list, scheme: str, protect: np.ndarray | None) -> np.ndarray:
    labels, person, worn = sources
    garment = _old_garment(size, wish, labels, worn, scheme)
    kept = _kept(size, wish, labels, person, scheme, garment)
    # what is kept is left out before growing too, or a rim would be painted around it
    pieces = [piece & ~kept for piece in _pieces(size, wish, labels, person, scheme, garment)]
    union = np.zeros(size, bool)
    for piece in pieces if wish.style == "box" else [np.logical_or.reduce(pieces)]:
        grown = grow(piece, wish.grow_px)
        union |= grown if wish.style == "parse" else fill_box(size, bounding_box(grown))
    mask = union & ~kept
    return mask if protect is None else mask & ~protect


def _old_garment(size, wish: Wish, labels, worn, scheme: str) -> np.ndarray:
    """All pixels known to be what is taken off."""
    garment = np.zeros(size, bool) if worn is None else worn.copy()
    if labels is not None:
        upper, lower = wish.category != "lower", wish.category != "upper"
        garment |= part(labels, scheme, "dress", *(["upper", "scarf"] if upper else []), *(["lower", "socks"] if lower else []))
    return garment


def _pieces(size, wish: Wish, labels, person, scheme: str, garment: np.ndarray) -> list[np.ndarray]:
    """The regions to repaint, one per part of the body."""
    upper, lower = wish.category != "lower", wish.category != "upper"
    drawn, limbs = np.zeros(size, bool), []
    if person is not None:
        drawn |= (body.torso(person, size) | body.neck(person, size)) if upper else drawn
        legs = body.legs(person, size) if lower else drawn & False
        if labels is not None:
            drawn, legs = _cut_at_waist(drawn, legs, wish.category, labels, scheme)
        limbs.append(legs)
    if upper:
        limbs += [_arm(size, side, wish, labels, person, scheme, garment) for side in body.SIDES]
    trunk = drawn | garment
    if labels is not None:
        trunk |= part(labels, scheme, "neck") if upper else False
        limbs += [part(labels, scheme, f"{side}_leg") for side in body.SIDES] if lower else []
    return [trunk, *limbs]


def _cut_at_waist(trunk: np.ndarray, legs: np.ndarray, category: str, labels, scheme: str) -> tuple[np.ndarray, np.ndarray]:
    """Drawn torso and legs without the half of the outfit that stays, and without what they reach beyond its edge."""
    rest = {"upper": ("lower", "left_leg", "right_leg"), "lower": ("upper", "neck", "left_arm", "right_arm"), "full": ()}[category]
    stays = part(labels, scheme, *rest, "shoes", "bag")
    below = bounding_box(part(labels, scheme, "lower"))
    if below is not None and category == "upper":
        trunk[below.y0:] = False
    if below is not None and category == "lower":
        legs[:below.y0] = False
    return trunk & ~stays, legs & ~stays


def _arm(size, side: str, wish: Wish, labels, person, scheme: str, garment: np.ndarray) -> np.ndarray:
    """One arm as far as the new sleeve may reach."""
    drawn = np.zeros(size, bool) if person is None else body.sleeve(person, side, wish.sleeves, size)
    if labels is None:
        return drawn
    skin = part(labels, scheme, f"{side}_arm")
    if drawn.any():
        # what a drawn sleeve covers of trousers and the like is another thing behind or before the arm
        return (drawn & ~part(labels, scheme, "lower", "shoes", "bag")) | (skin if wish.sleeves == "long" else False)
    return skin if wish.sleeves == "long" else skin & ~_far_share(skin, garment, 0.75)


def _kept(size, wish: Wish, labels, person, scheme: str, garment: np.ndarray) -> np.ndarray:
    """Hands, hair and face as far as they are known, and shoes; the old garment is never kept with them."""
    keep = np.zeros(size, bool)
    if labels is not None:
        head = (["face", "glasses"] if "face" in wish.keep else []) + (["hair", "hat"] if "hair" in wish.keep else [])
        keep |= part(labels, scheme, "shoes", *head)
    elif person is not None and {"face", "hair"} & set(wish.keep):
        # a pose cannot tell face from hair: the head is one ellipse
        keep |= body.head(person, size) & ~body.torso(person, size)
    if "hands" in wish.keep:
        for side in body.SIDES:
            drawn = np.zeros(size, bool) if person is None else body.hand(person, side, size)
            if labels is not None:
                skin = part(labels, scheme, f"{side}_arm")
                drawn = (drawn & skin if drawn.any() else _estimated_hand(skin, garment)) | part(labels, scheme, "gloves")
            keep |= drawn
    return keep & ~garment


def _estimated_hand(skin: np.ndarray, garment: np.ndarray) -> np.ndarray:
    """The hand of an arm's bare skin, without a pose: a hand is about 2.3 times as long as an arm is wide.

    Skin shorter than that (a long sleeve) is all hand. Otherwise it is the end farthest from where the skin leaves the garment,
    which is right for hanging and stretched arms and a guess for bent ones.
    """
    if not skin.any():
        return skin
    points = np.argwhere(skin)
    spread = np.linalg.eigvalsh(points.T @ points / len(points) - np.outer(points.mean(0), points.mean(0)))[-1]
    length = np.sqrt(12 * spread + 1)   # of a bar with that variance
    hand = 2.3 * len(points) / length
    return skin if length <= 1.3 * hand else _far_share(skin, garment, hand / length)


def _far_share(skin: np.ndarray, garment: np.ndarray, share: float) -> np.ndarray:
    """The pixels of skin whose distance from where it leaves the garment (else from its top) is in the last `share` of its reach."""
    if not skin.any():
        return skin
    contact = np.argwhere(skin & grow(garment, 3))
    points = np.argwhere(skin)
    start = contact[contact[:, 0] <= contact[:, 0].min() + 8].mean(0) if len(contact) else points[points[:, 0].argmin()]
    far = np.hypot(*(points - start).T)
    out = np.zeros_like(skin)
    out[tuple(points[far >= (1 - share) * far.max()].T)] = True
    return out


def _fit_labels(labels: np.ndarray, size: tuple[int, int], notes: list[str]) -> np.ndarray:
    """Labels to the picture's size by nearest pixel: labels cannot be mixed."""
    h, w = labels.shape[1:]
    if (h, w) == size:
        return labels
    notes.append(f"The parse map was {w}x{h} and was resized to the picture's {size[1]}x{size[0]}.")
    rows, columns = (((np.arange(new) + 0.5) * old / new).astype(int) for new, old in zip(size, (h, w)))
    return labels[:, rows[:, None], columns]


def _fit_bool(mask: torch.Tensor, size: tuple[int, int], name: str, notes: list[str]) -> np.ndarray:
    mask, note = fit_mask(as_mask(mask, name), *size)
    notes += [note.replace("The mask", f"The {name} mask")] if note else []
    return to_bool(mask)


def agnostic_image(image: torch.Tensor, mask: torch.Tensor, grey: float = GREY) -> torch.Tensor:
    """The picture (B,H,W,3) with the mask (B,1,H,W) greyed out; other pixels are the picture's, bit for bit."""
    image = as_image(image)
    image, mask = match_batch(image=image, mask=fit_mask(as_mask(mask), *image.shape[1:3])[0].to(image.device))
    return torch.where(mask.movedim(1, -1) > 0.5, torch.full_like(image, grey), image)


def augment(mask: torch.Tensor, mode: str = "mixed", seed: int = 0, box_share: float = 0.5) -> torch.Tensor:
    """Diffuse to Choose's mask augmentation (section 5.1): (B,1,H,W) to the same.

    `fine` is the mask itself, `box` its bounding box filled, `mixed` one or the other per item with probability `box_share` of the
    box, drawn from `seed` alone: item i of a batch gets the same answer whatever the batch's size. Empty items stay empty.
    """
    if mode not in ("fine", "box", "mixed"):
        raise ValueError(f"Mask augmentation '{mode}' is not known; choose fine, box or mixed.")
    mask = as_mask(mask)
    draws = np.random.default_rng(seed).random(len(mask))
    out = mask.clone()
    for index, region in enumerate(to_bool(mask)):
        if mode == "box" or (mode == "mixed" and draws[index] < box_share):
            out[index, 0] = torch.from_numpy(fill_box(region.shape, bounding_box(region))).to(mask)
    return out


def grow_mask(mask: torch.Tensor, radius_px: float) -> torch.Tensor:
    """Grow a mask (B,1,H,W) by a disc of radius_px, or shrink it where negative; 0 returns it as it is, else 0 and 1."""
    mask = as_mask(mask)
    if radius_px == 0:
        return mask
    return from_bool(np.stack([grow(item, radius_px) for item in to_bool(mask)])).to(mask.device)


def rerender_region(old_mask: torch.Tensor, new_mask: torch.Tensor, grow_px: int = 8) -> torch.Tensor:
    """Where a changed piece of jewelry must be repainted (B,1,H,W): the union of both places, grown.

    With the old place in it, a lengthened necklace does not leave the shorter one behind. A new mask of another size is brought to
    the old one's. Raises ValueError when both are empty.
    """
    old_mask = as_mask(old_mask, "old_mask")
    new_mask, _ = fit_mask(as_mask(new_mask, "new_mask"), *old_mask.shape[-2:])
    old_mask, new_mask = match_batch(old_mask=old_mask, new_mask=new_mask)
    return check_mask(grow_mask(((old_mask > 0.5) | (new_mask > 0.5)).float(), grow_px), "the region to render again")
