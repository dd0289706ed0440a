"""Measures of trimaps, on pictures of 4 x 4 pixels that can be counted by hand."""

from __future__ import annotations

import numpy as np
import pytest

from tools.evaluation.trimaps import (
    BACKGROUND,
    FOREGROUND,
    UNKNOWN,
    TrimapMeasures,
    band_confusions,
    boundary_distance,
    classes_of_matte,
    confusion_matrix,
)

# Foreground below, one row of unknown, background above.
TRUTH = np.uint8([[1, 1, 1, 1], [1, 1, 1, 1], [2, 2, 2, 2], [0, 0, 0, 0]])
# One unknown pixel called foreground, two background, one background pixel called unknown.
PREDICTED = np.uint8([[1, 1, 1, 1], [1, 1, 1, 2], [2, 0, 1, 1], [0, 0, 0, 0]])


def test_a_confusion_matrix_counts_pixels_by_true_and_predicted_class():
    expected = [[4, 0, 0], [0, 7, 1], [1, 2, 1]]
    np.testing.assert_array_equal(confusion_matrix(TRUTH, PREDICTED), expected)
    np.testing.assert_array_equal(confusion_matrix(PREDICTED, TRUTH), np.transpose(expected))


def test_measures_are_those_counted_by_hand():
    found = TrimapMeasures.of(confusion_matrix(TRUTH, PREDICTED))
    assert found.pixel_accuracy == 12 / 16
    assert found.mean_accuracy == pytest.approx((1 + 7 / 8 + 1 / 4) / 3)
    assert found.iou == pytest.approx((4 / 5, 7 / 10, 1 / 5))
    assert found.mean_iou == pytest.approx((4 / 5 + 7 / 10 + 1 / 5) / 3)
    assert found.frequency_weighted_iou == pytest.approx((4 * 4 / 5 + 8 * 7 / 10 + 4 / 5) / 16)
    assert (found.recall_of_unknown, found.share_of_unknown) == (1 / 4, 2 / 16)
    assert found.true_share_of_unknown == 4 / 16
    assert (found.unknown_called_foreground, found.unknown_called_background) == (1 / 4, 2 / 4)


def test_a_true_trimap_is_perfect_in_everything():
    found = TrimapMeasures.of(confusion_matrix(TRUTH, TRUTH))
    assert found.pixel_accuracy == found.mean_accuracy == found.mean_iou == 1
    assert found.iou == (1, 1, 1) and found.frequency_weighted_iou == 1
    assert found.recall_of_unknown == 1
    assert found.unknown_called_foreground == found.unknown_called_background == 0
    assert found.share_of_unknown == found.true_share_of_unknown == 1 / 4


def test_a_trimap_that_calls_everything_unknown_has_recall_at_the_largest_share():
    found = TrimapMeasures.of(confusion_matrix(TRUTH, np.full_like(TRUTH, UNKNOWN)))
    assert (found.recall_of_unknown, found.share_of_unknown) == (1, 1)
    assert found.iou == (0, 0, 1 / 4)


def test_a_class_that_does_not_occur_is_left_out_of_the_means():
    truth = np.uint8([[0, 0], [1, 1]])
    found = TrimapMeasures.of(confusion_matrix(truth, truth))
    assert found.mean_iou == found.mean_accuracy == found.frequency_weighted_iou == 1
    assert np.isnan([found.iou[UNKNOWN], found.recall_of_unknown]).all()
    # Called but not true, it counts as an intersection of nothing.
    wrong = TrimapMeasures.of(confusion_matrix(truth, np.uint8([[0, 2], [1, 1]])))
    assert wrong.iou == (1 / 2, 1, 0) and wrong.mean_accuracy == 3 / 4


def test_matrices_of_two_photos_add_up_to_that_of_both_side_by_side():
    first, second = (TRUTH, PREDICTED), (TRUTH.T, np.ascontiguousarray(PREDICTED[::-1]))
    both = (np.hstack([first[i], second[i]]) for i in range(2))
    np.testing.assert_array_equal(
        confusion_matrix(*first) + confusion_matrix(*second), confusion_matrix(*both)
    )


def test_a_region_counts_its_pixels_alone():
    region = TRUTH == UNKNOWN
    expected = [[0, 0, 0], [0, 0, 0], [1, 2, 1]]
    np.testing.assert_array_equal(confusion_matrix(TRUTH, PREDICTED, region), expected)


def test_distances_are_those_to_the_nearest_pixel_of_another_class():
    expected = np.broadcast_to(np.float32([2, 1, 1, 1])[:, None], (4, 4))
    np.testing.assert_allclose(boundary_distance(TRUTH), expected)
    corner = np.uint8(np.pad([[0]], ((0, 3), (0, 3)), constant_values=1))
    assert boundary_distance(corner)[2, 2] == pytest.approx(8**0.5)
    assert np.isinf(boundary_distance(np.zeros((3, 3), np.uint8))).all()


def test_bands_grow_from_the_boundary_to_the_whole_picture():
    narrow, wide = band_confusions(TRUTH, PREDICTED, (1, 2))
    np.testing.assert_array_equal(narrow, [[4, 0, 0], [0, 3, 1], [1, 2, 1]])
    np.testing.assert_array_equal(wide, confusion_matrix(TRUTH, PREDICTED))
    accuracy = [TrimapMeasures.of(each).pixel_accuracy for each in (narrow, wide)]
    assert accuracy == [8 / 12, 12 / 16]


def test_the_true_trimap_of_a_matte_calls_unknown_what_is_fractional():
    classes = classes_of_matte(np.array([[0, 1e-9, 0.5, 1 - 1e-9, 1]]))
    np.testing.assert_array_equal(classes, [[BACKGROUND, UNKNOWN, UNKNOWN, UNKNOWN, FOREGROUND]])
    assert classes.dtype == np.uint8


def test_what_is_no_pair_of_trimaps_is_refused():
    with pytest.raises(ValueError, match="not a pair"):
        confusion_matrix(TRUTH, PREDICTED[:2])
    with pytest.raises(ValueError, match="from 0 to 2"):
        confusion_matrix(TRUTH, np.full_like(TRUTH, 255))
    with pytest.raises(ValueError, match="No pixel was counted"):
        TrimapMeasures.of(confusion_matrix(TRUTH, PREDICTED, np.zeros((4, 4), bool)))
