"""The matrix of the matting problem, D = lambda (diag F + diag B) + L (eq. 5).

Beyond the paper, D may have the affinities of `caffe_layers.affinities` as a further term,
mu E.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy  # which loads scipy.sparse where it is used first

from caffe_layers.affinities import Affinities
from caffe_layers.laplacian import MattingLaplacian

#: Added to the diagonal of D.  L alone is singular, so where F + B is exactly
#: zero and no window ties a pixel to a certain one, D would have no unique
#: solution; with the floor such pixels get alpha 0.  It is 1e-12 of the
#: weight of a certain pixel: tied pixels do not feel it (tests/caffe_layers).
DATA_FLOOR = 1e-10


@dataclass(frozen=True)
class MattingSystem:
    """The matrix D = L + diag(data) + mu E, symmetric positive definite.

    Attributes
    ----------
    laplacian : MattingLaplacian
    data : (H, W) float64 ndarray
        lambda (F + B) plus `DATA_FLOOR`.
    affinities : Affinities or None
        E; None where there is no such term.
    mu : float
        Weight of E, not negative.

    Raises
    ------
    ValueError
        If mu is negative or not finite, or E is of an image of another size.
    """

    laplacian: MattingLaplacian
    data: np.ndarray
    affinities: Affinities | None = None
    mu: float = 0.0

    def __post_init__(self) -> None:
        if not (np.isfinite(self.mu) and self.mu >= 0):
            raise ValueError(f"mu must not be negative, and is {self.mu}")
        if self.affinities is not None and self.affinities.shape != self.shape:
            raise ValueError(
                f"affinities {self.affinities.shape} and image {self.shape} differ in size"
            )

    @property
    def shape(self) -> tuple[int, int]:
        """Image size (H, W)."""
        return self.laplacian.shape

    def apply(self, x: np.ndarray) -> np.ndarray:
        """D x for an (H, W) array of unknowns."""
        product = self.laplacian.apply(x) + self.data * x
        if self.affinities is not None:
            product += self.mu * self.affinities.apply(x)
        return product

    def infinity_norm(self) -> float:
        """An upper bound of the largest absolute row sum of D."""
        # Rows of L sum to zero: off-diagonal weights are bounded by the
        # trace-like bound |L_ij| <= sqrt(L_ii L_jj).
        planes = self.laplacian.planes
        reach = (4 * self.laplacian.radius + 1) ** 2
        norm = float(reach * planes[0].max() + self.data.max())
        if self.affinities is not None:
            norm += self.mu * self.affinities.infinity_norm()
        return norm

    def to_csr(self) -> scipy.sparse.csr_matrix:
        """D as a full symmetric (H*W, H*W) sparse matrix, row-major pixels."""
        matrix = self.laplacian.to_csr() + scipy.sparse.diags(self.data.ravel())
        if self.affinities is not None:
            matrix = matrix + self.mu * self.affinities.to_csr()
        return matrix.tocsr()


def matting_system(
    laplacian: MattingLaplacian,
    foreground: np.ndarray,
    background: np.ndarray,
    lambda_: float,
    affinities: Affinities | None = None,
    mu: float = 0.0,
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
    affinities : Affinities, optional
        Affinities of the same image and probabilities.
    mu : float
        Weight of the affinities.

    Raises
    ------
    ValueError
        If the shapes differ, lambda is not positive, mu is negative or an input is not
        finite.
    """
    data = data_term(foreground, background, lambda_, laplacian.shape)
    return MattingSystem(laplacian, data, affinities, mu)


def data_term(
    foreground: np.ndarray, background: np.ndarray, lambda_: float, shape: tuple[int, ...]
) -> np.ndarray:
    """Diagonal of the data term, lambda (F + B) plus `DATA_FLOOR`, for an image of a shape (H, W).

    Raises
    ------
    ValueError
        If the shapes differ, lambda is not positive or an input is not finite.
    """
    if not (np.isfinite(lambda_) and lambda_ > 0):
        raise ValueError(f"lambda must be positive, not {lambda_}")
    check_sizes(foreground, background, shape)
    data = foreground + background
    data *= lambda_
    data += DATA_FLOOR
    if not np.isfinite(data).all():
        raise ValueError("the foreground or background probabilities are not finite")
    return data


def check_sizes(foreground: np.ndarray, background: np.ndarray, shape: tuple[int, ...]) -> None:
    """Refuse probabilities that are not those of an image of a shape (H, W).

    Raises
    ------
    ValueError
        If the shapes differ.
    """
    if not foreground.shape == background.shape == shape:
        raise ValueError(
            f"foreground {foreground.shape}, background {background.shape} and "
            f"image {shape} differ in size"
        )
