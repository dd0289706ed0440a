"""Where people are in the logit of a segmenter, for a second look at small ones."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

# A person takes at least this share of a photo.
SMALLEST_PERSON = 1e-3
# Blobs this much smaller than the largest are mistakes of the segmenter.
SMALLEST_BLOB = 0.05
# A second look sees the box of a person and this much around it, in sides of the box.
MARGIN = 0.3
# ... if that is at most this share of the photo: else it shows nothing new.
WORTH_A_LOOK = 0.6


@dataclass(frozen=True)
class Box:
    """A part of an image that holds one or several people.

    Attributes
    ----------
    top, bottom, left, right : int
        Rows and columns, the second of each pair exclusive.
    shape : (int, int)
        Height and width of the image.
    """

    top: int
    bottom: int
    left: int
    right: int
    shape: tuple[int, int]

    @property
    def rows(self) -> slice:
        return slice(self.top, self.bottom)

    @property
    def columns(self) -> slice:
        return slice(self.left, self.right)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the part."""
        return self.bottom - self.top, self.right - self.left

    @property
    def worth_a_look(self) -> bool:
        """Whether a net sees more of the people in the part than in the whole."""
        return np.prod(self.size) <= WORTH_A_LOOK * np.prod(self.shape)

    def of(self, photo: np.ndarray) -> np.ndarray:
        """The same part of the image at another size."""
        y, x = photo.shape[0] / self.shape[0], photo.shape[1] / self.shape[1]
        return photo[
            round(self.top * y) : round(self.bottom * y),
            round(self.left * x) : round(self.right * x),
        ]

    def corner(self, shape: tuple[int, ...]) -> np.ndarray:
        """(x, y) of the part's first pixel in an image of (height, width, ...)."""
        y, x = shape[0] / self.shape[0], shape[1] / self.shape[1]
        return np.array([round(self.left * x), round(self.top * y)])

    def grown(self) -> Box:
        """With `MARGIN` on every side."""
        rows, columns = (round(MARGIN * side) for side in self.size)
        return Box(
            max(0, self.top - rows),
            min(self.shape[0], self.bottom + rows),
            max(0, self.left - columns),
            min(self.shape[1], self.right + columns),
            self.shape,
        )

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
            self.shape,
        )


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
    count, _, statistics, _ = cv2.connectedComponentsWithStats((logit > 0).astype(np.uint8))
    areas = statistics[1:count, cv2.CC_STAT_AREA]
    if not areas.size or areas.max() < SMALLEST_PERSON * logit.size:
        return []
    boxes: list[Box] = []
    for left, top, width, height, area in statistics[1:count].tolist():
        if area < SMALLEST_BLOB * areas.max():
            continue
        box = Box(top, top + height, left, left + width, logit.shape).grown()
        while met := [each for each in boxes if each.meets(box)]:
            boxes = [each for each in boxes if each not in met]
            for each in met:
                box = box.joined(each)
        boxes.append(box)
    return boxes
