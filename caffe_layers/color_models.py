"""Mattes and foreground colors from a photo's colors, beside the matting Laplacian.

`foreground_colors` undoes the compositing: the colors F of
I = alpha F + (1 - alpha) B.  `sampled_alpha` explains every unknown pixel by a
pair of known colors from nearby, which tells apart what the Laplacian alone
confuses in wide bands.
"""

from __future__ import annotations

import cv2
import numpy as np

from caffe_layers import _colors  # type: ignore[attr-defined]  # compiled

# Germer et al. 2020, "Fast multi-level foreground estimation".
REGULARIZATION = 1e-5
SMALL_SIDE, SMALL_SWEEPS, LARGE_SWEEPS = 32, 10, 2

CANDIDATES = 6  # known colors a pixel on either side
CAMERA_NOISE = 6.0  # gray levels by which a mixture may miss the pixel
SEPARATION = 20.0  # gray levels between two colors from which they determine alpha
DISTANCE_COST = 0.1  # of a color twice as far away as the nearest, in variances


def foreground_colors(photo: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """Colors F of the compositing equation I = alpha F + (1 - alpha) B.

    A cut-out that keeps the photo's own colors shows a rim of the old
    background wherever alpha is fractional.

    Parameters
    ----------
    photo : (H, W, 3) uint8 or uint16 ndarray
    alpha : (H, W) ndarray
        In [0, 1].

    Returns
    -------
    (H, W, 3) ndarray
        Colors of the photo's type; the photo itself where alpha is 1 (farther than a few
        pixels from other alpha to the last bit, else as nearly as the method has it), smooth
        where alpha does not determine it, without meaning where alpha is 0.
    """
    return _colors.foreground(
        np.ascontiguousarray(photo),
        np.asarray(alpha, np.float32),
        REGULARIZATION,
        SMALL_SIDE,
        SMALL_SWEEPS,
        LARGE_SWEEPS,
    )


def sampled_alpha(
    photo: np.ndarray, foreground: np.ndarray, background: np.ndarray, reach: float
) -> tuple[np.ndarray, np.ndarray]:
    """Alpha of the unknown pixels as mixtures of two known colors.

    For every unknown pixel some foreground and some background colors are
    taken from the edge of the known regions, near the pixel and further off;
    of all pairs (F, B) the one counts whose mixture comes nearest to the
    pixel's color.

    Parameters
    ----------
    photo : (H, W, 3) uint8 ndarray
    foreground, background : (H, W) bool ndarray
        The known pixels; at least one of either.
    reach : float
        Distance in pixels within which colors are searched for, besides the nearest.

    Returns
    -------
    alpha, confidence : (H, W) float32 ndarray
        In [0, 1]; where a pixel is known its confidence is 0.
    """
    unknown = ~(foreground | background)
    places = np.flatnonzero(unknown).astype(np.int32)
    # A known color is that of a neighborhood: single pixels are noisy.
    calm = cv2.GaussianBlur(photo, (0, 0), 1.0)
    candidates = [
        _candidates(calm, known, places, reach, seed)
        for seed, known in enumerate((foreground, background))
    ]
    (fore, fore_far), (back, back_far) = candidates
    values = _colors.best_pairs(
        photo.reshape(-1, 3)[places].astype(np.float32),
        fore,
        back,
        fore_far,
        back_far,
        CAMERA_NOISE,
        SEPARATION,
        DISTANCE_COST,
    )
    alpha, confidence = foreground.astype(np.float32).ravel(), np.zeros(unknown.size, np.float32)
    alpha[places], confidence[places] = values
    return alpha.reshape(unknown.shape), confidence.reshape(unknown.shape)


def _candidates(
    colors: np.ndarray, known: np.ndarray, places: np.ndarray, reach: float, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Known colors near each of N pixels, given by their row-major indices.

    Returns
    -------
    (N, K, 3) float32 ndarray
        The k-th color is that of the known pixel nearest to a point that was
        chosen at random around the place, at a distance of up to 2 reach k / K.
    (N, K) float32 ndarray
        Distance of the known pixel in units of the smallest of the K.
    """
    _, labels = cv2.distanceTransformWithLabels(
        (~known).astype(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )
    positions = np.flatnonzero(known)
    of_label = np.zeros(labels.max() + 1, np.int32)
    of_label[labels.ravel()[positions]] = positions
    rng = np.random.default_rng(seed)
    angles, radii = np.empty((2, CANDIDATES, len(places)))
    for k in range(CANDIDATES):
        angles[k] = rng.uniform(0, 2 * np.pi, len(places))
        radii[k] = 2 * reach * k / CANDIDATES * np.sqrt(rng.uniform(0.3, 1, len(places)))
    return _colors.candidates(colors, labels, of_label, places, angles, radii)
