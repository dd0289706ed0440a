"""A photo as the steps of matting share it."""

from __future__ import annotations

import numpy as np
import pytest

from tools.matting.face_boxes import FaceBox
from tools.matting.orientation import turned
from tools.matting.photo_view import WORK_SIDE, FaceLandmarks, FoundFaces, PhotoView, work_shape

FACE = FaceBox(np.array([20.0, 20, 40, 40]), np.full((6, 2), 30.0), 0.9)
LANDMARKS = FaceLandmarks(np.full((68, 2), 30.0), is_aligned=False)


class CountingFinder:
    """Finds one face in every photo, lying, and keeps the photos it was given."""

    def __init__(self) -> None:
        self.photos: list[np.ndarray] = []
        self.placed = 0

    def find(self, photo: np.ndarray) -> FoundFaces:
        self.photos.append(photo)
        return FoundFaces(1, (FACE,))

    def landmarks(self, photo: np.ndarray, found: FoundFaces) -> tuple[FaceLandmarks, ...]:
        self.placed += 1
        return (LANDMARKS,) * len(found.faces)


@pytest.fixture
def photo() -> np.ndarray:
    return np.random.default_rng(3).integers(0, 256, (1000, 700, 3), np.uint8)


def test_faces_are_looked_for_once_and_only_when_asked_for(photo):
    finder = CountingFinder()
    view = PhotoView(photo, finder)
    assert view.reduced.shape == (WORK_SIDE, 560, 3) and not finder.photos
    assert view.turns == 1 and view.faces == (FACE,)
    assert len(finder.photos) == 1 and not finder.placed
    assert view.landmarks == (LANDMARKS,) and view.aligned_landmarks == ()
    assert len(finder.photos) == 1 and finder.placed == 1


def test_sixteen_bits_look_like_eight(photo):
    finder = CountingFinder()
    deep, plain = PhotoView(np.uint16(257) * photo, finder), PhotoView(photo, finder)
    assert deep.faces == plain.faces
    np.testing.assert_array_equal(*finder.photos)
    np.testing.assert_array_equal(deep.reduced, plain.reduced)
    assert deep.photo.dtype == np.uint16


@pytest.mark.parametrize("turns", range(-1, 4))
def test_an_upright_view_is_the_turned_photo(photo, turns):
    view = PhotoView(photo, CountingFinder())
    upright = turned(photo, turns)
    np.testing.assert_array_equal(view.upright(turns), upright)
    assert view.upright_shape(turns) == upright.shape[:2]
    small = view.upright_reduced(turns)
    assert small.shape[:2] == work_shape(upright.shape)
    # Up to rounding, as the order of summation differs.
    assert np.abs(small.astype(int) - turned(view.reduced, turns)).max() <= 1


def test_small_photos_are_not_reduced():
    assert work_shape((300, 200, 3)) == (300, 200)
    assert work_shape((1600, 2)) == (WORK_SIDE, 3)
