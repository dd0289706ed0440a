"""The matting function f(F, B; lambda) of the paper and its derivatives.

Forward (eq. 4, 5): the alpha matte A minimizes

    lambda A' diag(B) A + lambda (A - 1)' diag(F) (A - 1) + A' L A,

that is, it solves  D A = lambda F  with  D = lambda (diag F + diag B) + L.

Backward: equations 6 to 8 are Jacobians.  For a gradient g of the loss with
respect to A, one adjoint solve  z = D^-1 g  (D is symmetric) gives

    dloss/dB      = -lambda A z
    dloss/dF      =  lambda (1 - A) z
    dloss/dlambda =  sum z (F - (F + B) A)

(element-wise products), with the factorization of the forward pass.

Beyond the paper, D may have a term mu E that ties unknown pixels of like colors
(`caffe_layers.affinities`); A minimizes mu A' E A as well.  The equations above stay as they
are, and

    dloss/dmu     = -z' E A.

E counts as a constant.
"""

from __future__ import annotations

import numpy as np

from caffe_layers.active_region import GROWTH, OUTER_SHARE, ActiveRegion, active_region
from caffe_layers.affinities import Affinities, affinities_between, unknown_pixels
from caffe_layers.laplacian import DEFAULT_EPSILON, MattingLaplacian, matting_laplacian
from caffe_layers.linear_solver import (
    RESIDUAL_TOLERANCE,
    HybridSolver,
    LinearSolver,
    SolveError,
    euclidean_norm,
)
from caffe_layers.matting_system import MattingSystem, data_term, matting_system
from caffe_layers.smoothing import smoothed

DEFAULT_LAMBDA = 100.0
WHITE = 255.0
#: Training may push lambda to 0 and below, where D is no longer positive definite.
LAMBDA_FLOOR = 1e-3


class MattingFunction:
    """f(F, B; lambda) with its vector-Jacobian product.

    One instance per image: it keeps the factorization between `forward` and
    `backward`.

    Parameters
    ----------
    solver : LinearSolver, optional
        A solver of its own; `HybridSolver` by default.
    """

    def __init__(self, solver: LinearSolver | None = None):
        self._solver = solver or HybridSolver()
        self._affinities: Affinities | None = None
        self._alpha: np.ndarray | None = None
        self._adjoint: np.ndarray | None = None

    @property
    def used(self) -> str:
        """How the last system was solved, "hybrid" or "pardiso"."""
        return self._solver.used

    def forward(
        self,
        laplacian: MattingLaplacian,
        foreground: np.ndarray,
        background: np.ndarray,
        lambda_: float = DEFAULT_LAMBDA,
        affinities: Affinities | None = None,
        mu: float = 0.0,
    ) -> np.ndarray:
        """Alpha matte (eq. 5).

        Parameters
        ----------
        laplacian : MattingLaplacian
            The image's.
        foreground, background : (H, W) ndarray
            Probabilities F and B in [0, 1] (eq. 3).
        lambda_ : float
            Weight of the data term, positive.
        affinities : Affinities, optional
            E of the same image and probabilities.
        mu : float
            Weight of E, not negative.

        Returns
        -------
        (H, W) float64 ndarray
            Alpha; within rounding in [0, 1] on known pixels, and able to
            leave it slightly inside the unknown region, as L is not an
            M-matrix.

        Raises
        ------
        ValueError
            If the shapes differ, lambda is not positive, mu is negative or an
            input is not finite.
        SolveError
            If the linear system could not be solved accurately.
        """
        foreground = np.asarray(foreground, dtype=np.float64)
        background = np.asarray(background, dtype=np.float64)
        system = matting_system(laplacian, foreground, background, lambda_, affinities, mu)
        self._affinities = affinities
        self._foreground, self._background, self._lambda = foreground, background, lambda_
        self._solver.factorize(system)
        self._alpha = self._solver.solve(lambda_ * foreground)
        return self._alpha

    def backward(self, gradient: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
        """Gradients of the loss after `forward`.

        Parameters
        ----------
        gradient : (H, W) ndarray
            dloss/dA.

        Returns
        -------
        d_foreground, d_background : (H, W) float64 ndarray
            Eq. 7 and 6, transposed and applied to `gradient`.
        d_lambda : float
            Eq. 8, likewise.

        Raises
        ------
        RuntimeError
            If `forward` was not called before.
        """
        if self._alpha is None:
            raise RuntimeError("There is no solution to go back from; call forward first.")
        adjoint = self._solver.solve(np.asarray(gradient, dtype=np.float64))
        self._adjoint = adjoint
        alpha, foreground, background = self._alpha, self._foreground, self._background
        d_foreground = self._lambda * adjoint * (1.0 - alpha)
        d_background = -self._lambda * adjoint * alpha
        d_lambda = float(np.sum(adjoint * (foreground - (foreground + background) * alpha)))
        return d_foreground, d_background, d_lambda

    def d_mu(self) -> float:
        """Gradient of the loss with respect to mu, after `backward`; 0 without affinities.

        Raises
        ------
        RuntimeError
            If `backward` was not called before.
        """
        if self._affinities is None:
            return 0.0
        if self._alpha is None or self._adjoint is None:
            raise RuntimeError("There is no gradient yet; call forward and backward first.")
        return -float(np.sum(self._adjoint * self._affinities.apply(self._alpha)))


def solve_alpha(
    image: np.ndarray,
    foreground: np.ndarray,
    background: np.ndarray,
    lambda_: float = DEFAULT_LAMBDA,
    epsilon: float = DEFAULT_EPSILON,
    mu: float = 0.0,
    extent: tuple[int, int] | None = None,
    smooth: bool = False,
    radius: int = 1,
) -> np.ndarray:
    """Alpha matte of one photo.

    Parameters
    ----------
    image : (H, W, 3) ndarray
        Pixel range 0-255; a constant offset per channel does not matter.
    foreground, background : (H, W) ndarray
        Probabilities in [0, 1]; a trimap has ones and zeros.
    lambda_ : float
        Weight of the data term.
    epsilon : float
        Regularization of the matting Laplacian, for colors in [0, 1].
    mu : float
        Weight of the affinities between unknown pixels (`caffe_layers.affinities`); 0:
        there are none.
    extent : (int, int), optional
        Size (H, W) of the photo that the image is a part of; the image's own by default.
    smooth : bool
        Smooth the image first, edges kept (`caffe_layers.smoothing`).
    radius : int
        Of the Laplacian's windows; 1 means 3 x 3 windows.

    Returns
    -------
    (H, W) float64 ndarray
        Alpha, clipped to [0, 1].

    Examples
    --------
    A gray ramp whose ends are known:

    >>> photo = np.repeat(np.linspace(0, 255, 11)[None, :, None], 5, axis=0).repeat(3, axis=2)
    >>> trimap = np.full((5, 11), 128)
    >>> trimap[:, 0], trimap[:, -1] = 0, 255
    >>> alpha = solve_alpha(photo, trimap == 255, trimap == 0)
    >>> alpha[2].round(1).tolist()
    [0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0]
    """
    image = np.asarray(image)
    foreground, background = (np.asarray(p, np.float64) for p in (foreground, background))
    data = data_term(foreground, background, lambda_, image.shape[:2])
    rhs = lambda_ * foreground
    tied = unknown_pixels(foreground, background) if mu else None
    # What a large photo does not need any longer is dropped before the factor grows.
    del foreground, background
    solver = HybridSolver()

    def solution(region: ActiveRegion | None) -> np.ndarray:
        """Alpha by the solve of a region, or of all pixels."""
        colors = image
        if smooth:
            colors = smoothed(image, None if region is None else region.reached)
        laplacian = matting_laplacian(colors, epsilon, radius, region=region, white=WHITE)
        ties = None if tied is None else affinities_between(colors, tied, extent, WHITE)
        del colors
        solver.factorize(MattingSystem(laplacian, data, ties, mu))
        alpha = solver.solve(rhs)
        return np.clip(alpha, 0.0, 1.0, out=alpha)

    tolerance = 0.9 * OUTER_SHARE * RESIDUAL_TOLERANCE * euclidean_norm(rhs)
    for growth in (GROWTH, 2 * GROWTH):
        region = active_region(data, radius, tied, rhs, tolerance, growth)
        if region.active.all():
            break
        try:
            return solution(region)
        except SolveError:
            pass
    return solution(None)
