"""The matting solve of a whole photo from its trimap."""

from __future__ import annotations

import cv2
import numpy as np

from caffe_layers.linear_solver import SolveError
from caffe_layers.tiled import solve_alpha_bounded
from data_prep.common.errors import InputError
from tools.matting.trimap import TrimapEstimate

# The photo is smoothed for the matting solve, edges kept.  Takes 8 to 11 % off the
# gradient error of rendered portraits that no reported table uses, and 2 to 6 % off SAD;
# 5 to 19 pixels and 7 to 60 levels were tried.
SMOOTHED_DIAMETER, SMOOTHED_SIGMA = 13, 6.0  # pixels
SMOOTHED_LEVELS = 15.0  # of 255: larger differences are edges


def smoothed(photo: np.ndarray) -> np.ndarray:
    """A photo without grain and fine texture, as the matting solve takes it.

    Parameters
    ----------
    photo : ndarray of shape (H, W, 3), uint8 or uint16

    Returns
    -------
    ndarray of shape (H, W, 3), float32
        From 0 to 255.
    """
    levels = photo.astype(np.float32)
    if photo.dtype == np.uint16:
        levels /= 257
    return cv2.bilateralFilter(levels, SMOOTHED_DIAMETER, SMOOTHED_LEVELS, SMOOTHED_SIGMA)


def solved(photo: np.ndarray, estimate: TrimapEstimate, lambda_: float) -> np.ndarray:
    """Alpha of a photo from its trimap.

    Parameters
    ----------
    photo : ndarray of shape (H, W, 3), uint8 or uint16
    estimate : TrimapEstimate
    lambda_ : float
        Weight of the known pixels.

    Returns
    -------
    ndarray of shape (H, W), float64
        In [0, 1]; all 0 where nobody was found.

    Raises
    ------
    InputError
        If the system cannot be solved or memory does not suffice.
    """
    height, width = photo.shape[:2]
    if not estimate.person_found:
        return np.zeros((height, width))
    foreground, background, _ = estimate.probabilities
    try:
        alpha = solve_alpha_bounded(smoothed(photo), foreground, background, lambda_)
    except (SolveError, MemoryError) as error:
        raise InputError(
            f"The matte of a {width}x{height} photo could not be solved ({error}); "
            "if memory is short, make the photo smaller."
        ) from error
    alpha -= estimate.snap_margin
    alpha /= 1 - 2 * estimate.snap_margin
    return np.clip(alpha, 0, 1, out=alpha)
