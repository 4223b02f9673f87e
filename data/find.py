"""Find the samples of a data set in a folder: names of files only.

Layouts:
- viton-hd    <root>/<split>/image, cloth, and what else there is of cloth-mask, agnostic-mask, image-parse-v3, openpose_json,
              image-densepose, image-densepose_siftvton, cloth_parse-bytedance, gt_cloth_warped_mask, sift_matching;
              <root>/<split>_pairs.txt names the persons. "val" is SIFT-VTON's: siftvton_val_pairs.txt, pictures in train/
- dress-code  <root>/{upper_body,lower_body,dresses}/images, label_maps, keypoints, dense, agnostic_masks; their <split>_pairs*.txt
- folder      <root>/person, garment, and what else there is of mask (the worn garment), garment_mask, agnostic_mask, parse, keypoints,
              densepose, depth, saliency, caption, matches; files of one pair share their name
- dressing    <root>/person and one folder per garment slot (upper, lower, hat ...), with <slot>_mask (in its photo), <slot>_worn (on
              the person); a person need not wear all of them
- product     <root>/source, mask (1 = repaint), product, product_mask
- jewelry     <root>/person, jewelry, mask (1 = repaint), jewelry_mask, jewelry_worn, depth, saliency, shadow
- synthetic   the drawn world (`data.drawn`), which is drawn into a folder first
A plain layout may instead have a table, pairs.csv (.tsv, .jsonl), whose columns are the names of `Record` (and slots with <slot>_mask,
<slot>_worn), with paths relative to the folder.
Paired, the garment is the one the person wears; unpaired, the one that VITON-HD's or Dress Code's list names beside the person.
"""

from __future__ import annotations

import os
from dataclasses import fields, replace
from pathlib import Path

from .layouts import DRESS_CODE, ITEM_TAILS, PERSON, PICTURES, PLAIN, VITON_HD, files_in, inside, read_table, slots_in, table_in
from .pairs import ItemFiles, Pairs, Record

LAYOUTS = ("viton-hd", "dress-code", "folder", "dressing", "product", "jewelry", "synthetic")
SPLITS = ("train", "test", "val")
PAIRINGS = ("paired", "unpaired")
CATEGORIES = {"upper_body": "upper", "lower_body": "lower", "dresses": "full"}
WANTED = {
    "viton-hd": "{split}/image and {split}/cloth", "dress-code": "upper_body, lower_body or dresses with images", "folder": "person and garment",
    "dressing": "person and a folder per garment slot, such as upper", "product": "source, mask and product", "jewelry": "person, mask and jewelry",
    "synthetic": "person and a folder per garment slot",
}


def find_pairs(layout: str, root: Path, split: str = "train", limit: int = 0, pairing: str = "paired") -> Pairs:
    """The data set in a folder; only names are read.

    limit  the first so many pairs; 0 = all
    Raises ValueError for an unknown layout, a folder that is not laid out that way, and where no pair is whole.
    """
    for value, known, what in ((layout, LAYOUTS, "layout"), (split, SPLITS, "split"), (pairing, PAIRINGS, "pairing")):
        if value not in known:
            raise ValueError(f"The {what} '{value}' is not known; choose one of {', '.join(known)}.")
    root, problems = Path(root), []
    if layout in ("viton-hd", "dress-code"):
        samples = (_viton_hd if layout == "viton-hd" else _dress_code)(root, split, pairing == "unpaired", problems)
    elif (table := table_in(root)) is not None:
        samples = _from_table(root, table, problems)
    elif layout in ("dressing", "synthetic"):
        samples = _dressing(root, problems)
    else:
        samples = _collect(root, PLAIN[layout], None, problems)
    if not samples:
        more = f" ({problems[0].rstrip('.')})" if problems else ""
        raise ValueError(f"The folder '{root.name}' holds no pair of the layout {layout}{more}; expected {WANTED[layout].format(split=split)}, with files of the same name.")
    source = f"{root.name} ({layout}, {split})" if layout in ("viton-hd", "dress-code") else root.name
    return Pairs(tuple(samples[:limit] if limit else samples), source, tuple(problems), layout)


def _viton_hd(root: Path, split: str, unpaired: bool, problems: list[str]) -> list[Record]:
    lists = [root / f"{split}_pairs{'_unpaired' if unpaired else ''}.txt", root / f"{split}_pairs.txt", root / f"siftvton_{split}_pairs.txt"]
    listed = _listed(next((p for p in lists if p.is_file()), lists[0]), "", problems)
    folder = "train" if split == "val" and not (root / "val").is_dir() else split
    base = root / folder if (root / folder).is_dir() else root
    return _collect(base, VITON_HD, listed, problems, unpaired)


def _dress_code(root: Path, split: str, unpaired: bool, problems: list[str]) -> list[Record]:
    samples = []
    for folder, category in CATEGORIES.items():
        if (root / folder).is_dir():
            kind = "unpaired" if unpaired else "paired"
            lists = [root / folder / name for name in (f"{split}_pairs_{kind}.txt", f"{split}_pairs.txt")]
            listed = _listed(next((p for p in lists if p.is_file()), lists[-1]), ("_0", "_1"), problems)
            found = _collect(root / folder, DRESS_CODE, listed, problems, unpaired)
            samples += [replace(s, name=f"{folder}-{s.name}", category=category, scheme="atr") for s in found]
    return samples


def _dressing(root: Path, problems: list[str]) -> list[Record]:
    """Persons with the garments of each slot that have a file of their name."""
    found = {kind: files_in(root, *where) for kind, where in PERSON.items()}
    slots = slots_in(root) if root.is_dir() else []
    parts = {s: {tail: files_in(root, (f"{s}{tail}",), "", PICTURES) for tail in ("", *ITEM_TAILS)} for s in slots}
    matches, samples, bare = files_in(root, ("matches",), "_sift_matches", (".json",)), [], []
    for name in sorted(found["person"]):
        items = tuple(
            ItemFiles(slot, files[""][name], files["_mask"].get(name), files["_worn"].get(name)) for slot, files in parts.items() if name in files[""]
        )
        if not items:
            bare.append(name)
            continue
        items = tuple(sorted(items, key=lambda i: _rank(i.slot)))
        items = (replace(items[0], matches=matches.get(name)), *items[1:])
        samples.append(_with_items(Record(name, found["person"][name], items[0].picture, **_beside(found, name)), items))
    if bare:
        problems.append(f"{len(bare)} of {len(found['person'])} persons have no garment picture and were left out: {', '.join(bare[:5])}{' ...' if len(bare) > 5 else ''}.")
    return samples


def _beside(found: dict, name: str) -> dict:
    return {kind: files[name] for kind, files in found.items() if kind != "person" and name in files}


def _rank(slot: str) -> tuple[int, str]:
    order = ("upper", "full", "dress", "lower", "product", "outer", "hat")
    return (order.index(slot) if slot in order else len(order), slot)


def _with_items(record: Record, items: tuple[ItemFiles, ...]) -> Record:
    """A record of several things; the first one is also its garment."""
    first = items[0]
    category = record.category or {"dress": "full"}.get(first.slot, first.slot if first.slot in CATEGORIES.values() else "")
    return replace(
        record, garment=first.picture, garment_mask=first.mask, worn_mask=first.worn, matches=first.matches, category=category, items=items
    )


def _from_table(root: Path, table: Path, problems: list[str]) -> list[Record]:
    """The samples a table lists, line by line; a line whose person or garment is not there is left out, and said."""
    known, samples = {f.name for f in fields(Record)}, []
    for number, row in enumerate(read_table(table), 2):
        text = {k: row.pop(k) for k in ("name", "category", "caption", "scheme") if k in row}
        paths = {k: inside(root, v) for k, v in row.items()}
        if wrong := [k for k, p in paths.items() if p is None or not p.is_file()]:
            problems.append(f"{table.name}, line {number}: {', '.join(f'{k} {row[k]}' for k in wrong)} is not a file in the data set; the line was left out.")
            continue
        slots = [k for k in paths if k not in known and not k.endswith(ITEM_TAILS)]
        items = tuple(ItemFiles(s, paths[s], paths.get(f"{s}_mask"), paths.get(f"{s}_worn")) for s in sorted(slots, key=_rank))
        if "person" not in paths or not (items or "garment" in paths):
            problems.append(f"{table.name}, line {number} names no {'person' if 'person' not in paths else 'garment'} and was left out.")
            continue
        own = {k: p for k, p in paths.items() if k in known}
        name = text.pop("name", None) or paths["person"].stem
        record = Record(name=name, **{"garment": items[0].picture if items else None, **own, **text})
        samples.append(_with_items(record, items) if items else record)
    doubled = sorted({s.name for s in samples if [r.name for r in samples].count(s.name) > 1}) if len(samples) < 20000 else []
    if doubled:
        problems.append(f"{table.name} has several lines of one name ({', '.join(doubled[:5])}); give them different names in a column 'name'.")
    return samples


def _listed(path: Path, tails: str | tuple[str, ...], problems: list[str]) -> list[tuple[str, str]] | None:
    """The persons a list names and what stands beside them, without suffix and tail; None where there is no list. Paths are left out."""
    if not path.is_file():
        return None
    tails, names = (tails,) if isinstance(tails, str) else tails, {}
    for line in path.read_text(encoding="utf-8").splitlines():
        words = line.split()[:2]
        if wrong := [w for w in words if w != os.path.basename(w) or "\\" in w or w.startswith(".")]:
            problems.append(f"{path.name} names '{wrong[0]}', which is a path and was left out.")
        elif words:
            stems = [Path(w).stem for w in words]
            for tail in tails:
                stems = [s.removesuffix(tail) for s in stems]
            names.setdefault((stems[0], stems[-1]), None)
    return list(names)


def _collect(base: Path, layout: dict, listed: list[tuple[str, str]] | None, problems: list[str], unpaired: bool = False) -> list[Record]:
    """The samples below one folder, in the order of the list or of their names."""
    found = {kind: files_in(base, *where) for kind, where in layout.items()}
    people, garments = found["person"], found["garment"]
    pairs = [(name, name) for name in sorted(people)] if listed is None else listed
    if not unpaired:
        pairs = list(dict.fromkeys((person, person) for person, _ in pairs))
    for kind, files, place in (("person", people, 0), ("garment", garments, 1)):
        if lacking := list(dict.fromkeys(pair[place] for pair in pairs if pair[place] not in files)):
            more = " ..." if len(lacking) > 5 else ""
            problems.append(f"{len(lacking)} of {len(pairs)} pairs have no {kind} picture and were left out: {', '.join(lacking[:5])}{more}.")
    return [_record(found, person, other) for person, other in pairs if person in people and other in garments]


def _record(found: dict, person: str, other: str) -> Record:
    """One sample; what belongs to a garment that the person does not wear is only what lies in its own photo."""
    of_garment, of_both = ("garment", "garment_mask", "garment_parse"), ("worn_mask", "matches")
    names = {kind: other if kind in of_garment else person for kind in found if person == other or kind not in of_both}
    values = {kind: found[kind][name] for kind, name in names.items() if name in found[kind]}
    return Record(name=person if person == other else f"{person}-{other}", **values)
