"""The papers' ablations, declared: which rows, what is measured, and what this small world cannot tell."""

from __future__ import annotations

from .ablation import Ablation, Variant

CEILING = Variant("truth, through the autoencoder", weights="truth")
UNTRAINED = Variant("untrained", weights="untrained")

NO_ENCODER = "Image encoders here are small and random, so nothing is learned of what a pretrained one sees."
SMALL = "One drawn world of twelve colours and nine patterns, at 128 x 96, cannot tell how realism, faces or unusual cuts fare."

IGR_CURATION = {"share": 0.2, "data": {"curated": True, "share": 0.2}}

igr = Ablation(
    "igr", "IGR: with and without GarmNet, with and without the curated stage", "igr",
    "Table 2: without GarmNet and without the curated fine-tuning FID, LPIPS and DISTS are worse, while SSIM is a little better.",
    ("flat_garment", "pixels"), "pattern",
    (
        CEILING, UNTRAINED,
        Variant("IGR", stages=(IGR_CURATION,)),
        Variant("without GarmNet", train={"options": {"garmnet": False}}, stages=(IGR_CURATION,)),
        Variant("without the low-level path", options={"adapter": "none"}, stages=(IGR_CURATION,)),
        Variant("without the curated stage", train={"share": 1.2}),
    ),
    data={"flaws": 3}, held={"flaws": 0}, guidance=1.5,
    limits=f"{NO_ENCODER} Curation here is exact: a third of the training persons are cut close, and the curated fifth has none of them. {SMALL}",
)

igr_guidance = Ablation(
    "igr_guidance", "IGR: guidance", "igr", "Table 3: 1.5 and 2.0 are about equal on VITON-HD, 1.0 blurs, 2.5 and more over-saturate.",
    ("flat_garment", "pixels"), "pattern",
    (Variant("guidance 1.5", guidance=1.5), *(Variant(f"guidance {g:.1f}", guidance=g, weights="guidance 1.5") for g in (1.0, 2.0, 2.5, 3.0))),
    guidance=1.5, limits=f"One training per seed, sampled at five guidances. {NO_ENCODER} {SMALL}",
)


def _dressing(name: str, title: str, hats: bool) -> Ablation:
    off = {"localization": 0.0, "texture": 0.0}
    return Ablation(
        name, title, "anydressing", "Table 3: CLIP-I* 0.625 for the base, 0.718 with GFE, 0.722 with IGL, 0.734 with GTL; IGL lifts CLIP-T, and GFE lowers confusion.",
        ("every_garment",), "colour",
        (
            CEILING, UNTRAINED,
            Variant("base", train={"losses": off}, freeze=("gfe.",)),
            Variant("+ GFE", train={"losses": off}),
            Variant("+ IGL", train={"losses": {"texture": 0.0, "localization": 0.01}}),
            Variant("+ GTL", train={"losses": {"localization": 0.01, "texture": 0.001}}, needs=("dists",)),
        ),
        data={"outfit": "separates", "hat": hats, "hats": hats}, guidance=2.0,
        limits="The base encodes garments one by one too (without a LoRA of their slot): the paper's base lays them side by side in one picture, which this code does not do. "
        f"Persons are drawn from noise, so garments are looked for where they usually are; the row of true pictures shows what that costs. {SMALL}",
    )


dressing_two = _dressing("anydressing_two", "AnyDressing: base, GFE, IGL, GTL with two garments", False)
dressing_three = _dressing("anydressing_three", "AnyDressing: the same with three garments (a hat too)", True)

insertion = Ablation(
    "diffuse_to_choose", "Diffuse to Choose: how the hint is joined, and what it is", "diffuse_to_choose",
    "Table 1: FiLM 88.14 and cross-attention 88.01 CLIP score, direct addition 86.94; hint through the VAE 86.97, Canny edges 87.85.",
    ("pixels",), "psnr",
    (
        CEILING, UNTRAINED,
        Variant("FiLM"),
        Variant("cross-attention", options={"integration": "cross_attention"}),
        Variant("direct addition", options={"integration": "add"}),
        Variant("hint through the VAE", options={"hint": "latent"}),
        Variant("Canny hint", options={"source": "canny"}),
        Variant("no hint", options={"hint": "off"}),
    ),
    guidance=2.0,
    limits=f"{NO_ENCODER} HED edges are left out: their network is not bundled. {SMALL}",
)

paint_by_example = Ablation(
    "paint_by_example", "Diffuse to Choose: from Paint by Example to the hint", "diffuse_to_choose",
    "Table 2: CLIP class token 82.43, all CLIP tokens 84.01, DINOv2 87.48, perceptual loss 87.79, with the hint 90.14.",
    ("pixels",), "psnr",
    (
        CEILING,
        Variant("class token alone", options={"hint": "off", "image_encoder": "clip_cls"}, vision="clip"),
        Variant("all tokens", options={"hint": "off", "image_encoder": "clip_all"}, vision="clip"),
        Variant("DINOv2's layout", options={"hint": "off"}),
        Variant("+ perceptual loss", options={"hint": "off"}, train={"losses": {"perceptual": 1e-3}}, needs=("vgg19",)),
        Variant("with the hint"),
    ),
    guidance=2.0,
    limits=f"{NO_ENCODER} So the step from CLIP to DINOv2 cannot be seen here, only that from one token to all, and from tokens to the hint. {SMALL}",
)

_ATV = {"share": 0.1, "losses": {"atv": 0.001}}
jewelry_losses = Ablation(
    "pm_jewelry_losses", "PM-Jewelry: losses", "pm_jewelry", "Table 2: leaving out depth, perception, ATV or the shadow-weighted noise loss makes SSIM, LPIPS and FID worse for every kind of jewelry.",
    ("pixels", "shadow"), "psnr",
    (
        CEILING, UNTRAINED,
        Variant("all that need no network", stages=(_ATV,)),
        Variant("without ATV", train={"share": 1.1}),
        Variant("without the shadow-weighted noise loss", train={"losses": {"shadow_noise": 0.0}}, stages=(_ATV,)),
        Variant("without both shadow losses", train={"losses": {"shadow_noise": 0.0, "shadow_mask": 0.0}}, stages=(_ATV,)),
        Variant("with depth consistency", train={"losses": {"depth": 0.1}}, stages=(_ATV,), needs=("depth",)),
        Variant("with perception", train={"losses": {"perception": 1e-3}}, stages=(_ATV,), needs=("vgg19",)),
    ),
    train={"losses": {"depth": 0.0, "perception": 0.0}}, guidance=2.0,
    limits=f"Depth consistency and perception look through networks that are not bundled; their rows appear where the files are. {SMALL}",
)

jewelry_modules = Ablation(
    "pm_jewelry_modules", "PM-Jewelry: modules", "pm_jewelry", "Table 3: without augmentation, zero cross-attention, jewelry encoder or text encoder every score is worse.",
    ("pixels", "shadow"), "psnr",
    (
        CEILING, UNTRAINED,
        Variant("all modules", stages=(_ATV,)),
        Variant("without zero cross-attention", freeze=("warp.",), stages=(_ATV,)),
        Variant("jewelry encoder not trained", freeze=("encoder.",), stages=(_ATV,)),
        Variant("without text", data={"wordless": True}, stages=(_ATV,)),
        Variant("without the shadow module", options={"shadow": False}, train={"losses": {"shadow_mask": 0.0, "shadow_noise": 0.0}}, stages=(_ATV,)),
    ),
    train=jewelry_losses.train, guidance=2.0,
    limits=f"Augmentation is not ablated: this world draws as many samples as one likes. Without zero cross-attention nothing of the encoder reaches the denoiser, so it is the row 'without encoder' too. {SMALL}",
)

try_on = Ablation(
    "sift_vton", "SIFT-VTON against StableVITON, with ATV and without", "sift_vton",
    "Table 1: FID 8.860 against 9.304, KID 1.092 against 1.397, LPIPS equal, SSIM a little lower. Figure 4: attention of SIFT-VTON is concentrated, StableVITON's diffuse.",
    ("worn_garment", "pixels", "prints", "attention"), "attention",
    (
        CEILING, UNTRAINED,
        Variant("StableVITON, first stage", train={"share": 1.1, "losses": {"sift": 0.0}}),
        Variant("StableVITON with ATV", train={"losses": {"sift": 0.0}}, stages=(_ATV,)),
        Variant("SIFT-VTON, weight 0.0005", train={"share": 1.1, "losses": {"sift": 0.0005}}),
        Variant("SIFT-VTON, weight 0.01", train={"share": 1.1, "losses": {"sift": 0.01}}),
    ),
    data={"hat": False}, guidance=1.5,
    limits="Matches are the world's true ones, up to 200 per garment; SIFT finds fewer, and none on plain cloth. Each variant trains from the same start, while the paper starts from StableVITON's released weights "
    f"and gives 160 epochs; so a second, larger weight is shown. {SMALL}",
)


def _bundled(method: str, title: str, measures: tuple[str, ...], main: str, guidance: float, **data) -> Ablation:
    return Ablation(
        f"demo_{method}", f"The bundled demo weights: {title}", method, "No table of a paper: what the demo weights in models/demo do, beside the method untrained on the same small stack.",
        measures, main, (CEILING, UNTRAINED, Variant("bundled demo weights", weights="bundled")), data=data, guidance=guidance,
        limits=f"Weights and noise are fixed, so there is one row and no spread over seeds. {SMALL}",
    )


demo_igr = _bundled("igr", "IGR, restored garments", ("flat_garment", "pixels"), "pattern", 1.5)
demo_anydressing = _bundled("anydressing", "AnyDressing, persons in two garments", ("every_garment",), "colour", 2.0, outfit="separates", hat=False, hats=False)
demo_insertion = _bundled("diffuse_to_choose", "Diffuse to Choose, inserted products", ("pixels",), "psnr", 2.0)
demo_jewelry = _bundled("pm_jewelry", "PM-Jewelry, worn jewelry", ("pixels", "shadow"), "psnr", 2.0)
demo_try_on = _bundled("sift_vton", "SIFT-VTON, try-on", ("worn_garment", "pixels", "prints", "attention"), "pattern", 1.5, hat=False)

ABLATIONS = {a.name: a for a in (igr, igr_guidance, dressing_two, dressing_three, insertion, paint_by_example, jewelry_losses, jewelry_modules, try_on)}
"""Name -> ablation of a paper."""
DEMO = {a.name: a for a in (demo_anydressing, demo_igr, demo_try_on, demo_insertion, demo_jewelry)}
"""Name -> table of bundled demo weights."""
