"""Colors: the foreground's own, and alpha from pairs of known ones."""

from __future__ import annotations

import numpy as np
import pytest

from caffe_layers.color_models import foreground_colors, sampled_alpha

PERSON, GROUND = np.array([40, 60, 200]), np.array([30, 220, 40])


@pytest.fixture
def ramp() -> tuple[np.ndarray, np.ndarray]:
    """A photo of two colors and its alpha, which falls from left to right."""
    columns = np.broadcast_to(np.arange(80), (60, 80))
    alpha = np.clip((50 - columns) / 20, 0, 1)
    mixed = alpha[:, :, None] * PERSON + (1 - alpha[:, :, None]) * GROUND
    return np.uint8(np.round(mixed)), alpha


@pytest.mark.parametrize("kind, scale", [(np.uint8, 1), (np.uint16, 257)])
def test_foreground_colors_are_free_of_the_ground(ramp, kind, scale):
    photo, alpha = ramp
    colors = foreground_colors(photo.astype(kind) * kind(scale), alpha)
    assert colors.dtype == kind and colors.shape == photo.shape
    edge = (alpha > 0.2) & (alpha < 1)
    assert np.abs(colors[edge] / scale - PERSON).max() < 25
    solid = alpha == 1
    np.testing.assert_allclose(colors[solid] / scale, photo[solid], atol=1)


def test_foreground_colors_do_not_depend_on_the_run(ramp):
    np.testing.assert_array_equal(foreground_colors(*ramp), foreground_colors(*ramp))


def test_sampled_alpha_unmixes_two_colors(ramp):
    photo, truth = ramp
    alpha, confidence = sampled_alpha(photo, truth == 1, truth == 0, reach=5)
    band = (truth > 0) & (truth < 1)
    np.testing.assert_allclose(alpha[band], truth[band], atol=0.05)
    assert confidence[band].min() > 0.5
    assert not confidence[~band].any()


def test_equal_colors_give_no_confidence():
    photo = np.full((40, 40, 3), 90, np.uint8)
    columns = np.broadcast_to(np.arange(40), (40, 40))
    _, confidence = sampled_alpha(photo, columns < 10, columns > 30, reach=5)
    assert confidence.max() < 0.01
