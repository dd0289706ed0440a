"""Boxes around people, for close-ups."""

from __future__ import annotations

import numpy as np
import pytest

from tools.matting.people import Box, blobs, joined_boxes, people_boxes, tiles


def logit_with(*people: tuple[slice, slice]) -> np.ndarray:
    logit = np.full((200, 300), -9.0, np.float32)
    for person in people:
        logit[person] = 9
    return logit


def test_nobody():
    assert people_boxes(logit_with()) == []
    assert people_boxes(logit_with((slice(0, 3), slice(0, 3)))) == []


def test_blobs_are_labeled_in_the_order_of_their_boxes():
    region = logit_with((slice(50, 90), slice(20, 50)), (slice(5, 7), slice(250, 252))) > 0
    labels, boxes, areas = blobs(region)
    assert sorted(areas.tolist()) == [4, 1200]
    for index, box in enumerate(boxes):
        part = np.zeros_like(region)
        part[box.rows, box.columns] = True
        np.testing.assert_array_equal(labels == index + 1, part)
        assert part.sum() == areas[index]
    np.testing.assert_array_equal(labels > 0, region)
    assert blobs(np.zeros((3, 4), bool))[1] == []


def test_a_small_person_needs_a_close_up_and_a_large_one_does_not():
    (small,) = people_boxes(logit_with((slice(50, 90), slice(50, 80))))
    assert small.needs_close_up
    assert small.rows == slice(38, 102) and small.columns == slice(41, 89)
    assert small.crop(np.zeros((400, 600, 3))).shape == (128, 96, 3)
    assert small.corner((400, 600, 3)).tolist() == [82, 76]
    (large,) = people_boxes(logit_with((slice(20, 200), slice(40, 260))))
    assert not large.needs_close_up


def test_people_apart_have_boxes_of_their_own_and_neighbors_share_one():
    left, near = (slice(50, 90), slice(20, 50)), (slice(50, 90), slice(58, 80))
    right = slice(50, 90), slice(230, 260)
    assert len(people_boxes(logit_with(left, right))) == 2
    assert len(people_boxes(logit_with(left, near))) == 1
    assert len(people_boxes(logit_with(left, near, right))) == 2


def test_specks_beside_a_person_are_none():
    assert (
        len(
            people_boxes(logit_with((slice(50, 90), slice(20, 50)), (slice(5, 7), slice(250, 252))))
        )
        == 1
    )


def test_boxes_that_meet_are_joined_until_none_overlap():
    shape = (100, 100)
    left, right = Box(0, 20, 0, 20, shape), Box(0, 20, 30, 50, shape)
    bridge, apart = Box(10, 30, 15, 35, shape), Box(60, 80, 60, 80, shape)
    assert joined_boxes([left, right]) == [left, right]
    assert joined_boxes([left, right, bridge, apart]) == [Box(0, 30, 0, 50, shape), apart]


@pytest.mark.parametrize("shape", [(600, 800), (7, 5), (1, 1)])
@pytest.mark.parametrize("count, share", [(1, 1.0), (2, 0.6), (3, 0.4)])
def test_tiles_cover_the_image_and_stay_within(shape, count, share):
    covered = np.zeros(shape, int)
    parts = tiles(shape, count, share)
    for part in parts:
        assert min(part.top, part.left) >= 0 and part.bottom <= shape[0] and part.right <= shape[1]
        covered[part.rows, part.columns] += 1
    assert len(parts) == count**2 and covered.all()
    assert len({part.shape for part in parts}) == 1


@pytest.mark.parametrize(
    ("side", "spans"), [(40, (50, 90, 45, 85)), (41, (50, 90, 44, 86)), (150, (0, 145, 0, 140))]
)
def test_a_square_has_the_center_of_its_box_and_ends_at_the_edges_of_the_image(side, spans):
    box = Box(60, 80, 40, 90, (200, 300))
    assert box.square(side) == Box(*spans, (200, 300))
