from __future__ import annotations

import cv2
import numpy as np

from data_prep.common.images import read_photo
from data_prep.common.landmarks import LandmarkDetector, detect_landmarks


def test_every_sample_face_is_found_where_the_matte_is_solid(
    sample, sample_landmarks, sample_mattes
):
    for portrait in sample.portraits:
        points = sample_landmarks[portrait.stem]
        assert points.shape == (68, 2) and points.dtype == np.float64
        nose = np.rint(points[30]).astype(int)
        assert sample_mattes[portrait.stem][nose[1], nose[0]] == 255
        # iBUG order: right eye of the person (36-41) is left in the picture.
        assert points[36:42, 0].mean() < points[42:48, 0].mean()
        assert points[8, 1] > points[27, 1]


def test_no_face_gives_none():
    detector = LandmarkDetector()
    assert detector.detect(np.full((200, 200, 3), 90, np.uint8)) is None
    assert detector.detect(np.zeros((3, 3, 3), np.uint8)) is None


def test_large_photo_has_the_same_landmarks_scaled(sample, sample_landmarks):
    portrait = sample.test[0]
    photo = cv2.resize(read_photo(portrait.photo), None, fx=4, fy=4)
    found = LandmarkDetector().detect(photo)
    expected = (sample_landmarks[portrait.stem] + 0.5) * 4 - 0.5
    face = np.ptp(expected[:, 0])
    assert np.abs(found - expected).mean() < 0.03 * face


def test_largest_of_two_faces_is_taken(sample):
    photo = read_photo(sample.test[0].photo)
    height, width = photo.shape[:2]
    small = cv2.resize(photo, None, fx=0.6, fy=0.6, interpolation=cv2.INTER_AREA)
    both = np.zeros((height, 2 * width, 3), np.uint8)
    both[: small.shape[0], : small.shape[1]] = small
    both[:, width:] = photo
    detector = LandmarkDetector()
    assert detector.detect(both)[:, 0].min() > width
    large_one, small_one = detector.detect_faces(both)
    assert large_one.landmarks[:, 0].min() > width > small_one.landmarks[:, 0].max()
    assert large_one.confidence > 0 and small_one.confidence > 0


def test_the_kept_detector_finds_the_same(sample, sample_landmarks):
    for portrait in sample.test[:2]:
        found = detect_landmarks(read_photo(portrait.photo))
        np.testing.assert_array_equal(found, sample_landmarks[portrait.stem])
