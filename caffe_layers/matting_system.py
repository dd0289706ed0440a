"""The matrix of the matting problem, D = lambda (diag F + diag B) + L (eq. 5)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from caffe_layers.laplacian import MattingLaplacian

#: Added to the diagonal of D.  L alone is singular, so where F + B is exactly
#: zero and no window ties a pixel to a certain one, D would have no unique
#: solution; with the floor such pixels get alpha 0.  It is 1e-12 of the
#: weight of a certain pixel: tied pixels do not feel it (tests/caffe_layers).
DATA_FLOOR = 1e-10


@dataclass(frozen=True)
class MattingSystem:
    """The matrix D = L + diag(data), symmetric positive definite.

    Attributes
    ----------
    laplacian : MattingLaplacian
    data : (H, W) float64 ndarray
        lambda (F + B) plus `DATA_FLOOR`.
    """

    laplacian: MattingLaplacian
    data: np.ndarray

    @property
    def shape(self) -> tuple[int, int]:
        """Image size (H, W)."""
        return self.laplacian.shape

    def apply(self, x: np.ndarray) -> np.ndarray:
        """D x for an (H, W) array of unknowns."""
        return self.laplacian.apply(x) + self.data * x

    def infinity_norm(self) -> float:
        """An upper bound of the largest absolute row sum of D."""
        # Rows of L sum to zero: off-diagonal weights are bounded by the
        # trace-like bound |L_ij| <= sqrt(L_ii L_jj).
        planes = self.laplacian.planes
        reach = (4 * self.laplacian.radius + 1) ** 2
        return float(reach * planes[0].max() + self.data.max())


def matting_system(
    laplacian: MattingLaplacian,
    foreground: np.ndarray,
    background: np.ndarray,
    lambda_: float,
) -> MattingSystem:
    """D for probabilities F and B.

    Parameters
    ----------
    laplacian : MattingLaplacian
        The image's.
    foreground, background : (H, W) float64 ndarray
        Probabilities in [0, 1].
    lambda_ : float
        Weight of the data term.

    Raises
    ------
    ValueError
        If the shapes differ, lambda is not positive or an input is not finite.
    """
    if not (np.isfinite(lambda_) and lambda_ > 0):
        raise ValueError(f"lambda must be positive, not {lambda_}")
    if not foreground.shape == background.shape == laplacian.shape:
        raise ValueError(
            f"foreground {foreground.shape}, background {background.shape} and "
            f"image {laplacian.shape} differ in size"
        )
    data = lambda_ * (foreground + background) + DATA_FLOOR
    if not np.isfinite(data).all():
        raise ValueError("the foreground or background probabilities are not finite")
    return MattingSystem(laplacian, data)
