"""How far a matte is from the truth: two conventions, side by side.

``dapm_*``
    The paper's measures (eq. 13 and 14): means over all pixels, so that they
    do not depend on the image size.  Table 1 prints them in units of 1e-3
    (gradient) and 1e-4 (connectivity).
``rhemann_*``, ``sad``, ``mse``
    The convention of the alphamatting.com benchmark and of later papers:
    sums over all pixels, divided by 1000 (``mse`` is a mean).

Both rest on Rhemann et al., "A Perceptually Motivated Online Benchmark for
Image Matting", CVPR 2009.  Mattes are (H, W) arrays in [0, 1]; a region is an
(H, W) boolean array of the pixels that are counted; gradients and connected components
are always those of the whole matte.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import cv2
import numpy as np
from scipy import ndimage

#: Version of the measures in `MatteErrors` and of those of masks (`tools.evaluation.masks`);
#: raise it when a measure changes (`data_prep.common.versions`).
METRICS_VERSION = 1

GRADIENT_SIGMA = 1.4  # pixels
BENCHMARK_RADIUS = 4  # of the benchmark's 9 x 9 derivative kernel
CONNECTIVITY_STEP = 0.1
CONNECTIVITY_THETA = 0.15


@dataclass(frozen=True)
class MatteErrors:
    """Every measure of one matte; 0 is perfect everywhere.

    Attributes
    ----------
    dapm_gradient : float
        Mean norm of the difference of the two `gaussian_gradient` vectors (eq. 13), per pixel:
        1e-3 is the unit of Table 1.
    dapm_connectivity : float
        Mean absolute difference of the two `connectivity` (eq. 14); 1e-4 is the unit of Table 1.
    rhemann_gradient : float
        Sum of squared differences of the gradient magnitudes, / 1000.  The derivative kernel is
        the benchmark's: sigma 1.4, 9 x 9, scaled to unit energy (its squares sum to 1), which
        makes gradients about 9.8 times those of `gaussian_gradient`.
    rhemann_connectivity : float
        Sum of absolute differences of the connectivities, / 1000: `dapm_connectivity` but for
        the normalization.
    sad : float
        Sum of absolute differences / 1000.
    mse : float
        Mean squared difference.
    """

    dapm_gradient: float
    dapm_connectivity: float
    rhemann_gradient: float
    rhemann_connectivity: float
    sad: float
    mse: float

    @classmethod
    def names(cls) -> list[str]:
        """Names of the measures, in their order."""
        return [field.name for field in fields(cls)]


def gaussian_gradient(matte: np.ndarray, radius: int = 6) -> tuple[np.ndarray, np.ndarray]:
    """Derivatives of the matte blurred by a Gaussian of sigma 1.4 pixels.

    Parameters
    ----------
    matte : (H, W) array
    radius : int
        The kernel is cut off this many pixels from its center.

    Returns
    -------
    (gradient_x, gradient_y) : two (H, W) float64 arrays
        Per pixel; the border is replicated.
    """
    matte = np.asarray(matte, dtype=np.float64)
    gradient_x, gradient_y = (
        ndimage.gaussian_filter(matte, GRADIENT_SIGMA, order=order, mode="nearest", radius=radius)
        for order in ((0, 1), (1, 0))
    )
    return gradient_x, gradient_y


def connectivity(
    matte: np.ndarray, source_level: np.ndarray, theta: float = CONNECTIVITY_THETA
) -> np.ndarray:
    """Degree of connectivity phi of every pixel to the source region.

    ``phi_i = 1 - d_i [d_i >= theta]`` with ``d_i = alpha_i - l_i``: 1 where a
    pixel is connected to the person up to its own opacity.  (The weight
    lambda_i of the CVPR 2009 article is 1, as in the evaluation code that
    published numbers come from.)

    Parameters
    ----------
    matte : (H, W) array
    source_level : (H, W) array
        l of `source_levels`.
    theta : float
        Differences below it are not visible and count as connected.
    """
    distance = np.asarray(matte, dtype=np.float64) - source_level
    return 1.0 - distance * (distance >= theta)


def source_levels(
    matte: np.ndarray, truth: np.ndarray, step: float = CONNECTIVITY_STEP
) -> np.ndarray:
    """l of Rhemann et al.: up to which level a pixel belongs to the source region.

    The source region at level t is the largest 4-connected component of
    ``{matte >= t} & {truth >= t}``, empty if no pixel is in both.  l_i is the
    last level before the one at which pixel i drops out of it for the first
    time; 1 for pixels that never do.  Of equally large components the one met
    first from the top left counts.

    Parameters
    ----------
    matte, truth : (H, W) arrays in [0, 1]
    step : float
        Levels are 0, step, 2 step, ..., 1; everything is connected at 0.

    Returns
    -------
    (H, W) float64 array
    """
    count = round(1.0 / step)
    # k / count, not k * step: 6 * 0.1 is above 0.6 and would lose matte value 153.
    levels = np.arange(count + 1) / count
    both = np.minimum(matte, truth)
    level = np.zeros(both.shape)
    connected = np.ones(both.shape, dtype=bool)
    for threshold in levels[1:]:
        connected &= _largest_component(both >= threshold)
        level[connected] = threshold
    return level


def _largest_component(mask: np.ndarray) -> np.ndarray:
    """Largest 4-connected component of a boolean mask; all False if it is empty."""
    count, labels, statistics, _ = cv2.connectedComponentsWithStats(
        mask.astype(np.uint8), connectivity=4
    )
    if count == 1:
        return np.zeros_like(mask)
    # Label 0 is the background: usually the largest area, never a component.
    return labels == 1 + np.argmax(statistics[1:, cv2.CC_STAT_AREA])


def _benchmark_kernel_norm() -> float:
    """Euclidean norm of the kernel that `gaussian_gradient` applies at radius 4."""
    x = np.arange(-BENCHMARK_RADIUS, BENCHMARK_RADIUS + 1)
    smooth = np.exp(-0.5 * (x / GRADIENT_SIGMA) ** 2)
    smooth /= smooth.sum()
    derivative = -x / GRADIENT_SIGMA**2 * smooth
    return float(np.linalg.norm(smooth) * np.linalg.norm(derivative))


def _gradient_difference(matte: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Norm of the difference of the two gradients in every pixel."""
    # The gradient is linear, so the difference of gradients is one gradient.
    return np.hypot(*gaussian_gradient(matte - truth))


def _magnitude_difference(matte: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Squared difference of the benchmark's two gradient magnitudes in every pixel."""
    magnitude, true_magnitude = (
        np.hypot(*gaussian_gradient(alpha, BENCHMARK_RADIUS)) / _benchmark_kernel_norm()
        for alpha in (matte, truth)
    )
    return (magnitude - true_magnitude) ** 2


def _connectivity_difference(matte: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """|phi(matte) - phi(truth)| of every pixel."""
    level = source_levels(matte, truth)
    return np.abs(connectivity(matte, level) - connectivity(truth, level))


def unknown_region(truth: np.ndarray, radius: int = 10) -> np.ndarray:
    """Unknown region of the true matte's trimap.

    Parameters
    ----------
    truth : (H, W) array in [0, 1]
    radius : int
        The pixels with 0 < alpha < 1 are dilated by a disk of this radius.

    Returns
    -------
    (H, W) boolean array
    """
    fractional = ((truth > 0) & (truth < 1)).astype(np.uint8)
    size = 2 * radius + 1
    disk = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size))
    return cv2.dilate(fractional, disk).astype(bool)


@dataclass(frozen=True)
class ErrorMaps:
    """What each pixel of a matte contributes to its errors, for any number of regions.

    Attributes
    ----------
    gradient, connectivity, magnitude, difference : (H, W) float64 arrays
        Eq. 13, eq. 14, the difference of the benchmark's gradient magnitudes squared, and
        the difference to the truth.
    """

    gradient: np.ndarray
    connectivity: np.ndarray
    magnitude: np.ndarray
    difference: np.ndarray

    @classmethod
    def of(cls, matte: np.ndarray, truth: np.ndarray) -> ErrorMaps:
        """The maps of two (H, W) arrays in [0, 1].

        Raises
        ------
        ValueError
            If the shapes differ or a value is not finite.
        """
        matte, truth = _as_pair(matte, truth)
        return cls(
            _gradient_difference(matte, truth),
            _connectivity_difference(matte, truth),
            _magnitude_difference(matte, truth),
            matte - truth,
        )

    def errors(self, region: np.ndarray | None = None) -> MatteErrors:
        """Every measure of the matte, in the pixels of a region or in all.

        Parameters
        ----------
        region : (H, W) boolean array, optional

        Raises
        ------
        ValueError
            If the region is empty or of another size.
        """
        connectivities = _counted(self.connectivity, region)
        return MatteErrors(
            dapm_gradient=float(_counted(self.gradient, region).mean()),
            dapm_connectivity=float(connectivities.mean()),
            rhemann_gradient=float(_counted(self.magnitude, region).sum() / 1000),
            rhemann_connectivity=float(connectivities.sum() / 1000),
            sad=float(_counted(np.abs(self.difference), region).sum() / 1000),
            mse=float(_counted(self.difference**2, region).mean()),
        )


def evaluate(matte: np.ndarray, truth: np.ndarray, region: np.ndarray | None = None) -> MatteErrors:
    """Every measure of one matte.

    Parameters
    ----------
    matte, truth : (H, W) arrays in [0, 1]
    region : (H, W) boolean array, optional
        Pixels to count; default all.

    Raises
    ------
    ValueError
        If the shapes differ, a value is not finite or the region is empty.
    """
    return ErrorMaps.of(matte, truth).errors(region)


def _as_pair(matte: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both mattes as float64, checked."""
    matte, truth = np.asarray(matte, np.float64), np.asarray(truth, np.float64)
    if matte.ndim != 2 or matte.shape != truth.shape:
        raise ValueError(f"Mattes of shapes {matte.shape}, {truth.shape}: not a pair.")
    if not (np.isfinite(matte).all() and np.isfinite(truth).all()):
        raise ValueError("A matte holds values that are not finite.")
    return matte, truth


def _counted(values: np.ndarray, region: np.ndarray | None) -> np.ndarray:
    """The values of the pixels that count."""
    if region is None:
        return values
    if region.shape != values.shape or not region.any():
        raise ValueError("The region is empty or of another size than the matte.")
    return values[np.asarray(region, dtype=bool)]
