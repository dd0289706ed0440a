"""Hard trimaps, their tuning and the measuring of rows of Table 1, with the narrow nets."""

import json
import re
from dataclasses import replace

import cv2
import numpy as np
import pytest
from table_family import lite_family, prepared_databases, small_dataset

from caffe_layers.mean_field import CrfSettings
from data_prep.caffe_data.shape_mask import ShapeMask
from data_prep.common.errors import InputError, collected_warnings
from data_prep.common.images import read_matte
from tools.evaluation.matte_sources import ModelMattes
from tools.evaluation.measuring import ALL
from tools.evaluation.methods import TRUE_BAND, bound_matte
from tools.evaluation.metrics import evaluate
from tools.evaluation.trimaps import BAND_WIDTHS, UNKNOWN, classes_of_matte
from tools.evaluation.truths import truths_of_portraits
from tools.matting.caffe_net import load_net, read_caffemodel, read_net, run_net
from tools.table import tuning
from tools.table.calibration import calibrated_scores, calibrated_weights
from tools.table.curves import draw_curves
from tools.table.figure_files import write_figures
from tools.table.hard_trimap import (
    classes_of_mask,
    classes_of_scores,
    known_regions,
    solved_matte,
)
from tools.table.measuring import measure_rows
from tools.table.report import (
    latex,
    markdown,
    table_report,
    trimap_measures,
    write_tables,
)
from tools.table.row_mattes import RowMattes, view_of
from tools.table.rows import ROWS, UNKNOWN_BIAS, Axis, Settings, chosen_rows
from tools.table.runs import chosen_runs
from tools.table.training import Training, train
from tools.table.tuning import (
    Tuner,
    choose_start,
    oracle_widths,
    rows_with_choice,
    trained_rows,
    tune,
    validation_truths,
)
from tools.training.selection import validation_portraits


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The family, with a few iterations of FCN, of ours without shape mask and of DeepLab."""
    dataset = small_dataset(tmp_path_factory.mktemp("dataset"))
    family = lite_family(tmp_path_factory.mktemp("lite"), dataset, prepared_databases(dataset))

    def choose(training):
        tuner = Tuner(family, validation_truths(family, 1), map, family.folder / "starts")
        choose_start(training, tuner)

    train(family, chosen_runs(["fcn", "ours_nomask", "deeplab"]), 2, choose_start=choose)
    return family


@pytest.fixture(scope="module")
def truth(trained):
    """The validation portrait."""
    (found,) = validation_truths(trained, 1)
    return found


class CountedMap:
    """A `map` that counts how many items it was given."""

    def __init__(self):
        self.count = 0

    def __call__(self, function, items):
        items = list(items)
        self.count += len(items)
        return map(function, items)


WIDTHS = Axis(("width",), [(2,), (6,)])


def quick(name):
    """A row with one axis of two trials."""
    (row,) = chosen_rows([name])
    axis = Axis(("sharpness",), [(1.0,), (4.0,)]) if row.source == "matte" else WIDTHS
    return replace(row, axes=row.axes and (axis,))


# --- hard trimaps -------------------------------------------------------------------


def test_without_widening_classes_are_the_largest_of_enlarged_scores():
    scores = np.random.default_rng(0).normal(size=(3, 5, 4)).astype(np.float32)
    enlarged = cv2.resize(scores.transpose(1, 2, 0), (12, 15), interpolation=cv2.INTER_LINEAR)
    classes = classes_of_scores(scores.astype(np.float16), (15, 12))
    assert (classes == enlarged.argmax(axis=2)).mean() > 0.98
    foreground, background = known_regions(classes, Settings(width=0))
    assert (foreground == (classes == 0)).all() and (background == (classes == 1)).all()


def test_widening_takes_discs_off_both_sides_and_nothing_at_the_frame():
    person = np.zeros((60, 80), bool)
    person[:, 30:50] = True
    classes = classes_of_mask(person)
    foreground, background = known_regions(classes, Settings(width=4))
    assert np.flatnonzero(foreground.all(axis=0)).tolist() == list(range(34, 46))
    assert np.flatnonzero(background.any(axis=0)).tolist() == [*range(26), *range(54, 80)]
    inside, outside = known_regions(classes, Settings(width=4, inner_to_outer=0.5))
    assert inside.sum() == 60 * 16 and outside.sum() == background.sum()
    inside, outside = known_regions(classes, Settings(width=4, inner_to_outer=2.0))
    assert inside.sum() == foreground.sum() and outside.sum() == 60 * (28 + 28)


def test_where_widening_leaves_nothing_the_matte_is_the_classes():
    photo = np.zeros((20, 20, 3), np.uint8)
    classes = classes_of_mask(np.eye(20, dtype=bool))
    classes[0, 5] = 2
    alpha = solved_matte(photo, classes, Settings(width=5))
    assert (alpha == np.array([1, 0, 0.5])[classes]).all()


def test_the_true_trimap_gives_the_bound(truth):
    photo, alpha = truth.read_photo(), truth.read_truth()
    found = solved_matte(photo, classes_of_matte(alpha), Settings(width=TRUE_BAND))
    expected, own = evaluate(bound_matte(photo, alpha), alpha), evaluate(found, alpha)
    assert own.sad == pytest.approx(expected.sad, rel=0.03)  # discs differ by a pixel
    assert own.dapm_gradient == pytest.approx(expected.dapm_gradient, rel=0.03)


# --- rows ---------------------------------------------------------------------------


def mattes_of(trained, name, tmp_path, training=None, settings=None, **changes):
    row = replace(next(row for row in ROWS if row.name == name), **changes)
    weights = Training(training, trained, 2).mean_of_slice(2) if training else None
    return tuning.mattes_of(trained, row, settings or row.start, weights, tmp_path)


def test_ours_is_the_matte_of_its_own_layer(trained, truth, tmp_path):
    (_, run) = chosen_runs(["ours_nomask"])
    found = mattes_of(trained, "ours_nomask", tmp_path, run).matte(truth, truth.read_photo())
    weights = Training(run, trained, 2).mean_of_slice(2)
    product = ModelMattes(0.0, "lite", trained.net_of(run).trimap_deploy, weights)
    assert (found.alpha == product.matte(truth, truth.read_photo()).alpha).all()


def test_sharpness_raises_the_odds_of_classes_to_its_power(trained, truth, tmp_path):
    (_, run) = chosen_runs(["ours_nomask"])
    photo = truth.read_photo()
    plain, sharp = (
        mattes_of(trained, "ours_nomask", tmp_path, run, Settings(sharpness=each))
        for each in (1.0, 3.0)
    )
    assert plain.key != sharp.key
    powers = plain.matte(truth, photo).probabilities.astype(float) ** 3
    np.testing.assert_allclose(
        sharp.matte(truth, photo).probabilities, powers / powers.sum(axis=0), atol=2e-5
    )


def test_the_bias_multiplies_the_odds_of_unknown(trained, truth, tmp_path):
    (_, run) = chosen_runs(["ours_nomask"])
    photo = truth.read_photo()
    plain, biased = (
        mattes_of(trained, "ours_nomask", tmp_path, run, Settings(unknown_bias=each))
        for each in (0.0, np.log(5.0))
    )
    odds = plain.matte(truth, photo).probabilities.astype(float)
    odds[UNKNOWN] *= 5
    np.testing.assert_allclose(
        biased.matte(truth, photo).probabilities, odds / odds.sum(axis=0), atol=2e-5
    )


def test_a_bias_is_chosen_before_the_matte_is_learned(trained, truth, tmp_path):
    warm, run = chosen_runs(["ours_nomask"])
    report = json.loads(trained.start_of(run).read_text())
    tried = {trial["settings"]["unknown_bias"]: trial for trial in report["grid"]}
    assert sorted(tried) == sorted(value for (value,) in UNKNOWN_BIAS.values)
    best = min(report["grid"], key=lambda trial: trial["criterion"])
    assert report["settings"] == best["settings"]
    assert report["settings"]["sharpness"] == 16
    # The mattes that were compared are those of the warm start.
    settings = Settings(sharpness=16.0, unknown_bias=3.0)
    matte = mattes_of(trained, "ours_nomask", tmp_path, warm, settings)
    alpha = matte.matte(truth, truth.read_photo()).alpha
    errors = evaluate(alpha, truth.read_truth())
    assert tried[3.0]["sad"] == pytest.approx(errors.sad, rel=1e-6)


def test_calibrated_weights_give_calibrated_scores(trained, truth):
    (_, run) = chosen_runs(["ours_nomask"])
    net, path = trained.net_of(run), Training(run, trained, 2).mean_of_slice(2)
    trained_weights = read_caffemodel(path)
    before = {name: [blob.copy() for blob in blobs] for name, blobs in trained_weights.items()}

    def scores(weights):
        loaded = load_net(read_net(net.trimap_deploy), weights, path)
        data = loaded.blobs["data"].data
        data[0] = np.random.default_rng(3).normal(0, 40, data.shape[1:])
        return run_net(loaded, "score")[0].copy()

    expected = calibrated_scores(scores(trained_weights), 4.0, 1.5)
    found = scores(calibrated_weights(trained_weights, 4.0, 1.5))
    inner = (slice(None), slice(4, -4), slice(4, -4))  # outside, enlarged values are smaller
    np.testing.assert_allclose(found[inner], expected[inner], rtol=1e-4, atol=1e-4)
    assert abs(found[UNKNOWN] - 4 * scores(trained_weights)[UNKNOWN])[4:-4, 4:-4].min() > 5.9
    for name, blobs in before.items():
        for blob, kept in zip(blobs, trained_weights[name], strict=True):
            assert (blob == kept).all()


def test_scores_are_kept_and_a_crf_of_no_weight_changes_nothing(trained, truth, tmp_path):
    (_, run) = chosen_runs(["fcn"])
    photo = truth.read_photo()
    plain = mattes_of(trained, "fcn", tmp_path, run)
    first = plain.matte(truth, photo)
    kept = list(tmp_path.rglob("*.npz"))
    assert len(kept) == 1
    none = CrfSettings(bilateral_weight=0, spatial_weight=0)
    crf = mattes_of(trained, "deeplab_crf", tmp_path, run, Settings(crf=none), run="fcn")
    assert (crf.matte(truth, photo).alpha == first.alpha).all()
    assert len(list(tmp_path.rglob("*.npz"))) == 2
    kept[0].write_bytes(b"cut short")
    assert (plain.matte(truth, photo).probabilities == first.probabilities).all()


def test_deeplab_enlarges_its_scores_by_what_its_definition_says(trained, truth, tmp_path):
    _, run = chosen_runs(["deeplab"])
    photo = truth.read_photo()
    mattes = mattes_of(trained, "deeplab", tmp_path, run)
    small = mattes.scores(truth, view_of(photo))
    assert small.shape == (3, 200, 150)
    # Cell j of the net's own scores lies on pixel 8 j, and in between it is linear.
    corners = small[:, :25:8, :25:8].astype(float)
    middle = small[:, 4:21:8, 4:21:8].astype(float)
    means = sum(corners[:, i : i + 3, j : j + 3] for i in (0, 1) for j in (0, 1)) / 4
    np.testing.assert_allclose(middle, means, atol=5e-3 * np.abs(means).max())


def test_without_a_face_a_graph_cut_is_the_shape_mask_in_its_own_place(trained, truth, tmp_path):
    blank = np.full((800, 600, 3), 128, np.uint8)
    cut = mattes_of(trained, "graph_cut", tmp_path).matte(truth, blank)
    mask = mattes_of(trained, "shape_mask", tmp_path).matte(truth, blank)
    assert cut.faces == () and (cut.probabilities == mask.probabilities).all()
    assert 0.2 < mask.probabilities[0].mean() < 0.8


def test_keys_tell_what_mattes_depend_on(trained, tmp_path):
    def key(name, settings, draw=0):
        row = next(row for row in ROWS if row.name == name)
        return RowMattes(row, settings, trained.shape_mask, tmp_path, draw=draw).key

    first = Settings(width=10)
    assert key("graph_cut", first) == key("graph_cut", first)
    others = [
        key("graph_cut", Settings(width=11)),
        key("graph_cut", first, draw=1),
        key("graph_cut_anywhere", first),
    ]
    assert len({key("graph_cut", first), *others}) == 4
    assert key("constant", first) == key("constant", Settings(width=11))


def test_settings_survive_json():
    settings = Settings(width=3, crf=CrfSettings(theta_beta=7))
    assert Settings.from_json(json.loads(json.dumps(settings.to_json()))) == settings
    with pytest.raises(InputError, match="are no settings of a row .*; tune it again"):
        Settings.from_json({"crf": None, "breadth": 3})


# --- tuning and measuring -----------------------------------------------------------


def test_trials_are_made_once_and_the_best_is_chosen(trained, truth, tmp_path):
    row = quick("fcn")
    counted = CountedMap()
    tuner = Tuner(trained, [truth], counted, tmp_path)
    weights = Training(chosen_runs(["fcn"])[1], trained, 2).mean_of_slice(2)
    best, errors, grid = tuner.descend(row, weights)
    assert counted.count == 3 and len(grid) == 3
    assert errors.criterion == min(each["criterion"] for each in grid)
    assert best.to_json() == min(grid, key=lambda each: each["criterion"])["settings"]
    again = Tuner(trained, [truth], counted, tmp_path)  # another run
    assert again.descend(row, weights) == (best, errors, grid) and counted.count == 3


def test_rows_are_measured_as_chosen_and_a_changed_choice_measures_its_row_alone(
    trained, tmp_path, monkeypatch
):
    rows = [quick(name) for name in ("fcn", "ours_nomask", "bound", "constant")]
    dataset = trained.dataset
    truths = truths_of_portraits(dataset, validation_portraits(dataset, 1))
    choices, out = tmp_path / "choices.json", tmp_path / "out"
    with pytest.raises(InputError, match="choices.json does not exist; run `tools/table1.py tune"):
        measure_rows(trained, rows, truths, choices, out, 1)
    assert not (out / "rows").exists()
    tune(trained, rows[1:], Tuner(trained, truths, map, out), choices, {})
    with pytest.raises(InputError, match="has no choice for fcn; run"):
        measure_rows(trained, rows, truths, choices, out, 1)
    assert not (out / "rows").exists()
    tune(trained, rows[:1], Tuner(trained, truths, map, out), choices, {})

    made = []
    real = RowMattes.matte
    monkeypatch.setattr(
        RowMattes, "matte", lambda self, *given: made.append(self.name) or real(self, *given)
    )
    measured = measure_rows(trained, rows, truths, choices, out, 1)
    assert made == [row.name for row in rows]
    report = json.loads(choices.read_text())
    (start,) = report["starts"].items()
    (_, run) = chosen_runs(["ours_nomask"])
    assert start == (run.name, json.loads(trained.start_of(run).read_text()))
    # Tuning, and the comparison of snapshots, begin with what it was trained with.
    choice = report["rows"]["ours_nomask"]
    assert choice["grid"][0]["settings"] == start[1]["settings"]
    assert [each["iterations"] for each in choice["snapshots"]] == [[1, 2]]
    assert choice["snapshots"][0]["criterion"] == choice["grid"][0]["criterion"]
    fcn, ours, bound, constant = measured
    assert fcn.iterations == (2, 2) and bound.iterations is None
    perfect = trimap_measures(bound)
    assert perfect["mean_iou"] == 1 and perfect["band_accuracy"] == [1] * len(BAND_WIDTHS)
    assert constant.confusion[:, :2].sum() == 0
    (gray,) = constant.photos
    assert gray.values[ALL] == pytest.approx(gray.reference[ALL])
    (stem,) = fcn.people
    kept = cv2.imread(str(out / f"rows/fcn/mattes/{stem}.png"), cv2.IMREAD_UNCHANGED)
    sad = np.abs(kept / 255 - truths[0].read_truth()).sum() / 1000
    assert fcn.photos[0].values[ALL]["sad"] == pytest.approx(sad, rel=0.01)

    assert rows_with_choice(None, choices) == [
        row for row in ROWS if row.name in {each.name for each in rows}
    ]
    oracle = oracle_widths(trained, rows, Tuner(trained, truths, map, out), choices, out / "scores")
    assert oracle.keys() == {"fcn", "bound"}
    tried = {each["width"]: each["sad"] for each in oracle["bound"]["all"]}
    assert tried.keys() >= {2, 6} and oracle["bound"]["chosen"]["width"] in (2, 6)
    assert tried[6] != tried[2]
    errors = {each.row.name: each.errors() for each in measured}
    titles = {each.row.name: each.row.title for each in measured}
    mask = ShapeMask.load(trained.shape_mask)
    pictures = write_figures(out / "rows", truths, errors, titles, mask, tmp_path)
    assert [path.name for path in pictures] == ["table1_fig4.jpg"]  # ours is not measured

    made.clear()
    before = choices.read_text()
    report = json.loads(before)
    report["rows"]["bound"]["settings"]["width"] = 20
    choices.write_text(json.dumps(report))
    again = measure_rows(trained, rows, truths, choices, out, 1)
    assert made == ["bound"] and again[0].photos == fcn.photos
    assert again[2].photos[0].values[ALL]["sad"] > bound.photos[0].values[ALL]["sad"]
    # Back to the first choice: mattes in the folder are those that the errors are of.
    wide = read_matte(out / f"rows/bound/mattes/{stem}.png")
    choices.write_text(before)
    back = measure_rows(trained, rows, truths, choices, out, 1)
    assert back[2].photos == bound.photos
    assert (read_matte(out / f"rows/bound/mattes/{stem}.png") != wide).any()
    aside = [read_matte(each) for each in out.glob(f"rows/bound.stale-*/mattes/{stem}.png")]
    assert sorted((each == wide).all() for each in aside) == [False, True]

    weights = Training(chosen_runs(["fcn"])[1], trained, 2).mean_of_slice(2)
    weights.write_bytes(weights.read_bytes() + b"\n")
    with pytest.raises(InputError, match="is not what .* was chosen with; run"):
        measure_rows(trained, rows, truths, choices, out, 1)

    judged = [replace(ours, row=replace(ours.row, name="ours")), fcn, bound, constant]
    assert fcn.seconds.classes > 0 < fcn.seconds.matte and bound.seconds.faces == 0
    shown = {"hand": {}, "accessories": {}, "background": {}}
    table = table_report(judged, {stem: shown})
    (stratum,) = table["strata"]
    assert stratum["images"] == 1
    assert stratum["rows"]["bound"] == table["rows"]["bound"]["errors"]
    assert table["rows"]["fcn"]["ours_minus_row"]["sad"]["difference"]["mean"] == pytest.approx(
        ours.photos[0].values[ALL]["sad"] - fcn.photos[0].values[ALL]["sad"]
    )
    table["oracle"] = {"images": 1, "rows": oracle}
    text = markdown(json.loads(json.dumps(table)))
    assert "| | a hand at head, hair or collar (1 images) |" in text
    chosen = ours.choice["settings"]["sharpness"]
    told = rf"\| ours without shape mask \| mean of 1 to 2 \|.*\|  \| {chosen:g} \| 0 \|\n"
    assert re.search(told, text)
    assert "| FCN | 2 + 2 | " in text and "| *true trimap* |  | " in text
    write_tables(out, table, judged)
    assert len((out / "errors.csv").read_text().splitlines()) == 5
    assert "% Means over 1 images of 1 people" in latex(table)
    assert draw_curves(trained, out / "curves.png")
    assert not draw_curves(replace(trained, folder=out), out / "none.png")


def test_weights_beyond_what_all_trainings_have_reached_are_no_choice(trained, truth, tmp_path):
    training = Training(chosen_runs(["fcn"])[1], trained, 2)
    tuner = Tuner(trained, [truth], map, tmp_path)
    assert tuner.best_weights(quick("fcn"), training, 2)[1] == (1, 2)
    with pytest.raises(
        InputError, match="fcn holds no weights .* all trainings have reached; go on"
    ):
        tuner.best_weights(quick("fcn"), training, 1)


def test_rows_whose_nets_are_not_trained_are_left_out_and_told(trained):
    with collected_warnings() as told:
        names = [row.name for row in trained_rows(trained, None)]
    assert "fcn" in names and "ours_nomask" in names and "ours" not in names
    left_out = "portraitfcn, crfrnn, crfrnn_not_widened, ours"
    assert told == [f"Left out, as their nets are not trained yet: {left_out}."]


def test_unknown_rows_are_named():
    with pytest.raises(InputError, match="There is no row vgg; there are graph_cut, "):
        chosen_rows(["vgg"])
