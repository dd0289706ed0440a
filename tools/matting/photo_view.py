"""One photo as every step of matting needs it: as given, with 8 bits, reduced, turned upright."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import NamedTuple, Protocol

import cv2
import numpy as np

from data_prep.common.pictures import eight_bits
from tools.matting.face_boxes import FaceBox
from tools.matting.orientation import turned

#: Longest side of the reduced photo, on which trimaps are made.
WORK_SIDE = 800

Faces = tuple[FaceBox, ...]


class FoundFaces(NamedTuple):
    """Faces of a photo, in the turn that shows the surest one.

    Attributes
    ----------
    turns : int
        Quarters by which the photo has to be turned (`orientation.turned`); 0 without a
        face.
    faces : tuple of FaceBox
        In pixels of the turned photo, the largest face first.
    """

    turns: int
    faces: Faces


class FaceLandmarks(NamedTuple):
    """Landmarks of a face of a photo.

    Attributes
    ----------
    points : ndarray of shape (68, 2), float64
        x and y in pixels of the photo as its faces are upright, iBUG order.
    is_aligned : bool
        Whether they are good enough to align the shape mask.
    """

    points: np.ndarray
    is_aligned: bool


class FaceFinder(Protocol):
    """What a view asks for its faces, as `face_detector.FaceDetector`."""

    def find(self, photo: np.ndarray) -> FoundFaces:
        """Faces of an (H, W, 3) uint8 photo."""

    def landmarks(self, photo: np.ndarray, found: FoundFaces) -> tuple[FaceLandmarks, ...]:
        """Landmarks of the faces that were found in an (H, W, 3) uint8 photo."""


class PhotoView:
    """One photo, made ready once for all steps from the net to the matte.

    Copies and faces are made when they are first asked for, and kept.

    Parameters
    ----------
    photo : ndarray of shape (H, W, 3), uint8 or uint16
        BGR.
    finder : FaceFinder

    Attributes
    ----------
    photo : ndarray of shape (H, W, 3), uint8 or uint16
        As it was given.
    """

    def __init__(self, photo: np.ndarray, finder: FaceFinder) -> None:
        self.photo = photo
        self._finder = finder

    @property
    def shape(self) -> tuple[int, int]:
        """(H, W) of the photo."""
        rows, columns = self.photo.shape[:2]
        return rows, columns

    @cached_property
    def eight_bit(self) -> np.ndarray:
        """The photo with 8 bits, so that it gives the same stored with 16 bits."""
        return eight_bits(self.photo)

    @cached_property
    def reduced(self) -> np.ndarray:
        """The photo with 8 bits at its `work_shape`."""
        return resized(self.eight_bit, work_shape(self.shape))

    @property
    def turns(self) -> int:
        """Quarters by which the photo has to be turned to show its surest face upright."""
        return self._found_faces.turns

    @property
    def faces(self) -> Faces:
        """In pixels of the photo turned by `turns`, the largest face first."""
        return self._found_faces.faces

    @cached_property
    def landmarks(self) -> tuple[FaceLandmarks, ...]:
        """Of each of the faces.

        Only the shape mask needs them: the license of their model excludes commercial use.
        """
        return self._finder.landmarks(self.eight_bit, self._found_faces)

    @property
    def aligned_landmarks(self) -> tuple[np.ndarray, ...]:
        """Landmarks (68, 2) of those faces over which the shape mask can be aligned."""
        return tuple(each.points for each in self.landmarks if each.is_aligned)

    @cached_property
    def _found_faces(self) -> FoundFaces:
        return self._finder.find(self.eight_bit)

    def upright(self, turns: int) -> np.ndarray:
        """The photo with 8 bits, turned counterclockwise by quarters (`orientation.turned`)."""
        return turned(self.eight_bit, turns)

    def upright_shape(self, turns: int) -> tuple[int, int]:
        """(H, W) of `upright`."""
        rows, columns = self.shape
        return (columns, rows) if turns % 2 else (rows, columns)

    def upright_reduced(self, turns: int) -> np.ndarray:
        """`upright` at its `work_shape`."""
        if turns % 4 == 0:
            return self.reduced
        upright = self.upright(turns)
        return resized(upright, work_shape(upright.shape))


def work_shape(shape: Sequence[int]) -> tuple[int, int]:
    """Shape (H, W) of the reduced copy of a photo (H, W, ...).

    Its sides are at most `WORK_SIDE`: a segmenter does not know more, and the unknown
    region of a large photo is as smooth.
    """
    rows, columns = shape[:2]
    scale = min(1.0, WORK_SIDE / max(rows, columns))
    return max(3, round(scale * rows)), max(3, round(scale * columns))


def resized(image: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Resize to (H, W); averages pixels where the result is smaller."""
    rows, columns = shape
    smaller = rows <= image.shape[0] and columns <= image.shape[1]
    filter_ = cv2.INTER_AREA if smaller else cv2.INTER_LINEAR
    return cv2.resize(image, (columns, rows), interpolation=filter_)


def eight_bit_resized(photo: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """A photo rounded to 8 bits, then `resized` to (H, W)."""
    return resized(eight_bits(photo), shape)
