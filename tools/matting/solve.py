"""The matting solve of a whole photo from class probabilities."""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np

from caffe_layers.linear_solver import SolveError
from caffe_layers.tiled import solve_alpha_bounded
from data_prep.common.errors import InputError
from tools.matting.orientation import (
    turned_points,
)

# The photo is smoothed for the matting solve, edges kept.  Takes 8 to 11 % off the
# gradient error of rendered portraits that no table is made of, and 2 to 6 % off SAD;
# 5 to 19 pixels and 7 to 60 levels were tried.
SMOOTHED_DIAMETER, SMOOTHED_SIGMA = 13, 6.0  # pixels
SMOOTHED_LEVELS = 15.0  # of 255: larger differences are edges


@dataclass(frozen=True)
class Sight:
    """What a net sees in a photo, before the matting solve.

    Attributes
    ----------
    probabilities : (3, H, W) float32 ndarray
        Of foreground, background and unknown (eq. 3), at the photo's size.
        Read-only where nobody was found.
    faces : tuple of (68, 2) float64 ndarray
        Landmarks in pixels of the photo, the largest face first.
    person_found : bool
    haze : float
        Alpha up to this far from 0 and 1 is taken for 0 and 1 after the solve.
    certainty : float or None
        `presence.person_certainty`, where it was asked for because no face was found.
    """

    probabilities: np.ndarray
    faces: tuple[np.ndarray, ...]
    person_found: bool
    haze: float = 0.0
    certainty: float | None = None

    def turned(self, turns: int) -> Sight:
        """The same of the photo turned by so many quarters (`orientation.turned`)."""
        if not turns % 4:
            return self
        planes = np.rot90(self.probabilities, turns, axes=(1, 2))
        if self.person_found:  # else all pixels share three values
            planes = np.ascontiguousarray(planes)
        shape = self.probabilities.shape[1:]
        faces = tuple(turned_points(points, turns, shape) for points in self.faces)
        return replace(self, probabilities=planes, faces=faces)


def smoothed(photo: np.ndarray) -> np.ndarray:
    """A photo as the matting solve should see it: without grain and fine texture.

    Parameters
    ----------
    photo : (H, W, 3) uint8 or uint16 ndarray

    Returns
    -------
    (H, W, 3) float32 ndarray
        From 0 to 255.
    """
    levels = photo.astype(np.float32)
    if photo.dtype == np.uint16:
        levels /= 257
    return cv2.bilateralFilter(levels, SMOOTHED_DIAMETER, SMOOTHED_LEVELS, SMOOTHED_SIGMA)


def solved(photo: np.ndarray, sight: Sight, lambda_: float) -> np.ndarray:
    """Alpha of a photo from what was seen in it.

    Parameters
    ----------
    photo : (H, W, 3) uint8 or uint16 ndarray
    sight : Sight
    lambda_ : float

    Returns
    -------
    (H, W) float64 ndarray
        In [0, 1]; all 0 where nobody was found.

    Raises
    ------
    InputError
        If the system cannot be solved or memory does not suffice.
    """
    height, width = photo.shape[:2]
    if not sight.person_found:
        return np.zeros((height, width))
    try:
        alpha = solve_alpha_bounded(smoothed(photo), *sight.probabilities[:2], lambda_)
    except (SolveError, MemoryError) as error:
        raise InputError(
            f"The matte of a {width}x{height} photo could not be solved ({error}); "
            "if memory is short, make the photo smaller."
        ) from error
    alpha -= sight.haze
    alpha /= 1 - 2 * sight.haze
    return np.clip(alpha, 0, 1, out=alpha)


def nobody(size: tuple[int, int], certainty: float | None = None) -> Sight:
    """A photo of (rows, columns) without people."""
    background = np.float32([0, 1, 0])[:, None, None]
    return Sight(np.broadcast_to(background, (3, *size)), (), False, certainty=certainty)
