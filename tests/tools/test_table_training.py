"""Trainings of Table 1 in slices, by the real Caffe on the narrow nets."""

import shutil
from dataclasses import replace
from unittest.mock import Mock

import caffe
import cv2
import numpy as np
import pytest
from caffe.proto import caffe_pb2
from google.protobuf import text_format
from table_family import lite_family, prepared_databases, small_dataset

from caffe_layers.mean_field import CrfSettings
from data_prep.caffe_data.caffe_lmdb import copy_records, open_database
from data_prep.common.digests import sha256_of
from data_prep.common.errors import InputError, collected_warnings
from prototxt.catalog import MEAN_BGR, NETS
from tools.evaluation.report import write_report
from tools.matting.caffe_net import read_caffemodel
from tools.matting.face_detector import FaceDetector
from tools.matting.photo_view import PhotoView, eight_bit_resized
from tools.table.calibration import calibrated_scores
from tools.table.row_mattes import NetFiles
from tools.table.rows import Settings
from tools.table.runs import HALF, RUNS, chosen_runs
from tools.table.training import (
    Training,
    common_length,
    next_slice,
    settled_warm_iterations,
    train,
    warm_iterations_of,
)
from tools.training.stages import Stage, run_stages


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return small_dataset(tmp_path_factory.mktemp("dataset"))


@pytest.fixture(scope="module")
def prepared(dataset):
    return prepared_databases(dataset)


@pytest.fixture
def family(dataset, prepared, tmp_path):
    return lite_family(tmp_path, dataset, prepared)


def chooses(family, settings, begun_with):
    """Chooses these settings for every training that asks, and notes the weights it begins with."""

    def choose(training):
        weights = training.initial_weights()
        begun_with.append(weights.name)
        report = {"settings": settings.to_json(), "after": {"sha256": sha256_of(weights)}}
        write_report(family.start_of(training.run), report)

    return choose


def values(database):
    """All values of a database, in the order of the keys."""
    with open_database(database) as environment, environment.begin() as transaction:
        return [bytes(value) for _, value in transaction.cursor()]


def test_records_are_copied_in_order_and_begin_again_after_the_last(prepared, tmp_path):
    source = prepared / "train_image"
    whole = values(source)
    assert len(set(whole)) == len(whole) == 13
    copy_records(source, tmp_path / "copy", 11, 4)
    assert values(tmp_path / "copy") == [whole[11], whole[12], whole[0], whole[1]]
    copy_records(source, tmp_path / "copy", 26, 2)
    assert values(tmp_path / "copy") == whole[:2]


def test_records_of_a_damaged_database_are_refused_in_a_sentence(prepared, tmp_path):
    damaged = tmp_path / "train_image"
    shutil.copytree(prepared / "train_image", damaged)
    content = bytearray((damaged / "data.mdb").read_bytes())
    for page in range(2 * 4096, len(content), 4096):
        content[page + 10 : page + 12] = b"\0\0"  # whether it is a leaf or a branch
    (damaged / "data.mdb").write_bytes(content)
    with pytest.raises(InputError, match="damaged .* write them again with `make data`"):
        copy_records(damaged, tmp_path / "copy", 0, 1)


def test_all_nets_learn_in_turn_and_go_on(family):
    runs = chosen_runs(["fcn", "ours_nomask"])
    assert [run.name for run in runs] == [*("fcn_trimap", "fcn", "ours_nomask")]
    choose = chooses(family, Settings(), [])
    train(family, runs, 2, choose_start=choose)
    found = {run.name: Training(run, family, 2) for run in runs}
    assert {name: each.reached() for name, each in found.items()} == dict.fromkeys(found, 2)
    begun = read_caffemodel(found["fcn_trimap"].mean_of_slice(2))
    after = read_caffemodel(found["fcn"].weights_at(2))
    assert 0 < np.abs(begun["conv1_1"][0] - after["conv1_1"][0]).max() < 0.01
    assert "alpha" in read_caffemodel(found["ours_nomask"].weights_at(2))
    with collected_warnings() as told:
        train(family, runs, 5, choose_start=choose)
    assert told == ["Warm starts have 2 iterations, what follows them 5."]
    assert settled_warm_iterations(family) == 2
    for name, each in found.items():
        last = 5 if each.run.after else 2
        assert each.reached() == last
        assert list(each.slices()) == ([(1, 2), (3, 4), (5, 5)] if each.run.after else [(1, 2)])
        assert list(each.snapshots()) == [last]
        states = [path.name for path in each.folder.glob("*.solverstate")]
        assert states == [f"{name}_iter_{last}.solverstate"]
    train(family, runs[:2], 6)
    assert found["fcn"].reached() == 6 and common_length(family) == 5


def means(weights):
    """Mean of the blobs of several caffemodels, by layer."""
    read = [read_caffemodel(each) for each in weights]
    return {
        layer: [sum(blobs) / len(read) for blobs in zip(*(each[layer] for each in read))]
        for layer in read[0]
    }


def assert_same_weights(path, expected):
    found = read_caffemodel(path)
    assert found.keys() == expected.keys()
    for layer, blobs in found.items():
        for blob, wanted in zip(blobs, expected[layer], strict=True):
            np.testing.assert_allclose(blob, wanted, rtol=1e-6, atol=1e-8)


def test_means_of_slices_and_of_the_last_ones_are_what_is_chosen_from(family, monkeypatch):
    often = replace(family, folder=family.folder / "often")
    (run,) = chosen_runs(["fcn_trimap"])
    training = Training(run, often, 6)
    monkeypatch.setattr(Training, "_remove_old_snapshots", lambda _: None)
    train(often, [run], 4)
    assert list(training.candidates(4)) == [(1, 2), (3, 4)]
    train(often, [run], 6)
    assert list(training.candidates(5)) == [(1, 2), (3, 4)]
    found = training.candidates(6)
    assert list(found) == [(1, 2), (3, 4), (5, 6), (1, 6)]
    each = [training.weights_at(iteration) for iteration in range(1, 7)]
    for first, last in found:
        assert_same_weights(found[first, last], means(each[first - 1 : last]))
    assert not (read_caffemodel(each[0])["fc6"][0] == read_caffemodel(each[5])["fc6"][0]).all()


def test_the_mean_of_a_slice_is_taken_after_a_kill_just_before_it(family, monkeypatch):
    killed = replace(family, folder=family.folder / "killed")
    (run,) = chosen_runs(["fcn_trimap"])
    training = Training(run, killed, 4)
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(Training, "mean_of_slice", Mock(side_effect=KeyboardInterrupt))
        train(killed, [run], 2)
    assert training.reached() == 2 and not list(training.folder.glob("*_slice_*"))
    expected = means([training.weights_at(1), training.weights_at(2)])
    train(killed, [run], 4)
    assert list(training.slices()) == [(1, 2), (3, 4)]
    assert_same_weights(training.slices()[1, 2], expected)


def test_slices_learn_what_one_long_training_learns(family, prepared):
    """Each gets the records that come next, not the first ones again, as Caffe alone would."""
    (run,) = chosen_runs(["fcn_trimap"])
    undisturbed = without_dropout(family)
    train(undisturbed, [run], 6)
    stage = Training(run, undisturbed, 6).stage()
    solver = text_format.Parse(stage.solver.read_text(), caffe_pb2.SolverParameter())
    solver.max_iter, solver.snapshot_prefix = 6, str(family.folder / "whole")
    whole = family.folder / "whole.prototxt"
    whole.write_text(text_format.MessageToString(solver))
    expected = read_caffemodel(run_stages([Stage.read(whole)]).result)
    found = read_caffemodel(Training(run, undisturbed, 6).weights_at(6))
    for name in ("conv1_1", "fc6", "score_fr"):
        np.testing.assert_allclose(found[name][0], expected[name][0], rtol=1e-3, atol=1e-6)


def without_dropout(family):
    """The same with a net whose dropout keeps everything."""
    name = "lite_nomask_without_dropout"
    return replace(family, nets={**family.nets, "plain": name})


@pytest.fixture(autouse=True)
def net_without_dropout(tmp_path, monkeypatch):
    net = NETS["lite_nomask"]
    folder = tmp_path / "lite_nomask_without_dropout"
    shutil.copytree(net.train_val.parent, folder)
    for path in folder.iterdir():
        path.write_text(path.read_text().replace("dropout_ratio: 0.5", "dropout_ratio: 0"))
    changed = type("Net", (type(net),), {"_file": lambda _, kind: folder / f"{kind}.prototxt"})
    monkeypatch.setitem(NETS, folder.name, changed(folder.name, has_shape_mask=False))


def test_crf_rnn_waits_for_its_crf_and_starts_with_it(family):
    runs = chosen_runs(["crfrnn"])
    with pytest.raises(InputError, match="crfrnn_start.json does not exist; run `tools/table1.py"):
        train(family, runs, 2)
    # Kernels of the definition for deployment, and other weights than it starts with.
    crf = CrfSettings(theta_alpha=40, theta_gamma=1.5, bilateral_weight=0.2, spatial_weight=0.7)
    begun_with = []
    choose = chooses(family, Settings(crf=crf), begun_with)
    train(family, runs, 2, choose_start=choose)
    train(family, runs, 4, choose_start=choose)
    assert begun_with == ["fcn_trimap_slice_1-2.caffemodel"]
    training = Training(runs[-1], family, 2)
    learned = read_caffemodel(training.weights_at(4))["crf_score"]
    assert 0 < np.abs(learned[0] - 0.7 * np.eye(3)).max() < 0.1
    assert '\\"bilateral_weight\\": 0.2' in training.net.read_text()

    files = NetFiles(NETS["lite_crfrnn"], "lite", training.weights_at(4), family.shape_mask, crf)
    photo = np.random.default_rng(0).integers(0, 256, (800, 600, 3), np.uint8)
    photo = cv2.GaussianBlur(photo, (0, 0), 20)
    view = PhotoView(photo, FaceDetector())
    assert not view.faces
    net = caffe.Net(str(NETS["lite_crfrnn"].deploy), caffe.TEST, weights=str(files.weights))
    small = eight_bit_resized(photo, net.blobs["data"].data.shape[2:])
    net.blobs["data"].data[0] = (small - np.array(MEAN_BGR)).transpose(2, 0, 1)
    net.forward()
    expected = net.blobs["crf_score"].data[0]
    np.testing.assert_allclose(files.load_scores()(view), expected, atol=1e-4)


def test_a_start_without_crf_is_refused_for_crf_rnn(family):
    runs = chosen_runs(["crfrnn"])
    with pytest.raises(InputError, match="crfrnn_start.json has no CRF; remove it"):
        train(family, runs, 2, choose_start=chooses(family, Settings(), []))


def test_the_matte_is_learned_from_calibrated_scores(family):
    """Probabilities in front of the matting layer are those of calibrated scores."""
    runs = chosen_runs(["ours"])
    with pytest.raises(InputError, match="ours_start.json does not exist; run `tools/table1.py"):
        train(family, runs, 2)
    begun_with = []
    choose = chooses(family, Settings(sharpness=4.0, unknown_bias=1.5), begun_with)
    train(family, runs, 2, choose_start=choose)
    assert begun_with == ["fcn_mask_trimap_slice_1-2.caffemodel"]
    training = Training(runs[-1], family, 2)
    net = caffe.Net(str(training.stage().net), caffe.TRAIN, weights=str(training.weights_at(2)))
    net.forward()
    score, prob = (net.blobs[name].data[0] for name in ("score", "prob"))
    raised = np.exp(calibrated_scores(score.astype(np.float64), 4.0, 1.5))
    np.testing.assert_allclose(prob, raised / raised.sum(axis=0), atol=1e-5)


def test_the_loss_of_the_trimap_is_that_of_scores_before_calibration(tmp_path):
    family = replace(HALF, folder=tmp_path)
    (run,) = chosen_runs(["ours"], starts=False)
    settings = Settings(sharpness=16.0, unknown_bias=2.0)
    write_report(family.start_of(run), {"settings": settings.to_json()})
    definition = text_format.Parse(
        Training(run, family, 2).net.read_text(), caffe_pb2.NetParameter()
    )
    bottoms = {layer.name: list(layer.bottom) for layer in definition.layer}
    assert bottoms["trimap_loss"] == ["score", "label"]
    assert bottoms["prob"] == ["calibrated_score"]


def test_trainings_after_a_shorter_warm_start_begin_anew(family):
    """The length that they had reached does not count, and their files are kept."""
    runs = chosen_runs(["crfrnn"])
    warm, crfrnn = (Training(run, family, 4) for run in runs)
    choose = chooses(family, Settings(crf=CrfSettings()), [])
    train(family, runs, 2, choose_start=choose)
    begun_after = [warm_iterations_of(crfrnn)]
    first = family.start_of(crfrnn.run).read_text()
    train(family, runs, 2, warm_iterations=4, choose_start=choose)
    begun_after.append(warm_iterations_of(crfrnn))
    assert begun_after == [2, 4] and family.start_of(crfrnn.run).read_text() != first
    assert (warm.reached(), crfrnn.reached()) == (4, 2)
    assert list(family.folder.glob("crfrnn.stale-*/crfrnn_iter_2.caffemodel"))


def test_all_trainings_begin_anew_on_other_portraits(family, tmp_path):
    """In slices, warm starts that are complete too, and nothing is lost."""
    runs = chosen_runs(["fcn"])
    train(family, runs, 2)
    (tmp_path / "others").mkdir()
    dataset = small_dataset(tmp_path / "others", number=1)
    train(replace(family, prepared=prepared_databases(dataset)), runs, 4, warm_iterations=2)
    for run, ends in zip(runs, ([2], [2, 4])):
        assert [last for _, last in Training(run, family, 2).slices()] == ends
        assert list(family.folder.glob(f"{run.name}.stale-*/{run.name}_iter_2.caffemodel"))


def test_a_finished_training_begins_anew_after_a_warm_start_that_was_trained_anew(family, tmp_path):
    """Also where a stop came between both; until then it is not chosen from."""
    runs = chosen_runs(["fcn"])
    warm, after = runs
    train(family, runs, 2)
    (tmp_path / "others").mkdir()
    dataset = small_dataset(tmp_path / "others", number=1)
    changed = replace(family, prepared=prepared_databases(dataset))
    train(changed, [warm], 2, warm_iterations=2)
    training = Training(after, changed, 2)
    assert training.reached() == 2
    with pytest.raises(InputError, match="fcn began from an earlier fcn_trimap_slice_1-2.caffe"):
        training.check_start()
    train(changed, runs, 2)
    training.check_start()
    assert list(family.folder.glob("fcn.stale-*/fcn_iter_2.caffemodel"))


def test_a_finished_training_begins_anew_with_another_solver_file(family):
    runs = chosen_runs(["fcn"])
    train(family, runs, 2)
    text = family.solver.read_text()
    family.solver.write_text(
        text + "weight_decay: 0.01\n"
        if "weight_decay" not in text
        else text.replace("weight_decay: 0", "weight_decay: 1")
    )
    train(family, runs, 2)
    assert list(family.folder.glob("fcn.stale-*/fcn_iter_2.caffemodel"))
    assert not list(family.folder.glob("fcn_trimap.stale-*"))


def test_a_slice_goes_on_where_a_shorter_one_ended(family):
    (run,) = chosen_runs(["fcn_trimap"])
    long = replace(family, folder=family.folder / "long", slice_iterations=4)
    train(long, [run], 3)
    train(long, [run], 4)
    assert list(Training(run, long, 4).slices()) == [(1, 3), (4, 4)]


def test_a_killed_slice_is_trained_again(family):
    (run,) = chosen_runs(["fcn_trimap"])
    train(family, [run], 2)
    training = Training(run, family, 4)
    state = training.weights_at(2).with_suffix(".solverstate")
    # As if killed while Caffe wrote the state of the second slice.
    training.weights_at(4).write_bytes(b"")
    training.weights_at(4).with_suffix(".solverstate").write_bytes(state.read_bytes()[:-1])
    assert training.reached() == 2
    train(family, [run], 4)
    assert training.reached() == 4 and read_caffemodel(training.weights_at(4))


def test_turns_go_to_whoever_is_behind():
    trainings = [Training(run, HALF, 300) for run in RUNS]
    reached = dict.fromkeys((run.name for run in RUNS), 0)
    assert next_slice(trainings, reached, 200) == (trainings[0], 100)
    for each in trainings:
        reached[each.run.name] = 0 if each.run.after else 300
    order = []
    while found := next_slice(trainings, reached, 150):
        training, reached[training.run.name] = found
        order.append((training.run.name, found[1]))
    later = [run.name for run in RUNS if run.after]
    assert order == [(name, 100) for name in later] + [(name, 150) for name in later]


def test_an_unknown_training_is_named():
    with pytest.raises(InputError, match="There is no training vgg; there are fcn_trimap, "):
        chosen_runs(["vgg"])
