"""IGR's nodes on the real host: the whole chain, what stays loaded, other IP-Adapters on the same model, and bad input."""

import logging

import pytest
import torch
from fitting_room.models.parts.sites import SITES

from ..support import close, sample

pytestmark = pytest.mark.usefixtures("comfyui")
OPTIONS = {"clip_width": 64}


class Stack:
    """The demo stack, an untrained IGR, a person with a mask, and the nodes."""

    def __init__(self):
        from fitting_room import host
        from fitting_room.models.igr import IGR
        from fitting_room.nodes import igr

        self.nodes, self.host = igr, host
        self.model, self.clip, self.vae, _ = host.demo_stack()
        self.method = host.new_method(IGR, self.model, 0, OPTIONS)
        self.vision = host.demo_vision("clip")
        self.person = torch.rand(1, 120, 80, 3, generator=torch.Generator().manual_seed(2))
        self.mask = torch.zeros(1, 120, 80)
        self.mask[:, 40:90, 20:60] = 1.0

    def extract(self, **options):
        given = {"method": self.method, "vae": self.vae, "image": self.person, "mask": self.mask, "category": "upper", "width": 96, "height": 128, "clip": self.clip}
        return run(self.nodes.GarmNetExtractor, **{**given, **options})

    def encode(self, **options):
        given = {"method": self.method, "clip_vision": self.vision, "image": self.person, "mask": self.mask}
        return run(self.nodes.EncodeGarmentTokens, **{**given, **options})

    def apply(self, **options):
        given = {
            "model": self.model, "method": self.method, "reference": self.reference, "tokens": self.tokens,
            "strength": 1.0, "token_strength": 1.0, "start_percent": 0.0, "end_percent": 1.0,
        }
        return run(self.nodes.ApplyIGR, **{**given, **options})

    def prompt(self, category="upper", **options):
        return run(self.nodes.CategoryPrompt, clip=self.clip, category=category, **options)

    def restore(self, model, **options):
        return sample(model, self.prompt(), self.host.encode_text(self.clip, ""), cfg=1.5, steps=2, **options)


def run(node, **inputs):
    with torch.inference_mode():
        return node.execute(**inputs)[0]


@pytest.fixture(scope="module")
def stack(comfyui):
    made = Stack()
    made.reference, made.tokens = made.extract(), made.encode()
    return made


def test_the_chain_restores_and_repeats_itself(stack):
    plain, model = stack.restore(stack.model), stack.apply()
    found = stack.restore(model)
    assert not close(found, plain, 1e-2) and torch.equal(stack.restore(model), found)
    assert torch.equal(stack.restore(stack.apply(strength=0.0, token_strength=0.0)), plain)
    assert not close(stack.restore(stack.apply(tokens=None)), found, 1e-3)
    assert torch.isfinite(stack.restore(model, size=(8, 24))).all()  # the picture need not have the person's size


def test_the_reference_knows_its_category_and_size_and_has_all_sites(stack):
    (reference,) = stack.reference
    assert (reference.method, reference.slot, reference.size) == ("igr", "upper", (128, 96))
    assert [f.shape[1] for f in reference.features.values()] == [192, 192, 48, 48, 12, 12, 4, 12, 12, 12, 48, 48, 48, 192, 192, 192]
    lower = stack.extract(category="lower")[0]
    assert not close(lower.features[SITES[3]], reference.features[SITES[3]], 1e-3)  # GarmNet reads the category's prompt
    assert len(stack.extract(image=stack.person.expand(2, -1, -1, -1))[0].features[SITES[0]]) == 2


def test_two_persons_in_a_batch_equal_two_single_runs(stack):
    import comfy.sample

    persons = torch.cat((stack.person, stack.person.flip(1)))
    noise = comfy.sample.prepare_noise(torch.zeros(2, 4, 16, 12), 1)

    def restore(image, noise):
        model = stack.apply(reference=stack.extract(image=image), tokens=stack.encode(image=image))
        texts = stack.prompt(), stack.host.encode_text(stack.clip, "")
        with torch.inference_mode():
            return comfy.sample.sample(model, noise, 2, 1.5, "ddim", "normal", *texts, torch.zeros_like(noise), disable_pbar=True, seed=1)

    both = restore(persons, noise)
    for row in (0, 1):
        assert close(both[row : row + 1], restore(persons[row : row + 1], noise[row : row + 1]), 1e-4)
    assert not close(both[:1], restore(persons[1:], noise[:1]), 1e-3)
    with pytest.raises(ValueError, match="2 pictures but the latent batch has 3"):
        restore(persons, comfy.sample.prepare_noise(torch.zeros(3, 4, 16, 12), 1))


def test_garmnet_is_out_of_memory_before_sampling_unless_it_shall_stay(stack):
    import comfy.model_management as management

    def loaded():
        return any(m.model is not None and m.model.is_clone(stack.method.unets["garmnet"]) for m in management.current_loaded_models)

    stack.extract(keep_loaded=True)
    assert loaded()
    stack.extract()
    assert not loaded()
    stack.restore(stack.apply())
    assert not loaded()


@torch.no_grad()
def test_tokens_and_their_null_are_the_official_ones(stack):
    from fitting_room.models.igr import IGR
    from fitting_room.preprocess.garment_crop import crop_garment

    crop = crop_garment(stack.person, stack.mask[:, None])
    zero = torch.zeros(1, 3, 224, 224)
    project = stack.method.module.image_proj
    hidden = stack.vision.encode_image(crop, crop=True)["penultimate_hidden_states"]  # square, so the host's crop takes nothing
    assert stack.tokens.tokens.shape == (1, 16, 64) and close(stack.tokens.tokens, project(hidden), 1e-5)
    assert close(stack.tokens.null, project(stack.vision.model(pixel_values=zero, intermediate_output=-2)[1]), 1e-5)
    base = stack.host.new_method(IGR, stack.model, 0, {**OPTIONS, "adapter": "base"})
    tokens = stack.encode(method=base)
    assert tokens.tokens.shape == (1, 4, 64)
    assert close(tokens.tokens, base.module.image_proj(stack.vision.encode_image(crop)["image_embeds"]), 1e-5)
    assert close(tokens.null, base.module.image_proj(torch.zeros(1, 64)), 1e-5)


def test_the_prompt_is_the_categorys_in_the_words_of_the_file(stack):
    from fitting_room.models.igr import IGR

    german = stack.host.new_method(IGR, stack.model, 0, {**OPTIONS, "prompts": ["oben", "unten", "ganz"]})
    for method, category, text in ((None, "full", "a photo of a full body garment"), (german, "lower", "unten")):
        assert torch.equal(stack.prompt(category, method=method)[0][0], stack.host.encode_text(stack.clip, text)[0][0])


def test_the_denoiser_of_a_file_comes_out_as_a_model(stack):
    own = stack.host.LoadedMethod(stack.method.module, stack.method.header, stack.method.patcher, {"denoiser": stack.model})
    other = stack.model.clone()
    assert run(stack.nodes.MethodModel, method=own, model=other) is stack.model
    assert run(stack.nodes.MethodModel, method=stack.method, model=other) is other
    with pytest.raises(ValueError, match="no denoiser"):
        run(stack.nodes.MethodModel, method=stack.method)


# ---- other IP-Adapters on the same model -----------------------------------------------------------------------------------


class ChainedAttention:
    """What packs of IP-Adapters put into the cross-attention's one replace slot: an object that others add themselves to."""

    def __init__(self, callback):
        self.callbacks = [callback]

    def add(self, callback):
        self.callbacks.append(callback)

    def __call__(self, q, k, v, extra_options):
        from comfy.ldm.modules.attention import optimized_attention

        out = optimized_attention(q, k, v, extra_options["n_heads"])
        return sum((callback(out, q, k, v, extra_options) for callback in self.callbacks), out)


def other_adapter(model, seed):
    """A clone of the model that carries another IP-Adapter, installed the way such packs do it: `.add` on whoever holds the slot."""
    from comfy.ldm.modules.attention import optimized_attention

    out, generator = model.clone(), torch.Generator().manual_seed(seed)
    for site in SITES:
        tokens = torch.randn(1, 4, 32 * site.multiple, generator=generator)

        def look(result, q, k, v, extra_options, tokens=tokens):
            rows = q.shape[0] // len(extra_options["cond_or_uncond"])
            term = optimized_attention(q, tokens.expand(len(q), -1, -1), tokens.expand(len(q), -1, -1), extra_options["n_heads"])
            for number, kind in enumerate(extra_options["cond_or_uncond"]):
                term[number * rows : (number + 1) * rows] *= 0.5 * (kind == 0)
            return term

        held = out.model_options["transformer_options"].setdefault("patches_replace", {}).get("attn2", {})
        key = (site.stage, site.block)
        if key in held:
            held[key].add(look)
        else:
            out.set_model_attn2_replace(ChainedAttention(look), *key)
    return out


def test_a_model_with_another_ip_adapter_works_in_either_order(stack):
    fitted, alone = stack.restore(stack.apply()), stack.restore(other_adapter(stack.model, 1))
    before, after = stack.restore(stack.apply(model=other_adapter(stack.model, 1))), stack.restore(other_adapter(stack.apply(), 1))
    assert close(before, after, 1e-4)
    assert not close(before, fitted, 1e-3) and not close(before, alone, 1e-3)
    two = stack.restore(other_adapter(other_adapter(stack.apply(), 1), 2))
    assert close(two, stack.restore(stack.apply(model=other_adapter(other_adapter(stack.model, 1), 2))), 1e-4) and not close(two, before, 1e-3)


def test_the_term_beside_a_replaced_cross_attention_is_the_same_term(stack):
    """A replace object that adds nothing leaves exactly IGR's picture."""
    silent = stack.model.clone()
    for site in SITES:
        silent.set_model_attn2_replace(ChainedAttention(lambda out, *_: torch.zeros_like(out)), site.stage, site.block)
    assert close(stack.restore(stack.apply(model=silent)), stack.restore(stack.apply()), 1e-4)


# ---- the models/ipadapter folder ---------------------------------------------------------------------------------------------


@pytest.fixture
def adapter_folder(stack, tmp_path, monkeypatch):
    import folder_paths

    paths, suffixes = folder_paths.folder_names_and_paths.get("ipadapter", ([], set()))
    monkeypatch.setitem(folder_paths.folder_names_and_paths, "ipadapter", ([str(tmp_path), *paths], suffixes))
    monkeypatch.setattr(folder_paths, "filename_list_cache", {})
    return tmp_path


def test_the_folder_keeps_the_paths_that_are_there(comfyui, monkeypatch):
    import folder_paths
    from fitting_room.host import register_folders

    monkeypatch.setitem(folder_paths.folder_names_and_paths, "ipadapter", (["/of/the/user"], {".pth"}))
    register_folders()
    register_folders()
    paths, suffixes = folder_paths.folder_names_and_paths["ipadapter"]
    assert paths[0] == "/of/the/user" and len(paths) == 2 and paths[1].endswith("ipadapter") and {".pth", ".safetensors", ".bin"} <= suffixes


def test_an_adapter_joins_a_method_or_stands_alone(stack, adapter_folder):
    from safetensors.torch import save_file

    donor = stack.host.new_method(type(stack.method.module), stack.model, 9, {**OPTIONS, "adapter": "base", "garmnet": False})
    save_file(donor.module.state_dict(), adapter_folder / "ip-adapter_demo.safetensors")
    with torch.inference_mode():
        joined, about = stack.nodes.LoadGarmentAdapter.execute("ip-adapter_demo.safetensors", stack.method).result
    assert joined.unets is not stack.method.unets and joined.unets["garmnet"] is stack.method.unets["garmnet"]
    assert joined.module.config.prompts == stack.method.module.config.prompts and "base, 4 tokens" in about
    tokens = stack.encode(method=joined)
    assert not close(stack.restore(stack.apply(method=joined, tokens=tokens)), stack.restore(stack.apply()), 1e-3)
    alone = run(stack.nodes.LoadGarmentAdapter, file="ip-adapter_demo.safetensors")
    assert alone.unets == {} and torch.equal(stack.encode(method=alone).tokens, tokens.tokens)
    with pytest.raises(ValueError, match="no GarmNet"):
        stack.extract(method=alone)


# ---- bad input -----------------------------------------------------------------------------------------------------------------


def test_bad_input_gets_one_sentence(stack):
    from fitting_room.models.anydressing import AnyDressing
    from fitting_room.models.igr import IGR
    from fitting_room.models.parts.reference import Reference

    other = stack.host.new_method(AnyDressing, stack.model, 0, {"rank": 2})
    wide = stack.host.new_method(IGR, stack.model, 0, {})
    alpha = torch.cat((stack.person, stack.person[..., :1]), -1)
    foreign = [Reference("anydressing", "upper", stack.reference[0].features, (0, 0))]
    for call, words in [
        (lambda: stack.extract(mask=stack.mask * 0), "mask is empty"),
        (lambda: stack.extract(image=alpha), "alpha channel"),
        (lambda: stack.extract(clip=None), "connect the checkpoint's CLIP"),
        (lambda: stack.extract(method=other), "IGR is needed"),
        (lambda: stack.extract(width=100), "multiples of 8"),
        (lambda: stack.extract(image=stack.person * float("nan")), "NaN"),
        (lambda: stack.encode(method=wide), "64 wide, and the plus adapter of this file needs 1280; load CLIP ViT-H"),
        (lambda: stack.encode(clip_vision=stack.host.demo_vision("dinov2")), "dinov2"),
        (lambda: stack.encode(mask=stack.mask * 0), "mask is empty"),
        (lambda: stack.apply(reference=foreign), "captured by anydressing"),
        (lambda: stack.apply(method=other), "IGR is needed"),
    ]:
        with pytest.raises(ValueError, match=words):
            call()
    assert stack.nodes.GarmNetExtractor.validate_inputs(width=100) is not True
    assert stack.nodes.ApplyIGR.validate_inputs(start_percent=0.6, end_percent=0.5) is not True


def test_a_mask_of_another_size_is_said_so(stack, caplog):
    caplog.set_level(logging.INFO)
    stack.extract(mask=stack.mask[:, ::2, ::2])
    assert any("was resized" in r.getMessage() for r in caplog.records)
