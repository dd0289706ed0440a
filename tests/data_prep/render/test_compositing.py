"""Compositing: the identity, foreground colors, exposure, camera effects."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

from data_prep.common.srgb import to_display, to_linear
from data_prep.render.base.colors import luminance
from data_prep.render.base.randomness import generator
from data_prep.render.shot.compositing import (
    camera_effects,
    choose_development,
    composite,
    develop_background,
    exposure,
    quantized,
    tone_mapped,
    unpremultiplied,
)

NEUTRAL = replace(
    choose_development(generator(0, 0, "development")),
    brightness=1.0,
    contrast=1.0,
    saturation=1.0,
    white_balance=(1.0, 1.0, 1.0),
    noise=0.0,
    grain=0.0,
    jpeg_quality=100,
)


@pytest.fixture
def rng():
    return generator(0, 0, "test")


@pytest.fixture
def disk():
    """A soft disk: coverage (64, 64)."""
    y, x = np.mgrid[:64, :64] - 31.5
    return np.clip((22 - np.hypot(x, y)) / 12 + 0.5, 0, 1).astype(np.float32)


def test_linear_and_display_are_inverse():
    values = np.linspace(0, 1, 1001)
    np.testing.assert_allclose(to_display(to_linear(values)), values, atol=1e-6)


@pytest.mark.parametrize("bits", [8, 16])
def test_the_photo_is_the_composite_to_rounding(rng, bits):
    # Holds for what is delivered: 8-bit colors, the matte as it is written.
    foreground, background = rng.integers(0, 256, (2, 40, 30, 3)).astype(np.uint8)
    matte = quantized(rng.random((40, 30)), bits)
    photo = camera_effects(composite(foreground, background, matte), NEUTRAL)
    alpha = matte[..., None].astype(np.float64) / (2**bits - 1)
    exact = alpha * foreground + (1 - alpha) * background
    assert np.abs(photo - exact).max() <= 0.5 + 1e-3


def test_the_color_of_one_surface_is_recovered_everywhere(disk):
    color = np.array([0.8, 0.3, 0.1], np.float32)
    recovered = unpremultiplied(disk[..., None] * color, disk)
    np.testing.assert_allclose(
        recovered[disk > 0.01], np.tile(color, ((disk > 0.01).sum(), 1)), rtol=1e-4
    )


def test_covered_pixels_keep_their_own_color(rng, disk):
    colors = rng.random((64, 64, 3)).astype(np.float32)
    recovered = unpremultiplied(disk[..., None] * colors, disk)
    np.testing.assert_allclose(recovered[disk == 1], colors[disk == 1], rtol=1e-5)


def test_noise_of_thin_hair_is_averaged_away(rng, disk):
    # Few samples: coverage and color of a pixel are off by the same hits and misses.
    hits = rng.binomial(14, disk) / 14
    noisy = hits.astype(np.float32)
    light = rng.normal(0.5, 0.2, (64, 64, 1)) * np.ones(3)
    recovered = unpremultiplied((noisy[..., None] * light).astype(np.float32), noisy)
    thin = (disk > 0.05) & (disk < 0.4)
    assert recovered[thin].std() < 0.09
    assert recovered[thin].mean() == pytest.approx(0.5, abs=0.05)


def test_a_bright_strand_over_the_background_stays_brighter_than_its_neighbors():
    coverage = np.full((40, 40), 0.3, np.float32)
    light = np.full((40, 40, 1), 0.2, np.float32)
    light[:, 20] = 0.6
    recovered = unpremultiplied(coverage[..., None] * light * np.ones(3, np.float32), coverage)
    brighter = recovered[20, 20] / recovered[20, 35]
    assert 1.4 < brighter.max() < 2.5


def test_nothing_is_black():
    assert not unpremultiplied(np.zeros((20, 20, 3)), np.zeros((20, 20))).any()


@pytest.mark.parametrize("light", [0.01, 0.3, 20.0])
def test_exposure_does_not_depend_on_the_light(light):
    gray = np.full((50, 50, 3), light)
    gain = exposure(gray, np.ones((50, 50)), (25, 25, 10), skin_tone=0.2, brightness=1.0)
    assert gain * light == pytest.approx(0.47 - 0.30 * 0.2)


def test_dark_skin_stays_darker():
    gray, full = np.full((50, 50, 3), 0.4), np.ones((50, 50))
    pale, dark = (exposure(gray, full, (25, 25, 10), tone, 1.0) for tone in (0.1, 0.9))
    assert dark < 0.6 * pale


def test_tones_are_monotonous():
    ramp = np.linspace(0, 8, 500)[None, :, None] * np.ones(3)
    display = tone_mapped(ramp, 1.0, NEUTRAL)
    assert (np.diff(display[0, :, 0]) >= 0).all()
    assert display[0, 0, 0] == 0 and display[0, -1, 0] > 0.95


def test_a_neutral_development_leaves_a_background():
    display = generator(0, 0, "test").random((10, 10, 3))
    np.testing.assert_allclose(develop_background(display, NEUTRAL), display, atol=1e-5)


def test_white_balance_warms_both():
    warm = replace(NEUTRAL, white_balance=(1.2, 1.0, 0.8))
    gray = np.full((4, 4, 3), 0.3)
    for developed in (tone_mapped(gray, 1.0, warm), develop_background(gray, warm)):
        red, green, blue = developed[0, 0]
        assert red > green > blue


def test_noise_is_as_strong_as_it_says():
    gray = np.full((200, 200, 3), 128, np.float32)
    noisy = camera_effects(gray, replace(NEUTRAL, noise=0.01)).astype(float)
    assert noisy.std() == pytest.approx(2.55, rel=0.2)
    assert noisy.mean() == pytest.approx(128, abs=0.2)


def test_effects_are_the_same_every_time():
    choice = replace(NEUTRAL, noise=0.01, grain=0.5, jpeg_quality=80)
    photo = generator(0, 0, "test").random((60, 40, 3)).astype(np.float32) * 255
    photo = cv2.GaussianBlur(photo, (0, 0), 3)
    first, second = camera_effects(photo, choice), camera_effects(photo, choice)
    np.testing.assert_array_equal(first, second)
    assert np.abs(first - photo).mean() < 4


def test_luminance_of_white_is_one():
    assert luminance(np.ones(3)) == pytest.approx(1.0)
