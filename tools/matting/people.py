"""Where people are in the logit of a segmenter, so that small ones get a close-up."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import cv2
import numpy as np

# A person takes at least this share of a photo.
SMALLEST_PERSON = 1e-3
# Blobs this much smaller than the largest are mistakes of the segmenter.
SMALLEST_BLOB = 0.05
# A close-up shows the box of a person and this much around it, in sides of the box.
MARGIN = 0.3
# A close-up of more than this share of the photo would show nothing new.
LARGEST_CLOSE_UP = 0.6


@dataclass(frozen=True)
class Box:
    """A part of an image that holds one or several people.

    Attributes
    ----------
    top, bottom, left, right : int
        Rows and columns, the second of each pair exclusive.
    image_shape : (H, W)
        The whole image's.
    """

    top: int
    bottom: int
    left: int
    right: int
    image_shape: tuple[int, int]

    @property
    def rows(self) -> slice:
        return slice(self.top, self.bottom)

    @property
    def columns(self) -> slice:
        return slice(self.left, self.right)

    @property
    def shape(self) -> tuple[int, int]:
        """(H, W) of the part."""
        return self.bottom - self.top, self.right - self.left

    @property
    def needs_close_up(self) -> bool:
        """Whether a net sees more of the people in the part than in the whole."""
        return bool(np.prod(self.shape) <= LARGEST_CLOSE_UP * np.prod(self.image_shape))

    def crop(self, photo: np.ndarray) -> np.ndarray:
        """The same part of the image at another resolution."""
        y, x = photo.shape[0] / self.image_shape[0], photo.shape[1] / self.image_shape[1]
        return photo[
            round(self.top * y) : round(self.bottom * y),
            round(self.left * x) : round(self.right * x),
        ]

    def corner(self, shape: tuple[int, ...]) -> np.ndarray:
        """(x, y) of the part's first pixel in an image of shape (H, W, ...)."""
        y, x = shape[0] / self.image_shape[0], shape[1] / self.image_shape[1]
        return np.array([round(self.left * x), round(self.top * y)])

    def grown(self) -> Box:
        """With `MARGIN` on every side."""
        rows, columns = (round(MARGIN * side) for side in self.shape)
        return Box(
            max(0, self.top - rows),
            min(self.image_shape[0], self.bottom + rows),
            max(0, self.left - columns),
            min(self.image_shape[1], self.right + columns),
            self.image_shape,
        )

    def square(self, side: float) -> Box:
        """A square of a side around the same center, cut off at the edges of the image."""
        (top, bottom), (left, right) = (
            (max(0, round((begin + end - side) / 2)), min(whole, round((begin + end + side) / 2)))
            for begin, end, whole in (
                (self.top, self.bottom, self.image_shape[0]),
                (self.left, self.right, self.image_shape[1]),
            )
        )
        return Box(top, bottom, left, right, self.image_shape)

    def meets(self, other: Box) -> bool:
        """Whether the two overlap."""
        return (
            self.top < other.bottom
            and other.top < self.bottom
            and self.left < other.right
            and other.left < self.right
        )

    def joined(self, other: Box) -> Box:
        """The smallest box around both."""
        return Box(
            min(self.top, other.top),
            max(self.bottom, other.bottom),
            min(self.left, other.left),
            max(self.right, other.right),
            self.image_shape,
        )


def tiles(shape: tuple[int, int], count: int, share: float) -> list[Box]:
    """Parts that cover an image of shape (H, W), row by row.

    Parameters
    ----------
    shape : (H, W)
    count : int
        Rows and columns of parts.
    share : float
        Their sides in those of the image; they overlap where it is above 1 / count.
    """
    sides = [max(1, round(share * side)) for side in shape]
    tops, lefts = (
        np.linspace(0, whole - part, count).round().astype(int).tolist()
        for whole, part in zip(shape, sides)
    )
    return [
        Box(top, top + sides[0], left, left + sides[1], shape) for top in tops for left in lefts
    ]


def joined_boxes(boxes: Iterable[Box]) -> list[Box]:
    """Boxes of one image, those that meet joined until none overlap."""
    apart: list[Box] = []
    for box in boxes:
        while met := [each for each in apart if each.meets(box)]:
            apart = [each for each in apart if each not in met]
            for each in met:
                box = box.joined(each)
        apart.append(box)
    return apart


def blobs(region: np.ndarray) -> tuple[np.ndarray, list[Box], np.ndarray]:
    """Connected parts of a region.

    Parameters
    ----------
    region : (H, W) bool ndarray

    Returns
    -------
    labels : (H, W) int32 ndarray
        0 outside of the region; blob number i, counted from 0, has i + 1.
    boxes : list of Box
        The smallest box around each.
    areas : (n,) int32 ndarray
        Pixels of each.
    """
    _, labels, statistics, _ = cv2.connectedComponentsWithStats(region.astype(np.uint8))
    boxes = [
        Box(top, top + height, left, left + width, (region.shape[0], region.shape[1]))
        for left, top, width, height in statistics[1:, : cv2.CC_STAT_AREA].tolist()
    ]
    return labels, boxes, statistics[1:, cv2.CC_STAT_AREA]


def people_boxes(logit: np.ndarray) -> list[Box]:
    """Boxes around the people of a logit, margins included; none overlap.

    Parameters
    ----------
    logit : (H, W) ndarray
        Positive where a person is.

    Returns
    -------
    list of Box
        Empty where nobody is found.
    """
    _, boxes, areas = blobs(logit > 0)
    if not areas.size or areas.max() < SMALLEST_PERSON * logit.size:
        return []
    return joined_boxes(
        box.grown() for box, area in zip(boxes, areas) if area >= SMALLEST_BLOB * areas.max()
    )
