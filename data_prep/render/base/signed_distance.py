"""Signed distances to surfaces on a grid: what hair and cloth rest on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import distance_transform_edt, map_coordinates
from scipy.spatial import cKDTree

from data_prep.render.base.vectors import transform, unit

EXACT_BAND = 3  # grid steps from the surface within which the nearest sample is looked up


@dataclass(frozen=True, eq=False)
class SignedDistance:
    """Distance to surfaces, positive outside and negative inside.

    Attributes
    ----------
    values : (X, Y, Z) float32 ndarray
        Meters at the grid points.
    to_grid : (4, 4) float64 ndarray
        From a point in meters to grid indices.
    scale : float
        Meters of the points' frame in a meter of `values`.
    """

    values: np.ndarray
    to_grid: np.ndarray
    scale: float = 1.0

    @classmethod
    def around(
        cls,
        surfaces: Sequence[tuple[np.ndarray, np.ndarray]],
        low: Sequence[float],
        high: Sequence[float],
        spacing: float = 0.01,
    ) -> SignedDistance:
        """Distance to the tangent plane at the nearest sample, between two corners.

        Parameters
        ----------
        surfaces : sequence of pairs of (N, 3) ndarray
            Samples of each surface, at most about `spacing` apart, and their
            outward unit normals.  The surfaces need not be closed.
        low, high : (3,) sequence
            Corners of the box in meters; beyond it distances are those at its border.
        spacing : float, default 0.01
            Distance between points of the grid, in meters.

        Raises
        ------
        ValueError
            If no sample lies within the box.
        """
        low, high = np.asarray(low, dtype=float), np.asarray(high, dtype=float)
        points = np.concatenate([samples for samples, _ in surfaces])
        normals = np.concatenate([directions for _, directions in surfaces])
        axes = [np.arange(a, b + spacing, spacing) for a, b in zip(low, high)]
        grid = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)
        shape = grid.shape[:3]
        cells = np.rint((points - low) / spacing).astype(int)
        near = ((cells >= 0) & (cells < shape)).all(axis=1)
        if not near.any():
            raise ValueError("no sample of the surfaces lies within the box")
        points, normals, cells = points[near], normals[near], tuple(cells[near].T)
        # Far from the surface the grid's own distance will do: a KD-tree is slow.
        free = np.ones(shape, dtype=bool)
        free[cells] = False
        steps, cell = distance_transform_edt(free, return_indices=True)
        representative = np.zeros(shape, dtype=int)
        representative[cells] = np.arange(len(points))
        nearest, distance = representative[tuple(cell)], steps * spacing
        band = steps <= EXACT_BAND
        distance[band], nearest[band] = cKDTree(points).query(grid[band])
        height = np.einsum("xyzc,xyzc->xyz", grid - points[nearest], normals[nearest])
        # Near the surface the plane is exact; further away the sphere is.
        signed = np.where(distance < 2 * spacing, height, np.copysign(distance, height))
        to_grid = np.eye(4) / spacing
        to_grid[:3, 3] = -low / spacing
        to_grid[3, 3] = 1
        return cls(signed.astype(np.float32), to_grid)

    def moved(self, matrix: np.ndarray) -> SignedDistance:
        """The same surfaces in another frame.

        Parameters
        ----------
        matrix : (4, 4) ndarray
            Rotation, shift and uniform scale from this frame to the other.
        """
        scale = np.cbrt(np.linalg.det(matrix[:3, :3]))
        to_grid = self.to_grid @ np.linalg.inv(matrix)
        return SignedDistance(self.values, to_grid, self.scale * scale)

    def __call__(self, points: np.ndarray) -> np.ndarray:
        """Distances in meters (...) at points (..., 3)."""
        indices = transform(self.to_grid, np.asarray(points))
        flat = np.moveaxis(indices, -1, 0).reshape(3, -1)
        values = map_coordinates(self.values, flat, order=1, mode="nearest")
        return self.scale * values.reshape(indices.shape[:-1])

    def outward(self, points: np.ndarray) -> np.ndarray:
        """Unit directions (..., 3) away from the surfaces at points (..., 3)."""
        step = 0.7 / np.cbrt(np.linalg.det(self.to_grid[:3, :3]))
        slopes = [self(points + shift) - self(points - shift) for shift in step * np.eye(3)]
        return unit(np.stack(slopes, axis=-1))

    def pushed_out(self, points: np.ndarray, clearance: np.ndarray | float) -> np.ndarray:
        """The (..., 3) points, moved outward where nearer than `clearance` (...)."""
        lacking = clearance - self(points)
        close = lacking > 0
        if not close.any():
            return points
        result = points.copy()
        result[close] += self.outward(points[close]) * lacking[close][:, None]
        return result
