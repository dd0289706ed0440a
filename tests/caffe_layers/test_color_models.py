"""Colors: the foreground's own, and alpha from pairs of known ones."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from caffe_layers.color_models import (
    LARGE_SWEEPS,
    REGULARIZATION,
    SMALL_SIDE,
    SMALL_SWEEPS,
    foreground_colors,
    sampled_alpha,
)

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


def whole_image_colors(photo: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """Multi-level foreground estimation (Germer et al. 2020), every level swept as a whole."""

    def nearest(image, shape):
        rows, columns = (np.arange(n) * m // n for n, m in zip(shape, image.shape))
        return image[rows[:, None], columns]

    image, alpha = photo / 255, np.float64(np.float32(alpha))
    colors = [
        image[part].sum(axis=0) / (part.sum() + 1e-5) for part in (alpha >= 0.9, alpha <= 0.1)
    ]
    layers = np.array(colors)[:, None, None, :]  # foreground and background
    levels = int(np.ceil(np.log2(max(alpha.shape))))
    for k in range(levels + 1):
        shape = tuple(round(side ** (k / levels)) for side in alpha.shape)
        layers = np.stack([nearest(layer, shape) for layer in layers])
        color, a = nearest(image, shape), nearest(alpha, shape)
        black = np.indices(shape).sum(axis=0) % 2 == 0
        for red in [False, True] * (SMALL_SWEEPS if max(shape) <= SMALL_SIDE else LARGE_SWEEPS):
            padded, around = (
                np.pad(layers, ((0, 0), (1, 1), (1, 1), (0, 0)), "edge"),
                np.pad(a, 1, "edge"),
            )
            parts = [np.s_[:-2, 1:-1], np.s_[2:, 1:-1], np.s_[1:-1, :-2], np.s_[1:-1, 2:]]
            weights = [REGULARIZATION + abs(a - around[part]) for part in parts]
            total = sum(weights)
            f, g = (
                share[:, :, None] * color
                + sum(w[:, :, None] * layer[part] for w, part in zip(weights, parts))
                for share, layer in zip((a, 1 - a), padded)
            )
            aa, ab, bb = ((a * a + total), a * (1 - a), ((1 - a) ** 2 + total))
            inverse = 1 / (aa * bb - ab * ab)
            solved = [(bb, f, ab, g), (aa, g, ab, f)]
            for layer, (own, left, cross, right) in zip(layers, solved):
                new = inverse[..., None] * (own[..., None] * left - cross[..., None] * right)
                layer[black != red] = np.clip(new, 0, 1)[black != red]
    return 255 * layers[0]


def test_tiles_of_a_photo_give_the_colors_of_the_whole_where_anything_is_visible():
    rng = np.random.default_rng(0)
    photo = cv2.resize(rng.integers(0, 256, (24, 30, 3), np.uint8), (300, 230))
    rows, columns = np.mgrid[:230, :300]
    alpha = np.clip((90 - np.hypot(rows - 110, columns - 130)) / 9, 0, 1)
    colors = foreground_colors(photo, alpha)
    visible, inside = alpha > 0, np.hypot(rows - 110, columns - 130) < 77
    expected = whole_image_colors(photo, alpha)
    assert np.abs(colors[visible] - expected[visible]).max() < 0.6
    np.testing.assert_array_equal(colors[inside], photo[inside])
    deep = foreground_colors(photo.astype(np.uint16) * np.uint16(257), alpha)
    assert np.abs(deep[visible] / 257 - expected[visible]).max() < 0.05


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
