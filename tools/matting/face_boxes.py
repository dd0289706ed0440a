"""From the output of the `face_detector` net to faces: boxes, points and scores.

The net has one anchor at the center of every cell of `STRIDE` pixels of its input, of one size
for all (single-shot detection): it gives a logit, and a box and six points relative to the
cell's center.  Cells around one face all find it; their answers become one by weighted
non-maximum suppression (`tools.matting.detections`).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tools.matting.detections import Detection
from tools.matting.logits import sigmoid
from tools.matting.orientation import turned_points

STRIDE = 4


class FaceBox(Detection):
    """A face that the net has found.

    Its box goes from the brows to the chin; its points are the right eye (of the person), left
    eye, tip of the nose, middle of the mouth, right and left ear.
    """

    @property
    def eyes(self) -> np.ndarray:
        """(2,) x and y of the middle of the eyes."""
        return self.points[:2].mean(axis=0)

    @property
    def eye_distance(self) -> float:
        """Pixels from one eye to the other."""
        return float(np.linalg.norm(self.points[1] - self.points[0]))

    @property
    def chin(self) -> float:
        """Row of the chin of an upright face."""
        return float(self.box[3])

    def turned(self, turns: int, shape: Sequence[int]) -> FaceBox:
        """The same in an image (H, W, ...) that is turned by quarters (`orientation.turned`)."""
        corners = turned_points(self.box.reshape(2, 2), turns, shape)
        box = np.concatenate([corners.min(axis=0), corners.max(axis=0)])
        return FaceBox(box, turned_points(self.points, turns, shape), self.score)

    @property
    def lean(self) -> float:
        """Degrees by which the line from the mouth to the eyes leans to the right."""
        x, y = self.eyes - self.points[3]
        return float(np.degrees(np.arctan2(x, -y)))


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
        score = float(sigmoid(float(scores[row, column])))
        faces.append(FaceBox(box, center + places[2:], score))
    return faces
