"""p(A): how often each alpha value occurs in the training mattes (eq. 11).

`caffe_layers.weighted_loss.load_alpha_distribution` reads the file back.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np

from caffe_layers.weighted_loss import BINS, loss_weights
from data_prep.common.errors import InputError
from data_prep.common.files import atomic_write

#: Version of p(alpha): raise it when p(alpha) changes (`data_prep.common.versions`).
ALPHA_DISTRIBUTION_VERSION = 1

# Counted into every bin on top of the data, so that -log p is finite everywhere.
# One pixel: it changes no weight that the data support.
PRIOR_COUNT = 1.0

# Standard deviation, in bins, of the smoothing of fractional alphas.  Mattes that were
# made from few samples a pixel, or brightened in 8 bits, skip values at regular
# distances: gaps that are an artifact and no property of people.
SMOOTHING = 2.0


def count_alphas(matte: np.ndarray) -> np.ndarray:
    """(256,) int64: how many pixels of a uint8 matte have each value."""
    return np.bincount(matte.ravel(), minlength=BINS)


def alpha_distribution(counts: Iterable[np.ndarray]) -> np.ndarray:
    """Distribution over all pixels of all mattes, smoothed.

    Counts of fractional alphas are spread over their neighbors by a Gaussian, which
    keeps their sum; 0 and 1 stay by themselves.  Then every bin gets one count.

    Parameters
    ----------
    counts : iterable of (256,) ndarray
        `count_alphas` of each matte; sizes may differ.

    Returns
    -------
    (256,) float64 ndarray
        Probability of alpha = k / 255; positive, sums to 1.

    Raises
    ------
    InputError
        If there is no matte.
    """
    total = np.zeros(BINS)
    for each in counts:
        total += each
    if not total.any():
        raise InputError("p(alpha) takes at least one training matte; the list is empty.")
    fractional = cv2.GaussianBlur(
        total[None, 1:-1], (0, 0), SMOOTHING, borderType=cv2.BORDER_REFLECT
    )
    total[1:-1] = fractional[0]
    total += PRIOR_COUNT
    return total / total.sum()


def fractional_share(distribution: np.ndarray) -> float:
    """Share of the pixels with 0 < alpha < 1; of one matte, from its share of each value."""
    return float(distribution[1:-1].sum())


def foreground_share(distribution: np.ndarray) -> float:
    """Share of the pixels with alpha = 1."""
    return float(distribution[-1])


def save_alpha_distribution(path: Path | str, distribution: np.ndarray) -> None:
    """Write as text, atomically: '#' header, then one probability a line.

    Raises
    ------
    InputError
        If the file cannot be written.
    """
    header = (
        f"p(A = k / {BINS - 1}) for k = 0 .. {BINS - 1} over the training mattes\n"
        f"fractional (0 < A < 1): {fractional_share(distribution):.4%}, "
        f"foreground (A = 1): {foreground_share(distribution):.4%}"
    )
    with atomic_write(path) as scratch:
        # 17 digits: read back, every number is the same float64.
        np.savetxt(scratch, distribution, fmt="%.17g", header=header)


def draw_alpha_distribution(distribution: np.ndarray) -> np.ndarray:
    """Plot of p(A) and of the weight -log p(A) of eq. 11, (H, W, 3) uint8 BGR."""
    # Imported here: worker processes count alphas and draw nothing.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.4), dpi=110)
    canvas = FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    figure.subplots_adjust(left=0.08, right=0.98, bottom=0.16, top=0.9, wspace=0.25)
    alpha = np.arange(BINS) / (BINS - 1)
    left.semilogy(alpha, distribution, drawstyle="steps-mid")
    left.set_ylabel("p(A)")
    left.set_title(
        f"fractional {fractional_share(distribution):.1%}, "
        f"foreground {foreground_share(distribution):.1%}"
    )
    right.plot(alpha, loss_weights(distribution), drawstyle="steps-mid")
    right.set_ylim(bottom=0)
    right.set_ylabel("weight $-\\log\\,p(A)$")
    right.set_title("loss weight (eq. 11)")
    for axes in (left, right):
        axes.set_xlabel("alpha A")
        axes.grid(alpha=0.3)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[:, :, 2::-1].copy()
