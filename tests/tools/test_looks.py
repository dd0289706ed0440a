"""Looks at a photo are put back to where they came from."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from data_prep.common.assets import fetch
from data_prep.common.images import read_photo
from tools.matting.test_time import (
    ALIAS_SIGMA,
    LOOKS,
    look_at,
    look_matrix,
    mean_of_looks,
    put_back,
)

SIZE = (96, 128)  # rows, columns


@pytest.fixture(scope="module")
def double() -> np.ndarray:
    """A photo at twice the size of the net, without detail that resampling loses."""
    photo = cv2.GaussianBlur(read_photo(fetch("astronaut")), (0, 0), 6)
    return cv2.resize(photo, (2 * SIZE[1], 2 * SIZE[0]), interpolation=cv2.INTER_AREA)


@pytest.fixture(scope="module")
def smooth(double) -> np.ndarray:
    return cv2.GaussianBlur(double, (0, 0), ALIAS_SIGMA)


@pytest.mark.parametrize("look", LOOKS)
def test_a_look_put_back_is_the_photo(double, smooth, look):
    expected = cv2.resize(double, SIZE[::-1], interpolation=cv2.INTER_AREA)
    expected = expected[:, :, 1].astype(np.float32)
    matrix = look_matrix(look, SIZE)
    seen = look_at(smooth, matrix)[:, :, 1].astype(np.float32)
    inside = put_back(np.ones(SIZE, np.float32), matrix) == 1
    assert inside.mean() > 0.8
    back = put_back(seen, matrix)

    def difference(x: float, y: float) -> float:
        shift = np.float64([[1, 0, x], [0, 1, y]])
        moved = cv2.warpAffine(expected, shift, SIZE[::-1], borderMode=cv2.BORDER_REPLICATE)
        return np.abs(back - moved)[inside].mean()

    assert difference(0, 0) < 1.5
    for x, y in ((0.1, 0), (-0.1, 0), (0, 0.1), (0, -0.1)):
        assert difference(0, 0) < difference(x, y)


def test_looks_differ_in_their_grids(smooth):
    views = [look_at(smooth, look_matrix(look, SIZE)) for look in LOOKS]
    for i, view in enumerate(views):
        for other in views[:i]:
            assert np.abs(view.astype(float) - other).mean() > 2


def test_mean_of_a_pointwise_answer_is_that_answer(double):
    def brightness(picture: np.ndarray) -> np.ndarray:
        return picture.mean(axis=2, dtype=np.float32)

    expected = brightness(cv2.resize(double, SIZE[::-1], interpolation=cv2.INTER_AREA))
    found = mean_of_looks(double, brightness)
    assert np.abs(found - expected).mean() < 1


def test_answers_may_have_several_channels(double):
    """Each is treated as it would be alone; so is a mask beside the colors."""
    picture = np.dstack([double, double[:, :, 0]])

    def channels(seen: np.ndarray) -> np.ndarray:
        return np.ascontiguousarray(seen[:, :, [3, 1, 0]], np.float32)

    def green(seen: np.ndarray) -> np.ndarray:
        return np.ascontiguousarray(seen[:, :, 1], np.float32)

    found = mean_of_looks(picture, channels)
    assert found.shape == (*SIZE, 3)
    np.testing.assert_array_equal(found[:, :, 0], found[:, :, 2])
    np.testing.assert_allclose(found[:, :, 1], mean_of_looks(picture, green), atol=1e-3)
