"""Decoding of the face detector's output, against loops over cells."""

from __future__ import annotations

import numpy as np
import pytest

from tools.matting.face_boxes import STRIDE, FaceBox, decoded, unpacked


def test_channels_become_cells():
    """Each of the four cells has its own values, in rows, then columns."""
    channels = np.random.default_rng(0).normal(size=(4 * 3, 5, 7))
    cells = unpacked(channels)
    assert cells.shape == (10, 14, 3)
    for row in range(10):
        for column in range(14):
            part = 2 * (row % 2) + column % 2
            wanted = channels[3 * part : 3 * part + 3, row // 2, column // 2]
            np.testing.assert_array_equal(cells[row, column], wanted)


def test_boxes_lie_relative_to_the_centers_of_their_cells():
    random = np.random.default_rng(1)
    logits, values = random.normal(size=(4, 3, 5)), random.normal(size=(64, 3, 5)) * 10
    found = decoded(logits, values, 0.6)
    wanted = []
    scores, boxes = unpacked(logits), unpacked(values)
    for row in range(6):
        for column in range(10):
            score = 1 / (1 + np.exp(-scores[row, column, 0]))
            if score >= 0.6:
                # The middle of the cell's pixels, which are STRIDE x STRIDE.
                x = np.arange(STRIDE * column, STRIDE * (column + 1)).mean()
                y = np.arange(STRIDE * row, STRIDE * (row + 1)).mean()
                dx, dy, width, height, *points = boxes[row, column]
                left, top = x + dx - width / 2, y + dy - height / 2
                box = [left, top, left + width, top + height]
                wanted.append((score, box, np.reshape(points, (6, 2)) + [x, y]))
    wanted.sort(key=lambda each: -each[0])
    assert 0 < len(found) == len(wanted)
    for face, (score, box, points) in zip(found, wanted):
        assert face.score == pytest.approx(score)
        np.testing.assert_allclose(face.box, box)
        np.testing.assert_allclose(face.points, points)


def test_a_turned_face_leans():
    upright = np.array([[-4, -5], [4, -5], [0, 0], [0, 5], [-9, 0], [9, 0]], float)
    for degrees in (-80, -10, 0, 45, 170):
        angle = np.radians(degrees)
        # Image rows go down: a positive angle turns the top of the head to the right.
        turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
        assert FaceBox(np.zeros(4), upright @ turn, 1.0).lean == pytest.approx(degrees)
