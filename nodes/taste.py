"""PM-Jewelry's personalisation: where a piece is worn, how it shall look, feedback on both, and what a user likes.

The paper promises style preferences and a feedback loop without a method; `preprocess/{placement,jewelry,preference}.py` say what ours is.
"""

from __future__ import annotations

import torch

from ..host import encode_text, io, ui, user_folder
from ..preprocess import jewelry, jewelry_draw, placement, preference
from ..preprocess.letterbox import flatten_alpha
from ..preprocess.overlay import SECOND, overlay, with_points
from ..preprocess.points import parse_points
from ..preprocess.pose import FINGERS, find_people
from .sockets import FaceLandmarks, JewelryState, PoseKeypoints, plain_picture, points_input, seen

TASTE = "Fitting Room/PM-Jewelry"
ALIASES = ["jewelry", "jewellery", "necklace", "earring", "ring", "bracelet", "accessories", "pm-jewelry"]
PROFILES = "profiles"


def outputs_of(state: jewelry.JewelryState) -> tuple[torch.Tensor, dict, str, str]:
    """(mask (1,H,W), box, state as JSON, what is worn in words)."""
    drawn = jewelry_draw.draw(state)
    return drawn.mask[:, 0], drawn.box.as_dict(), jewelry.to_json(state), jewelry.describe(state)


def one_picture(image: torch.Tensor) -> torch.Tensor:
    """Check that there is one picture.

    Raises:
        ValueError: a batch.
    """
    if len(image) != 1:
        raise ValueError(f"There are {len(image)} pictures and jewelry is placed on one; pick one with Get Image from Batch.")
    return flatten_alpha(image)


def size_inputs() -> list:
    """Sizes in mm; 0 or -1 = usual."""
    return [
        io.Float.Input("mm_per_px", default=0.0, min=0.0, max=50.0, step=0.001, round=0.0001, optional=True, tooltip="Scale. 0 measures it on the person (pupils 63 mm apart, or the palm). By hand: 63 divided by the pixels between the pupils."),
        io.Float.Input("drop_mm", default=-1.0, min=-1.0, max=300.0, step=1.0, optional=True, advanced=True, tooltip="How far a drop earring or a pendant hangs. -1 = usual."),
        io.Float.Input("width_mm", default=0.0, min=0.0, max=200.0, step=0.5, optional=True, advanced=True, tooltip="Width of chain, earring, ring or band. 0 = usual."),
        io.Float.Input("hidden_mm", default=-1.0, min=-1.0, max=1000.0, step=5.0, optional=True, advanced=True, tooltip="How much of a necklace lies behind the neck. -1 estimates it, 0 lets the whole length hang in front."),
        io.Float.Input("tilt_deg", default=0.0, min=-90.0, max=90.0, step=0.5, optional=True, advanced=True, tooltip="Turn of the piece, clockwise."),
    ]


class JewelryPlacement(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="FittingRoomJewelryPlacement",
            display_name="Jewelry Placement",
            category=TASTE,
            description="Where a necklace, earring, ring or bracelet is worn, in millimetres: from clicked points, pose keypoints or a face mesh. A necklace hangs as a chain of its real length.",
            search_aliases=[*ALIASES, "try-on", "virtual try-on", "choker", "landmarks"],
            inputs=[
                io.Image.Input("image", tooltip="The person, one picture."),
                io.Combo.Input("type", options=list(jewelry.TYPES), default="necklace", tooltip="What is worn."),
                points_input("Click the picture: necklace, both sides of the neck; earring, each visible lobe; ring or bracelet, both edges of the finger or wrist. Right-click removes. Or type pixels: 120,80; 300,90. Empty takes pose or face."),
                io.Float.Input("length_mm", default=0.0, min=0.0, max=1500.0, step=5.0, tooltip="Whole length of a necklace as sold (choker 360, princess 450, matinee 550, opera 750); breadth of a ring or bracelet. 0 = usual."),
                PoseKeypoints.Input("pose", optional=True, tooltip="Pose keypoints with hands, for example from the host's SDPose."),
                FaceLandmarks.Input("face", optional=True, tooltip="Face mesh from the host's MediaPipe node: the best place for earrings."),
                io.Combo.Input("side", options=list(jewelry.SIDES), default="both", optional=True, tooltip="Which ear or hand; left is the wearer's own left."),
                io.Combo.Input("form", options=list(jewelry.FORMS), default="drop", optional=True, tooltip="Kind of earring."),
                io.Combo.Input("finger", options=list(FINGERS), default="ring", optional=True, tooltip="Which finger wears the ring, where a pose with hands is given."),
                *size_inputs(),
                io.String.Input("styles", default="", optional=True, advanced=True, tooltip="Style weights kept with the state, as Style Preference writes them."),
                io.Int.Input("seed", default=0, min=0, max=0xFFFFFFFF, control_after_generate=io.ControlAfterGenerate.fixed, optional=True, advanced=True, tooltip="A seed kept with the state, so that a fitting can be repeated."),
                io.String.Input("pose_json", default="", multiline=True, optional=True, advanced=True, tooltip="OpenPose JSON typed or pasted, where no pose node is connected."),
            ],
            outputs=[
                io.Mask.Output(display_name="mask", tooltip="The piece's region, 1 = repaint."),
                io.BoundingBox.Output(display_name="box", tooltip="The smallest box around it."),
                JewelryState.Output(display_name="state", tooltip="The fitting, for Apply Feedback and the maps."),
                io.String.Output(display_name="text", tooltip="The state as JSON text, to keep or to send."),
            ],
            is_output_node=True,
        )

    @classmethod
    def execute(cls, image, type, points, length_mm, pose=None, face=None, side="both", form="drop", finger="ring", mm_per_px=0.0, drop_mm=-1.0,
                width_mm=0.0, hidden_mm=-1.0, tilt_deg=0.0, styles="", seed=0, pose_json=""):
        image, (height, width) = one_picture(image), image.shape[1:3]
        person = next(iter(find_people(pose, pose_json, face, height, width)), None)
        clicked = parse_points(points, width, height)
        state = placement.place(type, height, width, clicked, person, mm_per_px, side, form, finger, length_mm, drop_mm, width_mm, tilt_deg,
                                hidden_mm, seed, preference.parse_styles(styles) if styles.strip() else None)
        mask, box, text, words = outputs_of(state)
        drawn = with_points(overlay(image, mask), clicked or state.anchors)
        return io.NodeOutput(mask, box, text, text, ui=seen(drawn, cls, words, fitting_room_picture=plain_picture(image, cls)))


class ApplyFeedback(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="FittingRoomApplyFeedback",
            display_name="Apply Feedback",
            category=TASTE,
            description="Changes a placed piece by what somebody says of it: longer, smaller, more to the left, another earring. Opposite steps cancel exactly; undo goes back. "
            "Chain several, one word each.",
            search_aliases=[*ALIASES, "longer", "shorter", "feedback loop", "undo", "adjust"],
            inputs=[
                JewelryState.Input("state", tooltip="The fitting, from Jewelry Placement or another Apply Feedback; a program may send the JSON text."),
                io.Combo.Input("action", options=[*jewelry.ACTIONS, *jewelry.FORMS, "undo"], default="longer", tooltip="What to change. left, right, up and down are those of the picture. stud, hoop and drop change an earring's form."),
                io.Float.Input("step", default=1.0, min=0.01, max=100.0, step=0.25, tooltip="How much: 1 is 10 mm of length, 5 % of size, 2 mm of place, 2 degrees. With undo: how many feedbacks back."),
                io.Image.Input("image", optional=True, tooltip="The person, to look at the change on; the masks do not depend on it."),
            ],
            outputs=[
                JewelryState.Output(display_name="state", tooltip="The changed fitting."),
                io.Mask.Output(display_name="mask", tooltip="The changed region, 1 = repaint. Re-render Region joins it with the old one."),
                io.BoundingBox.Output(display_name="box", tooltip="The smallest box around it."),
                io.String.Output(display_name="text", tooltip="The state as JSON text, to keep or to send."),
            ],
        )

    @classmethod
    def execute(cls, state, action, step, image=None):
        before = jewelry.from_json(state)
        mask, box, text, words = outputs_of(jewelry.apply_feedback(before, action, step))
        ground = torch.zeros(1, before.height, before.width, 3) if image is None else one_picture(image)
        drawn = overlay(overlay(ground, outputs_of(before)[0], SECOND, 0.25), mask)
        return io.NodeOutput(text, mask, box, text, ui=seen(drawn, cls, words))


class StylePreference(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        def slider(name):
            return io.Float.Input(name, default=0.0, min=0.0, max=10.0, step=0.05, tooltip=f"How much {name}; only the proportion of the three counts. One alone is exactly that prompt; all 0 is neutral.")

        return io.Schema(
            node_id="FittingRoomStylePreference",
            display_name="Style Preference",
            category=TASTE,
            description="Mixes the prompts of three styles by weight into one conditioning: modern, traditional, minimalistic. A profile that has learned from choices leans the mix.",
            search_aliases=[*ALIASES, "style", "prompt mix", "weighted prompt", "taste", "conditioning average"],
            inputs=[
                io.Clip.Input("clip", tooltip="The model's text encoder."),
                io.Combo.Input("type", options=list(jewelry.TYPES), default="necklace", tooltip="What is worn."),
                io.String.Input("material", default="gold", tooltip="Material and stone: gold, silver with pearls ..."),
                *(slider(name) for name in preference.STYLES),
                io.String.Input("text", default="", multiline=True, optional=True, tooltip="More words for every style's prompt: the person, the light, the camera."),
                io.String.Input("profile", default="", optional=True, tooltip="A profile's name (or its text from Preference Update). Its weights multiply the sliders; with equal sliders it decides alone."),
            ],
            outputs=[
                io.Conditioning.Output(display_name="conditioning", tooltip="The mixed prompt."),
                io.String.Output(display_name="styles", tooltip="The weights that were used, for Preference Update: modern 0.7, traditional 0.3."),
                io.String.Output(display_name="prompts", tooltip="The prompts that were mixed, one per line with its weight."),
            ],
        )

    @classmethod
    def fingerprint_inputs(cls, profile="", **_):
        """A profile that has learned since counts as a change."""
        try:
            found = preference.find(profile or "", user_folder(PROFILES))
        except ValueError:
            return profile
        return "" if found is None else preference.to_json(found)

    @classmethod
    def execute(cls, clip, type, material, modern, traditional, minimalistic, text="", profile=""):
        known = preference.find(profile, user_folder(PROFILES))
        weights = preference.blend({"modern": modern, "traditional": traditional, "minimalistic": minimalistic}, known.weights if known else None)
        mixed = preference.prompts(weights, type, material, text)
        told = "\n".join(f"{weight:.3g}  {prompt}" for weight, prompt in mixed)
        return io.NodeOutput(mix_conditionings(clip, mixed), preference.styles_text(weights), told, ui=ui.PreviewText(told))


def mix_conditionings(clip, weighted: list[tuple[float, str]]) -> list:
    """One conditioning from prompts with weights; a single prompt comes back as the text encoder gives it."""
    encoded = [encode_text(clip, prompt) for _, prompt in weighted]
    if len(encoded) == 1:
        return encoded[0]
    weights, out = [weight for weight, _ in weighted], []
    for entries in zip(*encoded):  # more than one entry only where the text encoder carries scheduled LoRAs
        pooled = preference.mix(weights, [values.get("pooled_output") for _, values in entries])
        out.append([preference.mix(weights, [tokens for tokens, _ in entries]), {**entries[0][1], "pooled_output": pooled}])
    return out


class PreferenceUpdate(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        candidate = io.String.Input("style", force_input=True, tooltip="The style weights of one candidate, from Style Preference.")
        return io.Schema(
            node_id="FittingRoomPreferenceUpdate",
            display_name="Preference Update",
            category=TASTE,
            description="Learns from a choice: of several pictures made with different style weights, say which you like, and the named profile leans that way. "
            "Profiles are kept in the user directory. One choice counts once: raise round to count the same choice again.",
            search_aliases=[*ALIASES, "taste", "user profile", "choose", "like", "preference learning", "feedback"],
            inputs=[
                io.String.Input("profile", default="my taste", tooltip="The profile's name; made where there is none yet. The text of a profile works too."),
                io.Autogrow.Input("styles", template=io.Autogrow.TemplatePrefix(candidate, prefix="style", min=2, max=16), tooltip="The candidates' styles, in the order you see their pictures."),
                io.Int.Input("chosen", default=0, min=0, max=16, tooltip="Which candidate you like: 1 is the first. 0 has chosen nothing yet and changes nothing."),
                io.Float.Input("rate", default=1.0, min=0.0, max=20.0, step=0.1, tooltip="How fast the profile follows. 0 changes nothing."),
                io.Int.Input("round", default=0, min=0, max=0xFFFFFFFF, optional=True, tooltip="A new number makes the same choice count once more."),
            ],
            outputs=[
                io.String.Output(display_name="profile", tooltip="The profile's text, for Style Preference."),
                io.String.Output(display_name="report", tooltip="The weights before and after."),
            ],
            is_output_node=True,
        )

    @classmethod
    def validate_inputs(cls, profile=None, styles=None):
        try:
            return bool(profile is None or profile.strip().startswith("{") or preference.check_name(profile.strip()))
        except ValueError as error:
            return str(error)

    @classmethod
    def execute(cls, profile, styles, chosen, rate, round=0):
        folder, name = user_folder(PROFILES), profile.strip()
        new = not name.startswith("{") and name not in preference.names(folder)
        before = preference.Profile(preference.check_name(name), {}) if new else preference.find(name, folder)
        shown = [preference.parse_styles(styles[key]) for key in sorted(styles, key=lambda k: int(k.removeprefix("style"))) if styles[key] is not None]
        if chosen > len(shown):
            raise ValueError(f"Candidate {chosen} was chosen, but there are {len(shown)}; choose 1 to {len(shown)}, or 0 for none yet.")
        after = before.chosen(shown, chosen - 1, rate) if chosen else before
        if chosen:
            preference.save(after, folder)
        text = f"{after.name}: {preference.styles_text(before.weights)} -> {preference.styles_text(after.weights)} ({after.choices} choices)"
        return io.NodeOutput(preference.to_json(after), text, ui=ui.PreviewText(text))


NODES = [JewelryPlacement, ApplyFeedback, StylePreference, PreferenceUpdate]
