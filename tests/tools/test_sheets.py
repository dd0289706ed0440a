"""Sheets: every tile in its place, at a size for the screen."""

from __future__ import annotations

import numpy as np
import pytest

from tools.outputs import sheets
from tools.outputs.effects import EFFECTS


@pytest.fixture(scope="module")
def layers() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    photo, foreground = rng.integers(0, 256, (2, 40, 30, 3), dtype=np.uint8)
    return photo, rng.random((40, 30)), foreground


def test_before_after_shows_photo_cutout_and_matte(layers):
    photo, alpha, foreground = layers
    picture = sheets.before_after(photo, alpha, foreground)
    assert picture.shape == (40, 90 + 2 * sheets.GAP, 3)
    np.testing.assert_array_equal(picture[:, :30], photo)
    np.testing.assert_array_equal(picture[:, -30:, 1], np.uint8(alpha * 255 + 0.5))


def test_checkerboard_shows_where_alpha_is_zero(layers):
    photo, alpha, foreground = layers
    picture = sheets.before_after(photo, 0 * alpha, foreground)
    after = picture[:, 30 + sheets.GAP : 60 + sheets.GAP]
    assert set(np.unique(after)) == set(sheets.CHECKER_GRAYS)


def test_large_photos_get_a_small_sheet():
    photo = np.zeros((2000, 1000, 3), np.uint16)
    picture = sheets.before_after(photo, photo[:, :, 0], photo)
    assert picture.shape == (sheets.SHEET_HEIGHT, 1200 + 2 * sheets.GAP, 3)
    assert picture.dtype == np.uint8


def test_shrinking_averages_colors_by_their_opacity():
    foreground = np.zeros((2, 2, 3), np.uint8)
    foreground[0] = 200  # opaque; the other row is transparent and means nothing
    alpha = np.array([[1.0, 1.0], [0.0, 0.0]])
    _, opacity, colors = sheets.shrink(foreground, alpha, foreground, 0.5)
    assert opacity[0, 0] == pytest.approx(0.5)
    np.testing.assert_array_equal(colors[0, 0], 200)


def test_effects_sheet_has_a_tile_for_every_effect(layers):
    photo, alpha, foreground = layers
    sheet = sheets.effects_sheet(photo, alpha, foreground)
    across, down = 30 + sheets.GAP, 40 + sheets.CAPTION_HEIGHT + sheets.GAP
    rows = -(-(len(EFFECTS) + 3) // sheets.TILES_ACROSS)
    assert sheet.shape == (rows * down + sheets.GAP, 5 * across + sheets.GAP, 3)
    for number, effect in enumerate(EFFECTS.values(), start=3):
        left = sheets.GAP + number % 5 * across
        top = sheets.GAP + number // 5 * down + sheets.CAPTION_HEIGHT
        # `shrink` stores float32 alpha, which may round a value otherwise.
        expected = effect.apply(photo, np.float32(alpha), foreground)
        tile = sheet[top : top + 40, left : left + 30]
        assert np.abs(tile.astype(int) - expected).mean() < 2
