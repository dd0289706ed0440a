"""Smooth noise in space."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import map_coordinates, spline_filter


class Noise:
    """Smooth random values, of period `size` along each axis and standard deviation about 1."""

    def __init__(self, rng: np.random.Generator, size: int = 20) -> None:
        self._grid = spline_filter(rng.normal(size=(size,) * 3), order=3, mode="grid-wrap")

    def __call__(self, points: np.ndarray) -> np.ndarray:
        """Values (...) at points (..., 3) in units of the noise's own grain."""
        coordinates = np.moveaxis(points, -1, 0)
        return 1.6 * map_coordinates(
            self._grid, coordinates, order=3, mode="grid-wrap", prefilter=False
        )
