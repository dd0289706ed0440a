"""The face detector on photos, and the landmarks in its boxes."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from data_prep.common.images import read_photo
from data_prep.common.landmarks import LandmarkDetector
from data_prep.datasets.dataset import Dataset
from tools.benchmarks.robustness import pictures_without_people
from tools.matting.face_detector import FaceDetector
from tools.matting.models import ROOT
from tools.matting.orientation import turned
from tools.matting.photo_view import FaceLandmarks, FoundFaces


@pytest.fixture(scope="module")
def detector() -> FaceDetector:
    return FaceDetector()


@pytest.fixture(scope="module")
def photos() -> list[np.ndarray]:
    return [read_photo(portrait.photo) for portrait in Dataset.open(ROOT / "data/sample").portraits]


NOBODY = FoundFaces(0, ())


def landmarks_of(detector: FaceDetector, photo: np.ndarray) -> tuple[FaceLandmarks, ...]:
    return detector.landmarks(photo, detector.find(photo))


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
        (face,) = landmarks_of(detector, photo)
        wanted = frontal.detect(photo)
        difference = np.linalg.norm(face.points - wanted, axis=1)
        distances.append(difference.mean() / eye_distance(wanted))
    assert np.median(distances) < 0.025


def test_a_face_of_a_twentieth_of_the_photo_is_found(detector, photos):
    found = 0
    for photo in photos[::4]:
        small = reduced_within(photo, 0.15)  # the faces are about a third of the portraits
        turns, faces = detector.find(small)
        if not turns and faces:
            (large,) = detector.find(photo).faces
            middle = np.array(photo.shape[1::-1]) / 2
            eyes = (faces[0].eyes - middle) / 0.15 + middle
            found += np.linalg.norm(eyes - large.eyes) < large.eye_distance
    assert found >= 0.8 * len(photos[::4])


def test_no_picture_without_people_shows_a_face(detector):
    paths = pictures_without_people()
    assert paths
    for path in paths:
        assert detector.find(read_photo(path)) == NOBODY, path.stem


def test_the_larger_of_two_faces_comes_first(detector, photos):
    photo = photos[0]
    height, width = photo.shape[:2]
    small = cv2.resize(photo, None, fx=0.6, fy=0.6, interpolation=cv2.INTER_AREA)
    both = np.full((height, 2 * width, 3), 128, np.uint8)
    both[: small.shape[0], : small.shape[1]] = small
    both[:, width:] = photo
    found = detector.find(both)
    large_one, small_one = found.faces
    assert large_one.box[0] > width > small_one.box[2]
    large_one, small_one = detector.landmarks(both, found)
    assert large_one.points[:, 0].min() > width > small_one.points[:, 0].max()


@pytest.mark.parametrize("shape", [(3, 3), (3, 400), (2000, 40)])
def test_photos_of_any_shape_are_searched(detector, shape):
    gray = np.full((*shape, 3), 90, np.uint8)
    assert detector.find(gray) == NOBODY and detector.landmarks(gray, NOBODY) == ()


def test_a_large_photo_has_the_same_landmarks_enlarged(detector, photos):
    photo = photos[0]
    (face,) = landmarks_of(detector, photo)
    (large,) = landmarks_of(detector, cv2.resize(photo, None, fx=4, fy=4))
    expected = (face.points + 0.5) * 4 - 0.5
    assert np.abs(large.points - expected).mean() < 0.03 * np.ptp(expected[:, 0])


@pytest.mark.parametrize("turns", [0, 1])
def test_faces_and_their_landmarks_agree(detector, photos, turns):
    photo = cv2.resize(turned(photos[0], turns), None, fx=4, fy=4)
    found = detector.find(photo)
    ((face,), (landmarks,)) = found.faces, detector.landmarks(photo, found)
    assert found.turns == -turns % 4 and landmarks.is_aligned
    distance = eye_distance(landmarks.points)
    assert np.linalg.norm(face.eyes - landmarks.points[36:48].mean(axis=0)) < 0.1 * distance
    assert abs(face.eye_distance / distance - 1) < 0.15
    assert abs(face.chin - landmarks.points[8, 1]) < 0.25 * distance
