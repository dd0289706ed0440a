"""Mean-field inference in a dense CRF as a differentiable function: the layer of CRF-RNN.

Zheng et al., "Conditional Random Fields as Recurrent Neural Networks" (2015), after Krähenbühl
and Koltun, "Efficient Inference in Fully Connected CRFs" (2011).  For L classes and N pixels,
scores U, filters k_m (`GaussianFilter`), and L x L matrices W_m and C:

    Z^0 = U
    Q^t = softmax over classes of Z^(t-1)
    S_m = k_m(Q^t)                       message passing
    M   = W_spatial S_spatial + W_bilateral S_bilateral
    Z^t = U - C M                        compatibility

Z^T are the scores of the result.  C = -I is the Potts model; `compatibility_matrix` has others.
Every function keeps the type of the scores: float32 in a net, float64 where gradients are checked.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from caffe_layers.permutohedral import GaussianFilter, bilateral_features, spatial_features

UNKNOWN_CLASS = 2  # the classes are foreground, background, unknown


@dataclass(frozen=True)
class CrfSettings:
    """Kernels of a dense CRF, with the weights that it has before any training.

    Attributes
    ----------
    theta_alpha : float
        Standard deviation of the bilateral kernel, in pixels.
    theta_beta : float
        Standard deviation of the bilateral kernel, in units of the image.
    theta_gamma : float
        Standard deviation of the spatial kernel, in pixels.
    bilateral_weight, spatial_weight : float
    unknown_penalty : float
        What it costs that a pixel is unknown beside one that is not, where foreground beside
        background costs 1.  A unit penalty (the Potts model) removes thin things, such as the
        unknown band of a trimap.
    """

    theta_alpha: float = 160.0
    theta_beta: float = 3.0
    theta_gamma: float = 3.0
    bilateral_weight: float = 5.0
    spatial_weight: float = 3.0
    unknown_penalty: float = 1.0


@dataclass(frozen=True)
class CrfWeights:
    """What is learned: three L x L matrices.

    Attributes
    ----------
    spatial, bilateral, compatibility : (L, L) ndarray
        W_spatial, W_bilateral and C.
    """

    spatial: np.ndarray
    bilateral: np.ndarray
    compatibility: np.ndarray


@dataclass(frozen=True)
class CrfKernels:
    """The two filters of an image."""

    spatial: GaussianFilter
    bilateral: GaussianFilter


@dataclass(frozen=True)
class MeanFieldStep:
    """What one iteration leaves for the backward pass, (L, N) each."""

    marginals: np.ndarray
    spatial: np.ndarray
    bilateral: np.ndarray


@dataclass(frozen=True)
class MeanFieldGradients:
    """Derivatives by the scores, (L, N), and by the weights."""

    scores: np.ndarray
    weights: CrfWeights


def compatibility_matrix(classes: int, unknown_penalty: float = 1.0) -> np.ndarray:
    """C of a CRF in which neighbors of different classes are penalized.

    The messages of a kernel sum to 1 over the classes of a pixel, so while W_m are multiples of I,
    a constant added to all of C changes all of a pixel's scores alike, which the softmax does not
    see.  So C is the penalty minus 1, and -I for the Potts model.

    Parameters
    ----------
    classes : int
    unknown_penalty : float
        See `CrfSettings`; counts where there are three classes.

    Examples
    --------
    >>> compatibility_matrix(3, 0.25)
    array([[-1.  ,  0.  , -0.75],
           [ 0.  , -1.  , -0.75],
           [-0.75, -0.75, -1.  ]])
    """
    matrix = np.diag(np.full(classes, -1.0))
    if classes > UNKNOWN_CLASS:
        known = np.arange(classes) != UNKNOWN_CLASS
        matrix[UNKNOWN_CLASS, known] = matrix[known, UNKNOWN_CLASS] = unknown_penalty - 1
    return matrix


def initial_weights(settings: CrfSettings, classes: int) -> CrfWeights:
    """The weights of a CRF before any training."""
    return CrfWeights(
        settings.spatial_weight * np.eye(classes),
        settings.bilateral_weight * np.eye(classes),
        compatibility_matrix(classes, settings.unknown_penalty),
    )


# The lattice of places is that of the size alone; a training has one size.
@lru_cache(maxsize=4)
def _spatial_filter(shape: tuple[int, int], theta_gamma: float) -> GaussianFilter:
    return GaussianFilter(spatial_features(shape, theta_gamma))


def image_kernels(image: np.ndarray, settings: CrfSettings) -> CrfKernels:
    """The filters of an image.

    Parameters
    ----------
    image : (H, W, 3) ndarray
        Any constant offset is allowed.
    settings : CrfSettings
    """
    height, width = image.shape[:2]
    return CrfKernels(
        _spatial_filter((height, width), settings.theta_gamma),
        GaussianFilter(bilateral_features(image, settings.theta_alpha, settings.theta_beta)),
    )


def softmax(scores: np.ndarray) -> np.ndarray:
    """Probabilities over the first axis."""
    powers = np.exp(scores - scores.max(axis=0))
    return powers / powers.sum(axis=0)


def mean_field(
    scores: np.ndarray, kernels: CrfKernels, weights: CrfWeights, iterations: int
) -> tuple[np.ndarray, list[MeanFieldStep]]:
    """Mean-field inference.

    Parameters
    ----------
    scores : (L, N) ndarray
        U, before any softmax.
    kernels : CrfKernels
    weights : CrfWeights
    iterations : int
        T; with 0 the result is U.

    Returns
    -------
    result : (L, N) ndarray
        Z^T: its softmax is the marginals.
    steps : list of MeanFieldStep
        For `mean_field_gradients`.
    """
    weights = _of_type(weights, scores.dtype)
    result, steps = scores, []
    for _ in range(iterations):
        marginals = softmax(result)
        step = MeanFieldStep(marginals, kernels.spatial(marginals), kernels.bilateral(marginals))
        result = scores - weights.compatibility @ _messages(step, weights)
        steps.append(step)
    return result, steps


def mean_field_gradients(
    steps: list[MeanFieldStep], kernels: CrfKernels, weights: CrfWeights, d_result: np.ndarray
) -> MeanFieldGradients:
    """Derivatives of sum(d_result * Z^T); the image counts as a constant.

    Parameters
    ----------
    steps, kernels, weights
        Of the forward pass.
    d_result : (L, N) ndarray
        Derivative of a loss by Z^T.
    """
    weights = _of_type(weights, d_result.dtype)
    d_scores = np.zeros_like(d_result)
    d_weights = CrfWeights(*(np.zeros((len(d_result),) * 2) for _ in range(3)))
    for step in reversed(steps):
        d_scores += d_result
        d_product = -d_result  # C M
        d_weights.compatibility[...] += d_product @ _messages(step, weights).T
        d_messages = weights.compatibility.T @ d_product
        d_weights.spatial[...] += d_messages @ step.spatial.T
        d_weights.bilateral[...] += d_messages @ step.bilateral.T
        d_marginals = kernels.spatial.adjoint(weights.spatial.T @ d_messages)
        d_marginals += kernels.bilateral.adjoint(weights.bilateral.T @ d_messages)
        mean = np.sum(step.marginals * d_marginals, axis=0)
        d_result = step.marginals * (d_marginals - mean)
    return MeanFieldGradients(d_scores + d_result, d_weights)  # the first softmax sees U too


def _messages(step: MeanFieldStep, weights: CrfWeights) -> np.ndarray:
    """M of one iteration."""
    return weights.spatial @ step.spatial + weights.bilateral @ step.bilateral


def _of_type(weights: CrfWeights, dtype: np.dtype) -> CrfWeights:
    matrices = (weights.spatial, weights.bilateral, weights.compatibility)
    return CrfWeights(*(matrix.astype(dtype, copy=False) for matrix in matrices))


def dense_crf(
    scores: np.ndarray,
    image: np.ndarray,
    settings: CrfSettings,
    iterations: int = 10,
    weights: CrfWeights | None = None,
) -> np.ndarray:
    """Scores of a net after a dense CRF: DeepLab's, or CRF-RNN's with the weights it learned.

    Parameters
    ----------
    scores : (H, W, L) ndarray
        Scores or log-probabilities of a net: the two differ by a constant of each pixel, which
        the softmax does not see.
    image : (H, W, 3) ndarray
        The photo at the scores' size, 0 to 255.
    settings : CrfSettings
    iterations : int
    weights : CrfWeights, optional
        Those of the settings by default.

    Returns
    -------
    (H, W, L) ndarray
        The type is that of the scores.

    Raises
    ------
    ValueError
        If the sizes differ.
    """
    if scores.ndim != 3 or image.shape != (*scores.shape[:2], 3):
        raise ValueError(f"scores {scores.shape} and image {image.shape} differ in size")
    height, width, classes = scores.shape
    rows = np.ascontiguousarray(scores.reshape(-1, classes).T)
    if weights is None:
        weights = initial_weights(settings, classes)
    result, _ = mean_field(rows, image_kernels(image, settings), weights, iterations)
    return np.ascontiguousarray(result.T).reshape(height, width, classes)
