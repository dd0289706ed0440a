"""The gradient error of a matte (eq. 13) as a loss.

    loss = mean_i |grad A_i - grad Agt_i|

grad is the derivative of a Gaussian, so hair counts by its shape: a matte that is
everywhere a little too gray has a small sum of differences and a large gradient error.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

GRADIENT_SIGMA = 1.4  # pixels
GRADIENT_RADIUS = 6  # pixels: where the kernel is cut off


def gaussian_gradient(
    matte: np.ndarray, radius: int = GRADIENT_RADIUS, border: str = "nearest"
) -> tuple[np.ndarray, np.ndarray]:
    """Derivatives of mattes blurred by a Gaussian of sigma 1.4 pixels.

    Parameters
    ----------
    matte : (..., H, W) array
    radius : int
        The kernel is cut off this many pixels from its center.
    border : str
        A mode of `scipy.ndimage.gaussian_filter`; the default repeats the border.

    Returns
    -------
    (gradient_x, gradient_y) : two (..., H, W) float64 arrays
        Per pixel.
    """
    matte = np.asarray(matte, dtype=np.float64)
    gradient_x, gradient_y = (
        ndimage.gaussian_filter(
            matte, GRADIENT_SIGMA, order=order, mode=border, radius=radius, axes=(-2, -1)
        )
        for order in ((0, 1), (1, 0))
    )
    return gradient_x, gradient_y


def gradient_loss(alpha: np.ndarray, truth: np.ndarray) -> tuple[float, np.ndarray]:
    """Gradient error (eq. 13) and its derivative with respect to alpha.

    Pixels whose kernel would reach beyond the border do not count: in a piece of a
    photo, what is there is not known.

    Parameters
    ----------
    alpha, truth : (N, H, W) array
        In [0, 1]; larger than 2 `GRADIENT_RADIUS` pixels.

    Returns
    -------
    loss : float
        Mean over the pixels that count.
    gradient : (N, H, W) float64 ndarray
        0 where the two gradients are equal (a subgradient).

    Raises
    ------
    ValueError
        If no pixel counts.
    """
    if min(alpha.shape[-2:]) <= 2 * GRADIENT_RADIUS:
        raise ValueError(
            f"mattes of {alpha.shape[-1]}x{alpha.shape[-2]} pixels are too small for a gradient "
            f"loss; it takes more than {2 * GRADIENT_RADIUS} a side"
        )
    inner = (..., *2 * [slice(GRADIENT_RADIUS, -GRADIENT_RADIUS)])
    # The gradient is linear, so the difference of gradients is one gradient.
    gaps = gaussian_gradient(np.subtract(alpha, truth, dtype=np.float64))
    norm = np.hypot(*(gap[inner] for gap in gaps))
    directions = []
    for gap in gaps:
        direction = np.zeros_like(gap)
        np.divide(gap[inner], norm, out=direction[inner], where=norm > 0)
        directions.append(direction / norm.size)
    # The adjoint: the smoothing is symmetric, the derivative changes its sign.  Beside
    # the pixels that count the directions are 0, so no border enters.
    across, down = (gaussian_gradient(d, border="constant") for d in directions)
    return float(norm.mean()), -(across[0] + down[1])
