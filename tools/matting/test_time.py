"""Several looks at one photo: a little nearer, farther, moved, and mirrored.

A segmenter's strided layers place an edge by where it falls on their grid.  The
mean of looks whose grids fall elsewhere is free of that; each look's answer is
put back to where the photo is before it counts.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

# (zoom, shift in x, shift in y), shifts in pixels of the net.  Few and small:
# chosen by SAD and gradient error on the rendered training portraits, where
# they take 5 % and 2 % off what the first look and its mirror image give.
LOOKS = ((1.0, 0, 0), (0.9, 5, 5), (0.9, -5, -5), (1.1, -5, 5), (1.1, 5, -5))

# From pixels of a picture of twice the size; pixel centers are at whole numbers.
HALVE = np.array([[0.5, 0, -0.25], [0, 0.5, -0.25], [0, 0, 1]])
ALIAS_SIGMA = 0.6  # of the picture of twice the size, where a look halves it or more


def look_matrix(look: tuple[float, float, float], size: tuple[int, int]) -> np.ndarray:
    """(3, 3) matrix from pixels of the photo at the net's size to those of a look.

    Parameters
    ----------
    look : (zoom, x, y)
        Entry of `LOOKS`.
    size : (rows, columns)
        Of the net.
    """
    zoom, x, y = look
    row, column = (np.array(size) - 1) / 2  # zoomed about the middle
    return np.array(
        [[zoom, 0, (1 - zoom) * column + x], [0, zoom, (1 - zoom) * row + y], [0, 0, 1]]
    )


def look_at(smooth: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """What a look sees.

    Parameters
    ----------
    smooth : (2 H, 2 W, C) uint8 ndarray
        Photo at twice the net's size, blurred by `ALIAS_SIGMA`.
    matrix : (3, 3) ndarray
        From `look_matrix`.

    Returns
    -------
    (H, W, C) uint8 ndarray
        Beside the photo its border is repeated.
    """
    size = (smooth.shape[1] // 2, smooth.shape[0] // 2)
    return cv2.warpAffine(smooth, (matrix @ HALVE)[:2], size, borderMode=cv2.BORDER_REPLICATE)


def put_back(plane: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """(H, W[, K]) values of a look, where the photo is; 0 where it did not see."""
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(plane, matrix[:2], plane.shape[1::-1], flags=flags)


def mean_of_looks(double: np.ndarray, answer: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Mean of the answers to all looks and their mirror images.

    Parameters
    ----------
    double : (2 H, 2 W, C) uint8 ndarray
        Photo at twice the net's size, up to 4 channels.
    answer : callable
        From an (H, W, C) picture to an (H, W) or (H, W, K) float32 ndarray.

    Returns
    -------
    ndarray of the answers' shape
    """
    size = (double.shape[0] // 2, double.shape[1] // 2)
    smooth = cv2.GaussianBlur(double, (0, 0), ALIAS_SIGMA)
    total, weight = np.float32(0), np.zeros(size, np.float32)
    for look in LOOKS:
        matrix = look_matrix(look, size)
        seen = look_at(smooth, matrix)
        both = answer(seen) + answer(np.ascontiguousarray(seen[:, ::-1]))[:, ::-1]
        total = total + put_back(both / 2, matrix)
        weight += put_back(np.ones(size, np.float32), matrix)
    return total / (weight if total.ndim == 2 else weight[:, :, None])
