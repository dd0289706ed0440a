"""Boxes of detectors and their suppression, against loops over pixels and pairs."""

from __future__ import annotations

import numpy as np
import pytest

from tools.matting.detections import OVERLAP, Detection, merged, shares


def random_detections(count: int, seed: int) -> list[Detection]:
    random = np.random.default_rng(seed)
    corners = random.uniform(0, 60, (count, 2))
    boxes = np.hstack([corners, corners + random.uniform(5, 40, (count, 2))])
    points = random.uniform(0, 100, (count, 6, 2))
    scores = random.uniform(0.5, 1, count)
    return [Detection(*each) for each in zip(boxes, points, scores.tolist())]


def share_by_counting(a: np.ndarray, b: np.ndarray) -> float:
    """Intersection over union of boxes with whole corners, by counting unit squares."""

    def squares(box: np.ndarray) -> set[tuple[int, int]]:
        left, top, right, bottom = box.astype(int).tolist()
        return {(x, y) for x in range(left, right) for y in range(top, bottom)}

    return len(squares(a) & squares(b)) / len(squares(a) | squares(b))


def merged_by_loops(boxes: list[Detection]) -> list[tuple[float, np.ndarray, np.ndarray]]:
    left, found = sorted(boxes, key=lambda box: -box.score), []
    while left:
        best = left[0]
        group = [f for f in left if f is best or shares(best.box, f.box[None])[0] > OVERLAP]
        left = [f for f in left if not any(f is g for g in group)]
        total = sum(f.score for f in group)
        box = sum(f.score / total * f.box for f in group)
        points = sum(f.score / total * f.points for f in group)
        found.append((best.score, box, points))
    return found


def test_the_share_of_two_boxes_is_that_of_their_squares():
    random = np.random.default_rng(2)
    corners = random.integers(0, 12, (30, 2))
    boxes = np.hstack([corners, corners + random.integers(1, 12, (30, 2))]).astype(float)
    for box in boxes[:5]:
        wanted = [share_by_counting(box, other) for other in boxes]
        np.testing.assert_allclose(shares(box, boxes), wanted)


@pytest.mark.parametrize("count, seed", [(0, 0), (1, 1), (40, 2), (40, 3)])
def test_overlapping_boxes_become_their_weighted_mean(count, seed):
    boxes = random_detections(count, seed)
    found, wanted = merged(boxes), merged_by_loops(boxes)
    assert len(found) == len(wanted) and (count < 2 or len(found) < count)
    for each, (score, box, points) in zip(found, wanted):
        assert each.score == score
        np.testing.assert_allclose(each.box, box)
        np.testing.assert_allclose(each.points, points)


def test_boxes_without_area_are_merged_with_nothing_and_end():
    empty = Detection(np.array([5.0, 5, 5, 5]), np.zeros((6, 2)), 0.9)
    assert len(merged([empty, empty])) == 2


def test_a_box_goes_with_its_image():
    box = random_detections(1, 4)[0]
    doubled = box.mapped(np.array([2.0, 3.0]))
    # The corner of the image, at -0.5, stays.
    np.testing.assert_allclose(doubled.box + 0.5, (box.box + 0.5) * [2, 3, 2, 3])
    np.testing.assert_allclose(doubled.points + 0.5, (box.points + 0.5) * [2, 3])
    assert doubled.area == pytest.approx(6 * box.area)


def test_a_part_of_an_image_is_moved_to_its_place():
    found = random_detections(1, 5)[0]
    moved = found.moved(np.array([7, 11]))
    np.testing.assert_allclose(moved.box - found.box, [7, 11, 7, 11])
    np.testing.assert_allclose(moved.points - found.points, np.tile([7, 11], (6, 1)))
    assert moved.score == found.score
