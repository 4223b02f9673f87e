"""Which samples are kept out of training to judge it by: never one that shares a picture with a sample that is trained on."""

from __future__ import annotations

import torch

from .pairs import Pairs


def shared_pictures(pairs: Pairs) -> list[int]:
    """Per sample the number of its group: samples of one person's picture, or of one garment's, are in one group."""
    leader = list(range(len(pairs)))

    def find(i: int) -> int:
        while leader[i] != i:
            leader[i] = leader[leader[i]]
            i = leader[i]
        return i

    first: dict = {}
    for number, record in enumerate(pairs):
        for path in (record.person, *(item.picture for item in record.things())):
            leader[find(number)] = find(first.setdefault(path, number))
    return [find(i) for i in range(len(pairs))]


def hold_out(groups: list[int], count: int, generator: torch.Generator) -> tuple[list[int], list[int]]:
    """Choose `count` samples, whole groups of them, at random.

    Returns:
        the places of those that are trained on, and of those that are held out; both ascending. Fewer than `count` are held out where
        the groups are large.

    Raises:
        ValueError: no group is small enough, or nothing would be left to train on.
    """
    if not count:
        return list(range(len(groups))), []
    members: dict[int, list[int]] = {}
    for place, group in enumerate(groups):
        members.setdefault(group, []).append(place)
    names, held = list(members), []
    for which in torch.randperm(len(names), generator=generator).tolist():
        if len(held) + len(members[names[which]]) <= count:
            held += members[names[which]]
    if not held or len(held) == len(groups):
        raise ValueError(
            f"{count} of {len(groups)} samples cannot be held out, because "
            + ("nothing would be left to train on" if held else "the samples share their pictures in larger groups")
            + "; set held_out to another number, or to 0."
        )
    kept = set(range(len(groups))) - set(held)
    return sorted(kept), sorted(held)
