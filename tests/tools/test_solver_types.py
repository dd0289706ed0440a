"""The trial of SGD against Adam, by the real Caffe on the narrow nets."""

import json
from dataclasses import replace

import pytest
from caffe.proto import caffe_pb2
from google.protobuf import text_format
from table_family import lite_family, prepared_databases, small_dataset

from data_prep.common.errors import InputError
from tools.evaluation.report import BENCHMARK, replace_section
from tools.experiments import solver_types
from tools.experiments.solver_types import TRIALS, measured, section, trained
from tools.table.runs import chosen_runs
from tools.table.training import Training, train
from tools.table.tuning import Tuner, choose_start, validation_truths


@pytest.fixture
def family(tmp_path, monkeypatch):
    dataset = small_dataset(tmp_path)
    found = lite_family(tmp_path, dataset, prepared_databases(dataset))
    monkeypatch.setattr(solver_types, "HALF", found)
    monkeypatch.setattr(solver_types, "FOLDER", tmp_path / "trials")
    return found


def read(path, message):
    return text_format.Parse(path.read_text(), message)


def results_of(trial, tuner):
    return measured(trial, trained(trial, 2), 2, tuner)


def test_trials_are_trained_by_their_solver_and_measured(family, tmp_path):
    adam, sgd, *_ = TRIALS
    blown_up = replace(sgd, name="blown_up", rate=1e30)
    tuner = Tuner(family, validation_truths(family, 1), map, tmp_path / "out")
    results = [results_of(each, tuner) for each in (adam, sgd, blown_up)]
    assert [each["errors"] is None for each in results] == [False, False, True]
    assert results[0]["errors"]["sad"] > 0 < results[1]["loss"]

    folder = tmp_path / "trials/sgd_90_10"
    solver = read(folder / "fcn_trimap/slice_solver.prototxt", caffe_pb2.SolverParameter())
    assert (solver.type, solver.momentum) == ("SGD", pytest.approx(0.9))
    net = read(folder / "fcn_trimap_net.prototxt", caffe_pb2.NetParameter())
    rates = {layer.name: [each.lr_mult for each in layer.param] for layer in net.layer}
    assert rates["conv1_1"] == [1, 2] and rates["fc6"] == rates["score_fr"] == [10, 20]
    assert rates["upscore8"] == [0]

    report = {"machine": {"date": "today"}, "iterations": 2, "images": 1, "trials": results}
    lines = section(json.loads(json.dumps(report))).splitlines()
    (last,) = (place for place, line in enumerate(lines) if line.endswith("| not finite |  |  |"))
    assert "| SGD | 0.9 | 1e-04 | 1e-03 |" in lines[last - 1]
    assert [results_of(each, tuner) for each in (adam, sgd, blown_up)] == results
    assert "end to end" not in section(report)  # whose trials are still missing


def test_rates_are_tried_from_the_warm_start_of_the_table(family, tmp_path):
    rate = next(each for each in TRIALS if each.name == "rate_1e-5")
    tuner = Tuner(family, validation_truths(family, 1), map, tmp_path / "out")
    with pytest.raises(InputError, match="rate_1e-5 begins after a warm start; run `tools/table1"):
        trained(rate, 2)
    assert not (tmp_path / "trials").exists()
    train(family, chosen_runs(["ours"]), 2, choose_start=lambda each: choose_start(each, tuner))
    blown_up = replace(rate, name="blown_up", rate=1e30)
    found, none = (results_of(each, tuner) for each in (rate, blown_up))
    assert none["errors"] is none["loss"] is None and found["errors"]["sad"] > 0
    warm = Training(chosen_runs(["ours"])[0], family, 2)
    of_trial = Training(chosen_runs(["ours"])[1], rate.family(), 2)
    assert of_trial.initial_weights() == warm.mean_of_slice(2)
    assert of_trial.weights_at(2).is_relative_to(tmp_path / "trials/rate_1e-5")
    report = {"machine": {"date": "today"}, "iterations": 2, "images": 1}
    text = section(json.loads(json.dumps(report | {"trials": [found, none]})))
    assert "Ours, end to end from its warm start, by rate, after 2 iterations" in text
    assert text.splitlines()[-1].endswith("| not finite |  |  |")


def test_the_document_holds_the_table_of_the_committed_results():
    if not solver_types.RESULTS.is_file():
        pytest.skip("nothing is measured yet")
    table = section(json.loads(solver_types.RESULTS.read_text()))
    text = BENCHMARK.read_text()
    names = solver_types.SECTION, solver_types.COMMAND
    assert replace_section(text, *names, table, BENCHMARK) == text
