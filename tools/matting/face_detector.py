"""Faces of a photo, in all sizes, by the `face_detector` net; their landmarks by dlib.

The net is Caffe's, and OpenCV runs it: mattes of a trimap or mask from outside need faces
too, and have no Caffe.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import dlib
import numpy as np

from data_prep.common.errors import InputError
from data_prep.common.landmarks import DetectedFace, LandmarkPredictor
from prototxt.catalog import FACE_DETECTOR
from tools.matting.face_boxes import FaceBox, decoded, merged

# Longest sides at which a photo is searched, one after the other until a face is found.
SEARCH_SIDES = (192, 384)
CELL = 32  # the net's input has whole multiples of it
# A face counts from this score on.
LEAST_SCORE = 0.6


class FaceDetector:
    """Finds faces; the files it needs are read once."""

    def __init__(self) -> None:
        for path in (FACE_DETECTOR.deploy, FACE_DETECTOR.weights):
            if not path.is_file():
                raise InputError(f"{path} is missing; restore it with `git checkout`.")
        self._net = cv2.dnn.readNetFromCaffe(*map(str, (FACE_DETECTOR.deploy, FACE_DETECTOR.weights)))
        self._predictor = LandmarkPredictor()

    def boxes(self, photo: np.ndarray, side: int) -> list[FaceBox]:
        """Faces of a photo that is searched at one size.

        Parameters
        ----------
        photo : (H, W, 3) uint8 ndarray
            BGR.
        side : int
            Pixels of the longer side for the net.

        Returns
        -------
        list of FaceBox
            In pixels of the photo, the surest first.
        """
        rows, columns = photo.shape[:2]
        scale = side / max(rows, columns)
        small = max(1, round(scale * rows)), max(1, round(scale * columns))
        filter_ = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
        image = cv2.resize(photo, small[::-1], interpolation=filter_)
        below, right = (-size % CELL for size in small)
        image = cv2.copyMakeBorder(image, 0, below, 0, right, cv2.BORDER_CONSTANT)
        self._net.setInput(
            cv2.dnn.blobFromImage(image, 1 / 127.5, mean=(127.5,) * 3, swapRB=True)
        )
        score, box = self._net.forward(["score", "box"])
        stretch = np.array([columns / small[1], rows / small[0]])
        found = merged(decoded(score[0], box[0], LEAST_SCORE))
        return [face.mapped(stretch, np.zeros(2)) for face in found]

    def detect_faces(self, photo: np.ndarray) -> tuple[DetectedFace, ...]:
        """Every upright face of a photo with its landmarks; the largest face first.

        Parameters
        ----------
        photo : (H, W, 3) uint8 ndarray
            BGR.
        """
        faces: Sequence[FaceBox] = ()
        for side in SEARCH_SIDES:
            if faces := self.boxes(photo, side):
                break
        rgb = cv2.cvtColor(photo, cv2.COLOR_BGR2RGB)
        return tuple(
            DetectedFace(
                self._predictor.predict(rgb, dlib.rectangle(*np.rint(face.box).astype(int).tolist())),
                face.score,
            )
            for face in sorted(faces, key=lambda face: face.area, reverse=True)
        )
