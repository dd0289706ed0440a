"""Decoding of the face detector's output, against loops over cells and pairs."""

from __future__ import annotations

import numpy as np
import pytest

from tools.matting.detections import OVERLAP, merged, shares
from tools.matting.face_boxes import STRIDE, FaceBox, decoded, unpacked


def random_faces(count: int, seed: int) -> list[FaceBox]:
    random = np.random.default_rng(seed)
    corners = random.uniform(0, 60, (count, 2))
    boxes = np.hstack([corners, corners + random.uniform(5, 40, (count, 2))])
    points = random.uniform(0, 100, (count, 6, 2))
    scores = random.uniform(0.5, 1, count)
    return [FaceBox(*each) for each in zip(boxes, points, scores.tolist())]


def share_by_counting(a: np.ndarray, b: np.ndarray) -> float:
    """Intersection over union of boxes with whole corners, by counting unit squares."""

    def squares(box: np.ndarray) -> set[tuple[int, int]]:
        left, top, right, bottom = box.astype(int).tolist()
        return {(x, y) for x in range(left, right) for y in range(top, bottom)}

    return len(squares(a) & squares(b)) / len(squares(a) | squares(b))


def merged_by_loops(faces: list[FaceBox]) -> list[tuple[float, np.ndarray, np.ndarray]]:
    left, found = sorted(faces, key=lambda face: -face.score), []
    while left:
        best = left[0]
        group = [f for f in left if f is best or shares(best.box, f.box[None])[0] > OVERLAP]
        left = [f for f in left if not any(f is g for g in group)]
        total = sum(f.score for f in group)
        box = sum(f.score / total * f.box for f in group)
        points = sum(f.score / total * f.points for f in group)
        found.append((best.score, box, points))
    return found


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


def test_the_share_of_two_boxes_is_that_of_their_squares():
    random = np.random.default_rng(2)
    corners = random.integers(0, 12, (30, 2))
    boxes = np.hstack([corners, corners + random.integers(1, 12, (30, 2))]).astype(float)
    for box in boxes[:5]:
        wanted = [share_by_counting(box, other) for other in boxes]
        np.testing.assert_allclose(shares(box, boxes), wanted)


@pytest.mark.parametrize("count, seed", [(0, 0), (1, 1), (40, 2), (40, 3)])
def test_overlapping_faces_become_their_weighted_mean(count, seed):
    faces = random_faces(count, seed)
    found, wanted = merged(faces), merged_by_loops(faces)
    assert len(found) == len(wanted) and (count < 2 or len(found) < count)
    for face, (score, box, points) in zip(found, wanted):
        assert face.score == score
        np.testing.assert_allclose(face.box, box)
        np.testing.assert_allclose(face.points, points)


def test_boxes_without_area_are_merged_with_nothing_and_end():
    empty = FaceBox(np.array([5.0, 5, 5, 5]), np.zeros((6, 2)), 0.9)
    assert len(merged([empty, empty])) == 2


def test_a_turned_face_leans():
    upright = np.array([[-4, -5], [4, -5], [0, 0], [0, 5], [-9, 0], [9, 0]], float)
    for degrees in (-80, -10, 0, 45, 170):
        angle = np.radians(degrees)
        # Image rows go down: a positive angle turns the top of the head to the right.
        turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
        assert FaceBox(np.zeros(4), upright @ turn, 1.0).lean == pytest.approx(degrees)


def test_a_box_goes_with_its_image():
    face = random_faces(1, 4)[0]
    doubled = face.mapped(np.array([2.0, 3.0]))
    # The corner of the image, at -0.5, stays.
    np.testing.assert_allclose(doubled.box + 0.5, (face.box + 0.5) * [2, 3, 2, 3])
    np.testing.assert_allclose(doubled.points + 0.5, (face.points + 0.5) * [2, 3])
    assert doubled.area == pytest.approx(6 * face.area)
