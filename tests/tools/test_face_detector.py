"""The face detector on photos, and the landmarks in its boxes."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from data_prep.common.images import read_photo
from data_prep.common.landmarks import LandmarkDetector
from data_prep.datasets.dataset import Dataset
from tools.benchmarks.robustness import pictures_without_people
from tools.matting.face_detector import FaceDetector, FoundFace, detected_boxes, detected_faces
from tools.matting.models import ROOT
from tools.matting.orientation import turned


@pytest.fixture(scope="module")
def detector() -> FaceDetector:
    return FaceDetector()


@pytest.fixture(scope="module")
def photos() -> list[np.ndarray]:
    return [read_photo(portrait.photo) for portrait in Dataset.open(ROOT / "data/sample").portraits]


def faces_of(detector: FaceDetector, photo: np.ndarray) -> tuple[FoundFace, ...]:
    return detector.with_landmarks(photo, detector.boxes(photo))


def eye_distance(landmarks: np.ndarray) -> float:
    return float(np.linalg.norm(landmarks[36:42].mean(axis=0) - landmarks[42:48].mean(axis=0)))


def reduced_within(photo: np.ndarray, share: float) -> np.ndarray:
    """A gray photo of the same size with the photo at a share of its size in its middle."""
    small = cv2.resize(photo, None, fx=share, fy=share, interpolation=cv2.INTER_AREA)
    around = np.full_like(photo, 128)
    top, left = ((a - b) // 2 for a, b in zip(photo.shape[:2], small.shape[:2]))
    around[top : top + small.shape[0], left : left + small.shape[1]] = small
    return around


def test_landmarks_are_those_that_dlib_finds_by_itself(detector, photos):
    frontal = LandmarkDetector()
    distances = []
    for photo in photos:
        (face,) = faces_of(detector, photo)
        wanted = frontal.detect(photo)
        difference = np.linalg.norm(face.landmarks - wanted, axis=1)
        distances.append(difference.mean() / eye_distance(wanted))
    assert np.median(distances) < 0.025


def test_a_face_of_a_twentieth_of_the_photo_is_found(detector, photos):
    found = 0
    for photo in photos[::4]:
        small = reduced_within(photo, 0.15)  # the faces are about a third of the portraits
        turns, faces, _ = detected_faces(detector, small)
        if not turns and faces:
            (large,) = faces_of(detector, photo)
            middle = np.array(photo.shape[1::-1]) / 2
            nose = (faces[0][30] - middle) / 0.15 + middle
            found += np.linalg.norm(nose - large.landmarks[30]) < eye_distance(large.landmarks)
    assert found >= 0.8 * len(photos[::4])


def test_no_picture_without_people_shows_a_face(detector):
    paths = pictures_without_people()
    assert paths
    for path in paths:
        assert detected_faces(detector, read_photo(path)) == (0, (), ()), path.stem


def test_the_larger_of_two_faces_comes_first(detector, photos):
    photo = photos[0]
    height, width = photo.shape[:2]
    small = cv2.resize(photo, None, fx=0.6, fy=0.6, interpolation=cv2.INTER_AREA)
    both = np.full((height, 2 * width, 3), 128, np.uint8)
    both[: small.shape[0], : small.shape[1]] = small
    both[:, width:] = photo
    large_one, small_one = faces_of(detector, both)
    assert large_one.landmarks[:, 0].min() > width > small_one.landmarks[:, 0].max()


@pytest.mark.parametrize("shape", [(3, 3), (3, 400), (2000, 40)])
def test_photos_of_any_shape_are_searched(detector, shape):
    assert detected_faces(detector, np.full((*shape, 3), 90, np.uint8)) == (0, (), ())


def test_a_large_photo_has_the_same_landmarks_enlarged(detector, photos):
    photo = photos[0]
    _, (face,), _ = detected_faces(detector, photo)
    _, (large,), _ = detected_faces(detector, cv2.resize(photo, None, fx=4, fy=4))
    expected = (face + 0.5) * 4 - 0.5
    assert np.abs(large - expected).mean() < 0.03 * np.ptp(expected[:, 0])


@pytest.mark.parametrize("turns", [0, 1])
def test_boxes_are_those_of_the_faces_with_landmarks(detector, photos, turns):
    photo = cv2.resize(turned(photos[0], turns), None, fx=4, fy=4)
    found, ((landmarks,), _) = detected_boxes(detector, photo), detected_faces(detector, photo)[1:]
    assert found.turns == -turns % 4
    eyes = landmarks[36:48].mean(axis=0)
    assert np.linalg.norm(found.boxes[0].eyes - eyes) < 0.1 * eye_distance(landmarks)
