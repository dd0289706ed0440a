"""What detectors find: boxes and points with a score, several of them for one thing.

Anchors around one face or person all find it; their answers become one by weighted
non-maximum suppression, as in MediaPipe.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

# Boxes that share more than this (intersection over union) are of one thing.
OVERLAP = 0.3


@dataclass(frozen=True)
class Detection:
    """A face or person that a net has found.

    Attributes
    ----------
    box : ndarray of shape (4,), float64
        Left, top, right and bottom edge in pixels; pixel centers are at whole numbers.
    points : ndarray of shape (N, 2), float64
        x and y.
    score : float
        Probability, in [0, 1].
    """

    box: np.ndarray
    points: np.ndarray
    score: float

    @property
    def area(self) -> float:
        """In square pixels."""
        left, top, right, bottom = self.box
        return float((right - left) * (bottom - top))

    def mapped(self: Found, stretch: np.ndarray) -> Found:
        """In the same image at another size, enlarged by (2,) factors for x and y."""
        corners = (self.box.reshape(2, 2) + 0.5) * stretch - 0.5
        return type(self)(corners.ravel(), (self.points + 0.5) * stretch - 0.5, self.score)

    def moved(self: Found, offset: np.ndarray) -> Found:
        """In an image in which the first pixel of this one is at (2,) x and y."""
        return type(self)(self.box + np.tile(offset, 2), self.points + offset, self.score)


Found = TypeVar("Found", bound=Detection)


def shares(box: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Intersection over union of a box (4,) with each of (N, 4); 0 of two without area."""
    low = np.maximum(box[:2], boxes[:, :2])
    high = np.minimum(box[2:], boxes[:, 2:])
    common = np.prod(np.clip(high - low, 0, None), axis=1)
    areas = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)
    united = np.prod(box[2:] - box[:2]) + areas - common
    return common / np.maximum(united, np.finfo(float).tiny)


def merged(found: Sequence[Found]) -> list[Found]:
    """Weighted non-maximum suppression.

    The best one and all that overlap it by more than `OVERLAP` become one, with the best
    score and the mean place, weighted by score; then the best of the rest, and so on.

    Parameters
    ----------
    found : sequence of Detection
        All of one class.

    Returns
    -------
    list of Detection
        The best first.
    """
    if not found:
        return []
    boxes = np.stack([each.box for each in found])
    points = np.stack([each.points for each in found])
    scores = np.array([each.score for each in found])
    left = np.argsort(-scores, kind="stable")
    together = []
    while left.size:
        best = left[0]
        same = shares(boxes[best], boxes[left]) > OVERLAP
        same[0] = True  # a box without area shares nothing with itself
        group, left = left[same], left[~same]
        weights = scores[group] / scores[group].sum()
        place = weights @ boxes[group], np.tensordot(weights, points[group], axes=1)
        together.append(type(found[best])(*place, float(scores[best])))
    return together
