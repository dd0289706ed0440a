"""How far pixels are from the boundary of a region, by the region's size."""

from __future__ import annotations

import cv2
import numpy as np


def from_boundary(region: np.ndarray) -> np.ndarray:
    """How far every pixel is from the boundary of a region, inside and outside.

    Parameters
    ----------
    region : ndarray of shape (H, W), bool

    Returns
    -------
    ndarray of shape (H, W), float32
        In square roots of the region's area; infinite where there is no boundary.
    """
    if not region.any() or region.all():
        return np.full(region.shape, np.inf, np.float32)
    inside, outside = (
        cv2.distanceTransform(side.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_5)
        for side in (region, ~region)
    )
    return (inside + outside) / np.float32(np.count_nonzero(region) ** 0.5)


def faded_in(distance: np.ndarray, reach: float) -> np.ndarray:
    """0 up to a distance, 1 from twice as far."""
    return np.clip(distance / np.float32(reach) - 1, 0, 1)
