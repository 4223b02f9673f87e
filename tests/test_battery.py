"""The battery of ten that every method must pass on the real host (DESIGN, "Tests"), written once.

Point 8 (agreement with a slow, independent version of the equations) is in each method's own test file.
"""

import gc

import pytest
import torch

from . import cases
from .support import close, needs_deep_copies, prompts, randomise, sample

pytestmark = pytest.mark.usefixtures("comfyui")


@pytest.fixture(scope="module", params=cases.names())
def case(request, comfyui):
    return cases.load(request.param)


@pytest.fixture(scope="module")
def clip(comfyui):
    from fitting_room.host.demo import demo_clip

    return demo_clip()


class Scene:
    """A case with its base model, prompts, an untrained method and one whose every weight counts."""

    def __init__(self, case, clip):
        self.case, self.base = case, case.base()
        self.untrained = case.make(self.base)
        self.method = randomise(case.make(self.base))
        self.texts = prompts(clip)

    def conditions(self, rows=1):
        return self.case.conditions(*self.texts, rows)

    def run(self, model, batch=1, rows=1, conditions=None, **options):
        positive, negative = conditions or self.conditions(rows)
        return sample(model, positive, negative, batch=batch, **options)

    def apply(self, **options):
        return self.case.apply(self.base, self.method, **options)


@pytest.fixture(scope="module")
def scene(case, clip):
    return Scene(case, clip)


@pytest.fixture(scope="module")
def plain(scene):
    return scene.run(scene.base)


@pytest.fixture(scope="module")
def fitted(scene):
    return scene.run(scene.apply())


def test_untrained_changes_nothing(scene, plain):
    if scene.case.lets_through:
        pytest.skip(scene.case.lets_through)
    assert torch.equal(scene.run(scene.case.apply(scene.base, scene.untrained)), plain)


def test_strength_zero_changes_nothing(scene, plain):
    assert torch.equal(scene.run(scene.apply(strength=0.0)), plain)


def test_it_changes_the_picture_and_repeats_itself(scene, plain, fitted):
    assert not close(fitted, plain, 1e-3)
    model = scene.apply()
    assert torch.equal(scene.run(model), fitted) and torch.equal(scene.run(model), fitted)


def test_installing_leaves_the_given_model_alone(scene, plain):
    before = repr(scene.base.model_options), repr(scene.base.wrappers), list(scene.base.additional_models)
    first = scene.apply()
    scene.case.apply(first, scene.method, strength=0.5)
    assert (repr(scene.base.model_options), repr(scene.base.wrappers), list(scene.base.additional_models)) == before
    assert torch.equal(scene.run(scene.base), plain)


def test_two_clones_do_not_cross(scene, fitted):
    one, other = scene.apply(), scene.apply(strength=0.5)
    half = scene.run(other)
    assert torch.equal(scene.run(one), fitted) and torch.equal(scene.run(other), half) and not torch.equal(half, fitted)


def test_every_declared_site_is_reached(scene):
    from fitting_room.host import denoiser

    model, reached = scene.apply(), {}
    installs = [w for w in model.get_wrappers(denoiser.WRAPPERS.DIFFUSION_MODEL, denoiser.KEY)]
    for install in installs:
        for kind in scene.case.parts:
            functions = getattr(install.patches, kind)
            if functions is None:  # a method may install several values, each with its own part
                continue
            entries = functions if isinstance(functions, dict) else {kind: functions}
            for site, function in entries.items():
                def counted(*args, function=function, kind=kind, site=site):
                    reached.setdefault(kind, set()).add(site)
                    return function(*args)

                if isinstance(functions, dict):
                    functions[site] = counted
                else:
                    object.__setattr__(install.patches, kind, counted)
    scene.run(model, steps=1)
    assert {kind: len(sites) for kind, sites in reached.items()} == scene.case.parts


def test_gradient_reaches_exactly_the_declared_parameters(scene):
    from fitting_room.host import LoadedMethod, layers

    cls, config = type(scene.method.module), scene.method.module.config
    with torch.inference_mode(False), torch.enable_grad():
        module = cls(config, layers(training=True, dtype=torch.float32))
        module.load_state_dict({k: v.clone() for k, v in scene.method.module.state_dict().items()})
        model = scene.case.apply(scene.base, LoadedMethod(module, scene.method.header, scene.method.patcher, scene.method.unets))
        eps = forward(scene, model)
        (eps**2).mean().backward()
    untouched = {n for n, p in module.named_parameters() if p.grad is None or not p.grad.any()}
    declared = {n for n, _ in module.named_parameters() if n.startswith(scene.case.silent)} if scene.case.silent else set()
    assert untouched == declared


def forward(scene, model):
    """One forward of the host's U-Net with the model's patches, outside sampling, as training does it."""
    from fitting_room.host import trainable_unet

    unet, options = trainable_unet(model)
    positive, _ = scene.conditions()
    conds = {k: v.cond.clone() for k, v in positive[0][1].get("model_conds", {}).items()}
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(1, 4, 16, 12, generator=generator)
    concat = positive[0][1].get("noise_concat")
    x = x if concat is None else torch.cat([x, concat.clone()], 1)
    return unet(x, torch.tensor([400.0]), context=positive[0][0].clone(), transformer_options=options, **conds)


def test_every_knob_changes_the_picture(scene, fitted):
    for name, knob in scene.case.knobs.items():
        assert not close(scene.run(scene.apply(**knob)), fitted, 1e-4), f"the knob '{name}' is not connected"


def test_conditional_and_unconditional_swapped_gives_the_output_swapped(scene):
    """guided = u + s (c - u): with s = 0 the method must be gone, with s = 1 it is all there is."""
    model, (positive, negative) = scene.apply(), scene.conditions()
    if scene.case.all_rows:
        pytest.skip("the unconditional rows take part in this method")
    plain_uncond = scene.run(scene.base, cfg=0.0)
    assert torch.equal(scene.run(model, cfg=0.0), plain_uncond) or close(scene.run(model, cfg=0.0), plain_uncond, 1e-5)
    swapped = scene.run(model, conditions=(negative, positive), cfg=0.0)
    assert close(swapped, scene.run(scene.base, conditions=(negative, positive), cfg=0.0), 1e-5)


def test_a_batch_of_two_equals_two_singles(scene):
    import comfy.sample

    both = scene.run(scene.apply(), batch=2)
    noise = comfy.sample.prepare_noise(torch.zeros(2, 4, 16, 12), 1)
    for row in range(2):
        alone = sample_with_noise(scene, noise[row : row + 1])
        assert close(both[row : row + 1], alone)


def sample_with_noise(scene, noise):
    import comfy.sample

    positive, negative = scene.conditions()
    latent = torch.zeros_like(noise)
    with torch.inference_mode():
        return comfy.sample.sample(scene.apply(), noise, 3, 5.0, "ddim", "normal", positive, negative, latent, disable_pbar=True, seed=1)


def test_save_load_equal(scene, fitted, tmp_path):
    from fitting_room.host import file_tensors
    from fitting_room.models import weights
    from fitting_room.nodes.load import load

    path = weights.write(tmp_path / "method.safetensors", file_tensors(scene.method), scene.method.header)
    again = load(str(path))
    assert again.header == scene.method.header
    assert torch.equal(scene.run(scene.case.apply(scene.base, again)), fitted)


def test_a_file_that_lacks_a_key_is_refused_by_name(scene, tmp_path):
    from fitting_room.host import file_tensors
    from fitting_room.models import weights
    from fitting_room.nodes.load import load

    tensors = file_tensors(scene.method)
    lost = sorted(k for k in tensors if not k.endswith("alpha"))[0]
    path = weights.write(tmp_path / "short.safetensors", {k: v for k, v in tensors.items() if k != lost}, scene.method.header)
    with pytest.raises(weights.WeightsError, match="short.safetensors"):
        load(str(path))


def test_half_precision_weights_are_cast_where_they_are_used(scene, fitted):
    """The host may keep weights in another dtype, or on another device, and cast them at each call."""
    from fitting_room.host import build_method, file_tensors

    tensors = {k: v.half() if v.is_floating_point() and v.ndim else v for k, v in file_tensors(scene.method).items()}
    half = build_method(type(scene.method.module), scene.method.header, tensors, "half")
    assert all(p.dtype == torch.float16 for p in half.module.parameters() if p.ndim)
    assert close(scene.run(scene.case.apply(scene.base, half)), fitted, 0.1)


def test_partly_loaded_weights_give_the_same_picture(scene, fitted):
    """As under --lowvram: what does not fit stays where it was and is cast at each call."""
    patcher = scene.method.patcher
    patcher.load(patcher.load_device, lowvram_model_memory=1)
    try:
        assert close(scene.run(scene.apply()), fitted, 1e-5)
    finally:
        patcher.detach()


def test_a_deep_copy_is_equal_and_its_own(scene):
    """Training and several GPUs ask the host for one; it comes back through cached_patcher_init."""
    needs_deep_copies()
    copied, own = scene.untrained.patcher.clone(force_deepcopy=True).model, scene.untrained.module
    assert copied is not own
    assert copied.state_dict().keys() == own.state_dict().keys()
    assert all(torch.equal(copied.state_dict()[k], v) for k, v in own.state_dict().items())


def test_every_weight_sits_in_a_layer_the_host_can_move(scene):
    """Raw parameters must be read through `cast`; the half-precision test above would fail otherwise."""
    import comfy.ops

    for name, module in scene.method.module.named_modules():
        own = [p for p, _ in module.named_parameters(recurse=False)]
        castable = isinstance(module, comfy.ops.CastWeightBiasOp)
        assert castable or all("." not in p for p in own) and len(own) <= 1, f"{name or 'the module'} holds {own} outside the host's layers"


def test_company(scene, fitted):
    """A LoRA, a ControlNet and another node's attention patch, before or after: both orders give the same picture."""
    from fitting_room.host.demo import demo_lora

    def scaled(n, options):
        return n * 0.9

    for name, other in (("a LoRA", lambda m: demo_lora(m, 0.8)), ("an attention patch", lambda m: patched(m, scaled))):
        before = scene.run(scene.case.apply(other(scene.base), scene.method))
        after = scene.run(other(scene.apply()))
        assert not close(after, fitted, 1e-4), name
        if name != "a LoRA" or not scene.method.unets:  # what is captured through the model sees a LoRA only if it comes first
            assert close(before, after, 0.5), name
    controlled = scene.run(scene.apply(), conditions=with_controlnet(scene))
    assert not close(controlled, fitted, 1e-4)


def patched(model, function):
    out = model.clone()
    out.set_model_patch(function, "attn1_output_patch")
    return out


def with_controlnet(scene):
    import nodes
    from fitting_room.host.demo import demo_controlnet

    positive, negative = scene.conditions()
    hint = torch.rand(1, 128, 96, 3, generator=torch.Generator().manual_seed(5))
    with torch.inference_mode():
        return nodes.ControlNetApplyAdvanced().apply_controlnet(positive, negative, demo_controlnet(scene.base), hint, 0.8, 0.0, 1.0)


@pytest.mark.parametrize("node", ["PAG", "SAG", "HyperTile", "ToMe", "FreeU"])
def test_other_nodes_of_the_host_work_before_and_after(scene, fitted, node):
    other = host_nodes()[node]
    for model in (other(scene.apply()), scene.case.apply(other(scene.base), scene.method)):
        try:
            result = scene.run(model, steps=2)
        except ValueError as error:
            assert "Fitting Room" in str(error) or "node" in str(error)  # says clearly why not
            continue
        assert torch.isfinite(result).all()
        assert not close(result, scene.run(other(scene.base), steps=2), 1e-5)


def host_nodes():
    """The host's own model-patching nodes, as functions MODEL -> MODEL."""
    from comfy_extras import nodes_freelunch, nodes_hypertile, nodes_pag, nodes_sag, nodes_tomesd

    def call(cls, *args):
        method = getattr(cls, "execute", None)
        result = method(*args) if method is not None else getattr(cls(), cls.FUNCTION)(*args)
        return result[0]

    return {
        "PAG": lambda m: call(nodes_pag.PerturbedAttentionGuidance, m, 3.0),
        "SAG": lambda m: call(nodes_sag.SelfAttentionGuidance, m, 0.5, 2.0),
        "HyperTile": lambda m: call(nodes_hypertile.HyperTile, m, 64, 2, 0, False),
        "ToMe": lambda m: call(nodes_tomesd.TomePatchModel, m, 0.3),
        "FreeU": lambda m: call(nodes_freelunch.FreeU, m, 1.1, 1.2, 0.9, 0.2),
    }


def test_interruption_leaves_nothing_behind(scene, fitted):
    import comfy.model_management as management

    def cancel(step, *_):
        management.interrupt_current_processing(True)

    model = scene.apply()
    with pytest.raises(management.InterruptProcessingException):
        scene.run(model, callback=cancel)
    management.interrupt_current_processing(False)
    assert leftovers() == []
    assert torch.equal(scene.run(model), fitted)


def test_sampling_leaves_nothing_behind(scene):
    scene.run(scene.apply())
    assert leftovers() == []


def leftovers():
    """What belongs to one generation and is still alive."""
    from fitting_room.host.denoiser import Forward
    from fitting_room.models.parts.patches import Call, Memo

    gc.collect()
    return [type(o).__name__ for o in gc.get_objects() if isinstance(o, (Memo, Call, Forward))]
