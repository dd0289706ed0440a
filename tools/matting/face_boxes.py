"""From the output of the `face_detector` net to faces: boxes, points and scores.

The net has one anchor at the center of every cell of `STRIDE` pixels of its input, of one size
for all (single-shot detection): it gives a logit, and a box and six points relative to the
cell's center.  Cells around one face all find it; their answers become one by weighted
non-maximum suppression, as in MediaPipe.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

STRIDE = 4
# Boxes that share more than this (intersection over union) are of one face.
OVERLAP = 0.3


@dataclass(frozen=True)
class FaceBox:
    """A face that the net has found.

    Attributes
    ----------
    box : ndarray of shape (4,), float64
        Left, top, right and bottom edge in pixels; pixel centers are at whole numbers.
        From the brows to the chin.
    points : ndarray of shape (6, 2), float64
        x and y of the right eye (of the person), left eye, tip of the nose, middle of the
        mouth, right and left ear.
    score : float
        Probability of a face, in [0, 1].
    """

    box: np.ndarray
    points: np.ndarray
    score: float

    @property
    def area(self) -> float:
        """In square pixels."""
        left, top, right, bottom = self.box
        return float((right - left) * (bottom - top))

    @property
    def lean(self) -> float:
        """Degrees by which the line from the mouth to the eyes leans to the right."""
        x, y = self.points[:2].mean(axis=0) - self.points[3]
        return float(np.degrees(np.arctan2(x, -y)))

    def mapped(self, stretch: np.ndarray) -> FaceBox:
        """In the same image at another size, enlarged by (2,) factors for x and y."""
        corners = (self.box.reshape(2, 2) + 0.5) * stretch - 0.5
        return FaceBox(corners.ravel(), (self.points + 0.5) * stretch - 0.5, self.score)


def unpacked(channels: np.ndarray) -> np.ndarray:
    """Values of 2 x 2 cells, which one cell of the net's output holds in its channels.

    Parameters
    ----------
    channels : ndarray of shape (4 K, h, w)
        Channel 2 i + j of K each belongs to row i and column j of the four.

    Returns
    -------
    ndarray of shape (2 h, 2 w, K)
    """
    count, rows, columns = channels.shape
    parts = channels.reshape(2, 2, count // 4, rows, columns)
    return parts.transpose(3, 0, 4, 1, 2).reshape(2 * rows, 2 * columns, count // 4)


def decoded(logits: np.ndarray, values: np.ndarray, least_score: float) -> list[FaceBox]:
    """Faces of all cells whose score suffices; many are one and the same.

    Parameters
    ----------
    logits : ndarray of shape (4, h, w)
        Blob ``score``.
    values : ndarray of shape (64, h, w)
        Blob ``box``: center, width and height of the box, then six points, in pixels of the
        net's input, positions relative to the center of the cell.
    least_score : float
        In (0, 1).

    Returns
    -------
    list of FaceBox
        In pixels of the net's input, the best first.
    """
    scores = unpacked(logits)[:, :, 0]
    cells = np.argwhere(scores >= np.log(least_score / (1 - least_score)))
    cells = cells[np.argsort(-scores[tuple(cells.T)], kind="stable")]
    boxes = unpacked(values)
    faces = []
    for row, column in cells:
        center = STRIDE * (np.array([column, row]) + 0.5) - 0.5
        places = boxes[row, column].astype(np.float64).reshape(8, 2)
        middle, half = center + places[0], places[1] / 2
        box = np.concatenate([middle - half, middle + half])
        score = 1 / (1 + np.exp(-float(scores[row, column])))
        faces.append(FaceBox(box, center + places[2:], score))
    return faces


def shares(box: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Intersection over union of a box (4,) with each of (N, 4); 0 of two without area."""
    low = np.maximum(box[:2], boxes[:, :2])
    high = np.minimum(box[2:], boxes[:, 2:])
    common = np.prod(np.clip(high - low, 0, None), axis=1)
    areas = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)
    united = np.prod(box[2:] - box[:2]) + areas - common
    return common / np.maximum(united, np.finfo(float).tiny)


def merged(faces: list[FaceBox]) -> list[FaceBox]:
    """Weighted non-maximum suppression.

    The best face and all that overlap it by more than `OVERLAP` become one, with the best
    score and the mean place, weighted by score; then the best of the rest, and so on.

    Parameters
    ----------
    faces : list of FaceBox

    Returns
    -------
    list of FaceBox
        The best first.
    """
    if not faces:
        return []
    boxes = np.stack([face.box for face in faces])
    points = np.stack([face.points for face in faces])
    scores = np.array([face.score for face in faces])
    left = np.argsort(-scores, kind="stable")
    found = []
    while left.size:
        best = left[0]
        same = shares(boxes[best], boxes[left]) > OVERLAP
        same[0] = True  # a box without area shares nothing with itself
        group, left = left[same], left[~same]
        weights = scores[group] / scores[group].sum()
        found.append(
            FaceBox(
                weights @ boxes[group],
                np.tensordot(weights, points[group], axes=1),
                float(scores[best]),
            )
        )
    return found
