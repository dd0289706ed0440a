"""Mattes of a photo and its labeled trimap, by either method."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from caffe_layers.matting import solve_alpha
from data_prep.labeling.trimaps import BACKGROUND, FOREGROUND, UNKNOWN


def closed_form_alpha(photo: np.ndarray, trimap: np.ndarray) -> np.ndarray:
    """Closed-form matting (Levin et al.), (H, W) float64 in [0, 1]."""
    return solve_alpha(photo, trimap == FOREGROUND, trimap == BACKGROUND)


def knn_alpha(photo: np.ndarray, trimap: np.ndarray) -> np.ndarray:
    """KNN matting (Chen et al.), (H, W) float64 in [0, 1]."""
    # Imported here: it compiles its kernels on first use.
    from pymatting import estimate_alpha_knn

    labels = np.where(trimap == UNKNOWN, 0.5, trimap / 255)
    return estimate_alpha_knn(photo[:, :, ::-1] / 255.0, labels)


METHODS: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "closed_form": closed_form_alpha,
    "knn": knn_alpha,
}


def make_matte(method: str, photo: np.ndarray, trimap: np.ndarray) -> np.ndarray:
    """Matte of one method; labeled pixels keep their label.

    Parameters
    ----------
    method : str
        A key of `METHODS`.
    photo : (H, W, 3) uint8 ndarray
        BGR.
    trimap : (H, W) uint8 ndarray
        As `read_trimap` gives it.

    Returns
    -------
    (H, W) uint8 ndarray
    """
    matte = np.rint(255 * METHODS[method](photo, trimap)).astype(np.uint8)
    return np.where(trimap == UNKNOWN, matte, trimap)
