"""What a person judges a matte by: the photo's person over another background."""

from __future__ import annotations

import cv2
import numpy as np


def gradient_background(frame: tuple[int, int]) -> np.ndarray:
    """Teal to orange along the diagonal: hair of any color stands out somewhere.

    Parameters
    ----------
    frame : (H, W)

    Returns
    -------
    (H, W, 3) uint8 ndarray
        BGR.
    """
    rows, columns = np.ogrid[0 : 1 : frame[0] * 1j, 0 : 1 : frame[1] * 1j]
    share = ((rows + columns) / 2)[:, :, None]
    return np.rint(share * (40, 140, 250) + (1 - share) * (140, 130, 20)).astype(np.uint8)


def fit_background(image: np.ndarray, frame: tuple[int, int]) -> np.ndarray:
    """The middle of an image, scaled to just cover a frame (H, W)."""
    height, width = frame
    scale = max(height / image.shape[0], width / image.shape[1])
    size = max(width, round(image.shape[1] * scale)), max(height, round(image.shape[0] * scale))
    interpolation = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    covering = cv2.resize(image, size, interpolation=interpolation)
    top, left = (size[1] - height) // 2, (size[0] - width) // 2
    return covering[top : top + height, left : left + width]


def composite(photo: np.ndarray, matte: np.ndarray, background: np.ndarray) -> np.ndarray:
    """The person over another background (eq. 1), with the person's own colors.

    Parameters
    ----------
    photo, background : (H, W, 3) uint8 ndarray
    matte : (H, W) uint8 ndarray

    Returns
    -------
    (H, W, 3) uint8 ndarray
    """
    from pymatting import estimate_foreground_ml

    alpha = matte / 255.0
    # With the photo's colors the old background would shine through the hair.
    colors = np.clip(estimate_foreground_ml(photo / 255.0, alpha), 0, 1)
    colors[matte == 255] = photo[matte == 255] / 255.0  # smoothed a little otherwise
    share = alpha[:, :, None]
    return np.rint(share * 255 * colors + (1 - share) * background).astype(np.uint8)
