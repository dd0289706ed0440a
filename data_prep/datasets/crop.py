"""Cropping free-size portraits so that all faces are of similar size (paper, 5).

The crop is a rectangle of whole pixels of aspect 3:4 inside the photo, resized
to 600x800; photo and matte go through the same one, once.  It is placed so
that the face rectangle (the bounding box of the 68 landmarks) has the height
and the center of `TARGET` afterwards:

1. the crop's size follows from the face's height;
2. where the photo is smaller than that, the largest 3:4 crop of it is taken
   (the face comes out larger);
3. where the crop would leave the photo or cut the face, it is shifted (the
   face comes out off its place).

No pixel is invented at the border.  Without a face the largest crop is taken,
centered on the matte from left to right, the top of the matte at its usual
height.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np

from data_prep.common.errors import InputError
from data_prep.datasets.dataset import FRAME

ASPECT = (4, 3)  # height to width: FRAME in lowest terms
#: Crops that would have to be enlarged more than this are refused.
LARGEST_ENLARGEMENT = 2.0
FOREGROUND = 128  # of 255


class Rectangle(NamedTuple):
    """A part of a photo, in pixels from its upper left corner (not pixel centers)."""

    left: float
    top: float
    right: float
    bottom: float

    @property
    def width(self) -> float:
        return self.right - self.left

    @property
    def height(self) -> float:
        return self.bottom - self.top

    @property
    def center(self) -> tuple[float, float]:
        return (self.left + self.right) / 2, (self.top + self.bottom) / 2


class Target(NamedTuple):
    """Where a portrait of 600x800 has its face.

    Attributes
    ----------
    face_height : float
    face_center : (float, float)
        x and y.
    matte_top : float
        First row of the foreground.
    """

    face_height: float
    face_center: tuple[float, float]
    matte_top: float


#: `measure_target` of the training portraits of data/sample.
TARGET = Target(face_height=187.5, face_center=(301.75, 361.75), matte_top=114.5)


def face_rectangle(landmarks: np.ndarray, shape: tuple[int, int]) -> Rectangle:
    """Bounding box of a face, as far as it lies in the photo.

    Parameters
    ----------
    landmarks : (68, 2) ndarray
        x and y of pixel centers.
    shape : (H, W)
        Shape of the photo.
    """
    # Pixel centers lie half a pixel inside.
    inside = np.clip(landmarks + 0.5, 0, shape[::-1])
    return Rectangle(*inside.min(axis=0).tolist(), *inside.max(axis=0).tolist())


def matte_top(matte: np.ndarray) -> int:
    """First row with foreground, 0 where there is none."""
    return int(np.argmax((matte >= FOREGROUND).any(axis=1)))


def measure_target(landmarks: Sequence[np.ndarray], mattes: Sequence[np.ndarray]) -> Target:
    """Medians over portraits that are cropped well already.

    Parameters
    ----------
    landmarks : sequence of (68, 2) ndarray
    mattes : sequence of (800, 600) ndarray
        In the same order.
    """
    faces = [face_rectangle(points, FRAME) for points in landmarks]
    x, y = np.median([face.center for face in faces], axis=0)
    return Target(
        face_height=float(np.median([face.height for face in faces])),
        face_center=(float(x), float(y)),
        matte_top=float(np.median([matte_top(matte) for matte in mattes])),
    )


class Crop(NamedTuple):
    """Whole pixels of a photo that become one portrait."""

    left: int
    top: int
    width: int
    height: int

    def apply(self, image: np.ndarray) -> np.ndarray:
        """The crop at 600x800, (800, 600) or (800, 600, 3) of the same type.

        Reduced by area averaging, which does not alias; enlarged bilinearly,
        which does not overshoot.
        """
        rows = slice(self.top, self.top + self.height)
        columns = slice(self.left, self.left + self.width)
        return resize_to_frame(image[rows, columns])


def resize_to_frame(image: np.ndarray) -> np.ndarray:
    """An image at 600x800, whatever its aspect."""
    height, width = FRAME
    reduced = image.shape[0] >= height and image.shape[1] >= width
    interpolation = cv2.INTER_AREA if reduced else cv2.INTER_LINEAR
    return cv2.resize(image, (width, height), interpolation=interpolation)


def check_enlargement(shape: tuple[int, int]) -> None:
    """Refuse crops (H, W) that are too small for a portrait of 600x800.

    Raises
    ------
    InputError
        If they would be enlarged more than `LARGEST_ENLARGEMENT` times.
    """
    height, width = shape
    if max(FRAME[0] / height, FRAME[1] / width) > LARGEST_ENLARGEMENT:
        raise InputError(
            f"the part to crop has {width}x{height} pixels, too few for "
            f"{FRAME[1]}x{FRAME[0]}; take a larger photo"
        )


def _place(start: float, length: int, low: float, high: float, whole: int) -> int:
    """Start of an interval, shifted to contain [low, high] and lie in [0, whole]."""
    start = np.clip(start, high - length, low)
    return int(np.clip(round(start), 0, whole - length))


def crop_around_face(face: Rectangle, shape: tuple[int, int], target: Target = TARGET) -> Crop:
    """The crop that brings a face to the target's place and size.

    Parameters
    ----------
    face : Rectangle
        Inside the photo.
    shape : (H, W)
        Shape of the photo.
    target : Target

    Raises
    ------
    InputError
        If no 3:4 crop contains the face, or the face is too small.
    """
    wanted = face.height / target.face_height * FRAME[0] / ASPECT[0]
    height, width = _largest(shape, limit=wanted)
    if face.width > width or face.height > height:
        raise InputError("the face does not fit into a 3:4 crop; take a photo with more around it")
    check_enlargement((height, width))
    x, y = face.center
    left = x - target.face_center[0] * width / FRAME[1]
    top = y - target.face_center[1] * height / FRAME[0]
    return Crop(
        _place(left, width, face.left, face.right, shape[1]),
        _place(top, height, face.top, face.bottom, shape[0]),
        width,
        height,
    )


def _largest(shape: tuple[int, int], limit: float = np.inf) -> tuple[int, int]:
    """Shape (H, W) of the largest 3:4 crop, up to `limit` times 3x4 pixels."""
    unit = min(shape[0] // ASPECT[0], shape[1] // ASPECT[1], limit)
    unit = max(1, round(unit))
    return ASPECT[0] * unit, ASPECT[1] * unit


def crop_around_matte(matte: np.ndarray, target: Target = TARGET) -> Crop:
    """The largest crop, placed by the matte: for photos without a face.

    Parameters
    ----------
    matte : (H, W) uint8 ndarray
        With some foreground.
    target : Target

    Raises
    ------
    InputError
        If the photo is too small.
    """
    whole_height, whole_width = matte.shape
    height, width = _largest(matte.shape)
    check_enlargement((height, width))
    columns = np.nonzero(matte >= FOREGROUND)[1]
    left = columns.mean() + 0.5 - width / 2
    top = matte_top(matte) - target.matte_top * height / FRAME[0]
    return Crop(
        int(np.clip(round(left), 0, whole_width - width)),
        int(np.clip(round(top), 0, whole_height - height)),
        width,
        height,
    )


def is_in_foreground(face: Rectangle, matte: np.ndarray) -> bool:
    """Whether most of a face is foreground: faces of passers-by are not."""
    left, top = int(face.left), int(face.top)
    right, bottom = int(np.ceil(face.right)), int(np.ceil(face.bottom))
    part = matte[top : max(bottom, top + 1), left : max(right, left + 1)]
    return part.size > 0 and float(np.mean(part >= FOREGROUND)) > 0.5


def choose_crop(landmarks: np.ndarray | None, matte: np.ndarray) -> tuple[Crop, bool]:
    """The crop of a photo, and whether a face decided it.

    Parameters
    ----------
    landmarks : (68, 2) ndarray or None
    matte : (H, W) uint8 ndarray

    Raises
    ------
    InputError
        If the photo allows none.
    """
    if landmarks is not None:
        face = face_rectangle(landmarks, matte.shape)
        if is_in_foreground(face, matte):
            return crop_around_face(face, matte.shape), True
    return crop_around_matte(matte), False
