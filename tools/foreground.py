"""Foreground colors without the background that shines through the hair."""

from __future__ import annotations

import numpy as np


def foreground_colors(photo: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """Colors F of the compositing equation I = alpha F + (1 - alpha) B.

    A cut-out that keeps the photo's own colors shows a rim of the old
    background wherever alpha is fractional.

    Parameters
    ----------
    photo : (H, W, 3) uint8 ndarray
    alpha : (H, W) ndarray
        In [0, 1].

    Returns
    -------
    (H, W, 3) uint8 ndarray
        Smooth where alpha does not determine it (Germer et al. 2020).
    """
    # Imported here: it compiles its kernels on first use.
    from pymatting import estimate_foreground_ml

    colors = estimate_foreground_ml(photo / 255.0, np.asarray(alpha, dtype=np.float64))
    return np.uint8(np.clip(colors, 0, 1) * 255 + 0.5)


def cutout(photo: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """The person on a transparent ground.

    Parameters
    ----------
    photo : (H, W, 3) uint8 ndarray
        BGR.
    alpha : (H, W) ndarray
        In [0, 1].

    Returns
    -------
    (H, W, 4) uint8 ndarray
        BGRA, colors not premultiplied.
    """
    opacity = np.uint8(np.clip(alpha, 0, 1) * 255 + 0.5)
    return np.dstack([foreground_colors(photo, alpha), opacity])
