"""From the output of the `pose_detector` net to people, and to the square around each.

The net has `prototxt.catalog.POSE_ANCHORS` in every cell of three strides, all of one size:
each gives a logit, and a box and four points relative to the cell's center.  The first point is
the middle of the hips, the second is as far from it as the person reaches, above the head.
"""

from __future__ import annotations

from collections.abc import Mapping

import cv2
import numpy as np

from tools.matting.detections import Detection
from tools.matting.logits import sigmoid
from tools.matting.people import Box
from tools.matting.photo_view import resized

# As in MediaPipe, which trained the nets with it: the square around a person is this much
# wider than twice the distance of the two points.
SQUARE_SCALE = 1.25


class PersonBox(Detection):
    """A person that the net has found.

    Its box is the head's; its points are the middle of the hips, a point above the head that
    is as far from it as the body reaches, and the same two of the upper body.
    """

    @property
    def square_side(self) -> float:
        """Pixels of the side of the square around the person."""
        return 2 * SQUARE_SCALE * float(np.linalg.norm(self.points[1] - self.points[0]))

    def square(self, side: int) -> np.ndarray:
        """The square around the person, upright, hips in the middle, as an image.

        Parameters
        ----------
        side : int
            Its rows and columns.

        Returns
        -------
        ndarray of shape (2, 3)
            Affine map of x and y from the square's pixels to the photo's.
        """
        hips, top = self.points[:2]
        up = (top - hips) / np.linalg.norm(top - hips)
        right = np.array([-up[1], up[0]])  # rows go down
        linear = self.square_side / side * np.column_stack([right, -up])
        return np.column_stack([linear, hips - linear @ np.full(2, (side - 1) / 2)])

    def part_of(self, shape: tuple[int, int]) -> Box:
        """The part of an image of shape (H, W) around the person, as large as the square."""
        radius = self.square_side / 2
        left, top = np.floor(self.points[0] - radius).clip(0, shape[::-1]).astype(int).tolist()
        right, bottom = np.ceil(self.points[0] + radius).clip(0, shape[::-1]).astype(int).tolist()
        return Box(top, bottom, left, right, shape)


def letterboxed(
    photo: np.ndarray, side: int, bars: tuple[int, int, int] = (0, 0, 0)
) -> tuple[np.ndarray, np.ndarray, float]:
    """A photo in the middle of a square.

    Parameters
    ----------
    photo : ndarray of shape (H, W, 3), uint8
    side : int
        The square's.
    bars : (blue, green, red)
        Color of what lies beside the photo.

    Returns
    -------
    square : ndarray of shape (side, side, 3), uint8
    corner : ndarray of shape (2,)
        x and y of the square's outer corner, in pixels of the photo.
    scale : float
        Pixels of the photo for one of the square.
    """
    rows, columns = photo.shape[:2]
    longest = max(rows, columns)
    top, left = (longest - rows) // 2, (longest - columns) // 2
    below, right = longest - rows - top, longest - columns - left
    square = cv2.copyMakeBorder(photo, top, below, left, right, cv2.BORDER_CONSTANT, value=bars)
    return resized(square, (side, side)), np.array([-left, -top]) - 0.5, longest / side


def decoded(
    logits: Mapping[int, np.ndarray], values: Mapping[int, np.ndarray], least_score: float
) -> list[PersonBox]:
    """People of all anchors whose score suffices; many are one and the same.

    Parameters
    ----------
    logits : mapping of int to ndarray of shape (A, h, w)
        Blobs ``score8`` and so on, by stride; A anchors a cell.
    values : mapping of int to ndarray of shape (12 A, h, w)
        Blobs ``people8`` and so on: center, width and height of the box, then four points, in
        pixels of the net's input, positions relative to the center of the cell.
    least_score : float
        In (0, 1).

    Returns
    -------
    list of PersonBox
        In pixels of the net's input.
    """
    people = []
    for stride, cells in logits.items():
        anchors, rows, columns = cells.shape
        answers = values[stride].reshape(anchors, -1, rows, columns)
        for anchor, row, column in np.argwhere(cells >= np.log(least_score / (1 - least_score))):
            center = stride * (np.array([column, row]) + 0.5) - 0.5
            places = answers[anchor, :, row, column].astype(np.float64).reshape(-1, 2)
            middle, half = center + places[0], places[1] / 2
            score = float(sigmoid(float(cells[anchor, row, column])))
            box = np.concatenate([middle - half, middle + half])
            people.append(PersonBox(box, center + places[2:], score))
    return people
