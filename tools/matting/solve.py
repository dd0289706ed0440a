"""The matting solve of a whole photo from its trimap."""

from __future__ import annotations

import numpy as np

from caffe_layers.linear_solver import SolveError
from caffe_layers.tiled import solve_alpha_bounded
from data_prep.common.errors import InputError
from tools.matting.trimap import TrimapEstimate


def solved(
    photo: np.ndarray, estimate: TrimapEstimate, lambda_: float, mu: float = 0.0
) -> np.ndarray:
    """Alpha of a photo from its trimap.

    Parameters
    ----------
    photo : ndarray of shape (H, W, 3), uint8 or uint16
    estimate : TrimapEstimate
    lambda_ : float
        Weight of the known pixels.
    mu : float
        Weight of the affinities between unknown pixels (`caffe_layers.affinities`).

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
        alpha = solve_alpha_bounded(
            photo, foreground, background, lambda_, estimate.epsilon, mu, smooth=True
        )
    except (SolveError, MemoryError) as error:
        raise InputError(
            f"The matte of a {width}x{height} photo could not be solved ({error}); "
            "if memory is short, make the photo smaller."
        ) from error
    alpha -= estimate.snap_margin
    alpha /= 1 - 2 * estimate.snap_margin
    return np.clip(alpha, 0, 1, out=alpha)
