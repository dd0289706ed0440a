"""From classes of pixels to a matte, the same way for every row of Table 1.

The unknown region is widened, then the closed-form solve fills it in, from the smoothed photo.
"""

from __future__ import annotations

import cv2
import numpy as np

from caffe_layers.matting import solve_alpha
from tools.evaluation.trimaps import BACKGROUND, FOREGROUND
from tools.table.rows import Settings


def classes_of_scores(scores: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """The likeliest class of each pixel.

    Parameters
    ----------
    scores : (C, h, w) ndarray
        A net's; enlarged before the largest is chosen.
    shape : (int, int)
        Size (H, W) of the photo.

    Returns
    -------
    (H, W) uint8 ndarray
    """
    planes = [
        cv2.resize(plane, shape[::-1], interpolation=cv2.INTER_LINEAR)
        for plane in scores.astype(np.float32)
    ]
    return np.argmax(planes, axis=0).astype(np.uint8)


def classes_of_mask(person: np.ndarray) -> np.ndarray:
    """(H, W) uint8 classes of a bool mask: foreground where it is True, else background."""
    return np.where(person, FOREGROUND, BACKGROUND).astype(np.uint8)


def _eroded(region: np.ndarray, width: int) -> np.ndarray:
    """Pixels of a bool region that are farther than this from its border; the frame is none."""
    if region.all() or width == 0:
        return region
    distance = cv2.distanceTransform(region.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return distance > width


def known_regions(classes: np.ndarray, settings: Settings) -> tuple[np.ndarray, np.ndarray]:
    """Foreground and background that are left after widening.

    Parameters
    ----------
    classes : (H, W) uint8 ndarray
    settings : Settings

    Returns
    -------
    foreground, background : (H, W) bool ndarray
    """
    inner, outer = settings.widths
    return _eroded(classes == FOREGROUND, inner), _eroded(classes == BACKGROUND, outer)


def solved_matte(photo: np.ndarray, classes: np.ndarray, settings: Settings) -> np.ndarray:
    """The matte of a photo from the classes of its pixels.

    Parameters
    ----------
    photo : (H, W, 3) uint8 ndarray
    classes : (H, W) uint8 ndarray
    settings : Settings

    Returns
    -------
    (H, W) float64 ndarray
        In [0, 1].  Where widening leaves no foreground or no background, there is nothing to
        solve from, and it is the classes themselves: 1, 0, and 0.5 for unknown.
    """
    foreground, background = known_regions(classes, settings)
    if not (foreground.any() and background.any()):
        return np.array([1.0, 0.0, 0.5])[classes]
    return solve_alpha(
        photo,
        foreground,
        background,
        settings.lambda_,
        settings.epsilon,
        smooth=True,
        radius=settings.radius,
    )
