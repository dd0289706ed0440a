"""Decoding of the person detector's output, against loops, and the squares around people."""

from __future__ import annotations

import numpy as np
import pytest

from prototxt.catalog import POSE_ANCHORS
from prototxt.netspec.pose import PERSON_VALUES
from tools.matting.person_boxes import SQUARE_SCALE, PersonBox, decoded, letterboxed


def person(hips: tuple[float, float], top: tuple[float, float]) -> PersonBox:
    points = np.array([hips, top, hips, top], float)
    return PersonBox(np.array([0.0, 0, 1, 1]), points, 1.0)


def test_people_lie_relative_to_the_centers_of_their_cells():
    random = np.random.default_rng(1)
    logits, values, wanted = {}, {}, []
    for stride, anchors in POSE_ANCHORS.items():
        side = 224 // stride
        # As the original has them: one row of values for every anchor of every cell.
        scores = random.normal(-3, 1.5, (side, side, anchors))
        people = random.normal(0, 30, (side, side, anchors, PERSON_VALUES))
        logits[stride] = scores.transpose(2, 0, 1)
        values[stride] = people.reshape(side, side, -1).transpose(2, 0, 1)
        for row in range(side):
            for column in range(side):
                # The middle of the cell's pixels.
                x = np.arange(stride * column, stride * (column + 1)).mean()
                y = np.arange(stride * row, stride * (row + 1)).mean()
                for anchor in range(anchors):
                    score = 1 / (1 + np.exp(-scores[row, column, anchor]))
                    if score >= 0.5:
                        dx, dy, width, height, *points = people[row, column, anchor]
                        left, top = x + dx - width / 2, y + dy - height / 2
                        box = [left, top, left + width, top + height]
                        wanted.append((score, box, np.reshape(points, (4, 2)) + [x, y]))
    found = decoded(logits, values, 0.5)
    assert 0 < len(found) == len(wanted)
    key = lambda each: each[0]  # noqa: E731
    for (score, box, points), other in zip(
        sorted(wanted, key=key), sorted(found, key=lambda each: each.score)
    ):
        assert other.score == pytest.approx(score)
        np.testing.assert_allclose(other.box, box)
        np.testing.assert_allclose(other.points, points)


@pytest.mark.parametrize("top", [(100, 20), (180, 100), (100, 180), (20, 100), (140, 70)])
def test_a_square_has_the_hips_in_its_middle_and_the_head_above(top):
    one = person((100, 100), top)
    length = np.hypot(top[0] - 100, top[1] - 100)
    assert one.square_side == pytest.approx(2 * SQUARE_SCALE * length)
    matrix = one.square(64)
    # In the square the top is straight above the middle, at length / square_side of the rows.
    above = 31.5 - 64 * length / one.square_side
    for pixel, wanted in (((31.5, 31.5), (100, 100)), ((31.5, above), top)):
        np.testing.assert_allclose(matrix @ [*pixel, 1], wanted)
    # A rotation without mirroring, of one scale.
    assert np.linalg.det(matrix[:, :2]) == pytest.approx((one.square_side / 64) ** 2)
    np.testing.assert_allclose(matrix[:, 0] @ matrix[:, 1], 0, atol=1e-9)


@pytest.mark.parametrize("shape", [(120, 80), (80, 121), (90, 90), (30, 40)])
def test_a_photo_lies_in_the_middle_of_its_square(shape):
    photo = np.full((*shape, 3), 200, np.uint8)
    square, corner, scale = letterboxed(photo, 50)
    assert square.shape == (50, 50, 3)
    assert scale == max(shape) / 50
    # Black and light pixels begin where the photo's outer corners are.
    inside = np.argwhere(square[:, :, 0] > 100)
    first = (inside.min(axis=0)[::-1] - 0.5 + 0.5) * scale + corner
    last = (inside.max(axis=0)[::-1] + 0.5 + 0.5) * scale + corner
    np.testing.assert_allclose(first, -0.5, atol=0.6 * scale)
    np.testing.assert_allclose(last, np.array(shape[::-1]) - 0.5, atol=0.6 * scale)
