"""Faces of a photo, in all sizes, by the `face_detector` net.

The net is Caffe's, and OpenCV runs it: mattes of a trimap or mask from outside need faces
too, and have no Caffe.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING

import cv2
import numpy as np

from prototxt.catalog import FACE_DETECTOR
from tools.matting.converted_net import read_opencv_net, signed_rgb
from tools.matting.detections import merged
from tools.matting.face_boxes import FaceBox, decoded
from tools.matting.orientation import CERTAIN_FACE, CERTAIN_TURNED_FACE, turned
from tools.matting.photo_view import FaceLandmarks, FoundFaces, eight_bit_resized, resized

if TYPE_CHECKING:
    from tools.matting.face_landmarks import FaceLandmarker

# Pixels of a photo's longer side for the net: at the first size it finds faces of a
# sixteenth of the photo and more, at the second, where there is none, of half that.
SIDE, CLOSER_SIDE = 192, 384
# That of the copy of a photo in which faces are looked for, turned where needed, and landmarks
# placed.
REDUCED_SIDE = 1600
CELL = 32  # the net's input has whole multiples of it

# Scores from which on a face counts.  At the first size 93 of 97 real photos (95 with a
# face) have one of 0.65, 90 of 0.7; the best false ones of scikit-image's pictures without
# people have 0.61 (a logo), 0.55 (galaxies), and 0.69 (galaxies) at the second, where
# photos without a face at the first are searched only.  Measured on 2026-11-28.
LEAST_SCORE, LEAST_CLOSER_SCORE = 0.65, 0.72

# Degrees: a face leaning more is upright in another turn of the photo.
MOST_LEAN = 45.0


class FaceDetector:
    """Finds faces, and has their landmarks placed; files are read once, when they are needed."""

    def __init__(self) -> None:
        self._net = read_opencv_net(FACE_DETECTOR)

    @cached_property
    def _landmarker(self) -> FaceLandmarker:
        # dlib and its model are loaded for the shape mask alone.
        from tools.matting.face_landmarks import FaceLandmarker

        return FaceLandmarker()

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
        self._net.setInput(signed_rgb(image))
        score, box = self._net.forward(["score", "box"])
        stretch = np.array([columns / small[1], rows / small[0]])
        found = merged(decoded(score[0], box[0], least_score))
        return [face.mapped(stretch) for face in found if abs(face.lean) <= MOST_LEAN]

    def find(self, photo: np.ndarray) -> FoundFaces:
        """Faces of a photo, in the turn that shows the surest one.

        The other turns are tried only where no upright face is certain, and one counts only if
        its face is certain and in the mirrored photo too: a photo must not be turned by mistake.
        Small faces are looked for only where no other is found.

        Parameters
        ----------
        photo : ndarray of shape (H, W, 3), uint8 or uint16
        """
        small = _reduced(photo)
        turns, boxes = _boxes_of_reduced(self, small)
        stretch = _stretch(photo, small, turns)
        largest_first = sorted(boxes, key=lambda face: face.area, reverse=True)
        return FoundFaces(turns, tuple(box.mapped(stretch) for box in largest_first))

    def landmarks(self, photo: np.ndarray, found: FoundFaces) -> tuple[FaceLandmarks, ...]:
        """dlib's landmarks of the faces that `find` has found in a photo."""
        if not found.faces:
            return ()
        small = _reduced(photo)
        stretch = _stretch(photo, small, found.turns)
        upright = turned(small, found.turns)
        placed = [self._landmarker.place(upright, face.mapped(1 / stretch)) for face in found.faces]
        return tuple(each._replace(points=(each.points + 0.5) * stretch - 0.5) for each in placed)


def _reduced(photo: np.ndarray) -> np.ndarray:
    """The photo with 8 bits, at most `REDUCED_SIDE` long."""
    scale = min(1.0, REDUCED_SIDE / max(photo.shape[:2]))
    rows, columns = (max(1, round(scale * side)) for side in photo.shape[:2])
    return eight_bit_resized(photo, (rows, columns))


def _stretch(photo: np.ndarray, small: np.ndarray, turns: int) -> np.ndarray:
    """Factors in x and y from a turned reduced photo to the turned photo."""
    stretch = np.array([photo.shape[1] / small.shape[1], photo.shape[0] / small.shape[0]])
    return stretch[::-1] if turns % 2 else stretch


def _boxes_of_reduced(detector: FaceDetector, small: np.ndarray) -> tuple[int, list[FaceBox]]:
    """Turns and boxes, in pixels of the reduced photo so turned; see `FaceDetector.find`."""
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
