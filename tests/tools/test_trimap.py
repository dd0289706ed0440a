"""The unknown band: where it is, and what colors may say in it."""

from __future__ import annotations

import numpy as np

from tools.trimap import COLOR_WEIGHT, color_opinion, reached


def test_only_parts_that_touch_are_reached():
    region = np.array([[1, 1, 0, 0, 1], [0, 0, 0, 0, 1], [1, 0, 0, 0, 0]], bool)
    other = np.zeros_like(region)
    assert not reached(region, other).any()
    other[1, 3] = True
    expected = np.zeros_like(region)
    expected[:2, 4] = True
    np.testing.assert_array_equal(reached(region, other), expected)


def test_colors_make_no_holes_inside_a_person():
    """An island of doubt as gray as the background, in the middle of a red person."""
    photo = np.full((80, 80, 3), 128, np.uint8)
    photo[20:60, 20:60] = (20, 20, 220)
    photo[36:44, 36:44] = 128
    winner = np.full((80, 80), 1)
    winner[16:64, 16:64] = 2  # the band
    winner[24:56, 24:56] = 0
    winner[36:44, 36:44] = 2  # the island
    scores = np.float32(winner == np.arange(3)[:, None, None])
    foreground, background = color_opinion(photo, scores, np.float32(10 - 20 * (winner == 1)), [])
    island, band = np.s_[36:44, 36:44], np.s_[18, 30:50]
    assert np.all(foreground[island] == 0) and np.all(background[island] == 0)
    assert np.all(background[band] > 0.1 * COLOR_WEIGHT)  # elsewhere they speak
