"""Where nodes, groups and notes stand on the canvas, so that a workflow reads from left to right.

Groups stand in columns: a group stands right of every group it takes something from, or below it where no link has to go back. Of
several heights for the columns the one is taken that shows the whole largest on a wide screen. Inside a group nodes stand in columns
by depth; a column of small nodes joins the next one, a very high one is split. Lengths are the canvas' pixels; a node's `pos` is
the corner below its title bar, as the frontend wants it.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

TITLE = 30  # a node's title bar, above its position
GAP, GROUP_GAP, PAD, GROUP_TITLE = 30, 60, 24, 46
NOTE_MIN, NOTE_LOWEST = 340, 90
SMALL, HIGHEST = 150, 1250
SCREEN = 1.9  # width to height
WINDOW, MARGIN = (1600, 860), (84, 96)  # pixels: the canvas on a small screen, and what its side bar and its menu cover at the left and the top
READABLE = 0.62  # below a zoom of about 0.6 the frontend leaves out every text
ABOUT = "about"  # the note about the whole takes part as a group of this name


@dataclass(frozen=True)
class Place:
    """Position and size as the frontend's files carry them."""

    x: float
    y: float
    width: float
    height: float

    def fields(self) -> dict:
        """As the fields of a node."""
        return {"pos": [self.x, self.y], "size": [self.width, self.height]}

    def moved(self, x: float, y: float) -> "Place":
        """The same place elsewhere."""
        return Place(self.x + x, self.y + y, self.width, self.height)


@dataclass(frozen=True)
class Block:
    """A group laid out by itself, with its corner at (0, 0)."""

    name: str
    width: float
    height: float
    nodes: dict[str, Place]
    note: Place | None


@dataclass(frozen=True)
class Layout:
    """Places of nodes by id, of groups and their notes by name, and of the note about the whole."""

    nodes: dict[str, Place]
    groups: dict[str, Place]
    notes: dict[str, Place]
    about: Place | None


def view(layout: Layout) -> dict:
    """The zoom and offset a workflow opens with where it is opened as a file: whole where its texts stay readable, else from its upper left corner.

    A template that is opened from the template browser is shown whole by the frontend itself.
    """
    places = [*layout.nodes.values(), *layout.groups.values(), *layout.notes.values(), *([layout.about] if layout.about else [])]
    left, top = min(p.x for p in places), min(p.y for p in places) - TITLE
    width, height = max(p.x + p.width for p in places) - left, max(p.y + p.height for p in places) - top
    whole = min((WINDOW[0] - MARGIN[0]) / width, (WINDOW[1] - MARGIN[1]) / height)
    scale = round(min(max(whole, READABLE), 1.0), 3)
    return {"scale": scale, "offset": [round(MARGIN[0] / scale - left, 1), round(MARGIN[1] / scale - top, 1)]}


def arrange(members: dict[str, list[str]], sizes: dict[str, tuple[float, float]], feeds: dict[str, list[str]], notes: dict[str, str], about: str = "") -> Layout:
    """Lay out a workflow.

    Args:
        members: node ids per group, both in the order of their description.
        sizes: (width, height without title bar) per node.
        feeds: for each node the nodes that feed it.
        notes: Markdown per group. about: Markdown about the whole, above the first group.
    """
    group_of = {n: group for group, ids in members.items() for n in ids}
    blocks = {group: _block(group, ids, sizes, feeds, notes.get(group, "")) for group, ids in members.items()}
    links = [(s, n) for n, sources in feeds.items() for s in sources]
    if about:
        first = max(NOTE_MIN + 2 * PAD, blocks[next(iter(blocks))].width)
        blocks = {ABOUT: Block(ABOUT, first, TITLE + note_height(about, first), {}, None), **blocks}
    heights = sorted({max(b.height for b in blocks.values()) + step for step in range(0, 1600, 80)})
    corners = min((_stack(blocks, group_of, links, h) for h in heights), key=lambda found: _spread(found, blocks))
    nodes, groups, written = {}, {}, {}
    for name, (x, y) in corners.items():
        block = blocks[name]
        if name == ABOUT:
            continue
        groups[name] = Place(x, y, block.width, block.height)
        nodes |= {n: place.moved(x, y) for n, place in block.nodes.items()}
        if block.note:
            written[name] = block.note.moved(x, y)
    head = Place(corners[ABOUT][0], corners[ABOUT][1] + TITLE, blocks[ABOUT].width, blocks[ABOUT].height - TITLE) if about else None
    return Layout(nodes, {name: groups[name] for name in members}, {name: written[name] for name in notes if name in written}, head)


def note_height(text: str, width: float) -> float:
    """How high a note is that shows this Markdown at this width, without its title bar."""
    across = max(1, int((width - 34) / 6.4))
    lines = 0.0
    for line in text.splitlines():
        lines += 2.0 if line.startswith("#") else 0.7 if not line.strip() else ceil(len(line) / across)
    return max(NOTE_LOWEST, 36 + 18 * ceil(lines))


def _stack(blocks: dict[str, Block], group_of: dict[str, str], links: list[tuple[str, str]], highest: float) -> dict[str, tuple[float, float]]:
    """Corners of groups in columns that are at most so high: each group in the first column where no link goes back to the left."""
    sources: dict[str, set[str]] = {name: set() for name in blocks}
    order = {name: i for i, name in enumerate(blocks)}
    for s, n in links:
        if order[group_of[s]] < order[group_of[n]]:  # a link back to an earlier group cannot be helped
            sources[group_of[n]].add(group_of[s])
    column, bottoms = {}, []
    for name in sorted(blocks, key=lambda name: (_rank(name, sources), order[name])):
        at = max((column[s] + (0 if _below(s, name, blocks, group_of, links) else 1) for s in sources[name]), default=0)
        while at < len(bottoms) and bottoms[at] + GROUP_GAP + blocks[name].height > highest:
            at += 1
        if at == len(bottoms):
            bottoms.append(-GROUP_GAP)
        column[name], bottoms[at] = at, bottoms[at] + GROUP_GAP + blocks[name].height
    out, x = {}, 0.0
    for at in range(len(bottoms)):
        y, names = 0.0, [name for name in column if column[name] == at]
        for name in names:
            out[name] = (x, y)
            y += blocks[name].height + GROUP_GAP
        x += max(blocks[name].width for name in names) + GROUP_GAP
    return out


def _rank(name: str, sources: dict[str, set[str]]) -> int:
    return 1 + max((_rank(s, sources) for s in sources[name]), default=-1)


def _below(source: str, name: str, blocks: dict[str, Block], group_of: dict[str, str], links: list[tuple[str, str]]) -> bool:
    """Whether a group may stand below one that feeds it: no link would go back to the left."""
    left = lambda n: blocks[group_of[n]].nodes[n].x
    return all(left(s) <= left(n) for s, n in links if (group_of[s], group_of[n]) == (source, name))


def _spread(corners: dict[str, tuple[float, float]], blocks: dict[str, Block]) -> float:
    """How far a view has to stand back to show everything."""
    right = max(x + blocks[name].width for name, (x, _) in corners.items())
    bottom = max(y + blocks[name].height for name, (_, y) in corners.items())
    return max(right / SCREEN, bottom)


def _block(name: str, ids: list[str], sizes: dict, feeds: dict, note: str) -> Block:
    columns = _columns(ids, sizes, feeds)
    widths = [max(sizes[n][0] for n in column) for column in columns]
    inner = sum(widths) + GAP * (len(columns) - 1)
    if note and inner < NOTE_MIN:
        widths, inner = [NOTE_MIN], NOTE_MIN
    top, written = GROUP_TITLE, None
    if note:
        height = note_height(note, inner)
        written = Place(PAD, top + TITLE, inner, height)
        top += TITLE + height + GAP
    places, x, bottom = {}, PAD, top
    for column, width in zip(columns, widths):
        y = top
        for n in column:
            places[n] = Place(x, y + TITLE, width, sizes[n][1])
            y += TITLE + sizes[n][1] + GAP
        bottom, x = max(bottom, y - GAP), x + width + GAP
    return Block(name, inner + 2 * PAD, bottom + PAD, places, written)


def _columns(ids: list[str], sizes: dict, feeds: dict) -> list[list[str]]:
    """Node ids in columns from left to right."""
    depth: dict[str, int] = {}
    for n in ids:  # nodes are described in order, so what feeds a node has its depth already
        depth[n] = 1 + max((depth[s] for s in feeds.get(n, ()) if s in depth), default=-1)
    columns: list[list[str]] = []
    held: list[str] = []
    for d in range(max(depth.values()) + 1):
        column = held + [n for n in ids if depth[n] == d]
        held = column if d < max(depth.values()) and all(sizes[n][1] <= SMALL for n in column) and _height(column, sizes) < 3 * SMALL else []
        if not held:
            columns += _split(column, sizes)
    return columns


def _split(column: list[str], sizes: dict) -> list[list[str]]:
    """A column, or several of about the same height where one would be too high."""
    parts = ceil(_height(column, sizes) / HIGHEST)
    share, out, y = _height(column, sizes) / parts, [[]], 0.0
    for n in column:
        if out[-1] and y + sizes[n][1] / 2 > share * len(out):
            out.append([])
        out[-1].append(n)
        y += TITLE + sizes[n][1] + GAP
    return out


def _height(column: list[str], sizes: dict) -> float:
    return sum(TITLE + sizes[n][1] + GAP for n in column) - GAP
