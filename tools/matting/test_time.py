"""Test-time augmentation: scaled, shifted and mirrored views of one photo.

A segmenter's strided layers place an edge by where it falls on their grid.  The mean over
views whose grids fall elsewhere is free of that; the scores of each view are moved back to
where the photo is before they are averaged.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import cv2
import numpy as np

#: Zoom, shift in x, shift in y; shifts in pixels of the net.
View = tuple[float, float, float]

# Few and small: chosen by SAD and gradient error on the rendered training portraits, where
# they take 5 % and 2 % off what the first view and its mirror image give.
VIEWS: tuple[View, ...] = ((1.0, 0, 0), (0.9, 5, 5), (0.9, -5, -5), (1.1, -5, 5), (1.1, 5, -5))

# From pixels of a picture of twice the shape; pixel centers are at whole numbers.
HALVE = np.array([[0.5, 0, -0.25], [0, 0.5, -0.25], [0, 0, 1]])
ALIAS_SIGMA = 0.6  # in pixels of the picture of twice the shape, where a view halves it or more


class ScoreFunction(Protocol):
    """A net as it is applied to every view."""

    def __call__(self, picture: np.ndarray) -> np.ndarray:
        """Scores (H, W) or (H, W, K) float32 of an (H, W, C) uint8 picture."""


def view_matrix(view: View, shape: tuple[int, int]) -> np.ndarray:
    """Matrix from pixels of the photo at the net's shape to those of a view.

    Parameters
    ----------
    view : (zoom, x, y)
    shape : (H, W)
        The net's.

    Returns
    -------
    ndarray of shape (3, 3)
    """
    zoom, x, y = view
    row, column = (np.array(shape) - 1) / 2  # zoomed about the middle
    return np.array(
        [[zoom, 0, (1 - zoom) * column + x], [0, zoom, (1 - zoom) * row + y], [0, 0, 1]]
    )


def warped_view(smooth: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """One view of a photo.

    Parameters
    ----------
    smooth : ndarray of shape (2 H, 2 W, C), uint8
        The photo at twice the net's shape, blurred by `ALIAS_SIGMA`.
    matrix : ndarray of shape (3, 3)
        From `view_matrix`.

    Returns
    -------
    ndarray of shape (H, W, C), uint8
        Beside the photo its border is repeated.
    """
    size_wh = (smooth.shape[1] // 2, smooth.shape[0] // 2)
    return cv2.warpAffine(smooth, (matrix @ HALVE)[:2], size_wh, borderMode=cv2.BORDER_REPLICATE)


def warped_back(plane: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """(H, W[, K]) values of a view, moved to where the photo is; 0 outside of the view."""
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(plane, matrix[:2], plane.shape[1::-1], flags=flags)


def mean_over_views(
    double: np.ndarray, scores_of: ScoreFunction, views: Sequence[View] = VIEWS
) -> np.ndarray:
    """Mean of the scores of views and their mirror images.

    Parameters
    ----------
    double : ndarray of shape (2 H, 2 W, C), uint8
        The photo at twice the net's shape, with up to 4 channels.
    scores_of : ScoreFunction
    views : sequence of (zoom, x, y)

    Returns
    -------
    ndarray of shape (H, W) or (H, W, K), float32
        As `scores_of` returns them.
    """
    shape = (double.shape[0] // 2, double.shape[1] // 2)
    smooth = cv2.GaussianBlur(double, (0, 0), ALIAS_SIGMA)
    total: np.ndarray = np.zeros((), np.float32)
    weight = np.zeros(shape, np.float32)
    for view in views:
        matrix = view_matrix(view, shape)
        picture = warped_view(smooth, matrix)
        mirrored = np.ascontiguousarray(picture[:, ::-1])
        both = scores_of(picture) + scores_of(mirrored)[:, ::-1]
        total = total + warped_back(both / 2, matrix)
        weight += warped_back(np.ones(shape, np.float32), matrix)
    return total / (weight if total.ndim == 2 else weight[:, :, None])
