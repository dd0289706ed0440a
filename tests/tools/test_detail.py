"""The detail net in use: seams, sizes, what it leaves alone; and the pieces it learns from."""

from __future__ import annotations

from pathlib import Path

import caffe
import cv2
import lmdb
import numpy as np
import pytest
from caffe.proto import caffe_pb2

from data_prep.augmentation import ORIGINAL
from data_prep.dataset import Dataset
from data_prep.errors import InputError
from data_prep.images import read_matte, read_photo
from prototxt.blocks import MEAN_BGR
from prototxt.detail import GRID, REACH, SIDE
from tools import detail_data
from tools.detail import DEPLOY, LONGEST_SIDE, DetailNet, detail_size
from tools.init_weights import main as init_weights
from tools.models import ROOT
from tools.predict import Predictor, Sight, enlarged, reduced, solved
from tools.session import MattingSession

SAMPLE = Dataset.open(ROOT / "data/sample")


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> Path:
    """Random ones, the last layer's too: every unknown pixel is changed."""
    folder = tmp_path_factory.mktemp("detail")
    initial, path = folder / "init.caffemodel", folder / "stirred.caffemodel"
    assert init_weights(["portrait_detail", "--from", "nothing", "-o", str(initial)]) == 0
    net = caffe.Net(str(DEPLOY), str(initial), caffe.TEST)
    kernel = net.params["residual"][0].data
    kernel[...] = np.random.default_rng(0).normal(0, 0.02, kernel.shape)
    net.save(str(path))
    return path


def inputs(shape: tuple[int, int], seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    photo = rng.integers(256, size=(*shape, 3), dtype=np.uint8)
    return photo, rng.random(shape), rng.dirichlet([1, 1, 1], shape).transpose(2, 0, 1)[:2]


@pytest.mark.parametrize("shape", [(290, 530), (70, 65)])
def test_pieces_have_no_seams(weights, shape):
    """The residual in pieces is that of the whole photo with its border repeated."""
    photo, alpha, known = inputs(shape)
    padding = [(REACH, REACH + -n % GRID) for n in shape]
    whole = caffe.Net(str(DEPLOY), str(weights), caffe.TEST)
    colors = (photo - np.float32(MEAN_BGR)) / 255
    for name, planes in (("image", colors.transpose(2, 0, 1)), ("alpha", alpha[None]), ("known", known)):
        padded = np.pad(planes, [(0, 0), *padding], mode="edge")
        whole.blobs[name].reshape(1, *padded.shape)
        whole.blobs[name].data[0] = padded
    whole.reshape()
    for name, planes in (("image", colors.transpose(2, 0, 1)), ("alpha", alpha[None]), ("known", known)):
        whole.blobs[name].data[0] = np.pad(planes, [(0, 0), *padding], mode="edge")
    whole.forward()
    wanted = whole.blobs["residual"].data[0, 0, REACH:, REACH:][: shape[0], : shape[1]]
    found = DetailNet(weights, "make").residual(photo, alpha, known)
    assert found.shape == shape and np.abs(wanted).max() > 0.05
    np.testing.assert_allclose(found, wanted, atol=1e-5)


def test_known_photos_are_left_alone(weights):
    photo, alpha, known = inputs((300, 200))
    known[0], known[1] = 1, 0
    assert not DetailNet(weights, "make").residual(photo, alpha, known).any()


def test_missing_weights_name_their_command(tmp_path):
    with pytest.raises(InputError, match="none.caffemodel does not exist; make it with `make train-detail`"):
        Predictor("portrait_detail", detail=tmp_path / "none.caffemodel")


@pytest.fixture(scope="module")
def predictor(weights) -> Predictor:
    return Predictor("portrait_detail", detail=weights)


@pytest.fixture(scope="module")
def photo() -> np.ndarray:
    return read_photo(SAMPLE.test[0].photo)


def test_unknown_pixels_change_by_the_residual(predictor, weights, photo):
    sight = predictor.look(photo)
    assert sight.refine and sight.haze == 0
    alpha = solved(photo, sight, predictor.lambda_)
    refined = predictor.refined(photo, sight, alpha)
    known = sight.probabilities[:2]
    residual = DetailNet(weights, "make").residual(photo, alpha, known)
    wanted = np.clip(alpha + (1 - known.sum(axis=0)) * residual, 0, 1)
    np.testing.assert_allclose(refined, wanted, atol=1e-6)
    assert np.abs(refined - alpha).max() > 0.05
    certain = known.sum(axis=0) > 1 - 1e-6
    np.testing.assert_allclose(refined[certain], alpha[certain], atol=1e-5)
    np.testing.assert_array_equal(predictor(photo).alpha, refined)


def test_a_large_photo_is_seen_at_the_size_that_was_learned(predictor, weights):
    shape = (2 * LONGEST_SIDE, LONGEST_SIDE)
    assert detail_size(shape) == (LONGEST_SIDE, LONGEST_SIDE // 2)
    assert detail_size((800, 600)) == (800, 600)
    photo, alpha, known = inputs(shape)
    sight = Sight(np.float32([*known, 1 - known.sum(axis=0)]), (), True, refine=True)
    size = detail_size(shape)
    residual = DetailNet(weights, "make").residual(
        cv2.resize(photo, size[::-1], interpolation=cv2.INTER_AREA),
        reduced(alpha, size),
        np.stack([reduced(plane, size) for plane in sight.probabilities[:2]]),
    )
    change = enlarged(residual, shape) * (1 - known.sum(axis=0))
    np.testing.assert_allclose(
        predictor.refined(photo, sight, alpha), np.clip(alpha + change, 0, 1), atol=1e-4
    )


def test_sessions_make_the_same_matte(predictor, weights, photo, monkeypatch):
    session = MattingSession("portrait")
    monkeypatch.setattr(session, "_predictor", predictor)
    np.testing.assert_array_equal(session.matte(photo).alpha, predictor(photo).alpha)
    trimap = np.full(photo.shape[:2], 128, np.uint8)
    trimap[:100], trimap[-100:] = 0, 255
    plain = MattingSession(None).matte(photo, trimap=trimap).alpha
    np.testing.assert_allclose(session.matte(photo, trimap=trimap).alpha, plain, atol=0.01)


# --- pieces -----------------------------------------------------------------------


def read_records(folder: Path) -> list[np.ndarray]:
    with lmdb.open(str(folder), readonly=True, lock=False) as database, database.begin() as reader:
        data = [caffe_pb2.Datum.FromString(value).data for _, value in reader.cursor()]
    return [cv2.imdecode(np.frombuffer(each, np.uint8), cv2.IMREAD_UNCHANGED) for each in data]


def test_pieces_have_an_unknown_pixel_in_their_middle():
    unknown = np.zeros((300, 200))
    unknown[5, 190] = unknown[250, 100] = 1
    found = detail_data.corners(unknown, 20, np.random.default_rng(0))
    assert set(found) == {(0, 200 - SIDE), (300 - SIDE, 100 - SIDE // 2)}
    assert len(detail_data.corners(np.zeros((300, 200)), 20, np.random.default_rng(0))) == 20


def test_databases_hold_pieces_of_the_portrait_and_its_matte(tmp_path):
    portrait = SAMPLE.train[0]
    side = detail_data.Side("test", [(portrait, ORIGINAL, False)])
    detail_data.write(side, tmp_path, workers=1)
    images, mattes, solutions = (
        read_records(tmp_path / f"test_{part}") for part in ("image", "matte", "solved")
    )
    assert len(images) == len(mattes) == len(solutions) == detail_data.PIECES
    photo, truth = read_photo(portrait.photo), read_matte(portrait.matte)
    prediction = Predictor("portrait")(photo)
    for image, matte, solved_piece in zip(images, mattes, solutions):
        row, column = next(
            (row, column)
            for row, column in zip(*np.nonzero((photo == image[0, 0]).all(axis=2)))
            if np.array_equal(photo[row : row + SIDE, column : column + SIDE], image)
        )
        where = np.s_[row : row + SIDE, column : column + SIDE]
        assert np.array_equal(truth[where], matte)
        known = prediction.probabilities[:2, *where].transpose(1, 2, 0)
        np.testing.assert_allclose(solved_piece[..., 1:] / 255, known, atol=0.003)
        # The predictor has cut off its haze, 0.03 at either end.
        cut = np.clip((solved_piece[..., 0] / 255 - 0.03) / 0.94, 0, 1)
        np.testing.assert_allclose(cut, prediction.alpha[where], atol=0.003)


def test_a_killed_run_goes_on_and_a_finished_one_does_nothing(tmp_path, monkeypatch):
    side = detail_data.Side("train", detail_data.versions_of(SAMPLE.train[:1]))
    assert len(side.versions) == detail_data.VERSIONS == 2
    detail_data.write(side, tmp_path / "whole", workers=1)
    cut, calls = detail_data.cut, []

    def killed_at_the_second(version):
        calls.append(version)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return cut(version)

    monkeypatch.setattr(detail_data, "cut", killed_at_the_second)
    monkeypatch.setattr("data_prep.caffe_lmdb.RECORDS_PER_COMMIT", 4)
    with pytest.raises(KeyboardInterrupt):
        detail_data.write(side, tmp_path / "killed", workers=1)
    detail_data.write(side, tmp_path / "killed", workers=1)
    assert calls[2:] == [side.versions[1]]
    detail_data.write(side, tmp_path / "killed", workers=1)
    assert len(calls) == 3
    for part in detail_data.PARTS:
        pairs = zip(*(read_records(tmp_path / run / f"train_{part}") for run in ("whole", "killed")))
        assert all(np.array_equal(*pair) for pair in pairs)
