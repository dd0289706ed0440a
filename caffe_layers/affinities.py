"""Affinities between unknown pixels that look alike, near each other or not.

The matting Laplacian ties a pixel to its windows only.  In the unknown region U every pixel
is also tied to those whose features

    f = (three colors in [0, 1], 0.05 x / W, 0.05 y / H)

are nearest: 3 by f, and 3 by f with its place divided by 100, which finds the same color
anywhere (Chen, Li and Tang, "KNN Matting", 2013, have such affinities alone, without windows).
A pair has the weight max(0, 1 - |f_i - f_j|_1 / 5); W holds the weights, the mean of both
directions, and

    E = diag(W 1) - W

is symmetric and positive semi-definite, its rows sum to zero.  mu E is added to D
(`matting_system`).  Neighbors are exact and ties are broken by the order of pixels, so that
E does not depend on the number of threads (`native/kd_tree.h`).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import scipy  # which loads scipy.sparse where it is used first; a solve does without

from caffe_layers import _affinities  # type: ignore[attr-defined]  # compiled

#: F + B below which a pixel belongs to the unknown region.
UNKNOWN = 0.5
#: Weight of the place (0 to 1 across the image) among the features.
PLACE_WEIGHT = 0.05
NEAR_NEIGHBORS = 3
FAR_NEIGHBORS = 3
#: What places are multiplied by in the search for the far neighbors.
FAR_PLACE_SCALE = 0.01


@dataclass(frozen=True)
class Affinities:
    """The matrix E of an image.

    Attributes
    ----------
    shape : (int, int)
        Image size (H, W).
    pixels : (n,) int32 ndarray
        The pixels of U, row-major indices, ascending.
    indptr, indices, values : (n + 1,), (m,) int32 ndarray and (m,) float64 ndarray
        E between the pixels of U, as rows of a sparse matrix (CSR), indices sorted; elsewhere E
        is zero.
    """

    shape: tuple[int, int]
    pixels: np.ndarray
    indptr: np.ndarray
    indices: np.ndarray
    values: np.ndarray

    @cached_property
    def matrix(self) -> scipy.sparse.csr_matrix:
        """E between the pixels of U, (n, n)."""
        size = self.pixels.size
        return scipy.sparse.csr_matrix((self.values, self.indices, self.indptr), (size, size))

    def apply(self, x: np.ndarray) -> np.ndarray:
        """E x for an (H, W) array of unknowns."""
        result = np.zeros(self.shape)
        result.ravel()[self.pixels] = self.matrix @ x.ravel()[self.pixels]
        return result

    def infinity_norm(self) -> float:
        """The largest absolute row sum of E: no weight is negative, and rows sum to zero."""
        return 2 * float(self.values.max(initial=0))  # the largest is on the diagonal

    def to_csr(self) -> scipy.sparse.csr_matrix:
        """E as an (H*W, H*W) sparse matrix, row-major pixels."""
        size = self.shape[0] * self.shape[1]
        entries = self.matrix.tocoo()
        places = self.pixels[entries.row], self.pixels[entries.col]
        return scipy.sparse.csr_matrix((entries.data, places), shape=(size, size))


def unknown_region(foreground: np.ndarray, background: np.ndarray) -> np.ndarray:
    """U as an (H, W) array of bool, of probabilities (H, W) in [0, 1]."""
    return foreground + background < UNKNOWN


def unknown_pixels(foreground: np.ndarray, background: np.ndarray) -> np.ndarray:
    """Row-major indices of U, ascending, (n,) int32; parameters as `unknown_region`."""
    return np.flatnonzero(unknown_region(foreground, background)).astype(np.int32)


def affinities(
    image: np.ndarray,
    foreground: np.ndarray,
    background: np.ndarray,
    extent: tuple[int, int] | None = None,
) -> Affinities:
    """E of the unknown region of a color image.

    Parameters
    ----------
    image : (H, W, 3) array_like
        Colors in units of [0, 1]; any constant offset is allowed.
    foreground, background : (H, W) ndarray
        Probabilities in [0, 1]; pixels where their sum is below `UNKNOWN` are unknown.
    extent : (int, int), optional
        Size (H, W) of the photo that the image is a part of; the image's own by default.

    Raises
    ------
    ValueError
        If the shapes differ or a color of an unknown pixel is not finite.
    """
    image = np.asarray(image)
    shape = foreground.shape
    if image.shape != (*shape, 3) or background.shape != shape:
        raise ValueError(
            f"foreground {shape}, background {background.shape} and image {image.shape} "
            "differ in size"
        )
    return affinities_between(image, unknown_pixels(foreground, background), extent)


def affinities_between(
    image: np.ndarray,
    pixels: np.ndarray,
    extent: tuple[int, int] | None = None,
    white: float = 1.0,
) -> Affinities:
    """E of a color image, whose unknown region is given.

    Parameters
    ----------
    image : (H, W, 3) ndarray
        Colors in units of `white`, any constant offset allowed; only those of the pixels count.
    pixels : (n,) int32 ndarray
        Of U, row-major indices, ascending.
    extent : (int, int), optional
        See `affinities`.
    white : float
        See `image`.

    Raises
    ------
    ValueError
        If a color of an unknown pixel is not finite.
    """
    shape = image.shape[0], image.shape[1]
    points = features(image, pixels, extent or shape, white)
    far_points = points * np.array([1, 1, 1, FAR_PLACE_SCALE, FAR_PLACE_SCALE])
    size = pixels.size
    if size < 2:
        return Affinities(
            shape, pixels, np.zeros(size + 1, np.int32), np.zeros(0, np.int32), np.zeros(0)
        )
    searches = [
        (each, min(count, size - 1))
        for each, count in ((points, NEAR_NEIGHBORS), (far_points, FAR_NEIGHBORS))
    ]
    return Affinities(shape, pixels, *_affinities.laplacian_of_neighbors(searches))


def features(
    image: np.ndarray, pixels: np.ndarray, extent: tuple[int, int], white: float = 1.0
) -> np.ndarray:
    """Colors and places by which pixels are compared.

    Parameters
    ----------
    image : (H, W, 3) ndarray
    pixels : (n,) int ndarray
        Row-major indices.
    extent : (int, int)
        Height and width to which places are relative.
    white : float
        What colors are divided by.

    Returns
    -------
    (n, 5) float64 ndarray
    """
    rows, columns = np.divmod(pixels, image.shape[1])
    points = np.empty((pixels.size, 5))
    points[:, :3] = image.reshape(-1, 3)[pixels]
    points[:, :3] /= white
    points[:, 3] = PLACE_WEIGHT * columns / extent[1]
    points[:, 4] = PLACE_WEIGHT * rows / extent[0]
    return points
