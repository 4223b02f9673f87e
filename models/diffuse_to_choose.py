"""Diffuse to Choose: place any product into any picture (Seyfioglu et al., arXiv 2401.13795).

Notation. x_s: source picture. m: the paper's mask, 1 = keep; ours is 1 = repaint, so m = 1 - mask everywhere. x_r: the
product picture. z: latents of the denoiser, (B,4,h,w). c: tokens of x_r, (B,T,context_dim). f_k: feature maps of the hint
encoder, k = 0..12, twelve input blocks and the middle block. h_k: the denoiser's maps of the same places.

    L = || eps_theta(E(m * x_s), z_t, t, c) - eps ||^2                                             (1)
    hint = x_r resized into the largest rectangle of the mask, on zeros, (B,3,8h,8w) in 0..1       (3.2, 5.1, fig. 4)
    f = Encoder(Adapter(hint) + E(m * x_s), t, c),   E scaled by 0.18215; no z_t                   (3.2)
    FiLM:  h_k <- h_k * (1 + s gamma_k) + s beta_k,   (gamma_k, beta_k) = W_k f_k + b_k            (3.2)
    c = Linear(DINOv2(x_r at 224x224)), 256 patches and the class token: 257 tokens                (3.2, 5.2)

    L_perc = sum_l w_l mean |phi_l(x_0^) - phi_l(x_s)|,  phi of VGG-19, x_0^ decoded from the predicted noise  (3.2, 4.2)

The encoder is a trainable replica of the denoiser's encoder. The denoiser's own encoder is left alone: only what its
decoder sees (twelve skips) and the middle block's output are modulated.

Differs from the paper, or fills what it leaves open:
- Adapter: "a shallow convolutional network comprising four layers" gives no widths; ours is 3-16-32-96-4 with three
  strides of 2, because the sum needs the latent's 4 channels and eighth of the size.
- FiLM per pixel by default: "pixel-wise influence" (3.2) speaks for it, the FiLM paper and "the most important channels"
  for one value per channel. `film_mode` chooses; the weights have the same shapes.
- Whether the replica sees t is not said: a replica of the U-Net's encoder does (`timestep_mode="per_step"`). "fixed" is
  trained at t = 0, runs once per generation and keeps gamma and beta; the two give different results.
- Rows: guidance is trained "in similar fashion to" ControlNet, which drops c and keeps the hint, so the unconditional
  half sees the hint too (`rows="all"`). "conditional" halves the cost, for weights trained with dropped hints.
- DINOv2 gives 256 or 257 tokens (3.2, 5.2); 257. The MLP of 3.2 is the single layer of 5.2.
- What trains is not said. The denoiser's text projections must learn the new tokens, so `main_unet="cross_attention"`
  holds differences for its cross-attention keys and values; they act at any strength except 0.
  A trainer reaches them through `weight_changes`, not through `patches`, which carries them as data.
- The perceptual loss is "akin to" DCI-VTON's: its five maps and weights by default; `perceptual_layers="first5conv"` takes
  "the first five layers" at its word. Its weight is DCI-VTON's 1e-3; a gate on t can be set, where x_0^ means little.
- Strength s multiplies gamma and beta, never h.
- `integration`: "film", and table 1's "add" and "cross_attention". `hint`: "pixels", "latent" (the product pasted into
  m * x_s before the VAE, no adapter, 4.3), or "off": Paint by Example's ladder (4.2, table 2;
  the released model is `paint_by_example`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from .method import FittingMethod, MethodConfig, ReadWeights, Trainable
from .parts.channels import masked_latent
from .parts.film import Addition, FeatureAttention, Film, Prepared
from .parts.kept import Kept
from .parts.layers import Layers
from .parts.patches import Call, Patches
from .parts.sites import SITES, Site, UNetShape, site_from_path
from .parts.spatial import SpatialEncoder, feature_stride, feature_width
from .parts.terms import Terms
from .parts.tokens import TokenProjection
from .weights import WeightsError

FEATURES = 13
ENTRY = "encoder.net.input_blocks.0.0.weight"
ADAPTER_WIDTHS = (3, 16, 32, 96, 4)
FUSIONS = {"film": Film, "add": Addition, "cross_attention": FeatureAttention}
ENCODER_WIDTHS = {"dino_giant": 1536, "dino_large": 1024, "clip_cls": 1024, "clip_all": 1024}
KNOWN = {
    "hint": ("pixels", "latent", "off"), "integration": tuple(FUSIONS), "film_mode": ("pixel", "channel"),
    "timestep_mode": ("per_step", "fixed"), "conv_in": ("noise", "masked"), "rows": ("all", "conditional"),
    "main_unet": ("cross_attention", "frozen"), "image_encoder": tuple(ENCODER_WIDTHS),
    "fit": ("stretch", "contain", "cover"), "source": ("rgb", "canny", "canny_rgb", "hed", "other"),
}


@dataclass(frozen=True)
class DiffuseToChooseConfig(MethodConfig):
    """What the module is built with; training and inference must agree on all of it.

    Attributes:
        hint: where the hint enters: "pixels" through the adapter, "latent" through the VAE, "off" not at all.
        integration, film_mode: how f_k reaches h_k.
        attention_stride: with "cross_attention", leave out places finer than this many latent pixels (2 = from 32x32 at 512x512).
        timestep_mode: "per_step", or "fixed" at t = 0.
        conv_in: which columns of the base's first convolution the replica copies: of z, or of a 9-channel base's masked latent.
        rows: which rows see the hint.
        main_unet: whether the file changes the denoiser's cross-attention.
        image_encoder: what makes the tokens.
        image_width: width of the image encoder's hidden states; 0 = as the encoder's name says.
        fit, source: how the hints were made that it was trained with (a record for people).
    """

    unet: UNetShape = UNetShape(in_channels=9)
    hint: str = "pixels"
    integration: str = "film"
    film_mode: str = "pixel"
    attention_stride: int = 1
    timestep_mode: str = "per_step"
    conv_in: str = "noise"
    rows: str = "all"
    main_unet: str = "cross_attention"
    image_encoder: str = "dino_giant"
    image_width: int = 0
    fit: str = "stretch"
    source: str = "rgb"

    def __post_init__(self) -> None:
        for name, known in KNOWN.items():
            if getattr(self, name) not in known:
                raise WeightsError(f"The option {name} is {getattr(self, name)!r}; it must be one of {', '.join(known)}.")
        if self.attention_stride not in (1, 2, 4, 8):
            raise WeightsError(f"The option attention_stride is {self.attention_stride!r}; it must be 1, 2, 4 or 8.")
        if self.conv_in == "masked" and self.unet.in_channels < 9:
            raise WeightsError(f"conv_in 'masked' copies the masked latent's columns of a 9-channel base, and this base has {self.unet.in_channels} channels; use 'noise'.")

    @property
    def token_width(self) -> int:
        """Width of the image encoder's hidden states."""
        return self.image_width or ENCODER_WIDTHS[self.image_encoder]

    @property
    def places(self) -> tuple[int, ...]:
        """The k whose h_k are changed."""
        if self.hint == "off":
            return ()
        coarse = self.attention_stride if self.integration == "cross_attention" else 1
        return tuple(k for k in range(FEATURES) if feature_stride(k) >= coarse)


class Adapter(nn.Sequential):
    """Hint pixels (R,3,8h,8w) -> (R,4,h,w): four convolutions with SiLU between them; 36,292 parameters."""

    def __init__(self, layers: Layers):
        pairs = list(zip(ADAPTER_WIDTHS, ADAPTER_WIDTHS[1:]))
        modules: list[nn.Module] = []
        for index, (inputs, outputs) in enumerate(pairs):
            last = index == len(pairs) - 1
            modules += [layers.conv(inputs, outputs, 3, stride=1 if last else 2), *(() if last else (nn.SiLU(),))]
        super().__init__(*modules)

    @staticmethod
    def initial(generator: torch.Generator) -> dict[str, Tensor]:
        """Variance-keeping weights; the last layer a tenth of that, so that the replica starts near what it was copied from."""
        state = {}
        for index, (inputs, outputs) in enumerate(zip(ADAPTER_WIDTHS, ADAPTER_WIDTHS[1:])):
            gain = 0.1 if index == len(ADAPTER_WIDTHS) - 2 else 2**0.5
            state[f"{2 * index}.weight"] = torch.randn(outputs, inputs, 3, 3, generator=generator) * gain / (inputs * 9) ** 0.5
            state[f"{2 * index}.bias"] = torch.zeros(outputs)
        return state


class DiffuseToChoose(FittingMethod):
    """The hint pathway (`adapter`, `encoder`, `fuse`), the tokens, and the differences of the denoiser's cross-attention."""

    kind = "diffuse_to_choose"
    label = "Diffuse to Choose"
    Config = DiffuseToChooseConfig
    loss_weights = {"noise": 1.0, "perceptual": 1e-3}
    loss_options = {"perceptual_layers": "dci5", "perceptual_max_timestep": 999.0}
    loss_networks = {"perceptual": ("vgg19",)}
    trainable = {"paper": Trainable(), "full": Trainable(base="full"), "hint": Trainable(("adapter.", "encoder.", "fuse."))}

    def __init__(self, config: DiffuseToChooseConfig, layers: Layers):
        super().__init__(config, layers)
        unet = config.unet
        self.adapter = Adapter(layers) if config.hint == "pixels" else None
        self.encoder = None
        if config.hint != "off":
            self.encoder = SpatialEncoder(UNetShape(4, unet.model_channels, unet.context_dim, unet.heads), layers)
        self.fuse = nn.ModuleDict({str(k): self._fusion(feature_width(unet, k), layers) for k in config.places})
        self.tokens = TokenProjection(config.token_width, unet.context_dim, layers)
        sites = SITES if config.main_unet == "cross_attention" else ()
        self.cross = nn.ModuleDict({f"{s}_{n}": layers.linear(unet.context_dim, unet.channels(s), bias=False) for s in sites for n in ("k", "v")})

    def _fusion(self, channels: int, layers: Layers) -> nn.Module:
        options = {"film": {"pooled": self.config.film_mode == "channel"}, "cross_attention": {"heads": self.config.unet.heads}}
        return FUSIONS[self.config.integration](channels, layers, **options.get(self.config.integration, {}))

    # ---- the hint pathway ----------------------------------------------------------------------------------------------

    def features(self, entry: Tensor, timesteps: Tensor, context: Tensor) -> list[Tensor]:
        """f_0 ... f_12 of the summed input (B,4,h,w); with timestep_mode "fixed" always at t = 0."""
        if self.config.timestep_mode == "fixed":
            timesteps = torch.zeros_like(timesteps)
        return self.encoder(entry, timesteps, context)

    def prepared(self, features: list[Tensor], strength: float) -> dict[int, Prepared]:
        """What depends on the features only, per place: s gamma_k + 1 and s beta_k for FiLM."""
        return {k: self.fuse[str(k)].prepare(features[k], strength) for k in self.config.places}

    def patches(self, hint: Tensor, strength: float = 1.0, refresh_every: int = 1) -> Patches:
        """What the hint asks of the denoiser.

        Args:
            hint: (R,3,8h,8w) pixels in 0..1, or (R,4,h,w) a scaled latent where the configuration says "latent"; R is 1,
                or the size of the latent batch. Not used where the configuration says "off".
            strength: s.
            refresh_every: run the encoder on every n-th step only and reuse what it said in between: an approximation,
                and cheaper. Without meaning where timestep_mode is "fixed".

        Raises:
            ValueError: a hint of another kind than the file's; while sampling, one of another size than the picture.
        """
        if strength == 0.0:
            return Patches()
        weights = self.weight_changes()
        if self.config.hint == "off":
            return Patches(weights=weights)
        self._check_hint(hint)
        if refresh_every < 1:
            raise ValueError(f"refresh_every is {refresh_every}; it counts steps and must be at least 1.")
        run = _HintRun(self, hint, strength, refresh_every)
        skips = {11 - k: partial(run.change, k) for k in self.config.places if k < 12}
        return Patches(prepare=run.prepare, skip=skips, middle=partial(run.change, 12), all_rows=self.config.rows == "all", weights=weights)

    def _check_hint(self, hint: Tensor) -> None:
        wanted = 3 if self.config.hint == "pixels" else 4
        if hint.ndim != 4 or hint.shape[1] != wanted:
            what = "a picture (batch, 3, height, width)" if wanted == 3 else "a latent (batch, 4, height / 8, width / 8)"
            raise ValueError(f"The hint has shape {tuple(hint.shape)}, and this file's hint is {what}.")

    def check_base(self, in_channels: int) -> None:
        """Refuse a denoiser without the channels that the file was made for.

        Raises:
            ValueError: a 4-channel MODEL where the file says 9.
        """
        wanted = self.config.unet.in_channels
        if in_channels < wanted:
            raise ValueError(
                f"This Diffuse to Choose file was made for an inpainting U-Net of {wanted} input channels, and the MODEL has {in_channels}; "
                "load the SD1.5 inpainting checkpoint that it was trained with."
            )

    def weight_changes(self) -> dict[str, Tensor]:
        """Differences to add to the denoiser's own weights, by LDM name; empty while all of them are zero."""
        changes = {self.to_file(f"cross.{k}.weight").removeprefix("cross."): layer.weight.detach() for k, layer in self.cross.items()}
        return changes if any(bool(t.any()) for t in changes.values()) else {}

    # ---- training ------------------------------------------------------------------------------------------------------

    def losses(self, terms: Terms) -> dict[str, Tensor]:
        """(1), and the perceptual loss of 3.2."""
        layers, gate = terms.option("perceptual_layers"), terms.option("perceptual_max_timestep")
        return terms.ask(noise=terms.noise, perceptual=lambda: terms.pictured("perceptual", gate, lambda p: p.perceptual(layers)))

    # ---- files ---------------------------------------------------------------------------------------------------------

    @classmethod
    def initial_state(cls, config: DiffuseToChooseConfig, read: ReadWeights, seed: int) -> dict[str, Tensor]:
        """The replica as the base's encoder, a random adapter and projector, and zeros wherever something is added."""
        generator = torch.Generator().manual_seed(seed)
        outputs, inputs = config.unet.context_dim, config.token_width
        state = {f"tokens.{k}": t for k, t in TokenProjection.initial(inputs, outputs, generator).items()}
        if config.main_unet == "cross_attention":
            shapes = {s: (config.unet.channels(s), outputs) for s in SITES}
            state |= {f"cross.{s.ldm_path}.attn2.to_{n}.weight": torch.zeros(shapes[s]) for s in SITES for n in ("k", "v")}
        if config.hint == "pixels":
            state |= {f"adapter.{k}": t for k, t in Adapter.initial(generator).items()}
        if config.hint != "off":
            state |= {f"encoder.net.{k}": t for k, t in read(SpatialEncoder.names()).items()}
            first = 0 if config.conv_in == "noise" else 5
            state[ENTRY] = state[ENTRY][:, first : first + 4].clone()
        for k in config.places:
            state |= {f"fuse.{k}.{name}": t for name, t in FUSIONS[config.integration].initial(feature_width(config.unet, k), generator).items()}
        return state

    @classmethod
    def to_module(cls, name: str) -> str:
        """`cross.<LDM transformer>.attn2.to_k.weight` -> `cross.<site>_k.weight`."""
        match = re.fullmatch(r"cross\.(.+)\.attn2\.to_([kv])\.weight", name)
        return f"cross.{site_from_path(match[1])}_{match[2]}.weight" if match else name

    @classmethod
    def to_file(cls, name: str) -> str:
        """The inverse of `to_module`."""
        match = re.fullmatch(r"cross\.(input|middle|output)_(\d+)_([kv])\.weight", name)
        return f"cross.{Site(match[1], int(match[2])).ldm_path}.attn2.to_{match[3]}.weight" if match else name


class _HintRun:
    """One hint at one strength, as functions of a `Call`."""

    def __init__(self, method: DiffuseToChoose, hint: Tensor, strength: float, refresh_every: int):
        self.method, self.hint, self.strength = method, hint, strength
        self.lasts: int | None = None if method.config.timestep_mode == "fixed" else refresh_every

    def prepare(self, call: Call) -> None:
        """Make, or find again, what the maps of this forward are changed with."""
        self._check_size(call)
        masked = masked_latent(call) if self.method.config.hint == "pixels" else call.x[:0]
        inputs = (call.select(call.context), masked, torch.tensor(call.images))
        compute = partial(self._compute, call, inputs[0], masked)
        if self.lasts == 1:
            call.scratch[self] = compute()
            return
        kept = call.once((self, "kept"), Kept)
        timestep = None if self.lasts is None else float(call.timesteps.flatten()[0])
        call.scratch[self] = kept.get(inputs, timestep, self.lasts, compute)

    def _compute(self, call: Call, context: Tensor, masked: Tensor) -> dict[int, Prepared]:
        hint = call.once((self, "hint"), lambda: self._entry(call.x))
        entry = call.per_image(hint, "The hint")
        if self.method.config.hint == "pixels":
            entry = entry + masked
        return self.method.prepared(self.method.features(entry, call.select(call.timesteps), context), self.strength)

    def _entry(self, like: Tensor) -> Tensor:
        hint = self.hint.to(device=like.device, dtype=like.dtype)
        return self.method.adapter(hint) if self.method.config.hint == "pixels" else hint

    def change(self, k: int, h: Tensor, call: Call) -> Tensor:
        """h_k with the hint."""
        return self.method.fuse[str(k)](h, call.scratch[self][k], call.attend)

    def _check_size(self, call: Call) -> None:
        scale = 8 if self.method.config.hint == "pixels" else 1
        got, wanted = self.hint.shape[-2:], [side * scale for side in call.x.shape[-2:]]
        if list(got) != wanted:
            given, here = (f"{w * 8 // scale} x {h * 8 // scale}" for h, w in (got, wanted))
            raise ValueError(
                f"The hint is {given} pixels, but what is sampled here is {here}: a hint covers the whole picture, so give it the size of the "
                "picture, and do not combine it with area conditioning or tiled sampling."
            )
