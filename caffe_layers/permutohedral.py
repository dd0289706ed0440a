"""Gaussian filters of high dimension, on the permutohedral lattice.

Adams, Baek and Davis, "Fast High-Dimensional Filtering Using the Permutohedral Lattice"
(2010).  The lattice approximates K_ij = exp(-|f_i - f_j|^2 / 2) for features f of n points; a
bilateral filter has features of place and color.  `GaussianFilter` divides by K 1 on one side,
as DeepLab's and CRF-RNN's code does.

Results do not depend on the number of threads.
"""

from __future__ import annotations

import numpy as np

from caffe_layers import _permutohedral  # type: ignore[attr-defined]  # compiled


class GaussianFilter:
    """x -> n * (K x) with n = 1 / (K 1), and its exact adjoint.

    Parameters
    ----------
    features : (n, d) array_like
        Coordinates in units of the standard deviation; d from 1 to 6.

    Attributes
    ----------
    norm : (n,) float64 ndarray
        The factors 1 / (K 1).

    Raises
    ------
    ValueError
        If the features are not finite, or too many or too large.

    Examples
    --------
    >>> blur = GaussianFilter(np.arange(5.0)[:, None])
    >>> blur(np.ones((1, 5))).round(6)
    array([[1., 1., 1., 1., 1.]])
    """

    def __init__(self, features: np.ndarray) -> None:
        self._lattice = _permutohedral.Lattice(np.asarray(features, np.float64))
        # Positive: a point's own vertices are among those that it gathers from.
        self.norm = 1 / self.unnormalized(np.ones((1, self._lattice.points)))[0]

    @property
    def vertices(self) -> int:
        """Number of lattice points in use."""
        return self._lattice.vertices

    def unnormalized(self, values: np.ndarray, transposed: bool = False) -> np.ndarray:
        """K x, or K^T x, for every row x.

        K is not symmetric: its blurs run along one axis of the lattice after the other.

        Parameters
        ----------
        values : (C, n) float32 or float64 ndarray
        transposed : bool

        Returns
        -------
        (C, n) ndarray
            Of the same type.
        """
        return self._lattice.apply(np.ascontiguousarray(values), transposed=transposed)

    def __call__(self, values: np.ndarray) -> np.ndarray:
        """Filter every row of a (C, n) float32 or float64 array."""
        return self.unnormalized(values) * self._norm_like(values)

    def adjoint(self, values: np.ndarray) -> np.ndarray:
        """K^T (n * y) for every row y of a (C, n) float32 or float64 array."""
        return self.unnormalized(values * self._norm_like(values), transposed=True)

    def _norm_like(self, values: np.ndarray) -> np.ndarray:
        return self.norm.astype(values.dtype, copy=False)


def spatial_features(shape: tuple[int, int], sigma: float) -> np.ndarray:
    """Places of an image's pixels.

    Parameters
    ----------
    shape : (int, int)
        Image size (H, W).
    sigma : float
        Standard deviation in pixels.

    Returns
    -------
    (H*W, 2) float64 ndarray
        x and y over sigma, row-major pixels.
    """
    rows, columns = np.indices(shape, dtype=np.float64).reshape(2, -1)
    return np.stack([columns, rows], axis=1) / sigma


def bilateral_features(image: np.ndarray, sigma_place: float, sigma_color: float) -> np.ndarray:
    """Places and colors of an image's pixels.

    Parameters
    ----------
    image : (H, W, 3) array_like
        Any constant offset of the colors and any order of the channels gives the same filter,
        up to the error of the lattice.
    sigma_place : float
        Standard deviation in pixels.
    sigma_color : float
        Standard deviation in units of the image.

    Returns
    -------
    (H*W, 5) float64 ndarray
        Row-major pixels.
    """
    image = np.asarray(image, np.float64)
    places = spatial_features(image.shape[:2], sigma_place)
    return np.concatenate([places, image.reshape(-1, 3) / sigma_color], axis=1)
