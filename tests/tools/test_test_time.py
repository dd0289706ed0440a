"""Test-time augmentation: scores of views are moved back to where the photo is."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from data_prep.common.assets import fetch
from data_prep.common.images import read_photo
from tools.matting.test_time import (
    ALIAS_SIGMA,
    VIEWS,
    mean_over_views,
    view_matrix,
    warped_back,
    warped_view,
)

SHAPE = (96, 128)  # rows, columns


@pytest.fixture(scope="module")
def double() -> np.ndarray:
    """A photo at twice the size of the net, without detail that resampling loses."""
    photo = cv2.GaussianBlur(read_photo(fetch("astronaut")), (0, 0), 6)
    return cv2.resize(photo, (2 * SHAPE[1], 2 * SHAPE[0]), interpolation=cv2.INTER_AREA)


@pytest.fixture(scope="module")
def smooth(double) -> np.ndarray:
    return cv2.GaussianBlur(double, (0, 0), ALIAS_SIGMA)


@pytest.mark.parametrize("view", VIEWS)
def test_a_view_moved_back_is_the_photo(double, smooth, view):
    expected = cv2.resize(double, SHAPE[::-1], interpolation=cv2.INTER_AREA)
    expected = expected[:, :, 1].astype(np.float32)
    matrix = view_matrix(view, SHAPE)
    picture = warped_view(smooth, matrix)[:, :, 1].astype(np.float32)
    inside = warped_back(np.ones(SHAPE, np.float32), matrix) == 1
    assert inside.mean() > 0.8
    back = warped_back(picture, matrix)

    def difference(x: float, y: float) -> float:
        shift = np.float64([[1, 0, x], [0, 1, y]])
        moved = cv2.warpAffine(expected, shift, SHAPE[::-1], borderMode=cv2.BORDER_REPLICATE)
        return np.abs(back - moved)[inside].mean()

    assert difference(0, 0) < 1.5
    for x, y in ((0.1, 0), (-0.1, 0), (0, 0.1), (0, -0.1)):
        assert difference(0, 0) < difference(x, y)


def test_views_differ_in_their_grids(smooth):
    pictures = [warped_view(smooth, view_matrix(view, SHAPE)) for view in VIEWS]
    for i, picture in enumerate(pictures):
        for other in pictures[:i]:
            assert np.abs(picture.astype(float) - other).mean() > 2


def test_the_mean_of_pointwise_scores_is_those_scores(double):
    def brightness(picture: np.ndarray) -> np.ndarray:
        return picture.mean(axis=2, dtype=np.float32)

    expected = brightness(cv2.resize(double, SHAPE[::-1], interpolation=cv2.INTER_AREA))
    found = mean_over_views(double, brightness)
    assert np.abs(found - expected).mean() < 1


def test_scores_may_have_several_channels(double):
    """Each is treated as it would be alone; so is a mask beside the colors."""
    picture = np.dstack([double, double[:, :, 0]])

    def channels(view: np.ndarray) -> np.ndarray:
        return np.ascontiguousarray(view[:, :, [3, 1, 0]], np.float32)

    def green(view: np.ndarray) -> np.ndarray:
        return np.ascontiguousarray(view[:, :, 1], np.float32)

    found = mean_over_views(picture, channels)
    assert found.shape == (*SHAPE, 3)
    np.testing.assert_array_equal(found[:, :, 0], found[:, :, 2])
    np.testing.assert_allclose(found[:, :, 1], mean_over_views(picture, green), atol=1e-3)
