"""The matting solve in tiles is that of the whole."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from caffe_layers.matting import solve_alpha
from caffe_layers.tiled import solve_alpha_in_tiles


@pytest.fixture(scope="module")
def case() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A noisy disk on a noisy ground, and its trimap as F and B."""
    rows, columns = np.mgrid[:240, :200]
    distance = np.hypot(rows - 120, columns - 100)
    alpha = np.clip((70 - distance) / 8 + 0.5, 0, 1)[:, :, None]
    noise = cv2.GaussianBlur(np.random.default_rng(0).normal(0, 60, (240, 200, 3)), (0, 0), 2)
    photo = alpha * (200, 120, 60) + (1 - alpha) * (40, 90, 160) + noise
    return photo.clip(0, 255).astype(np.uint8), distance < 60, distance > 80


def test_tiles_agree_with_the_whole_also_at_the_seams(case):
    photo, foreground, background = case
    known = foreground.astype(np.float32), background.astype(np.float32)
    whole = solve_alpha(photo, *known)
    tiled = solve_alpha_in_tiles(photo, *known, tile=100, overlap=40, coarse_pixels=6000)
    np.testing.assert_allclose(tiled, whole, atol=0.02)


def test_a_second_sweep_comes_nearer(case):
    photo, foreground, background = case
    known = foreground.astype(np.float32), background.astype(np.float32)
    whole = solve_alpha(photo, *known)
    errors = [
        np.abs(
            solve_alpha_in_tiles(
                photo, *known, tile=100, overlap=16, sweeps=sweeps, coarse_pixels=6000
            )
            - whole
        ).mean()
        for sweeps in (1, 2)
    ]
    assert errors[1] < errors[0]
