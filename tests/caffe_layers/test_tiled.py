"""The matting solve in tiles is that of the whole."""

from __future__ import annotations

from functools import partial

import cv2
import numpy as np
import pytest

from caffe_layers import tiled
from caffe_layers.linear_solver import SolveError
from caffe_layers.matting import solve_alpha
from caffe_layers.tiled import solve_alpha_bounded, solve_alpha_in_tiles

#: Six tiles of the test's photo.
SMALL_TILES = {"tile": 100, "overlap": 40, "coarse_pixels": 6000}


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
    found = solve_alpha_in_tiles(photo, *known, **SMALL_TILES)
    np.testing.assert_allclose(found, whole, atol=0.02)


@pytest.mark.parametrize("lambda_", [1e-3, 1e9])
def test_tiles_agree_with_the_whole_for_any_weight_of_the_known_pixels(case, lambda_):
    photo, foreground, background = case
    known = foreground.astype(np.float32), background.astype(np.float32)
    whole = solve_alpha(photo, *known, lambda_)
    found = solve_alpha_in_tiles(photo, *known, lambda_, **SMALL_TILES)
    np.testing.assert_allclose(found, whole, atol=0.02)


def test_tiles_are_regularized_as_the_whole(case):
    photo, foreground, background = case
    whole, other = (solve_alpha(*case, epsilon=epsilon) for epsilon in (1e-4, 1e-7))
    found = solve_alpha_in_tiles(photo, foreground, background, epsilon=1e-4, **SMALL_TILES)
    np.testing.assert_allclose(found, whole, atol=0.02)
    assert np.abs(whole - other).max() > 0.04


@pytest.mark.parametrize("level, times", [(3e-3, 1), (0, 2)])
def test_tiles_that_agree_are_solved_once(case, level, times, monkeypatch):
    """Where unknown pixels have opinions of their own, tiles agree wherever they overlap."""
    photo, foreground, background = case
    opinion = [np.where(foreground | background, 0, level / 2)] * 2
    known = [each + more for each, more in zip((foreground, background), opinion)]
    sizes = []

    def counted(image, *others, **options):
        sizes.append(image.shape)
        return solve_alpha(image, *others, **options)

    monkeypatch.setattr(tiled, "solve_alpha", counted)
    found = solve_alpha_in_tiles(photo, *known, tile=100, overlap=16, coarse_pixels=6000)
    assert len(sizes) == 1 + 6 * times  # the reduced photo, and six tiles
    np.testing.assert_allclose(found, solve_alpha(photo, *known), atol=0.02 if times == 1 else 0.2)


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


# --- as a whole or in tiles ------------------------------------------------------------


@pytest.fixture(params=["as a whole", "in tiles"])
def bounded(request, monkeypatch):
    """`solve_alpha_bounded` either way."""
    if request.param == "in tiles":
        monkeypatch.setattr(tiled, "WHOLE_PIXELS", 0)
        small = partial(solve_alpha_in_tiles, **SMALL_TILES)
        monkeypatch.setattr(tiled, "solve_alpha_in_tiles", small)
    return solve_alpha_bounded


@pytest.mark.parametrize("limit", ["WHOLE_PIXELS", "WHOLE_UNKNOWN"])
def test_what_just_fits_is_solved_as_a_whole_and_one_pixel_more_in_tiles(case, limit, monkeypatch):
    photo, foreground, background = case
    unknown = np.count_nonzero(~(foreground | background))
    size = {"WHOLE_PIXELS": foreground.size, "WHOLE_UNKNOWN": unknown}[limit]
    assert 0 < unknown < foreground.size
    monkeypatch.setattr(tiled, "solve_alpha", lambda *_, **__: "as a whole")
    monkeypatch.setattr(tiled, "solve_alpha_in_tiles", lambda *_: "in tiles")
    for most, how in ((size, "as a whole"), (size - 1, "in tiles")):
        monkeypatch.setattr(tiled, limit, most)
        assert solve_alpha_bounded(photo, foreground, background) == how


def test_a_photo_is_smoothed_in_tiles_as_it_is_as_a_whole(case, monkeypatch):
    photo, foreground, background = case
    rough, smooth = (solve_alpha(*case, smooth=smooth) for smooth in (False, True))
    monkeypatch.setattr(tiled, "WHOLE_PIXELS", 0)
    found = solve_alpha_bounded(photo, foreground, background, smooth=True)
    np.testing.assert_allclose(found, smooth, atol=1e-5)
    assert np.abs(rough - smooth).max() > 0.01


def test_without_an_unknown_pixel_alpha_is_what_is_known(case, bounded):
    photo, foreground, _ = case
    np.testing.assert_allclose(bounded(photo, foreground, ~foreground), foreground, atol=0.05)


def test_without_a_known_pixel_everything_is_background(case, bounded):
    photo, foreground, _ = case
    nothing = np.zeros(foreground.shape)
    np.testing.assert_array_equal(bounded(photo, nothing, nothing), nothing)


def test_probabilities_of_any_size_leave_alpha_from_0_to_1(case, bounded):
    photo, foreground, background = case
    found = bounded(photo, 1e6 * foreground, 1e6 * background)
    assert found.min() == 0 and found.max() == 1
    np.testing.assert_allclose(found, solve_alpha(*case, lambda_=1e8), atol=0.02)


@pytest.mark.parametrize("level", [0, 255])
def test_black_and_white_photos_have_a_smooth_matte(bounded, level):
    foreground, background = np.zeros((2, 30, 40))
    foreground[:, :9], background[:, -9:] = 1, 1
    found = bounded(np.full((30, 40, 3), level, np.uint8), foreground, background)
    assert found[:, :9].min() > 0.99 and found[:, -9:].max() < 0.01
    assert np.all(np.diff(found, axis=1) <= 1e-6)


@pytest.mark.parametrize("shape", [(3, 3), (3, 200), (240, 3)])
def test_the_narrowest_photos_are_solved(case, bounded, shape):
    photo = case[0][: shape[0], : shape[1]]
    foreground, background = np.zeros((2, *shape))
    foreground[0, 0] = background[-1, -1] = 1
    found = bounded(photo, foreground, background)
    np.testing.assert_allclose(found, solve_alpha(photo, foreground, background), atol=0.02)
    assert found[0, 0] > 0.9 and found[-1, -1] < 0.1


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("which", [0, 1])
def test_a_probability_that_is_not_finite_is_refused(case, bounded, which, value):
    photo, *known = case
    known[which] = known[which].astype(float)
    known[which][5, 6] = value
    with pytest.raises(ValueError, match="probabilities are not finite"):
        bounded(photo, *known)


def test_negative_probabilities_are_refused(case, bounded):
    photo, foreground, background = case
    with pytest.raises(SolveError):
        bounded(photo, foreground - 0.1, background)


@pytest.mark.parametrize("lambda_", [0.0, -1.0, np.nan, np.inf])
def test_a_lambda_that_is_not_positive_is_refused(case, bounded, lambda_):
    with pytest.raises(ValueError, match="lambda must be positive"):
        bounded(*case, lambda_)


@pytest.mark.parametrize("mu", [-1.0, np.nan])
def test_a_negative_mu_is_refused(case, bounded, mu):
    with pytest.raises(ValueError, match="mu must not be negative"):
        bounded(*case, mu=mu)


@pytest.mark.parametrize("larger", [0, 1, 2])
def test_an_image_and_maps_of_different_sizes_are_refused(case, bounded, larger):
    arrays = [each[:-1, :-1] for each in case]
    arrays[larger] = case[larger]
    with pytest.raises(ValueError, match="differ in size"):
        bounded(*arrays)
