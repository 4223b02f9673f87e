"""Taste: weights over styles that mix prompts, learn from choices, and are kept in named profiles.

PM-Jewelry (section 1) names modern, traditional and minimalistic styles and a preference module without a method. Here a style is a
prompt; the conditioning is the weighted mean of the prompts' encodings; and choosing one of several candidates multiplies each
weight by exp(rate * (how much the chosen one has of the style - the candidates' mean)), a multiplicative-weights step.
"""

import json
import math
import os
import tempfile
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch

STYLES = ("modern", "traditional", "minimalistic")
WORDS = {
    "modern": "modern, bold contemporary design, clean geometric lines",
    "traditional": "traditional, ornate handcrafted filigree, heritage design",
    "minimalistic": "minimalistic, delicate and simple, fine and unadorned",
}
VERSION = 1
RESERVED = {"con", "prn", "aux", "nul", *(f"{port}{n}" for port in ("com", "lpt") for n in range(1, 10))}   # Windows devices


def normalise(weights: dict[str, float]) -> dict[str, float]:
    """Weights over STYLES that add up to 1; missing ones are 0, all zero stays all zero (no preference).

    Raises ValueError for unknown styles and for negative or infinite weights.
    """
    if unknown := set(weights) - set(STYLES):
        raise ValueError(f"Styles '{', '.join(sorted(unknown))}' are not known; the styles are {', '.join(STYLES)}.")
    full = {style: float(weights.get(style, 0.0)) for style in STYLES}
    if any(not math.isfinite(weight) or weight < 0 for weight in full.values()):
        raise ValueError(f"Style weights {full} were given, but numbers of 0 or more were expected.")
    total = sum(full.values())
    return {style: weight / total for style, weight in full.items()} if total > 0 else full


def template(type: str, material: str = "", style: str = "", text: str = "") -> str:
    """The prompt of one style, or of none: "a photo of a person wearing a gold necklace, modern, ...; text"."""
    article = "" if type == "earring" else "a "
    piece = f"{material} {type}".strip() + ("s" if type == "earring" else "")
    return ", ".join(part for part in (f"a photo of a person wearing {article}{piece}", WORDS.get(style, ""), text.strip()) if part)


def prompts(weights: dict[str, float], type: str, material: str = "", text: str = "") -> list[tuple[float, str]]:
    """(weight, prompt) of every style that counts; without any preference one neutral prompt of weight 1."""
    chosen = [(weight, template(type, material, style, text)) for style, weight in normalise(weights).items() if weight > 0]
    return chosen or [(1.0, template(type, material, "", text))]


def mix(weights: list[float], encodings: list[torch.Tensor | None]) -> torch.Tensor | None:
    """Sum of w_i * encoding_i, all of one shape ((B,T,768), or pooled (B,768)); None when any is None.

    A single encoding of weight 1 is returned as it is, so a one-hot preference equals plain encoding bit for bit. Raises ValueError
    for different shapes, which long texts cause.
    """
    if any(encoding is None for encoding in encodings):
        return None
    if len({tuple(encoding.shape) for encoding in encodings}) > 1:
        shapes = ", ".join(str(tuple(encoding.shape)) for encoding in encodings)
        raise ValueError(f"The styles' prompts were encoded to different lengths ({shapes}); shorten the text or the material.")
    counted = [(weight, encoding) for weight, encoding in zip(weights, encodings) if weight != 0]
    if len(counted) == 1 and counted[0][0] == 1:
        return counted[0][1]
    return sum(encoding * weight for weight, encoding in counted)


def update(weights: dict[str, float], candidates: list[dict[str, float]], chosen: int, rate: float = 1.0) -> dict[str, float]:
    """w <- normalise(w * exp(rate * (phi_chosen - mean phi))) for candidates phi over STYLES, each normalised first.

    No preference yet counts as equal weights. A style of weight 0 stays 0: it was switched off. Rate 0 changes nothing.
    Raises ValueError without candidates or for a choice that is none of them.
    """
    if not 0 <= chosen < len(candidates):
        raise ValueError(f"Candidate {chosen} was chosen out of {len(candidates)}; choose 0 to {len(candidates) - 1}." if candidates
                         else "No candidates were given; give the style weights of every picture shown.")
    if not math.isfinite(rate):
        raise ValueError(f"A learning rate of {rate} was given, but a finite number was expected.")
    current = normalise(weights)
    current = current if any(current.values()) else {style: 1 / len(STYLES) for style in STYLES}
    if rate == 0:
        return current
    phi = [normalise(candidate) for candidate in candidates]
    lean = {style: rate * (phi[chosen][style] - sum(item[style] for item in phi) / len(phi)) for style in STYLES}
    top = max(lean.values())   # taken out before exp, so that large rates do not overflow
    return normalise({style: current[style] * math.exp(lean[style] - top) for style in STYLES})


@dataclass(frozen=True)
class Profile:
    """A person's taste: style weights and how many choices made them."""

    name: str
    weights: dict[str, float]
    choices: int = 0

    def chosen(self, candidates: list[dict[str, float]], chosen: int, rate: float = 1.0) -> "Profile":
        """The profile after one more choice."""
        return replace(self, weights=update(self.weights, candidates, chosen, rate), choices=self.choices + 1)


def to_json(profile: Profile) -> str:
    """The profile as JSON text with its version."""
    return json.dumps({"style_profile": VERSION, **asdict(profile)}, indent=1)


def from_json(text: str) -> Profile:
    """Read to_json's text; raises ValueError for other text and other versions."""
    try:
        data = json.loads(text)
    except (TypeError, ValueError) as error:
        raise ValueError("The style profile is not JSON; give the text or file that the preference node wrote.") from error
    version = data.get("style_profile") if isinstance(data, dict) else None
    if version != VERSION:
        raise ValueError(f"The style profile has version {version}, but this pack reads version {VERSION}; make a new profile.")
    try:
        return Profile(check_name(data["name"]), normalise(data["weights"]), int(data["choices"]))
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"The style profile is incomplete ({error}); give the text or file as it was written.") from error


def check_name(name: str) -> str:
    """A profile's name: 1 to 64 letters, digits, spaces, - and _, and no path; else ValueError."""
    fits = isinstance(name, str) and 0 < len(name) <= 64 and name == name.strip() and all(c.isalnum() or c in " -_" for c in name)
    if not fits or name.lower() in RESERVED:
        raise ValueError(f"The profile name {name!r} cannot be used; use 1 to 64 letters, digits, spaces, - or _, without a path.")
    return name


def save(profile: Profile, folder: str | os.PathLike) -> Path:
    """Write <folder>/<name>.json whole or not at all, and return its path."""
    path = Path(folder) / f"{check_name(profile.name)}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".profile-", suffix=".tmp")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(to_json(profile))
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    return path


def load(name: str, folder: str | os.PathLike) -> Profile:
    """Read <folder>/<name>.json; raises ValueError naming the profiles there are when it is missing."""
    path = Path(folder) / f"{check_name(name)}.json"
    if not path.is_file():
        raise ValueError(f"There is no profile '{name}'; there are: {', '.join(names(folder)) or 'none yet'}.")
    return from_json(path.read_text(encoding="utf-8"))


def names(folder: str | os.PathLike) -> list[str]:
    """The profiles saved in a folder, sorted."""
    return sorted(path.stem for path in Path(folder).glob("*.json")) if Path(folder).is_dir() else []


def styles_text(weights: dict[str, float]) -> str:
    """Weights as a line that people read and `parse_styles` reads back: "modern 0.7, traditional 0.3"; "neutral" where all are 0."""
    return ", ".join(f"{style} {weight:.6g}" for style, weight in normalise(weights).items() if weight > 0) or "neutral"


def parse_styles(text: str) -> dict[str, float]:
    """Weights over STYLES from "modern 0.7, traditional 0.3", a JSON object, or "neutral"; a style without a number counts 1.

    Raises ValueError for unknown styles and for what is no number.
    """
    text = text.strip()
    try:
        if text.startswith("{"):
            return normalise(json.loads(text))
        words = [part.replace("=", " ").replace(":", " ").split() for part in text.split(",") if part.strip()]
        named = {word[0].lower(): float(word[1]) if len(word) > 1 else 1.0 for word in words if len(word) <= 2}
        if len(named) != len(words):
            raise ValueError("more than a style and a number between commas")
    except (TypeError, AttributeError, ValueError) as error:
        if "not known" in str(error) or "were given" in str(error):
            raise
        raise ValueError(f"The styles '{text[:60]}' could not be read; write them as \"modern 0.7, traditional 0.3\".") from error
    return normalise({style: weight for style, weight in named.items() if style != "neutral"})


def blend(weights: dict[str, float], profile: dict[str, float] | None) -> dict[str, float]:
    """Wished weights times a profile's: equal wishes give the profile itself, one style alone stays alone. No wish at all counts as equal ones."""
    if profile is None or not any(profile.values()):
        return normalise(weights)
    wished = weights if any(weights.values()) else dict.fromkeys(STYLES, 1.0)
    return normalise({style: wished.get(style, 0.0) * profile.get(style, 0.0) for style in STYLES})


def find(text: str, folder: str | os.PathLike) -> Profile | None:
    """A profile from its JSON text, or by its name from a folder; None for "". A name that is not saved raises ValueError, see `load`."""
    text = text.strip()
    if not text:
        return None
    return from_json(text) if text.startswith("{") else load(text, folder)
