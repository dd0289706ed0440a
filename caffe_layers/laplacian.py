"""The closed-form matting Laplacian L (Levin, Lischinski and Weiss, 2008).

For every window w of (2r+1) x (2r+1) pixels with mean color mu and color
covariance Sigma, and all pixels i, j in it,

    L_ij += delta_ij - (1 + (I_i - mu)' (Sigma + eps/|w| 1)^-1 (I_j - mu)) / |w|

L is symmetric and positive semi-definite, its rows sum to zero, and it does
not see a constant color offset.  The sums are computed in C++
(`native/laplacian.cpp`) into a stencil of the upper diagonals, 13 for r = 1.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy  # which loads scipy.sparse where it is used first

from caffe_layers import _laplacian  # type: ignore[attr-defined]  # compiled
from caffe_layers.active_region import ActiveRegion, grown

DEFAULT_EPSILON = 1e-7


@dataclass(frozen=True)
class MattingLaplacian:
    """A matting Laplacian as a stencil.

    Attributes
    ----------
    planes : (K, H, W) or (K, n) float64 ndarray
        ``planes[k, y, x]`` is L between pixel (y, x) and the pixel at the
        k-th upper offset from it: (0, 0..2r), (1, -2r..2r) ... (2r, -2r..2r).  With a
        region: of its n reached pixels alone, row by row.
    radius : int
        Window radius r.
    region : ActiveRegion or None
        Where it is not None the rows of active pixels are right, others lack windows; only
        `HybridSolver` takes such a Laplacian.
    """

    planes: np.ndarray
    radius: int
    region: ActiveRegion | None = None

    @property
    def shape(self) -> tuple[int, int]:
        """Image size (H, W)."""
        return self.planes.shape[1:] if self.region is None else self.region.parts.shape

    def apply(self, x: np.ndarray) -> np.ndarray:
        """L x for an (H, W) array of unknowns."""
        return _laplacian.apply(self.planes, x, self.radius)

    def upper_csr_values(self, diagonal: np.ndarray, indptr: np.ndarray) -> np.ndarray:
        """Values of the upper triangle of L + diag(`diagonal`).

        Parameters
        ----------
        diagonal : (H, W) ndarray
        indptr : (H*W + 1,) int32 ndarray
            From `upper_csr_pattern` for the same size and radius.
        """
        return _laplacian.upper_csr_values(self.planes, diagonal, indptr, self.radius)

    def to_csr(self) -> scipy.sparse.csr_matrix:
        """L as a full symmetric (H*W, H*W) sparse matrix, row-major pixels."""
        indptr, indices = upper_csr_pattern(self.shape, self.radius)
        values = self.upper_csr_values(np.zeros(self.shape), indptr)
        size = self.shape[0] * self.shape[1]
        upper = scipy.sparse.csr_matrix((values, indices, indptr), shape=(size, size))
        return (upper + scipy.sparse.triu(upper, 1).T).tocsr()


def matting_laplacian(
    image: np.ndarray,
    epsilon: float = DEFAULT_EPSILON,
    radius: int = 1,
    region: ActiveRegion | None = None,
    white: float = 1.0,
) -> MattingLaplacian:
    """Matting Laplacian of a color image.

    Parameters
    ----------
    image : (H, W, 3) array_like
        Colors in units of [0, `white`]; any constant offset is allowed, so a
        mean-subtracted image gives the same result.
    epsilon : float
        Regularization of the window covariance, in squared color units of [0, 1].
        Larger values smooth the matte.
    radius : int
        Window radius; 1 means 3 x 3 windows.
    region : ActiveRegion, optional
        Compute only the windows that its active pixels need.
    white : float

    Returns
    -------
    MattingLaplacian

    Raises
    ------
    ValueError
        If the image has not three channels, is smaller than one window, or
        epsilon is not positive.
    """
    if not epsilon > 0:
        raise ValueError(f"epsilon must be positive, not {epsilon}")
    image = np.asarray(image)
    if image.ndim != 3:
        raise ValueError(f"the image must have shape (H, W, 3), not {image.shape}")
    if image.dtype != np.float32:
        image = np.asarray(image, np.float64)
    image = np.ascontiguousarray(image)
    if region is None:
        planes = _laplacian.stencil(image, white, epsilon, radius, None, None)
        return MattingLaplacian(planes.reshape(-1, *image.shape[:2]), radius)
    centers = grown(region.active, radius)
    planes = _laplacian.stencil(image, white, epsilon, radius, centers, region.reached)
    return MattingLaplacian(planes, radius, region)


def upper_csr_pattern(shape: tuple[int, int], radius: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Sparsity pattern of the upper triangle, the same for all images of a size.

    Returns
    -------
    indptr : (H*W + 1,) int32 ndarray
    indices : (nnz,) int32 ndarray
        Ascending in every row, the diagonal first.
    """
    return _laplacian.upper_csr_pattern(*shape, radius)
