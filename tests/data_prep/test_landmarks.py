from __future__ import annotations

import shutil

import cv2
import dlib
import numpy as np
import pytest

from data_prep.common.assets import fetch
from data_prep.common.images import read_photo
from data_prep.common.landmarks import LandmarkDetector, LandmarkPredictor, detect_landmarks
from data_prep.common.regression_trees import ShapePredictor, read_model


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


def test_landmarks_are_those_of_dlib_s_own_predictor(sample):
    """Boxes of all sizes, of faces or not, some of them partly beside the photo."""
    theirs, ours = dlib.shape_predictor(str(fetch("landmark-model"))), LandmarkPredictor()
    rng = np.random.default_rng(0)
    for portrait in sample.portraits[:4]:
        rgb = cv2.cvtColor(read_photo(portrait.photo), cv2.COLOR_BGR2RGB)
        height, width = rgb.shape[:2]
        for _ in range(25):
            side = rng.uniform(20, 0.8 * width)
            left, top = rng.uniform(-40, width - side / 2), rng.uniform(-40, height - side / 2)
            box = tuple(int(each) for each in (left, top, left + side, top + side))
            parts = theirs(rgb, dlib.rectangle(*box)).parts()
            found = ours.predict(rgb, box)
            np.testing.assert_array_equal(found, [(point.x, point.y) for point in parts])


def test_what_a_model_holds_is_kept_beside_it_and_made_again_when_damaged(tmp_path):
    path = tmp_path / "model.dat"
    shutil.copyfile(fetch("landmark-model"), path)
    rgb = np.random.default_rng(0).integers(0, 256, (90, 90, 3), np.uint8)
    first = ShapePredictor(path).predict(rgb, (10, 10, 80, 80))
    (kept,) = set(tmp_path.iterdir()) - {path}
    path.write_bytes(b"")  # what is kept suffices
    np.testing.assert_array_equal(ShapePredictor(path).predict(rgb, (10, 10, 80, 80)), first)
    shutil.copyfile(fetch("landmark-model"), path)
    content = kept.read_bytes()
    kept.write_bytes(content[:5000])
    np.testing.assert_array_equal(ShapePredictor(path).predict(rgb, (10, 10, 80, 80)), first)
    assert kept.read_bytes() == content


def test_a_file_that_holds_another_model_is_refused(tmp_path):
    path = tmp_path / "model.dat"
    path.write_bytes(fetch("landmark-model").read_bytes()[:3000])
    with pytest.raises(ValueError, match="no model of 68 landmarks"):
        read_model(path)
