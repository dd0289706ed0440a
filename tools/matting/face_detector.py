"""Faces of a photo, in all sizes, by the `face_detector` net; their landmarks by dlib.

The net is Caffe's, and OpenCV runs it: mattes of a trimap or mask from outside need faces
too, and have no Caffe.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import NamedTuple

import cv2
import dlib
import numpy as np

from data_prep.common.landmark_scheme import LEFT_EYE, RIGHT_EYE
from data_prep.common.landmarks import DETECTION_SIDE, LandmarkPredictor
from prototxt.catalog import FACE_DETECTOR
from tools.matting.detections import merged
from tools.matting.face_boxes import FaceBox, decoded
from tools.matting.opencv_net import read_opencv_net
from tools.matting.orientation import CERTAIN_FACE, CERTAIN_TURNED_FACE, turned
from tools.matting.photo_view import FoundFaces, eight_bit_resized, resized

# Pixels of a photo's longer side for the net: at the first size it finds faces of a
# sixteenth of the photo and more, at the second, where there is none, of half that.
SIDE, CLOSER_SIDE = 192, 384
CELL = 32  # the net's input has whole multiples of it

# Scores from which on a face counts.  At the first size 93 of 97 real photos (95 with a
# face) have one of 0.65, 90 of 0.7; the best false ones of scikit-image's pictures without
# people have 0.61 (a logo), 0.55 (galaxies), and 0.69 (galaxies) at the second, where
# photos without a face at the first are searched only.  Measured on 2026-11-28.
LEAST_SCORE, LEAST_CLOSER_SCORE = 0.65, 0.72

# Degrees: a face leaning more is upright in another turn of the photo.
MOST_LEAN = 45.0

# Distance between the eyes of the landmarks and those that the net sees, in sides of the face's
# box, up to which landmarks align the shape mask.  They are worse in profiles and in faces of
# few pixels.  On ten real photos with more, in which dlib's detector finds no face, the mattes
# have a mean intersection over union of 0.8462 without a face, 0.8444 with the face, 0.8485
# with the face but not its shape mask.  Measured on 2026-11-28.
MOST_EYE_DISTANCE = 0.085


class FoundFace(NamedTuple):
    """A face of a photo.

    Attributes
    ----------
    landmarks : (68, 2) float64 ndarray
        x and y in pixels, iBUG order.
    is_aligned : bool
        Whether the landmarks are where the net sees the eyes (`MOST_EYE_DISTANCE`).
    """

    landmarks: np.ndarray
    is_aligned: bool


class FoundBoxes(NamedTuple):
    """Faces of a photo without landmarks, in the turn that shows the surest one.

    Attributes
    ----------
    turns : int
        Quarters by which the photo has to be turned (`orientation.turned`); 0 without a face.
    boxes : tuple of FaceBox
        In pixels of the turned photo.
    """

    turns: int
    boxes: tuple[FaceBox, ...]


class FaceDetector:
    """Finds faces; the files it needs are read once, dlib's model where landmarks are asked for."""

    def __init__(self) -> None:
        self._net = read_opencv_net(FACE_DETECTOR)

    @cached_property
    def _predictor(self) -> LandmarkPredictor:
        return LandmarkPredictor()

    def boxes(
        self, photo: np.ndarray, side: int = SIDE, least_score: float = LEAST_SCORE
    ) -> list[FaceBox]:
        """Upright faces of a photo that is searched at one size, from a sixteenth of it on.

        Parameters
        ----------
        photo : (H, W, 3) uint8 ndarray
            BGR.
        side : int
            Pixels of the longer side for the net.
        least_score : float
            In (0, 1).

        Returns
        -------
        list of FaceBox
            In pixels of the photo, the surest first.
        """
        rows, columns = photo.shape[:2]
        scale = side / max(rows, columns)
        small = max(1, round(scale * rows)), max(1, round(scale * columns))
        image = resized(photo, small)
        # One cell alone is too few: OpenCV's convolution reads beyond a map of one row or column.
        below, right = (max(2, -(-length // CELL)) * CELL - length for length in small)
        image = cv2.copyMakeBorder(image, 0, below, 0, right, cv2.BORDER_CONSTANT)
        # RGB in [-1, 1]
        self._net.setInput(cv2.dnn.blobFromImage(image, 1 / 127.5, mean=(127.5,) * 3, swapRB=True))
        score, box = self._net.forward(["score", "box"])
        stretch = np.array([columns / small[1], rows / small[0]])
        found = merged(decoded(score[0], box[0], least_score))
        return [face.mapped(stretch) for face in found if abs(face.lean) <= MOST_LEAN]

    def with_landmarks(self, photo: np.ndarray, faces: Sequence[FaceBox]) -> tuple[FoundFace, ...]:
        """Faces of an (H, W, 3) uint8 BGR photo with dlib's landmarks, the largest first."""
        rgb = cv2.cvtColor(photo, cv2.COLOR_BGR2RGB)
        found = []
        for face in sorted(faces, key=lambda face: face.area, reverse=True):
            landmarks = self._predictor.predict(rgb, rectangle_of(face))
            distance = eye_distance(landmarks, face)
            found.append(FoundFace(landmarks, distance <= MOST_EYE_DISTANCE))
        return tuple(found)


def eye_distance(landmarks: np.ndarray, face: FaceBox) -> float:
    """Mean distance of the eyes of (68, 2) landmarks from a face's, in sides of its box."""
    eyes = np.stack([landmarks[RIGHT_EYE].mean(axis=0), landmarks[LEFT_EYE].mean(axis=0)])
    distances = np.linalg.norm(eyes - face.points[:2], axis=1)
    return float(distances.mean() / np.sqrt(face.area))


def rectangle_of(face: FaceBox) -> dlib.rectangle:
    """The box in which dlib's predictor looks for the landmarks of a face.

    It was trained with the boxes of dlib's own detector, whose sides are 0.96 (median;
    0.84 to 1.19 for 90 of 100) of this one's and whose centers are 0.02 sides lower.  On 144
    photos landmarks from either box differ by 1.6 % of the distance between the eyes (median),
    as much as after a shift of dlib's box by 4 %: so the box is taken as it is.
    """
    left, top, right, bottom = np.rint(face.box).astype(int).tolist()
    return dlib.rectangle(left, top, right, bottom)


def detected_boxes(detector: FaceDetector, photo: np.ndarray) -> FoundBoxes:
    """Boxes of the faces of a photo, in the turn that shows the surest one.

    The other turns are tried only where no upright face is certain, and one counts only if
    its face is certain and in the mirrored photo too: a photo must not be turned by mistake.
    Small faces are looked for only where no other is found.  No landmarks are placed.

    Parameters
    ----------
    detector : FaceDetector
    photo : ndarray of shape (H, W, 3), uint8 or uint16
    """
    small = _reduced(photo)
    turns, boxes = _boxes_of_reduced(detector, small)
    stretch = _stretch(photo, small, turns)
    return FoundBoxes(turns, tuple(box.mapped(stretch) for box in boxes))


def detected_faces(detector: FaceDetector, photo: np.ndarray) -> FoundFaces:
    """Faces of a photo with their landmarks, those of `detected_boxes`."""
    small = _reduced(photo)
    turns, boxes = _boxes_of_reduced(detector, small)
    faces = detector.with_landmarks(turned(small, turns), boxes)
    stretch = _stretch(photo, small, turns)
    landmarks = tuple((face.landmarks + 0.5) * stretch - 0.5 for face in faces)
    aligned = tuple(points for points, face in zip(landmarks, faces) if face.is_aligned)
    return FoundFaces(turns, landmarks, aligned)


def _reduced(photo: np.ndarray) -> np.ndarray:
    """The photo with 8 bits, at the size at which landmarks are placed."""
    scale = min(1.0, DETECTION_SIDE / max(photo.shape[:2]))
    rows, columns = (max(1, round(scale * side)) for side in photo.shape[:2])
    return eight_bit_resized(photo, (rows, columns))


def _stretch(photo: np.ndarray, small: np.ndarray, turns: int) -> np.ndarray:
    """Factors in x and y from a turned reduced photo to the turned photo."""
    stretch = np.array([photo.shape[1] / small.shape[1], photo.shape[0] / small.shape[0]])
    return stretch[::-1] if turns % 2 else stretch


def _boxes_of_reduced(detector: FaceDetector, small: np.ndarray) -> tuple[int, list[FaceBox]]:
    """Turns and boxes, in pixels of the reduced photo so turned; see `detected_boxes`."""
    found = [detector.boxes(small)]
    if _highest_score(found[0]) < CERTAIN_FACE:
        found += [detector.boxes(turned(small, turns)) for turns in (1, 2, 3)]
    turns = int(np.argmax([_highest_score(boxes) for boxes in found]))
    if turns:
        mirrored = detector.boxes(np.ascontiguousarray(turned(small, turns)[:, ::-1]))
        both = _highest_score(found[turns]), _highest_score(mirrored)
        if np.mean(both) < CERTAIN_TURNED_FACE:
            turns = 0
    return turns, found[turns] or detector.boxes(small, CLOSER_SIDE, LEAST_CLOSER_SCORE)


def _highest_score(boxes: Sequence[FaceBox]) -> float:
    """Score of the surest face; 0 without one."""
    return max((box.score for box in boxes), default=0.0)
