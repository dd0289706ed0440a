"""What no true matte can be is refused; what one can be is not."""

from __future__ import annotations

import numpy as np
import pytest

from data_prep.common.errors import InputError
from data_prep.datasets.matte_checks import (
    check_matte,
    describe_levels,
    inversion_fault,
    matte_fault,
)


@pytest.fixture
def matte():
    """Head and shoulders with soft edges, as they lie in a portrait."""
    y, x = np.mgrid[:400, :300]
    head = np.hypot((x - 150) / 60, (y - 150) / 80)
    shoulders = np.hypot((x - 150) / 140, (y - 400) / 190)
    return np.rint(255 * np.clip(10 * (1.05 - np.minimum(head, shoulders)), 0, 1)).astype(np.uint8)


@pytest.fixture
def landmarks():
    """A face in the head of the matte."""
    angles = np.linspace(0, 2 * np.pi, 68)
    return np.stack([150 + 35 * np.cos(angles), 155 + 45 * np.sin(angles)], axis=1)


def labels(matte, background, foreground):
    return np.where(matte > 127, foreground, background).astype(np.uint8)


def test_soft_and_hard_mattes_pass_with_and_without_a_face(matte, landmarks):
    for each in (matte, labels(matte, 0, 255), matte // 2 + 60, labels(matte, 2, 253)):
        assert matte_fault(each) is None and matte_fault(each, landmarks) is None


@pytest.mark.parametrize(
    ("labels_", "fault"),
    [
        ((0, 0), "has no foreground: its largest value is 0 of 255; it is all black"),
        ((0, 1), "has no foreground: its largest value is 1 of 255; .*multiplied by 255"),
        ((0, 100), "has no foreground: its largest value is 100 of 255"),
        ((255, 255), "has no background: its smallest value is 255 of 255; it is all white"),
        ((128, 255), "has no background: its smallest value is 128 of 255"),
        ((0, 128), "holds only 0 and 128; background has to be 0 and foreground 255"),
        ((127, 255), "holds only 127 and 255; background has to be 0"),
    ],
)
def test_labels_that_are_no_alphas_are_refused_with_their_values(matte, tmp_path, labels_, fault):
    path = tmp_path / "a.png"
    with pytest.raises(InputError, match=rf"a\.png {fault}"):
        check_matte(labels(matte, *labels_), path)


def test_a_trimap_is_no_matte(matte):
    trimap = np.where((matte > 0) & (matte < 255), 128, matte)
    assert "holds only 0, 128 and 255, so it is a trimap" in matte_fault(trimap)


def test_inverted_mattes_and_trimaps_are_refused(matte, landmarks):
    for each in (matte, labels(matte, 0, 255)):
        assert "seems to be inverted: the middle is background" in matte_fault(255 - each)
        assert "seems to be inverted: the face is" in matte_fault(255 - each, landmarks)
    trimap = np.where((matte > 0) & (matte < 255), 128, 255 - matte)
    assert inversion_fault(trimap) and inversion_fault(255 - trimap) is None


def test_unusual_mattes_are_not_taken_for_inverted_ones(matte, landmarks):
    # A passer-by in the background has the largest face.
    assert matte_fault(matte, landmarks - [120, 110]) is None
    # A face beyond the border, as detectors sometimes place it.
    assert matte_fault(matte, landmarks + [1000, 1000]) is None
    # Somebody who fills the upper rim.
    near = np.zeros((400, 300), np.uint8)
    near[:, 20:280] = 255
    assert matte_fault(near) is None and matte_fault(near, landmarks) is None
    # An arm around an empty middle, along one side only.
    side = np.zeros((400, 300), np.uint8)
    side[:, :90] = 255
    assert matte_fault(side) is None


def test_values_are_told_one_by_one_or_as_a_range():
    assert describe_levels(np.uint8([[0, 1], [2, 1]])) == "0, 1 and 2"
    assert describe_levels(np.uint8([[7]])) == "7"
    assert describe_levels(np.uint8([[3, 1], [9, 200]])) == "1 to 200"
