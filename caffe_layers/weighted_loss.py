"""The weighted matte loss of the paper (eq. 10, 11).

    loss = sum_i w(Agt_i) |A_i - Agt_i|,      w(a) = -log p(a)

Only about 5 % of the pixels of a portrait matte are fractional; weighting
with the negative log-probability of the true value makes them count.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

BINS = 256

#: The true alpha may leave [0, 1] by rounding (255 times float32 1/255 is not 1).
TRUTH_TOLERANCE = 1e-5

#: Shares that the paper quotes: 5 % of the pixels are fractional, and about
#: half of the others are foreground.
FRACTIONAL_SHARE = 0.05


def default_alpha_distribution() -> np.ndarray:
    """p(alpha) from the shares that the paper quotes, (256,) summing to 1.

    Fractional values are uniform; 0 and 1 share the rest equally.  Used when
    no measured distribution is given.
    """
    p = np.full(BINS, FRACTIONAL_SHARE / (BINS - 2))
    p[[0, -1]] = (1.0 - FRACTIONAL_SHARE) / 2.0
    return p


def load_alpha_distribution(path: str | Path) -> np.ndarray:
    """p(alpha) from a text file of 256 probabilities, one a line.

    Raises
    ------
    ValueError
        If the file cannot be read or is no distribution over 256 bins with
        every bin above 0.
    """
    try:
        lines = Path(path).read_text().splitlines()
        p = np.array([line for line in lines if line[:1] != "#"], dtype=np.float64)
    except (OSError, ValueError) as error:
        raise ValueError(
            f"p(alpha) cannot be read from {path} ({error}); run 'make data' to write it"
        ) from None
    if p.shape != (BINS,) or not (p > 0).all() or abs(p.sum() - 1) > 1e-6:
        raise ValueError(
            f"{path} is no distribution of alpha: it must hold {BINS} positive "
            "numbers that sum to 1; run 'make data' to write it again"
        )
    return p


def loss_weights(distribution: np.ndarray) -> np.ndarray:
    """w = -log p for every bin (eq. 11), (256,)."""
    return -np.log(distribution)


def weighted_loss(
    alpha: np.ndarray, truth: np.ndarray, weights: np.ndarray
) -> tuple[float, np.ndarray]:
    """Loss (eq. 10) and its gradient with respect to alpha.

    Parameters
    ----------
    alpha : ndarray
        Predicted matte.
    truth : ndarray of the same shape
        True matte in [0, 1].
    weights : (256,) ndarray
        From `loss_weights`; the bin of a value a is round(255 a).

    Returns
    -------
    loss : float
    gradient : float64 ndarray of the same shape
        0 where alpha equals the truth (a subgradient).

    Raises
    ------
    ValueError
        If the truth is not in [0, 1], as when mattes of 0 to 255 were not scaled.
    """
    lowest, highest = float(truth.min()), float(truth.max())
    if not (lowest >= -TRUTH_TOLERANCE and highest <= 1 + TRUTH_TOLERANCE):
        raise ValueError(
            f"the true alpha goes from {lowest:g} to {highest:g} but must be in [0, 1]; scale it "
            "(a Data layer does by transform_param { scale: 0.00392156862745098 })"
        )
    difference = alpha.astype(np.float64) - truth
    bins = np.clip(np.rint(truth * (BINS - 1)), 0, BINS - 1).astype(np.intp)
    weight = weights[bins]
    return float(np.sum(weight * np.abs(difference))), weight * np.sign(difference)
