"""JEWELRY_STATE: where and how large a piece of jewelry is worn, as a value that travels as JSON, and feedback on it.

PM-Jewelry (section 1) promises style preferences and a feedback loop without a method; this is ours. A state holds what placement
found plus the list of feedback given since. What is drawn follows from both, and amounts are whole hundredths of a step, so three
steps longer and three steps shorter is exactly where one began, and undo is dropping the last entry.
"""

import json
import math
from dataclasses import asdict, dataclass, fields, replace

VERSION = 1
TYPES = ("necklace", "earring", "ring", "bracelet")
SIDES = ("left", "right", "both")          # the wearer's own
FORMS = ("stud", "hoop", "drop")           # of earrings
NECKLACES = {"choker": 360.0, "princess": 450.0, "matinee": 550.0, "opera": 750.0}   # mm, whole length as sold
# what length, drop and width mean per type, and the usual values in mm: see jewelry_draw
DEFAULTS = {
    "necklace": {"length_mm": 450.0, "drop_mm": 0.0, "width_mm": 8.0},
    "stud": {"length_mm": 0.0, "drop_mm": 0.0, "width_mm": 8.0},
    "hoop": {"length_mm": 0.0, "drop_mm": 0.0, "width_mm": 30.0},
    "drop": {"length_mm": 0.0, "drop_mm": 35.0, "width_mm": 12.0},
    "ring": {"length_mm": 19.0, "drop_mm": 0.0, "width_mm": 6.0},
    "bracelet": {"length_mm": 66.0, "drop_mm": 0.0, "width_mm": 10.0},
}
# action: (what it changes, by how much a step of 1)
ACTIONS = {
    "longer": ("length", 10.0), "shorter": ("length", -10.0),            # mm; of drop earrings the drop
    "bigger": ("size", 0.05), "smaller": ("size", -0.05),                # share of width and drop
    "right": ("x", 2.0), "left": ("x", -2.0), "down": ("y", 2.0), "up": ("y", -2.0),   # mm in the picture
    "tilt_right": ("tilt", 2.0), "tilt_left": ("tilt", -2.0),            # degrees, clockwise is right
}
BOUNDS = {"length": (0.0, 1500.0), "size": (0.2, 5.0), "x": (-500.0, 500.0), "y": (-500.0, 500.0), "tilt": (-90.0, 90.0)}
UNITS = {"length": " mm", "size": " times its size", "x": " mm across", "y": " mm down", "tilt": " degrees"}


@dataclass(frozen=True)
class JewelryState:
    """A piece of jewelry on a picture of height x width pixels.

    anchors (x, y) in pixels: necklace, the two sides of the neck; earring, one or two lobes; ring and bracelet, the two edges of
    the finger or wrist. hidden_mm is the part of a necklace behind the neck. history is the feedback so far, (action, hundredths of
    a step) or (form, 0). Raises ValueError where a value has no meaning.
    """

    type: str
    height: int
    width: int
    mm_per_px: float
    anchors: tuple[tuple[float, float], ...]
    side: str = "both"
    form: str = "drop"
    length_mm: float = 0.0
    hidden_mm: float = 0.0
    drop_mm: float = 0.0
    width_mm: float = 8.0
    tilt_deg: float = 0.0
    styles: tuple[tuple[str, float], ...] = ()
    seed: int = 0
    history: tuple[tuple[str, int], ...] = ()

    def __post_init__(self):
        """Refuse values without a meaning."""
        for value, known, what in ((self.type, TYPES, "type"), (self.side, SIDES, "side"), (self.form, FORMS, "earring form")):
            if value not in known:
                raise ValueError(f"The jewelry's {what} '{value}' is not known; choose one of {', '.join(known)}.")
        numbers = (self.mm_per_px, self.length_mm, self.hidden_mm, self.drop_mm, self.width_mm, self.tilt_deg, *sum(self.anchors, ()))
        if not all(math.isfinite(number) for number in numbers):
            raise ValueError("The jewelry's state holds a number that is not finite; place the piece again.")
        if not (isinstance(self.height, int) and isinstance(self.width, int)):
            raise ValueError(f"The jewelry's picture size {self.width}x{self.height} is not in whole pixels; place the piece again.")
        sizes = (self.height, self.width, self.mm_per_px, self.width_mm)
        if min(sizes) <= 0 or min(self.length_mm, self.drop_mm, self.hidden_mm) < 0:
            raise ValueError("The jewelry's picture size, mm per pixel and width must be above 0 and its lengths not below 0; place "
                             "the piece again.")
        wanted = (1, 2) if self.type == "earring" else (2,)
        if len(self.anchors) not in wanted:
            raise ValueError(f"A {self.type} needs {' or '.join(map(str, wanted))} anchor points, but {len(self.anchors)} were given.")
        for action, _ in self.history:
            if action not in ACTIONS and action not in FORMS:
                raise ValueError(f"The feedback '{action}' is not known; choose one of {', '.join((*ACTIONS, *FORMS))}.")

    def change(self, what: str) -> float:
        """The sum of all feedback on length (mm), size (share), x, y (mm) or tilt (degrees)."""
        steps = {key: sum(amount for action, amount in self.history if action == key) for key in ACTIONS}
        # whole numbers are added first, so that opposite steps cancel exactly
        up, down = (key for key, (changed, _) in ACTIONS.items() if changed == what)
        return (steps[up] - steps[down]) * ACTIONS[up][1] / 100

    def amount(self, what: str) -> float:
        """What is drawn: length, size, x, y or tilt with the feedback in it."""
        hanging = self.drop_mm if self.type == "earring" else self.length_mm
        return {"length": hanging, "size": 1.0, "tilt": self.tilt_deg}.get(what, 0.0) + self.change(what)

    @property
    def shown_form(self) -> str:
        """The earring's form after the last feedback that chose one."""
        return next((action for action, _ in reversed(self.history) if action in FORMS), self.form)


def apply_feedback(state: JewelryState, action: str, step: float = 1.0) -> JewelryState:
    """The state after one more feedback: an action of ACTIONS times step, a form of FORMS, or "undo" (step entries back).

    Raises ValueError for an unknown action, a step that is not above 0, and when the piece would leave its bounds; the given state
    stays valid in every case.
    """
    if not math.isfinite(step) or round(step * 100) < 1:
        raise ValueError(f"A feedback step of {step:g} was given, but at least 0.01 is needed; use the opposite action to go back.")
    if action == "undo":
        return undo(state, max(1, round(step)))
    if action in FORMS:
        if state.type != "earring":
            raise ValueError(f"The form '{action}' belongs to earrings, but the piece is a {state.type}; choose another action.")
        return _redrawn(state, action)
    if action not in ACTIONS:
        raise ValueError(f"The feedback '{action}' is not known; choose one of {', '.join((*ACTIONS, *FORMS, 'undo'))}.")
    what = ACTIONS[action][0]
    if what == "length" and state.type == "earring" and state.shown_form != "drop":
        raise ValueError(f"A {state.shown_form} earring has no length to change; use bigger or smaller, or choose the drop form first.")
    changed = replace(state, history=(*state.history, (action, round(step * 100))))
    low, high = BOUNDS[what]
    if what == "length":
        low = changed.hidden_mm + 10 if state.type == "necklace" else 5.0
    # a piece placed beyond the bounds may still be changed back towards them
    low, high = min(low, state.amount(what)), max(high, state.amount(what))
    if not low <= changed.amount(what) <= high:
        raise ValueError(f"'{action}' would bring the {state.type} to {changed.amount(what):.4g}{UNITS[what]}, but {low:.4g} to "
                         f"{high:.4g} is allowed; "
                         "use a smaller step.")
    return changed


def _redrawn(state: JewelryState, form: str) -> JewelryState:
    """Another earring form, with that form's usual sizes where the old ones had no meaning."""
    usual = DEFAULTS[form]
    drop = state.drop_mm if form != "drop" or state.drop_mm > 0 else usual["drop_mm"]
    return replace(state, drop_mm=drop, history=(*state.history, (form, 0)))


def undo(state: JewelryState, count: int = 1) -> JewelryState:
    """The state without its last `count` feedbacks; raises ValueError when there are fewer."""
    if count > len(state.history):
        raise ValueError(f"{count} feedbacks were to be undone, but only {len(state.history)} were given; there is nothing further back.")
    return replace(state, history=state.history[:len(state.history) - count])


def to_json(state: JewelryState) -> str:
    """The state as JSON text with its version."""
    return json.dumps({"jewelry_state": VERSION, **asdict(state)})


def from_json(text: str) -> JewelryState:
    """Read to_json's text; raises ValueError for other text, another version, and fields that are missing or unknown."""
    try:
        data = json.loads(text)
    except (TypeError, ValueError) as error:
        raise ValueError("The jewelry state is not JSON; give the text that the placement or feedback node wrote.") from error
    version = data.pop("jewelry_state", None) if isinstance(data, dict) else None
    if version != VERSION:
        raise ValueError(f"The jewelry state has version {version}, but this pack reads version {VERSION}; place the piece again "
                         f"with this version.")
    known = {entry.name for entry in fields(JewelryState)}
    if wrong := known ^ set(data):
        raise ValueError(f"The jewelry state's fields do not fit ({', '.join(sorted(wrong)[:5])}); give the text as it was written.")
    try:
        data["anchors"] = tuple((float(x), float(y)) for x, y in data["anchors"])
        data["styles"] = tuple((str(style), float(weight)) for style, weight in data["styles"])
        data["history"] = tuple((str(action), int(amount)) for action, amount in data["history"])
        for name in ("mm_per_px", "length_mm", "hidden_mm", "drop_mm", "width_mm", "tilt_deg"):
            data[name] = float(data[name])
    except (TypeError, ValueError) as error:
        raise ValueError(f"The jewelry state holds a value of the wrong kind ({error}); give the text as it was written.") from error
    return JewelryState(**data)


def describe(state: JewelryState) -> str:
    """What is worn, in words: "necklace, 450 mm (180 mm behind the neck), 1.05 times its size; after longer 2"."""
    words = [state.shown_form + " earring" if state.type == "earring" else state.type]
    if state.amount("length") > 0:
        hidden = f" ({state.hidden_mm:.0f} mm behind the neck)" if state.hidden_mm else ""
        words.append(f"{state.amount('length'):.0f} mm{hidden}")
    words += [f"{state.amount(what):.4g}{UNITS[what]}" for what, plain in (("size", 1.0), ("x", 0.0), ("y", 0.0), ("tilt", 0.0)) if state.amount(what) != plain]
    said = [action if action in FORMS else f"{action} {amount / 100:g}" for action, amount in state.history]
    return ", ".join(words) + (f"; after {', '.join(said)}" if said else "")
