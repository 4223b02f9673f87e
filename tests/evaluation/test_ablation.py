"""Ablations: what is declared fits the methods, the drawn source tells the truth, measures see what they should, and a sweep runs and goes on."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from fitting_room.evaluation.ablation import Ablation, Budget, Variant, held_out_source, run, settings, training_source
from fitting_room.evaluation.ablations import ABLATIONS, DEMO
from fitting_room.evaluation.judge import box_of
from fitting_room.evaluation.measures import LABELS, MEASURES, PRINTED, Results, correlation, edges, every_garment, flat_garment, iou, legibility, pixels, prints, usual_boxes, worn_garment
from fitting_room.evaluation.report import figure, markdown, shown, summary, write
from fitting_room.evaluation.world import DRAWN, HELD_OUT, DrawnSource
from fitting_room.models.registry import METHODS
from fitting_room.training.tasks import task_class

SMALL = Budget(steps=2, batch=2, samples=4, held_out=3, sampling_steps=2)


# ---- what is declared ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [*ABLATIONS, *DEMO])
def test_every_variant_is_one_that_the_method_knows(name):
    ablation = {**ABLATIONS, **DEMO}[name]
    method, task = METHODS[ablation.method], task_class(ablation.method)
    names = [v.name for v in ablation.variants]
    assert len(names) == len(set(names)) and ablation.main in LABELS and ablation.limits and ablation.paper
    assert set(ablation.measures) <= set(MEASURES)
    for variant in ablation.variants:
        assert variant.weights in ("trained", "untrained", "truth", "bundled", *names)
        for stage in range(len(variant.stages) + 1):
            config = settings(ablation, variant, SMALL, 7, stage)
            assert set(config.losses) <= set(method.loss_weights) and set(config.options) <= {*method.loss_options, *task.options}
            assert config.seed == 7 and config.trainable in method.trainable
        fields = method.Config.__dataclass_fields__
        assert set(ablation.options) | set(variant.options) <= set(fields)


def test_variants_get_the_same_number_of_steps():
    """An ablation must not compare more training with less: within a table, all trained rows have equal steps."""
    budget = Budget(steps=1000)
    for ablation in ABLATIONS.values():
        totals = {sum(settings(ablation, v, budget, 0, s).steps for s in range(len(v.stages) + 1)) for v in ablation.variants if v.weights == "trained"}
        assert len(totals) == 1, (ablation.name, totals)


def test_stages_change_settings_and_data_one_after_the_other():
    ablation = ABLATIONS["igr"]
    whole = ablation.variant("IGR")
    first, second = (settings(ablation, whole, Budget(steps=100), 0, stage) for stage in (0, 1))
    assert (first.steps, second.steps) == (100, 20) and first.learning_rate == second.learning_rate == ablation.recipe.stages[0][1].learning_rate
    atv = ABLATIONS["sift_vton"].variant("StableVITON with ATV")
    losses = [settings(ABLATIONS["sift_vton"], atv, Budget(steps=100), 0, stage).losses for stage in (0, 1)]
    assert losses[0]["sift"] == losses[1]["sift"] == 0 and "atv" not in losses[0] and losses[1]["atv"] == 0.001
    first, second = (training_source(ablation, whole, Budget(samples=50, batch=2), stage) for stage in (0, 1))
    assert (len(first), len(second)) == (50, 10) and first.flaws == 3 and not first.curated and second.curated
    assert not any(second._flawed(i) for i in range(10)) and sum(first._flawed(i) for i in range(50)) == 16
    places = [second._place(i) for i in range(10)]
    assert places == [0, 1, 3, 4, 6, 7, 9, 10, 12, 13]  # every third is cut close, and left out
    with pytest.raises(ValueError, match="has no variant 'x'; it has truth"):
        ablation.variant("x")


def test_training_and_measuring_share_no_sample():
    for ablation in ABLATIONS.values():
        learned = max((training_source(ablation, v, Budget(samples=20_000)) for v in ablation.variants), key=len)
        assert learned.world.seed + len(learned.world) < HELD_OUT == held_out_source(ablation, Budget()).world.seed


# ---- the drawn source ------------------------------------------------------------------------------------------------------


def test_a_persons_sample_is_what_was_drawn():
    source = DrawnSource("person", 64, 48, 11, 2, garment="lower", outfit="separates", hat=True, hats=True)
    sample, drawn = source.sample(1), source.truth(1)
    assert [i.slot for i in sample.items] == ["lower", "upper", "hat"] and sample.category == "lower"
    assert torch.allclose(sample.person, torch.from_numpy(drawn.image).movedim(-1, 0)) and torch.equal(sample.mask[0], torch.from_numpy(drawn.garments["lower"].agnostic_mask))
    worn = drawn.garments["lower"]
    person, flat = sample.item.matches[:, 0].long(), sample.item.matches[:, 1]
    for (x, y), (u, v) in zip(person[:5].tolist(), flat[:5].tolist()):
        assert worn.source[y, x].tolist() == pytest.approx([u, v], abs=1e-4)
    assert sample.pose.shape == sample.person.shape and sample.name == "person_12" and source.key(0) != source.key(1)
    assert DrawnSource("person", 64, 48, 11, 1, wordless=True).sample(0).caption == "" != DrawnSource("person", 64, 48, 11, 1).sample(0).caption


def test_flawed_persons_are_cut_close():
    """All that belongs to the person moves together: where the cut mask says garment, the cut picture shows the garment's colours."""
    source = DrawnSource("person", 128, 96, 5, 3, flaws=3, outfit="separates", hat=False)
    cut, whole = source.sample(2), DrawnSource("person", 128, 96, 5, 3, outfit="separates", hat=False).sample(2)
    assert not torch.equal(cut.person, whole.person) and torch.equal(source.sample(0).person, DrawnSource("person", 128, 96, 5, 3, outfit="separates", hat=False).sample(0).person)
    inside = [p.person[:, p.item.worn[0] > 0.5].median(1).values for p in (cut, whole)]
    assert (inside[0] - inside[1]).abs().max() < 0.15 and torch.equal(cut.item.picture, whole.item.picture) and cut.item.matches is None
    border = cut.item.worn[0]
    assert border[-1].any() or border[:, 0].any() or border[:, -1].any()


@pytest.mark.parametrize("method", DRAWN)
def test_every_method_finds_what_it_needs(method):
    from fitting_room.data.check import NEEDS, _missing

    sample = DrawnSource(DRAWN[method], 64, 48, 3, 1).sample(0)
    assert not [m for need in NEEDS[method] if (m := _missing(sample, need))]


# ---- measures --------------------------------------------------------------------------------------------------------------


class Kind:
    """Stands where a task stands, for measures that only ask which method it is."""

    def __init__(self, kind):
        self.kind = kind


def results(kind="sift_vton", count=24, made=None, **options):
    source = DrawnSource(DRAWN[kind], 128, 96, HELD_OUT + 5000, count, **options)
    samples = [source.sample(i) for i in range(count)]
    true = torch.stack([s.item.picture if kind == "igr" else s.person for s in samples])
    return Results(source, list(range(count)), true if made is None else made(true), true, Kind(kind))


def mean(values):
    kept = [v for v in values if v is not None]
    return float(np.mean(kept))


def test_true_pictures_are_judged_right_and_others_wrong():
    for kind, measure in (("igr", flat_garment), ("sift_vton", worn_garment)):
        good = measure(results(kind, hat=False))
        swapped = measure(results(kind, hat=False, made=lambda t: t.roll(1, 0)))
        assert mean(good["pattern"]) > 0.9 and mean(good["colour"]) > 0.9, kind
        assert mean(swapped["pattern"]) < 0.6 and mean(swapped["colour"]) < 0.5, kind


def test_garments_that_changed_places_are_confused():
    """Persons drawn with upper and lower swapped in colour: judged with the truth of the unswapped ones."""
    true = results("anydressing", 16, outfit="separates", hat=False)
    found = every_garment(true)
    assert mean(found["colour"]) > 0.8 and mean(found["confused"]) < 0.1
    boxes = usual_boxes(128, 96)
    assert boxes["upper"][1] < boxes["lower"][1] and boxes["upper"].shape == (4,)

    def other_way(pictures):
        swapped = pictures.clone()
        for number, picture in enumerate(swapped):
            worn = true.source.truth(number).garments
            for slot, other in (("upper", "lower"), ("lower", "upper")):
                from fitting_room.data.synthetic.palette import COLOURS

                inside = torch.from_numpy(worn[slot].mask > 0.5)
                picture[:, inside] = torch.from_numpy(COLOURS[worn[other].garment.base])[:, None]
        return swapped

    assert mean(every_garment(replace(true, pictures=other_way(true.pictures)))["confused"]) > 0.35


def test_pixels_measure_inside_the_thing_alone():
    source = results("diffuse_to_choose", 3)
    inside = torch.stack([torch.from_numpy(source.source.truth(i).product_mask > 0.5) for i in range(3)])[:, None]
    outside = pixels(replace(source, pictures=torch.where(inside, source.true, torch.zeros(()))))
    assert all(v > 70 for v in outside["psnr"]) and outside["colour_error"] == pytest.approx([0] * 3, abs=1e-3)
    brighter = pixels(replace(source, pictures=source.true + 0.1))
    assert brighter["psnr"] == pytest.approx([20] * 3, abs=0.01) and brighter["colour_error"] == pytest.approx([0.1 * 3**0.5 * 255] * 3, rel=1e-3)
    assert all(d > 0.99 for d in brighter["detail"])
    flat = pixels(replace(source, pictures=torch.rand(source.true.shape, generator=torch.Generator().manual_seed(0))))
    assert all(abs(d) < 0.5 for d in flat["detail"])


def test_correlation_and_edges_are_the_textbooks():
    a, b = torch.tensor([1.0, 2, 4]), torch.tensor([2.0, 1, 5])
    assert correlation(a, b) == pytest.approx(float(np.corrcoef(a, b)[0, 1])) and correlation(a, torch.ones(3)) is None
    ramp = torch.arange(4.0).expand(3, 5, 4)
    found = edges(ramp)
    assert found.shape == (6, 5, 4) and (found[:3, :, :-1] == 1).all() and (found[:3, :, -1] == 0).all() and (found[3:] == 0).all()
    assert iou(torch.tensor([1, 1, 0]).bool(), torch.tensor([0, 1, 1]).bool()) == pytest.approx(1 / 3) and iou(torch.ones(2).bool(), torch.zeros(2).bool()) is None


def test_a_print_is_legible_where_it_is_and_not_where_it_is_blurred_away():
    seen = results("sift_vton", 40, hat=False, garment="upper")
    good = prints(seen)["legible"]
    printed = [i for i, (_, w, _) in enumerate(seen.garments()) if w.garment.pattern in PRINTED]
    assert [i for i, v in enumerate(good) if v is not None] == [i for i in printed if good[i] is not None] and mean(good) == pytest.approx(1)
    blurred = torch.nn.functional.avg_pool2d(seen.true, 21, 1, 10, count_include_pad=False)
    assert mean(prints(replace(seen, pictures=blurred))["legible"]) < 0.6
    (_, worn, _), picture = list(seen.garments())[printed[0]], seen.true[printed[0]]
    assert legibility(1 - picture, picture, worn) == pytest.approx(-1, abs=1e-4)
    assert legibility(picture, picture, replace(worn, mask=np.zeros_like(worn.mask))) is None and box_of(worn.mask).shape == (4,)


# ---- a sweep ---------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def bench(comfyui):
    from fitting_room import host
    from fitting_room.training.networks import Networks

    return host.Bench(Networks())


def only(name, *variants):
    ablation = ABLATIONS[name]
    return replace(ablation, variants=tuple(v for v in ablation.variants if v.name in variants))


def test_a_sweep_runs_goes_on_and_shares_weights(bench, tmp_path):
    ablation = only("igr_guidance", "guidance 1.5", "guidance 1.0")
    path = run(bench, ablation, SMALL, range(1), tmp_path)
    first = json.loads(path.read_text())
    assert [r["variant"] for r in first["rows"]] == ["guidance 1.5", "guidance 1.0"] and first["rows"][0]["values"]["psnr"] != first["rows"][1]["values"]["psnr"]
    assert all(len(v) == 3 for r in first["rows"] for v in r["values"].values()) and first["machine"]["device"]
    said = []
    run(bench, ablation, SMALL, range(2), tmp_path, say=said.append)
    second = json.loads(path.read_text())
    assert second["rows"][:2] == first["rows"] and [r["seed"] for r in second["rows"]] == [0, 0, 1, 1] and not any("seed 0" in s for s in said)
    assert second["rows"][2]["values"]["psnr"] != first["rows"][0]["values"]["psnr"]
    with pytest.raises(ValueError, match="rows of another budget"):
        run(bench, ablation, replace(SMALL, steps=3), range(1), tmp_path)
    assert (tmp_path / "pictures" / "igr_guidance-guidance-1-5.png").is_file()


def test_the_same_seed_gives_the_same_row_and_missing_networks_are_said(bench, tmp_path):
    ablation = only("anydressing_two", "base", "+ GTL")
    rows = [json.loads(run(bench, ablation, SMALL, range(1), tmp_path / name).read_text()) for name in "ab"]
    assert rows[0]["rows"][0]["values"] == rows[1]["rows"][0]["values"]
    assert "models/metrics" in rows[0]["left_out"]["+ GTL"] and "dists" in rows[0]["left_out"]["+ GTL"]


def test_bundled_weights_are_measured_and_not_trained(bench, tmp_path):
    ablation = DEMO["demo_anydressing"]
    table = json.loads(run(bench, ablation, SMALL, range(1), tmp_path).read_text())
    rows = {r["variant"]: r for r in table["rows"]}
    assert list(rows) == [v.name for v in ablation.variants]
    assert rows["untrained"]["notes"] == ["untrained"] != rows["bundled demo weights"]["notes"]
    assert table["identity"]["bundled"] == bench.bundled("anydressing") != bench.bundled("igr")
    assert rows["bundled demo weights"]["values"] != rows["untrained"]["values"]


def test_frozen_parts_do_not_learn(bench, tmp_path):
    """Without zero cross-attention its layers stay as they start (their outputs zero), and the rest learns; with it they learn."""
    from fitting_room.evaluation import ablation as module
    from fitting_room.training.loop import Hooks

    jewelry = ABLATIONS["pm_jewelry_modules"]
    with bench.learning():
        for name, still in (("without zero cross-attention", True), ("all modules", False)):
            variant = replace(jewelry.variant(name), stages=())
            before, after = (
                dict(module.train(bench, jewelry, replace(variant, weights=w), SMALL, 0, tmp_path / w / name.replace(" ", "-"), Hooks(), None)[1].module.named_parameters())
                for w in ("untrained", "trained")
            )
            same = {part: all(torch.equal(before[k], after[k]) for k in before if k.startswith(part)) for part in ("warp.", "shadow.", "channels.")}
            assert same == {"warp.": still, "shadow.": False, "channels.": False}, name


# ---- the report ------------------------------------------------------------------------------------------------------------


def rows(*means):
    return [{"variant": v, "seed": s, "means": m, "counts": {}, "values": {}, "notes": [], "seconds": {}} for v, s, m in means]


def a_table(ablation):
    names = [v.name for v in ablation.variants[2:4]]
    return {
        "identity": {"budget": {"steps": 5, "batch": 2, "samples": 9, "held_out": 3, "sampling_steps": 4, "width": 96, "height": 128}}, "machine": {"device": "a processor", "stack": "trained"},
        "left_out": {"+ GTL": "it looks through dists."}, "rows": rows((names[0], 0, {"pattern": 0.5, "psnr": 20.0}), (names[0], 1, {"pattern": 0.7, "psnr": 21.0}), (names[1], 0, {"pattern": 0.25, "psnr": None})),
    }, names


def test_the_report_shows_mean_and_spread(tmp_path):
    ablation = ABLATIONS["igr"]
    table, names = a_table(ablation)
    found = summary(table, names)
    assert found[names[0]]["pattern"] == (pytest.approx(0.6), pytest.approx(0.02**0.5), 2) and found[names[1]]["pattern"][1:] == (None, 1) and "psnr" not in found[names[1]]
    text = markdown(ablation, table, "It agrees.")
    assert f"| {names[0]} | 60.0 +- 14.1 | 20.5 +- 0.7 |" in text and f"| {names[1]} | 25.0 |  |" in text
    assert "It agrees." in text and "What this cannot tell" in text and "Left out: + GTL" in text and "--seeds 2 --steps 5" in text
    assert shown("psnr", 21.04, None) == "21.0" and shown("shadow_iou", 0.5, 0.01) == "50.0 +- 1.0" and shown("detail", 0.25, 0.1) == "0.250 +- 0.100"


def test_figures_and_the_report_are_written(tmp_path):
    pytest.importorskip("matplotlib")
    from PIL import Image

    ablation = ABLATIONS["igr"]
    table, names = a_table(ablation)
    assert figure(ablation, table)[:8] == b"\x89PNG\r\n\x1a\n"
    with pytest.raises(ValueError, match="There are no rows"):
        write(list(ABLATIONS.values()), tmp_path)
    (tmp_path / "igr.json").write_text(json.dumps(table))
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "igr.md").write_text("Seen and said.")
    text = write(list(ABLATIONS.values()), tmp_path).read_text()
    assert "![IGR" in text and "Seen and said." in text and Image.open(tmp_path / "igr.png").width > 600
    (tmp_path / "igr.json").write_text("{}")
    with pytest.raises(ValueError, match="holds no rows of an ablation"):
        write([ablation], tmp_path)


def test_ablations_are_values():
    assert isinstance(ABLATIONS["igr"], Ablation) and isinstance(ABLATIONS["igr"].variants[0], Variant)
