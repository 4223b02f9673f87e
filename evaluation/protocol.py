"""How each paper measures: sizes, pairing, splits, seeds, samplers, metrics.

What a paper does not say is None or "not given", never a guess of ours.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Setting:
    """One test of a paper.

    Attributes:
        name: "paired" (every result has its truth, of the same name), "unpaired" (two sets as wholes, or results alone) or "multiple" (several
            garments per result).
        data: the data set and its split. metrics: names of `METRICS`, in the paper's order. note: what else matters.
    """

    name: str
    data: str
    metrics: tuple[str, ...]
    note: str = ""


@dataclass(frozen=True)
class Protocol:
    """One paper's evaluation.

    Attributes:
        name, label, source: the method, its name for people, where the paper says so.
        size: (width, height) of results. how: how truths are brought to it (`folders.resized`).
        sampler, steps, guidance: of the paper's results; None where it does not say.
        seeds: what the paper says of them.
        settings: its tests.
    """

    name: str
    label: str
    source: str
    size: tuple[int, int]
    sampler: str
    steps: int | None
    guidance: float | None
    seeds: str
    settings: tuple[Setting, ...]
    how: str = "bilinear"

    def setting(self, name: str) -> Setting:
        """A test by name; "" is the first.

        Raises:
            ValueError: the paper has no such test.
        """
        found = next((s for s in self.settings if name in ("", s.name)), None)
        if found is None:
            raise ValueError(f"{self.label} has no {name} test; it has {', '.join(s.name for s in self.settings)}.")
        return found

    def describe(self) -> list[str]:
        """The protocol in words."""
        steps = "" if self.steps is None else f", {self.steps} steps"
        guidance = "guidance not given" if self.guidance is None else f"guidance {self.guidance:g}"
        return [f"{self.label} ({self.source}): {self.size[0]} x {self.size[1]}, {self.sampler}{steps}, {guidance}; seeds: {self.seeds}."]


PROTOCOLS = {
    p.name: p
    for p in (
        Protocol(
            "igr", "IGR", "arXiv 2412.11513, section 4 and tables 1 to 3", (768, 1024), "DDIM", 25, 1.5, "not given",
            (
                Setting("paired", "VITON-HD test (2032 pairs): flat garments restored from the persons who wear them", ("ssim", "lpips", "dists", "fid", "clip_fid", "kid"), "Table 2: SSIM rises where details are lost; do not judge details by it."),
                Setting("unpaired", "StreetTryOn persons; it has no garments, so the real ones are VITON-HD's", ("fid", "clip_fid", "kid")),
            ), "area-bicubic",
        ),
        Protocol(
            "anydressing", "AnyDressing", "arXiv 2412.04146, section 5 and tables 1 and 3", (576, 768), "DDIM", 30, 6.0, "not given",
            (
                Setting("unpaired", "VITON-HD or Dressing-Pair garments with prompts; real = the garment pictures", ("clip_t", "clip_i", "clip_as"), "CLIP-T needs the prompts, as NAME.txt beside the results. The paper does not name its CLIP."),
                Setting("multiple", "Dressing-Pair: several garments at once", ("clip_t", "clip_i_star", "clip_as"), "CLIP-I* needs one folder of garments and one of their regions per slot."),
            ), "area-bicubic",
        ),
        Protocol(
            "diffuse_to_choose", "Diffuse to Choose", "section 4 and tables 1 and 2", (512, 512), "DDIM", 40, 5.0, "not given",
            (Setting("paired", "Vit-All test, or VITONHD-NoFace", ("clip_i", "fid"), "The paper's CLIP score: cosine of ViT-B/32 embeddings, times 100. It does not say of which two pictures; here result and truth."),),
            "area-bicubic",
        ),
        Protocol(
            "pm_jewelry", "PM-Jewelry", "section 4 and tables 1 to 3", (384, 512), "PLMS", 50, None, "not given",
            (Setting("paired", "the authors' earrings, necklaces, rings; 10 % of each for testing", ("ssim", "lpips", "fid"), "Measured per kind of jewelry: one folder each."),), "area-bicubic",
        ),
        Protocol(
            "sift_vton", "SIFT-VTON", "arXiv 2605.01296, section 4 and table 1, with its released evaluation", (384, 512), "PLMS", 50, 1.5,
            "one for all pictures, shared with StableVITON",
            (
                Setting("paired", "VITON-HD test (2032 pairs)", ("ssim", "lpips"), "Truths are brought to 384 x 512 bilinearly without a filter, as released."),
                Setting("unpaired", "VITON-HD test with the other garment; real = the whole test/image folder", ("fid", "kid"), "Real pictures at their full size."),
            ),
        ),
    )
}
"""Method -> its paper's evaluation."""
