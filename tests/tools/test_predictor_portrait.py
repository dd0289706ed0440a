"""The trimap net in use: initial weights, so it sees what the segmenter sees."""

from __future__ import annotations

import numpy as np
import pytest

from data_prep.caffe_data.shape_mask import ShapeMask
from data_prep.common.assets import fetch
from data_prep.common.images import read_photo
from tools.convert_selfie import main as convert_selfie
from tools.init_weights import main as init_weights
from tools.matting.predictor import Predictor, is_inside, shape_like
from tools.matting.session import MattingSession


@pytest.fixture(scope="module")
def photo() -> np.ndarray:
    """Head and shoulders of the astronaut."""
    return np.ascontiguousarray(read_photo(fetch("astronaut"))[:300, 60:360])


@pytest.fixture(scope="module")
def session(tmp_path_factory) -> MattingSession:
    folder = tmp_path_factory.mktemp("portrait")
    segmenter, weights, mask = (
        folder / name for name in ("selfie.caffemodel", "init.caffemodel", "mask.npz")
    )
    assert convert_selfie(["-o", str(segmenter)]) == 0
    arguments = ["portrait", "--from", "selfie", "--source", str(segmenter), "-o", str(weights)]
    assert init_weights(arguments) == 0
    template = np.random.default_rng(1).uniform(60, 120, (68, 2))
    ShapeMask(np.full((200, 150), 0.5, np.float32), template).save(mask)
    return MattingSession(Predictor("portrait", weights=weights, shape_mask=mask))


def test_person_is_white_and_ground_is_black(session, photo):
    matte = session.matte(photo)
    assert matte.faces and matte.person_found
    assert matte.alpha.shape == (300, 300)
    np.testing.assert_allclose(matte.probabilities.sum(axis=0), 1, atol=1e-5)
    assert matte.alpha[60:290, 140:190].min() > 0.95
    assert matte.alpha[:100, 255:].max() < 0.05


def test_answer_does_not_depend_on_the_photos_before(session, photo):
    """Photos of another aspect give the net another size in between."""
    first = session.matte(photo).probabilities
    session.matte(photo[:150])
    np.testing.assert_array_equal(session.matte(photo).probabilities, first)


def test_nobody_is_found_in_a_plain_photo(session):
    matte = session.matte(np.full((120, 90, 3), 128, np.uint8))
    assert not matte.person_found and not matte.alpha.any()
    np.testing.assert_array_equal(matte.probabilities[1], 1)


def test_a_small_person_is_found_from_near(session, photo):
    wide = np.full((900, 1500, 3), 110, np.uint8)
    wide[600:900, 300:600] = photo
    matte = session.matte(wide)
    assert matte.person_found and matte.faces
    assert matte.alpha[700:880, 440:490].min() > 0.9
    assert matte.alpha[:, 900:].max() < 0.05


@pytest.mark.parametrize("shape", [(800, 600), (600, 800), (512, 512), (1000, 100), (64, 64)])
def test_the_net_s_input_has_the_photo_s_aspect(shape):
    area = 384 * 288
    rows, columns = shape_like(shape, area)
    assert rows % 16 == columns % 16 == 0
    assert rows * columns == pytest.approx(area, rel=0.1)
    wanted = min(max(shape[0] / shape[1], 0.4), 2.5)
    assert rows / columns == pytest.approx(wanted, rel=0.07)
    if shape == (800, 600):
        assert (rows, columns) == (384, 288)


def test_points_inside_an_image():
    points = np.array([[2.0, 3.0], [4.0, 5.0]])
    assert is_inside(points, (10, 10, 3))
    assert not is_inside(points - 4, (10, 10, 3))
    assert not is_inside(points + [0, 8], (10, 20, 3))
