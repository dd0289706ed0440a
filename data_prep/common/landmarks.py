"""The 68 facial landmarks of a photo, found by dlib."""

from __future__ import annotations

import functools
import threading
from collections.abc import Iterator
from typing import NamedTuple

import cv2
import dlib
import numpy as np

from data_prep.common.assets import fetch

# The detector looks for faces of 80 pixels and more: in a photo reduced to this
# side it still finds one of a twentieth of the photo, and it costs its square.
DETECTION_SIDE = 1600


class DetectedFace(NamedTuple):
    """A face of a photo.

    Attributes
    ----------
    landmarks : (68, 2) float64 ndarray
        x and y in pixels of the photo, iBUG order.
    confidence : float
        Distance from dlib's decision: above 0, around 2 for a frontal face.
    """

    landmarks: np.ndarray
    confidence: float


class LandmarkPredictor:
    """Places the 68 landmarks (iBUG order) in a face whose box is known."""

    def __init__(self) -> None:
        self._find_landmarks = dlib.shape_predictor(str(fetch("landmark-model")))

    def predict(self, rgb: np.ndarray, box: dlib.rectangle) -> np.ndarray:
        """Landmarks of one face.

        Parameters
        ----------
        rgb : (H, W, 3) uint8 ndarray
        box : dlib.rectangle
            From the brows to the chin, in pixels; may reach beyond the image.

        Returns
        -------
        (68, 2) float64 ndarray
            x and y in pixels.
        """
        shape = self._find_landmarks(rgb, box)
        return np.array([(p.x, p.y) for p in shape.parts()], dtype=np.float64)


class LandmarkDetector:
    """Finds the faces of a photo and their 68 landmarks (iBUG order), for preparing data.

    Photos that are matted are searched by `tools.matting.face_detector`, which sees more.
    """

    def __init__(self) -> None:
        self._find_faces = dlib.get_frontal_face_detector()
        self._predictor = LandmarkPredictor()

    def detect(self, photo: np.ndarray) -> np.ndarray | None:
        """Landmarks of the largest face.

        Parameters
        ----------
        photo : (H, W, 3) uint8 ndarray
            BGR.

        Returns
        -------
        (68, 2) float64 ndarray or None
            x and y in pixels of the photo; None where no face is found.
        """
        face = next(self._faces(photo), None)
        return None if face is None else face.landmarks

    def detect_faces(self, photo: np.ndarray) -> tuple[DetectedFace, ...]:
        """Every face with its confidence, as `detect`; the largest face first."""
        return tuple(self._faces(photo))

    def _faces(self, photo: np.ndarray) -> Iterator[DetectedFace]:
        reduction = max(1.0, max(photo.shape[:2]) / DETECTION_SIDE)
        if reduction > 1:
            height, width = photo.shape[:2]
            size = (max(1, round(width / reduction)), max(1, round(height / reduction)))
            photo = cv2.resize(photo, size, interpolation=cv2.INTER_AREA)
        rgb = cv2.cvtColor(photo, cv2.COLOR_BGR2RGB)
        # 0: no upsampling, which adds false faces.
        rectangles, confidences, _ = self._find_faces.run(rgb, 0, 0.0)
        faces = zip(rectangles, confidences)
        for face, confidence in sorted(faces, key=lambda face: face[0].area(), reverse=True):
            points = self._predictor.predict(rgb, face)
            # Pixel centers are at whole numbers, so the corner of a photo is at -0.5.
            yield DetectedFace((points + 0.5) * reduction - 0.5, confidence)


@functools.cache
def _detector(thread: int) -> LandmarkDetector:
    return LandmarkDetector()


def detect_landmarks(photo: np.ndarray) -> np.ndarray | None:
    """`LandmarkDetector.detect` with a detector that is loaded once.

    Loading takes most of a second, and a detector serves one thread at a time.
    """
    return _detector(threading.get_ident()).detect(photo)
