"""Which snapshot, rate and experiment is best, and how that is told."""

import json
from dataclasses import asdict
from types import SimpleNamespace

import numpy as np
import pytest

from data_prep.common.errors import InputError
from data_prep.common.images import read_photo, write_image
from prototxt.catalog import Net
from tools.evaluation.estimates import Estimate, estimate
from tools.evaluation.metrics import MatteErrors
from tools.experiments import ablation as ablate
from tools.experiments import learning_rates as tune_lr
from tools.training import selection
from tools.training.selection import Point, best_point, validation_portraits
from tools.training.stages import Stage, stages_of

NAMES = MatteErrors.names()


def errors(gradient, sad):
    values = dict.fromkeys(NAMES, 1.0) | {"dapm_gradient": gradient, "sad": sad}
    return {name: Estimate(value, 0.1 * value, None) for name, value in values.items()}


def point(stage, iteration, gradient, sad):
    return Point(stage, iteration, f"net_iter_{iteration}.caffemodel", errors(gradient, sad))


def test_the_best_snapshot_of_a_stage_is_taken():
    points = [
        point(0, 10, 1e-3, 3),
        point(1, 10, 2e-3, 5),
        point(1, 20, 1.5e-3, 4),
        point(1, 30, 1.6e-3, 4),
    ]
    assert best_point(points, 1) is points[2]
    assert best_point(points, 0) is points[0]
    with pytest.raises(InputError, match="no snapshot"):
        best_point(points, 2)


def test_of_equals_the_earliest():
    points = [point(0, 30, 1e-3, 4), point(0, 20, 1e-3, 4)]
    assert best_point(points, 0).iteration == 20


def test_a_gray_person_is_not_chosen_for_its_small_gradients():
    gray, sharp = point(0, 10, 3.4e-3, 240), point(0, 20, 5.6e-3, 37)
    assert best_point([gray, sharp], 0) is sharp


def test_every_person_is_among_the_validation_photos(tmp_path):
    for kind, pixels in (("images", (4, 4, 3)), ("mattes", (4, 4))):
        suffix = "jpg" if kind == "images" else "png"
        for i in range(10):
            write_image(tmp_path / kind / f"p{i}.{suffix}", np.full(pixels, i, np.uint8))
    (tmp_path / "train.txt").write_text("p0\n")
    (tmp_path / "test.txt").write_text("p1\n")
    with pytest.raises(InputError, match="has no validation people"):
        validation_portraits(tmp_path)
    (tmp_path / "validation.txt").write_text("".join(f"p{i}\n" for i in range(2, 10)))
    assert [p.stem for p in validation_portraits(tmp_path, 2)] == ["p2", "p4", "p6", "p8"]


def test_every_snapshot_is_a_point_of_the_curve(tmp_path, monkeypatch):
    stages = [Stage(tmp_path, tmp_path / name, 20, tmp_path) for name in ("warm", "end")]
    for stage in stages:
        for iteration in (10, 20):
            weights = stage.prefix.with_name(f"{stage.prefix.name}_iter_{iteration}.caffemodel")
            weights.touch(), weights.with_suffix(".solverstate").touch()
    monkeypatch.setattr(selection, "validation_portraits", lambda *a: [None] * 7)
    seen = []

    def measured(name, net, weights, *rest):
        seen.append(name)
        return errors(1e-3 * len(seen), 4)

    monkeypatch.setattr(selection, "mean_errors_of_weights", measured)
    points = selection.learning_curve("net", stages, tmp_path, out=tmp_path / "out")
    assert [(p.stage, p.iteration) for p in points] == [(0, 10), (0, 20), (1, 10), (1, 20)]
    assert len(set(seen)) == 4
    written = json.loads((tmp_path / "out/net.json").read_text())
    assert written["images"] == 7 and written["points"] == [asdict(p) for p in points]
    assert best_point(points, 1).iteration == 10


# --- learning rates ---------------------------------------------------------------


def rate(value, gradient=None, sad=4.0):
    found = None
    if gradient:
        found = {name: asdict(each) for name, each in errors(gradient, sad).items()}
    last = 0.2 if found else float("nan")
    return {
        "rate": value,
        "curve": [(0, 0.4), (10, last)],
        "train": (0.4, last),
        "test": last,
        "stable": bool(found),
        "errors": found,
    }


def rates_report():
    rates = [rate(1e-3), rate(1e-4, 1.5e-3), rate(1e-5, 2e-3)]
    return {"net": "n", "iterations": 9, "images": 3, "machine": {"date": "d"}, "rates": rates}


def test_the_best_rate_is_a_stable_one():
    report = rates_report()
    rates = report["rates"]
    assert tune_lr.best_rate(rates) == 1e-4
    assert tune_lr.best_rate(rates[:1]) is None
    lines = tune_lr.rates_table(report).splitlines()
    assert "blew up" in lines[-3] and "not finite" in lines[-3]
    assert lines[-2].startswith("| 1e-04 (best) | 0.4000 → 0.2000 (-50%) | 0.2000 |")
    assert "| 1.500 ± 0.150 | 4.000 ± 0.400 |" in lines[-2]


def test_the_documents_need_nothing_but_the_report(tmp_path, monkeypatch):
    paths = {"RESULTS": "results.json", "DOCS": "training.md", "FIGURE": "rates.png"}
    for name, file in paths.items():
        monkeypatch.setattr(tune_lr, name, tmp_path / file)
    begin, end = "<!-- tune-lr: written by `make tune-lr` -->", "<!-- /tune-lr -->"
    (tmp_path / "training.md").write_text(f"{begin}\n{end}\n")
    tune_lr.write_report(tmp_path / "results.json", rates_report())
    assert tune_lr.main(["docs"]) == 0
    assert "![learning rates](rates.png)" in (tmp_path / "training.md").read_text()
    assert read_photo(tmp_path / "rates.png").std() > 10  # something is drawn


# --- ablation ---------------------------------------------------------------------


def errors_like(values):
    return {f"p{i}": MatteErrors(*[value] * 6) for i, value in enumerate(values)}


def test_rows_are_compared_with_the_recipe_image_by_image():
    generator = np.random.default_rng(0)
    base = 1e-3 * generator.uniform(1, 2, 8)
    other = base + 1e-4 * generator.uniform(-1, 3, 8)
    experiments = ablate.chosen(["base", "nomask"])
    measured = {"base": errors_like(base), "nomask": errors_like(other)}
    people = {f"p{i}": i // 2 for i in range(8)}
    report = ablate.ablation_report(experiments, measured, people)
    assert report["rows"][0]["difference"] is None
    found = report["rows"][1]["difference"]["dapm_gradient"]
    assert found["mean"] == pytest.approx((other - base).mean())
    assert found["standard_error"] == pytest.approx((other - base).std(ddof=1) / np.sqrt(8))
    assert found == asdict(estimate(other - base, [i // 2 for i in range(8)]))
    line = ablate.ablation_table({"scale": 1, "split": "validation", **report}).splitlines()[-1]
    assert line.startswith("| without shape mask | `nomask` |")
    assert f"| {(other - base).mean() * 1e3:+.2f} ± " in line


def test_an_experiment_starts_where_the_one_before_ended():
    for each in ablate.EXPERIMENTS:
        usual = {stage.solver: stage.iterations for stage in stages_of(each.recipe)}
        stages = ablate.stages_of_experiment(each, 0.1)
        assert [name.split("_")[-1] for name, *_ in stages] == (
            ["warm"] * each.warm + ["end"] * each.end_to_end
        )
        for name, settings, solver in stages:
            assert settings["max_iter"] == round(0.1 * usual[solver])
            assert ablate.net_file(each, name).is_file()
        usual_name = each.name if each.recipe == "fcn8s_half" else f"portrait_{each.name}"
        assert each.installed.name == f"{usual_name}.caffemodel"
    with pytest.raises(InputError, match="no experiment nothing"):
        ablate.chosen(["nothing"])
    with pytest.raises(InputError, match="base, fcn8s_half are of several nets"):
        ablate.chosen(["base", "fcn8s_half"])


def test_every_recipe_and_length_has_a_table_of_its_own(tmp_path, monkeypatch):
    docs = tmp_path / "training.md"
    marks = [
        f"<!-- {s}: written by `{c}` -->\nold\n<!-- /{s} -->" for s, c in ablate.SECTIONS.values()
    ]
    docs.write_text("\n".join(marks))
    monkeypatch.setattr(ablate, "DOCS", docs)
    monkeypatch.setattr(ablate, "OUT", tmp_path)
    with pytest.raises(
        InputError,
        match="holds no report; run `.venv/bin/python -m tools.experiments.ablation run` first",
    ):
        ablate.put_into_docs()
    experiments = ablate.chosen(["fcn8s_half", "fcn8s_half_nomask"])
    measured = {each.name: errors_like([1e-3, 2e-3]) for each in experiments}
    report = ablate.ablation_report(experiments, measured, {"p0": 0, "p1": 1})
    for scale in (0.2, 1):
        of_scale = {"recipe": "fcn8s_half", "scale": scale, "split": "validation", **report}
        ablate.keep_report(of_scale)
        ablate.keep_report({**of_scale, "rows": report["rows"][:1]})  # one is measured again
    ablate.put_into_docs()
    portrait, half = docs.read_text().split("<!-- /ablation -->")
    assert "old" in portrait and "old" not in half
    whole, short = half.split("every stage 0.2 times as long")
    for text in (whole, short):
        assert text.count("| without shape mask | `fcn8s_half_nomask` |") == 1


def test_experiments_are_compared_within_their_recipe():
    assert ablate.reference_of(*ablate.chosen(["nomask"])) == "base"
    assert ablate.reference_of(*ablate.chosen(["fcn8s_half_nomask"])) == "fcn8s_half"
    assert {each.recipe for each in ablate.chosen([])} == {"portrait"}


def test_snapshots_are_not_closer_than_the_disk_allows():
    (each,) = ablate.chosen(["fcn8s_half"])
    for scale, snapshot in ((1, 300), (1 / 30, 50), (1 / 300, 20)):
        stages = list(ablate.stages_of_experiment(each, scale))
        assert stages
        assert {settings["snapshot"] for _, settings, _ in stages} == {snapshot}


def test_seeds_and_augmentations_have_databases_of_their_own(tmp_path, monkeypatch):
    monkeypatch.setattr(ablate, "ROOT", tmp_path)
    made = {}

    def prepare(dataset, out, seed, augmentations, workers, vary):
        made[out.name] = (seed, len(augmentations), vary)

    monkeypatch.setattr(ablate, "prepare", prepare)
    names = {each.name: ablate.own_databases(each, tmp_path) for each in ablate.EXPERIMENTS}
    assert [name for name, folder in names.items() if folder] == [
        "seed1",
        "seed2",
        "novary",
        "noaugment",
    ]
    assert made == {
        "prepared_seed1": (1, 13, True),
        "prepared_seed2": (2, 13, True),
        "prepared_novary": (0, 13, False),
        "prepared_noaugment": (0, 1, True),
    }


def test_the_recipe_at_its_whole_length_is_not_trained_twice(tmp_path, monkeypatch):
    """It is that of tools/train.py: on the same snapshots."""
    monkeypatch.setattr(Net, "initial_weights", lambda net: tmp_path / net.name)
    monkeypatch.setattr(ablate, "write_initial_weights", lambda *arguments: None)
    monkeypatch.setattr(ablate, "run_stages", lambda stages: tuple(stages))
    warm, last = stages_of("portrait")
    base, warm_alone, without = ablate.chosen(["base", "warm", "nomask"])
    assert ablate.train(base, 1, tmp_path) == (warm, last)
    assert ablate.train(warm_alone, 1, tmp_path) == (warm,)
    for experiment, scale in ((base, 0.2), (without, 1)):
        with pytest.raises(InputError, match="starts from it; train it first"):
            ablate.train(experiment, scale, tmp_path)


@pytest.mark.parametrize(
    "name, stem", [("nomask", "portrait_nomask"), ("fcn8s_half", "fcn8s_half")]
)
def test_install_keeps_the_best_snapshot(tmp_path, monkeypatch, name, stem):
    stage = Stage(tmp_path, tmp_path / "end", 30, tmp_path / "net.prototxt")
    stage.net.write_text('source: "prepared/train_image"')
    trained_mask = tmp_path / "prepared/shape_mask.npz"
    trained_mask.parent.mkdir()
    trained_mask.write_text("its mask")
    for iteration in (10, 20, 30):
        weights = stage.prefix.with_name(f"end_iter_{iteration}.caffemodel")
        weights.write_text(f"weights {iteration}")
        weights.with_suffix(".solverstate").touch()
    by_weights = {10: 3e-3, 20: 1e-3, 30: 2e-3}
    models = tmp_path / "models"
    published = {
        recipe: SimpleNamespace(
            weights=models / f"{recipe}.caffemodel", shape_mask=models / f"{recipe}.npz"
        )
        for recipe in ablate.ORIGINS
    }
    monkeypatch.setattr(selection, "ROOT", tmp_path)
    monkeypatch.setattr(ablate, "MADE_WEIGHTS", models)
    monkeypatch.setattr(ablate, "MODELS", published)
    monkeypatch.setattr(ablate, "train", lambda *a: stage)
    portraits = [SimpleNamespace(stem=f"p{i}") for i in range(2)]
    monkeypatch.setattr(ablate, "validation_portraits", lambda *a: portraits)
    monkeypatch.setattr(
        ablate,
        "experiment_errors",
        lambda e, s, weights, p: errors_like([by_weights[int(weights.stem.split("_")[-1])]] * 2),
    )
    target = ablate.install(*ablate.chosen([name]), 1, tmp_path, 1)
    assert target == models / f"{stem}.caffemodel"
    assert target.read_text() == "weights 20"
    # Only a model of its own brings the mask it was trained with.
    masks = {path.name: path.read_text() for path in models.glob("*.npz")}
    assert masks == ({"fcn8s_half.npz": "its mask"} if name == "fcn8s_half" else {})
